"""A widget's life: nothing that comes over the wire breaks it, and nothing of it is left behind.

`widget_harness.py` does the same at any size.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import traitlets
from torch import nn

import convscope as cs
from convscope._worker import Worker

HERE = Path(__file__).parent
KINDS = [
    "Compare", "Correspondence", "Evolution", "Explorer", "FilterGrid", "Gallery", "HealthView", "Invariance",
    "Occluder", "OcclusionMap", "PatternReport", "UnitPanel",
]  # fmt: skip


@pytest.fixture(scope="module")
def harness() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(HERE)
        import widget_harness

        yield widget_harness


@pytest.fixture(scope="module")
def workshop(harness: ModuleType) -> Any:
    return harness.Workshop()


def test_the_harness_makes_every_instrument(workshop):
    instruments = {name for name in cs.__all__ if isinstance(getattr(cs, name), type)}
    instruments = {name for name in instruments if issubclass(getattr(cs, name), cs._instrument.Instrument)}
    assert set(workshop.make) == instruments == set(KINDS)


@pytest.mark.parametrize("name", KINDS)
def test_what_comes_over_the_wire_is_answered_and_leaves_the_instrument_working(harness, workshop, name):
    found = harness.fuzz(workshop, name, 60)
    assert found["refused or taken"]
    assert found["state taken"]
    assert found["state refused"] + found["refused in Python"]


@pytest.mark.parametrize("name", KINDS)
def test_closed_and_deleted_it_is_freed_with_its_network(harness, workshop, name):
    left, alive = harness.lives(workshop, name, 4)
    assert left == 0
    assert alive == []


class TestTraits:
    """What is refused is not there afterwards, however it was set."""

    @pytest.mark.parametrize(
        ("trait", "value"),
        [
            ("fill", None), ("shape", None), ("fill", "no such fill"), ("shape", [[0, 0], [1, 1]]), ("size", 0),
            ("size", True), ("position", [1.5, 2]), ("target", 99), ("target", []), ("picture", 7), ("picture", True),
        ],
    )  # fmt: skip
    def test_by_the_browser_together_or_alone(self, net, pictures, show, browser_end, trait, value):
        widget = show(cs.Occluder(net, pictures[0], size=10))
        before = {name: getattr(widget, name) for name in ("fill", "shape", "size", "position", "target", "picture")}
        with pytest.raises(traitlets.TraitError):
            setattr(widget, trait, value)
        with pytest.raises(traitlets.TraitError), widget.hold_trait_notifications():  # noqa: PT012
            widget.show_trail = False
            setattr(widget, trait, value)
        widget.set_state({"show_trail": False, trait: value})
        assert {name: getattr(widget, name) for name in before} == before
        assert widget.show_trail
        assert browser_end.ask(widget, "occlude")[0]["ok"]
        (event,) = [content for content, _ in browser_end.received if content.get("kind") == "setting"]
        assert event["error"]["message"].strip()

    @pytest.mark.parametrize("value", [True, -1, 12, "3"])
    def test_a_unit_that_is_none(self, net, pictures, show, value):
        widget = show(cs.FilterGrid(net, pictures[0], "0"))
        with pytest.raises(traitlets.TraitError):
            widget.selected = value
        widget.set_state({"selected": value})
        assert widget.selected is None

    def test_an_error_of_ours_is_still_what_it_was(self, net, pictures, show):
        widget = show(cs.FilterGrid(net, pictures[0], "0"))
        with pytest.raises(cs.LayerError, match="no such") as caught:
            widget.layer = "no such"
        assert isinstance(caught.value, traitlets.TraitError)

    def test_what_only_the_kernel_knows_cannot_be_set(self, net, pictures, show):
        widget = show(cs.OcclusionMap(net, pictures[0], stride=16))
        assert widget.wait(30)
        before = widget._map
        widget.set_state({"_map": {"state": "done"}, "_network": {}, "_esm": "hostile()", "_pictures": [{}]})
        assert widget._map == before
        assert widget._network["name"] == "small"
        assert "hostile" not in widget._esm
        widget.start()
        widget.stride = 12
        assert widget.wait(30)
        assert widget._map["state"] == "done"
        assert widget._map["revision"] > before["revision"]


class TestMoments:
    """A worker that reads traits while several are set sees what they may not be; nobody is told of that."""

    def test_what_fails_for_it_is_done_again(self, net, pictures, show, browser_end):
        widget = show(cs.Occluder(net, pictures[0], size=10))
        assert widget.wait(30)
        browser_end.received.clear()
        with pytest.raises(traitlets.TraitError), widget.hold_trait_notifications():  # noqa: PT012
            widget.shape = 5
            widget._handle_custom_msg({"kind": "occlude", "id": 1, "client": "c"}, [])
            assert widget.wait(30)
            assert not browser_end.received
        assert widget.wait(30)
        assert [content["ok"] for content, _ in browser_end.received if content.get("id") == 1] == [True]

    def test_what_fails_otherwise_is_told_once(self, net, pictures, show, browser_end):
        widget = show(cs.Occluder(net, pictures[0], size=10))
        assert widget.wait(30)
        browser_end.received.clear()
        with widget.hold_trait_notifications():
            widget.size = 12
            widget._handle_custom_msg({"kind": "occlude", "id": 1, "client": "c", "size": 0}, [])
            assert widget.wait(30)
        assert widget.wait(30)
        assert [content["ok"] for content, _ in browser_end.received if content.get("id") == 1] == [False]


class TestFiles:
    """A path is a picture in Python, and a word like any other from the browser."""

    @pytest.fixture
    def file(self, tmp_path):
        path = tmp_path / "secret.png"
        os.mkfifo(path)  # who opens it waits for ever
        return str(path)

    def test_a_path_as_fill_does_not_open_the_file(self, net, pictures, show, browser_end, file):
        widget = show(cs.Occluder(net, pictures[0], size=10))
        widget.set_state({"fill": file})
        assert (widget.fill, len(widget.images)) == ("grey", 1)
        answer, _ = browser_end.ask(widget, "fill", fill=file, picture=0)
        assert answer["error"]["name"] == "ArgumentError"
        assert not browser_end.ask(widget, "occlude", fill=file, position=[1, 1])[0]["ok"]

    def test_in_python_it_does(self, net, pictures, show, tmp_path):
        from PIL import Image

        Image.fromarray(np.full((40, 40, 3), 9, np.uint8)).save(tmp_path / "nine.png")
        widget = show(cs.Occluder(net, pictures[0], size=10))
        widget.fill = str(tmp_path / "nine.png")
        assert (widget.fill, widget.images[1].name) == ("picture:1", "nine.png")


class TestMessages:
    @pytest.mark.parametrize(
        ("content", "words"),
        [
            ({}, "Expected channel in a 'unit' message, got none"),
            ({"channel": None}, "Expected channel in a 'unit' message, got none"),
            ({"channel": "one"}, "Expected channel in a 'unit' message as a whole number, got 'one'"),
            ({"channel": 12}, "Expected a unit of 0 from 0 to 11, got 12"),
            ({"channel": -1}, "Expected a unit of 0 from 0 to 11, got -1"),
            ({"channel": 1, "layer": 3}, "Expected layer in a 'unit' message as"),
        ],
    )
    def test_missing_and_wrong_fields_are_named(self, net, pictures, show, browser_end, content, words):
        widget = show(cs.UnitPanel(net, pictures, "0"))
        assert widget.wait(30)
        error = browser_end.ask(widget, "unit", **content)[0]["error"]
        assert error["name"] in ("ArgumentError", "LayerError")
        assert words in error["message"]

    def test_a_file_that_did_not_come(self, net, pictures, show, browser_end):
        widget = show(cs.Occluder(net, pictures[0], size=10))
        widget._handle_custom_msg({"kind": "add", "name": "cat.png"}, [])
        assert widget.wait(30)
        (event,) = [content for content, _ in browser_end.received if content.get("event") == "error"]
        assert event["error"]["message"].startswith("Expected a picture to add, got a message without its file")

    def test_pages_that_come_and_go_are_not_remembered_for_ever(self, net, pictures, show, browser_end):
        widget = show(cs.HealthView(net, pictures))
        for page in range(300):
            widget._handle_custom_msg({"kind": "figure", "id": 1, "client": str(page)}, [])
        assert 0 < len(widget._taken) < 100

    def test_kinds_that_are_none_are_not_remembered(self, net, pictures, show, browser_end):
        widget = show(cs.HealthView(net, pictures))
        for number in range(50):
            widget._handle_custom_msg({"kind": f"none {number}", "id": 1, "client": "page"}, [])
        assert widget.wait(30)
        assert not widget._taken

    def test_a_unit_that_is_asked_for_many_times_is_one(self, net, pictures, show, browser_end):
        widget = show(cs.FilterGrid(net, pictures[0], "0", survey=cs.survey(net, pictures, progress=False)))
        answer, buffers = browser_end.ask(widget, "tiles", channels=[1, 0] * 50_000)
        assert answer["channels"] == [1, 0]
        assert len(buffers[0]) == 2 * 3 * answer["side"] ** 2

    def test_a_picture_that_the_survey_does_not_have(self, net, pictures, show, browser_end):
        widget = show(cs.UnitPanel(net, pictures, "0"))
        assert widget.wait(30)
        error = browser_end.ask(widget, "whole", picture=10**30)[0]["error"]
        assert error["message"].startswith(f"Expected a picture of the survey from 0 to {len(pictures) - 1}, got 1000")

    @pytest.mark.parametrize("value", [10**30, 10**400, -(10**30), np.float64("nan"), np.array([1, 2])])
    @pytest.mark.parametrize("trait", ["opacity", "scale_by", "top"])
    def test_numbers_and_arrays_that_nothing_is_compared_with(self, net, pictures, show, trait, value):
        widget = show(cs.Gallery(net, pictures[:2], ["gradient"]))
        before = getattr(widget, trait)
        with pytest.raises(traitlets.TraitError):
            setattr(widget, trait, value)
        assert getattr(widget, trait) == before

    def test_what_equals_the_old_value_is_made_plain_when_it_is_set_with_others(self, net, pictures, show):
        widget = show(cs.Occluder(net, pictures[0], size=10, target=3))
        with widget.hold_trait_notifications():
            widget.target = np.int64(3)
        assert type(widget.target) is int

    def test_a_gallery_has_a_target_for_each_of_its_pictures_whatever_is_added(self, net, pictures, show, browser_end):
        widget = show(cs.Gallery(net, pictures[:2], ["gradient"]))
        widget._handle_custom_msg({"kind": "add", "name": "x.png"}, [b"no picture"])
        assert widget.wait(30)
        assert len(widget.targets) == len(widget.images) == 2


class TestWaiting:
    def test_after_the_last_view_went_the_work_goes_on_for_who_waits(self, net, pictures, show):
        widget = show(cs.OcclusionMap(net, pictures[0], stride=2))
        widget._handle_custom_msg({"kind": "release"}, [])
        assert widget.wait(60)
        assert widget.result.complete

    def test_also_where_they_waited_before(self):
        worker = Worker("test")
        begun, stopped = threading.Event(), threading.Event()

        def work():
            for _ in range(3):
                begun.set()
                stopped.wait(20)
                yield

        worker.start("work", work())
        assert begun.wait(20)
        waiting = threading.Thread(target=lambda: ended.append(worker.wait(60)))
        ended: list[bool] = []
        waiting.start()
        worker.stop()
        stopped.set()
        waiting.join(60)
        assert ended == [True]
        worker.stop(20)


def test_a_failed_survey_is_told_to_views_that_open_later(net, pictures, show, browser_end, monkeypatch):
    monkeypatch.setattr(net, "visit", lambda *a, **k: 1 / 0)
    widget = show(cs.UnitPanel(net, pictures, "0"))
    assert widget.wait(30)
    for _ in range(2):
        browser_end.received.clear()
        widget._handle_custom_msg({"kind": "hello"}, [])
        told = [one["error"]["name"] for one, _ in browser_end.received if one.get("event") == "error"]
        assert told == ["ZeroDivisionError"]


SCRIPT = """
import torch, convscope as cs
from torch import nn
torch.manual_seed(0)
net = cs.Network(nn.Sequential(nn.Conv2d(3, 64, 7), nn.ReLU(), nn.Conv2d(64, 64, 7), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
    nn.Flatten(), nn.Linear(64, 3)).eval(), input_size=128)
