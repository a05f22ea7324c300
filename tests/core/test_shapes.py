"""Synthetic pictures: the same everywhere, different from each other, and what is said of them is what is seen."""

from __future__ import annotations

import dataclasses
import hashlib
import pickle
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from convscope_core.datasets import Images
from convscope_core.errors import ArgumentError
from convscope_core.network import Network
from convscope_core.shapes import Shapes
from convscope_core.shapes.drawing import draw, weights
from convscope_core.shapes.draws import Draws
from convscope_core.survey import survey

AMOUNTS = ("clutter", "distractors", "textures", "light", "pose", "jitter")
CLASSES = Shapes().classes


@st.composite
def some_shapes(draw: st.DrawFn, **fixed: Any) -> Shapes:
    amounts = {name: draw(st.sampled_from([0.0, 0.3, 1.0])) for name in AMOUNTS}
    chosen = draw(st.lists(st.sampled_from(CLASSES), unique=True, min_size=1))
    given = {
        "count": draw(st.integers(1, 60)),
        "size": draw(st.integers(16, 90)),
        "seed": draw(st.integers(0, 2**64 - 1)),
        "classes": tuple(chosen),
        "split": draw(st.sampled_from(["train", "test"])),
        **amounts,
    }
    return Shapes(**{**given, **fixed})


def place(shapes: Shapes, data: st.DataObject) -> int:
    return data.draw(st.integers(0, len(shapes) - 1))


# --- which picture it is


@pytest.mark.parametrize("kind", [np.int64, np.uint8, torch.tensor])
def test_numbers_of_other_libraries_are_numbers(kind: Any) -> None:
    plain = Shapes(count=3, size=16, seed=5, classes=["cat"], light=0.5)
    other = Shapes(kind(3), kind(16), kind(5), np.array(["cat"]), light=np.float64(0.5))
    assert other.identity == plain.identity
    assert type(other.count) is int
    assert len(other) == 3


@pytest.mark.parametrize(
    "count", [np.bool_(1), torch.tensor(True), torch.tensor([3]), np.float32(3), torch.tensor(3.0)]
)
def test_what_is_no_whole_number_is_refused(count: Any) -> None:
    with pytest.raises(ArgumentError, match="whole number"):
        Shapes(count=count)


@given(some_shapes(), st.data())
@settings(deadline=None, max_examples=40)
def test_a_picture_depends_on_its_place_and_the_settings_alone(shapes: Shapes, data: st.DataObject) -> None:
    i = place(shapes, data)
    image, label = shapes[i]
    pixels = np.asarray(image)
    assert pixels.shape == (shapes.size, shapes.size, 3)
    copy: Shapes = pickle.loads(pickle.dumps(shapes))
    assert copy == shapes
    assert copy.identity == shapes.identity
    for other in (copy, dataclasses.replace(shapes, count=len(shapes) + 7)):
        np.testing.assert_array_equal(other.pixels(i), pixels)
        assert other.label(i) == label == shapes.truth(i).label
    np.testing.assert_array_equal(shapes.pixels(i - len(shapes)), pixels)


def test_pictures_are_the_same_on_every_platform_and_in_every_version() -> None:
    digest = hashlib.sha1()
    for shapes in (Shapes(), Shapes(size=61, seed=2**64 - 1, split="test"), Shapes(seed=7, textures=0.5, light=0.2)):
        for i in range(24):
            digest.update(shapes.pixels(i).tobytes())
    assert digest.hexdigest() == "0b1d06ada9e248a9417992d068bcad10bd17a0ec"


def test_no_global_random_state_is_used_or_touched() -> None:
    random.seed(1), np.random.seed(1), torch.manual_seed(1)  # noqa: NPY002
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002
    Shapes()[3], Shapes().truth(3)
    after = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002
    assert before == after


@given(some_shapes(), some_shapes())
@settings(deadline=None, max_examples=40)
def test_sets_of_one_identity_and_only_they_have_the_same_settings(one: Shapes, other: Shapes) -> None:
    same = dataclasses.replace(one, count=1) == dataclasses.replace(other, count=1)
    assert (one.identity == other.identity) == same
    changed = dataclasses.replace(one, seed=(one.seed + 1) % 2**64)
    assert changed.identity != one.identity


