"""What type checkers are told of the instruments' keyword arguments is what their traits take."""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest
import traitlets

import convscope as cs
from convscope import _options
from convscope._instrument import Instrument
from convscope._wire import Real, Value, Whole
from convscope_core.occlusion import Fill, Shape

INSTRUMENTS: list[type[Instrument]] = [
    found for name in cs.__all__ if isinstance(found := getattr(cs, name), type) and issubclass(found, Instrument)
]

#: Traits that a constructor sets by a parameter of another name.
RENAMED = {cs.UnitPanel: {"selected": "channel"}}

Number = int | str | None
PAIR = tuple[int, int]
NAMES = list[str] | tuple[str, ...]

#: Those whose trait says less than its validator does.
SAID: dict[str, Any] = {
    "fill": Fill,
    "points": list[PAIR | None] | tuple[PAIR | None, ...],
    "shape": Shape,
    "silenced": Mapping[str, int | Iterable[int] | None],
    "target": Number,
    "target_b": Number,
    "targets": list[Number] | tuple[Number, ...],
}


def told(trait: traitlets.TraitType) -> Any:
    """What a trait takes, as an annotation says it."""
    found: Any
    if trait.name in SAID:
        assert type(trait) in (Value, traitlets.List)
        return SAID[trait.name]
    if isinstance(trait, traitlets.Enum):
        found = Literal[tuple(trait.values)]
    elif isinstance(trait, traitlets.Union):
        found = Union[tuple(told(one) for one in trait.trait_types)]  # noqa: UP007  made of a list
    elif isinstance(trait, traitlets.Tuple):
        found = tuple[tuple(told(one) for one in trait._traits)]
    elif isinstance(trait, traitlets.List):
        assert isinstance(trait._trait, traitlets.Unicode)
        found = NAMES
    else:
        kinds = {Whole: int, Real: float, traitlets.Unicode: str, traitlets.Bool: bool}
        found = kinds[type(trait)]
    return found | None if trait.allow_none else found


def options_of(instrument: type[Instrument]) -> dict[str, Any]:
    (annotation,) = (
        one.annotation
        for one in inspect.signature(instrument.__init__).parameters.values()
        if one.kind is inspect.Parameter.VAR_KEYWORD
    )
    name = re.fullmatch(r"Unpack\[(\w+)\]", annotation)
    assert name is not None, annotation
    return get_type_hints(getattr(_options, name[1]))


@pytest.mark.parametrize("instrument", INSTRUMENTS, ids=lambda one: one.__name__)
def test_the_options_of_an_instrument_are_its_traits(instrument: type[Instrument]) -> None:
    traits = {name: instrument.class_traits()[name] for name in instrument._shared_traits() if name[0] != "_"}
    named = {*inspect.signature(instrument.__init__).parameters, *RENAMED.get(instrument, {})}
    assert options_of(instrument) == {name: told(trait) for name, trait in traits.items() if name not in named}


def test_there_are_options_for_each_and_no_others() -> None:
    assert len(INSTRUMENTS) == 12
    names = {str(inspect.signature(one.__init__).parameters["traits"].annotation)[7:-1] for one in INSTRUMENTS}
    assert names == set(_options.__all__)


@pytest.fixture(scope="module")
def workshop() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parent)
        import widget_harness

        yield widget_harness.Workshop()


@pytest.mark.parametrize("instrument", INSTRUMENTS, ids=lambda one: one.__name__)
def test_all_options_are_taken_together(
    workshop: Any, instrument: type[Instrument], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = workshop.make[instrument.__name__](workshop.net)
    values = {name: getattr(made, name) for name in options_of(instrument)}
    made.close()
    given: dict[str, Any] = {}
    constructor = instrument.__init__

    def construct(self: Instrument, *args: Any, **options: Any) -> None:
        given.update(options)
        constructor(self, *args, **{**values, **options})

    monkeypatch.setattr(instrument, "__init__", construct)
    again = workshop.make[instrument.__name__](workshop.net)
    try:
        for name, value in values.items():
            assert name in given or getattr(again, name) == value
    finally:
        again.close()


def test_values_of_an_enumeration_are_literals_and_nothing_else() -> None:
    for name in _options.__all__:
        for key, hint in get_type_hints(getattr(_options, name)).items():
            parts = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
            assert Any not in parts, (name, key)


def test_the_calls_that_the_checker_reads_are_of_every_instrument() -> None:
    calls = (Path(__file__).parents[1] / "typed_calls.py").read_text()
    right, wrong = calls.split("def wrong")
    for instrument in INSTRUMENTS:
        assert f"cs.{instrument.__name__}(" in right
        assert re.search(rf"cs\.{instrument.__name__}\(.*# type: ignore\[", wrong)