explorer = cs.Explorer(net)
assert explorer._worker.wait(0) is False  # the survey begins, and the script ends in the middle of it
begun = __import__("threading").Event()
explorer.observe(lambda change: begun.set(), "_survey")
begun.wait(60)
"""


def test_a_script_ends_cleanly_while_an_instrument_computes():
    ended = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=120, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


class Rooted(nn.Module):
    """A network that returns NaN for dark pictures: the root of a negative number."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x):
        return self.module(x) + torch.sqrt(x.abs().mean((1, 2, 3))[:, None] - 0.1)


class TestSavedPages:
    def saved(self, page: str) -> dict[str, Any]:
        found = re.search(r'<script type="application/json" id="saved">(.*?)</script>', page, re.DOTALL)
        assert found is not None

        def refuse(word: str) -> None:
            raise AssertionError(f"{word} is no JSON")

        return json.loads(found[1], parse_constant=refuse)

    def test_a_label_ends_and_begins_nothing(self, module, pictures, show):
        label = "<!--<script></script>"
        net = cs.Network(module, labels=[label, *"bcdefg"], input_size=32)
        page = show(cs.Occluder(net, pictures[0], size=10, target=0)).to_html(title=label)
        payload = page.partition('id="saved">')[2].partition("</script>")[0]
        assert "<" not in payload
        (frame,) = [one["content"] for one in self.saved(page)["answers"] if one["content"]["kind"] == "occlude"]
        assert frame["target"]["label"] == label

    def test_a_network_that_returns_nan_is_saved(self, module, pictures, show):
        widget = show(cs.Occluder(cs.Network(Rooted(module).eval(), input_size=32), 0 * pictures[0], size=10))
        (frame,) = [
            one["content"] for one in self.saved(widget.to_html())["answers"] if one["content"]["kind"] == "occlude"
        ]
        assert frame["target"]["now"] is None

    def test_so_are_maps_and_a_gallery_of_it_and_say_so(self, module, pictures, show, browser_end):
        net = cs.Network(Rooted(module).eval(), input_size=32)
        maps = show(cs.OcclusionMap(net, 0 * pictures[0], size=16, stride=16, fill="black"))
        gallery = show(cs.Gallery(net, [0 * pictures[0]], ["gradient"]))
        assert maps.wait(30)
        assert gallery.wait(30)
        for widget in (maps, gallery):
            said = {one["content"]["kind"]: one for one in self.saved(widget.to_html())["answers"]}
            live = {kind: browser_end.ask(widget, kind, all=True)[0] for kind in said if kind in ("map", "tiles")}
            for kind, answer in live.items():
                saved = said[kind]["content"]
                assert {**answer, "milliseconds": 0}.items() >= {**saved, "milliseconds": 0}.items()
        assert live["tiles"]["tiles"][0]["error"]["message"].startswith("Expected a network whose values")
        found = maps._answer("map", {})
        assert np.frombuffer(found[1][2], np.int32).tolist() == [-2] * 4
        assert (found[0]["clean"]["probability"], found[0]["labels"]) == (None, {})
