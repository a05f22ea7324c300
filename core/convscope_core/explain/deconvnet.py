"""The deconvnet."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from convscope_core.explain.method import tabled
from convscope_core.explain.normalised import TRANSPOSED
from convscope_core.explain.options import require_choice, require_flag
from convscope_core.graph.backward import HELD_GATE, LINEAR, SWITCHED, At, Parts, Rule, Table, inputs, output
from convscope_core.graph.normalisation import NORMALISATIONS
from convscope_core.network import Network

__all__ = ["COVERED", "LEAKY", "PASS", "RECTIFIERS", "deconvnet", "leaky"]

#: Operations like the paper's, on which the signal goes through the transposed operation (filters
#: transposed, no bias; average pools spread, concatenations split) or back through the switches.
COVERED = LINEAR | SWITCHED


@tabled("deconvnet", "signal", start="positive")
def deconvnet(
    net: Network,
    *,
    switches: bool = True,
    rectify: bool = True,
    forward_mask: bool = False,
    response_norm: str = "identity",
) -> Table:
    """Deconvnet: filters transposed, pools undone by their switches, the signal rectified at every rectifier.

    The walk starts from the explained unit's own value, all others zero; from one where that value is negative, as what
    is passed on is how strong an activation was. At a rectifier (ReLU, and ReLU6 without
    its ceiling) negative parts of the signal are dropped, whatever the forward pass did there; response normalisation
    is left out; biases are not added. Where pooling windows overlap, what they send to one position adds. Max pools
    whose largest values tie take the first position. Multiplicative gates are held constant. Anything else, such
    as SiLU or GELU, has no rule and is refused.

    Extended, and labelled: at a leaky rectifier (LeakyReLU, PReLU) the signal passes through that very function, as at
    a rectifier it passes through the rectifier; with `forward_mask` it is multiplied by the derivative besides. A slope
    of 0 is the published rule, one of 1 that of a linear operation. Layer norms, group norms and similar ones are the
    linear operations that they are once their standard deviation is held constant (Ali et al. 2022).

    Without pooling the result depends on the picture through the unit's value alone: all that it knows of the
    picture it has from the switches.

    Parameters
    ----------
    net : Network
    switches : bool, default True
        Whether max pools are undone by their switches; if not, each value goes to the centre of its window
        (one of the variants of Mahendran & Vedaldi 2016).
    rectify : bool, default True
        Whether rectifiers drop the negative parts of the signal.
    forward_mask : bool, default False
        Whether rectifiers, besides, let through only what was positive in the forward pass. With `rectify` this is
        guided backprop, alone the gradient. Zeiler & Fergus tried it and found pictures significantly less clear
        (footnote 1).
    response_norm : {"identity", "gradient"}, default "identity"
        What local response normalisation does with the signal: nothing, as in the paper, or its derivative.

    References
    ----------
    M. D. Zeiler, R. Fergus: Visualizing and Understanding Convolutional Networks, ECCV 2014, section 2.1.
    A. Mahendran, A. Vedaldi: Salient Deconvolutional Networks, ECCV 2016.
    A. Ali, T. Schnake, O. Eberle, G. Montavon, K.-R. Müller, L. Wolf: XAI for Transformers: Better Explanations through
    Conservative Propagation, ICML 2022.
    """
    del net
    for name, value in (("switches", switches), ("rectify", rectify), ("forward_mask", forward_mask)):
        require_flag(value, name)
    require_choice(response_norm, "response_norm", ("identity", "gradient"))
    rules = {
        **dict.fromkeys(("relu", "relu6"), RECTIFIERS[rectify, forward_mask]),
        **dict.fromkeys(LEAKY, leaky(rectify=rectify, forward_mask=forward_mask)),
        **dict.fromkeys(("mul", "div"), HELD_GATE),
        **dict.fromkeys(NORMALISATIONS, TRANSPOSED),
    }
    exact = COVERED
    if response_norm == "identity":
        rules["local_response_norm"] = PASS
    else:
        exact = exact | {"local_response_norm"}
    if not switches:
        rules["max_pool"] = CENTRED
        exact = exact - SWITCHED
    return Table("deconvnet", rules, exact)


def _positive(signal: Tensor, at: At) -> Parts:
    del at
    return signal.clamp(min=0)


def _masked(signal: Tensor, at: At) -> Parts:
    return torch.where(at.output > 0, signal, 0.0)


def _positive_masked(signal: Tensor, at: At) -> Parts:
    return torch.where(at.output > 0, signal.clamp(min=0), 0.0)


def _pass(signal: Tensor, at: At) -> Parts:
    return signal.sum_to_size(at.shape(at.node.inputs[0]))


#: The signal as it is; where a constant spreads a map, what goes to the copies of a value meets again in the value.
PASS = Rule(_pass)

#: What a rectifier does with the signal, by (drop what is negative in it, drop what was negative in the forward pass):
#: the table of section 1.1 in Springenberg et al. 2015.
RECTIFIERS = {
    (True, False): Rule(_positive),
    (True, True): Rule(_positive_masked, output),
    (False, True): Rule(_masked, output),
    (False, False): PASS,
}


#: Rectifiers that let a share of what is negative through.
LEAKY = ("leaky_relu", "prelu")


def leaky(*, rectify: bool, forward_mask: bool) -> Rule:
    """Return what a leaky rectifier does with the signal: `RECTIFIERS`, where what is dropped is weakened instead."""

    def backward(signal: Tensor, at: At) -> Parts:
        if rectify:
            signal = at.compute(signal)
        return at.exact(signal) if forward_mask else signal

    rule = Rule(backward, inputs) if forward_mask else Rule(backward)
    return rule.labelled("leaky rectifiers weaken what rectifiers drop")


def _to_centre(signal: Tensor, at: At) -> Parts:
    return at.by_autograd(signal, _centres)


#: Unpooling without switches: to the centre of each window.
CENTRED = Rule(_to_centre, inputs)


def _centres(x: Tensor, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool) -> Tensor:
    """Return the middle of every window of a max pool (of even windows the upper left of the four)."""
    shape = torch.ops.aten.max_pool2d(x[:1, :1], kernel, stride, padding, dilation, ceil_mode).shape[2:]
    parts = []
    for a in (0, 1):
        first = dilation[a] * ((kernel[a] - 1) // 2) - padding[a]
        parts.append(torch.arange(shape[a], device=x.device) * stride[a] + first)
    inside = [p.clamp(0, n - 1) for p, n in zip(parts, x.shape[2:], strict=True)]
    values = x[:, :, inside[0]][:, :, :, inside[1]]
    there = [(p == q).to(x.dtype) for p, q in zip(parts, inside, strict=True)]
    centres: Tensor = values * there[0][:, None] * there[1]
    return centres
