"""Colours of the charts, which read on light and dark grounds alike."""

from __future__ import annotations

__all__ = ["CLEAN", "NOW", "TOP"]

#: The same blue and grey as those of the bars of classes.
NOW, CLEAN = "#339af0", "#8a949e"

#: The orange of the instruments' accents.
TOP = "#f76707"
