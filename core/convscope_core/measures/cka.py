"""Debiased linear CKA: how alike two layers order the same pictures, whatever their units are and how many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from convscope_core.errors import ArgumentError

__all__ = ["FEWEST", "Gram", "cka", "cka_matrix", "gram"]

FEWEST = 4
"""Pictures from which on the unbiased estimator exists."""

_NOISE = 1e-12
"""Share of a Gram matrix below which its centred part is rounding."""


@dataclass(frozen=True, eq=False)
class Gram:
    """What CKA needs of a layer: which pictures are alike to it.

    Attributes
    ----------
    values : float64 array (n, n)
        Inner products of the pictures' features, U-centred, diagonal 0, of Frobenius norm 1; all zero where the layer
        tells no picture from another, or only one from all others.
    images : int64 array (n,)
        Which pictures.
    """

    values: npt.NDArray[np.float64]
    images: npt.NDArray[np.int64]


def gram(features: npt.ArrayLike, images: npt.ArrayLike) -> Gram:
    """Reduce features to what CKA needs of them.

    Parameters
    ----------
    features : array (n, units)
        A row a picture.
    images : int array (n,)
        Which picture each row is of; compared with those of others, so that features of other pictures, or of the same
        in another order, are refused.

    Returns
    -------
    Gram

    Raises
    ------
    ArgumentError
        When there are fewer than four pictures, one is there twice, or a value is NaN or infinite.
    """
    x = np.asarray(features, np.float64)
    ids = np.asarray(images, np.int64)
    if x.ndim != 2 or ids.shape != x.shape[:1]:
        raise ArgumentError(f"Expected features (n, units) and images (n,), got shapes {x.shape} and {ids.shape}.")
    if len(x) < FEWEST:
        raise ArgumentError(f"Expected features of at least {FEWEST} pictures, got {len(x)}: CKA is not defined.")
    if len(np.unique(ids)) < len(ids):
        raise ArgumentError("Expected each picture once, got some twice, which would look alike to any layer.")
    if not np.isfinite(x).all():
        raise ArgumentError("Expected finite features, got NaN or infinite values.")
    # The first row goes first: what is the same for all pictures is then exactly zero.
    centred = x - x[0]
    centred -= centred.mean(0)
    scale = np.abs(centred).max(initial=0.0)
    centred /= scale or 1.0
    products = centred @ centred.T
    k = _u_centred(products)
    length = np.linalg.norm(k)
    return Gram(k / length if length > _NOISE * np.linalg.norm(products) else np.zeros_like(k), ids)


def cka(a: Gram, b: Gram) -> float:
    """Compare two layers: debiased linear CKA.

    1 where they order the pictures alike: unchanged by orthogonal maps of the units, by a common scale, by an offset of
    each unit. About 0, on either side, where they have nothing to do with each other, whatever the number of units: the
    biased estimate would grow with it. Nguyen, Raghu & Kornblith (ICLR 2021, eq. 3) with the unbiased HSIC of Song et
    al. (JMLR 2012, eq. 5), which is the inner product of U-centred Gram matrices (Székely & Rizzo 2014).

    Parameters
    ----------
    a, b : Gram
        Of the same pictures in the same order.

    Returns
    -------
    float
        -1 to 1; NaN where one of them tells no picture from another, or only one from all others.

    Raises
    ------
    ArgumentError
        When they are of other pictures.
    """
    return float(cka_matrix([a], [b])[0, 0])


def cka_matrix(rows: Sequence[Gram], columns: Sequence[Gram]) -> npt.NDArray[np.float64]:
    """Compare all layers of one network with all of another, as `cka` does.

    Returns
    -------
    float64 array (rows, columns)

    Raises
    ------
    ArgumentError
        When there is none, or they are of other pictures.
    """
    if not rows or not columns:
        raise ArgumentError("Expected at least one layer on either side, got none.")
    first = rows[0].images
    for one in (*rows, *columns):
        if not np.array_equal(one.images, first):
            came = _other(first, one.images)
            raise ArgumentError(f"Expected features of the same pictures in the same order, got {came}.")
    a, b = (np.stack([one.values.ravel() for one in side]) for side in (rows, columns))
    found: npt.NDArray[np.float64] = np.clip(a @ b.T, -1.0, 1.0)
    found[~a.any(1)] = np.nan
    found[:, ~b.any(1)] = np.nan
    return found


def _u_centred(k: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Take the means of rows and columns off the entries beside the diagonal, unbiased; the diagonal becomes 0."""
    n = len(k)
    k = k.copy()
    np.fill_diagonal(k, 0)
    rows = k.sum(1) / (n - 2)
    k -= rows[:, None] + rows[None, :] - k.sum() / ((n - 1) * (n - 2))
    np.fill_diagonal(k, 0)
    return k


def _other(a: Any, b: Any) -> str:
    if len(a) != len(b):
        return f"{len(a)} and {len(b)}"
    if np.array_equal(np.sort(a), np.sort(b)):
        return "the same in another order"
    place = int(np.flatnonzero(a != b)[0])
    return f"picture {a[place]} and picture {b[place]} in place {place}"
