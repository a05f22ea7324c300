"""Evolution: what a network's units looked for at the checkpoints of its training."""

from __future__ import annotations

from convscope_core.evolution.checkpoints import Checkpoint, Checkpoints
from convscope_core.evolution.moment import Cell, Winners
from convscope_core.evolution.recorder import PAPER, EvolutionRecorder
from convscope_core.evolution.result import EvolutionResult
from convscope_core.evolution.run import EvolutionProgress, evolution, evolving
from convscope_core.evolution.table import EvolutionRow, EvolutionTable

__all__ = [
    "PAPER",
    "Cell",
    "Checkpoint",
    "Checkpoints",
    "EvolutionProgress",
    "EvolutionRecorder",
    "EvolutionResult",
    "EvolutionRow",
    "EvolutionTable",
    "Winners",
    "evolution",
    "evolving",
]
