"""Every explanation of a few pictures side by side."""

from __future__ import annotations

from .pane import GalleryPane

__all__ = ["GalleryPane"]
