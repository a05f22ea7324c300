"""Harnesses that try to break instruments. The tests run them small; at any size:

    python tests/widgets/widget_harness.py messages --count 30000   messages and settings as no front end sends them
    python tests/widgets/widget_harness.py life --count 200         instruments made, shown, used, closed and deleted

Each prints what came of it, and ends with an error where an instrument did not go on, kept rubbish, or was not freed.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from decimal import Decimal
from fractions import Fraction
from typing import Any

import ipywidgets
import numpy as np
import torch
import traitlets
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from torch import nn

import convscope as cs
from convscope._instrument import Instrument

SIZE = 32


def module(number: int) -> nn.Module:
    torch.manual_seed(number)
    layers = [nn.Conv2d(3, 4, 5, 2, 2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5)).eval()


class Workshop:
    """What instruments are made of, made once; `make` makes one of each kind on a network."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.pictures = [np.kron(rng.random((8, 8, 3)), np.ones((4, 4, 1))).astype(np.float32) for _ in range(4)]
        self.net = cs.Network(module(0), labels=[f"class {index}" for index in range(5)], input_size=SIZE, name="small")
        self.images = [cs.Picture(one, f"picture {index}", "ab"[index % 2]) for index, one in enumerate(self.pictures)]
        self.survey = cs.survey(self.net, self.images, progress=False)
        self.patterns = cs.fit_patterns(self.net, self.images, progress=False)
        moments = [(epoch, module(epoch).state_dict()) for epoch in range(2)]
        self.evolution = cs.evolution(cs.Checkpoints.of(moments, self.net), self.images, progress=False)
        picture = self.pictures[0]
        self.make: Mapping[str, Callable[[cs.Network], Instrument]] = {
            "Compare": lambda net: cs.Compare(net, self.net, self.images),
            "Correspondence": lambda net: cs.Correspondence(
                net, self.images, points=[(9, 9), (20, 20), (4, 30), None], places=4, permutations=20
            ),
            "Evolution": lambda _: cs.Evolution(self.evolution),
            "Explorer": lambda net: cs.Explorer(net, self.images, survey=self.survey if net is self.net else None),
            "FilterGrid": lambda net: cs.FilterGrid(net, picture, survey=self.survey if net is self.net else None),
            "Gallery": lambda net: cs.Gallery(net, self.pictures[:2], ["gradient", "deconvnet"]),
            "HealthView": lambda net: cs.HealthView(net, self.images),
            "Invariance": lambda net: cs.Invariance(
                net, self.images, {"shift_x": [-2, 0, 2], "brightness": [0.5, 1]}, ["0"]
            ),
            "Occluder": lambda net: cs.Occluder(net, picture),
            "OcclusionMap": lambda net: cs.OcclusionMap(net, picture, stride=16),
            "PatternReport": lambda _: cs.PatternReport(self.net, self.patterns),
            "UnitPanel": lambda net: cs.UnitPanel(net, self.images),
        }


# ---- messages

#: Errors that an instrument answers rubbish with: those that it raises on purpose.
OURS = {"ArgumentError", "ImageError", "LayerError", "TraitError"}

rubbish = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-3, 40),
        st.integers(),
        st.sampled_from([2**31, 2**53, 2**63, 10**30, 10**400, -(10**30), 1e300, [0] * 5000, "\ud800", "x" * 5000]),
        st.floats(),
        st.text(max_size=8),
        st.sampled_from(
            ["grey", "picture:0", "picture:9", "#336699", "/etc/passwd", "0", "3", "class 1", "a", "weights"]
        ),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.sampled_from(["bits", "height", "width", "value"]), inner, max_size=3),
    ),
    max_leaves=6,
)


def kinds_of(instrument: type[Instrument]) -> list[str]:
    """The messages that an instrument knows."""
    names = (name.partition(mark) for name in dir(instrument) for mark in ("_answer_", "_take_"))
    return sorted({kind for before, mark, kind in names if not before and mark})


def fields_of(instrument: type[Instrument], kind: str) -> tuple[list[str], list[str]]:
    """The fields that a message may have: its own, and traits."""
    method = getattr(instrument, f"_answer_{kind}", None) or getattr(instrument, f"_take_{kind}", None)
    traits = [name for name in instrument._shared_traits() if not name.startswith("_")]
    return sorted(getattr(method, "fields", {})), sorted(traits)


@st.composite
def messages(draw: st.DrawFn, instrument: type[Instrument]) -> dict[str, Any]:
    """A message, nearly right or not at all."""
    kind = draw(st.one_of(st.sampled_from(kinds_of(instrument)), st.text(max_size=6)))
    own, traits = fields_of(instrument, kind)
    names = st.one_of(*map(st.sampled_from, filter(None, (own, traits))), st.text(max_size=6))
    content = draw(st.dictionaries(names, rubbish, max_size=5))
    if draw(st.booleans()):
        content["client"] = draw(rubbish)
    return {**content, "kind": kind}


