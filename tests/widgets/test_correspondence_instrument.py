"""The correspondence instrument: scores of what is clicked, of masks, and what is kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import traitlets

import convscope as cs
from convscope_core.errors import ArgumentError, LayerError
from convscope_core.experiments.part_correspondence import run as scoring

POINTS = [(9, 9), (20, 20), None, (4, 30)]
SETTINGS: dict[str, Any] = {"places": 5, "permutations": 30}


@pytest.fixture
def view(net: cs.Network, pictures: list[Any], show: Callable[[Any], Any]) -> cs.Correspondence:
    made: cs.Correspondence = show(cs.Correspondence(net, pictures[:4], size=6, **SETTINGS))
    assert made.wait(60)
    return made


def mask(top: int, left: int) -> np.ndarray:
    found = np.zeros((32, 32), bool)
    found[top : top + 6, left : left + 6] = True
    return found


def same(found: cs.CorrespondenceResult, truth: cs.CorrespondenceResult) -> None:
    assert found.layers == truth.layers
    assert found.pictures == truth.pictures
    for name in ("all_entries", "changed_entries"):
        for field in ("delta", "random", "low", "high", "p"):
            np.testing.assert_array_equal(getattr(getattr(found, name), field), getattr(getattr(truth, name), field))


def truth_of(view: cs.Correspondence, **more: Any) -> cs.CorrespondenceResult:
    points = [point and tuple(point) for point in view.points]
    return cs.correspondence(
        view.net, view.images, points, view.layers, size=view.size, progress=False, **SETTINGS, **more
    )


def test_scores_are_those_of_the_function_and_grow_with_each_click(view: cs.Correspondence) -> None:
    assert view.result is None
    assert view._work["state"] == "none"
    view.points = [(9, 9), None, None, None]
    assert view.wait(60)
    assert view.result is None
    for points in ([(9, 9), (20, 20), None, None], POINTS, [(9, 9), (20, 20), (15, 3), (4, 30)]):
        view.points = points
        assert view.wait(60)
        assert view._work["state"] == "done"
        same(view.result, truth_of(view))
    (row,) = view._rows
    assert (row["name"], row["current"], row["pictures"]) == ("part 1", True, 4)
    layer = view.layers[0]
    assert row["scores"][layer]["all"]["delta"] == view.result.delta[0, 0]
    assert row["scores"][layer]["changed"]["p"] == view.result.changed_entries.p[0, 0]
    view.size = 9
    view.layers = [view.net.layers[0].name]
    assert view.wait(60)
    same(view.result, truth_of(view))
    view.reset()
    assert view.wait(60)
    assert (view.result, view._rows, view._work["state"]) == (None, [], "none")


def test_another_click_computes_only_what_it_adds(view: cs.Correspondence, monkeypatch: pytest.MonkeyPatch) -> None:
    computed = []
    actual = scoring.Run._computed
    monkeypatch.setattr(
        scoring.Run, "_computed", lambda run, part, number, at: computed.append(at) or actual(run, part, number, at)
    )
    view.points = POINTS
    assert view.wait(60)
    view.points = [(9, 9), (20, 20), (15, 3), (4, 30)]
    assert view.wait(60)
    view.points = [(9, 9), (21, 20), (15, 3), (4, 30)]
    assert view.wait(60)
    assert computed == [0, 1, 3, 2, 1]
    assert len(view._memory) == 4


def test_a_click_takes_the_place_of_work_under_way(view: cs.Correspondence, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever step the older work is in, nothing of it is found afterwards."""
    actual, clicks = scoring.Run._computed, iter([[(1, 1), (20, 20), None, None]])

    def click_in_between(run: Any, part: str, number: int, at: int) -> Any:
        if at == 1 and (points := next(clicks, None)):
            view.points = points
        return actual(run, part, number, at)

    monkeypatch.setattr(scoring.Run, "_computed", click_in_between)
    view.points = POINTS
    assert view.wait(60)
    assert view._work["state"] == "done"
    same(view.result, truth_of(view))