def test_every_setting_changes_pictures() -> None:
    base = Shapes(count=24)
    pixels = [base.pixels(i) for i in range(24)]
    changes: list[dict[str, Any]] = [
        {"seed": 1},
        {"split": "test"},
        {"classes": CLASSES[::-1]},
        *({name: 0.0} for name in AMOUNTS),
    ]
    for change in changes:
        other = dataclasses.replace(base, **change)
        assert other.identity != base.identity
        assert any((other.pixels(i) != pixels[i]).any() for i in range(24)), change


def test_train_and_test_share_no_picture_and_no_random_number() -> None:
    streams = {
        (split, picture, stream): tuple(Draws(5, split, picture, stream)._bits.random_raw(64).tolist())
        for split in range(2)
        for picture in range(5)
        for stream in range(7)
    }
    numbers = [number for drawn in streams.values() for number in drawn]
    assert len(set(numbers)) == len(numbers)
    train, test = (Shapes(100, 32, split=split) for split in ("train", "test"))
    seen = {train.pixels(i).tobytes() for i in range(100)} | {test.pixels(i).tobytes() for i in range(100)}
    assert len(seen) == 200


@given(some_shapes(count=60))
@settings(deadline=None, max_examples=30)
def test_every_run_of_pictures_has_each_class_once(shapes: Shapes) -> None:
    n = len(shapes.classes)
    labels = [shapes.label(i) for i in range(60 - 60 % n)]
    for start in range(0, len(labels), n):
        assert sorted(labels[start : start + n]) == list(range(n))


def test_labels_are_in_random_order() -> None:
    labels = [Shapes(12 * 200).label(i) for i in range(12 * 200)]
    # Position in the run against class: 200 runs, about 16.7 expected in each of 144 cells.
    counts = np.zeros((12, 12))
    for i, label in enumerate(labels):
        counts[i % 12, label] += 1
    chi2 = float(((counts - 200 / 12) ** 2 / (200 / 12)).sum())
    # 121 degrees of freedom: mean 121, standard deviation 15.6. The seed is fixed.
    assert 121 - 4 * 15.6 < chi2 < 121 + 4 * 15.6


# --- what settings do, and leave alone


@pytest.mark.parametrize("turned_off", ["clutter", "distractors", "textures", "light"])
def test_turning_one_thing_off_leaves_the_object_where_it_is(turned_off: str) -> None:
    plain = {"clutter": 0.0} if turned_off != "clutter" else {}
    base, changed = Shapes(**plain), Shapes(**{**plain, turned_off: 0.0})
    for i in range(12):
        one, other = base._scene(i), changed._scene(i)
        assert base.label(i) == changed.label(i)
        mine, theirs = ([layer for layer in scene.layers if layer.role == "part"] for scene in (one, other))
        assert [(layer.owner, layer.outline, layer.frame, layer.colour) for layer in mine] == [
            (layer.owner, layer.outline, layer.frame, layer.colour) for layer in theirs
        ]
        if turned_off != "textures":
            assert [layer.texture for layer in mine] == [layer.texture for layer in theirs]
        if turned_off != "light":
            assert one.light == other.light


def test_amounts_of_zero_turn_things_off() -> None:
    shapes = Shapes(36, clutter=0, distractors=0, textures=0, light=0, pose=0, jitter=0)
    frames = set()
    for i in range(36):
        truth = shapes.truth(i)
        assert not truth.clutter.any()
        assert not truth.distractors
        assert truth.background == "plain"
        assert truth.texture == {"striped fish": "stripes", "spotted fish": "spots"}.get(truth.name, "plain")
        assert truth.light.gain == 1.0
        assert not truth.flipped
        scene = shapes._scene(i)
        frames |= {layer.frame for layer in scene.layers if layer.owner in ("head", "body", "wall")}
        # The ground around the object is of one colour: no shadow, no shading.
        corner = draw(dataclasses.replace(scene, layers=()), 32)
        assert len(np.unique(corner.reshape(-1, 3), axis=0)) == 1
    # Heads of cats and bears, heads of birds, walls, and the bodies of cars, birds and fish each have one place.
    assert len(frames) == 6


