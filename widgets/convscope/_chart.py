"""A chart of bqplot's with a picture of itself for where bqplot cannot be."""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable
from typing import Any

import bqplot

from ._figure import written

__all__ = ["Chart"]

logger = logging.getLogger(__name__)


class Chart(bqplot.Figure):
    """A figure of bqplot's; a notebook that is read without a kernel shows a picture of it, and so does marimo.

    Parameters
    ----------
    plot : callable
        Draws the same by matplotlib.
    **traits
        Of `bqplot.Figure`.
    """

    def __init__(self, plot: Callable[[], Any], **traits: Any) -> None:
        self._plot = plot
        super().__init__(**traits)

    def _display_(self) -> Any:
        """What marimo shows, which asks for this: it has no way to show widgets other than anywidgets."""
        try:
            return self._plot()
        except ImportError as error:
            return str(error)

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle = super()._repr_mimebundle_(**kwargs)
        if bundle is None:
            return None
        try:
            picture = base64.b64encode(written(self._plot(), "png")).decode("ascii")
        except Exception:  # a picture that cannot be drawn must not keep the chart from being shown
            logger.info("a chart could not be drawn as a still picture", exc_info=True)
            return bundle
        data, *more = bundle if isinstance(bundle, tuple) else (bundle,)
        data = {**data, "image/png": picture}
        return (data, *more) if isinstance(bundle, tuple) else data
