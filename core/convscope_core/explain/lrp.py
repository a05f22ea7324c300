"""Layer-wise relevance propagation: the score, handed down in shares.

A neuron's relevance goes to its inputs in proportion to what they contribute to it, c = x * w; the rules differ in
which contributions count. Elementwise activations let relevance pass (Bach et al. 2015, section 2.4: a neuron's
relevance is that of its pre-activation), max pools give it to the winner, sums and averages share it in proportion.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from convscope_core.errors import ArgumentError
from convscope_core.explain.deconvnet import PASS
from convscope_core.explain.method import tabled
from convscope_core.explain.normalised import HELD, IDENTITY
from convscope_core.explain.options import require_choice, require_flag, require_number
from convscope_core.graph.backward import (
    AVERAGING,
    HELD_GATE,
    ROUNDING,
    ROUTING,
    SWITCHED,
    UPSAMPLING,
    At,
    Parts,
    Rule,
    Table,
    gate_of,
    inputs,
)
from convscope_core.graph.node import Graph, Node
from convscope_core.graph.normalisation import NORMALISATIONS, transposed
from convscope_core.graph.ops import ACTIVATIONS
from convscope_core.network import Network

__all__ = [
    "AVERAGES", "CONVOLUTIONS", "GATED", "PRESETS", "RULES", "SINGLE", "first_layers", "lrp", "proportional", "shared",
]  # fmt: skip

CONVOLUTIONS = ("conv", "conv1d", "conv3d", "conv_transpose", "conv_transpose1d", "conv_transpose3d")

#: Operations of which each output has one input: all relevance is that input's, whatever is added or multiplied. (Own
#: decision for what is added: it gets no share. Batch norm is here only where it could not be folded.)
SINGLE = ("batch_norm", "shift", "scale", "aten.neg", "aten.rsub")

#: Averages and sums, none with a negative weight.
AVERAGES = (
    "avg_pool", "adaptive_avg_pool", "mean", "aten.sum", "aten.avg_pool1d", "aten.avg_pool3d", "aten.col2im",
    *sorted(AVERAGING),
)  # fmt: skip

#: Presets: rules for convolutions, for linear layers, and for the first layer where it has one of its own.
PRESETS: Mapping[str, tuple[str, str, str | None]] = {
    "epsilon": ("epsilon", "epsilon", None),
    "epsilon_plus": ("z_plus", "epsilon", None),
    "epsilon_plus_flat": ("z_plus", "epsilon", "flat"),
    "epsilon_alpha2_beta1": ("alpha_beta", "epsilon", None),
    "epsilon_alpha2_beta1_flat": ("alpha_beta", "epsilon", "flat"),
    "epsilon_gamma_box": ("gamma", "epsilon", "z_box"),
}


@tabled("lrp", "attribution", start="value")
def lrp(
    net: Network,
    *,
    preset: str = "epsilon_plus_flat",
    conv: str | None = None,
    dense: str | None = None,
    first: str | None = None,
    epsilon: float = 1e-6,
    gamma: float = 0.25,
    alpha: float = 2.0,
    beta: float = 1.0,
    bias: bool = True,
    normalisation: str = "identity",
) -> Table:
    """LRP: relevance, shared out layer by layer in proportion to contributions.

    Where no bias and no epsilon takes a share, and no denominator vanishes, the values sum to the explained score.
    Residual sums and average pools share in proportion to their operands; of a multiplicative gate and the map it
    scales, the map takes all (Arras et al. 2017); response normalisation lets relevance pass (own decision).

    Parameters
    ----------
    net : Network
    preset : str, default "epsilon_plus_flat"
        Which rule for convolutions / linear layers / the first layer:

        - "epsilon": epsilon everywhere (Bach et al. 2015, eq. 58);
        - "epsilon_plus": z+ / epsilon;
        - "epsilon_plus_flat": z+ / epsilon / flat;
        - "epsilon_alpha2_beta1": alpha-beta / epsilon (Kohlbrenner et al. 2020, "LRP-CMP");
        - "epsilon_alpha2_beta1_flat": alpha-beta / epsilon / flat (the same);
        - "epsilon_gamma_box": gamma / epsilon / z-box (Montavon et al. 2019, section 10.3).

        The names are those of zennit (Anders et al. 2021).
    conv, dense, first : str, optional
        Rules in place of the preset's: "epsilon", "gamma", "z_plus", "alpha_beta", "z_box", "w_squared", "flat".
    epsilon : float, default 1e-6
        What is added to denominators, with their sign, at least 0. The alpha-beta rule is as published with 0.
    gamma : float, default 0.25
        How much more contributions of an output's own sign count under the gamma rule, at least 0.
    alpha, beta : float, default 2 and 1
        Weights of positive and negative contributions; alpha - beta = 1.
    bias : bool, default True
        Whether biases take their share of relevance (which is then lost), as in the papers.
    normalisation : {"identity", "held"}, default "identity"
        What layer norms, group norms and the like do, which the papers above do not speak of (results are labelled):
        relevance stays where it is (Achtibat et al. 2024, identity rule), so that none is lost and none turns its sign;
        or the epsilon rule, for the linear operation that is left when the standard deviation is held constant (Ali et
        al. 2022, LN-rule), where a map's mean takes relevance too.

    References
    ----------
    S. Bach, A. Binder, G. Montavon, F. Klauschen, K.-R. Müller, W. Samek: On Pixel-Wise Explanations for Non-Linear
    Classifier Decisions by Layer-Wise Relevance Propagation, PLoS ONE 10(7), 2015.
    G. Montavon, A. Binder, S. Lapuschkin, W. Samek, K.-R. Müller: Layer-Wise Relevance Propagation: An Overview, in:
    Explainable AI, LNCS 11700, 2019.
    M. Kohlbrenner, A. Bauer, S. Nakajima, A. Binder, W. Samek, S. Lapuschkin: Towards Best Practice in Explaining
    Neural Network Decisions with LRP, IJCNN 2020.
    L. Andéol, Y. Kawakami, Y. Wada, T. Kanamori, K.-R. Müller, G. Montavon: Learning Domain Invariant Representations
    by Joint Wasserstein Distance Minimization, 2021 (the gamma rule for any sign).
    L. Arras, G. Montavon, K.-R. Müller, W. Samek: Explaining Recurrent Neural Network Predictions in Sentiment
    Analysis, WASSA 2017.
    A. Ali, T. Schnake, O. Eberle, G. Montavon, K.-R. Müller, L. Wolf: XAI for Transformers: Better Explanations through
    Conservative Propagation, ICML 2022.
    R. Achtibat, S. M. V. Hatefi, M. Dreyer, A. Jain, T. Wiegand, S. Lapuschkin, W. Samek: AttnLRP: Attention-Aware
    Layer-Wise Relevance Propagation for Transformers, ICML 2024.
    """
    require_choice(preset, "preset", PRESETS)
    for name, value in (("epsilon", epsilon), ("gamma", gamma), ("alpha", alpha), ("beta", beta)):
        require_number(value, name)
    if abs(alpha - beta - 1) > 1e-9:
        raise ArgumentError(f"Expected alpha - beta = 1, so that relevance is kept, got {alpha!r} and {beta!r}.")
    require_flag(bias, "bias")
    require_choice(normalisation, "normalisation", ("identity", "held"))
    made: dict[str, Rule] = {}

    def rule(name: str) -> Rule:
        require_choice(name, "a rule", RULES)
        if name not in made:
            made[name] = RULES[name](net, epsilon=epsilon, gamma=gamma, alpha=alpha, beta=beta, bias=bias)
        return made[name]

    for_conv, for_dense, for_first = PRESETS[preset]
    for_first = first or for_first
    special = {} if for_first is None else dict.fromkeys(first_layers(net.graph), rule(for_first))
    rules = {
        **dict.fromkeys(CONVOLUTIONS, rule(conv or for_conv)),
        "linear": rule(dense or for_dense),
        **dict.fromkeys((*AVERAGES, *UPSAMPLING), proportional(epsilon)),
        **dict.fromkeys(("add", "sub"), shared(epsilon)),
        **dict.fromkeys((*SINGLE, *ACTIVATIONS, "local_response_norm"), PASS),
        **dict.fromkeys(("mul", "div"), GATED),
        **dict.fromkeys(NORMALISATIONS, IDENTITY if normalisation == "identity" else _held(epsilon, bias=bias)),
    }
    return Table("lrp", rules, ROUTING | SWITCHED, special)


def first_layers(graph: Graph) -> list[Node]:
    """Return the layers with weights that no other layer with weights comes before."""
    weighted = {*CONVOLUTIONS, "linear"}
    after: set[Node] = set()
    found = []
    for n in graph:
        seen = any(i in after for i in n.inputs)
        if n.kind in weighted:
            if not seen:
                found.append(n)
            seen = True
        if seen:
            after.add(n)
    return found


# -- rules for layers with weights --


def _biases(bias: bool) -> Callable[[Node], str]:
    """Where the relevance goes that an operation's inputs do not get: to its bias, if that takes a share."""
    return lambda node: "biases" if bias and node.args.get("bias") is not None else ROUNDING