def test_masks_are_rows_of_their_own_and_kept_parts_join_them(
    net: cs.Network, pictures: list[Any], show: Callable[[Any], Any], browser_end: Any
) -> None:
    masks = {"eye": [mask(3, 3), mask(8, 20), None, mask(20, 20)]}
    view = show(cs.Correspondence(net, pictures[:4], masks, part="nose", size=6, **SETTINGS))
    assert view.wait(60)
    same(view.results["eye"], cs.correspondence(net, pictures[:4], masks, progress=False, **SETTINGS))
    view.points = POINTS
    assert view.wait(60)
    nose = view.result
    with pytest.raises(ArgumentError, match="name that no other part has"):
        view.part = "eye"
    view.part = "snout"
    assert view.result.parts == ("snout",)
    view._handle_custom_msg({"kind": "keep"}, [])
    assert view.wait(60)
    assert (view.part, view.points, view.result) == ("part 1", [None] * 4, None)
    assert [row["name"] for row in view._rows] == ["eye", "snout"]
    same(view.results["snout"], nose)
    answer, (bits,) = browser_end.ask(view, "covered", shown="eye")
    seen = np.unpackbits(np.frombuffer(bits, np.uint8)).reshape(answer["count"], 32, 32)
    np.testing.assert_array_equal(seen, [np.zeros((32, 32)) if one is None else one for one in masks["eye"]])
    view.shown = "snout"
    view.points = [None, None, None, (3, 3)]
    assert view.shown == ""
    view.layers = ["0"]
    assert view.wait(60)
    assert [view.results[name].layers for name in ("eye", "snout")] == [("0",), ("0",)]
    page = view.to_html()
    assert page.count("covered") >= 2
    assert "snout" in page
    assert view.still()


def test_pictures_come_as_the_network_takes_them(
    view: cs.Correspondence, net: cs.Network, pictures: list[Any], browser_end: Any
) -> None:
    answer, (pixels,) = browser_end.ask(view, "views")
    seen = np.frombuffer(pixels, np.uint8).reshape(answer["count"], answer["height"], answer["width"], 3)
    np.testing.assert_array_equal(seen, [net.picture(one) for one in pictures[:4]])


def test_pictures_that_cannot_be_read_are_passed_by(
    net: cs.Network, show: Callable[[Any], Any], browser_end: Any, damaged: Path
) -> None:
    view = show(cs.Correspondence(net, damaged, points=[None, (9, 9), None, (8, 8)], **SETTINGS))
    assert view.wait(60)
    assert view._work["state"] == "done"
    answer, (pixels,) = browser_end.ask(view, "views")
    assert (answer["pictures"], sorted(answer["unread"])) == ([1, 3], ["0", "2"])
    seen = np.frombuffer(pixels, np.uint8).reshape(answer["count"], answer["height"], answer["width"], 3)
    np.testing.assert_array_equal(seen, [net.picture(damaged / f"{index}.png") for index in (1, 3)])
    assert view.still()


def test_what_ends_the_work_is_shown_and_the_next_click_goes_on(
    net: cs.Network, pictures: list[Any], show: Callable[[Any], Any], browser_end: Any
) -> None:
    on = [mask(0, 0)] * 4  # the middle of a mask of 16 pixels cannot lie there
    view = show(cs.Correspondence(net, pictures[:4], objects=on, size=16, points=POINTS, **SETTINGS))
    assert view.wait(60)
    assert view._work["state"] == "failed"
    errors = [content["error"] for content, _ in browser_end.received if content.get("work") and content["error"]]
    assert "smaller mask" in errors[-1]["message"]
    view.size = 4
    assert view.wait(60)
    assert view._work["state"] == "done"
    same(view.result, truth_of(view, objects=on))


def test_what_cannot_be_is_refused(view: cs.Correspondence, net: cs.Network, pictures: list[Any]) -> None:
    for points, words in [
        ([(1, 1)], "for 4 pictures"),
        ([(1, 1), (40, 1), None, None], "inside 32x32 in picture 1"),
        ([(1, 1), (True, 1), None, None], "row, column"),
        ([(1, 1, 1), None, None, None], "row, column"),
        ([(0.5, 1), None, None, None], "row, column"),
    ]:
        with pytest.raises(ArgumentError, match=words):
            view.points = points
    with pytest.raises(traitlets.TraitError, match="size from 1 to 16"):
        view.size = 17
    with pytest.raises(LayerError):
        view.layers = ["conv9"]
    with pytest.raises(ArgumentError, match="at least one layer"):
        view.layers = []
    with pytest.raises(ArgumentError, match="part that is known"):
        view.shown = "eye"
    with pytest.raises(ArgumentError, match="two pictures at least"):
        view.keep()
    with pytest.raises(ArgumentError, match="2 to 48 pictures"):
        cs.Correspondence(net, pictures[:1])
    with pytest.raises(ArgumentError, match="at least two pictures"):
        cs.Correspondence(net, pictures[:3], [mask(1, 1), None, None])
    with pytest.raises(ArgumentError, match="places"):
        cs.Correspondence(net, pictures, places=0)
    assert (view.points, view.size, view.result) == ([None] * 4, 6, None)
