"""Panes as parts: an instrument is the sum of them, and none takes another's place."""

from __future__ import annotations

import itertools
import json
import re
import threading
import warnings

import numpy as np
import pytest
import torch
import traitlets
from torch import nn

import convscope as cs
from convscope._instrument import Instrument
from convscope._job import Job, Step, progress
from convscope._wire import fields

INSTRUMENTS = [
    cs.Explorer, cs.FilterGrid, cs.Gallery, cs.HealthView, cs.Occluder, cs.OcclusionMap, cs.PatternReport, cs.UnitPanel,
]  # fmt: skip

#: What panes add to, each by a call to its ``super()``.
COOPERATIVE = {"__init__", "_snapshot", "_strips", "_figures", "_forget", "close", "_repr_mimebundle_"}


class Empty(Instrument):
    pass


@pytest.mark.parametrize("instrument", INSTRUMENTS, ids=lambda one: one.__name__)
def test_no_pane_takes_the_place_of_what_another_has(instrument):
    parts = [one for one in instrument.__mro__ if issubclass(one, Instrument)]
    for one, other in itertools.combinations(parts, 2):
        if not (issubclass(one, other) or issubclass(other, one)):
            both = vars(one).keys() & vars(other).keys() - vars(Empty).keys() - COOPERATIVE
            assert not both, f"{one.__name__} and {other.__name__}"


class SumsPane(Instrument):
    """Adds up the weights of one layer after another: a trait, an answer and long work."""

    power = traitlets.Int(1, min=1).tag(sync=True)
    """int: the power to which weights are raised."""

    _sums = progress(largest=0.0)

    def __init__(self, net, **options):
        self.sums = {}
        self._sums_job = Job(self, "sums", "_sums", fields=lambda: {"largest": max(self.sums.values(), default=0.0)})
        super().__init__(net, **options)

    def start(self):
        self._sums_job.start(self._steps(), 0, len(self.net.layers))

    def _steps(self):
        for number, layer in enumerate(self.net.layers):
            weight = self.net.weight(layer.name)
            self.sums[layer.name] = 0.0 if weight is None else float((weight**self.power).sum())
            yield Step(number + 1, len(self.net.layers))

    @fields(layer=traitlets.Unicode())
    def _answer_sum(self, content):
        return {"layer": content["layer"], "sum": self.sums[content["layer"]]}, []

    def _snapshot(self):
        return [*super()._snapshot(), ("sum", {"layer": self.net.layers[0].name})]


@pytest.mark.parametrize("save", ["to_html", "to_module"])
def test_a_page_of_unfinished_work_is_warned_of_in_python_and_says_so_itself(net, pictures, show, save):
    class Both(cs.Occluder, SumsPane):
        pass

    widget = show(Both(net, pictures[0], size=10))
    total = len(net.layers)
    begun, goes_on = threading.Event(), threading.Event()

    def steps():
        yield Step(1, total, fresh=True)
        begun.set()
        assert goes_on.wait(30)
        yield Step(total, total)

    widget._sums_job.start(steps(), 0, total)
    assert begun.wait(30)
    widget.sums[net.layers[0].name] = 1.0
    with pytest.warns(UserWarning, match=rf"at it \(sums: 1 of {total}\).*wait\(None\)") as noted:
        page = getattr(widget, save)()
    assert [one.filename for one in noted] == [__file__]  # where the user called
    assert '"_sums": {"state": "running"' in page.replace('\\"', '"')
    goes_on.set()
    assert widget.wait(30)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        getattr(widget, save)()


class TestANewPane:
    def test_answers_and_works_beside_those_there_are(self, net, pictures, browser_end, show):
        class Both(cs.Occluder, SumsPane):
            pass

        widget = show(Both(net, pictures[0], size=10, power=2))
        widget.start()
        assert widget.wait(30)
        layer = net.layers[0].name
        truth = float((net.weight(layer) ** 2).sum())
        assert browser_end.ask(widget, "sum", layer=layer)[0]["sum"] == pytest.approx(truth)
        assert browser_end.ask(widget, "occlude", position=(1, 2))[0]["position"] == [1, 2]
        assert widget._sums["state"] == "done"
        assert widget._sums["done"] == widget._sums["total"] == len(net.layers)
        assert widget._sums["largest"] == max(widget.sums.values())

    def test_is_in_the_saved_page(self, net, pictures, show):
        class Both(SumsPane, cs.Occluder):
            pass

        widget = show(Both(net, image=pictures[0]))
        widget.start()
        assert widget.wait(30)
        saved = json.loads(re.search(r'id="saved">(.*?)</script>', widget.to_html(), re.DOTALL)[1])
        assert saved["state"]["power"] == 1
        assert saved["state"]["_sums"]["state"] == "done"
        assert {one["content"]["kind"] for one in saved["answers"]} >= {"sum", "photo", "occlude"}
        assert set(saved["state"]) == {*widget._shared_traits()} - {"_still"}