def _epsilon(net: Network, *, epsilon: float, bias: bool, **_: Any) -> Rule:
    """R_i = sum over j of c_ij / (z_j + epsilon sign z_j) R_j with z_j = sum_i c_ij + b_j. Bach et al. 2015, eq. 58."""
    del net

    def backward(signal: Tensor, at: At) -> Parts:
        x = at.input
        z = at.compute(x, **_without(bias))
        return x * at.adjoint(_divided(at, signal, z, epsilon))

    return Rule(backward, inputs, loses=_biases(bias))


def _gamma(net: Network, *, gamma: float, epsilon: float, bias: bool, **_: Any) -> Rule:
    """As epsilon, with contributions of the output's own sign counted 1 + gamma times.

    Montavon et al. 2019, section 10.2.1, has w + gamma max(w, 0), for inputs and outputs that are not negative. For any
    input that is c + gamma max(c, 0) for every contribution c. Under an output below zero it would favour what speaks
    against the output, and the sum by which is divided could be zero for an output that is not: there negative
    contributions are favoured, as in Andéol et al. 2021 (and zennit).
    """
    del net

    def backward(signal: Tensor, at: At) -> Parts:
        x, b = at.input, at.node["bias"] if bias else None
        z = at.compute(x, **_without(bias))
        parts = torch.zeros_like(x)
        for sign, side in ((1, z > 0), (-1, z < 0)):
            mine = torch.where(side, signal, 0.0)
            if sign < 0 and not bool(mine.any()):  # of a rectified layer, nothing is asked below zero
                continue
            s = _divided(at, mine, z + gamma * _summed(at, x, b, sign), epsilon)
            parts = parts + x * at.adjoint(s) + gamma * _shares(at, x, s, sign)
        at.lost(NOTHING, lambda: torch.where(z == 0, signal, 0.0))
        return parts

    return Rule(backward, inputs, loses=_biases(bias))


