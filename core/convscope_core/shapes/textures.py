"""Textures: how much of a second colour is where, from 0 to 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from convscope_core.shapes.draws import Draws

__all__ = ["BACKGROUNDS", "COATS", "Texture", "draw_texture"]

# What backgrounds may have, and what objects may.
BACKGROUNDS = ("gradient", "stripes", "checks", "spots", "noise", "clouds")
COATS = ("plain", "stripes", "checks", "spots")


class Texture(Protocol):
    """A texture, by name."""

    @property
    def name(self) -> str:
        """What it is called."""

    def amount(self, u: np.ndarray, v: np.ndarray, pixel: float) -> np.ndarray:
        """The second colour's amount at points whose pixels are `pixel` wide, float32 in [0, 1].

        `u` is a row or a map, `v` a column or a map, in the same units.
        """


@dataclass(frozen=True)
class Stripes:
    """Stripes of equal width across `direction`; with `crossed`, the checks of two sets of stripes."""

    frequency: float
    direction: tuple[float, float]
    phase: float
    crossed: bool = False

    @property
    def name(self) -> str:
        return "checks" if self.crossed else "stripes"

    def amount(self, u: np.ndarray, v: np.ndarray, pixel: float) -> np.ndarray:
        """See `Texture`."""
        cos, sin = self.direction[0] * self.frequency, self.direction[1] * self.frequency
        first = _square_wave(u * cos + (v * sin + self.phase), pixel * self.frequency)
        if not self.crossed:
            return first
        second = _square_wave(v * cos + (self.phase - u * sin), pixel * self.frequency)
        found: np.ndarray = first + second - 2 * first * second
        return found


@dataclass(frozen=True)
class Spots:
    """Round spots on a square lattice."""

    frequency: float
    direction: tuple[float, float]
    phase: float
    radius: float = 0.32

    name = "spots"

    def amount(self, u: np.ndarray, v: np.ndarray, pixel: float) -> np.ndarray:
        """See `Texture`."""
        cos, sin = self.direction[0] * self.frequency, self.direction[1] * self.frequency
        a = u * cos + (v * sin + self.phase)
        b = v * cos + (self.phase - u * sin)
        a = a - np.floor(a) - 0.5
        b = b - np.floor(b) - 0.5
        return _edge(self.radius - np.sqrt(a * a + b * b), pixel * self.frequency)


@dataclass(frozen=True)
class Gradient:
    """From one colour to the other along `direction`, over the picture."""

    direction: tuple[float, float]

    name = "gradient"

    def amount(self, u: np.ndarray, v: np.ndarray, pixel: float) -> np.ndarray:  # noqa: ARG002
        """See `Texture`."""
        along = u * (0.4 * self.direction[0]) + (v * (0.4 * self.direction[1]) + 0.5)
        return np.minimum(np.maximum(along, 0), 1)


@dataclass(frozen=True, eq=False)
class Noise:
    """Values of lattices, float32 (n, n) each, smoothly joined and averaged; a row `u` and a column `v` only."""

    lattices: tuple[np.ndarray, ...]
    name: str

    def amount(self, u: np.ndarray, v: np.ndarray, pixel: float) -> np.ndarray:  # noqa: ARG002
        """See `Texture`."""
        total: np.ndarray | None = None
        for lattice in self.lattices:
            across, right = _between(u.reshape(-1), lattice.shape[1])
            down, low = _between(v.reshape(-1), lattice.shape[0])
            rows = lattice[down] + (lattice[down + 1] - lattice[down]) * low[:, None]
            left = rows[:, across]
            values = left + (rows[:, across + 1] - left) * right
            total = values if total is None else total + values
        assert total is not None
        # Averages of uniform numbers crowd around the middle.
        return np.minimum(np.maximum((total * (1 / len(self.lattices)) - 0.5) * 1.6 + 0.5, 0), 1)


def draw_texture(draws: Draws, name: str, frequency: tuple[float, float]) -> Texture | None:
    """Draw a texture of this name with a frequency (periods per unit) between two bounds; None for "plain"."""
    periods = draws.uniform(*frequency)
    direction = draws.direction()
    phase = draws.unit()
    if name == "plain":
        return None
    if name in ("stripes", "checks"):
        return Stripes(periods, direction, phase, crossed=name == "checks")
    if name == "spots":
        return Spots(periods * 1.2, direction, phase)
    if name == "gradient":
        return Gradient(direction)
    if name == "noise":
        n = 2 + int(periods * 4)
        return Noise((draws.grid(n + 1, n + 1),), name)
    n = 3 + int(periods)
    return Noise((draws.grid(n + 1, n + 1), draws.grid(2 * n + 1, 2 * n + 1)), "clouds")


def _edge(distance: np.ndarray, pixel: float) -> np.ndarray:
    """From 0 to 1 over one pixel around where the distance is 0."""
    return np.minimum(np.maximum(distance * (1 / pixel) + 0.5, 0), 1)


def _square_wave(phase: np.ndarray, pixel: float) -> np.ndarray:
    return _edge(0.25 - np.abs(phase - np.floor(phase) - 0.5), pixel)


def _between(x: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Of n lattice points from -1 to 1: the one before each place, and how far to the next, eased."""
    place = (x + 1) * (0.5 * (n - 1))
    before = np.minimum(np.maximum(np.floor(place), 0), n - 2)
    part = place - before
    return before.astype(np.intp), part * part * (3 - 2 * part)
