"""Patterns of neurons (Kindermans et al. 2018): what in a neuron's input varies with its output, and how well."""

from __future__ import annotations

from convscope_core.patterns.estimate import FitReport, LayerFit, Patterns
from convscope_core.patterns.fit import FitProgress, fit_patterns, fitting_patterns
from convscope_core.patterns.quality import SignalQuality, signal_quality

__all__ = [
    "FitProgress",
    "FitReport",
    "LayerFit",
    "Patterns",
    "SignalQuality",
    "fit_patterns",
    "fitting_patterns",
    "signal_quality",
]
