"""The occluder on the picture, and the class probabilities that follow it."""

from __future__ import annotations

from .live import LiveOccluder, Setting
from .pane import OccluderPane, checked_size, visited
from .shapes import core_shape, shape_value

__all__ = ["LiveOccluder", "OccluderPane", "Setting", "checked_size", "core_shape", "shape_value", "visited"]
