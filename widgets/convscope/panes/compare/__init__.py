"""Two networks beside each other on the same pictures, and one square that occludes both."""

from __future__ import annotations

from .pane import ComparePane

__all__ = ["ComparePane"]
