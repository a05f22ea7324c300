"""PatternNet and PatternAttribution: the walk back with each filter's place taken by its signal's direction.

Both are the gradient's walk with other weights (Kindermans et al. 2018, section 4 and fig. 1): a filter w is replaced
by its pattern a, which shows the signal; or by the product w a, which shows how much each part of the signal
contributes. Rectifiers and max pools let through what they let through in the forward pass. The walk starts from the
explained unit's own value.

Extensions, which are labelled: the paper speaks of convolutions, linear layers, rectifiers and max pools. Here a
residual sum is a linear neuron with weights (1, 1) whose pattern says what share of the signal each operand carries; an
average pool is one with equal weights; a batch norm that could not be folded is a neuron with one input (its pattern is
the reciprocal of its gain), and so is a change of sign; a transposed convolution has neurons, and patterns, for each
phase of its stride; up-sampling spreads the signal by its own weights; ReLU6 and leaky rectifiers have their own
derivative; a multiplicative gate is held constant; response normalisation lets pass; layer norms, group norms and their
like are neurons with one input, their statistics held constant.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from convscope_core.errors import ArgumentError
from convscope_core.explain.deconvnet import LEAKY, PASS, RECTIFIERS
from convscope_core.explain.lrp import NOTHING
from convscope_core.explain.method import tabled
from convscope_core.explain.normalised import IDENTITY, ONE_INPUT
from convscope_core.explain.options import require_choice, require_whole
from convscope_core.graph.backward import (
    EXACT,
    HELD_GATE,
    ROUTING,
    SWITCHED,
    UPSAMPLING,
    At,
    Parts,
    Rule,
    Table,
    goes_to,
    inputs,
)
from convscope_core.graph.node import Node
from convscope_core.graph.normalisation import NORMALISATIONS
from convscope_core.network import Network
from convscope_core.patterns.estimate import Patterns
from convscope_core.patterns.estimators import ESTIMATORS, direction
from convscope_core.patterns.neurons import Neurons, neurons_of

__all__ = ["patternattribution", "patternnet"]

_AVERAGES = ("avg_pool", "adaptive_avg_pool", "mean", "aten.sum", "aten.avg_pool1d", "aten.avg_pool3d")

_OWN = frozenset({"add", "sub", "mul", "relu6", "batch_norm", "scale", "local_response_norm", *_AVERAGES})


def own(node: Node) -> bool:
    """Tell whether the paper has no rule for an operation, and this table has."""
    # A pool whose windows are single positions (VGG's, on pictures of its own size) does nothing.
    return node.kind in _OWN and not (node.kind == "adaptive_avg_pool" and node.shape == node.inputs[0].shape)


SUMS = ("pattern", "copy")


@tabled("patternnet", "signal", start="value", rescales=True)
def patternnet(
    net: Network,
    *,
    patterns: Patterns | None = None,
    estimator: str = "two_component",
    sums: str = "pattern",
    seed: int = 0,
) -> Table:
    """PatternNet: the signal that the explained unit detected, by patterns fitted on data.

    Walks back as the gradient does, with every filter replaced by the direction in which its signal lies.

    Parameters
    ----------
    net : Network
    patterns : Patterns
        From `fit_patterns`, of this network.
    estimator : str, default "two_component"
        Which signal estimator gives the directions: "two_component" (the method as published), "linear" (S_a, patterns
        of the regime "all"), "filter" (S_w), "random", or "identity" (S_x). The last three need no patterns.
    sums : {"pattern", "copy"}, default "pattern"
        What residual sums and average pools do: as linear neurons with patterns of their own; or, sums hand the signal
        to both operands and pools spread it.
    seed : int, default 0
        For the random directions.

    References
    ----------
    P.-J. Kindermans, K. T. Schütt, M. Alber, K.-R. Müller, D. Erhan, B. Kim, S. Dähne: Learning how to explain neural
    networks: PatternNet and PatternAttribution, ICLR 2018, section 4 and eq. 8. Sums, pools and normalisations: own.
    """
    return _table("patternnet", net, patterns, estimator, sums, seed)


@tabled("patternattribution", "attribution", start="value", rescales=True)
def patternattribution(
    net: Network,
    *,
    patterns: Patterns | None = None,
    estimator: str = "two_component",
    sums: str = "pattern",
    seed: int = 0,
) -> Table:
    """PatternAttribution: how much each part of the signal contributes, by patterns fitted on data.

    Walks back as the gradient does, with every filter replaced by its product with the direction of its signal. As w^T
    a = 1, each neuron hands on what it gets, but for what falls on padding or on closed rectifiers.

    Parameters
    ----------
    net : Network
    patterns : Patterns
        From `fit_patterns`, of this network.
    estimator : str, default "two_component"
        As for `patternnet`. With "filter" this is the w² rule, with "identity" LRP's z rule without biases.
    sums : {"pattern", "copy"}, default "pattern"
        As for `patternnet`.
    seed : int, default 0
        For the random directions.

    References
    ----------
    P.-J. Kindermans, K. T. Schütt, M. Alber, K.-R. Müller, D. Erhan, B. Kim, S. Dähne: Learning how to explain neural
    networks: PatternNet and PatternAttribution, ICLR 2018, section 4 and eq. 8. Sums, pools and normalisations: own.
    """
    return _table("patternattribution", net, patterns, estimator, sums, seed)


def _table(name: str, net: Network, patterns: Patterns | None, estimator: str, sums: str, seed: int) -> Table:
    require_choice(estimator, "estimator", ESTIMATORS)
    require_choice(sums, "sums", SUMS)
    require_whole(seed, "seed", 0)
    if patterns is not None and not isinstance(patterns, Patterns):
        raise ArgumentError(
            f"Expected patterns as fit_patterns or Patterns.load gives them, got {type(patterns).__name__}."
        )
    attribution = name == "patternattribution"
    layers = [n for n in neurons_of(net) if sums == "pattern" or n.kind not in ("add", "pool")]
    if patterns is not None:
        patterns.require(net)
    one_input = PASS if attribution else INVERSE
    rules = {
        "relu": RECTIFIERS[False, True],
        **dict.fromkeys(("mul", "div"), HELD_GATE),
        "local_response_norm": PASS,
        **dict.fromkeys(("batch_norm", "scale"), one_input),
        **dict.fromkeys(("aten.neg", "aten.rsub"), one_input.labelled("a turned sign is a neuron with one input")),
        **dict.fromkeys(("relu6", "add", "sub", *_AVERAGES), EXACT),
        **dict.fromkeys(UPSAMPLING, EXACT.labelled("up-sampling spreads the signal by its own weights")),
        **dict.fromkeys(NORMALISATIONS, IDENTITY if attribution else ONE_INPUT),
        **dict.fromkeys(LEAKY, EXACT.labelled("leaky rectifiers act by their derivative")),
    }
    if estimator == "identity":
        special = {n.node: _labelled(n, _identity(n, attribution=attribution)) for n in layers}
    else:

        def weights(n: Neurons) -> Tensor:
            u = direction(n, estimator, patterns, seed).cpu()
            if (
                net.redrawn is not None
                and n.node.name in net.redrawn.nodes
                and estimator in ("two_component", "linear")
            ):
                u = _forgotten(u, n, net.redrawn.seed)
            return n.weight.detach().cpu() * u if attribution else u

        state = None if net.redrawn is None else net.redrawn[1:]
        key = (estimator, attribution, state, net.device, seed if estimator == "random" else 0)
        special = {
            n.node: _labelled(n, _replaced(n, made))
            for n, made in zip(layers, _kept(net, patterns, key, layers, weights), strict=True)
        }
    return Table(name, rules, ROUTING | SWITCHED | {"shift"}, special, own=own)


def _forgotten(u: Tensor, n: Neurons, seed: int) -> Tensor:
    """The patterns of a layer that was randomised for a control: redrawn as its weights were.

    Patterns are part of what was learnt from data: a layer that has forgotten its filters has forgotten these too.
    """
    generator = torch.Generator().manual_seed(seed ^ zlib.crc32(n.name.encode()))
    noise = torch.randn(u.shape, generator=generator, dtype=torch.float64)
    return (u.double().mean() + u.double().std(correction=0) * noise).float()


def _kept(
    net: Network,
    patterns: Patterns | None,
    key: tuple[Any, ...],
    layers: list[Neurons],
    weights: Callable[[Neurons], Tensor],
) -> list[Tensor]:
    """The weights of the walk, on the network's device, kept with the patterns for the next picture."""
    cache: dict[Any, Tensor] = {} if patterns is None else patterns.cache(key)
    found = []
    for n in layers:
        if n.name not in cache:
            made = n.stored(weights(n)).to(net.device, n.weight.dtype)
            own = n.node.args.get("weight")
            if isinstance(own, Tensor) and own.dim() == 4 and own.is_contiguous(memory_format=torch.channels_last):
                made = made.contiguous(memory_format=torch.channels_last)
            cache[n.name] = made
        found.append(cache[n.name])
    return found


