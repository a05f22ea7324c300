"""The shapes of an occluder: which pixels of its box it covers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from torch import Tensor

from convscope_core.errors import ArgumentError, did_you_mean
from convscope_core.occlusion.box import whole_number

__all__ = ["SHAPES", "Outline", "Shape", "box_mask", "checked_shape", "shape_name"]

SHAPES = ("square", "ellipse")
"""The shapes with a name; any outline and any mask is one, too."""

_MOST = 2**24
"""Pixels of a mask at most: 4096x4096."""

Shape: TypeAlias = str | Sequence[Sequence[float]] | npt.NDArray[Any]
"""One of `SHAPES`, an outline of (row, column) in 0..1 of the box, or a bool array (height, width)."""

Outline: TypeAlias = tuple[tuple[float, float], ...]
"""The form in which an outline is kept."""

_EXPECTED_SHAPE = (
    "Expected shape to be 'square', 'ellipse', an outline (at least 3 points (row, column) from 0 to 1 of the box) or "
    "a mask (a bool array (height, width))"
)


def checked_shape(shape: object) -> str | Outline | npt.NDArray[np.bool_]:
    """Return a shape in the form in which it is kept.

    Returns
    -------
    str, tuple of (row, column) or bool array (height, width)
        A name of `SHAPES`, an outline as a tuple of pairs of float, or a copy of a mask, not to be written to.

    Raises
    ------
    ArgumentError
        When it is none of these, a point of an outline is outside 0..1, or a mask covers nothing.
    """
    if isinstance(shape, str):
        if shape in SHAPES:
            return shape
        raise ArgumentError(f"{_EXPECTED_SHAPE}, got {shape!r}.{did_you_mean(shape, SHAPES)}")
    try:
        values: npt.NDArray[Any] = np.asarray(shape.cpu() if isinstance(shape, Tensor) else shape)
    except (TypeError, ValueError):  # rows of several lengths
        values = np.empty(0, object)
    if values.dtype == bool and values.ndim == 2:
        if not values.any():
            raise ArgumentError(f"Expected a mask that covers a pixel, got one of {_by(values.shape)} without any.")
        if values.size > _MOST:
            raise ArgumentError(
                f"Expected a mask of at most {_MOST:,} pixels, got {_by(values.shape)}. An occluder lies within the "
                "network's input: make the mask smaller."
            )
        mask: npt.NDArray[np.bool_] = values.copy()
        mask.flags.writeable = False
        return mask
    if values.dtype.kind in "iuf" and values.ndim == 2 and values.shape[1] == 2 and len(values) >= 3:
        if not ((values >= 0) & (values <= 1)).all():
            raise ArgumentError(
                "Expected the points (row, column) of an outline from 0 to 1, in units of the occluder's box, got "
                f"{values.min():g} to {values.max():g}."
            )
        return tuple((float(row), float(column)) for row, column in values)
    given = f"values of {values.dtype} of shape {values.shape}" if values.dtype != object else f"{shape!r}"
    raise ArgumentError(f"{_EXPECTED_SHAPE}, got {given}.")


def shape_name(shape: object) -> str:
    """Write a shape as words: "square", "ellipse", "outline of N points" or "mask of HxW".

    Raises
    ------
    ArgumentError
        As of `checked_shape`.
    """
    known = checked_shape(shape)
    if isinstance(known, str):
        return known
    return f"outline of {len(known)} points" if isinstance(known, tuple) else f"mask of {_by(known.shape)}"


def box_mask(shape: Shape, size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Which pixels of its box an occluder covers. No anti-aliasing: a pixel is covered or not.

    Parameters
    ----------
    shape : str, outline or bool array
        - ``"square"``: all of the box.
        - ``"ellipse"``: the pixels whose centres lie in the ellipse inscribed in the box, or on it.
        - An outline, at least 3 points (row, column) in units of the box, 0..1 from its upper left corner: the
          pixels whose centres lie inside the closed polygon by the even-odd rule. With (y, x) the centre of a
          pixel, ((row + 0.5) / height, (column + 0.5) / width), an edge from a point (r1, c1) to the next,
          (r2, c2), counts when ``(r1 > y) != (r2 > y) and x < (c2 - c1) * (y - r1) / (r2 - r1) + c1``, in float64
          and in this order; a pixel is inside when the number of edges that count, that from the last point to
          the first with them, is odd.
        - A bool array, a mask of the box: nearest neighbour where the box has another size, so that row i of h
          is row ``(2 * i + 1) * H // (2 * h)`` of the mask's H; columns likewise.
    size : (height, width)
        Of the box in pixels, each at least 1.

    Returns
    -------
    bool array (height, width)
        Not to be written to.

    Raises
    ------
    ArgumentError
        When it is no shape, or covers no pixel at this size.
    """
    known = checked_shape(shape)
    height, width = (whole_number(v, "size (height, width)") for v in size)
    if min(height, width) < 1:
        raise ArgumentError(f"Expected a box of at least 1 pixel, got {height}x{width}.")
    if isinstance(known, tuple):
        mask = _polygon(known, height, width)
    elif not isinstance(known, str):
        rows, columns = (
            (2 * np.arange(n) + 1) * have // (2 * n) for n, have in zip((height, width), known.shape, strict=True)
        )
        mask = known[rows[:, None], columns]
    elif known == "square":
        mask = np.ones((height, width), bool)
    else:
        # In units of half a pixel everything is a whole number, so that no rounding decides about a pixel on the
        # edge: with v the offset of a pixel's centre from the ellipse's, (v_r / h)^2 + (v_c / w)^2 <= 1 times
        # (h w)^2.
        v_rows = 2 * np.arange(height) + 1 - height
        v_columns = 2 * np.arange(width) + 1 - width
        mask = (v_rows * width)[:, None] ** 2 + (v_columns * height)[None, :] ** 2 <= (height * width) ** 2
    if not mask.any():
        raise ArgumentError(
            f"Expected a shape that covers the centre of a pixel, got the {shape_name(known)}, which at "
            f"{height}x{width} covers none. Make the occluder larger, or the shape wider."
        )
    mask.flags.writeable = False
    return mask


def _polygon(outline: Outline, height: int, width: int) -> npt.NDArray[np.bool_]:
    y, x = (np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width
    inside = np.zeros((height, width), bool)
    for (r1, c1), (r2, c2) in zip(outline, (*outline[1:], outline[0]), strict=True):
        rows = (r1 > y) != (r2 > y)
        if rows.any():  # so r1 and r2 differ
            crossing = (c2 - c1) * (y[rows] - r1) / (r2 - r1) + c1
            inside[rows] ^= x < crossing[:, None]
    return inside


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
