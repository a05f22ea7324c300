"""Every count and number at every public door may be Python's, NumPy's or torch's, and is the same to all behind it."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

import convscope as cs
from convscope_core.arguments import is_number, is_whole, plain_number

SIZE = 16


def module(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    layers = [nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.Conv2d(4, 3, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(3, 3)).eval()


class Pictures(torch.utils.data.Dataset[tuple[torch.Tensor, int]]):
    classes = ("a", "b", "c")

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        draws = np.random.default_rng(index)
        return torch.from_numpy(draws.integers(0, 256, (3, SIZE, SIZE), np.uint8)), index % 3


PICTURES = [Pictures()[index][0] for index in range(6)]
QUIET: dict[str, Any] = {"progress": False}


class Made:
    """What the calls are made on, each once."""

    def __init__(self) -> None:
        self.net, self.other = (
            cs.Network(module(seed), input_size=SIZE, device="cpu", labels=Pictures.classes) for seed in range(2)
        )
        self.survey = cs.survey(self.net, PICTURES, k=2, **QUIET)
        self.patterns = cs.fit_patterns(self.net, PICTURES, **QUIET)
        self.moments = cs.Checkpoints.of([(epoch, module(epoch).state_dict()) for epoch in range(2)], self.net)
        self.evolution = cs.evolution(self.moments, PICTURES, k=2, sample=4, **QUIET)
        self.comparison = cs.compare(self.net, self.other, PICTURES, k=2, sample=4, **QUIET)
        self.ablation = cs.ablation(self.net, Pictures(), {"one": {"0": [0]}}, **QUIET)
        self.map = cs.occlusion_map(self.net, PICTURES[0], 8, 4, keep_all=True, **QUIET)
        self.images = cs.Images.of(PICTURES)
        self.shapes = cs.Shapes(4, size=16)

    def opened(self, make: Callable[[], Any], use: Callable[[Any], Any] = lambda widget: None) -> Any:
        widget = make()
        try:
            assert widget.wait(60)
            found = use(widget)
            assert widget.wait(60)
            names = [name for name in widget._shared_traits() if not name.startswith("_")]
            return found, {name: getattr(widget, name) for name in names if name != "fill"}
        finally:
            widget.close()


def trained(**numbers: Any) -> Any:
    preprocess = cs.MeanSubtraction(resize=12, size=10)
    torch.manual_seed(0)
    learner = nn.Sequential(nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 3))
    found = cs.train(learner, Pictures(), preprocess=preprocess, **numbers, **QUIET)
    return found.settings, [dataclasses.replace(one, seconds=0) for one in found.history]


def clipped(function: Callable[..., Any], **numbers: Any) -> Any:
    return repr(function(module(), **numbers))


def recorded(**numbers: Any) -> Any:
    recorder = cs.EvolutionRecorder(module(), at=[numbers.pop("at")], input_size=SIZE)
    recorder.record(numbers["step"], numbers["epoch"])
    recorder.step(numbers["step"] + 1, numbers["epoch"] + 1)
    return [(one.step, one.epoch) for one in recorder.checkpoints]


SURVEY = {"k": 2, "sample": 4, "shards": 2, "batch_size": 2, "workers": 0}
MANY = {"shards": 2, "batch_size": 2, "workers": 0}
CONSISTENCY = {**MANY, "passes": 2, "reach": 4, "attempts": 2, "degrees": 10.0, "pixels": 2, "group": 2, "seed": 1}
OCCLUDED = {"size": 8, "stride": 4, "target": 1, "channel": 1, "seed": 1, "budget": 10**6, "seconds": 5.0}
TRAINED = {"epochs": 1, "batch_size": 4, "rate": 0.01, "momentum": 0.5, "weight_decay": 0.5, "clip": 0.5, "factor": 0.5,
           "patience": 2, "checkpoint_every": 2, "seed": 1}  # fmt: skip
PROBED = {**MANY, "per_class": 2, "held_out": 2, "splits": 2, "penalty": 0.5, "grid": 2, "seed": 1}
CORRESPOND = {"size": 4, "places": 3, "permutations": 9, "seed": 1, "batch_size": 2}
NET_OPTIONS = {"classes": 3, "input_size": 64, "channels": 3, "width": 0.05, "units": 8, "dropout": 0.25}
EYES = {"eye": [(4, 4), (9, 9), (5, 8)]}

#: By the names of doors: numbers that they take, and the call; None where another call goes through the same check.
DOORS: dict[str, tuple[dict[str, Any], Callable[..., Any]]] = {
    "Ablation.worst": ({"row": 1, "k": 2}, lambda made, **n: made.ablation.worst(**n)),
    "AlexNet2012()": (NET_OPTIONS, lambda made, **n: str(cs.AlexNet2012(**n))),
    "ZFNet()": (NET_OPTIONS, lambda made, **n: str(cs.ZFNet(**n))),
    "Checkpoints.network": ({"index": 1}, lambda made, **n: made.moments.network(**n).fingerprint),
    "Checkpoints.only": ({"place": 1}, lambda made, place: made.moments.only([place])),
    "Checkpoints.weights": ({"index": 1}, lambda made, **n: sorted(made.moments.weights(**n))),
    "Comparison.right": ({"top": 2}, lambda made, **n: made.comparison.right("a", **n)),
    "Comparison.accuracy": ({"top": 2}, lambda made, **n: made.comparison.accuracy("a", **n)),
    "Comparison.disagreements": ({"n": 2}, lambda made, **n: made.comparison.disagreements(**n)),
    "Comparison.matches": ({"n": 2}, lambda made, **n: str(made.comparison.matches("0", "0", **n))),
    "Comparison.plot": ({"units": 2, "seed": 1}, None),
    "Comparison.projections": (
        {"units": 2, "seed": 1},
        lambda made, **n: str(made.comparison.projections("a", "0", **n)),
    ),
    "Correspondence()": (
        {"places": 3, "permutations": 9, "seed": 1},
        lambda made, **n: made.opened(lambda: cs.Correspondence(made.net, PICTURES[:3], points=EYES["eye"], **n)),
    ),
    "Evolution()": ({"k": 2}, lambda made, **n: made.opened(lambda: cs.Evolution(made.evolution, **n))),
    "Evolution.explorer": (
        {"checkpoint": 1},
        lambda made, **n: made.opened(lambda: cs.Evolution(made.evolution), lambda w: w.explorer(**n).close()),
    ),
    "EvolutionRecorder()": ({"at": 2, "step": 1, "epoch": 1.5}, lambda made, **n: recorded(**n)),
    "EvolutionRecorder.record": ({"at": 2.0, "step": 1, "epoch": 1.5}, lambda made, **n: recorded(**n)),
    "EvolutionRecorder.step": ({"at": 2, "step": 1, "epoch": 1}, lambda made, **n: recorded(**n)),
    "EvolutionResult.cell": ({"unit": 1, "index": 1}, lambda made, **n: str(made.evolution.cell("0", **n))),
    "EvolutionResult.cells": (
        {"unit": 1, "index": 1},
        lambda made, unit, index: str(list(made.evolution.cells("0", [unit], index))),
    ),
    "EvolutionResult.dormant": ({"tau": 0.5}, lambda made, **n: made.evolution.dormant("0", **n)),
    "EvolutionResult.network": ({"index": 1}, lambda made, **n: made.evolution.network(**n).fingerprint),
    "EvolutionResult.plot": ({"units": 2, "seed": 1}, None),
    "EvolutionResult.survey": ({"index": 1}, lambda made, **n: str(made.evolution.survey(**n))),
    "EvolutionResult.with_tau": ({"tau": 0.5}, lambda made, **n: str(made.evolution.with_tau(**n).tau)),
    "Explorer()": ({"k": 2}, lambda made, **n: made.opened(lambda: cs.Explorer(made.net, PICTURES, **n))),
    "Explorer.remove_picture": ({"index": 6}, None),
    "Explorer.start_survey": (
        {"k": 2, "index": 1},
        lambda made, k, index: made.opened(
            lambda: cs.Explorer(made.net, PICTURES, survey=made.survey),
            lambda w: w.start_survey(PICTURES, k=k, indices=[index]),
        ),
    ),
    "Explorer.wait": (
        {"timeout": 20.0},
        lambda made, **n: made.opened(
            lambda: cs.Explorer(made.net, PICTURES, survey=made.survey), lambda w: w.wait(**n)
        ),
    ),
    "Gallery()": (
        {"target": 1, "top": 0.25, "seed": 2, "opacity": 0.5},
        lambda made, **n: made.opened(lambda: cs.Gallery(made.net, PICTURES[:2], ["gradient"], **n)),
    ),
    "Gallery.attribution": (
        {"picture": 1},
        lambda made, **n: made.opened(
            lambda: cs.Gallery(made.net, PICTURES[:2], ["gradient"]),
            lambda w: str(w.attribution(method="gradient", **n)),
        ),
    ),
    "Images.decoded": ({"index": 1}, lambda made, **n: str(type(made.images.decoded(**n)))),
    "Images.described": ({"index": 1}, lambda made, **n: made.images.described(**n)),
    "Images.identities": ({"index": 1}, lambda made, index: made.images.identities([index])),
    "Images.identity": ({"index": 1}, lambda made, **n: made.images.identity(**n)),
    "Images.only": ({"index": 1}, lambda made, index: len(made.images.only([index]))),
    "Images.path": ({"index": 1}, lambda made, **n: made.images.path(**n)),
    "Images.stamps": ({"index": 1}, lambda made, index: made.images.stamps([index])),
    "Images.trace": ({"index": 1}, lambda made, **n: str(made.images.trace(**n))),
    "Compare()": (
        {"k": 2, "sample": 4},
        lambda made, **n: made.opened(lambda: cs.Compare(made.net, made.other, PICTURES, **n)),
    ),
    "Images.crop": ({"index": 1}, lambda made, **n: repr(made.images.crop(**n))),
    "Images.crops": (
        {"side": 0.5, "overlap": 0.25},
        lambda made, side, overlap: [one.name for one in made.images.crops([side], overlap)],
    ),
    "LabelledPictures()": ({"side": 12}, lambda made, **n: cs.LabelledPictures(Pictures(), **n).side),
    "LabelledPictures.of": ({"side": 12}, lambda made, side: cs.LabelledPictures.of(Pictures(), side).side),
    "Layer.box": ({"row": 1, "column": 1}, lambda made, **n: made.net.layer("0").box(**n)),
    "MeanSubtraction()": (
        {"resize": 12, "size": 10, "mean": 0.5},
        lambda made, mean, **n: dataclasses.asdict(cs.MeanSubtraction(mean=(mean,) * 3, **n)),
    ),
    "Network()": ({"input_size": 16}, lambda made, **n: cs.Network(module(), **n).input_shape),
    "Network.class_index": ({"target": 1}, lambda made, **n: made.net.class_index(**n)),
    "Network.regions": (
        {"budget": 10**6},
        lambda made, **n: len(made.net.regions(made.net.prepare(PICTURES[0]), ["0"], **n).values),
    ),
    "Network.silenced": ({"unit": 1}, lambda made, unit: made.net.silenced({"0": [unit]}).fingerprint),
    "Occluder()": (
        {"size": 5, "target": 1},
        lambda made, **n: made.opened(lambda: cs.Occluder(made.net, PICTURES[0], **n)),
    ),
    "OcclusionMap()": (
        {"size": 8, "stride": 4, "target": 1, "channel": 1},
        lambda made, **n: made.opened(lambda: cs.OcclusionMap(made.net, PICTURES[0], **n)),
    ),
    "OcclusionResult.follow": ({"target": 1, "channel": 1}, lambda made, **n: str(made.map.follow(**n))),
    "Patterns.of": ({"few": 2}, None),
    "Prediction.top": ({"k": 2}, lambda made, **n: made.net.predict(PICTURES[0]).top(**n)),
    "Shapes()": (
        {
            "count": 3,
            "size": 16,
            "seed": 1,
            "clutter": 0.5,
            "distractors": 0.5,
            "textures": 0.5,
            "light": 0.5,
            "pose": 0.5,
            "jitter": 0.5,
        },
        lambda made, **n: dataclasses.asdict(cs.Shapes(**n)),
    ),
    "Shapes.sheet": ({"rows": 1, "columns": 2}, lambda made, **n: made.shapes.sheet(**n).size),
    "ShapesTruth.of": ({"label": 1, "size": 16}, None),
    "Survey.duplicates": ({"above": 0.5}, lambda made, **n: str(made.survey.duplicates("0", **n))),
    "Survey.label": ({"image": 1}, lambda made, **n: made.survey.label(**n)),
    "Survey.preferences": ({"channel": 1, "n": 2}, lambda made, **n: str(made.survey.preferences("0", **n))),
    "Survey.quantiles": ({"channel": 1, "n": 2}, lambda made, **n: str(made.survey.quantiles("0", **n))),
    "Survey.similar": ({"channel": 1, "n": 2}, lambda made, **n: str(made.survey.similar("0", **n))),
    "Survey.top": ({"channel": 1}, lambda made, **n: str(made.survey.top("0", **n))),
    "Survey.units": ({"n": 2}, None),
    "UnitPanel()": (
        {"channel": 1, "k": 2},
        lambda made, **n: made.opened(lambda: cs.UnitPanel(made.net, PICTURES, "0", **n)),
    ),
    "ablation": (MANY, lambda made, **n: str(cs.ablation(made.net, Pictures(), {"one": {"0": [0]}}, **n, **QUIET))),
    "attribute": ({"target": 1}, lambda made, **n: str(cs.attribute(made.net, PICTURES[0], "gradient", **n))),
    "clip_filters": ({"radius": 0.1}, lambda made, **n: clipped(cs.clip_filters, **n)),
    "filter_sizes": ({"radius": 0.1}, lambda made, **n: clipped(cs.filter_sizes, **n)),
    "compare": (SURVEY, lambda made, **n: cs.compare(made.net, made.other, PICTURES, **n, **QUIET).matches("0", "0")),
    "consistency": (
        CONSISTENCY,
        lambda made, **n: str(
            cs.consistency(made.net, [np.asarray(one.permute(1, 2, 0)) for one in PICTURES[:2]], **n, **QUIET)
        ),
    ),
    "correspondence": (
        CORRESPOND,
        lambda made, **n: str(cs.correspondence(made.net, PICTURES[:3], EYES, ["0"], **n, **QUIET)),
    ),
    "degradation": (
        {"patch": 4, "steps": 2, "seed": 1, "batch_size": 2},
        lambda made, **n: str(cs.degradation(made.net, PICTURES[:2], ["random"], **n, **QUIET)),
    ),
    "effective_field": (
        {"channel": 1, "share": 0.5, "row": 1},
        lambda made, row, **n: repr(cs.effective_field(made.net, PICTURES[0], "0", position=(row, row), **n)),
    ),
    "Survey.of": ({}, None),
    "evolution": ({**SURVEY, "tau": 0.1}, lambda made, **n: str(cs.evolution(made.moments, PICTURES, **n, **QUIET))),
    "filter_health": (
        {"pictures": 4, "batch_size": 2, "workers": 0},
        lambda made, **n: str(cs.filter_health(made.net, None, PICTURES, **n, **QUIET)),
    ),
    "fit_patterns": ({**MANY, "few": 1}, lambda made, **n: str(cs.fit_patterns(made.net, PICTURES, **n, **QUIET))),
    "initialise": (
        {"seed": 1},
        lambda made, **n: str(
            [float(p.detach().sum()) for m in [module()] for p in (cs.initialise(m, **n), m)[1].parameters()]
        ),
    ),
    "invariance": (
        {**MANY, "seed": 1, "move": 2},
        lambda made, move, **n: str(
            cs.invariance(made.net, PICTURES[:2], {"shift_x": [0, move], "brightness": move}, ["0"], **n, **QUIET)
        ),
    ),
    "lightning_callback": ({"clip": 0.5}, None),
    "occlusion_map": (OCCLUDED, lambda made, **n: str(cs.occlusion_map(made.net, PICTURES[0], **n, **QUIET))),
    "probe": (PROBED, lambda made, **n: str(cs.probe(made.net, Pictures(), ["0"], **n, **QUIET))),
    "project": (
        {"channel": 1, "row": 1},
        lambda made, channel, row: str(cs.project(made.net, PICTURES[0], "0", channel, position=(row, row))),
    ),
    "project_many": ({"image": 1, "channel": 1}, None),
    "randomised": ({"top": 0.5, "seed": 1}, lambda made, **n: cs.randomised(made.net, **n).fingerprint),
    "read_image": (
        {"low": 0.0, "high": 2.0},
        lambda made, low, high: np.asarray(cs.read_image(np.ones((4, 4, 3)), scale=(low, high))).tolist(),
    ),
    "signal_quality": (
        {"units": 2, "samples": 20, "ridge": 0.5, "seed": 1, "batch_size": 2},
        lambda made, **n: str(cs.signal_quality(made.net, made.patterns, PICTURES, **n, **QUIET)),
    ),
    "survey": (
        {**SURVEY, "index": 1},
        lambda made, index, **n: str(cs.survey(made.net, PICTURES, indices=[index, 2], **n, **QUIET)),
    ),
    "train": (TRAINED, lambda made, **n: trained(**n)),
}


@pytest.fixture(scope="module")
def made() -> Made:
    return Made()


KINDS: list[Callable[[Any], Any]] = [
    lambda number: number,
    lambda number: np.int64(number) if isinstance(number, int) else np.float64(number),
    lambda number: np.int32(number) if isinstance(number, int) else np.float64(number),
    lambda number: np.array(number),
    lambda number: torch.tensor(number, dtype=torch.float64 if isinstance(number, float) else None),
    lambda number: torch.tensor(number, dtype=torch.int16) if isinstance(number, int) and number < 9999 else number,
]
SAID: dict[str, str] = {}


@pytest.mark.parametrize("door", [name for name, (_, call) in DOORS.items() if call is not None])
@settings(max_examples=2, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_number_is_the_same_whoever_made_it(made: Made, door: str, data: st.DataObject) -> None:
    numbers, call = DOORS[door]
    if door not in SAID:
        SAID[door] = repr(call(made, **numbers))
    other = {name: data.draw(st.sampled_from(KINDS), name)(number) for name, number in numbers.items()}
    assert repr(call(made, **other)) == SAID[door]


NUMBER = re.compile(r"\b(int|float|Size|Radius|Target)\b")

#: Results, which are made by what is measured, and not by hand.
RESULTS = re.compile(
    r"(Ablation|Attribution|Checkpoint|\w+Result|Degradation|Filter(Health|Sizes)|HealthTable|Layer|Patterns|Probes|"
    r"Projection|ShapesTruth|SignalQuality|Survey|EffectiveField)\(\)"
)


def doors() -> set[str]:
    """The public doors that take numbers, by name; a class's methods under that where they are defined first."""
    found, seen = set(), set()
    for name in sorted(cs.__all__, key=lambda name: (name not in ("Explorer", "EvolutionRecorder"), name)):
        one = getattr(cs, name)
        places = {f"{name}()": one.__init__} if inspect.isclass(one) else {name: one}
        if inspect.isclass(one):
            places |= {f"{name}.{method}": getattr(one, method) for method in vars(one) if method[0] != "_"}
            places |= {f"{name}.{method}": getattr(one, method) for method in dir(one) if method[0] != "_"}
        for place, door in places.items():
            inner = inspect.unwrap(getattr(door, "__func__", door))
            if not inspect.isfunction(inner) and not hasattr(door, "__signature__"):
                continue
            if inner in seen or not getattr(inner, "__module__", "").startswith("convscope"):
                continue
            hints = [str(p.annotation) for p in inspect.signature(door).parameters.values() if p.name != "progress"]
            if any(NUMBER.search(hint) for hint in hints) and not RESULTS.fullmatch(place):
                seen.add(inner)
                found.add(place)
    return found


