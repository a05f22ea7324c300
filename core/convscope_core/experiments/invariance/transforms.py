"""The transformations of a picture by name: their units, which value changes nothing, and the paper's ranges."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from convscope_core.arguments import is_number, require_choice
from convscope_core.errors import ArgumentError

__all__ = [
    "GEOMETRIC",
    "KINDS",
    "PAPER",
    "SHIFTS",
    "Kind",
    "Transform",
    "Transforms",
    "checked_transforms",
    "margin_of",
]


class Kind(NamedTuple):
    """What is known of a transformation.

    Attributes
    ----------
    words : str
        What it is, for axes and tables.
    unit : str
        Of its values; "" where they are factors.
    identity : float
        The value that leaves the picture as it is.
    low, high : float
        Between which its values may be, both included.
    values : callable
        From the side of the network's input in pixels to the default values.
    """

    words: str
    unit: str
    identity: float
    low: float
    high: float
    values: Callable[[int], Iterable[float]]


def _shifts(side: int) -> list[float]:
    """The paper's 60 of 224 pixels, in steps of five; as many of a smaller picture."""
    reach = max(round(side * 60 / 224), 1)
    step = max(round(side * 5 / 224), 1)
    return [float(step * n) for n in range(-(reach // step), reach // step + 1)]


KINDS: dict[str, Kind] = {
    "shift_y": Kind("vertical translation", "px", 0, -math.inf, math.inf, _shifts),
    "shift_x": Kind("horizontal translation", "px", 0, -math.inf, math.inf, _shifts),
    "scale": Kind("scale", "", 1, 0.25, 16, lambda _: np.linspace(1, 1.8, 17)),
    "rotation": Kind("rotation", "°", 0, -360, 360, lambda _: range(0, 360, 10)),
    "blur": Kind("blur", "px", 0, 0, math.inf, lambda side: np.linspace(0, 4, 9) * side / 224),
    "brightness": Kind("brightness", "", 1, 0, 16, lambda _: (0.25, 0.4, 0.55, 0.7, 0.85, 1, 1.2, 1.4, 1.6, 1.8, 2)),
    "contrast": Kind("contrast", "", 1, 0, 16, lambda _: (0.1, 0.25, 0.4, 0.55, 0.7, 0.85, 1, 1.25, 1.5, 1.75, 2)),
    "hue": Kind("hue", "°", 0, -180, 180, lambda _: range(-180, 181, 20)),
    "noise": Kind("noise", "", 0, 0, 16, lambda _: np.linspace(0, 0.3, 11)),
    "jpeg": Kind("JPEG quality", "", 100, 1, 100, lambda _: (100, 90, 80, 70, 60, 50, 40, 30, 20, 15, 10, 5)),
}
"""All transformations. Shifts are down and to the right; a scale above 1 enlarges; rotations go counter-clockwise; blur
is the standard deviation of a Gaussian; brightness and contrast are factors; hue is turned; noise is a standard
deviation, of colours between 0 and 1. JPEG quality 100 stands for the picture that was not compressed."""

SHIFTS = ("shift_y", "shift_x")
GEOMETRIC = (*SHIFTS, "scale", "rotation")
"""Those that move pixels, so that something has to be filled in."""

PAPER = ("shift_y", "scale", "rotation")
"""Those of Zeiler & Fergus (2013), figure 5, from -60 to 60 pixels, 1 to 1.8, and 0 to 350 degrees."""

Transforms: TypeAlias = "str | Iterable[str] | Mapping[str, Iterable[float]] | None"


class Transform(NamedTuple):
    """A transformation with its values, ascending.

    Attributes
    ----------
    name : str
    values : tuple of float
    """

    name: str
    values: tuple[float, ...]

    @property
    def kind(self) -> Kind:
        """What is known of it."""
        return KINDS[self.name]

    @property
    def changing(self) -> tuple[int, ...]:
        """Places of the values that change the picture."""
        return tuple(place for place, value in enumerate(self.values) if value != self.kind.identity)

    def text(self, value: float) -> str:
        """Write a value with its unit."""
        unit = self.kind.unit
        return f"{value:g}{unit if unit == '°' else f' {unit}'.rstrip()}"


def checked_transforms(transforms: Transforms, shape: tuple[int, int, int]) -> tuple[Transform, ...]:
    """Return transformations with their values.

    Parameters
    ----------
    transforms : str, iterable of str, mapping of str to iterable of float, or None
        None for the paper's.
    shape : (C, H, W)
        Of the network's input.

    Raises
    ------
    ArgumentError
        When there is none, one is not known or has no values, or they are out of range or given twice.
    """
    side = min(shape[1:])
    asked: Any = PAPER if transforms is None else (transforms,) if isinstance(transforms, str) else transforms
    if not isinstance(asked, Iterable):
        raise ArgumentError(
            f"Expected transforms as names, or a mapping of names to values, got {type(asked).__name__}. For example "
            '{"rotation": range(0, 360, 30)}.'
        )
    listed = list(asked)
    if not listed:
        raise ArgumentError(f"Expected at least one transformation of {', '.join(KINDS)}, got none.")
    found = []
    for name in listed:
        require_choice("a transformation", name, KINDS)
        values = asked[name] if isinstance(asked, Mapping) else None
        found.append(Transform(name, _values(name, KINDS[name].values(side) if values is None else values, shape)))
    return tuple(found)


def _values(name: str, values: Any, shape: tuple[int, int, int]) -> tuple[float, ...]:
    kind = KINDS[name]
    try:
        numbers = sorted(float(value) for value in ([values] if is_number(values) else values))
    except (TypeError, ValueError):
        raise ArgumentError(f"Expected numbers as the values of {name}, got {values!r}.") from None
    if not numbers:
        raise ArgumentError(f"Expected at least one value of {name}, got none. Leave them out for the default ones.")
    if len({*numbers}) < len(numbers):
        raise ArgumentError(f"Expected each value of {name} once, got {values!r}.")
    low, high = kind.low, kind.high
    if name in SHIFTS:
        high = shape[1] if name == "shift_y" else shape[2]
        low = -high
    elif name == "blur":
        high = min(shape[1:])
    if not all(low <= number <= high for number in numbers):
        came = next(number for number in numbers if not low <= number <= high)
        raise ArgumentError(f"Expected values of {name} from {low:g} to {high:g}, got {came:g}.")
    if name in ("hue", "jpeg") and shape[0] not in ((3,) if name == "hue" else (1, 3)):
        raise ArgumentError(f"Expected a network of colour pictures for {name}, got one of {shape[0]} input channels.")
    return tuple(numbers)


def margin_of(transforms: Iterable[Transform], shape: tuple[int, int, int]) -> int:
    """Return how many pixels around the picture transformations look at."""
    height, width = shape[1:]
    most = 0.0
    for name, values in transforms:
        for value in values:
            if value == KINDS[name].identity:
                continue
            if name in SHIFTS:
                most = max(most, abs(value) + (2 if value % 1 else 0))
            elif name == "scale":
                most = max(most, (1 / value - 1) / 2 * max(height, width) + 2 + (4 / value if value < 1 else 0))
            elif name == "rotation":
                most = max(most, (math.hypot(height, width) - min(height, width)) / 2 + 2)
    return math.ceil(most)
