"""The first paper's networks by name, and the small ones of their kind whose weights come with convscope."""

from __future__ import annotations

import json
import os
import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from convscope_core.errors import NetworkError, did_you_mean
from convscope_core.evolution.checkpoints import Checkpoint, Checkpoints, Origin
from convscope_core.models.mean_subtraction import MeanSubtraction
from convscope_core.models.zfnet import AlexNet2012, ZFNet
from convscope_core.network import Network
from convscope_core.weights import fill, read_state, shortly

__all__ = ["NAMES", "SHIPPED", "Run", "load", "read_run", "shapes_checkpoints"]

_KINDS: dict[str, type[ZFNet] | type[AlexNet2012]] = {"ZFNet": ZFNet, "AlexNet2012": AlexNet2012}

_LARGE = {"zfnet": ZFNet, "alexnet_2012": AlexNet2012}

_WEIGHTS = Path(__file__).parent / "weights"

#: What a folder of trained weights is described in.
DESCRIPTION = "run.json"

#: Networks whose weights come with the package.
SHIPPED = tuple(sorted(file.parent.name for file in _WEIGHTS.glob(f"*/{DESCRIPTION}")))

#: What `load` takes here.
NAMES = (*sorted(_LARGE), *SHIPPED)

_warned: set[str] = set()


@dataclass(frozen=True)
class Run:
    """A training run in a folder: what the network is, and its weights after chosen epochs.

    Attributes
    ----------
    name : str
    kind : str
        ``"ZFNet"`` or ``"AlexNet2012"``.
    options : dict
        That it is made with.
    preprocess : MeanSubtraction
    labels : tuple of str
    epochs : dict of int to Path
        The file of weights after each, in order.
    accuracy : dict of int to float
        On the test pictures with those weights, in one crop: 0..1.
    details : dict
        All that the folder says: command, data, settings, history.
    """

    name: str
    kind: str
    options: dict[str, Any]
    preprocess: MeanSubtraction
    labels: tuple[str, ...]
    epochs: dict[int, Path]
    accuracy: dict[int, float]
    details: dict[str, Any]

    def module(self) -> nn.Module:
        """Make the network, with random weights, in evaluation mode."""
        return _KINDS[self.kind](**self.options).eval()

    def checkpoints(self) -> Checkpoints:
        """Return the weights after all epochs that were kept, and how to make networks of them."""
        steps = {one["epoch"]: one["step"] for one in self.details["checkpoints"]}
        found = [
            Checkpoint(steps[epoch], float(epoch), partial(read_state, path)) for epoch, path in self.epochs.items()
        ]
        return Checkpoints(found, Origin(self.module(), self._known(), lends=False))

    def _known(self) -> dict[str, Any]:
        size = self.preprocess.size
        return {"preprocess": self.preprocess, "labels": self.labels, "input_size": size, "name": self.name}

    def network(self, path: Path | None, **options: Any) -> Network:
        """Make the network with the weights of a file, or random ones."""
        module = self.module()
        if path is not None:
            fill(module, read_state(path), self.name, str(path))
        return Network(module, **{**self._known(), "snapshot": False, **options})


def read_run(folder: str | os.PathLike[str]) -> Run:
    """Read what `python -m convscope_core.training` left in a folder.

    Raises
    ------
    NetworkError
        If the folder holds no such thing.
    """
    where = Path(folder).expanduser()
    try:
        found = json.loads((where / DESCRIPTION).read_text("utf-8"))
        return Run(
            name=found["name"],
            kind=found["kind"],
            options=found["options"],
            preprocess=MeanSubtraction(**found["preprocessing"]),
            labels=tuple(found["labels"]),
            epochs={one["epoch"]: where / one["file"] for one in found["checkpoints"]},
            accuracy={one["epoch"]: one["accuracy"] for one in found["checkpoints"]},
            details=found,
        )
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise NetworkError(
            f"Expected a folder that python -m convscope_core.training wrote, got {str(where)!r}: {type(e).__name__}: "
            f"{e}."
        ) from e


def shapes_checkpoints(name: str = "zfnet_shapes") -> Checkpoints:
    """Return all weights of a small network that come with convscope: after epochs 1, 2, 5, 10, 20, 30, 40 and 64.

    Parameters
    ----------
    name : {"zfnet_shapes", "alexnet_shapes"}
        The network, trained on `Shapes`; docs/training.md says how.

    Returns
    -------
    Checkpoints
        For `evolution`; ``.network(i)`` makes the network of one.

    Raises
    ------
    NetworkError
        For another name.
    """
    if name not in SHIPPED:
        raise NetworkError(
            f"Expected one of {', '.join(map(repr, SHIPPED))}, got {name!r}.{did_you_mean(str(name), SHIPPED)} For "
            f"weights of your own: Checkpoints.of(...)."
        )
    return read_run(_WEIGHTS / name).checkpoints()


def load(name: str, weights: Any, **options: Any) -> Network:
    """Return one of `NAMES` as a network; see `convscope_core.models.load`."""
    path = _path(name, weights)
    if name in SHIPPED:
        run = read_run(_WEIGHTS / name)
        if path is not None or weights is None:
            return run.network(path, **options)
        epoch = _epoch(name, weights, run)
        return run.network(run.epochs[epoch], **options)
    if weights == "DEFAULT":
        if name not in _warned:
            _warned.add(name)
            warnings.warn(
                f"no trained weights of {name} are public: its weights are random. Give weights=<path of a state dict> "
                f"of your own, weights=None for random ones without this warning, or load a small trained network of "
                f"its kind{': ' + ', '.join(map(repr, SHIPPED)) if SHIPPED else ''}",
                stacklevel=3,
            )
    elif path is None and weights is not None:
        raise NetworkError(
            f"Expected weights 'DEFAULT', the path of a state dict or None for {name}, got {shortly(weights)}."
        )
    import torchvision.models

    module = _LARGE[name]().eval()
    if path is not None:
        fill(module, read_state(path), name, str(path))
    labels = torchvision.models.ResNet18_Weights.DEFAULT.meta["categories"]
    return Network(module, preprocess=MeanSubtraction(), labels=labels, name=name, snapshot=False, **options)


def _path(name: str, weights: Any) -> Path | None:
    """The file that `weights` means, if it means one."""
    if not isinstance(weights, (str, os.PathLike)):
        return None
    path = Path(weights).expanduser()
    if path.is_file():
        return path
    if path.suffix or os.sep in os.fspath(weights):
        raise NetworkError(f"Expected a file of weights for {name}, got {str(path)!r}, which is not there.")
    return None


def _epoch(name: str, weights: Any, run: Run) -> int:
    known = {f"EPOCH_{epoch}": epoch for epoch in run.epochs}
    last = max(run.epochs)
    if isinstance(weights, str) and weights in {"DEFAULT", *known}:
        return known.get(weights, last)
    raise NetworkError(
        f"Expected weights of {name} as 'DEFAULT' (after epoch {last}), {', '.join(map(repr, known))}, the path of a "
        f"state dict, or None, got {shortly(weights)}.{did_you_mean(shortly(weights), known)}"
    )
