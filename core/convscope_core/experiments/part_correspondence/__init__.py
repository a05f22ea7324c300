"""Correspondence: whether masking the same part acts alike in one picture and another."""

from __future__ import annotations

from convscope_core.experiments.part_correspondence.result import CorrespondenceResult
from convscope_core.experiments.part_correspondence.run import checked_run, chosen_layers, correspondence, corresponding
from convscope_core.experiments.part_correspondence.signs import SignScores

__all__ = ["CorrespondenceResult", "SignScores", "checked_run", "chosen_layers", "correspondence", "corresponding"]
