"""Surveys: one pass over many images for the top activations of every unit, its health and its classes."""

from __future__ import annotations

from convscope_core.jobs.ledger import Skipped
from convscope_core.survey.findings import (
    ClassMeans,
    ClassPreference,
    Exemplar,
    LayerHealth,
    Purity,
    QuantileExample,
    SampledActivations,
    SimilarUnit,
    TopActivations,
    UnitMatch,
)
from convscope_core.survey.health import Health, histogram_edges
from convscope_core.survey.health_table import HealthRow, HealthTable, layer_health
from convscope_core.survey.minima import MINIMA, Minimum, inactive_word
from convscope_core.survey.profile import ClassProfile
from convscope_core.survey.result import Survey
from convscope_core.survey.run import SurveyProgress, load_survey, survey, surveying
from convscope_core.survey.sample import Sample
from convscope_core.survey.top import TopK

__all__ = [
    "ClassMeans",
    "ClassPreference",
    "ClassProfile",
    "Exemplar",
    "Health",
    "HealthRow",
    "HealthTable",
    "LayerHealth",
    "MINIMA",
    "Minimum",
    "Purity",
    "QuantileExample",
    "Sample",
    "SampledActivations",
    "SimilarUnit",
    "Skipped",
    "Survey",
    "SurveyProgress",
    "TopActivations",
    "TopK",
    "UnitMatch",
    "histogram_edges",
    "inactive_word",
    "layer_health",
    "load_survey",
    "survey",
    "surveying",
]