def test_every_door_that_takes_numbers_is_tried() -> None:
    steps = {
        *("ablating", "comparing", "corresponding", "degrading", "evolving", "fitting_patterns", "occluding_map"),
        *("measuring_consistency", "measuring_filters", "measuring_invariance", "probing", "projecting", "surveying"),
        "training",
    }
    missing = doors() - steps - set(DOORS)
    assert not missing, "say in DOORS how they are called, and decorate them: door, plain_methods"
    assert set(DOORS) - doors() == {"project_many", "ZFNet()"}


@given(st.one_of(st.integers(-(2**31), 2**31), st.floats(allow_nan=True, width=32)), st.sampled_from(KINDS[:5]))
def test_plain_numbers(number: Any, kind: Callable[[Any], Any]) -> None:
    other = kind(number)
    assert type(plain_number(other)) is type(number)
    np.testing.assert_equal(plain_number(other), number)
    assert is_number(other)
    assert is_whole(other) == isinstance(number, int)
    pair = (other, other)
    assert [type(one) for one in plain_number(pair)] == [type(number)] * 2


@pytest.mark.parametrize("value", [None, "3", [1, 2], {"a": 1}, np.arange(2), torch.zeros(1), np.zeros((1, 1))])
def test_what_is_no_number_stays(value: Any) -> None:
    assert plain_number(value) is value
    assert not is_number(value)


@pytest.mark.parametrize("value", [True, np.True_, torch.tensor(True), np.array(True)])
def test_truth_is_no_number(value: Any) -> None:
    assert plain_number(value) is True
    assert not is_number(value)
    assert not is_whole(value)
