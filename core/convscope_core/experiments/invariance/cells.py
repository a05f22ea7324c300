"""Which cells of a layer's maps show the same after a shift of the picture, and how far they differ."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import torch
from torch import Tensor

from convscope_core.network import Layer

__all__ = ["Axis", "Cells", "axis_of", "cells_of", "equivariance_error"]


class Cells(NamedTuple):
    """Cells of a shifted picture's maps, as (top, bottom, left, right), and how many rows or columns they have moved.

    Attributes
    ----------
    box : (int, int, int, int)
    down, right : int
    """

    box: tuple[int, int, int, int]
    down: int
    right: int


class Axis(NamedTuple):
    """What a layer's maps see along rows or columns.

    Attributes
    ----------
    spans : tuple of (int, int)
        For each row (or column) which of the picture's it depends on, the second not included.
    jump : int
        By how many pixels they differ from row to row; 0 where that is not always the same, or there is but one.
    """

    spans: tuple[tuple[int, int], ...]
    jump: int


def axis_of(layer: Layer, vertical: bool) -> Axis:
    """Return what a layer's maps see along an axis."""
    count = layer.size[0 if vertical else 1]
    boxes = [layer.box(k, 0) if vertical else layer.box(0, k) for k in range(count)]
    spans = tuple((box.top, box.bottom) if vertical else (box.left, box.right) for box in boxes)
    jumps = {b[0] - a[0] for a, b in itertools.pairwise(spans)} | {b[1] - a[1] for a, b in itertools.pairwise(spans)}
    return Axis(spans, jumps.pop() if len(jumps) == 1 else 0)


def cells_of(
    axes: tuple[Axis, Axis], size: tuple[int, int], vertical: bool, shift: float, inside: bool
) -> Cells | None:
    """Find the cells that show what others showed before a shift.

    Parameters
    ----------
    axes : pair of Axis
        Of rows and of columns.
    size : (H, W)
        Of the picture.
    vertical : bool
    shift : float
        Pixels.
    inside : bool
        Only those that see nothing beyond the picture, before and after.

    Returns
    -------
    Cells or None
        None where the shift is not a whole number of cells, or no such cell is left.
    """
    moving = axes[0 if vertical else 1]
    if not moving.jump or not shift or shift % moving.jump:
        return None
    by = int(shift) // moving.jump
    ranges = []
    for number, axis in enumerate(axes):
        along = (number == 0) == vertical
        count, most = len(axis.spans), size[number]
        lost = by if along else 0
        first, last = max(lost, 0), count + min(lost, 0)
        if inside:
            low, high = (max(int(shift), 0), most + min(int(shift), 0)) if along else (0, most)
            seen = [k for k in range(first, last) if axis.spans[k][0] >= low and axis.spans[k][1] <= high]
            first, last = (seen[0], seen[-1] + 1) if seen else (0, 0)
        if last <= first:
            return None
        ranges += [first, last]
    return Cells((ranges[0], ranges[1], ranges[2], ranges[3]), by if vertical else 0, 0 if vertical else by)


def equivariance_error(before: Tensor, after: Tensor, cells: Cells) -> float:
    """Return how far maps have not moved with the picture.

    Parameters
    ----------
    before, after : Tensor (C, h, w)
        Of the picture and of the shifted one.
    cells : Cells

    Returns
    -------
    float
        The norm of the difference over that of what should be there; 0 where they are equal, NaN where nothing should
        be there but is.
    """
    top, bottom, left, right = cells.box
    mine = after[:, top:bottom, left:right]
    theirs = before[:, top - cells.down : bottom - cells.down, left - cells.right : right - cells.right]
    difference = float(torch.linalg.vector_norm(mine - theirs))
    length = float(torch.linalg.vector_norm(theirs))
    return 0.0 if difference == 0 else difference / length if length > 0 else float("nan")