#: What somebody may set in Python, by mistake.
MISTAKES: list[Any] = [
    None, True, -1, 3, 10**30, 10**400, 1.5, float("nan"), float("inf"), "", "x", "\ud800", b"abc", [], (), {}, set(),
    [1, 2], (1.5, 2), ["a"], [None], {"a": 1}, {1: 2}, object(), len, int, range(3), slice(1, 2), 1j, Fraction(1, 2),
    Decimal(3), ValueError("x"), np.int64(3), np.float64("nan"), np.bool_(True), np.array(3), np.array([1, 2]),
    np.array([1.5, 2]), np.ones((3, 3), bool), np.zeros((3, 3), bool), np.zeros(0), np.array("a"), np.array([None]),
    torch.tensor(2), torch.tensor([1, 2]), torch.rand(3, 8, 8), {"bits": "", "height": 10**6, "width": 10**6},
    [(1, 2)] * 1000,
]  # fmt: skip


def states(instrument: type[Instrument]) -> st.SearchStrategy[dict[str, Any]]:
    """What the front end may say that traits are, the kernel's own among them."""
    names = st.one_of(st.sampled_from(sorted(instrument._shared_traits())), st.text(max_size=6))
    return st.dictionaries(names, rubbish, min_size=1, max_size=3)


class Line:
    """Stands where the browser is, for one instrument: says anything, and holds the answers to account."""

    def __init__(self, widget: Instrument) -> None:
        self.widget = widget
        self.found: Counter[str] = Counter()
        self._number = 0
        self._received: list[dict[str, Any]] = []
        widget.send = lambda content, buffers=None: self._received.append(content)  # type: ignore[method-assign]
        assert widget.wait(60)

    def held(self) -> dict[str, Any]:
        return {name: getattr(self.widget, name) for name in self.widget._shared_traits()}

    def settle(self) -> list[dict[str, Any]]:
        """Wait until the instrument has done what was asked; what it said."""
        assert self.widget.wait(60), "the instrument does not come to rest"
        said, self._received[:] = list(self._received), []
        for one in said:
            json.dumps(one, allow_nan=False)
            if error := one.get("error"):
                self.found[error["name"]] += 1
                assert error["name"] in OURS, error["details"]
                assert error["message"].strip(), "an error without a word"
        return said

    def say(self, content: dict[str, Any], buffers: list[Any]) -> None:
        """Send a message: it is answered, by an error of ours at the worst, and the next one is answered, too."""
        self._number += 1
        answers = getattr(self.widget, f"_take_{content['kind']}", None) is None
        self.widget._handle_custom_msg({**content, "id": self._number}, buffers)
        replies = [one for one in self.settle() if one.get("id") == self._number]
        assert len(replies) == answers
        self.found["answered" if any(one.get("ok") for one in replies) else "refused or taken"] += 1

    def set(self, state: dict[str, Any]) -> None:
        """Set traits: all of them or none, and never to what could not be set in Python."""
        before = self.held()
        self.widget.set_state(state)
        said = self.settle()
        after = self.held()
        refused = any(one.get("kind") == "setting" for one in said)
        self.found["state refused" if refused else "state taken"] += 1
        for name in [name for name in before if name.startswith("_")]:
            assert type(after[name]) is type(before[name])
        for name, value in after.items():
            if refused and name in state and not name.startswith("_"):
                assert same(value, before[name]), f"{name} was refused, and is {value!r}"
            if not name.startswith("_"):
                trait = self.widget.traits()[name]
                assert same(trait._validate(self.widget, value), value), f"{name} is {value!r}, which cannot be set"

    def assign(self, state: dict[str, Any], held: bool) -> None:
        """Set traits in Python, together or one by one: what is refused is a `TraitError`, and nothing of it stays."""
        before = self.held()
        try:
            with self.widget.hold_trait_notifications() if held else nullcontext():
                for name, value in state.items():
                    kept = before if held else self.held()
                    setattr(self.widget, name, value)
            refused = False
        except traitlets.TraitError as error:
            if not str(error).strip():
                raise AssertionError("an error without a word") from error
            refused, after = True, self.held()
            assert all(same(after[name], value) for name, value in kept.items()), "something of it stays"
        self.found["refused in Python" if refused else "set in Python"] += 1
        said = self.widget.get_state([name for name in before if not name.startswith("_")])
        json.dumps(said, allow_nan=False)
        for name, value in self.held().items():
            if not name.startswith("_"):
                trait = self.widget.traits()[name]
                assert same(trait._validate(self.widget, value), value), f"{name} is {value!r}, which cannot be set"
        self.settle()

    def works(self, kind: str, **fields: Any) -> None:
        """Ask what a front end asks."""
        self._number += 1
        self.widget._handle_custom_msg({"kind": kind, "client": "good", "id": 10**12 + self._number, **fields}, [])
        assert any(one.get("ok") for one in self.settle()), f"{kind} is not answered any more"


