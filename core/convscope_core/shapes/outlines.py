"""Outlines as signed distances: below 0 inside, above 0 outside, in the outline's own units.

Only sums, products, quotients, roots, minima and maxima are used: IEEE arithmetic has one right result for each, so
pictures do not depend on a platform's sine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

__all__ = ["Cut", "Ellipse", "Line", "Outline", "Polygon", "Rectangle", "Ring", "Union"]


class Outline(Protocol):
    """The outline of something flat."""

    def distance(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Signed distance to the outline at points, float32; exact near the outline, at least its sign elsewhere."""

    def circle(self) -> tuple[float, float, float]:
        """A circle (u, v, radius) around all of it."""


@dataclass(frozen=True)
class Ellipse:
    """An ellipse with its axes along the frame's, or along `turn` (cosine, sine)."""

    u: float
    v: float
    width: float
    height: float
    turn: tuple[float, float] = (1.0, 0.0)

    def distance(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """See `Outline`."""
        cos, sin = self.turn
        u, v = u - self.u, v - self.v
        if sin:
            u, v = cos * u + sin * v, cos * v - sin * u
        if self.width == self.height:
            return np.sqrt(u * u + v * v) - self.width
        u, v = u * (1 / self.width), v * (1 / self.height)
        near = np.sqrt(u * u + v * v + 1e-12)
        u, v = u * (1 / self.width), v * (1 / self.height)
        # First order in the distance: the implicit function divided by its slope.
        found: np.ndarray = near * (near - 1) / np.sqrt(u * u + v * v + 1e-12)
        return found

    def circle(self) -> tuple[float, float, float]:
        """See `Outline`."""
        return self.u, self.v, max(self.width, self.height)


@dataclass(frozen=True)
class Rectangle:
    """A rectangle of half sizes, with round corners."""

    u: float
    v: float
    width: float
    height: float
    corner: float = 0.0

    def distance(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """See `Outline`."""
        across = np.abs(u - self.u) - (self.width - self.corner)
        down = np.abs(v - self.v) - (self.height - self.corner)
        outside_u, outside_v = np.maximum(across, 0), np.maximum(down, 0)
        inside = np.minimum(np.maximum(across, down), 0)
        found: np.ndarray = np.sqrt(outside_u * outside_u + outside_v * outside_v) + (inside - self.corner)
        return found

    def circle(self) -> tuple[float, float, float]:
        """See `Outline`."""
        return self.u, self.v, (self.width**2 + self.height**2) ** 0.5


@dataclass(frozen=True)
class Polygon:
    """A convex polygon, its corners in either order."""

    corners: tuple[tuple[float, float], ...]

    def distance(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """See `Outline`."""
        middle_u, middle_v = self._middle()
        found: np.ndarray | None = None
        for (u0, v0), (u1, v1) in zip(self.corners, (*self.corners[1:], self.corners[0]), strict=True):
            normal_u, normal_v = v1 - v0, u0 - u1
            length = (normal_u * normal_u + normal_v * normal_v) ** 0.5
            if (middle_u - u0) * normal_u + (middle_v - v0) * normal_v > 0:
                length = -length
            normal_u, normal_v = normal_u / length, normal_v / length
            side = u * normal_u + (v * normal_v - (u0 * normal_u + v0 * normal_v))
            found = side if found is None else np.maximum(found, side)
        assert found is not None
        return found

    def circle(self) -> tuple[float, float, float]:
        """See `Outline`."""
        u, v = self._middle()
        return u, v, max(((a - u) ** 2 + (b - v) ** 2) ** 0.5 for a, b in self.corners)

    def _middle(self) -> tuple[float, float]:
        n = len(self.corners)
        return sum(u for u, _ in self.corners) / n, sum(v for _, v in self.corners) / n


@dataclass(frozen=True)
class Line:
    """A line with round ends, `thickness` to either side."""

    start: tuple[float, float]
    end: tuple[float, float]
    thickness: float

    def distance(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """See `Outline`."""
        (u0, v0), (u1, v1) = self.start, self.end
        along_u, along_v = u1 - u0, v1 - v0
        square = along_u * along_u + along_v * along_v
        u, v = u - u0, v - v0
        along = np.minimum(np.maximum(u * (along_u / square) + v * (along_v / square), 0), 1)
        u, v = u - along * along_u, v - along * along_v
        return np.sqrt(u * u + v * v) - self.thickness

    def circle(self) -> tuple[float, float, float]:
        """See `Outline`."""
        (u0, v0), (u1, v1) = self.start, self.end
        half = (((u1 - u0) ** 2 + (v1 - v0) ** 2) ** 0.5) / 2
        return (u0 + u1) / 2, (v0 + v1) / 2, half + self.thickness


@dataclass(frozen=True)
class Ring:
    """A circle's line, `thickness` to either side."""

    u: float
    v: float
    radius: float
    thickness: float

    def distance(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """See `Outline`."""
        u, v = u - self.u, v - self.v
        return np.abs(np.sqrt(u * u + v * v) - self.radius) - self.thickness

    def circle(self) -> tuple[float, float, float]:
        """See `Outline`."""
        return self.u, self.v, self.radius + self.thickness


@dataclass(frozen=True)
class Union:
    """Several outlines as one."""

    outlines: tuple[Outline, ...]

    def distance(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """See `Outline`."""
        found = self.outlines[0].distance(u, v)
        for outline in self.outlines[1:]:
            found = np.minimum(found, outline.distance(u, v))
        return found

    def circle(self) -> tuple[float, float, float]:
        """See `Outline`."""
        return _around([outline.circle() for outline in self.outlines])


@dataclass(frozen=True)
class Cut:
    """An outline without what lies in another."""

    outline: Outline
    away: Outline

    def distance(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """See `Outline`."""
        found: np.ndarray = np.maximum(self.outline.distance(u, v), -self.away.distance(u, v))
        return found

    def circle(self) -> tuple[float, float, float]:
        """See `Outline`."""
        return self.outline.circle()


def _around(circles: Sequence[tuple[float, float, float]]) -> tuple[float, float, float]:
    """A circle around circles."""
    left, right = min(u - r for u, _, r in circles), max(u + r for u, _, r in circles)
    top, bottom = min(v - r for _, v, r in circles), max(v + r for _, v, r in circles)
    u, v = (left + right) / 2, (top + bottom) / 2
    return u, v, max(((a - u) ** 2 + (b - v) ** 2) ** 0.5 + r for a, b, r in circles)
