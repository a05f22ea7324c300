"""Experiments of the two papers, each a function that returns arrays."""

from __future__ import annotations

from convscope_core.experiments.ablation import Ablation, ablating, ablation
from convscope_core.experiments.architecture import (
    Aliasing,
    Comparison,
    ComparisonProgress,
    FilterHealth,
    compare,
    comparing,
    filter_health,
    measuring_filters,
)
from convscope_core.experiments.image_degradation import Degradation, degradation, degrading
from convscope_core.experiments.invariance import (
    ConsistencyResult,
    InvarianceResult,
    consistency,
    invariance,
    measuring_consistency,
    measuring_invariance,
)
from convscope_core.experiments.layer_probes import Probes, probe, probing
from convscope_core.experiments.part_correspondence import (
    CorrespondenceResult,
    SignScores,
    correspondence,
    corresponding,
)

__all__ = [
    "Ablation",
    "Aliasing",
    "Comparison",
    "ComparisonProgress",
    "ConsistencyResult",
    "CorrespondenceResult",
    "Degradation",
    "FilterHealth",
    "InvarianceResult",
    "Probes",
    "SignScores",
    "ablating",
    "ablation",
    "compare",
    "comparing",
    "consistency",
    "correspondence",
    "corresponding",
    "degradation",
    "degrading",
    "filter_health",
    "invariance",
    "measuring_consistency",
    "measuring_filters",
    "measuring_invariance",
    "probe",
    "probing",
]