def _alpha_beta(net: Network, *, alpha: float, beta: float, epsilon: float, bias: bool, **_: Any) -> Rule:
    """R_i = sum over j of (alpha c_ij+ / z_j+ - beta c_ij- / z_j-) R_j. Bach et al. 2015, eq. 60.

    With epsilon in the denominators, as in the epsilon rule (and zennit); with 0, as published.
    """
    del net

    def backward(signal: Tensor, at: At) -> Parts:
        x, b = at.input, at.node["bias"] if bias else None
        found = torch.zeros_like(x)
        for sign, weight in ((1, alpha), (-1, -beta)):
            if weight:
                s = _divided(at, weight * signal, _summed(at, x, b, sign), epsilon)
                found = found + _shares(at, x, s, sign)
        return found

    return Rule(backward, inputs, loses=_biases(bias))


def _z_plus(net: Network, **options: Any) -> Rule:
    """Positive contributions only: alpha-beta with 1 and 0. The z+ rule of Montavon et al. 2017, for any input."""
    return _alpha_beta(net, **{**options, "alpha": 1.0, "beta": 0.0})


def _z_box(net: Network, *, epsilon: float, **_: Any) -> Rule:
    """R_i = sum over j of (c_ij - l_i w_ij+ - h_i w_ij-) / (their sum over i) R_j. The z^B rule.

    l and h are the lowest and highest values that the layer's input can have: those of a black and a white picture, as
    they come to the layer, whatever the network does to a picture before. For the first layer. Montavon et al. 2017,
    deep Taylor decomposition with a root point within the range of pixels.
    """
    bounds: dict[Node, tuple[Tensor, Tensor]] = {}

    def backward(signal: Tensor, at: At) -> Parts:
        x, w = at.input, at.node["weight"]
        before = at.node.inputs[0]
        if before not in bounds:
            bounds[before] = _bounds(net, before)
        low, high = (at.placed(v.to(x)) for v in bounds[before])
        parts = [(x, w, 1.0), (low, w.clamp(min=0), -1.0), (high, w.clamp(max=0), -1.0)]
        z = sum(sign * at.compute(v, weight=u, bias=None) for v, u, sign in parts)
        s = _divided(at, signal, torch.as_tensor(z), epsilon)
        found: Tensor = torch.as_tensor(sum(sign * v * at.adjoint(s, weight=u) for v, u, sign in parts))
        return found

    return Rule(backward, inputs, refuses=_unbounded)