def same(one: Any, other: Any) -> bool:
    return bool(one == other)


#: What shows that an instrument still works.
GOOD: dict[str, tuple[str, dict[str, Any]]] = {
    "Compare": ("occlude_b", {"position": [3, 4], "size": 8, "picture": 0, "fill": "grey", "target": 1}),
    "Correspondence": ("views", {}),
    "Evolution": ("unit", {"channel": 1, "layer": "0", "checkpoint": 0}),
    "Explorer": ("occlude", {"position": [3, 4], "size": 8, "picture": 0, "fill": "grey", "target": 1}),
    "FilterGrid": ("grid", {"layer": "0", "picture": 0, "lens": "activation"}),
    "Gallery": ("rows", {}),
    "HealthView": ("hello", {}),
    "Invariance": ("moved", {"transform": "shift_x", "value": 1.0, "fill": "mean", "picture": 0}),
    "Occluder": ("occlude", {"position": [3, 4], "size": 8, "picture": 0, "fill": "grey", "target": 1}),
    "OcclusionMap": ("occlude", {"position": [3, 4], "size": 8, "picture": 0, "fill": "grey", "target": 1}),
    "PatternReport": ("hello", {}),
    "UnitPanel": ("unit", {"channel": 1, "layer": "0"}),
}


def fuzz(workshop: Workshop, name: str, count: int, number: int = 0) -> Counter[str]:
    """Say rubbish to one instrument, `count` times."""
    widget = workshop.make[name](workshop.net)
    line = Line(widget)
    kind, fields = GOOD[name]

    @seed(number)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        derandomize=False,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @given(st.data())
    def run(data: st.DataObject) -> None:
        if data.draw(st.booleans(), "a message"):
            content = data.draw(messages(type(widget)), "message")
            line.say(content, data.draw(st.lists(st.binary(max_size=20), max_size=2), "buffers"))
        elif data.draw(st.booleans(), "from the browser"):
            line.set(data.draw(states(type(widget)), "state"))
        else:
            names = st.sampled_from([name for name in widget._shared_traits() if not name.startswith("_")])
            mistakes = st.dictionaries(names, st.sampled_from(MISTAKES), min_size=1, max_size=3)
            line.assign(data.draw(mistakes, "in Python"), data.draw(st.booleans(), "together"))
        if kind != "hello":
            line.works(kind, **fields)

    try:
        run()
    finally:
        widget.close()
    return line.found


# ---- life


def lives(workshop: Workshop, name: str, count: int) -> tuple[int, list[weakref.ref[Any]]]:
    """Make, show, use, close and delete instruments; the widgets that are left, and references to those that went."""
    before = len(ipywidgets.widgets.widget._instances)
    others = set(threading.enumerate())  # an instrument that another test left open waits for a minute before it rests
    gone: list[weakref.ref[Any]] = []
    for _ in range(count):
        net = workshop.net.with_tensors(lambda tensor: tensor, "a copy")
        widget = workshop.make[name](net)
        assert widget._repr_mimebundle_() is not None
        assert widget.wait(60)
        widget.close()
        for number, kind in enumerate(kinds_of(type(widget))):  # messages that were on their way
            widget._handle_custom_msg({"kind": kind, "id": number, "client": "late"}, [])
        assert not widget._worker._slots, "a closed instrument computes"
        assert not widget._worker._jobs, "a closed instrument computes"
        assert not widget._worker.alive or widget._worker.wait(60)
        gone += [weakref.ref(widget), weakref.ref(net), weakref.ref(widget._worker)]
        del widget, net
    for thread in threading.enumerate():
        if thread.name.startswith("convscope") and thread not in others:
            thread.join(60)
    gc.collect()
    return len(ipywidgets.widgets.widget._instances) - before, [one for one in gone if one() is not None]


def memory() -> float:
    """The memory of this process, MB."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * 4096 / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["messages", "life"])
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable()
    workshop = Workshop()
    for name in workshop.make:
        if options.what == "messages":
            found = fuzz(workshop, name, options.count // len(workshop.make), options.seed)
            print(f"{name:14}", ", ".join(f"{number:,} {what}" for what, number in found.most_common()), flush=True)
            continue
        lives(workshop, name, 3)
        start = memory()
        left, alive = lives(workshop, name, options.count)
        assert not left, f"{left} widgets of {name} are left open"
        assert not alive, f"{len(alive)} objects of {name} are alive"
        print(f"{name:14} {options.count} made, none alive; memory {start:.0f} -> {memory():.0f} MB", flush=True)


if __name__ == "__main__":
    main()