class TestJob:
    @pytest.fixture
    def widget(self, net, show):
        return show(SumsPane(net))

    def test_a_step_that_raises_ends_it_and_views_to_come_are_told(self, widget, net, browser_end, monkeypatch):
        def failing():
            yield Step(1, 3)
            raise RuntimeError("the lamp went out")

        monkeypatch.setattr(widget, "_steps", failing)
        widget.start()
        assert widget.wait(30)
        assert (widget._sums["state"], widget._sums["done"]) == ("failed", 1)
        browser_end.received.clear()
        widget._handle_custom_msg({"kind": "hello"}, [])
        assert [one["error"]["message"] for one, _ in browser_end.received if one["event"] == "error"] == [
            "the lamp went out"
        ]
        browser_end.received.clear()
        widget._sums_job.start(iter([]))
        assert widget.wait(30)
        (taken_back,) = [one for one, _ in browser_end.received if one.get("event") == "error"]
        assert taken_back["error"] is None
        assert widget._failures == {}

    @pytest.mark.parametrize("by_browser", [False, True])
    def test_cancelled_after_the_step_under_way_it_can_start_again(self, widget, monkeypatch, by_browser):
        begun, go_on = threading.Event(), threading.Event()

        def steps():
            yield Step(1, 3)
            begun.set()
            go_on.wait(30)
            yield Step(2, 3)
            yield Step(3, 3)

        monkeypatch.setattr(widget, "_steps", steps)
        widget.start()
        assert begun.wait(30)
        assert widget._sums_job.running
        if by_browser:
            widget._handle_custom_msg({"kind": "cancel"}, [])
        else:
            widget._sums_job.cancel()
        assert not widget._sums_job.running
        go_on.set()
        assert widget.wait(30)
        assert (widget._sums["state"], widget._sums["done"]) == ("cancelled", 2)
        widget.start()
        assert widget.wait(30)
        assert (widget._sums["state"], widget._sums["done"]) == ("done", 3)

    def test_work_that_takes_its_place_is_the_one_that_is_shown(self, widget, monkeypatch):
        begun, go_on = threading.Event(), threading.Event()

        def first():
            begun.set()
            go_on.wait(30)
            yield Step(1, 2)
            raise AssertionError("goes on though other work took its place")

        widget._sums_job.start(first())
        assert begun.wait(30)
        widget._sums_job.start(iter([Step(4, 5), Step(5, 5)]))
        go_on.set()
        assert widget.wait(30)
        assert (widget._sums["state"], widget._sums["done"], widget._sums["total"]) == ("done", 5, 5)

    def test_results_are_asked_for_no_more_often_than_they_should(self, widget, net, monkeypatch):
        seen = []
        widget.observe(lambda change: seen.append((change["new"]["revision"], change["new"]["done"])), "_sums")
        job = Job(widget, "rare", "_sums", every=3600.0, between=True)
        job.start(iter([Step(1, 3), Step(2, 3, fresh=True), Step(3, 3)]), fresh=False)
        assert widget.wait(30)
        assert seen == [(0, 0), (0, 1), (1, 2), (1, 3), (2, 3)]


class NaNOnWhite(nn.Module):
    """Its feature maps are NaN for pictures that are bright all over."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.linear = nn.Conv2d(3, 4, 3), nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = torch.relu(self.conv(x * torch.sqrt(0.7 - x.mean((1, 2, 3), keepdim=True))))
        return self.linear(maps.mean((2, 3)))


def test_a_saved_page_says_that_a_network_returns_nan(show):
    net = cs.Network(NaNOnWhite().eval(), input_size=24)
    grid = show(cs.FilterGrid(net, np.ones((24, 24, 3), np.float32), layer="conv"))
    saved = json.loads(re.search(r'id="saved">(.*?)</script>', grid.to_html(), re.DOTALL)[1])
    (answer,) = [one["content"] for one in saved["answers"] if one["content"]["kind"] == "grid"]
    assert not answer["ok"]
    assert "got NaN" in answer["error"]["message"]
