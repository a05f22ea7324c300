"""What is known of a network at one checkpoint, and of its units at all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from convscope_core.evolution.checkpoints import Checkpoint, Checkpoints
from convscope_core.explain.projection import Projection
from convscope_core.measures import root_mean_square
from convscope_core.network import Layer, Network
from convscope_core.survey import Survey

__all__ = ["Cell", "Moment", "Weights", "Winners", "weights_at"]


@dataclass(frozen=True, eq=False)
class Weights:
    """What is kept of a checkpoint's weights.

    Attributes
    ----------
    rms : float64 array (layers,)
        Root mean square of each surveyed layer's weights; NaN for layers without.
    first : float32 array (filters, C, h, w) or None
        Those of the first convolution, if it looks at the picture.
    """

    rms: npt.NDArray[np.float64]
    first: npt.NDArray[np.float32] | None


@dataclass(frozen=True, eq=False)
class Moment:
    """A checkpoint with its survey.

    Attributes
    ----------
    checkpoint : Checkpoint
    survey : Survey
    weights : Weights
    """

    checkpoint: Checkpoint
    survey: Survey
    weights: Weights


class Winners(NamedTuple):
    """The strongest activation of every unit of a layer over the pictures, at every checkpoint.

    Attributes
    ----------
    value : float32 array (T, C)
        T checkpoints, C units.
    image, row, column : int64 arrays (T, C)
        Index into the images, and position in the unit's map; among equals the lower index. -1 where a unit has no
        strongest place: it is zero, or the same, everywhere.
    """

    value: npt.NDArray[np.float32]
    image: npt.NDArray[np.int64]
    row: npt.NDArray[np.int64]
    column: npt.NDArray[np.int64]


class Cell(NamedTuple):
    """A unit at a checkpoint: its winner, projected with the weights of then.

    Attributes
    ----------
    image : int
        Which picture.
    label : str or None
        Its class, where it is known.
    jump : bool
        Whether it is another picture than at the checkpoint before.
    projection : Projection
        With ``crop``, the picture in the unit's receptive field, and ``activation``.
    """

    image: int
    label: str | None
    jump: bool
    projection: Projection


def weights_at(checkpoints: Checkpoints, index: int, net: Network, layers: tuple[Layer, ...]) -> Weights:
    """Read what is kept of the weights of a checkpoint, of which `net` is the network.

    They are those that training changes. Where a layer has no parameter of its own of that name (weights that are
    derived from others, functions without a module), they are those that it computes with, batch norm folded in.
    """
    state = checkpoints.weights(index)
    rms = [_rms(_weight(net, state, layer)) for layer in layers]
    first, kept = net.first_convolution, None
    if first is not None:
        weight = _weight(net, state, first)
        kept = None if weight is None else weight.astype(np.float32)
    return Weights(np.array(rms), kept)


def _weight(net: Network, state: Mapping[str, torch.Tensor], layer: Layer) -> npt.NDArray[Any] | None:
    used = net.weight(layer.name)
    if used is None:
        return None
    trained = state.get(f"{layer.name.partition('#')[0]}.weight")
    found = used if trained is None or trained.shape != used.shape else trained
    return found.detach().cpu().double().numpy()


def _rms(weight: npt.NDArray[Any] | None) -> float:
    return float("nan") if weight is None else float(root_mean_square(weight.reshape(1, -1))[0])
