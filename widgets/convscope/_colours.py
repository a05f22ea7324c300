"""Colours of the charts, which read on light and dark grounds alike."""

from __future__ import annotations

import numpy as np

__all__ = ["CLEAN", "NOW", "TOP", "ramp"]

#: The same blue and grey as those of the bars of classes.
NOW, CLEAN = "#339af0", "#8a949e"

#: The orange of the instruments' accents.
TOP = "#f76707"

#: Of things that have an order, such as layers, from the first to the last.
ANCHORS = ("#2b7bd6", "#0aa2b3", "#2f9e44", "#a07a00", "#e8590c", "#d6336c", "#8f6fe8")


def ramp(count: int) -> list[str]:
    """Colours for `count` things that have an order, as #rrggbb."""
    anchors = np.array([[int(one[at : at + 2], 16) for at in (1, 3, 5)] for one in ANCHORS], float)
    places = np.linspace(0, len(anchors) - 1, count) if count > 1 else np.zeros(count)
    mixed = np.stack([np.interp(places, np.arange(len(anchors)), part) for part in anchors.T], axis=1)
    return [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in mixed.round().astype(int)]
