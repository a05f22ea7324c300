"""Synthetic pictures with known answers."""

from __future__ import annotations

from convscope_core.shapes.pictures import Shapes
from convscope_core.shapes.truth import ShapesTruth

__all__ = ["Shapes", "ShapesTruth"]
