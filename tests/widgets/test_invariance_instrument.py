"""The invariance instrument: what is shown where the slider is, the curves, and what a saved page holds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import traitlets

import convscope as cs
from convscope._ticks import round_ticks
from convscope_core.errors import ArgumentError, LayerError

TRANSFORMS = {"shift_x": [-6, 0, 6], "brightness": [0.5, 1]}


@pytest.fixture
def view(net: cs.Network, pictures: list[Any], show: Callable[[Any], Any]) -> cs.Invariance:
    made = show(cs.Invariance(net, pictures[:3], TRANSFORMS, fill="wrap"))
    assert made.wait(60)
    return made


def test_the_picture_where_the_slider_is_and_what_the_network_says(
    view: cs.Invariance, net: cs.Network, pictures: list[Any], browser_end: Any
) -> None:
    answer, (pixels,) = browser_end.ask(view, "moved", transform="shift_x", value=4, fill="wrap", picture=1)
    seen = np.frombuffer(pixels, np.uint8).reshape(32, 32, 3)
    np.testing.assert_array_equal(seen, np.roll(net.picture(pictures[1]), 4, 1))
    clean, moved = net.predict(pictures[1]), net.predict(net.prepare(pictures[1]).roll(4, 3))
    assert (answer["label"], answer["top"]) == (clean.label, moved.label)
    assert answer["now"] == pytest.approx(float(moved.probabilities[clean.index]), rel=1e-5)
    assert answer["before"] == pytest.approx(clean.probability, rel=1e-5)
    for layer in view._layers:
        a, b = (net.activations(x, layer)[layer].flatten() for x in (pictures[1], net.prepare(pictures[1]).roll(4, 3)))
        found = answer["distances"][layer]
        assert found["raw"] == pytest.approx(float((a - b).norm()), rel=1e-4)
        assert found["cosine"] == pytest.approx(1 - float(torch.cosine_similarity(a, b, 0)), abs=1e-5)
    answer, _ = browser_end.ask(view, "moved", transform="brightness", value=1, fill="wrap", picture=1)
    assert all(one == 0 for layer in answer["distances"].values() for one in layer.values())
    answer, (tiles,) = browser_end.ask(view, "thumbnails", transform="shift_x", value=0, fill="wrap")
    assert len(tiles) == answer["count"] * answer["side"] ** 2 * 3 == 3 * 84 * 84 * 3


def test_curves_are_those_of_the_function_and_follow_what_is_chosen(
    view: cs.Invariance, net: cs.Network, pictures: list[Any]
) -> None:
    truth = cs.invariance(net, pictures[:3], TRANSFORMS, view._layers, fill="wrap", progress=False)
    np.testing.assert_allclose(view.results["shift_x"].distance, truth.distance[:, :, :3], rtol=1e-5)
    assert list(view.results) == ["shift_x"]
    assert view.consistency is not None
    view.transform = "brightness"
    assert view.value == 1
    assert view.wait(60)
    held = view._invariance["curves"]["brightness"]
    layer = view._layers[0]
    np.testing.assert_allclose(
        held["distances"]["relative"][layer]["mean"], truth.curve("brightness", layer).mean, rtol=1e-5
    )
    names = [mark.labels[0] for mark in view.curves._distances.figure.marks if mark.labels]
    assert names == list(view._layers)
    # Bands are seen as far as they go.
    bands = [mark for mark in view.curves._distances.figure.marks if getattr(mark, "fill", "none") == "inside"]
    assert len(bands) == len(names)
    assert view.curves._distances._y.max >= max(float(np.max(band.y)) for band in bands)
    view.shown = view._layers[1:]
    assert [m.labels[0] for m in view.curves._distances.figure.marks if m.labels] == list(view._layers[1:])
    view.value = 0.5
    assert view.curves._distances._cursor.x.tolist() == [0.5, 0.5]
    view.fill = "red"
    assert view.fill == "#ff0000"
    assert view.wait(60)
    assert list(view.results) == ["brightness"]
    assert view.results["brightness"].fill == "#ff0000"
    assert view.consistency.fill == "#ff0000"


def test_a_saved_page_holds_the_pictures_along_the_slider(view: cs.Invariance) -> None:
    assert [content["value"] for kind, content in view._snapshot() if kind == "moved"] == [-6, 0, 6]
    view.value = 2
    assert [content["value"] for kind, content in view._snapshot() if kind == "moved"] == [-6, 0, 2, 6]
    page = view.to_html()
    assert "shift consistency" in page
    assert page.count('"kind": "moved"') + page.count('"kind":"moved"') == 4


def test_pictures_that_cannot_be_read_are_passed_by(
    net: cs.Network, show: Callable[[Any], Any], browser_end: Any, damaged: Path
) -> None:
    view = show(cs.Invariance(net, damaged, TRANSFORMS))
    assert view.wait(60)
    assert (view.picture, view._work["state"]) == (1, "done")
    curves = view._invariance["curves"]["shift_x"]
    assert (curves["pictures"], curves["skipped"], view._invariance["consistency"]["pictures"]) == (2, 2, 2)
    answer, (tiles,) = browser_end.ask(view, "thumbnails", transform="shift_x", value=0)
    assert (answer["pictures"], sorted(answer["unread"])) == ([1, 3], ["0", "2"])
    assert len(tiles) == 2 * answer["side"] ** 2 * 3
    assert browser_end.ask(view, "moved", transform="shift_x", value=0)[0]["ok"]


def test_what_cannot_be_is_refused(view: cs.Invariance, net: cs.Network, pictures: list[Any]) -> None:
    with pytest.raises(ArgumentError, match="transform as one of 'shift_x', 'brightness'"):
        view.transform = "hue"
    with pytest.raises(traitlets.TraitError, match="from -6 to 6 for shift_x"):
        view.value = 7
    with pytest.raises(ArgumentError, match="fill"):
        view.fill = "blur"
    with pytest.raises(ArgumentError, match="layers that are measured"):
        view.shown = [next(one.name for one in net.layers if one.name not in view._layers)]
    with pytest.raises(LayerError):
        cs.Invariance(net, pictures, layers="conv9")
    with pytest.raises(ArgumentError, match="transform as one of 'shift_x', got 'spin'"):
        cs.Invariance(net, pictures, "shift_x", transform="spin")
    with pytest.raises(ArgumentError, match="at least one transformation"):
        cs.Invariance(net, pictures, {})
    with pytest.raises(TypeError, match="options that Invariance has"):
        cs.Invariance(net, pictures, speed=3)
    assert (view.transform, view.fill, view.value) == ("shift_x", "wrap", 0)


def test_ticks_are_round() -> None:
    assert list(round_ticks(-60, 60)) == [-60, -40, -20, 0, 20, 40, 60]
    np.testing.assert_allclose(list(round_ticks(0, 1)), [0, 0.2, 0.4, 0.6, 0.8, 1])
    np.testing.assert_allclose(list(round_ticks(1, 1.8)), [1, 1.2, 1.4, 1.6, 1.8])
