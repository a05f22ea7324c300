"""At every public door: what is to be a network, a survey or patterns is one, or is refused with what to do."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import convscope as cs
from convscope._instrument import Instrument

KINDS = {"Degradation", "EvolutionResult", "Network", "OcclusionResult", "Patterns", "SignalQuality", "Survey"}


def module() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)).eval()


@pytest.fixture(scope="module")
def net() -> cs.Network:
    return cs.Network(module(), input_size=16, device="cpu")


def asked() -> list[tuple[str, str, bool]]:
    """All functions of the package, its instruments and class methods of its classes, with a parameter of a kind."""
    found = []
    for name in cs.__all__:
        value = getattr(cs, name)
        methods = [f"{name}.{method}" for method in ("load", "of") if inspect.isclass(value) and hasattr(value, method)]
        itself = (
            [name] if inspect.isfunction(value) or (inspect.isclass(value) and issubclass(value, Instrument)) else []
        )
        for door in itself + methods:
            for parameter in inspect.signature(reached(door)).parameters.values():
                first, *rest = str(parameter.annotation).split(" | ")
                if first in KINDS and rest in ([], ["None"]):
                    found.append((door, parameter.name, bool(rest)))
    return found


def reached(door: str) -> Callable[..., Any]:
    made: Any = cs
    for name in door.split("."):
        made = getattr(made, name)
    found: Callable[..., Any] = made
    return found


def test_the_list_is_of_all_that_is_there() -> None:
    doors = {door for door, _, _ in asked()}
    expected = {"attribute", "methods", "survey", "load_survey", "invariance", "compare", "correspondence", "probe"}
    assert expected < doors
    assert doors > {"Comparison.load", "PatternReport", "UnitPanel", "quality_chart", "occlusion_map"}
    assert len(doors) > 30


@pytest.mark.parametrize(("door", "parameter", "optional"), asked())
@pytest.mark.parametrize("other", [module(), "vgg16", None, 3], ids=["module", "name", "none", "number"])
def test_anything_else_is_refused_with_what_to_do(
    net: cs.Network, door: str, parameter: str, optional: bool, other: Any
) -> None:
    function = reached(door)
    given = {
        one.name: net if str(one.annotation).split(" | ")[0] == "Network" else None
        for one in inspect.signature(function).parameters.values()
        if one.default is one.empty
        and one.kind is not one.VAR_KEYWORD
        and str(one.annotation) not in KINDS - {"Network"}
    }
    if optional and other is None:
        return
    with pytest.raises(cs.ArgumentError, match=rf"Expected {parameter} as an? \w+, got .*\. (Wrap|Make)"):
        function(**{**given, parameter: other})
    parameters = [*inspect.signature(function).parameters.values()]
    place = [one.name for one in parameters].index(parameter)
    alone = not any(str(one.annotation) in KINDS - {"Network"} for one in parameters[:place])
    if alone and parameters[place].kind is parameters[place].POSITIONAL_OR_KEYWORD:
        before = [given.get(one.name) for one in parameters[:place]]
        with pytest.raises(cs.ArgumentError, match=f"Expected {parameter} as an? "):
            function(*before, other)
