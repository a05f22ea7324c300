"""Input times gradient."""

from __future__ import annotations

from convscope_core.explain.method import tabled
from convscope_core.graph.backward import GRADIENT, Table
from convscope_core.network import Network

__all__ = ["input_times_gradient"]


@tabled("input_times_gradient", "attribution", start="one", times_input=True)
def input_times_gradient(net: Network) -> Table:
    """Gradient, multiplied by the input.

    For a network of linear operations, rectifiers and max pools without biases the values sum to the explained score,
    and equal LRP-epsilon with an epsilon of zero. The input is that in network space, so that after the usual
    normalisation a pixel of the mean colour gets nothing.

    References
    ----------
    A. Shrikumar, P. Greenside, A. Shcherbina, A. Kundaje: Not Just a Black Box: Learning Important Features Through
    Propagating Activation Differences, arXiv:1605.01713, 2016; the relation to LRP is in its section 3.3 and in P.-J.
    Kindermans et al., arXiv:1611.07270, 2016.
    """
    del net
    return GRADIENT
