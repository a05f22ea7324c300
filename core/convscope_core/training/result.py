"""What a training loop has come to."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from convscope_core.models.mean_subtraction import MeanSubtraction
from convscope_core.network import Network
from convscope_core.plots import draws_figure, panels
from convscope_core.saved_result import typed
from convscope_core.saving import opened_result, save_result
from convscope_core.training.checkpoint import as_array
from convscope_core.weights import fill

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Epoch", "Training", "TrainingProgress"]

_FORM = "convscope training 1"


@dataclass(frozen=True)
class Epoch:
    """One pass over the training pictures.

    Attributes
    ----------
    epoch : int
        Counts from 1.
    step : int
        Updates of the weights at its end.
    loss : float
        Mean cross entropy of its pictures, each just before its update.
    accuracy : float
        Share of them whose most probable class was right then, with dropout, in one crop: 0..1.
    validation : float or None
        Share of the validation pictures that are right at its end.
    rate : float
        Learning rate of its last update.
    clipped : int
        Filters that the last update brought back to the radius.
    seconds : float
        It took, validation included.
    """

    epoch: int
    step: int
    loss: float
    accuracy: float
    validation: float | None
    rate: float
    clipped: int
    seconds: float


@dataclass(frozen=True, eq=False, repr=False)
class Training:
    """A trained network, how it came about, and what pictures have to go through before it.

    Attributes
    ----------
    module : torch.nn.Module
        The one that was given, trained, in evaluation mode.
    history : tuple of Epoch
    classes : tuple of str
        In the order of the outputs.
    preprocess : MeanSubtraction
    settings : mapping of str to Any
        What it was trained with: what a checkpoint has to agree with.
    """

    module: nn.Module
    history: tuple[Epoch, ...]
    classes: tuple[str, ...]
    preprocess: MeanSubtraction
    settings: Mapping[str, Any]

    def network(self, name: str | None = None) -> Network:
        """Return the trained network, to look into: a copy, which training further does not change."""
        return Network(
            copy.deepcopy(self.module).eval(),
            preprocess=self.preprocess,
            labels=self.classes,
            input_size=self.preprocess.size,
            name=name or type(self.module).__name__.lower(),
            snapshot=False,
        )

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write weights, classes, preprocessing and history to a file (safetensors)."""
        arrays = {name: as_array(value) for name, value in self.module.state_dict().items()}
        kept = {
            "classes": self.classes,
            "preprocess": asdict(self.preprocess),
            "history": [asdict(one) for one in self.history],
            "settings": dict(self.settings),
        }
        return save_result(path, _FORM, arrays, kept)

    @classmethod
    def load(cls, path: str | os.PathLike[str], module: nn.Module) -> Self:
        """Read what `save` wrote.

        Parameters
        ----------
        path : path
        module : torch.nn.Module
            Of the architecture that was trained. It gets the weights, and is put into evaluation mode.

        Raises
        ------
        ArgumentError
            If the file holds something else.
        NetworkError
            If the weights do not fit the module.
        StoreError
            If the file cannot be read, or is damaged.
        """
        with opened_result(path, "Training.save", [_FORM]) as (_, arrays, kept):
            history = typed(kept["history"], tuple[Epoch, ...], "history", unknown=True)
            preprocess = MeanSubtraction(**kept["preprocess"])
            classes, settings = typed(kept["classes"], tuple[str, ...], "classes"), dict(kept["settings"])
            state = {name: torch.from_numpy(array) for name, array in arrays.items()}
        fill(module, state, "module", os.fspath(path))
        return cls(module.eval(), history, classes, preprocess, settings)

    def __repr__(self) -> str:
        lines = [f"Training of {type(self.module).__name__}: {len(self.history)} epochs, {len(self.classes)} classes"]
        if self.history:
            lines.append("  epoch    loss  accuracy  validation      rate  clipped  seconds")
        shown = self.history if len(self.history) <= 12 else (*self.history[:3], None, *self.history[-6:])
        for one in shown:
            if one is None:
                lines.append("    ...")
                continue
            validation = "-" if one.validation is None else f"{one.validation:.1%}"
            lines.append(
                f"  {one.epoch:>5} {one.loss:>7.4f} {one.accuracy:>9.1%} {validation:>11} {one.rate:>9.3g} "
                f"{one.clipped:>8} {one.seconds:>8.1f}"
            )
        return "\n".join(lines)

    @draws_figure
    def plot(self) -> Any:
        """Draw loss and accuracy by epoch; a dotted line where the learning rate was lowered."""
        figure, (left, right) = panels(1, 2, (4.0, 2.8))
        epochs = [one.epoch for one in self.history]
        left.plot(epochs, [one.loss for one in self.history], color="C0")
        left.set_ylabel("loss")
        right.plot(epochs, [one.accuracy for one in self.history], color="C0", label="training, with dropout")
        if any(one.validation is not None for one in self.history):
            right.plot(epochs, [one.validation for one in self.history], color="C1", label="validation")
        right.set_ylabel("share that is right")
        right.set_ylim(0, 1)
        right.legend(fontsize="small")
        for panel in (left, right):
            panel.xaxis.set_major_locator(_whole_numbers())
            panel.yaxis.set_major_locator(_numbers())
            panel.set_xlabel("epoch")
            for before, after in zip(self.history, self.history[1:], strict=False):
                if after.rate < before.rate:
                    panel.axvline(before.epoch + 0.5, color="0.6", linestyle=":")
        return figure


@dataclass(frozen=True)
class TrainingProgress:
    """How far a training has come.

    Attributes
    ----------
    done, total : int
        Epochs.
    result : Training
        As it stands; its module is the one being trained.
    """

    done: int
    total: int
    result: Training


def _whole_numbers() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(integer=True)


def _numbers() -> Any:
    from matplotlib.ticker import AutoLocator

    return AutoLocator()
