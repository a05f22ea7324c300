"""Experiments of the two papers, each a function that returns arrays."""

from __future__ import annotations

from convscope_core.experiments.image_degradation import Degradation, degradation, degrading

__all__ = ["Degradation", "degradation", "degrading"]
