"""How much of what is explained arrives, and where the rest goes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

__all__ = ["Conservation"]

#: The share of what started that is too little to be named in the text.
_SLIGHT = 5e-4


@dataclass(frozen=True)
class Conservation:
    """What an attribution's values sum to, and why that is not the score.

    For a method that shares something out, ``arrived`` and the numbers in ``rest`` sum to ``started``.

    Attributes
    ----------
    score : float
        The explained value.
    started : float
        What was shared out: the score; or another number, which the text names.
    arrived : float
        The sum of the attribution's values, in double precision.
    rest : mapping of str to float
        What the attribution's values lack, by where it went ("biases", "epsilon", "padding"...).
    shares : bool
        Whether the method shares out the score. If not (a gradient, a signal), the sum of its values is no part of it,
        and there is no rest.
    """

    score: float
    started: float
    arrived: float
    rest: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    shares: bool = True

    @property
    def total(self) -> float:
        """What arrived and where the rest went, summed: `started`, up to rounding."""
        return math.fsum([self.arrived, *self.rest.values()])

    @property
    def brief(self) -> str:
        """How much arrives, in three words; empty for a method that shares nothing out."""
        if not self.shares:
            return ""
        share = self.arrived / self.started if self.started else 0.0
        if 0 <= share < 10:
            return f"{share:.0%} arrives".replace("%", " %")
        return f"{_number(self.arrived)} of {_number(self.started)} arrives"

    def __str__(self) -> str:
        if not self.shares:
            return f"score {_number(self.score)}; the values are no shares of it (they sum to {_number(self.arrived)})"
        size = max(abs(self.started), abs(self.arrived), *map(abs, self.rest.values()), 0.0)
        named = {k: v for k, v in self.rest.items() if abs(v) > _SLIGHT * size}
        start = f"score {_number(self.score)}"
        if self.started != self.score:
            start += f", of which {_number(self.started)} is shared out"
            if self.score < 0 < self.started:
                start = f"score {_number(self.score)}: below zero, so that the walk starts from {_number(self.started)}"
        parts = [f"{_number(self.arrived)} arrived"]
        parts += [f"{name} {_number(v)}" for name, v in sorted(named.items(), key=lambda item: -abs(item[1]))]
        return f"{start} = " + " + ".join(parts).replace("+ −", "− ")


def _number(value: float) -> str:
    return f"{value:.3g}".replace("-", "−")
