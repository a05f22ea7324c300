"""The curves of experiments, drawn by bqplot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from convscope_core.arguments import door
from convscope_core.experiments import Degradation
from convscope_core.patterns import SignalQuality

from ._colours import CLEAN
from ._table import numbered, table
from ._ticks import label_ticks, round_ticks

__all__ = ["degradation_chart", "quality_chart"]

#: Colours and markers of the estimators: told apart by the colour-blind too, on light and dark grounds.
STYLES = {
    "random": ("#868e96", "cross"),
    "filter": ("#b5179e", "square"),
    "linear": ("#2b7bd6", "triangle-up"),
    "two_component": ("#e8590c", "circle"),
}

#: As in the paper.
TITLES = {"filter": "filter S_w", "linear": "linear S_a", "two_component": "two-component S_a±"}

#: For methods that have none of their own.
OTHERS = ("#2b7bd6", "#b5179e", "#0f8f83", "#e8590c", "#8f6fe8", "#a07a00", "#d6336c", "#4c8c2b")

#: Layers named along the axis at most: more would run into one another.
NAMED = 28

#: Width of a legend, px, without names and for each of their characters; and of the axis on a narrow page.
LEGEND, NARROW = (40, 6.2), 520

TEXT = {"stroke": CLEAN, "fill": CLEAN, "font-size": "11px", "stroke-width": "0"}


@door
def quality_chart(quality: SignalQuality) -> Any:
    """Draw the mean quality of each signal estimator layer by layer (Kindermans et al. 2018, fig. 3).

    Parameters
    ----------
    quality : SignalQuality
        From `signal_quality`.

    Returns
    -------
    bqplot.Figure
        An ipywidget; where none can be shown, `quality.plot()`. A layer in which no unit was measured has no mark.
    """
    return quality_figure(quality, legend=True)


def quality_figure(quality: SignalQuality, legend: bool) -> Any:
    """`quality_chart`, with or without a legend and room for it."""
    import bqplot

    scales = {
        "x": bqplot.LinearScale(min=-0.5, max=len(quality.layers) - 0.5),
        "y": bqplot.LinearScale(min=0.0, max=1.0),
    }
    marks = []
    for name in quality.estimators:
        colour, marker = STYLES[name]
        values = np.array([quality.mean(layer, name) for layer in quality.layers])
        there = np.isfinite(values)
        marks.append(
            bqplot.Lines(
                x=np.arange(len(values))[there].astype(float),
                y=values[there],
                scales=scales,
                colors=[colour],
                labels=[TITLES.get(name, name)],
                display_legend=legend,
                marker=marker,
                marker_size=40,
                stroke_width=1.5,
                line_style="dashed" if name == "random" else "solid",
            )
        )
    every = -(-len(quality.layers) // NAMED)
    below = 24 + min(90, 5 * max(map(len, quality.layers), default=0))
    places = np.arange(0, len(quality.layers), every)
    across = bqplot.Axis(
        scale=scales["x"],
        tick_rotate=-50,
        tick_style={**TEXT, "text-anchor": "end"},
        grid_lines="none",
        tick_format="g",
        color=CLEAN,
    )
    label_ticks(across, {float(place): quality.layers[place] for place in places})
    titles = [TITLES.get(name, name) for name in quality.estimators]
    rows = [[layer, *(numbered(quality.mean(layer, name)) for name in quality.estimators)] for layer in quality.layers]
    numbers = table("mean quality ρ of each estimator", ["layer", *titles], rows)
    return _figure(quality.plot, numbers, marks, across, _upward(bqplot, scales["y"], "quality ρ"), below)


@door
def degradation_chart(result: Degradation) -> Any:
    """Draw how the class goes as patches are replaced, with the band over the images (Kindermans et al. 2018, fig. 4).

    Parameters
    ----------
    result : Degradation
        From `degradation`.

    Returns
    -------
    bqplot.Figure
        An ipywidget; where none can be shown, `result.plot()`. For each method, steepest first in the legend, a line
        and the 95 % interval of the mean.
    """
    import bqplot

    patches = np.asarray(result.patches, float)
    highest = float(np.nanmax(np.concatenate([result.mean.ravel(), result.band.ravel()])))
    scales = {
        "x": bqplot.LinearScale(min=0.0, max=float(patches[-1])),
        "y": bqplot.LinearScale(min=0.0, max=min(1.0, 1.05 * highest) or 1.0),
    }
    colours = colours_of(result.methods)
    bands, lines = [], []
    for name in result.order:
        row = result.methods.index(name)
        if np.isfinite(result.band[row]).all():
            bands.append(
                bqplot.Lines(
                    x=patches,
                    y=result.band[row],
                    scales=scales,
                    colors=[colours[name]],
                    opacities=[0.0, 0.0],
                    fill="between",
                    fill_colors=[colours[name]],
                    fill_opacities=[0.15, 0.15],
                )
            )
        lines.append(
            bqplot.Lines(
                x=patches,
                y=result.mean[row],
                scales=scales,
                colors=[colours[name]],
                labels=[name],
                display_legend=True,
                stroke_width=2,
                line_style="dashed" if name == "random" else "solid",
            )
        )
    words = "patches put back" if result.mode == "insertion" else "patches replaced"
    across = bqplot.Axis(
        scale=scales["x"],
        label=words,
        label_color=CLEAN,
        tick_style=TEXT,
        tick_format="g",
        grid_lines="none",
        color=CLEAN,
    )
    label_ticks(across, round_ticks(0.0, float(patches[-1])))
    places = [result.methods.index(name) for name in result.order]
    rows = [
        [str(count), *(numbered(result.mean[row, at], *result.band[row, :, at]) for row in places)]
        for at, count in enumerate(result.patches)
    ]
    numbers = table("probability of the class, mean and 95 % interval", [words, *result.order], rows)
    up = _upward(bqplot, scales["y"], "probability of the class")
    return _figure(result.plot, numbers, [*bands, *lines], across, up, 44)


def colours_of(names: Sequence[str]) -> dict[str, str]:
    """Give each name a colour: random the grey that it has everywhere, the others in their order."""
    others = [name for name in names if name != "random"]
    return {"random": STYLES["random"][0]} | {name: OTHERS[i % len(OTHERS)] for i, name in enumerate(others)}


def _upward(bqplot: Any, scale: Any, label: str) -> Any:
    axis = bqplot.Axis(
        scale=scale,
        side="left",
        label=label,
        label_color=CLEAN,
        label_offset="36px",
        tick_style=TEXT,
        tick_format="g",
        grid_color="#8a949e33",
        color=CLEAN,
    )
    label_ticks(axis, round_ticks(scale.min, scale.max, 5))
    return axis


def _figure(plot: Callable[[], Any], numbers: str, marks: list[Any], across: Any, up: Any, below: int) -> Any:
    # bqplot brings pandas along: not before it is needed.
    from ._chart import Chart

    # The legend stands beside the curves: the axis goes on beyond them as far as it is wide on a narrow page.
    named = [mark.labels[0] for mark in marks if mark.display_legend]
    room = min(0.5, (LEGEND[0] + LEGEND[1] * max(map(len, named))) / NARROW) if named else 0.0
    across.scale.max += room / (1 - room) * (across.scale.max - across.scale.min)
    return Chart(
        plot,
        numbers,
        marks=marks,
        axes=[across, up],
        legend_location="top-right",
        legend_style={"fill": "none", "stroke": "none"},
        legend_text={"font-size": "11px", "fill": CLEAN},
        fig_margin={"top": 12, "bottom": below, "left": 54, "right": 16},
        background_style={"fill": "none"},
        layout={"width": "100%", "max_width": "980px", "height": f"{220 + below}px", "min_width": "0"},
        animation_duration=0,
    )
