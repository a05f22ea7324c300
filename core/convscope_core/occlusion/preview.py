"""The preview of an occlusion map: its estimate to first order, by the gradient."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from convscope_core.occlusion.occluder import Occlusion

__all__ = ["Preview", "first_order"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Preview:
    """An occlusion map to first order in the change that the occluder makes.

    One backward pass instead of a forward pass a position. For an occluder that changes much it is no more than a
    guess at where to look: the network is not linear. (EfficientNet-Lite0, one photograph of a cat, an occluder of
    50x50: the correlation with the exact probabilities is 0.3 to 0.5 for grey, mean and blur, and none for another
    picture as fill.)

    For the class, what is taken as linear is the log-odds log p - log(1 - p), of which the logistic function then
    makes a probability. The probability itself would leave 0..1; and where the network is sure of its class it is
    flat, so that its gradient shows next to nothing of any occluder.

    Attributes
    ----------
    probability : float32 array (rows, columns)
        Probability of the class `target`, 0..1.
    activity : float64 array (rows, columns)
        Activity of the unit `channel` of `layer`; NaN with no layer.
    """

    probability: npt.NDArray[np.float32]
    activity: npt.NDArray[np.float64]


def first_order(
    occlusion: Occlusion,
    size: tuple[int, int],
    stride: tuple[int, int],
    target: int,
    layer: str | None,
    channel: int | None,
) -> Preview | None:
    """Estimate an occlusion map by one backward pass.

    Parameters
    ----------
    occlusion : Occlusion
    size : (height, width)
        The occluder's size in pixels.
    stride : (down, across)
        Distance between positions in pixels.
    target : int
        Index of the class.
    layer : str or None
        The layer of the activity; None for no activity.
    channel : int or None
        The channel of that layer.

    Returns
    -------
    Preview or None
        None if the fill depends on the place, or the network has no derivative there, or memory for it is short.
    """
    if occlusion.fill_image is None:  # what it shows is no one picture whose difference could be summed
        return None

    def numbers(scores: Tensor, values: dict[str, Tensor]) -> list[Tensor]:
        log_odds = occlusion.net.squashing.log_odds(scores, target)
        return [log_odds] if layer is None else [log_odds, values[layer][0, channel].double().sum()]

    try:
        computed = occlusion.net.gradients(occlusion.image, numbers, [] if layer is None else [layer])
    except RuntimeError as e:  # no derivative, or no memory for it
        logger.info("no preview of the occlusion map: %s", e)
        return None
    change = (occlusion.fill_image - occlusion.image).cpu().double()
    mask = torch.tensor(occlusion.box_mask(size), dtype=torch.float64)[None, None]
    estimates = []
    for value, gradient in computed:
        share = (gradient.cpu().double() * change).sum(1, keepdim=True)
        # For every position at once: the sum of what each pixel under the mask contributes.
        estimates.append(value + torch.nn.functional.conv2d(share, mask, stride=stride)[0, 0])
    probability = estimates[0].sigmoid().float().numpy()
    activity = np.full(probability.shape, np.nan) if layer is None else estimates[1].numpy()
    return Preview(probability, activity)
