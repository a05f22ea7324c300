"""Architecture selection: the filters of a network, what its strides fold, and two networks side by side."""

from __future__ import annotations

from convscope_core.experiments.architecture.aliasing import Aliasing
from convscope_core.experiments.architecture.filter_health import FilterHealth, filter_health

__all__ = ["Aliasing", "FilterHealth", "filter_health"]
