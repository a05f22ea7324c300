"""Controls: what is left of a map when the network has forgotten what it learnt."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from convscope_core.arguments import door, is_number, is_whole
from convscope_core.errors import ArgumentError
from convscope_core.graph.node import Node
from convscope_core.network import Network, Redrawn

__all__ = ["randomised", "similarity"]


@door
def randomised(net: Network, top: float = 0.5, seed: int = 0) -> Network:
    """Return the network with its upper layers' weights redrawn at random; the given one is untouched.

    Layers are the convolutions and linear layers, in the order in which they are computed. The last of them, the
    classifier, is always randomised, and below it, layer by layer, as many more as the share `top` says (rounded to
    whole layers; 1 for all). From the lowest of them on to the output, every weight and every bias, with those of
    normalisations between them, is replaced by independent normal numbers with the mean and the standard deviation of
    that very tensor. So the sizes of signals stay about what they were, and only what was learnt is gone. A batch norm
    that was folded into a convolution is randomised with it. Not redrawn: running statistics of normalisations, and
    tensors that are neither weight nor bias of an operation (position embeddings, say). A tensor whose values are all
    equal stays what it is. A weight that a randomised layer shares with a lower one is randomised in both.

    Numbers are drawn from the output down: with the same seed a greater `top` leaves the layers above as they were
    with a smaller one (the cascading randomisation of Adebayo et al.). Methods that go by patterns take patterns of the
    given network for this one too, those of randomised layers redrawn likewise.

    Parameters
    ----------
    net : Network
    top : float, default 0.5
        Share of the layers, 0 (the classifier alone) to 1 (all).
    seed : int, default 0

    Returns
    -------
    Network
        With the same layers, labels and preprocessing; what is not randomised shares its memory with `net`.

    Raises
    ------
    ArgumentError
        If `top` or `seed` is out of range, or the network has no layer with weights.

    References
    ----------
    J. Adebayo, J. Gilmer, M. Muelly, I. Goodfellow, M. Hardt, B. Kim: Sanity Checks for Saliency Maps, NeurIPS 2018,
    section 3 (there the weights are drawn as before training; here from each tensor's own mean and deviation, as a
    network with folded batch norms has no initial distribution).
    """
    share, number = _share(top), _seed(seed)
    nodes = net.graph.nodes
    places = [i for i, n in enumerate(nodes) if _is_layer(n)]
    if not places:
        raise ArgumentError(f"Expected a network with a convolution or linear layer; {net.name} has none.")
    count = max(1, math.floor(share * len(places) + 0.5))
    generator = torch.Generator().manual_seed(number)
    drawn: dict[int, Tensor] = {}
    for n in reversed(nodes[places[-count] :]):
        for name in ("weight", "bias"):
            t = n.args.get(name)
            if isinstance(t, Tensor) and t.is_floating_point() and id(t) not in drawn:
                drawn[id(t)] = _redrawn(t, generator)
    name = f"{net.name}, {count} of {len(places)} layers randomised"
    other = net.with_tensors(lambda t: drawn.get(id(t), t), name)
    other.redrawn = Redrawn(net, frozenset(n.name for n in nodes[places[-count] :]), number)
    return other


def _share(top: Any) -> float:
    if not is_number(top) or not 0 <= float(top) <= 1:
        raise ArgumentError(f"Expected top as a share of the layers, from 0 (the classifier alone) to 1, got {top!r}.")
    return float(top)


def _seed(seed: Any) -> int:
    if not is_whole(seed) or seed < 0:
        raise ArgumentError(f"Expected seed as a whole number, 0 or more, got {seed!r}.")
    return int(seed)


def _is_layer(n: Node) -> bool:
    weight = n.args.get("weight")
    return n.kind.startswith(("conv", "linear")) and isinstance(weight, Tensor) and weight.dim() > 1


def _redrawn(t: Tensor, generator: torch.Generator) -> Tensor:
    # On the CPU, so that a seed means the same on every device.
    noise = torch.randn(t.shape, generator=generator)
    values = t.detach().double().cpu()
    return (values.mean() + values.std(correction=0) * noise.double()).to(t.device, t.dtype)


def similarity(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Return how alike two maps rank the places of a picture: Spearman's rank correlation of their magnitudes.

    Of each map the magnitude of its sum over the channels is taken; equal values share their mean rank.

    Parameters
    ----------
    a, b : array (C, H, W) or (H, W)
        Maps of one height and width, such as `Attribution.values`.

    Returns
    -------
    float
        From -1 to 1: 1 where both have the same order, about 0 where they have nothing in common. NaN where a map has
        the same magnitude everywhere and so no order.

    Raises
    ------
    ArgumentError
        If the shapes do not fit, or a value is NaN or infinite.
    """
    x, y = _magnitudes(a), _magnitudes(b)
    if x.shape != y.shape:
        raise ArgumentError(f"Expected two maps of one height and width, got {x.shape} and {y.shape}.")
    p, q = _ranks(x), _ranks(y)
    p -= p.mean()
    q -= q.mean()
    size = math.sqrt(float(p @ p) * float(q @ q))
    return min(max(float(p @ q) / size, -1.0), 1.0) if size > 0 else float("nan")


def _magnitudes(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    found: npt.NDArray[Any] = np.asarray(values)
    if found.ndim not in (2, 3) or found.size == 0:
        raise ArgumentError(f"Expected a map (C, H, W) or (H, W), got shape {found.shape}.")
    if not np.isfinite(found).all():
        raise ArgumentError("Expected finite values, got NaN or infinite ones. Check the picture and the weights.")
    heat = found.astype(np.float64)
    return np.abs(heat.sum(0) if heat.ndim == 3 else heat)


def _ranks(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    _, which, counts = np.unique(x.ravel(), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    mean: npt.NDArray[np.float64] = last - (counts - 1) / 2.0
    return mean[which.ravel()]
