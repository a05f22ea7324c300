"""The first pictures as they are transformed, small: the first column of the paper's figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL.Image
from torch import Tensor

from convscope_core.experiments.invariance.pictures import Varied
from convscope_core.experiments.invariance.transforms import Transform
from convscope_core.network import Network

__all__ = ["PLACES", "SHOWN", "SIDE", "places_of", "strip_of"]

SHOWN, PLACES, SIDE = 5, 5, 64
"""Pictures, as in the paper; values of each transformation; pixels."""


def places_of(transform: Transform) -> list[int]:
    """Return the places of the values that are shown: evenly from the first to the last."""
    return [round(float(place)) for place in np.linspace(0, len(transform.values) - 1, PLACES)]


def strip_of(
    net: Network, varied: Varied, canvas: Tensor, transforms: Sequence[Transform], image: int
) -> npt.NDArray[Any]:
    """Return thumbnails of a transformed picture, uint8 (transforms, places, side, side, 3)."""
    found = np.zeros((len(transforms), PLACES, SIDE, SIDE, 3), np.uint8)
    for number, transform in enumerate(transforms):
        values = [transform.values[place] for place in places_of(transform)]
        for place, picture in enumerate(varied(canvas, transform.name, values, image)):
            shown = PIL.Image.fromarray(net.pixels(picture))
            found[number, place] = np.asarray(shown.resize((SIDE, SIDE), PIL.Image.Resampling.BOX))
    return found
