"""Deep Taylor decomposition."""

from __future__ import annotations

from convscope_core.explain.deconvnet import LEAKY, PASS
from convscope_core.explain.lrp import AVERAGES, CONVOLUTIONS, GATED, RULES, SINGLE, first_layers, proportional, shared
from convscope_core.explain.method import tabled
from convscope_core.explain.normalised import IDENTITY
from convscope_core.explain.options import require_flag
from convscope_core.graph.backward import ROUTING, SWITCHED, Table
from convscope_core.graph.normalisation import NORMALISATIONS
from convscope_core.network import Network

__all__ = ["deep_taylor"]


@tabled("deep_taylor", "attribution", start="positive")
def deep_taylor(net: Network, *, bounded: bool = True) -> Table:
    """Deep Taylor decomposition: each rectified neuron expanded about a root point of its own.

    For layers that follow rectifiers the root point gives the z+ rule, without biases; for the first layer, of a
    picture between black and white, the z^B rule (z-box), of unbounded input the w² rule. Sums, average pools and
    up-sampling (but for bicubic, whose weights may be negative) share in proportion; max pools give all to the winner.
    What is decomposed is a positive score; of a negative one the walk starts from one. The theory asks for biases that
    are not positive, which trained networks do not have. It is defined for networks of rectifiers: leaky ones let
    relevance pass, and so do layer norms, group norms and similar ones (Achtibat et al. 2024), which is labelled. Other
    activations are refused.

    Parameters
    ----------
    net : Network
    bounded : bool, default True
        Whether the first layer knows that the picture lies between black and white.

    References
    ----------
    G. Montavon, S. Lapuschkin, A. Binder, W. Samek, K.-R. Müller: Explaining NonLinear Classification Decisions with
    Deep Taylor Decomposition, Pattern Recognition 65, 2017, sections 4 and 5.
    """
    require_flag(bounded, "bounded")
    options = {"epsilon": 1e-6, "bias": False}
    hidden = RULES["z_plus"](net, **options)
    first = [
        (n, RULES["z_box" if bounded and len(n.inputs[0].shape) == 3 else "w_squared"](net, **options))
        for n in first_layers(net.graph)
    ]
    rules = {
        **dict.fromkeys((*CONVOLUTIONS, "linear"), hidden),
        **dict.fromkeys(AVERAGES, proportional(1e-6)),
        **dict.fromkeys(("add", "sub"), shared(1e-6)),
        **dict.fromkeys((*SINGLE, "relu", "relu6", "local_response_norm"), PASS),
        **dict.fromkeys(LEAKY, PASS.labelled("leaky rectifiers let relevance pass")),
        **dict.fromkeys(("mul", "div"), GATED),
        **dict.fromkeys(NORMALISATIONS, IDENTITY),
    }
    return Table("deep_taylor", rules, ROUTING | SWITCHED, dict(first))
