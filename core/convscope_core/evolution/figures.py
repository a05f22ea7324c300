"""The figures of an evolution, drawn by matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import PIL.Image

from convscope_core.evolution.moment import Cell
from convscope_core.plots import panels
from convscope_core.render import signed

__all__ = ["Block", "figure_of_curves", "figure_of_rows"]

_TILE, _GAP = 56, 4
"""Pixels of a projection or a crop, and between them."""

_CLIP = 99.0
"""Percentile of a tile's magnitudes from which on they are drawn alike: a few would leave the rest grey."""

_JUMP = (214, 96, 30)
_EMPTY = 245


class Block(NamedTuple):
    """The rows of a layer.

    Attributes
    ----------
    layer : str
    units : list of int
        A row each.
    columns : list of list of Cell or None
        For each checkpoint those of all units.
    """

    layer: str
    units: list[int]
    columns: list[list[Cell | None]]


def figure_of_rows(blocks: Sequence[Block], labels: Sequence[str]) -> Any:
    """Draw a block a layer, of rows of units and columns of checkpoints, each a projection above its crop.

    Parameters
    ----------
    blocks : sequence of Block
    labels : sequence of str
        Of the checkpoints.

    Returns
    -------
    matplotlib.figure.Figure
    """
    high, wide = 2 * _TILE + 3 * _GAP, _TILE + 2 * _GAP
    size = (0.62 * len(labels) + 0.9, 1.2 * max(len(block.units) for block in blocks) + 0.4)
    figure, every = panels(1, len(blocks), size)
    for panel, block in zip(every, blocks, strict=True):
        columns = [np.concatenate([_drawn(cell) for cell in column]) for column in block.columns]
        panel.imshow(np.concatenate(columns, 1), interpolation="nearest")
        panel.set_title(block.layer, fontsize=9)
        panel.set_xticks([wide * (i + 0.5) for i in range(len(labels))], labels, fontsize=7)
        panel.set_yticks([high * (i + 0.5) for i in range(len(block.units))], map(str, block.units), fontsize=7)
        panel.tick_params(length=0)
        for side in panel.spines.values():
            side.set_visible(False)
    figure.supxlabel("a bar: the strongest picture changed", fontsize=8, color=[level / 255 for level in _JUMP])
    return figure


def figure_of_curves(curves: Mapping[str, Mapping[str, npt.NDArray[np.float64]]], labels: Sequence[str]) -> Any:
    """Draw curves over the checkpoints, a panel for each title and a line for each name.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure, every = panels(2, 3, (3.4, 2.6))
    from matplotlib.ticker import MaxNLocator  # it is there, or panels would have said so

    places = np.arange(len(labels))
    for panel, (title, lines) in zip(every, curves.items(), strict=True):
        for name, values in lines.items():
            panel.plot(places, values, marker=".", label=name)
        panel.set_title(title, fontsize=9)
        panel.set_xticks(places, labels, fontsize=7)
        panel.yaxis.set_major_locator(MaxNLocator(5))
        panel.tick_params(labelsize=7)
    figure.legend(*every[0].get_legend_handles_labels(), loc="outside right upper", fontsize=7, frameon=False)
    return figure


def _drawn(cell: Cell | None) -> npt.NDArray[np.uint8]:
    """Draw the projection above the crop, with a bar at the left where the picture changed."""
    shown = np.full((2 * _TILE + 3 * _GAP, _TILE + 2 * _GAP, 3), 255, np.uint8)
    tiles: list[npt.NDArray[np.uint8] | None] = [None, None]
    if cell is not None and cell.projection.values.size:
        values = cell.projection.values
        values = values if len(values) in (1, 3) else values.sum(0, keepdims=True)
        tiles = [signed(values, percentile=_CLIP), cell.projection.crop]
    for place, tile in enumerate(tiles):
        top = _GAP + place * (_TILE + _GAP)
        shown[top : top + _TILE, _GAP : _GAP + _TILE] = _EMPTY if tile is None else _fitted(tile)
    if cell is not None and cell.jump:
        shown[_GAP:-_GAP, : _GAP - 1] = _JUMP
    return shown


def _fitted(tile: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    method = PIL.Image.Resampling.BOX if min(tile.shape[:2]) > _TILE else PIL.Image.Resampling.NEAREST
    return np.asarray(PIL.Image.fromarray(tile).resize((_TILE, _TILE), method))
