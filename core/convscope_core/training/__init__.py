"""Training as the first paper did it: `train`, and what it is made of, for loops of your own."""

from __future__ import annotations

from convscope_core.training.callbacks import Step, lightning_callback
from convscope_core.training.clip import FilterSizes, clip_filters, filter_sizes
from convscope_core.training.crops import ten_crops
from convscope_core.training.loop import train, training
from convscope_core.training.pictures import LabelledPictures
from convscope_core.training.result import Epoch, Training, TrainingProgress

__all__ = [
    "Epoch",
    "FilterSizes",
    "LabelledPictures",
    "Step",
    "Training",
    "TrainingProgress",
    "clip_filters",
    "filter_sizes",
    "lightning_callback",
    "ten_crops",
    "train",
    "training",
]
