"""How the probability of the target went while the occluder was dragged, drawn by bqplot."""

from __future__ import annotations

from collections import deque
from typing import Any

import bqplot
import numpy as np

from ._colours import CLEAN, NOW
from ._parts import close_whole
from .panes.occluder import OccluderPane

__all__ = ["History"]

#: Frames that are kept.
LENGTH = 240


class History:
    """The frames of an occluder, and their chart.

    Parameters
    ----------
    occluder : Occluder or Explorer
        Every frame it computes is added.

    Attributes
    ----------
    frames : deque of dict
        The last 240 frames: ``position``, ``size``, ``target`` (index, label, probability clean and now), ``first``.
    figure : bqplot.Figure
        Probability of the target over the frames, with the clean picture's as a dashed line.
    """

    def __init__(self, occluder: OccluderPane) -> None:
        self.frames: deque[dict[str, Any]] = deque(maxlen=LENGTH)
        self._occluder: OccluderPane | None = occluder
        steps = bqplot.LinearScale(min=0, max=LENGTH)
        chances = bqplot.LinearScale(min=0.0, max=1.0)
        self._now = bqplot.Lines(
            x=[0.0],
            y=[0.0],
            scales={"x": steps, "y": chances},
            colors=[NOW],
            stroke_width=1.5,
            visible=False,
        )
        self._clean = bqplot.Lines(
            x=[0.0, float(LENGTH)],
            y=[0.0, 0.0],
            scales={"x": steps, "y": chances},
            colors=[CLEAN],
            stroke_width=1,
            line_style="dashed",
            visible=False,
        )
        style = {"stroke": CLEAN, "fill": CLEAN, "font-size": "11px", "stroke-width": "0"}
        self.figure = bqplot.Figure(
            marks=[self._clean, self._now],
            axes=[
                bqplot.Axis(
                    scale=chances,
                    side="left",
                    tick_values=[0.0, 0.5, 1.0],
                    tick_format=".1f",
                    tick_style=style,
                    grid_lines="none",
                    color=CLEAN,
                ),
            ],
            title=" ",
            title_style={"font-size": "11px", "fill": CLEAN, "font-weight": "400"},
            fig_margin={"top": 24, "bottom": 8, "left": 36, "right": 12},
            background_style={"fill": "none"},
            layout={"width": "100%", "height": "108px", "min_width": "0"},
            animation_duration=0,
        )
        occluder.observe(self._add, "_frame")

    def _add(self, change: Any) -> None:
        frame = change["new"]
        if self.frames and self._about(self.frames[-1]) != self._about(frame):
            # Another picture or class: its probabilities do not continue this curve.
            self.frames.clear()
        self.frames.append(frame)
        values = np.array([one["target"]["now"] for one in self.frames])
        with self._now.hold_sync():
            self._now.x = np.arange(len(values), dtype=float)
            self._now.y = values
        clean = frame["target"]["clean"]
        if self._clean.y[0] != clean:
            self._clean.y = np.array([clean, clean])
        self.figure.title = f"probability of {frame['target']['label']}, frame by frame; dashed: the clean picture"
        self._now.visible = self._clean.visible = True

    @staticmethod
    def _about(frame: dict[str, Any]) -> tuple[int, int]:
        return frame["picture"], frame["target"]["index"]

    def close(self) -> None:
        """Stop following and close the chart; a second call does nothing."""
        occluder, self._occluder = self._occluder, None
        if occluder is not None:
            occluder.unobserve(self._add, "_frame")
            close_whole(self.figure)