@given(st.integers(0, 2**32), st.integers(0, 40))
@settings(deadline=None, max_examples=15)
def test_at_another_size_it_is_the_same_scene(seed: int, i: int) -> None:
    small, large = Shapes(count=41, size=48, seed=seed), Shapes(count=41, size=192, seed=seed)
    shrunk = large.pixels(i).reshape(48, 4, 48, 4, 3).mean((1, 3))
    difference = np.abs(small.pixels(i) - shrunk)
    # One sample a pixel against sixteen: only what is finer than a pixel differs much.
    assert difference.mean() < 10
    assert np.quantile(difference, 0.75) < 12
    one, other = small.truth(i), large.truth(i)
    assert abs(one.object.mean() - other.object.mean()) < 0.02
    assert one.parts.keys() == other.parts.keys()


def test_each_amount_is_monotone_in_what_it_adds() -> None:
    covered = [
        sum(int(Shapes(60, 48, clutter=amount).truth(i).clutter.sum()) for i in range(60)) for amount in (0, 0.4, 1)
    ]
    assert covered[0] == 0 < covered[1] < covered[2]
    lone = [sum(len(Shapes(200, 16, distractors=a).truth(i).distractors) for i in range(200)) for a in (0, 0.5, 1)]
    assert lone[0] == 0 < lone[1] < lone[2] < 200


# --- the truth


@given(some_shapes(), st.data())
@settings(deadline=None, max_examples=40)
def test_masks_are_disjoint_lie_in_the_object_and_in_its_box(shapes: Shapes, data: st.DataObject) -> None:
    truth = shapes.truth(place(shapes, data))
    assert tuple(truth.parts) == shapes.parts[truth.name] or sorted(truth.parts) == sorted(shapes.parts[truth.name])
    masks = [*truth.parts.values(), *truth.distractors.values(), truth.clutter]
    assert all(mask.shape == (shapes.size, shapes.size) and mask.dtype == bool for mask in masks)
    assert sum(mask.astype(int) for mask in masks).max() <= 1
    for mask in truth.parts.values():
        assert not (mask & ~truth.object).any()
    assert truth.object.any()
    top, left, bottom, right = truth.box
    inside = truth.object[top:bottom, left:right]
    assert inside.sum() == truth.object.sum()
    assert inside[0].any()
    assert inside[-1].any()
    assert inside[:, 0].any()
    assert inside[:, -1].any()


@given(some_shapes(), st.data())
@settings(deadline=None, max_examples=25)
def test_shares_of_all_things_and_the_ground_make_one(shapes: Shapes, data: st.DataObject) -> None:
    scene = shapes._scene(place(shapes, data))
    shares = weights(scene, shapes.size)
    total = sum(shares.values(), np.zeros((shapes.size, shapes.size)))
    # What the ground keeps: the product of what every layer leaves.
    white = draw(whitened(scene, "ground"), shapes.size)[..., 0] / 255
    np.testing.assert_allclose(total + white, 1, atol=0.003)
    assert all(share.min() >= 0 and share.max() <= 1 + 1e-6 for share in shares.values())


def whitened(scene: Any, owner: str) -> Any:
    """The scene in flat light, all black but for one owner (or the ground), which is white."""
    black, white = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    layers = tuple(
        dataclasses.replace(layer, colour=white if layer.owner == owner else black, texture=None)
        for layer in scene.layers
    )
    ground = white if owner == "ground" else black
    return dataclasses.replace(
        scene,
        layers=layers,
        background=dataclasses.replace(scene.background, colour=ground, texture=None),
        light=type(scene.light)(),
    )


@given(some_shapes(clutter=1.0, size=40), st.data())
@settings(deadline=None, max_examples=25)
def test_a_part_is_where_pixels_change_when_it_is_painted_white(shapes: Shapes, data: st.DataObject) -> None:
    i = place(shapes, data)
    scene, truth = shapes._scene(i), shapes.truth(i)
    lone = {name: mask for name, mask in truth.distractors.items() if name not in truth.parts}
    for name, mask in {**truth.parts, **lone}.items():
        if name in truth.distractors and name in truth.parts:
            continue
        share = draw(whitened(scene, name), shapes.size)[..., 0] / 255
        sure = np.abs(share - 0.5) > 0.003
        np.testing.assert_array_equal(mask[sure], share[sure] > 0.5)