# -- rules --


def _replaced(n: Neurons, weight: Tensor) -> Rule:
    """The transposed operation with other weights."""
    if n.kind == "add":
        return Rule(
            lambda signal, at: [signal * _along(weight[:, i], signal) for i in range(len(at.node.inputs))],
            loses=_to_patterns,
        )
    if n.kind == "pool":
        return Rule(lambda signal, at: at.by_autograd(signal, _pooling(n, weight)), loses=_to_patterns)
    return Rule(lambda signal, at: at.adjoint(signal, weight=weight), loses=_to_patterns)


def _labelled(n: Neurons, rule: Rule) -> Rule:
    if n.kind != "conv_transpose":
        return rule
    return rule.labelled("a transposed convolution has neurons for each phase of its stride")


def _to_patterns(node: Node) -> str:
    """What a neuron does not hand on: w^T a = 1 up to what falls on padding, and for patterns that were fitted."""
    return "padding and patterns" if _reads_padding(node) else "patterns"


def _reads_padding(node: Node) -> bool:
    """Tell whether outputs at the border read zeros beyond the map."""
    padding = node.args.get("padding") or ()
    if not node.kind.startswith("conv_transpose"):
        return any(padding)
    axes = zip(node["weight"].shape[2:], node["dilation"], padding, node["output_padding"], node["stride"], strict=True)
    return any((k - 1) * d - p + extra >= s for k, d, p, extra, s in axes)


