"""A measure for every value of a transformation: the mean over pictures, and how sure it is."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["Curve", "curve_of", "mean_of"]

Floats = npt.NDArray[np.float64]


class Curve(NamedTuple):
    """A mean over pictures for every value of a transformation, with its 95 % interval.

    Attributes
    ----------
    values, mean, low, high : float64 array (values,)
        The interval is 1.96 standard errors on either side; NaN of one picture.
    """

    values: Floats
    mean: Floats
    low: Floats
    high: Floats


def mean_of(rows: Floats) -> Floats:
    """Mean over pictures, the first axis, of what is not NaN; NaN where all are."""
    known = np.isfinite(rows)
    with np.errstate(invalid="ignore"):
        found: Floats = np.where(known, rows, 0).sum(0) / known.sum(0)
    return found


def curve_of(values: tuple[float, ...], rows: Floats) -> Curve:
    """Return the curve of a measure (pictures, values)."""
    mean = mean_of(rows)
    count = np.isfinite(rows).sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        squares = np.where(np.isfinite(rows), (rows - mean) ** 2, 0).sum(0)
        error = np.where(count > 1, 1.96 * np.sqrt(squares / (count - 1) / count), np.nan)
    return Curve(np.array(values), mean, mean - error, mean + error)
