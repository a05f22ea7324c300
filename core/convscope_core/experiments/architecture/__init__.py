"""Architecture selection: the filters of a network, what its strides fold, and two networks side by side."""

from __future__ import annotations

from convscope_core.experiments.architecture.aliasing import Aliasing
from convscope_core.experiments.architecture.compare import ComparisonProgress, compare, comparing
from convscope_core.experiments.architecture.comparison import Comparison, Cost, Disagreement, Side, UnitPair
from convscope_core.experiments.architecture.filter_health import (
    FilterHealth,
    FilterProgress,
    filter_health,
    filter_tiles,
    first_layer,
    measuring_filters,
)

__all__ = [
    "Aliasing",
    "Comparison",
    "ComparisonProgress",
    "Cost",
    "Disagreement",
    "FilterHealth",
    "FilterProgress",
    "Side",
    "UnitPair",
    "compare",
    "comparing",
    "filter_health",
    "filter_tiles",
    "first_layer",
    "measuring_filters",
]
