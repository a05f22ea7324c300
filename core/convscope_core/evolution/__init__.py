"""Evolution: what a network's units looked for at the checkpoints of its training."""

from __future__ import annotations

from convscope_core.evolution.checkpoints import Checkpoint, Checkpoints
from convscope_core.evolution.recorder import PAPER, EvolutionRecorder

__all__ = ["PAPER", "Checkpoint", "Checkpoints", "EvolutionRecorder"]