#: Operations before the first layer that map the range of a value onto a range, place by place.
_MONOTONE = ROUTING | {"batch_norm", "shift", "scale", "aten.neg", "aten.rsub", "relu", "relu6", "clamp", "hardtanh"}


def _unbounded(node: Node) -> str | None:
    """Tell why the range of a layer's input does not follow from that of pixels."""
    if len(node.inputs[0].shape) != 3:
        return "no z-box for a vector"
    stack = [node.inputs[0]]
    while stack:
        n = stack.pop()
        if n.kind not in ("input", "size") and n.kind not in _MONOTONE:
            return f"no z-box for a layer behind {n.kind}"
        stack.extend(n.inputs)
    return None


def _bounds(net: Network, node: Node) -> tuple[Tensor, Tensor]:
    """Return the lowest and the highest value of a node for pictures between black and white: (1, *shape) each."""
    shades = [net.to_network(torch.full(net.input_shape, v)) for v in (0.0, 1.0)]
    black, white = (net.values(shade[None], [node])[node] for shade in shades)
    return torch.minimum(black, white), torch.maximum(black, white)


def _w_squared(net: Network, **_: Any) -> Rule:
    """R_i = sum over j of w_ij² / (sum over i of w_ij²) R_j, the w² rule of Montavon et al. 2017."""
    del net
    return _by_weights(lambda w: w**2)


def _flat(net: Network, **_: Any) -> Rule:
    """Every input of a neuron gets the same. Lapuschkin et al. 2019 (for the first layer); Montavon et al. 2019."""
    del net
    return _by_weights(torch.ones_like)


def _by_weights(change: Callable[[Tensor], Tensor]) -> Rule:
    def backward(signal: Tensor, at: At) -> Parts:
        w = change(at.node["weight"])
        ones = at.ones()
        z = at.compute(ones, weight=w, bias=None)
        return ones * at.adjoint(_safe(at, signal, z), weight=w)

    return Rule(backward)


RULES: Mapping[str, Callable[..., Rule]] = {
    "epsilon": _epsilon,
    "gamma": _gamma,
    "z_plus": _z_plus,
    "alpha_beta": _alpha_beta,
    "z_box": _z_box,
    "w_squared": _w_squared,
    "flat": _flat,
}
"""Rules for layers with weights, by name."""


# -- rules for operations without weights --


