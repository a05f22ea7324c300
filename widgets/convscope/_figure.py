"""What instruments show as figures for papers: the strips of still pictures, drawn by matplotlib."""

from __future__ import annotations

import io
from collections.abc import Sequence
from textwrap import fill
from typing import Any

import numpy as np

from convscope_core.plots import blank

from ._still import Strip

__all__ = ["FORMATS", "add_notes", "figure_of", "written"]

FORMATS = ("png", "svg")
"""Kinds of file that a figure is written as."""

#: Pictures side by side, at most; width of a figure, and height of a line of text, inches.
ACROSS, WIDTH, LINE = 9, 7.2, 0.19
#: Characters of a line of a note.
NOTE_WIDTH = 110
#: Dots per inch of a PNG.
DENSITY = 200


def figure_of(strips: Sequence[Strip]) -> Any:
    """Draw strips one beneath the other.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ImportError
        Without matplotlib.
    """
    lines = [line for strip in strips for line in _lines(strip)]
    across = max((len(line.pictures) for line in lines), default=1) or 1
    heights = [_height(line, across) for line in lines]
    figure = blank((WIDTH, max(1.0, sum(heights))))
    figure.get_layout_engine().set(h_pad=0.02, w_pad=0.02, hspace=0.0, wspace=0.0)
    parts = np.atleast_1d(figure.subfigures(len(lines), 1, height_ratios=heights))
    for part, line in zip(parts, lines, strict=True):
        if line.text:
            part.suptitle(line.text, x=0.01, horizontalalignment="left", fontsize=8)
        panels = part.subplots(1, across, squeeze=False)[0]
        for panel in panels:
            panel.set_axis_off()
        for panel, picture in zip(panels, line.pictures, strict=False):
            # Pixels of small maps are shown as the pixels that they are.
            panel.imshow(picture, interpolation="nearest" if picture.shape[0] < 64 else "antialiased")
        for panel, caption in zip(panels, line.captions, strict=False):
            panel.text(0.5, -0.05, caption, transform=panel.transAxes, ha="center", va="top", fontsize=6)
        if line.bar is not None:
            _draw_bar(part, panels, line)
    return figure


def _lines(strip: Strip) -> list[Strip]:
    """A strip cut into lines of as many pictures as fit side by side; the text is above the first."""
    starts = range(0, max(1, len(strip.pictures)), ACROSS)
    return [
        strip._replace(
            text="" if start else strip.text,
            pictures=strip.pictures[start : start + ACROSS],
            captions=strip.captions[start : start + ACROSS],
        )
        for start in starts
    ]


def _height(line: Strip, across: int) -> float:
    tall = max((one.shape[0] / one.shape[1] for one in line.pictures), default=0.0)
    captions = max((one.count("\n") + 1 for one in line.captions), default=0)
    return tall * WIDTH / across + LINE * (bool(line.text) + captions) + 0.08


def _draw_bar(part: Any, panels: Any, line: Strip) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    assert line.bar is not None
    scale = ScalarMappable(Normalize(line.bar.low, line.bar.high), line.bar.colours)
    bar = part.colorbar(scale, ax=list(panels), shrink=0.9, aspect=12, pad=0.01)
    bar.ax.tick_params(labelsize=6)
    bar.set_label(line.bar.text, fontsize=6)


def add_notes(figure: Any, notes: Sequence[str]) -> None:
    """Write lines beneath all of a figure, which grows by them; what is written there stays."""
    if not notes:
        return
    width, height = figure.get_size_inches()
    lines = [fill(note, min(NOTE_WIDTH, round(NOTE_WIDTH * width / WIDTH))) for note in notes]
    known = [figure.get_supxlabel()] if figure.get_supxlabel() else []
    figure.supxlabel("\n".join([*known, *lines]), x=0.01, horizontalalignment="left", fontsize=7, color="black")
    figure.set_size_inches(width, height + LINE * sum(line.count("\n") + 1 for line in lines))


def written(figure: Any, kind: str) -> bytes:
    """A figure as a file.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    kind : {"png", "svg"}
    """
    import matplotlib

    file = io.BytesIO()
    # Text stays text, and the same figure gives the same bytes.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "convscope"}):
        figure.savefig(file, format=kind, dpi=DENSITY, metadata={"Date": None} if kind == "svg" else None)
    return file.getvalue()