def _along(channels: Tensor, signal: Tensor) -> Tensor:
    return channels.reshape(-1, *[1] * (signal.dim() - 2)).to(signal)


def _pooling(n: Neurons, weight: Tensor) -> Callable[..., Tensor]:
    """A pool with another kernel for each channel, with the arguments of the pool."""
    stride = n.node.args.get("stride", tuple(weight.shape[2:]))

    def pool(x: Tensor, *_: Any, **__: Any) -> Tensor:
        found = F.conv2d(x, weight.to(x), stride=stride, groups=x.shape[1])
        return found if len(n.node.shape) == 3 else found.flatten(1)

    return pool


def _identity(n: Neurons, *, attribution: bool) -> Rule:
    """All of the input is signal: S_x(x) = x, for each neuron in proportion to what arrives at it.

    As attribution w x / y, LRP's z rule (Bach et al. 2015, eq. 56) without biases.
    """

    def backward(signal: Tensor, at: At) -> Parts:
        values = [at.value(i) for i in at.node.inputs]
        if n.kind == "add":
            w = [n.weight[0, i].item() for i in range(2)]
            y = sum(v * k for v, k in zip(values, w, strict=True))
            s = _ratio(signal, torch.as_tensor(y))
            return [v * s * (k if attribution else 1.0) for v, k in zip(values, w, strict=True)]
        x = values[0]
        if n.kind == "pool":
            kernel = n.weight.to(x)
            y = _pooling(n, kernel)(x)
            used = kernel if attribution else torch.ones_like(kernel)
            (part, *_) = at.by_autograd(_ratio(signal, y), _pooling(n, used))
            return [None if part is None else x * part]
        y = at.compute(x, bias=None)
        weight = at.node["weight"]
        return x * at.adjoint(_ratio(signal, y), weight=weight if attribution else torch.ones_like(weight))

    return Rule(backward, inputs, loses=goes_to(NOTHING))


def _ratio(signal: Tensor, y: Tensor) -> Tensor:
    """Signal / y, 0 where y is 0."""
    return torch.where(y == 0, 0.0, signal / torch.where(y == 0, 1.0, y))


def _inverse(signal: Tensor, at: At) -> Parts:
    gain = at.adjoint(torch.ones_like(signal))
    return _ratio(signal, gain)


#: A neuron with one input y = g x: its pattern is 1 / g, whatever the data.
INVERSE = Rule(_inverse)
