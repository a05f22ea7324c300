"""Where a place of one network's picture is on another's, which may be scaled and cropped otherwise.

What a preprocessing does to places is found as what it does to values is: by giving it pictures of which that is
known, here one that brightens from row to row, and one from column to column.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from convscope_core.datasets import Picture
from convscope_core.errors import ImageError
from convscope_core.images import read_image
from convscope_core.network import Network

__all__ = ["Together", "picture_size", "together"]

#: How far from a line, in shares of the picture, places may lie: two of the 255 steps of the pictures given.
STRAIGHT = 2 / 255

#: Levels of brightness by which neighbours of a ramp differ at most: a picture has whole levels only, and rounding them
#: alike along a row would put the middle half of a small input a pixel and a half off at its border.
SPREAD = 4


class Together(NamedTuple):
    """How rows and columns of the one network's input become those of the other's: offset in pixels, and scale."""

    rows: tuple[float, float]
    columns: tuple[float, float]

    def box(
        self, position: tuple[int, int], size: int | tuple[int, int], input_size: tuple[int, int]
    ) -> tuple[tuple[int, int], tuple[int, int]]:
        """The box on the other network's input, which is of `input_size`, moved inside where it reaches beyond."""
        sizes = (size, size) if isinstance(size, int) else size
        found = []
        for (offset, scale), start, length, whole in zip(self, position, sizes, input_size, strict=True):
            long = min(max(1, _rounded(scale * length)), whole)
            found.append((min(max(0, _rounded(offset + scale * start)), whole - long), long))
        (top, high), (left, wide) = found
        return (top, left), (high, wide)


def together(net: Network, other: Network, size: tuple[int, int] | None) -> Together:
    """How places on the input of a network become places on that of another, for a picture of a size.

    Parameters
    ----------
    net, other : Network
    size : (int, int) or None
        Height and width of the picture; None for a tensor that is taken as it is.

    Returns
    -------
    Together
        Where it cannot be found (a preprocessing that bends the picture), the same shares of both inputs.
    """
    lines = [None if size is None else _lines(one, size) for one in (net, other)]
    if lines[0] is None or lines[1] is None:
        (high, wide), (h, w) = net.input_shape[1:], other.input_shape[1:]
        return Together((0.0, h / high), (0.0, w / wide))
    rows, columns = (
        ((start - other_start) / other_slope, slope / other_slope)
        for (start, slope), (other_start, other_slope) in zip(lines[0], lines[1], strict=True)
    )
    return Together(rows, columns)


def picture_size(picture: Picture) -> tuple[int, int] | None:
    """Height and width of a picture before any network; None for a tensor in a network's space."""
    if isinstance(picture.image, torch.Tensor) and picture.image.is_floating_point():
        return None
    pixels = read_image(picture.image)
    return pixels.height, pixels.width


def _rounded(value: float) -> int:
    """As the browser rounds, half upwards."""
    return int(np.floor(value + 0.5))


def _lines(net: Network, size: tuple[int, int]) -> list[tuple[float, float]] | None:
    """For rows and columns: where in the picture (0 to 1) a network's input begins, and how far a pixel goes."""
    found = []
    for axis in (0, 1):
        ramp = _ramp(size, axis)
        try:
            x = net.prepare(Image.fromarray(ramp).convert("RGB"))
        except ImageError:
            return None
        levels = 255 * net.to_rgb(x)[0].mean(0).mean(1 - axis).double().cpu().numpy()
        seen = (levels - (SPREAD - 1) / 2) / (255 - SPREAD)
        # Near the borders a picture may be padded, and brightness is blurred.
        inner = slice(len(seen) // 4, len(seen) - len(seen) // 4)
        places = (np.arange(len(seen)) + 0.5)[inner]
        if len(places) < 2:
            return None
        slope, start = np.polyfit(places, seen[inner], 1)
        if slope <= 0 or np.abs(start + slope * places - seen[inner]).max() > STRAIGHT:
            return None
        found.append((float(start), float(slope)))
    return found


def _ramp(size: tuple[int, int], axis: int) -> np.ndarray:
    """Grey levels that rise along an axis, each line of them in the mean just what it should be."""
    height, width = size
    rows, columns = np.arange(height)[:, None], np.arange(width)
    # Evenly spread over 0 to 1 along each line and from line to line (Roberts' R2 sequence).
    dither = (rows * 0.7548776662 + columns * 0.5698402910) % 1
    along = (rows if axis == 0 else columns) + 0.5
    return np.asarray(np.floor((255 - SPREAD) * along / size[axis] + SPREAD * dither).astype(np.uint8))
