"""A chart of bqplot's with its numbers as a table, and a picture of itself for where bqplot cannot be."""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable
from typing import Any

import bqplot
import ipywidgets

from ._figure import written
from ._parts import close_whole, displayed

__all__ = ["Chart"]

logger = logging.getLogger(__name__)


class Chart(bqplot.Figure):
    """A figure of bqplot's. Displayed by itself it shows `box`; in a layout of your own it is the figure alone.

    A notebook that is read without a kernel shows a picture of it, and so does marimo.

    Parameters
    ----------
    plot : callable
        Draws the same by matplotlib.
    table : str
        The same numbers in HTML.
    **traits
        Of `bqplot.Figure`.
    """

    def __init__(self, plot: Callable[[], Any], table: str, **traits: Any) -> None:
        self._plot, self._table = plot, table
        self._box: ipywidgets.VBox | None = None
        super().__init__(**traits)

    @property
    def box(self) -> ipywidgets.VBox:
        """ipywidgets.VBox: the figure with the table beneath."""
        if self._box is None:
            self._box = ipywidgets.VBox([self, ipywidgets.HTML(self._table)], layout={"width": "100%"})
        return self._box

    def _picture(self) -> str:
        """A PNG in base64."""
        return base64.b64encode(written(self._plot(), "png")).decode("ascii")

    def _display_(self) -> Any:
        """What marimo shows, which asks for this: it has no way to show widgets other than anywidgets."""
        try:
            source = f"data:image/png;base64,{self._picture()}"
            picture = f'<img width="720" style="max-width: 100%" src="{source}" alt="A chart of the table beneath">'
        except ImportError as error:
            picture = f"<p>{error}</p>"
        return _Page(picture + self._table)

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle = displayed(self.box, **kwargs)
        try:
            picture = self._picture()
        except Exception:  # a picture that cannot be drawn must not keep the chart from being shown
            logger.info("a chart could not be drawn as a still picture", exc_info=True)
            return bundle
        data, metadata = bundle
        return {**data, "image/png": picture}, metadata

    def close(self) -> None:
        """Close the figure, and the box if it was shown."""
        box, self._box = self._box, None
        if box is not None:
            close_whole(box)
        super().close()


class _Page:
    """HTML, as notebooks ask for it."""

    def __init__(self, text: str) -> None:
        self._text = text

    def _repr_html_(self) -> str:
        return self._text