@given(some_shapes(light=0.0, textures=0.0), st.data())
@settings(deadline=None, max_examples=25)
def test_without_a_part_pixels_change_where_it_was_and_nowhere_else(shapes: Shapes, data: st.DataObject) -> None:
    i = place(shapes, data)
    truth, whole = shapes.truth(i), shapes.pixels(i)
    name = data.draw(st.sampled_from(list(truth.parts)))
    changed = (shapes.pixels(i, without=[name]) != whole).any(2)
    touched = weights(shapes._scene(i), shapes.size)["part", name] > 0
    # Without light there is no shadow: what a part does not touch stays to the bit.
    assert not (changed & ~touched).any()
    assert not (shapes.pixels(i, without=name) != shapes.pixels(i, without={name})).any()


def test_without_all_parts_the_object_is_gone() -> None:
    shapes = Shapes(12)
    for i in range(12):
        truth = shapes.truth(i)
        bare = shapes.pixels(i, without=truth.parts)
        scene = shapes._scene(i)
        np.testing.assert_array_equal(
            bare, draw(dataclasses.replace(scene, layers=tuple(x for x in scene.layers if x.role != "part")), 112)
        )
        assert (bare != shapes.pixels(i)).any(2)[truth.object].mean() > 0.9


@pytest.mark.parametrize("name", CLASSES)
def test_objects_are_whole_and_their_parts_are_seen(name: str) -> None:
    shapes = Shapes(40, 112, classes=[name], clutter=0)
    seen: Counter[str] = Counter()
    for i in range(40):
        truth = shapes.truth(i)
        top, left, bottom, right = truth.box
        # A margin on all sides: nothing is cut off.
        assert min(top, left) > 0
        assert max(bottom, right) < 112
        assert truth.object.mean() > 0.03
        seen += Counter(part for part, mask in truth.parts.items() if mask.sum() >= 4)
    assert set(seen) == set(shapes.parts[name])
    assert min(seen.values()) >= 36, seen


def test_left_and_right_are_the_pictures() -> None:
    shapes = Shapes(60, classes=["cat", "bear"], clutter=0)
    flips = 0
    for i in range(60):
        truth = shapes.truth(i)
        flips += truth.flipped
        for part in ("ear", "eye"):
            left, right = (np.nonzero(truth.parts[f"{side} {part}"])[1].mean() for side in ("left", "right"))
            assert left < right
    assert 15 < flips < 45


def test_front_wheels_are_before_rear_wheels() -> None:
    shapes = Shapes(60, classes=["car", "lorry", "bicycle"], clutter=0)
    for i in range(60):
        truth = shapes.truth(i)
        front, rear = (np.nonzero(truth.parts[f"{end} wheel"])[1].mean() for end in ("front", "rear"))
        assert (front < rear) == truth.flipped


def test_a_kind_of_part_is_all_parts_of_that_kind() -> None:
    shapes = Shapes(1, classes=["cat"])
    truth = shapes.truth(0)
    np.testing.assert_array_equal(truth.mask("eye"), truth.parts["left eye"] | truth.parts["right eye"])
    np.testing.assert_array_equal(truth.mask("nose"), truth.parts["nose"])
    with pytest.raises(ArgumentError, match=r"Expected a part of a cat, got 'noes'. Close matches: nose"):
        truth.mask("noes")
    assert "cat" in repr(truth)


