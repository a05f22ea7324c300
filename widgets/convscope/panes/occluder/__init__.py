"""The occluder on the picture, and the class probabilities that follow it."""

from __future__ import annotations

from .pane import OccluderPane, Setting
from .shapes import core_shape

__all__ = ["OccluderPane", "Setting", "core_shape"]
