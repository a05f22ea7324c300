"""How much changes in each layer while a network is trained, drawn by bqplot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import bqplot
import numpy as np

from ._colours import CLEAN, TOP
from ._parts import close_whole
from ._ticks import label_ticks, round_ticks
from .panes.evolution import EvolutionPane

__all__ = ["Curves"]

TEXT = {"stroke": CLEAN, "fill": CLEAN, "font-size": "11px", "stroke-width": "0"}
#: Checkpoints named along the axis at most: more would run into one another.
NAMED = 24
#: Curves that are shares, whose axis is the same whatever they do.
SHARES = ("staying", "jaccard", "cka", "inactive")

TITLES = {
    "staying": "winners that stay",
    "jaccard": "top nine shared with the last",
    "cka": "CKA to the last",
    "inactive": "share of the units",
    "weight_rms": "RMS of the weights",
    "energy": "energy, first layer",
}


class Curves:
    """A line a layer over the checkpoints; which curve, layer and checkpoint are the panel's.

    Parameters
    ----------
    panel : EvolutionPane
        It is followed.

    Attributes
    ----------
    figure : bqplot.Figure
    """

    def __init__(self, panel: EvolutionPane) -> None:
        self._panel: EvolutionPane | None = panel
        self._drawn: Any = None
        self._made: list[bqplot.Lines] = []
        self._x = bqplot.LinearScale(min=0.0, max=1.0)
        self._y = bqplot.LinearScale(min=0.0)
        self._cursor = bqplot.Lines(
            x=[0.0, 0.0],
            y=[0.0, 1.0],
            scales={"x": self._x, "y": bqplot.LinearScale(min=0.0, max=1.0)},
            colors=[TOP],
            stroke_width=1.5,
            visible=False,
        )
        # Without a format bqplot guesses one from the ticks it has, which fails when new labels come before the lines.
        style = {"tick_style": TEXT, "label_color": CLEAN, "color": CLEAN}
        self._across = bqplot.Axis(scale=self._x, grid_lines="none", tick_format="g", **style)
        self._up = bqplot.Axis(
            scale=self._y,
            side="left",
            label_offset="40px",
            grid_color="#8a949e33",
            tick_format="g",
            **style,
        )
        self.figure = bqplot.Figure(
            marks=[self._cursor],
            axes=[self._across, self._up],
            fig_margin={"top": 10, "bottom": 40, "left": 58, "right": 16},
            padding_y=0.0,
            background_style={"fill": "none"},
            layout={"width": "100%", "max_width": "1400px", "height": "220px", "min_width": "0"},
            animation_duration=0,
        )
        panel.observe(self._draw, ["_evolution", "curve"])
        panel.observe(self._mark, ["layer", "checkpoint"])
        self._draw()

    def _draw(self, _change: Any = None) -> None:
        panel = self._panel
        if panel is None:
            return
        found, curve = panel._evolution, panel.curve
        checkpoints = [one["short"] for one in found["checkpoints"]]
        lines = self._lines(found, curve)
        length = max(map(len, found["energy"]), default=0) if curve == "energy" else len(checkpoints)
        with self._x.hold_sync():
            last = max(1, length - 1)
            self._x.min, self._x.max = -0.02 * last, 1.02 * last
        highest = max((float(line.y.max()) for line in lines), default=1.0)
        self._y.max = 1.0 if curve in SHARES else 1.05 * (highest or 1.0)
        label_ticks(self._up, round_ticks(0.0, self._y.max, 5))
        names = [str(place + 1) for place in range(length)] if curve == "energy" else checkpoints
        places = np.arange(0, len(names), -(-len(names) // NAMED) if names else 1)
        label_ticks(self._across, {float(place): names[place] for place in places})
        self._across.label = "principal component of the picture's patches" if curve == "energy" else found["counts"]
        self._up.label = TITLES[curve]
        self.figure.marks = [*lines, self._cursor]
        self._mark()

    def _lines(self, found: Any, curve: str) -> list[Any]:
        """A line for each layer; for the energy, which is the first layer's, for each checkpoint."""
        colours = found["colours"]
        if curve == "energy":
            rows = zip(found["energy"], colours["checkpoints"], found["checkpoints"], strict=True)
            return [self._line(values, colour, one["label"]) for values, colour, one in rows]
        return [
            self._line(values, colours["layers"][layer], layer, dashed=name == "dormant")
            for name in (("dead", "dormant") if curve == "inactive" else (curve,))
            for layer, values in found["curves"].get(name, {}).items()
            if any(one is not None for one in values)
        ]

    def _line(self, values: Sequence[float | None], colour: str, name: str, dashed: bool = False) -> Any:
        # bqplot draws what is not a number as a line to nowhere.
        there = [place for place, one in enumerate(values) if one is not None]
        line = bqplot.Lines(
            x=np.array(there, float),
            y=np.array([values[place] for place in there], float),
            scales={"x": self._x, "y": self._y},
            colors=[colour],
            labels=[name],
            line_style="dashed" if dashed else "solid",
            stroke_width=1.5,
            marker="circle",  # of a single checkpoint there is no line
            marker_size=16,
        )
        self._made.append(line)
        return line

    def _mark(self, _change: Any = None) -> None:
        """Show the checkpoint and the layer that are looked at."""
        panel = self._panel
        if panel is None:
            return
        count = len(panel._evolution["checkpoints"])
        at = count - 1 if panel.checkpoint is None else panel.checkpoint
        energy = panel.curve == "energy"
        strong = panel._evolution["checkpoints"][at]["label"] if energy and count else panel.layer
        for line in self.figure.marks[:-1]:
            line.stroke_width = 3.0 if line.labels[0] == strong else 1.5
        self._cursor.visible = count > 0 and not energy
        self._cursor.x = [float(at), float(at)]

    def close(self) -> None:
        """Stop following and close the chart; a second call does nothing."""
        panel, self._panel = self._panel, None
        if panel is not None:
            panel.unobserve(self._draw, ["_evolution", "curve"])
            panel.unobserve(self._mark, ["layer", "checkpoint"])
            close_whole(self.figure, *self._made)
