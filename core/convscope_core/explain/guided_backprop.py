"""Guided backprop."""

from __future__ import annotations

from convscope_core.explain.deconvnet import COVERED, LEAKY, RECTIFIERS, leaky
from convscope_core.explain.method import tabled
from convscope_core.explain.normalised import DIFFERENTIATED
from convscope_core.graph.backward import HELD_GATE, Table
from convscope_core.graph.normalisation import NORMALISATIONS
from convscope_core.network import Network

__all__ = ["guided_backprop"]


@tabled("guided_backprop", "signal", start="positive")
def guided_backprop(net: Network) -> Table:
    """Guided backprop: the gradient, of which every rectifier lets only positive parts through.

    At a rectifier (ReLU; ReLU6 without its ceiling) a part of the signal passes where both it and the forward value
    are positive. The walk starts from the explained value, from one where that is negative. All else is as in the
    gradient, but multiplicative gates are held constant. Local response normalisation is differentiated. Operations
    other than linear ones, rectifiers, max pools and gates (SiLU, GELU...) have no rule and are refused.

    Extended, and labelled: at a leaky rectifier (LeakyReLU, PReLU) negative parts of the signal are multiplied by its
    slope, and all by its derivative. A slope of 0 is the published rule, one of 1 the gradient's. Layer norms, group
    norms and similar ones are differentiated.

    References
    ----------
    J. T. Springenberg, A. Dosovitskiy, T. Brox, M. Riedmiller: Striving for Simplicity: The All Convolutional Net,
    ICLR workshop 2015, section 3.4.
    """
    del net
    rules = {
        **dict.fromkeys(("relu", "relu6"), RECTIFIERS[True, True]),
        **dict.fromkeys(LEAKY, leaky(rectify=True, forward_mask=True)),
        **dict.fromkeys(("mul", "div"), HELD_GATE),
        **dict.fromkeys(NORMALISATIONS, DIFFERENTIATED),
    }
    return Table("guided_backprop", rules, COVERED | {"local_response_norm"})
