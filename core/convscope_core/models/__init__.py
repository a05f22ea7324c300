"""Networks by name, and the first paper's as modules to train."""

from __future__ import annotations

from convscope_core.models.loaders import load
from convscope_core.models.mean_subtraction import MeanSubtraction
from convscope_core.models.paper import shapes_checkpoints
from convscope_core.models.zfnet import AlexNet2012, ZFNet, initialise

__all__ = ["AlexNet2012", "MeanSubtraction", "ZFNet", "initialise", "load", "shapes_checkpoints"]
