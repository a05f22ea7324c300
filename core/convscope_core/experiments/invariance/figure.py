"""Figure 5 of the paper, drawn by matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from convscope_core.experiments.invariance.curve import Curve
from convscope_core.experiments.invariance.thumbnails import places_of
from convscope_core.experiments.invariance.transforms import Transform
from convscope_core.plots import panels

__all__ = ["FigureRow", "Lines", "drawn"]

_LINES = 8
"""Pictures of which a line is drawn each; of more, only the mean and its band."""


class Lines(NamedTuple):
    """A panel of curves.

    Attributes
    ----------
    title : str
    rows : array (pictures, values)
    curve : Curve
    most : float or None
        Where the axis ends; None to end where the curves do.
    """

    title: str
    rows: npt.NDArray[Any]
    curve: Curve
    most: float | None = None


class FigureRow(NamedTuple):
    """A row of the figure: a transformation.

    Attributes
    ----------
    transform : Transform
    strips : uint8 array (pictures, values, side, side, 3)
    panels : sequence of Lines
    """

    transform: Transform
    strips: npt.NDArray[np.uint8]
    panels: Sequence[Lines]


def drawn(rows: Sequence[FigureRow]) -> Any:
    """Draw a row for each transformation: pictures, then curves.

    Returns
    -------
    matplotlib.figure.Figure
    """
    across = 1 + len(rows[0].panels)
    figure, every = panels(len(rows), across, (2.7, 2.3))
    for number, row in enumerate(rows):
        first, *others = every[number * across : (number + 1) * across]
        kind = row.transform.kind
        first.set_title(kind.words, fontsize=8)
        if len(row.strips):
            _pictures(first, row)
        unit = f" ({kind.unit})" if kind.unit else ""
        for panel, lines in zip(others, row.panels, strict=True):
            _lines(panel, lines)
            panel.set_xlabel(f"{kind.words}{unit}", fontsize=8)
    return figure


def _pictures(panel: Any, row: FigureRow) -> None:
    pictures, values, side = row.strips.shape[:3]
    shown = row.strips.transpose(0, 2, 1, 3, 4).reshape(pictures * side, values * side, 3)
    panel.imshow(shown, interpolation="nearest")
    named = [f"{row.transform.values[place]:g}" for place in places_of(row.transform)]
    panel.set_xticks([side * (place + 0.5) for place in range(values)], named, fontsize=6)
    panel.tick_params(length=0)


def _lines(panel: Any, lines: Lines) -> None:
    from matplotlib.ticker import MaxNLocator  # it is there, or panels would have said so

    curve = lines.curve
    if len(lines.rows) <= _LINES:
        for row in lines.rows:
            panel.plot(curve.values, row, linewidth=1, alpha=0.7)
    panel.plot(curve.values, curve.mean, color="black", linewidth=1.6)
    if np.isfinite(curve.low).any():
        panel.fill_between(curve.values, curve.low, curve.high, color="black", alpha=0.15, linewidth=0)
    panel.set_ylim(0, lines.most)
    panel.set_title(lines.title, fontsize=8)
    panel.xaxis.set_major_locator(MaxNLocator(5))
    panel.yaxis.set_major_locator(MaxNLocator(5))
    panel.tick_params(labelsize=7)
