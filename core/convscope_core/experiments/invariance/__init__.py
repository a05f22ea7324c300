"""Invariance: how far features and class follow when pictures are moved or changed."""

from __future__ import annotations

from convscope_core.experiments.invariance.consistency import consistency, measuring_consistency
from convscope_core.experiments.invariance.consistency_result import ConsistencyResult
from convscope_core.experiments.invariance.curve import Curve
from convscope_core.experiments.invariance.frame import checked_fill
from convscope_core.experiments.invariance.pictures import Varied
from convscope_core.experiments.invariance.result import DISTANCES, InvarianceResult
from convscope_core.experiments.invariance.run import chosen_layers, invariance, measuring_invariance
from convscope_core.experiments.invariance.table import InvarianceRow, InvarianceTable
from convscope_core.experiments.invariance.transforms import checked_transforms

__all__ = [
    "DISTANCES",
    "ConsistencyResult",
    "Curve",
    "InvarianceResult",
    "InvarianceRow",
    "InvarianceTable",
    "Varied",
    "checked_fill",
    "checked_transforms",
    "chosen_layers",
    "consistency",
    "invariance",
    "measuring_consistency",
    "measuring_invariance",
]
