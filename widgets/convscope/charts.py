"""The two charts of Kindermans et al. (2018): how good signal estimators are, and what their explanations are worth."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import ipywidgets
import numpy as np

from convscope_core.errors import ArgumentError
from convscope_core.patterns.quality import SignalQuality

__all__ = ["Chart", "degradation_chart", "quality_chart"]

# Each reads on white and on JupyterLab's black (3:1 at least), and the first four differ for every kind of colour
# blindness; the shapes differ, too, since colours alone cannot carry eight names.
_GREY, _ORANGE, _BLUE, _MAGENTA = "#868e96", "#e8590c", "#2b7bd6", "#b5179e"
_TEAL, _RED, _SLATE, _BROWN = "#0f8f83", "#aa4141", "#356a8d", "#a9744f"

#: What a name looks like, wherever it appears.
_KNOWN = {
    "random": (_GREY, "cross"),
    "filter": (_MAGENTA, "square"),
    "linear": (_BLUE, "triangle-up"),
    "two_component": (_ORANGE, "circle"),
    # The explanations that stand on these estimators.
    "gradient": (_MAGENTA, "square"),
    "patternnet": (_BLUE, "triangle-up"),
    "patternattribution": (_ORANGE, "circle"),
}
_OTHERS = ((_TEAL, "diamond"), (_RED, "triangle-down"), (_SLATE, "square"), (_BROWN, "circle"))
_LOOKS = ((_ORANGE, "circle"), (_BLUE, "triangle-up"), (_MAGENTA, "square"), (_GREY, "cross"), *_OTHERS)

#: What an estimator takes for the signal, as the paper writes it.
SYMBOLS = {"random": "", "filter": "S_w", "linear": "S_a", "two_component": "S_a±"}
