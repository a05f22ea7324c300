"""How much of two sets of pictures is the same."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from convscope_core.errors import ArgumentError

__all__ = ["jaccard"]


def jaccard(a: npt.ArrayLike, b: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return the share of two sets that both have, of what either has: the Jaccard index, row by row.

    Parameters
    ----------
    a, b : int arrays (rows, k)
        A set each row; negative entries are no members, and none may be in a row twice.

    Returns
    -------
    float64 array (rows,)
        0 to 1; NaN where both are empty.
    """
    x, y = np.asarray(a), np.asarray(b)
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y):
        raise ArgumentError(f"Expected as many sets on either side, (rows, k), got shapes {x.shape} and {y.shape}.")
    both = ((x[:, :, None] == y[:, None, :]) & (x[:, :, None] >= 0)).any(2).sum(1)
    either = (x >= 0).sum(1) + (y >= 0).sum(1) - both
    return np.asarray(np.divide(both, either, out=np.full(len(x), np.nan), where=either > 0))
