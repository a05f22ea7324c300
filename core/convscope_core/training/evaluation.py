"""How often a network is right."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from convscope_core.models.mean_subtraction import MeanSubtraction
from convscope_core.training.crops import middle, ten_crops
from convscope_core.training.pictures import LabelledPictures

__all__ = ["class_probabilities", "evaluating", "share_right"]


def class_probabilities(
    module: nn.Module,
    pictures: LabelledPictures,
    preprocess: MeanSubtraction,
    crops: str = "ten",
    batch_size: int = 128,
) -> Tensor:
    """Return the class probabilities of pictures, averaged over their crops.

    Parameters
    ----------
    module : torch.nn.Module
        Its mode is as it was afterwards.
    pictures : LabelledPictures
    preprocess : MeanSubtraction
    crops : {"ten", "middle"}, default "ten"
    batch_size : int, default 128

    Returns
    -------
    Tensor (N, K) float64
        On the CPU.
    """
    device = next(module.parameters()).device
    found = []
    with torch.no_grad(), evaluating(module):
        for part in torch.split(torch.arange(len(pictures)), batch_size):
            pixels = pictures.batch(part)[0].to(device)
            cut = ten_crops(pixels, preprocess.size) if crops == "ten" else middle(pixels, preprocess.size)[None]
            scores = [module(preprocess.normalised(one)).softmax(1).double() for one in cut]
            found.append(torch.stack(scores).mean(0).cpu())
    return torch.cat(found)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put a module into evaluation mode, and every part of it back into its own."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


def share_right(probabilities: Tensor, labels: Tensor) -> float:
    """Return the share of pictures whose most probable class is theirs: 0..1."""
    return float((probabilities.argmax(1) == labels).double().mean())
