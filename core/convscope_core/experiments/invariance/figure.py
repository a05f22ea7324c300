"""Figure 5 of the paper, drawn by matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from convscope_core.experiments.invariance.thumbnails import places_of
from convscope_core.plots import panels

if TYPE_CHECKING:
    from convscope_core.experiments.invariance.result import InvarianceResult

__all__ = ["drawn"]

_LINES = 8
"""Pictures of which a line is drawn each; of more, only the mean and its band."""


def drawn(result: InvarianceResult, layers: Sequence[str], distance: str) -> Any:
    """Draw a row for each transformation: pictures, the distance of each layer, the probability of the class.

    Returns
    -------
    matplotlib.figure.Figure
    """
    across = 2 + len(layers)
    figure, every = panels(len(result.transforms), across, (2.7, 2.3))
    for number, transform in enumerate(result.transforms):
        row = every[number * across : (number + 1) * across]
        _pictures(row[0], result, number)
        for panel, layer in zip(row[1:-1], layers, strict=True):
            rows = result.distances(transform.name, layer, distance)
            _lines(panel, result.curve(transform.name, layer, distance), rows)
            panel.set_title(f"{layer}: {distance} distance", fontsize=8)
            panel.set_ylim(bottom=0)
        _lines(row[-1], result.probability_curve(transform.name), result.probabilities(transform.name))
        row[-1].set_title(f"probability of the {result.target} class", fontsize=8)
        row[-1].set_ylim(0, 1)
        unit = f" ({transform.kind.unit})" if transform.kind.unit else ""
        for panel in row[1:]:
            panel.set_xlabel(f"{transform.kind.words}{unit}", fontsize=8)
    return figure


def _pictures(panel: Any, result: InvarianceResult, number: int) -> None:
    transform = result.transforms[number]
    panel.set_title(transform.kind.words, fontsize=8)
    if not len(result.strips):
        return
    strips = result.strips[:, number]
    pictures, values, side = strips.shape[:3]
    panel.imshow(strips.transpose(0, 2, 1, 3, 4).reshape(pictures * side, values * side, 3), interpolation="nearest")
    shown = [f"{transform.values[place]:g}" for place in places_of(transform)]
    panel.set_xticks([side * (place + 0.5) for place in range(values)], shown, fontsize=6)
    panel.tick_params(length=0)


def _lines(panel: Any, curve: Any, rows: Any) -> None:
    from matplotlib.ticker import MaxNLocator  # it is there, or panels would have said so

    if len(rows) <= _LINES:
        for row in rows:
            panel.plot(curve.values, row, linewidth=1, alpha=0.7)
    panel.plot(curve.values, curve.mean, color="black", linewidth=1.6)
    if np.isfinite(curve.low).any():
        panel.fill_between(curve.values, curve.low, curve.high, color="black", alpha=0.15, linewidth=0)
    panel.xaxis.set_major_locator(MaxNLocator(5))
    panel.yaxis.set_major_locator(MaxNLocator(5))
    panel.tick_params(labelsize=7)
