"""The gradient."""

from __future__ import annotations

from convscope_core.explain.method import tabled
from convscope_core.graph.backward import GRADIENT, Table
from convscope_core.network import Network

__all__ = ["gradient"]


@tabled("gradient", "function", start="one")
def gradient(net: Network) -> Table:
    """Gradient of the explained value.

    The derivative of the class score, not of the probability, with respect to every input value, exactly as autograd
    gives it.

    References
    ----------
    K. Simonyan, A. Vedaldi, A. Zisserman: Deep Inside Convolutional Networks: Visualising Image Classification Models
    and Saliency Maps, ICLR workshop 2014, section 3 (there followed by the largest magnitude over the colours; here
    signed, for every colour).
    """
    del net
    return GRADIENT
