"""Distances of layers and the probability of the class over a transformation, drawn by bqplot."""

from __future__ import annotations

from typing import Any

import bqplot
import ipywidgets
import numpy as np

from ._colours import CLEAN, TOP
from ._parts import close_whole
from ._ticks import label_ticks, round_ticks
from .panes.invariance import InvariancePane

__all__ = ["InvarianceCurves"]

TEXT = {"stroke": CLEAN, "fill": CLEAN, "font-size": "11px", "stroke-width": "0"}


class InvarianceCurves:
    """Two figures that follow an instrument: a line a layer with its band, and the class's probability.

    Parameters
    ----------
    panel : InvariancePane
        It is followed.

    Attributes
    ----------
    box : ipywidgets.Box
        Both figures, side by side where there is room.
    """

    def __init__(self, panel: InvariancePane) -> None:
        self._panel: InvariancePane | None = panel
        self._distances, self._probability = _Figure(), _Figure(most=1.0)
        layout = {
            "width": "100%",
            "display": "flex",
            "flex_flow": "row wrap",
            "max_width": "1400px",
            "overflow": "hidden",
        }
        self.box = ipywidgets.Box([self._distances.figure, self._probability.figure], layout=layout)
        panel.observe(self._draw, ["_invariance", "transform", "distance", "shown", "picture"])
        panel.observe(self._mark, ["value"])
        self._draw()

    def _draw(self, _change: Any = None) -> None:
        panel = self._panel
        if panel is None:
            return
        info = panel._invariance
        kind = next(one for one in info["transforms"] if one["name"] == panel.transform)
        across = f"{kind['words']} ({kind['unit']})" if kind["unit"] else kind["words"]
        values, curves = kind["values"], info["curves"].get(panel.transform)
        bands: list[Any] = []
        lines: list[Any] = []
        each: list[Any] = []
        for layer in panel.shown if curves else ():
            curve, colour = curves["distances"][panel.distance][layer], info["colours"][layer]
            bands += _band(values, curve, colour)
            lines.append((values, curve["mean"], colour, 2.0, layer))
        nothing = "no layer is chosen" if curves else "nothing is measured yet"
        self._distances.show(values, bands, lines, across, f"{panel.distance} distance", nothing)
        if curves:
            bands = _band(values, curves["probability"], CLEAN)
            for image, row in list(curves["each"].items())[:48]:
                chosen = image == str(panel.picture)
                each.append((values, row, TOP if chosen else CLEAN, 2.0 if chosen else 0.7, ""))
            each.append((values, curves["probability"]["mean"], CLEAN, 3.0, "mean"))
        bands = bands if curves else []
        self._probability.show(values, bands, each, across, "probability of the class", "nothing is measured yet")
        self._mark()

    def _mark(self, _change: Any = None) -> None:
        if self._panel is not None:
            for figure in (self._distances, self._probability):
                figure.mark(self._panel.value)

    def close(self) -> None:
        """Stop following and close the figures; a second call does nothing."""
        panel, self._panel = self._panel, None
        if panel is not None:
            panel.unobserve(self._draw, ["_invariance", "transform", "distance", "shown", "picture"])
            panel.unobserve(self._mark, ["value"])
            close_whole(self.box)


class _Figure:
    """Lines, bands behind them, and a cursor."""

    def __init__(self, most: float | None = None) -> None:
        self._x, self._y = bqplot.LinearScale(min=0.0, max=1.0), bqplot.LinearScale(min=0.0, max=1.0)
        self._most = most
        self._cursor = bqplot.Lines(
            x=[0.0, 0.0], y=[0.0, 1.0], scales={"x": self._x, "y": bqplot.LinearScale(min=0.0, max=1.0)}, colors=[TOP],
            stroke_width=1.5,
        )  # fmt: skip
        style = {"tick_style": TEXT, "label_color": CLEAN, "color": CLEAN, "tick_format": ".4~g"}
        self._across = bqplot.Axis(scale=self._x, grid_lines="none", **style)
        self._up = bqplot.Axis(scale=self._y, side="left", label_offset="40px", grid_color="#8a949e33", **style)
        self.figure = bqplot.Figure(
            marks=[self._cursor],
            axes=[self._across, self._up],
            fig_margin={"top": 22, "bottom": 40, "left": 58, "right": 16},
            padding_y=0.0,
            background_style={"fill": "none"},
            title_style={"font-size": "11px", "fill": CLEAN, "font-weight": "400"},
            layout={"flex": "1 1 320px", "height": "240px", "min_width": "0"},
            animation_duration=0,
        )

    def show(self, values: list[float], bands: list[Any], lines: list[Any], across: str, up: str, nothing: str) -> None:
        """Draw curves; where there are none say so."""
        pad = 0.02 * max(values[-1] - values[0], 1e-9)
        with self._x.hold_sync():
            self._x.min, self._x.max = values[0] - pad, values[-1] + pad
        rows = [*(row for _, row, *_ in lines), *(around for _, around, _ in bands)]
        top = max((one for row in rows for one in row if one is not None), default=1.0)
        self._y.max = self._most or 1.08 * max(top, 1e-9)
        for axis, ends in ((self._across, (values[0], values[-1] + pad)), (self._up, (0.0, self._y.max))):
            label_ticks(axis, round_ticks(*ends))
        scales = {"x": self._x, "y": self._y}
        drawn = [
            bqplot.Lines(
                x=np.array(x), y=np.array(y), scales=scales, fill="inside", fill_colors=[colour], fill_opacities=[0.13],
                colors=[colour], stroke_width=0,
            )
            for x, y, colour in bands
        ]  # fmt: skip
        for x, row, colour, width, name in lines:
            # bqplot draws what is not a number as a line to nowhere.
            there = [place for place, one in enumerate(row) if one is not None]
            xs, ys = np.array([x[k] for k in there], float), np.array([row[k] for k in there], float)
            drawn.append(bqplot.Lines(x=xs, y=ys, scales=scales, colors=[colour], stroke_width=width, labels=[name]))
        self._across.label, self._up.label = across, up
        self.figure.title = "" if lines else nothing
        old = self.figure.marks[:-1]
        self.figure.marks = [*drawn, self._cursor]
        for mark in old:
            mark.close()

    def mark(self, value: float) -> None:
        self._cursor.x = [float(value), float(value)]


def _band(values: list[float], curve: Any, colour: str) -> list[tuple[list[float], list[float], str]]:
    if any(one is None for one in (*curve["low"], *curve["high"])):
        return []
    around = [max(one, 0.0) for one in (*curve["low"], *reversed(curve["high"]))]
    return [([*values, *reversed(values)], around, colour)]
