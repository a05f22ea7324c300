"""SmoothGrad, computed by Captum."""

from __future__ import annotations

import torch
from torch import Tensor

from convscope_core.explain.method import Request, computed, require
from convscope_core.explain.options import require_number, require_whole

__all__ = ["smoothgrad"]

_BATCH = 16


@computed("smoothgrad", "function", "captum")
def smoothgrad(request: Request, *, samples: int = 50, noise: float = 0.15, seed: int = 0) -> Tensor:
    """SmoothGrad: the mean of the gradients at noisy copies of the picture.

    Parameters
    ----------
    request : Request
    samples : int, default 50
        Noisy copies, at least 1.
    noise : float, default 0.15
        Standard deviation of the Gaussian noise, as a share of the range of the picture's values; the paper finds 10 %
        to 20 % to work well.
    seed : int, default 0
        Seed of the noise.

    References
    ----------
    D. Smilkov, N. Thorat, B. Kim, F. Viégas, M. Wattenberg: SmoothGrad: Removing Noise by Adding Noise,
    arXiv:1706.03825, 2017, section 3.
    """
    require_whole(samples, "samples", 1)
    require_number(noise, "noise")
    require_whole(seed, "seed", 0)
    captum = require("captum.attr", "smoothgrad")
    x = request.x.clone()
    spread = noise * float(x.max() - x.min())
    gradient = captum.NoiseTunnel(captum.Saliency(request.scores))
    with torch.random.fork_rng([x.device] if x.device.type == "cuda" else []):
        torch.manual_seed(seed)
        found: Tensor = gradient.attribute(
            x,
            nt_type="smoothgrad",
            nt_samples=samples,
            nt_samples_batch_size=min(samples, _BATCH),
            stdevs=spread,
            abs=False,
        )
    return found
