"""Crops of pictures as pictures of their own, and surveys in which no two winners share a place."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import nn
from torchvision.datasets import ImageFolder

from convscope_core.crops import WHOLE, Places, laid_out, non_overlapping
from convscope_core.datasets import Images
from convscope_core.errors import ArgumentError, ImageError
from convscope_core.images import picture_size, read_image
from convscope_core.network import Network
from convscope_core.survey import Survey, load_survey, survey

SIDES = st.lists(st.floats(0.05, 1), min_size=1, max_size=3)


@given(st.integers(1, 90), st.integers(1, 90), SIDES, st.floats(0, 0.8))
def test_crops_of_each_side_are_squares_that_cover_the_picture_and_overlap_their_neighbours(
    height: int, width: int, sides: list[float], overlap: float
) -> None:
    boxes = laid_out(height, width, sides, overlap)
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2] <= height).all()
    assert (boxes[:, 3] <= width).all()
    for share in sides:
        side = max(1, round(share * min(height, width)))
        mine = boxes[boxes[:, 2] - boxes[:, 0] == side]
        assert (mine[:, 3] - mine[:, 1] == side).all()
        covered = np.zeros((height, width), bool)
        for top, left, bottom, right in mine:
            covered[top:bottom, left:right] = True
        assert covered.all()
        starts = np.unique(mine[:, 1])
        assert (np.diff(starts) <= max(1, side * (1 - overlap)) + 1).all()  # a pixel, as places are whole


@st.composite
def ranked(draw: st.DrawFn) -> tuple[Places, list[int], list[int], list[tuple[int, int, int, int]]]:
    count = draw(st.integers(1, 24))
    photographs = draw(st.lists(st.integers(0, 3), min_size=count, max_size=count))
    corner = st.tuples(st.integers(0, 8), st.integers(0, 8), st.integers(1, 4))
    boxes = [(y, x, y + side, x + side) for y, x, side in draw(st.lists(corner, min_size=count, max_size=count))]
    return Places(photographs, boxes), draw(st.permutations(range(count))), photographs, boxes


def greedy(order: list[int], photographs: list[int], boxes: list[tuple[int, int, int, int]], k: int) -> list[int]:
    """The law, pixel by pixel."""
    pixels = [
        {(photographs[i], y, x) for y in range(b[0], b[2]) for x in range(b[1], b[3])} for i, b in enumerate(boxes)
    ]
    chosen: list[int] = []
    for one in order:
        if len(chosen) < k and not any(pixels[one] & pixels[other] for other in chosen):
            chosen.append(one)
    return chosen


@given(ranked(), st.integers(1, 6))
def test_the_candidates_that_are_kept_suffice_for_winners_that_share_no_pixel(
    case: tuple[Places, list[int], list[int], list[tuple[int, int, int, int]]], k: int
) -> None:
    places, order, photographs, boxes = case
    kept = np.array([order[: (k - 1) * places.most + 1]])
    columns = non_overlapping(kept, places, k)[0]
    assert kept[0][columns[columns >= 0]].tolist() == greedy(order, photographs, boxes, k)


def photographs() -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    return [rng.integers(0, 256, (h, w, 3), np.uint8) for h, w in ((24, 40), (40, 24), (32, 32))]


def put(folder: Path) -> Path:
    for number, array in enumerate(photographs()):
        place = folder / f"n0{number}" / f"{number}.png"
        place.parent.mkdir(parents=True)
        Image.fromarray(array).save(place)
    return folder


@pytest.fixture(scope="module")
def net() -> Network:
    torch.manual_seed(2)
    module = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(320, 4)
    )
    return Network(module.eval(), input_size=12)


# Pictures go one by one below: bits depend on the batch, and crops of one place are nearly equal.


def test_crops_say_what_they_are_of_and_hold_its_pixels(tmp_path: Path) -> None:
    images = Images.of(put(tmp_path))
    crops = images.crops((1, 1 / 2), overlap=0)
    assert len(crops) == 2 * (2 + 2 * 4) + 1 + 2 * 2  # by height, width and side
    first = crops[3]
    top, left, bottom, right = crops.crop(3)  # type: ignore[misc]
    assert first.name == f"n00/0.png [{top}:{bottom}, {left}:{right}]"
    assert first.label == "n00"
    np.testing.assert_array_equal(np.asarray(first.image), photographs()[0][top:bottom, left:right])
    assert crops.identity(3)[0] == first.name
    assert len({crops.identity(i) for i in range(len(crops))}) == len(crops)
    assert images.crop(0) is None
    assert not images.cropped
    assert (crops[5:9] + tmp_path / "n00" / "0.png").cropped


def test_a_photograph_and_its_crops_are_one_place(tmp_path: Path) -> None:
    images = Images.of(put(tmp_path))
    both = images + images.crops()
    whole, crop = np.array([0]), np.array([3])
    assert both.places.overlap(whole, crop).all()
    assert not both.places.overlap(whole, np.array([1])).any()


def test_crops_of_every_kind_of_picture_are_the_same(tmp_path: Path) -> None:
    array = photographs()[0]
    path = put(tmp_path) / "n00" / "0.png"
    kinds = [path, path.read_bytes(), Image.fromarray(array), array, torch.from_numpy(array).permute(2, 0, 1)]
    for kind in kinds:
        assert picture_size(kind) == (40, 24)
        np.testing.assert_array_equal(np.asarray(Images.of([kind]).crops()[1].image), array[0:24, 8:32])


def test_a_picture_on_its_side_is_cut_upright() -> None:
    image = Image.fromarray(photographs()[0])
    image.getexif()[0x0112] = 6
    assert picture_size(image) == read_image(image).size == (24, 40)


def test_what_cannot_be_read_is_one_picture_which_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"not a png")
    crops = Images.of(put(tmp_path)).crops()
    assert crops[0].name == "a.png"
    with pytest.raises(ImageError, match=r"a\.png"):
        read_image(crops[0].image)


def test_pickles_from_when_all_sources_were_in_one_module_open(tmp_path: Path) -> None:
    """The classes were private names of `convscope_core.datasets`; nothing else in the pickles has changed."""
    files, given = Images.of(put(tmp_path / "photos")), Images.of(photographs())
    kinds = {
        "_Files": files,
        "_Given": given,
        "_Dataset": Images.of(ImageFolder(str(tmp_path / "photos"))),
        "_Chosen": files[1:],
        "_Chain": files + given,
        "_Crops": given.crops(),
    }
    for name, images in kinds.items():
        now = pickle.dumps(images, protocol=0)
        former = now
        for old, new in kinds.items():
            kind = type(new._source)
            former = former.replace(
                f"c{kind.__module__}\n{kind.__qualname__}\n".encode(), f"cconvscope_core.datasets\n{old}\n".encode()
            )
        former = former.replace(b"cconvscope_core.datasets.sequence\nImages\n", b"cconvscope_core.datasets\nImages\n")
        assert former.count(name.encode()) == 1
        assert b"convscope_core.datasets." not in former.replace(b"convscope_core.datasets.picture\nPicture", b"")
        again = pickle.loads(former)
        assert [p.name for p in again] == [p.name for p in images]


def test_arguments_are_refused(tmp_path: Path) -> None:
    images = Images.of(photographs())
    for sides in ((), (0,), (1.5,), (1, float("nan"))):
        with pytest.raises(ArgumentError, match="sides of crops"):
            images.crops(sides)
    with pytest.raises(ArgumentError, match="overlap"):
        images.crops(overlap=1)
    with pytest.raises(ArgumentError, match="whole pictures"):
        images.crops().crops()
    with pytest.raises(ArgumentError, match="tensor of floats"):
        Images.of([torch.zeros(3, 8, 8)]).crops()


def tops(found: Survey) -> list[list[tuple[float, int, int, int]]]:
    return [
        [(one.value, one.image, one.row, one.column) for one in found.top(layer, channel)]
        for layer in found.layers
        for channel in range(layer.channels)
    ]


def test_the_winners_of_a_survey_are_the_best_of_which_no_two_share_a_pixel(net: Network) -> None:
    crops = Images.of(photographs()).crops((1, 1 / 2, 1 / 3))
    found = survey(net, crops, k=4, batch_size=1, sample=4, progress=False)
    boxes = [crops.crop(i) for i in range(len(crops))]
    of = [next(n for n in range(3) if crops[i].name.startswith(f"picture {n} ")) for i in range(len(crops))]
    # Crops of a smooth photograph have peaks that differ in the last digits: those as a survey computes them decide.
    peaks_of: dict[str, list[torch.Tensor]] = {layer.name: [] for layer in found.layers}
    for one in crops:
        x = net.prepare(one.image)
        net.visit(x, list(peaks_of), lambda name, maps: peaks_of[name].append(maps[0].flatten(1).amax(1)))
        for name, maps in net.activations(one.image, list(peaks_of)).items():
            torch.testing.assert_close(peaks_of[name][-1], maps[0].flatten(1).amax(1), rtol=1e-5, atol=1e-6)
    for layer in found.layers:
        for channel in range(layer.channels):
            peaks = [float(one[channel]) for one in peaks_of[layer.name]]
            order = sorted(range(len(crops)), key=lambda i: (-peaks[i], i))
            mine = found.top(layer, channel)
            assert [one.image for one in mine] == greedy(order, of, boxes, 4)  # type: ignore[arg-type]
            assert [one.value for one in mine] == pytest.approx([peaks[one.image] for one in mine], rel=1e-5)
    assert found.k == 4


def test_a_survey_of_crops_goes_on_from_its_store_and_is_found_again(net: Network, tmp_path: Path) -> None:
    images = Images.of(put(tmp_path / "photos")).crops()
    whole = survey(net, images, k=3, batch_size=1, progress=False)
    store = tmp_path / "crops.survey"
    survey(net, images[:9], k=3, store=store, indices=range(5), batch_size=1, progress=False)
    assert tops(survey(net, images[:9], k=3, store=store, batch_size=1, progress=False)) == tops(
        survey(net, images[:9], k=3, batch_size=1, progress=False)
    )
    with pytest.raises(ArgumentError, match="images="):
        load_survey(store, net)
    assert tops(load_survey(store, net, images[:9])) == tops(survey(net, images[:9], k=3, batch_size=1, progress=False))
    with pytest.raises(ArgumentError):  # the same photographs cut otherwise
        survey(net, Images.of(tmp_path / "photos").crops(overlap=0)[:9], k=3, store=store, batch_size=1, progress=False)
    halves = [survey(net, images, k=3, indices=range(i, len(images), 2), batch_size=1, progress=False) for i in (0, 1)]
    assert tops(halves[0].merge(halves[1])) == tops(whole)


def test_a_survey_of_crops_grows_by_photographs_but_not_by_more_of_one(net: Network) -> None:
    arrays = photographs()
    crops = Images.of(arrays[:2]).crops()
    start = survey(net, crops, k=3, batch_size=1, progress=False)
    more = crops + Images.of(arrays[2])
    assert tops(survey(net, more, k=3, start=start, batch_size=1, progress=False)) == tops(
        survey(net, more, k=3, batch_size=1, progress=False)
    )
    with pytest.raises(ArgumentError, match="kept too few"):
        survey(net, crops + Images.of(arrays[:2]).crops((1 / 4,)), k=3, start=start, batch_size=1, progress=False)


def test_crops_travel_to_other_processes(tmp_path: Path) -> None:
    crops = Images.of(put(tmp_path)).crops()
    crops[0]
    few = pickle.loads(pickle.dumps(crops.only([4, 20, 5])))
    for mine, theirs in zip(few, (crops[i] for i in (4, 20, 5)), strict=True):
        assert mine.name == theirs.name
        np.testing.assert_array_equal(np.asarray(mine.image), np.asarray(theirs.image))


def test_a_data_set_of_torchvision_is_surveyed_whole_and_in_crops(net: Network, tmp_path: Path) -> None:
    folder = ImageFolder(str(put(tmp_path)))  # the form of Imagenette, and of most others
    found = survey(net, folder, k=2, batch_size=1, progress=False)
    assert found.labels == ("n00", "n01", "n02")
    cut = survey(net, Images.of(folder).crops(), k=2, batch_size=1, progress=False)
    assert cut.labels == found.labels
    assert {cut.images[one.image].name.split(" [")[0] for one in cut.top("0", 0)} <= {
        picture.name for picture in found.images
    }
    assert WHOLE not in {Images.of(folder).crops().crop(0)}
