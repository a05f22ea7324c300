"""Networks by name."""

from __future__ import annotations

from convscope_core.models.loaders import load

__all__ = ["load"]
