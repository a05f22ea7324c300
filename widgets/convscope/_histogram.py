"""How strongly a unit responds to all pictures, and where its top ones lie among them, drawn by bqplot."""

from __future__ import annotations

from typing import Any

import bqplot
import numpy as np

from ._colours import CLEAN, NOW, TOP
from ._parts import close_whole
from ._ticks import label_ticks
from .panes.unit import UnitPane, bars, ceiling_of, few, strength

__all__ = ["Histogram"]


class Histogram:
    """The largest activation of the panel's unit in every picture of the survey.

    The first bar counts the pictures that do not activate the unit; the others are the survey's half-octaves, so that
    the axis is logarithmic. Of a signed layer there are half-octaves on both sides of zero. The height is the square
    root of the count, which keeps single pictures visible beside thousands. Triangles mark the top activations: of
    crops, those that do not overlap, though others may be as strong.

    Parameters
    ----------
    panel : UnitPane
        It is followed: layer, unit, and the survey as it grows.

    Attributes
    ----------
    counts : list of int
        Pictures in each bar.
    edges : list of float
        The bars' edges, one more than bars.
    top : ndarray
        The top activations, as marked: before a ceiling, as the bars.
    figure : bqplot.Figure
    """

    def __init__(self, panel: UnitPane) -> None:
        self._panel: UnitPane | None = panel
        self.counts: list[int] = []
        self.edges: list[float] = []
        self.top: np.ndarray = np.zeros(0)
        # Without room beside the bars, which bqplot reckons from their width: a single wide one leaves the next none.
        self._places = places = bqplot.LinearScale(min=0.0, max=1.0, allow_padding=False)
        heights = bqplot.LinearScale(min=0)
        scales = {"x": places, "y": heights}
        self._bars = bqplot.Bars(x=[0.0], y=[0.0], scales=scales, colors=[NOW], padding=0.08, stroke="transparent")
        self._marks = bqplot.Scatter(
            x=[0.0],
            y=[0.0],
            scales=scales,
            colors=[TOP],
            marker="triangle-up",
            default_size=42,
            stroke="transparent",
            visible=False,
        )
        style = {"stroke": CLEAN, "fill": CLEAN, "font-size": "11px", "stroke-width": "0"}
        plain = {"tick_style": style, "tick_format": "g", "grid_lines": "none", "color": CLEAN, "label_color": CLEAN}
        self._across = bqplot.Axis(scale=places, **plain)
        self._up = bqplot.Axis(scale=heights, side="left", label="pictures, √", label_offset="34px", **plain)
        self.figure = bqplot.Figure(
            marks=[self._bars, self._marks],
            axes=[self._across, self._up],
            title=" ",
            title_style={"font-size": "11px", "fill": CLEAN, "font-weight": "400"},
            fig_margin={"top": 24, "bottom": 38, "left": 50, "right": 24},
            background_style={"fill": "none"},
            layout={"width": "100%", "max_width": "1000px", "height": "166px", "min_width": "0"},
            animation_duration=0,
        )
        panel.observe(self._draw, ["layer", "selected", "_survey"])
        self._draw()

    def _draw(self, _change: Any = None) -> None:
        panel = self._panel
        if panel is None or panel.survey is None or panel.selected is None:
            return
        survey, layer, channel = panel.survey, panel.layer, panel.selected
        if layer not in {one.name for one in survey.layers}:
            return
        health = survey.health(layer)
        self.counts, self.edges = bars(health.histogram[channel], health.edges, health.signed)
        top = survey.top(layer, channel)
        self.top = np.array([strength(one) for one in top if one.value > 0 or health.signed])
        end = ceiling_of(survey, layer)
        # Short, as a chart on a narrow page is.
        self._across.label = f"{'largest activation' if end is None else f'before the ceiling of {end:g}'}, log"
        self._places.max = float(len(self.counts))
        with self._bars.hold_sync():
            self._bars.x = np.arange(len(self.counts)) + 0.5
            self._bars.y = np.sqrt(self.counts)
        with self._marks.hold_sync():
            self._marks.x = place(self.top, self.edges)
            self._marks.y = np.zeros(len(self.top))
        self._marks.visible = len(self.top) > 0
        ticks = np.unique(np.linspace(1, len(self.counts), min(6, len(self.counts))).round()).astype(int)
        label_ticks(self._across, {float(tick): f"{self.edges[tick]:.3g}" for tick in ticks})
        most = max(self.counts)
        heights = sorted({1, round(most / 4), most} - {0})
        label_ticks(self._up, {float(np.sqrt(count)): f"{count:,}" for count in heights})
        pictures, values = sum(self.counts), few(survey, layer, channel)
        self.figure.title = f"unit {channel} in {pictures:,} pictures; ▴ the {len(self.top)} shown"
        if values is not None:  # the panel tells them one by one
            self.figure.title = f"unit {channel}: too few of {pictures:,} pictures activate it for a histogram"
        self.figure.layout.display = "none" if values is not None else ""

    def close(self) -> None:
        """Stop following and close the chart; a second call does nothing."""
        panel, self._panel = self._panel, None
        if panel is not None:
            panel.unobserve(self._draw, ["layer", "selected", "_survey"])
            close_whole(self.figure)


def place(values: np.ndarray, edges: list[float]) -> np.ndarray:
    """Where values lie on an axis on which each bar is one wide; within a bar by their logarithm.

    Parameters
    ----------
    values : ndarray
        (n,) positive, or of a signed layer.
    edges : list of float
        The bars' edges. Those of activations begin with 0, and the others are positive; those of a signed layer may
        have any sign.

    Returns
    -------
    ndarray
        (n,) between 0 and the number of bars.
    """
    if edges[0] != 0:
        return np.interp(values, edges, np.arange(len(edges)))
    inner = np.maximum(np.asarray(edges[1:], dtype=float), 1e-30)
    if len(inner) < 2 or not len(values):
        return np.full(len(values), float(len(edges) - 1))
    return 1 + np.interp(np.log(np.maximum(values, inner[0])), np.log(inner), np.arange(len(inner)))
