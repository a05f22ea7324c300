"""Sequences of pictures from folders, lists and data sets."""

from __future__ import annotations

import importlib.util
import io
import os
import socket
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from convscope_core.datasets import Images, Picture, natural, sample, sample_images, samples
from convscope_core.datasets.labels import APART
from convscope_core.errors import ArgumentError, ImageError


def put(path: Path, colour: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 3), (colour, 0, 0)).save(path)
    return path


def names(images: Images) -> list[str]:
    return [picture.name for picture in images]


# --- folders


def test_a_folder_is_read_in_natural_order_with_labels_from_class_folders(tmp_path: Path) -> None:
    for name in ("img10.png", "img2.PNG", "cats/b.jpg", "cats/a 10.jpg", "cats/a 9.jpg", "deep/dogs/x.png"):
        put(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not a picture")
    images = Images.of(tmp_path)
    assert names(images) == [
        "cats/a 9.jpg",
        "cats/a 10.jpg",
        "cats/b.jpg",
        "deep/dogs/x.png",
        "img2.PNG",
        "img10.png",
    ]
    assert [picture.label for picture in images] == ["cats", "cats", "cats", "dogs", None, None]
    assert all(picture.image == picture.path == tmp_path / picture.name for picture in images)


def test_a_folder_given_as_text_or_with_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "photos" / "a.png")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert names(Images.of(str(tmp_path / "photos"))) == names(Images.of("~/photos")) == ["a.png"]


def test_hidden_files_and_folders_are_left_out(tmp_path: Path) -> None:
    for name in ("a.png", ".b.png", ".thumbnails/c.png"):
        put(tmp_path / name)
    assert names(Images.of(tmp_path)) == ["a.png"]


def test_linked_class_folders_are_followed_and_loops_end(tmp_path: Path) -> None:
    put(tmp_path / "elsewhere" / "x.png")
    root = tmp_path / "data"
    root.mkdir()
    (root / "cats").symlink_to(tmp_path / "elsewhere")
    (root / "again").symlink_to(root)
    images = Images.of(root)
    assert names(images) == ["cats/x.png"]
    assert images[0].label == "cats"


def test_pictures_are_read_only_when_used(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"not a png")
    assert Images.of(tmp_path)[0].path == tmp_path / "broken.png"


@given(st.lists(st.integers(0, 10**12), unique=True, min_size=2, max_size=8))
def test_natural_order_counts_numbers_by_value(numbers: list[int]) -> None:
    ordered = sorted((f"frame {n}.png" for n in numbers), key=natural)
    assert ordered == [f"frame {n}.png" for n in sorted(numbers)]


@given(st.lists(st.text(), unique=True))
def test_natural_order_is_total(texts: list[str]) -> None:
    backwards = texts[::-1]
    assert sorted(texts, key=natural) == sorted(backwards, key=natural)


def test_an_empty_folder_says_what_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ImageError, match=rf"{tmp_path.name}.*\.jpeg.*\.png.*\.webp"):
        Images.of(tmp_path)


def test_a_missing_folder_or_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"nowhere.*does not exist"):
        Images.of(tmp_path / "nowhere")


# --- lists and single pictures


def test_a_list_of_every_kind(tmp_path: Path) -> None:
    path = put(tmp_path / "cat.png")
    array, tensor, pil = np.zeros((4, 4, 3), np.uint8), torch.zeros(3, 4, 4), Image.new("RGB", (4, 4))
    own = Picture(array, "mine", "tabby")
    images = Images.of([path, str(path), path.read_bytes(), pil, array, tensor, own, Image.open(path)])
    assert names(images) == [
        "cat.png",
        "cat.png",
        "picture 2",
        "picture 3",
        "picture 4",
        "picture 5",
        "mine",
        "cat.png",
    ]
    assert images[1].path == images[7].path == path
    assert images[3].image is pil
    assert images[4].image is array
    assert images[5].image is tensor
    assert images[6] is own


