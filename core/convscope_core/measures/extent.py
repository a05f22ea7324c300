"""Where in a map its energy lies."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from convscope_core.errors import ArgumentError

__all__ = ["energy_box"]


def energy_box(values: npt.NDArray[Any], share: float = 0.95) -> tuple[int, int, int, int]:
    """Find a box that holds a share of the energy of a map: what is left when nearly nothing is cut off each side.

    Of each of the four sides as many lines are cut off as hold, together, at most a quarter of what may be lost. So the
    box holds at least the share, and does not depend on how strong the map is.

    Parameters
    ----------
    values : ndarray (..., H, W)
        Finite numbers; the energy of a place is the sum of the squares over the leading axes.
    share : float, default 0.95
        Above 0 up to 1.

    Returns
    -------
    tuple of int
        Top, left, bottom, right in places of the map, half-open. All of it where there is no energy.

    Raises
    ------
    ArgumentError
        For values without two axes or places, or a share out of range.
    """
    x = np.asarray(values, np.float64)
    if x.ndim < 2 or x.shape[-1] * x.shape[-2] == 0:
        raise ArgumentError(f"Expected a map (..., H, W) with at least one place, got shape {x.shape}.")
    if not 0 < share <= 1:
        raise ArgumentError(f"Expected a share above 0, up to 1, got {share!r}.")
    height, width = x.shape[-2:]
    strongest = np.abs(x).max(initial=0.0)
    if not strongest > 0:
        return 0, 0, height, width
    energy = np.square(x / strongest).reshape(-1, height, width).sum(0)  # neither overflows nor vanishes
    lost = (1 - share) / 4 * energy.sum()
    (top, bottom), (left, right) = (_cut(energy.sum(1), lost), _cut(energy.sum(0), lost))
    return top, left, bottom, right


def _cut(lines: npt.NDArray[np.float64], lost: float) -> tuple[int, int]:
    """The first line that is kept, and one past the last, where each end loses at most so much."""
    before, after = np.cumsum(lines), np.cumsum(lines[::-1])
    return int(np.argmax(before > lost)), len(lines) - int(np.argmax(after > lost))
