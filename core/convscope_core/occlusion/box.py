"""The box of an occluder: its size and place, in pixels of the network's input."""

from __future__ import annotations

import math
import operator
from typing import Any, SupportsIndex, TypeAlias

import numpy as np
from torch import Tensor

from convscope_core.errors import ArgumentError

__all__ = ["Size", "box_of", "clip", "extent_of", "whole_number"]

Size: TypeAlias = int | tuple[int, int]
"""Side, or (height, width), in pixels of the network's input."""


def clip(position: tuple[float, float], size: Size, picture: tuple[int, int]) -> tuple[int, int]:
    """Move an occluder the shortest way so that it is wholly inside the picture, on whole pixels.

    Parameters
    ----------
    position : (top, left)
        Any finite numbers, in pixels.
    size : int or (height, width)
        The occluder's size in pixels; at least 1 and at most the picture's.
    picture : (height, width)

    Returns
    -------
    (top, left) : tuple of int

    Raises
    ------
    ArgumentError
        When the occluder is larger than the picture, or a number is not finite.
    """
    extent = extent_of(size, picture)
    top, left = _pair(position, "position", "(top, left)")
    try:
        finite = math.isfinite(top) and math.isfinite(left)
    except TypeError:
        finite = False
    if not finite:
        raise ArgumentError(f"Expected position (top, left) in finite numbers, got {position!r}.")
    return (
        min(max(round(top), 0), picture[0] - extent[0]),
        min(max(round(left), 0), picture[1] - extent[1]),
    )


def box_of(position: object, size: object, picture: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Check a position and size against a picture."""
    extent = extent_of(size, picture)
    top, left = (whole_number(v, "position (top, left)") for v in _pair(position, "position", "(top, left)"))
    lowest, rightmost = picture[0] - extent[0], picture[1] - extent[1]
    if not (0 <= top <= lowest and 0 <= left <= rightmost):
        raise ArgumentError(
            f"Expected an occluder of {extent[0]}x{extent[1]} wholly inside the picture of "
            f"{picture[0]}x{picture[1]}: top from 0 to {lowest}, left from 0 to {rightmost}, "
            f"got {(top, left)}. Occlusion.clip moves it inside."
        )
    return (top, left), extent


def extent_of(size: object, picture: tuple[int, int]) -> tuple[int, int]:
    """Return height and width of an occluder, checked against those of the picture.

    Raises
    ------
    ArgumentError
        When it is not one or two whole numbers, or empty, or larger than the picture.
    """
    height, width = sides_of(size)
    if not (1 <= height <= picture[0] and 1 <= width <= picture[1]):
        raise ArgumentError(
            f"Expected an occluder of at least 1 pixel and at most the picture's {picture[0]}x{picture[1]}, "
            f"got {height}x{width}."
        )
    return height, width


def sides_of(size: object) -> tuple[int, int]:
    """Return height and width of an occluder of any size; an `ArgumentError` if it is not one or two whole numbers."""
    if isinstance(size, (tuple, list, np.ndarray, Tensor)) and np.ndim(size) > 0:
        pair = _pair(size, "size", "a side or (height, width)")
    else:
        pair = size, size
    height, width = (whole_number(v, "size, a side or (height, width),") for v in pair)
    return height, width


def _pair(value: object, name: str, meaning: str) -> tuple[Any, Any]:
    if isinstance(value, (tuple, list, np.ndarray, Tensor)) and len(value) == 2:
        return value[0], value[1]
    raise ArgumentError(f"Expected {name} as {meaning}, got {value!r}.")


def whole_number(value: object, name: str) -> int:
    """Return a number as an int; an `ArgumentError` that begins with `name` if it is not a whole number."""
    if isinstance(value, SupportsIndex) and not isinstance(value, (bool, np.bool_)):
        try:
            return operator.index(value)
        except TypeError:  # an array or tensor that is no whole number
            pass
    raise ArgumentError(f"Expected {name} in whole numbers, got {value!r}.")
