"""Integrated gradients, computed by Captum."""

from __future__ import annotations

import torch
from torch import Tensor

from convscope_core.explain.method import Request, computed, require
from convscope_core.explain.options import require_choice, require_whole

__all__ = ["BASELINES", "integrated_gradients"]

#: Where the path begins: black, white, or the colour that is zero in the network's space (the mean of its training
#: data, after the usual normalisation).
BASELINES = ("black", "white", "mean")

_BATCH = 16


def baseline_of(request: Request, *, baseline: str = "black", steps: int = 50) -> Tensor:
    """Return the picture from which the path begins, (1, C, H, W)."""
    del steps
    require_choice(baseline, "baseline", BASELINES)
    if baseline == "mean":
        return torch.zeros_like(request.x)
    shade = torch.full(request.net.input_shape, 0.0 if baseline == "black" else 1.0)
    return request.net.to_network(shade).to(request.x)[None]


@computed("integrated_gradients", "attribution", "captum", baseline=baseline_of)
def integrated_gradients(request: Request, *, baseline: str = "black", steps: int = 50) -> Tensor:
    """Integrated gradients: the gradient, averaged on the way from a baseline, times the difference from it.

    The values sum to the score minus the baseline's, up to the error of the integral (Gauss-Legendre).

    Parameters
    ----------
    request : Request
    baseline : {"black", "white", "mean"}, default "black"
        The picture from which the path begins.
    steps : int, default 50
        Points of the integral, at least 1.

    References
    ----------
    M. Sundararajan, A. Taly, Q. Yan: Axiomatic Attribution for Deep Networks, ICML 2017, section 3.
    """
    require_whole(steps, "steps", 1)
    captum = require("captum.attr", "integrated_gradients")
    x = request.x.clone()
    found: Tensor = captum.IntegratedGradients(request.scores).attribute(
        x, baselines=baseline_of(request, baseline=baseline), n_steps=steps, internal_batch_size=_BATCH
    )
    return found