def proportional(epsilon: float) -> Rule:
    """Return the epsilon rule for averages and similar operations."""

    def backward(signal: Tensor, at: At) -> Parts:
        x = at.input
        return x * at.adjoint(_divided(at, signal, at.compute(x), epsilon))

    return Rule(backward, inputs)


def shared(epsilon: float) -> Rule:
    """Return the epsilon rule for sums and differences of maps: each operand gets its share."""

    def backward(signal: Tensor, at: At) -> Parts:
        n = at.node
        a, b = (at.value(i) for i in n.inputs)
        b = b * n["alpha"] * (1 if n.kind == "add" else -1)
        s = _divided(at, signal, a + b, epsilon)
        return [(v * s).sum_to_size(v.shape) for v in (a, b)]

    return Rule(backward, inputs)


def _held(epsilon: float, *, bias: bool) -> Rule:
    """Return the epsilon rule for normalisations, linear as they are once the standard deviation is held constant."""

    def backward(signal: Tensor, at: At) -> Parts:
        x, b = at.input, at.node.args.get("bias")
        z = at.compute(x)
        if b is not None and not bias:
            z = z - (b.reshape(-1, *[1] * (z.dim() - 2)) if at.node.kind in ("group_norm", "instance_norm") else b)
        return x * transposed(at.node, x, _divided(at, signal, z, epsilon))

    return Rule(backward, inputs, loses=_biases(bias)).labelled(HELD)


def _take_all(signal: Tensor, at: At) -> Parts:
    found = gate_of(at.node)
    assert found is not None
    parts: list[Tensor | None] = [None, None]
    parts[found.map] = signal
    return parts


#: The map takes all relevance, the gate that scales it none.
GATED = Rule(_take_all, reaches=HELD_GATE.reaches, refuses=HELD_GATE.refuses, extends=HELD_GATE.extends)


# -- arithmetic --


def _without(bias: bool) -> dict[str, None]:
    return {} if bias else {"bias": None}


#: Where the relevance of a neuron goes to which nothing contributed.
NOTHING = "neurons without contributions"


def _divided(at: At, signal: Tensor, z: Tensor, epsilon: float) -> Tensor:
    """Return signal / (z + epsilon sign z), where the sign of 0 is 1; 0 where that is still divided by 0."""
    if not epsilon:
        return _safe(at, signal, z)
    moved = z + torch.where(z < 0, -epsilon, epsilon)
    s = signal / moved
    at.lost("epsilon", lambda: s * (moved - z))
    return s


def _safe(at: At, signal: Tensor, z: Tensor) -> Tensor:
    """Return signal / z, 0 where z is 0 (no contribution of that sign)."""
    at.lost(NOTHING, lambda: torch.where(z == 0, signal, 0.0))
    return torch.where(z == 0, 0.0, signal / torch.where(z == 0, 1.0, z))


def _halves(x: Tensor) -> list[tuple[Tensor, int]]:
    """Return the positive part of the input and, if there is one, the negative part."""
    above = [(x.clamp(min=0), 1)]
    return above if bool((x >= 0).all()) else [*above, (x.clamp(max=0), -1)]


def _signed(w: Tensor, sign: int) -> Tensor:
    return w.clamp(min=0) if sign > 0 else w.clamp(max=0)


def _summed(at: At, x: Tensor, bias: Tensor | None, sign: int) -> Tensor:
    """Return, for each output, the sum of the contributions of one sign, the bias's among them."""
    w = at.node["weight"]
    total, *rest = [
        at.compute(half, weight=_signed(w, sign * mine), bias=None if k or bias is None else _signed(bias, sign))
        for k, (half, mine) in enumerate(_halves(x))
    ]
    return total if not rest else total + rest[0]


def _shares(at: At, x: Tensor, s: Tensor, sign: int) -> Tensor:
    """Return the sum over outputs of s times the contributions of one sign."""
    w = at.node["weight"]
    parts = [half * at.adjoint(s, weight=_signed(w, sign * mine)) for half, mine in _halves(x)]
    return parts[0] if len(parts) == 1 else parts[0] + parts[1]
