"""The figures of results, drawn by matplotlib where it is installed."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["axes", "blank", "curves", "draws_figure", "note", "panels"]

F = TypeVar("F", bound=Callable[..., Any])

_DRAWN = """

Returns
-------
matplotlib.figure.Figure

Raises
------
ImportError
    Without matplotlib.
"""


def draws_figure(method: F) -> F:
    """Complete the docstring of a method that returns a figure."""
    if method.__doc__ is not None:  # there is none under python -OO
        method.__doc__ = inspect.cleandoc(method.__doc__) + _DRAWN
    return method


def panels(down: int, across: int, size: tuple[float, float]) -> tuple[Any, list[Any]]:
    """Return a figure of panels for pictures, without ticks.

    Parameters
    ----------
    down, across : int
        How many panels.
    size : (width, height)
        Of one, in inches.

    Returns
    -------
    matplotlib.figure.Figure
        Not pyplot's: no window opens, and nothing needs to be closed.
    list of matplotlib.axes.Axes
        Row after row.

    Raises
    ------
    ImportError
        Without matplotlib.
    """
    figure = blank((size[0] * across, size[1] * down))
    every = list(figure.subplots(down, across, squeeze=False).flat)
    for panel in every:
        panel.set_xticks([])
        panel.set_yticks([])
    return figure, every


def note(panel: Any, text: str) -> None:
    """Say in the middle of a panel why there is nothing in it."""
    panel.text(0.5, 0.5, text, ha="center", va="center", fontsize=8, color="0.4", wrap=True, transform=panel.transAxes)
    panel.set_frame_on(False)


def axes(size: tuple[float, float]) -> tuple[Any, Any]:
    """Return a figure with one panel for curves, and the panel.

    Parameters
    ----------
    size : (width, height)
        In inches.

    Returns
    -------
    matplotlib.figure.Figure
    matplotlib.axes.Axes

    Raises
    ------
    ImportError
        Without matplotlib.
    """
    figure, (panel,) = curves(1, size)
    return figure, panel


def curves(across: int, size: tuple[float, float]) -> tuple[Any, list[Any]]:
    """Return a figure of panels for curves, side by side.

    Parameters
    ----------
    across : int
        How many panels.
    size : (width, height)
        Of one, in inches.

    Returns
    -------
    matplotlib.figure.Figure
    list of matplotlib.axes.Axes

    Raises
    ------
    ImportError
        Without matplotlib.
    """
    figure = blank((size[0] * across, size[1]))
    return figure, list(figure.subplots(1, across, squeeze=False)[0])


def blank(size: tuple[float, float]) -> Any:
    """Return an empty figure.

    Parameters
    ----------
    size : (width, height)
        In inches.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ImportError
        Without matplotlib.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as e:
        raise ImportError("Expected matplotlib, to plot, got none: it is not installed. pip install matplotlib") from e
    return Figure(figsize=size, layout="constrained")
