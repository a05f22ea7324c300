"""Square crops of pictures at several scales: where they lie, and which of them show the same place."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from convscope_core.arguments import require_counts
from convscope_core.errors import ArgumentError

__all__ = ["WHOLE", "Places", "laid_out", "non_overlapping", "require_layout"]

WHOLE = (0, 0, 2**31 - 1, 2**31 - 1)
"""The box of a picture that is no crop: it shares pixels with every crop of it."""

Box = tuple[int, int, int, int]
"""Top, left, bottom, right, in pixels; bottom and right are the first beyond."""


def require_layout(sides: Sequence[float], overlap: float) -> tuple[float, ...]:
    """Return the sides, largest first, each once; ArgumentError where they or the overlap are out of range."""
    found = sorted({float(side) for side in sides}, reverse=True)
    if not found or not all(0 < side <= 1 for side in found):
        raise ArgumentError(
            f"Expected sides of crops as shares of a picture's shorter side, each above 0 and at most 1, got {sides!r}."
        )
    if not 0 <= overlap < 1:
        raise ArgumentError(f"Expected an overlap of neighbouring crops from 0 to below 1, got {overlap!r}.")
    return tuple(found)


def laid_out(height: int, width: int, sides: Sequence[float], overlap: float) -> npt.NDArray[np.int32]:
    """Lay square crops over a picture: those of each side cover all of it, evenly spaced.

    Parameters
    ----------
    height, width : int
        Of the picture, pixels.
    sides : sequence of float
        Side of the squares as a share of the picture's shorter side.
    overlap : float
        Share of its side that a crop has in common with the next, at least.

    Returns
    -------
    int32 array (n, 4)
        `Box` of each: by side as given, then from top to bottom, then from left to right.
    """
    require_counts(height=height, width=width)
    boxes: list[Box] = []
    for share in sides:
        side = max(1, round(share * min(height, width)))
        rows, columns = (_starts(length, side, overlap) for length in (height, width))
        boxes += [(top, left, top + side, left + side) for top in rows for left in columns]
    return np.array(boxes, np.int32)


def _starts(length: int, side: int, overlap: float) -> list[int]:
    """Where intervals of a length start that cover a longer one; steps are at least a pixel."""
    step = max(1.0, side * (1 - overlap))
    count = math.ceil((length - side) / step - 1e-9) + 1
    return [round(place * (length - side) / max(1, count - 1)) for place in range(count)]


class Places:
    """Where in which photograph each of many pictures lies.

    Parameters
    ----------
    photographs : sequence of int
        The photograph of each, by number.
    boxes : array (n, 4)
        The place of each within it, a `Box`.
    """

    def __init__(self, photographs: Sequence[int], boxes: npt.ArrayLike) -> None:
        self._photographs = np.asarray(photographs, np.int64)
        self._boxes = np.asarray(boxes, np.int64).reshape(-1, 4)

    @property
    def most(self) -> int:
        """The largest number of pictures that are of one photograph."""
        return int(np.bincount(self._photographs).max(initial=1))

    def overlap(self, a: npt.NDArray[np.int64], b: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Tell for pairs of pictures, by index, whether they share a pixel of one photograph."""
        one, other = self._boxes[a], self._boxes[b]
        apart = (one[..., :2] >= other[..., 2:]).any(-1) | (other[..., :2] >= one[..., 2:]).any(-1)
        return np.asarray((self._photographs[a] == self._photographs[b]) & ~apart)


def non_overlapping(candidates: npt.NDArray[np.int64], places: Places, k: int) -> npt.NDArray[np.int64]:
    """Choose from ranked pictures the best, then always the next that overlaps none that is chosen.

    With (k - 1) m + 1 candidates, m of which are of one photograph at most, k are found, if there are so many among
    all pictures: each that is passed over is of a photograph that has one chosen already.

    Parameters
    ----------
    candidates : int64 array (C, n)
        Indices of pictures, best first, each at most once; -1 where there is none.
    places : Places
    k : int

    Returns
    -------
    int64 array (C, k)
        Columns of `candidates`, ascending; -1 where no more are found.
    """
    chosen = np.full((len(candidates), k), -1, np.int64)
    kept = np.full((len(candidates), k), -1, np.int64)  # the pictures in those columns
    count = np.zeros(len(candidates), np.int64)
    for column, pictures in enumerate(candidates.T):
        open_rows = np.flatnonzero((pictures >= 0) & (count < k))
        if not open_rows.size:
            break
        others = kept[open_rows]
        clash = (others >= 0) & places.overlap(pictures[open_rows, None], others)
        rows = open_rows[~clash.any(1)]
        chosen[rows, count[rows]], kept[rows, count[rows]] = column, pictures[rows]
        count[rows] += 1
    return chosen
