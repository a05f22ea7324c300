"""A training run in a folder: weights after chosen epochs, and a description that makes networks of them again."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from convscope_core.errors import ArgumentError
from convscope_core.evolution import PAPER
from convscope_core.models.paper import DESCRIPTION
from convscope_core.saving import replacing, write_text
from convscope_core.training.callbacks import Step
from convscope_core.training.evaluation import class_probabilities, share_right
from convscope_core.training.pictures import LabelledPictures
from convscope_core.training.result import Training

__all__ = ["KeptEpochs", "describe"]


class KeptEpochs:
    """A callback that writes the weights after chosen epochs, in half precision.

    What is in the files are the weights: they are what networks are made of, and what accuracy is measured with. The
    network that is being trained keeps its own.

    Parameters
    ----------
    folder : path
    epochs : collection of int
    """

    def __init__(self, folder: str | os.PathLike[str], epochs: Collection[int] = PAPER) -> None:
        self.folder = Path(folder).expanduser()
        self.epochs = sorted(epochs)

    def file(self, epoch: int) -> Path:
        """The file of an epoch."""
        return self.folder / f"epoch_{epoch:02}.safetensors"

    def __call__(self, step: Step) -> None:
        """Write the weights if an epoch ends that is to be kept."""
        if step.epoch in self.epochs:
            self.folder.mkdir(parents=True, exist_ok=True)
            halved = {name: _halved(value) for name, value in step.module.state_dict().items()}
            with replacing(self.file(int(step.epoch))) as beside:
                save_file(halved, beside)


def describe(
    kept: KeptEpochs,
    name: str,
    options: Mapping[str, Any],
    training: Training,
    test: LabelledPictures,
    details: Mapping[str, Any],
) -> Path:
    """Measure the weights of every epoch that was kept, and write what a network is made of them with.

    Parameters
    ----------
    kept : KeptEpochs
    name : str
        What the network is called.
    options : mapping
        That its class was made with.
    training : Training
    test : LabelledPictures
        Neither trained on nor used to choose the learning rate.
    details : mapping
        What else to say: command, pictures...

    Returns
    -------
    Path
        The description.
    """
    module: nn.Module = type(training.module)(**options)
    module.to(next(training.module.parameters()).device)
    checkpoints = []
    for epoch in kept.epochs:
        if not kept.file(epoch).is_file() or epoch > len(training.history):
            continue
        module.load_state_dict(load_file(kept.file(epoch)))
        right = {
            crops: round(share_right(class_probabilities(module, test, training.preprocess, crops), test.labels), 4)
            for crops in ("middle", "ten")
        }
        checkpoints.append(
            {
                "epoch": epoch,
                "step": training.history[epoch - 1].step,
                "file": kept.file(epoch).name,
                "accuracy": right["middle"],
                "accuracy_ten": right["ten"],
            }
        )
    if not checkpoints:
        raise ArgumentError(
            f"Expected weights of epochs {', '.join(map(str, kept.epochs))} in {str(kept.folder)!r}, got none."
        )
    found = {
        "name": name,
        "kind": type(training.module).__name__,
        "options": dict(options),
        "preprocessing": asdict(training.preprocess),
        "labels": list(training.classes),
        "checkpoints": checkpoints,
        **details,
        "torch": torch.__version__.partition("+")[0],
        "settings": {k: v for k, v in training.settings.items() if k != "preprocess"},
        "history": [asdict(one) for one in training.history],
    }
    path = kept.folder / DESCRIPTION
    write_text(path, _lines(found))
    return path


def _lines(found: Mapping[str, Any]) -> str:
    """JSON with an entry a line, and an element a line for lists of objects."""
    entries = []
    for name, value in found.items():
        text = json.dumps(value)
        if isinstance(value, list) and value and isinstance(value[0], dict):
            text = "[\n" + ",\n".join(f"  {json.dumps(one)}" for one in value) + "\n ]"
        entries.append(f" {json.dumps(name)}: {text}")
    return "{\n" + ",\n".join(entries) + "\n}\n"


def _halved(value: torch.Tensor) -> torch.Tensor:
    value = value.detach().cpu()
    return (value.half() if value.is_floating_point() else value).clone(memory_format=torch.contiguous_format)
