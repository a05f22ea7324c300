"""The instrument that compares two networks: what the functions find, and one square at one place of both pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision.transforms.v2 as tv
import traitlets
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

import convscope as cs
from convscope.panes.compare.together import Together, picture_size, together
from convscope_core.errors import ArgumentError, ImageError, LayerError

LABELS = [f"class {index}" for index in range(7)]


def other_module(classes: int = 7) -> nn.Module:
    torch.manual_seed(5)
    layers = [nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 9, 3, 2), nn.ReLU()]
    module = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(9, classes))
    with torch.no_grad():
        module[7].weight.mul_(400)
        # Its answers are about what differs from picture to picture.
        module[7].bias.copy_(-module[7].weight @ module[:7](torch.rand(16, 3, 6, 6).repeat(1, 1, 8, 8)).mean(0))
    return module.eval()


@pytest.fixture(scope="module")
def other() -> cs.Network:
    return cs.Network(other_module(), labels=LABELS, input_size=48, name="other")


@pytest.fixture(scope="module")
def images(pictures: list[np.ndarray]) -> list[cs.Picture]:
    return [cs.Picture(one, f"picture {n}", LABELS[n % 3]) for n, one in enumerate(pictures)]


@pytest.fixture(scope="module")
def found(net: cs.Network, other: cs.Network, images: list[Any]) -> cs.Comparison:
    return cs.compare(net, other, images, progress=False)


@pytest.fixture
def view(found: cs.Comparison, show: Callable[[Any], Any]) -> cs.Compare:
    made: cs.Compare = show(cs.Compare(found))
    assert made.wait(60)
    return made


def test_in_the_background_it_finds_what_the_functions_do(
    net: cs.Network, other: cs.Network, images: list[Any], found: cs.Comparison, show: Callable[[Any], Any]
) -> None:
    view = show(cs.Compare(net, other, images))
    assert not view._comparison["known"]
    assert len(view.images) == len(images)
    assert view.wait(60)
    assert (view._work["state"], view._work["done"]) == ("done", 4 * len(images))
    np.testing.assert_array_equal(view.result.cka, found.cka)
    assert view.result.disagreements() == found.disagreements()
    told = view._comparison
    assert told["known"]
    assert [side["name"] for side in told["sides"]] == ["small", "other"]
    assert (told["compared"], told["agreement"]) == (len(images), found.agreement)
    rows = {row["name"]: row["values"] for row in told["numbers"]}
    assert rows["accuracy"] == [found.accuracy("a"), found.accuracy("b")]
    assert rows["parameters"] == [net.parameters, other.parameters]
    for which, side in enumerate((found.a, found.b)):
        health = cs.filter_health(side.network, side.survey, progress=False)
        first = told["sides"][which]["first"]
        assert first["dead"] == np.flatnonzero(health.dead).tolist()
        assert first["dead_by"] == health.dead_by == "weights"  # too few pictures tell
        assert first["coverage"] == health.coverage
        assert first["folded"] == health[0].folded or np.isnan(health[0].folded)
        assert repr(view.health[which]) == repr(health)


def test_pictures_at_hand_are_those_on_which_they_disagree(view: cs.Compare, found: cs.Comparison) -> None:
    truth = found.disagreements()
    assert truth
    assert [row["image"] for row in view._comparison["answers"]] == [one.image for one in truth]
    assert [row["answers"] for row in view._comparison["answers"]] == [[one.a, one.b] for one in truth]
    assert [row["right"] for row in view._comparison["answers"]] == [
        [one.a == one.label, one.b == one.label] for one in truth
    ]
    assert [one.name for one in view.images] == [found.images[one.image].name for one in truth]
    view.picture = 1
    assert view.wait(60)
    frames = [view._answer("occlude", {})[0], view._answer("occlude_b", {})[0]]
    assert [one["before"]["label"] for one in frames] == [truth[1].a, truth[1].b]


def test_first_layers_come_on_one_scale(view: cs.Compare, found: cs.Comparison, browser_end: Any) -> None:
    answer, buffers = browser_end.ask(view, "filters")
    strongest = max(float(side.network.weight("0").abs().max()) for side in (found.a, found.b))
    for side, one, pixels in zip((found.a, found.b), answer["sides"], buffers, strict=True):
        weight = side.network.weight("0").numpy()
        assert (one["layer"], one["count"]) == ("0", len(weight))
        tiles = np.frombuffer(pixels, np.uint8).reshape(one["count"], one["height"], one["width"], 3)
        # Grey is 0, black and white are the strongest weight of both, in eight bits.
        shown = (tiles.astype(float) / 255 - 0.5) * 2 * strongest
        np.testing.assert_allclose(shown, weight.transpose(0, 2, 3, 1), atol=2 * strongest / 127)


def test_a_cell_gives_matched_units_with_their_patches(
    view: cs.Compare, found: cs.Comparison, browser_end: Any
) -> None:
    answer, (values,) = browser_end.ask(view, "cka")
    matrix = np.frombuffer(values, np.float32).reshape(answer["rows"], answer["columns"])
    np.testing.assert_allclose(matrix, found.cka, rtol=1e-6)
    for order, truth in (
        ("mutual", [one for one in found.matches("3", "0") if one.mutual]),
        ("alike", found.matches("3", "0")),
        ("unlike", found.matches("3", "0")[::-1]),
    ):
        answer, buffers = browser_end.ask(view, "matches", layer_a="3", layer_b="0", pair_order=order, pairs=5)
        assert answer["all"] == len(truth)
        assert [one["units"] for one in answer["pairs"]] == [[one.a, one.b] for one in truth[:5]]
        assert [one["r"] for one in answer["pairs"]] == [one.correlation for one in truth[:5]]
        for which, (side, layer) in enumerate(((found.a, "3"), (found.b, "0"))):
            counts = [one["patches"][which] for one in answer["pairs"]]
            units = [one["units"][which] for one in answer["pairs"]]
            assert counts == [min(6, len(side.survey.top(layer, unit))) for unit in units]
            assert len(buffers[which]) == sum(counts) * answer["side"] ** 2 * 3
            # Beyond the border of its picture a patch shows nothing.
            high, wide = side.network.input_shape[1:]
            for one, within in zip(
                (one for unit in units for one in side.survey.top(layer, unit)[:6]),
                answer["inside"][which],
                strict=True,
            ):
                top, left, bottom, right = one.box
                rows = [row for row in range(top, bottom) if 0 <= row < high]
                columns = [column for column in range(left, right) if 0 <= column < wide]
                share = [rows[0] - top, columns[0] - left, rows[-1] + 1 - top, columns[-1] + 1 - left]
                shape = [bottom - top, right - left]
                assert within == pytest.approx(np.divide(share, shape * 2).tolist())


def test_units_may_show_what_they_picked_out(view: cs.Compare, found: cs.Comparison, browser_end: Any) -> None:
    ask = {"layer_a": "3", "layer_b": "0", "pair_show": "projection", "pairs": 4}
    answer, buffers = browser_end.ask(view, "matches", **ask)
    assert answer["pair_show"] == "projection"
    for which, (side, layer) in enumerate(((found.a, "3"), (found.b, "0"))):
        tiles = np.frombuffer(buffers[which], np.uint8).reshape(-1, answer["side"], answer["side"], 3)
        assert len(tiles) == sum(one["patches"][which] for one in answer["pairs"])
        assert answer["pairs"][0]["patches"][which] == 4  # two projections, and the patch beside each
        assert len(answer["inside"][which]) == len(tiles)
        assert answer["inside"][which][::2] == answer["inside"][which][1::2]
        unit = answer["pairs"][0]["units"][which]
        top = side.survey.top(layer, unit)[0]
        truth = cs.project(side.network, found.images[top.image].image, layer, unit, (top.row, top.column))
        shown = tiles[0].astype(int) - 128
        assert np.abs(shown).max() >= 126
        large = torch.nn.functional.interpolate(torch.from_numpy(truth.values)[None], tuple(shown.shape[:2]))[0]
        correlation = np.corrcoef(large.numpy().transpose(1, 2, 0).ravel(), shown.ravel())[0, 1]
        assert correlation > 0.9
    view.pair_show = "projection"
    assert view.still()


def test_it_opens_on_the_layer_that_is_most_alike(view: cs.Compare, found: cs.Comparison) -> None:
    names = [[layer.name for layer in side] for side in found.layers]
    row = found.cka[names[0].index(view.layer_a)]
    assert view.layer_b == names[1][int(np.nanargmax(row))]


# ---- one square for both


class Cut(nn.Module):
    """Takes a part of a picture, in shares of it (top, left, height, width), and scales it to a square."""

    def __init__(self, size: int, part: tuple[float, float, float, float], mirrored: bool = False) -> None:
        super().__init__()
        self.size, self.part, self.mirrored = size, part, mirrored
        self.rest = tv.Compose([tv.ToImage(), tv.ToDtype(torch.float32, scale=True)])

    def forward(self, picture: Image.Image) -> torch.Tensor:
        (w, h), (top, left, high, wide) = picture.size, self.part
        box = (left * w, top * h, (left + wide) * w, (top + high) * h)
        found: torch.Tensor = self.rest(picture.resize((self.size, self.size), Image.Resampling.BILINEAR, box=box))
        return found.flip(2) if self.mirrored else found


def seeing(size: int, part: tuple[float, float, float, float], mirrored: bool = False) -> cs.Network:
    return cs.Network(other_module(), labels=LABELS, input_size=size, preprocess=Cut(size, part, mirrored))


starts = st.tuples(st.floats(0, 0.4), st.floats(0, 0.4), st.floats(0.4, 0.6), st.floats(0.4, 0.6))
sides = st.integers(24, 90)


@settings(max_examples=6, deadline=None, database=None)
@given(starts, starts, sides, sides, st.tuples(st.integers(120, 500), st.integers(120, 500)))
def test_a_place_is_found_through_both_preprocessings(
    part: tuple[float, float, float, float],
    other_part: tuple[float, float, float, float],
    size: int,
    other_size: int,
    picture: tuple[int, int],
) -> None:
    found = together(seeing(size, part), seeing(other_size, other_part), picture)
    for axis, (offset, scale) in enumerate(found):
        # Where rows 0 and `size` are in the picture, and there on the other's input.
        start, other_start = part[axis], other_part[axis]
        long, other_long = part[axis + 2], other_part[axis + 2]
        for row in (0, size):
            truth = (start + long * row / size - other_start) / other_long * other_size
            assert offset + scale * row == pytest.approx(truth, abs=1.0)  # a pixel


def test_a_box_moves_as_in_the_browser() -> None:
    found = Together((3, 1.5), (0, 2))
    assert found.box((4, 4), 8, (60, 60)) == ((9, 8), (12, 16))
    assert found.box((19, 19), 1, (30, 30)) == ((28, 28), (2, 2))
    assert found.box((0, 0), 20, (12, 12)) == ((0, 0), (12, 12))


def test_of_a_preprocessing_that_bends_the_picture_shares_are_taken() -> None:
    whole = (0.0, 0.0, 1.0, 1.0)
    found = together(seeing(40, whole), seeing(60, whole, mirrored=True), (100, 100))
    assert found == ((0, 1.5), (0, 1.5))


def test_with_the_same_preprocessing_it_is_the_same_place_to_the_pixel(net: cs.Network) -> None:
    for size in ((32, 32), (200, 90), (17, 400)):
        found = together(net, net, size)
        assert found.box((3, 5), 7, (32, 32)) == ((3, 5), (7, 7))
    assert picture_size(cs.Picture(torch.zeros(3, 32, 32), "prepared")) is None
    assert together(net, net, None) == ((0, 1), (0, 1))


def test_the_square_is_on_both_pictures(view: cs.Compare, net: cs.Network, other: cs.Network, browser_end: Any) -> None:
    view.size, view.position = 8, (4, 12)
    assert view.wait(60)
    answer = browser_end.ask(view, "together", picture=0)[0]
    np.testing.assert_allclose(answer["rows"], (0, 1.5), atol=0.1)
    frame = view._answer("occlude_b", {})[0]
    assert (frame["position"], frame["size"]) == ([6, 18], 12)
    picture = view.images[0].image
    for network, position, size, probability in (
        (net, (4, 12), 8, view.probability),
        (other, (6, 18), 12, view.probability_b),
    ):
        clean = network.predict(picture).index
        x = network.prepare(picture).clone()
        grey = network.to_network(torch.full((3, 1, 1), 0.5))
        x[0, :, position[0] : position[0] + size, position[1] : position[1] + size] = grey
        now = network.prediction(network.forward(x)[0]).probabilities[clean]
        assert probability == pytest.approx(float(now), rel=1e-3, abs=1e-5)
    view.target_b = "class 2"
    assert view.wait(60)
    assert view._answer("occlude_b", {})[0]["target"]["label"] == "class 2"
    assert len(view._occluder_b.trail.visited) == 1
    view.clear_trail()
    assert not view._occluder_b.trail.visited
    assert not view.trail


# ---- any two networks


def test_of_other_classes_the_answers_are_shown_and_what_is_wrong_is_said(
    net: cs.Network, images: list[Any], show: Callable[[Any], Any]
) -> None:
    animals = cs.Network(other_module(3), labels=["cat", "dog", "cow"], input_size=40, name="animals")
    view = show(cs.Compare(net, animals, images[:5]))
    assert view.wait(60)
    told = view._comparison
    assert "classes in common" in told["complaint"]
    assert (told["agreement"], told["disagreements"]) == (pytest.approx(np.nan, nan_ok=True), None)
    assert [row["image"] for row in told["answers"]] == [0, 1, 2, 3, 4]
    assert told["answers"][0]["answers"] == [net.predict(images[0]).label, animals.predict(images[0]).label]
    # The pictures' classes are none of the second network's.
    for row, one in zip(told["answers"], images[:5], strict=True):
        assert row["label"] == one.label
        assert row["right"] == [net.predict(one).label == one.label, None]


def test_where_they_agree_on_all_pictures_the_first_are_shown(
    net: cs.Network, images: list[Any], show: Callable[[Any], Any], browser_end: Any
) -> None:
    view = show(cs.Compare(net, net, images[:3]))
    assert view.wait(60)
    told = view._comparison
    assert (told["disagreements"], told["agreement"], len(told["answers"])) == (0, 1.0, 3)
    assert "at least 4 sampled pictures" in told["cka"]
    # Of two or three pictures nearly all units correlate.
    assert browser_end.ask(view, "matches")[0]["pairs"] == []
    assert view.to_html()


def test_without_a_first_convolution_that_is_said(
    net: cs.Network, images: list[Any], show: Callable[[Any], Any], browser_end: Any
) -> None:
    torch.manual_seed(0)
    flat = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 8), nn.ReLU(), nn.Linear(8, 7)).eval()
    view = show(cs.Compare(net, cs.Network(flat, labels=LABELS, input_size=16, name="flat"), images))
    assert view.wait(60)
    assert view._work["state"] == "done"
    assert "first layer is a convolution" in view._comparison["sides"][1]["complaint"]
    answer, buffers = browser_end.ask(view, "filters")
    assert answer["sides"][1] is None
    assert len(buffers[1]) == 0
    assert view.still()


def test_the_occluders_figure_is_of_both_networks(view: cs.Compare, net: cs.Network, other: cs.Network) -> None:
    view.position = (6, 2)
    assert view.wait(60)
    panels = view.figure("occluder").axes
    assert [one.get_title() for one in panels[::2]] == [f"{view.images[0].name} · {one.name}" for one in (net, other)]
    for network, bars in zip((net, other), panels[1::2], strict=True):
        clean = network.predict(view.images[view.picture].image)
        labels = [one.get_text() for one in bars.get_yticklabels()]
        expected = [clean.probabilities[network.class_index(label)] for label in labels]
        np.testing.assert_allclose([one.get_width() for one in bars.containers[0]], expected, atol=1e-6)
    assert panels[2].images[0].get_array().shape == (48, 48, 3)


# ---- stopped, failed, refused


def test_stopped_it_goes_on_where_it_was(
    net: cs.Network, other: cs.Network, images: list[Any], found: cs.Comparison, show: Callable[[Any], Any]
) -> None:
    view = show(cs.Compare(net, other, images))
    seen = []

    def stop(change: Any) -> None:
        seen.append(change["new"]["done"])
        if change["new"]["state"] == "running" and change["new"]["done"] == 8:
            view.unobserve(stop, "_work")
            view.cancel()

    view.observe(stop, "_work")
    assert view.wait(60)
    assert view._work["state"] == "cancelled"
    assert view.result is None
    view.observe(lambda change: seen.append(change["new"]["done"]), "_work")
    view._handle_custom_msg({"kind": "resume"}, [])
    assert view.wait(60)
    assert view._work["state"] == "done"
    assert seen[:3] == [4, 8, 8]  # the third says that it is stopped
    assert seen.count(4) == 1  # no picture is seen twice
    np.testing.assert_array_equal(view.result.cka, found.cka)


def test_what_ends_it_is_shown_and_it_begins_again(
    net: cs.Network, images: list[Any], show: Callable[[Any], Any], browser_end: Any
) -> None:
    broken = net.with_tensors(lambda tensor: tensor * 3e38, "broken")
    view = show(cs.Compare(net, broken, images))
    assert view.wait(60)
    assert view._work["state"] == "failed"
    (error,) = [content["error"] for content, _ in browser_end.received if content.get("work") and content["error"]]
    assert "the second network" in error["message"]
    view.start()
    assert view.wait(60)
    assert view._work["state"] == "failed"


def test_what_cannot_be_is_refused(
    net: cs.Network, other: cs.Network, images: list[Any], found: cs.Comparison, view: cs.Compare, browser_end: Any
) -> None:
    with pytest.raises(ArgumentError, match="no second network"):
        cs.Compare(net)
    with pytest.raises(ArgumentError, match="no pictures"):
        cs.Compare(net, other)
    with pytest.raises(ArgumentError, match="comparison alone"):
        cs.Compare(found, images=images)
    with pytest.raises(ArgumentError, match=r"net_b as a Network, got a Sequential"):
        cs.Compare(net, other_module(), images)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match=r"net_a as a Network, got a Sequential"):
        cs.Compare(other_module(), other, images)  # type: ignore[arg-type]
    with pytest.raises(LayerError):
        cs.Compare(net, other, images, layers_b="conv9")
    with pytest.raises(ImageError, match="does not exist"):
        cs.Compare(net, other, "no/such/folder")
    with pytest.raises(ArgumentError, match="sample"):
        cs.Compare(net, other, images, sample=0)
    with pytest.raises(TypeError, match="options that Compare has"):
        cs.Compare(found, colour="red")
    with pytest.raises(LayerError):
        view.layer_a = "conv9"
    with pytest.raises(ArgumentError, match="that is compared"):
        view.layer_a = "2"  # a pool
    with pytest.raises(traitlets.TraitError):
        view.pair_order = "other"
    with pytest.raises(ArgumentError, match="pairs from 1 to 120"):
        view.pairs = 0
    with pytest.raises(ArgumentError):
        view.target_b = 99
    with pytest.raises(traitlets.TraitError):
        view.picture = 99
    assert (view.target_b, view.pairs, view.pair_order) == (None, 12, "mutual")
    assert browser_end.ask(view, "matches", layer_a="2")[0]["error"]["name"] == "ArgumentError"
    assert browser_end.ask(view, "occlude_b", size=49)[0]["error"]["message"].startswith("Expected size")


def test_a_saved_page_and_a_still_picture_hold_what_is_shown(view: cs.Compare) -> None:
    page = view.to_html()
    for kind in ("filters", "cka", "matches", "occlude", "occlude_b", "photo_b", "fill_b", "trail_b", "together"):
        assert f'"kind": "{kind}"' in page
    assert view.still()


def test_it_opens_on_the_first_picture_that_both_can_read(
    net: cs.Network, other: cs.Network, damaged: Path, show: Callable[[Any], Any], browser_end: Any
) -> None:
    view = show(cs.Compare(net, other, damaged))
    assert (view.picture, view.images[1].name) == (1, "1.png")
    assert all(browser_end.ask(view, kind, picture=1)[0]["ok"] for kind in ("photo", "photo_b"))
    assert view.wait(60)
    shown = [view.images[index].name for index in range(len(view.images))]
    assert shown[view.picture] in ("1.png", "3.png")
    assert (view._comparison["compared"], view._comparison["unread"]) == (2, 2)
    for kind in ("photo", "photo_b", "occlude", "occlude_b"):
        assert browser_end.ask(view, kind)[0]["ok"]
    # What is known is shown also where none of its pictures is there any longer.
    for name in ("1.png", "3.png"):
        (damaged / name).write_bytes(b"")
    again = show(cs.Compare(view.result))
    assert again.wait(60)
    assert again.picture == 0
    answer, _ = browser_end.ask(again, "photo")
    assert answer["error"]["name"] == "ImageError"
    with pytest.raises(ImageError, match=r"0\.png"):
        cs.Compare(net, other, damaged)
