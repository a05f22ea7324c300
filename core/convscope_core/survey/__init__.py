"""Surveys: one pass over many images for the top activations of every channel, and its health."""

from __future__ import annotations

from convscope_core.survey.accumulators import Health, TopK, histogram_edges
from convscope_core.survey.run import (
    Exemplar,
    LayerHealth,
    Skipped,
    Survey,
    SurveyProgress,
    TopActivations,
    survey,
    surveying,
)

__all__ = [
    "Exemplar",
    "Health",
    "LayerHealth",
    "Skipped",
    "Survey",
    "SurveyProgress",
    "TopActivations",
    "TopK",
    "histogram_edges",
    "survey",
    "surveying",
]
