"""Invariance: how far features and class follow when pictures are moved or changed."""

from __future__ import annotations

from convscope_core.experiments.invariance.consistency import consistency, measuring_consistency
from convscope_core.experiments.invariance.consistency_result import ConsistencyResult
from convscope_core.experiments.invariance.curve import Curve
from convscope_core.experiments.invariance.result import DISTANCES, InvarianceResult
from convscope_core.experiments.invariance.run import invariance, measuring_invariance
from convscope_core.experiments.invariance.table import InvarianceRow, InvarianceTable

__all__ = [
    "DISTANCES",
    "ConsistencyResult",
    "Curve",
    "InvarianceResult",
    "InvarianceRow",
    "InvarianceTable",
    "consistency",
    "invariance",
    "measuring_consistency",
    "measuring_invariance",
]
