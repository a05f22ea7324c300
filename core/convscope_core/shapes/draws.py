"""Random numbers that depend on what they are for alone: a seed, a stream, a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

__all__ = ["Draws"]

_T = TypeVar("_T")

# The second half of Philox's key: sets of other versions share no number.
_VERSION = 1


class Draws:
    """Uniform draws for one purpose in one picture.

    A Philox generator (Salmon et al., SC 2011) maps a key and a counter to random bits, each counter to its own. The
    key is the seed, the counter holds the split, the picture and the stream, so two purposes never share a number.
    numpy guarantees the raw bits on every platform and in every version, which it does not for its distributions; what
    is made of the bits here is plain IEEE arithmetic.

    Parameters
    ----------
    seed, split, picture, stream : int
        From 0 to 2**64 - 1.
    """

    def __init__(self, seed: int, split: int, picture: int, stream: int) -> None:
        key = np.array([seed, _VERSION], np.uint64)
        self._bits = np.random.Philox(key=key, counter=np.array([0, stream, picture, split], np.uint64))
        self._next: list[int] = []

    def unit(self) -> float:
        """A number in [0, 1)."""
        if not self._next:
            self._next = self._bits.random_raw(32).tolist()[::-1]
        return float((self._next.pop() >> 11) * 2.0**-53)

    def uniform(self, low: float, high: float) -> float:
        """A number in [low, high)."""
        return low + (high - low) * self.unit()

    def around(self, spread: float) -> float:
        """A number in [-spread, spread)."""
        return spread * (2 * self.unit() - 1)

    def whole(self, n: int) -> int:
        """A whole number from 0 to n - 1."""
        return int(self.unit() * n)

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self.unit() < probability

    def choice(self, items: Sequence[_T]) -> _T:
        """One of the items."""
        return items[self.whole(len(items))]

    def order(self, n: int) -> list[int]:
        """The numbers from 0 to n - 1 in random order."""
        order = list(range(n))
        for last in range(n - 1, 0, -1):
            other = self.whole(last + 1)
            order[last], order[other] = order[other], order[last]
        return order

    def direction(self) -> tuple[float, float]:
        """A unit vector of any direction, from the tangent of half its angle: without sine and cosine."""
        cos, sin = half_tangent(self.around(1.0))
        return (-cos if self.chance(0.5) else cos), sin

    def grid(self, rows: int, columns: int) -> np.ndarray:
        """Numbers in [0, 1), float32 (rows, columns)."""
        bits = self._bits.random_raw(rows * columns) >> np.uint64(40)
        found: np.ndarray = (bits.astype(np.float32) * np.float32(2.0**-24)).reshape(rows, columns)
        return found


def half_tangent(t: float) -> tuple[float, float]:
    """Cosine and sine of the angle whose half has the tangent `t`, exact to rounding on every platform."""
    return (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)
