"""Signal estimators: what each supposes the signal in a neuron's input to be (Kindermans et al. 2018, section 3).

An estimator S says which part of an input x of a neuron y = w^T x is signal. The linear ones are S(x) = u y for a
vector u with w^T u = 1.
"""

from __future__ import annotations

import zlib

import torch
from torch import Tensor

from convscope_core.errors import ArgumentError
from convscope_core.patterns.estimate import Patterns
from convscope_core.patterns.neurons import Neurons

__all__ = ["ESTIMATORS", "direction"]

#: By name: the two-component estimator S_a+- (of active units a_+), the linear one S_a (cov[x, y] / var[y]), the filter
#: S_w (w / w^T w), a random direction (u / w^T u), and the identity S_x (all is signal).
ESTIMATORS = ("two_component", "linear", "filter", "random", "identity")


def direction(neurons: Neurons, estimator: str, patterns: Patterns | None = None, seed: int = 0) -> Tensor:
    """Return a layer's signal directions u, with w^T u = 1 for every neuron that has one.

    Parameters
    ----------
    neurons : Neurons
        The layer.
    estimator : {"two_component", "linear", "filter", "random"}
    patterns : Patterns, optional
        For the first two.
    seed : int, default 0
        For the random one; each layer draws numbers of its own.

    Returns
    -------
    Tensor (outputs, inputs a group, *kernel)
        float32, units first; zero for a neuron without one.

    Raises
    ------
    ArgumentError
        When the patterns lack the layer, or the regime.
    """
    if estimator in ("two_component", "linear"):
        return _fitted(neurons, estimator, patterns)
    w = neurons.weight.detach().cpu()
    if estimator == "filter":
        u = w
    else:
        generator = torch.Generator().manual_seed(seed ^ zlib.crc32(neurons.name.encode()))
        u = torch.randn(w.shape, generator=generator)
    wide = neurons.over(neurons.within(w * u))
    return torch.where(wide == 0, 0.0, u / torch.where(wide == 0, 1.0, wide)).float().contiguous()


def _fitted(neurons: Neurons, estimator: str, patterns: Patterns | None) -> Tensor:
    if patterns is None:
        raise ArgumentError(
            "Expected patterns=..., which are fitted on pictures: patterns = fit_patterns(net, images), once, and "
            "patterns.save(path) to keep them."
        )
    name = neurons.name
    if name not in patterns:
        raise ArgumentError(
            f"Expected patterns of every layer on the way; there are none of {name!r}. They were fitted with "
            "layers=...: fit all."
        )
    wanted = "all" if estimator == "linear" or neurons.gate == "none" else "positive"
    found = patterns.fitted(name, wanted)
    if found is None:
        raise ArgumentError(
            f"Expected patterns of the regime {wanted!r} for the {estimator.replace('_', '-')} estimator; those of "
            f"{name!r} were fitted for {', '.join(patterns.regimes)}. fit_patterns(net, images, "
            f"regime=({', '.join(map(repr, (*patterns.regimes, wanted)))})) fits both."
        )
    return found