@pytest.mark.parametrize(
    "single",
    [
        Image.new("RGB", (4, 4)),
        np.zeros((4, 5), np.uint8),
        np.zeros((4, 5, 3)),
        torch.zeros(3, 4, 5),
        b"bytes",
        Picture(b"", "p"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_single_picture_is_a_sequence_of_one(single: object) -> None:
    images = Images.of(single)
    assert len(images) == 1
    assert images[0] is single or images[0].image is single


def test_a_single_file_and_a_stack_of_arrays(tmp_path: Path) -> None:
    assert names(Images.of(put(tmp_path / "cat.png"))) == ["cat.png"]
    stack = np.arange(2 * 3 * 4 * 3, dtype=np.uint8).reshape(2, 3, 4, 3)
    images = Images.of(stack)
    assert len(images) == 2
    np.testing.assert_array_equal(images[1].image, stack[1])
    assert len(Images.of(torch.zeros(5, 3, 4, 4))) == 5


def test_images_of_images_are_the_same() -> None:
    images = Images.of([b"a"])
    assert Images.of(images) is images


# --- as a sequence


def test_indexing_slicing_and_adding() -> None:
    images = Images.of([Picture(b"", str(n)) for n in range(6)])
    assert images[-1].name == "5"
    assert names(images[1:5:2]) == ["1", "3"]
    assert names(images[::-1][:2]) == ["5", "4"]
    joined = images[:2] + images[4:] + Picture(b"", "new") + [Picture(b"", "newer")]
    assert names(joined) == ["0", "1", "4", "5", "new", "newer"]
    assert [joined[i].name for i in range(-6, 0)] == names(joined)
    for outside in (6, -7):
        with pytest.raises(IndexError, match="0 to 5"):
            images[outside]


def test_adding_pictures_one_by_one_does_not_nest() -> None:
    images = Images.of([Picture(b"", "0")])
    for n in range(1, 3000):
        images = images + Picture(b"", str(n))
    assert images[2999].name == "2999"
    assert names(images) == [str(n) for n in range(3000)]


@pytest.mark.parametrize("form", ["PNG", "TIFF", "JPEG", "GIF"])
def test_identities_of_many_pictures_are_those_of_each(form: str) -> None:
    """Pictures that PIL reads when they are looked at, several times in a list; arrays; sums of lists."""
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 255, (300, 300, 3), np.uint8) for _ in range(40)]
    written = [io.BytesIO() for _ in range(3)]
    for array, file in zip(arrays, written, strict=False):
        Image.fromarray(array).save(file, form)
    opened = [Image.open(file) for file in written]
    images = Images.of([*opened, *arrays, *opened * 20]) + Images.of([*arrays, *opened])
    order = rng.permutation(len(images)).tolist()
    found = images.identities(order)
    assert found == [images.identities([index])[0] for index in order]
    again = Images.of([Image.open(file) for file in written]).identities(range(3))
    assert [one.partition(APART)[2] for one in again] == [
        images.identities([index])[0].partition(APART)[2] for index in range(3)
    ]


def test_starts_with_compares_files_by_path_and_others_by_identity(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        put(tmp_path / name)
    folder, again = Images.of(tmp_path), Images.of(tmp_path)
    assert again.starts_with(folder)
    assert Images.of([tmp_path / "a.png", tmp_path / "b.png"]).starts_with(folder)
    assert (folder + Image.new("RGB", (1, 1))).starts_with(again)
    assert not folder.starts_with(folder + Image.new("RGB", (1, 1)))
    assert not folder.starts_with(folder[::-1])
    assert folder.starts_with(folder[:1])
    picture = Image.new("RGB", (2, 2))
    assert Images.of([picture]).starts_with(Images.of([picture]))
    assert not Images.of([picture]).starts_with(Images.of([picture.copy()]))


# --- torch data sets


class Shapes(torch.utils.data.Dataset):
    classes = ("square", "circle")

    def __init__(self, items: list) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int):
        return self.items[index]


PIL = Image.new("RGB", (2, 2))


def test_a_data_set_with_labels() -> None:
    images = Images.of(
        Shapes([(PIL, 1), (PIL, torch.tensor(0)), (PIL, np.int64(1)), (PIL, "oval"), (PIL, 7), (PIL, None), PIL])
    )
    assert [picture.label for picture in images] == ["circle", "square", "circle", "oval", "7", None, None]
    assert all(picture.image is PIL for picture in images)
    assert images[3].name == "Shapes 3"


def test_class_names_are_found_through_a_subset() -> None:
    images = Images.of(torch.utils.data.Subset(Shapes([(PIL, 0), (PIL, 1)]), [1]))
    assert [picture.label for picture in images] == ["circle"]


def test_a_torchvision_folder_keeps_its_files(tmp_path: Path) -> None:
    torchvision = pytest.importorskip("torchvision")
    for name in ("cats/a.png", "dogs/b.png"):
        put(tmp_path / name)
    dataset = torchvision.datasets.ImageFolder(tmp_path)
    images = Images.of(torch.utils.data.Subset(dataset, [1, 0]))
    assert [(p.name, p.label, p.path) for p in images] == [
        ("b.png", "dogs", tmp_path / "dogs" / "b.png"),
        ("a.png", "cats", tmp_path / "cats" / "a.png"),
    ]


def test_a_data_set_item_that_is_no_picture_is_named_when_used() -> None:
    images = Images.of(Shapes([(PIL, 1), {"pixels": 3}]))
    with pytest.raises(ImageError, match=r"item 1 of a Shapes.*got dict"):
        images[1]


def test_a_data_set_is_asked_by_one_thread_at_a_time() -> None:
    inside, most = [], []

    class Watched(Shapes):
        def __getitem__(self, index: int):
            inside.append(index)
            most.append(len(inside))
            item = np.random.default_rng(index).random((200, 200)).astype(np.float32)
            inside.remove(index)
            return item

    images = Images.of(Watched([None] * 40))
    threads = [
        threading.Thread(target=lambda start=start: [images[i] for i in range(start, 40, 4)]) for start in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 40
    assert max(most) == 1


# --- what is no source of pictures


class Stream(torch.utils.data.IterableDataset):
    def __iter__(self):
        return iter(())


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ([], "empty list"),
        ((), "empty list"),
        (Shapes([]), "empty Shapes"),
        (Stream(), "map-style.*Collect the pictures in a list"),
        (iter([]), "empty list"),
        (frozenset([b""]), r"list\(\.\.\.\)"),
        (None, "got NoneType"),
        (3, "got int"),
        ({"a": b""}, "got dict"),
        ([b"", None], "got NoneType in place 1"),
        ([(b"", "cat")], r"got tuple in place 0. For pictures with labels make each a Picture\(image, name, label\)"),
        ([np.zeros(3)], r"got shape \(3,\) in place 0"),
        (np.zeros(0), "empty ndarray"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)
def test_other_sources_are_refused(source: object, words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        Images.of(source)


# --- samples


def test_sample_photographs_are_local_files_colour_first(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("skimage")

    def refuse(*_: object) -> None:
        raise AssertionError("sample pictures must not use the network")

    monkeypatch.setattr(socket, "socket", refuse)
    images = sample_images()
    assert len(images) >= 12
    assert names(images)[:3] == ["chelsea", "coffee", "rocket"]
    assert len(set(names(images))) == len(images)
    modes = [Image.open(picture.path).mode for picture in images]
    assert modes == ["RGB"] * modes.count("RGB") + ["L"] * modes.count("L")
    assert sample("coffee").path == images[1].path


def test_photographs_of_packages_that_are_not_installed_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("skimage")
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name != "skimage" else find(name))
    assert all("skimage" in picture.path.parts for picture in sample_images())
    assert {"chelsea", "clock_motion"} < set(names(sample_images()))


def test_an_unknown_sample_lists_the_names() -> None:
    pytest.importorskip("skimage")
    with pytest.raises(ImageError, match=r"'chelsey'.*Close matches: chelsea.*There are: chelsea, coffee, rocket"):
        sample("chelsey")


def test_without_scikit_image_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImageError, match=r'pip install "convscope\[demo\]"'):
        sample_images()


def test_a_scikit_image_without_its_data_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "_data_folder", lambda package, below: tmp_path)
    with pytest.raises(ImageError, match="got a build without"):
        sample_images()


def test_repr_names_the_source(tmp_path: Path) -> None:
    put(tmp_path / "a.png")
    assert repr(Images.of(tmp_path)) == f"Images(1 from {os.fspath(tmp_path)!r})"
    assert repr(Images.of(Shapes([PIL]))) == "Images(1 from a Shapes)"
    assert repr(Images.of([PIL]) + PIL) == "Images(2 from a list and 1 more)"