def test_cats_and_bears_differ_in_their_ears_alone_and_fish_in_their_coats_alone() -> None:
    def same_draws(one: str, other: str, drop: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for i in range(20):
            yield tuple(  # type: ignore[misc]
                Shapes(20, classes=[name], distractors=0).pixels(
                    i, without=[part for part in Shapes().parts[name] if part.endswith(drop)]
                )
                for name in (one, other)
            )

    for cat, bear in same_draws("cat", "bear", " ear"):
        np.testing.assert_array_equal(cat, bear)
    for spotted, striped in same_draws("spotted fish", "striped fish", "body"):
        np.testing.assert_array_equal(spotted, striped)
    for i in range(5):
        spotted, striped = (Shapes(20, classes=[f"{name} fish"], distractors=0) for name in ("spotted", "striped"))
        changed = (spotted.pixels(i) != striped.pixels(i)).any(2)
        assert changed.any()
        assert not (changed & (weights(striped._scene(i), 112)["part", "body"] == 0)).any()


# --- as a data set


def test_images_of_shapes_have_names_and_labels() -> None:
    shapes = Shapes(30)
    images = Images.of(shapes)
    assert len(images) == 30
    assert [picture.label for picture in images] == [shapes.classes[shapes.label(i)] for i in range(30)]
    assert images[3].name == "Shapes 3"
    np.testing.assert_array_equal(np.asarray(images[3].image), shapes.pixels(3))


def test_stores_tell_sets_of_other_settings_apart() -> None:
    shapes = Shapes(30)
    images = Images.of(shapes)
    assert images.identity(3) == Images.of(Shapes(50)).identity(3)
    assert images.identity(3) != images.identity(4)
    assert images.identity(3) != Images.of(Shapes(30, seed=1)).identity(3)
    assert images.identity(3)[1] == Images.of(torch.utils.data.Subset(shapes, [9, 3])).identity(1)[1]


def test_a_survey_of_pictures_that_were_pickled_is_the_same() -> None:
    """What `jobs` sends to other processes: the pictures of a shard, pickled."""
    torch.manual_seed(0)
    layers = torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
    net = Network(torch.nn.Sequential(*layers, torch.nn.Linear(4, 2)).eval(), input_size=24)
    images = Images.of(Shapes(24, 24))
    here = survey(net, images, k=2, progress=False)
    there = survey(net, pickle.loads(pickle.dumps(images.only(range(24)))), k=2, progress=False)
    assert sorted(here.labels) == sorted(there.labels) == sorted(CLASSES)
    for layer in here.layers:
        np.testing.assert_array_equal(here.arrays(layer).images, there.arrays(layer).images)
        np.testing.assert_array_equal(here.arrays(layer).values, there.arrays(layer).values)


def test_a_sheet_has_the_first_pictures_row_by_row() -> None:
    shapes = Shapes(5, 20)
    sheet = np.asarray(shapes.sheet(3, 2))
    assert sheet.shape == (3 * 24 - 4, 2 * 24 - 4, 3)
    for i in range(5):
        top, left = i // 2 * 24, i % 2 * 24
        np.testing.assert_array_equal(sheet[top : top + 20, left : left + 20], shapes.pixels(i))
    assert (sheet[48:, 24:] == 255).all()
    assert shapes.sheet(1).size == (12 * 24 - 4, 20)
    with pytest.raises(ArgumentError, match="rows"):
        shapes.sheet(0)


def test_loaders_with_workers_give_the_same_pictures() -> None:
    shapes = Shapes(20, 24)
    loader = torch.utils.data.DataLoader(shapes, batch_size=6, num_workers=2, collate_fn=list)  # type: ignore[arg-type]
    loaded = [item for batch in loader for item in batch]
    assert [label for _, label in loaded] == [shapes.label(i) for i in range(20)]
    for i, (image, _) in enumerate(loaded):
        np.testing.assert_array_equal(np.asarray(image), shapes.pixels(i))


def test_iteration_ends() -> None:
    shapes = Shapes(5, 16)
    assert len(list(shapes)) == len(shapes) == 5
    for index in (5, -6):
        with pytest.raises(IndexError, match=f"from 0 to 4, got {index}"):
            shapes[index]


# --- bad input


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"count": 0}, "Expected count to be a whole number of at least 1, got 0"),
        ({"count": 1.5}, "Expected count"),
        ({"size": 15}, "Expected size to be a whole number of at least 16, got 15"),
        ({"seed": -1}, "Expected seed to be a whole number of at least 0, got -1"),
        ({"seed": 2**64}, "Expected seed to be below 2"),
        ({"split": "val"}, "Expected split as one of 'train', 'test', got 'val'"),
        ({"classes": []}, "Expected at least one class, got none"),
        ({"classes": "cat"}, "Expected classes as a list of names, got 'cat'"),
        ({"classes": ["cat", "dog"]}, "Expected classes as one of .*, got 'dog'"),
        ({"classes": ["cat", "cat"]}, "Expected every class once"),
        *(({name: -0.1}, f"Expected {name} to be a number from 0 .* got -0.1") for name in AMOUNTS),
        ({"clutter": 1.5}, "got 1.5"),
        ({"clutter": float("nan")}, "got nan"),
        ({"light": True}, "got True"),
        ({"light": "much"}, "got 'much'"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        Shapes(**settings)


def test_parts_that_a_picture_has_not_are_refused() -> None:
    shapes = Shapes(1, classes=["house"])
    with pytest.raises(ArgumentError, match=r"Expected parts of picture 0, got 'dor'. Close matches: door"):
        shapes.pixels(0, without=["dor"])
