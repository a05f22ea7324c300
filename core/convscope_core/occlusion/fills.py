"""The fills of an occluder: what it shows.

Most are a *fill picture* as large as the network's input, of which the occluder shows its part; one, inpainting,
depends on the place.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import PIL.Image
import torch
import torch.nn.functional as F
from PIL import ImageColor
from torch import Tensor

from convscope_core.datasets import Picture
from convscope_core.errors import ArgumentError, did_you_mean
from convscope_core.images import ImageLike
from convscope_core.occlusion.box import whole_number

__all__ = ["FILLS", "Fill", "blurred", "check_inpainting", "fill_name", "fill_picture", "inpainted", "picture_of"]

FILLS = ("grey", "mean", "blur", "noise", "inpaint")
"""The fills with a name; any colour and any picture is one, too."""

Fill: TypeAlias = str | Sequence[int] | ImageLike | Picture
"""One of `FILLS`, the name or "#rrggbb" of a colour, (red, green, blue) in 0..255, or a picture."""

#: Fills that need no channels of colour.
_COLOURLESS = tuple(f for f in FILLS if f != "inpaint")

#: Standard deviation of the blur as a share of the picture's shorter side.
_BLUR_SHARE = 10 / 224

#: Pixels that inpainting looks at around one that it fills.
_INPAINT_RADIUS = 3

_EXPECTED_FILL = (
    f"Expected as fill one of {', '.join(FILLS)}, the name of a colour, '#rrggbb', (red, green, blue) from 0 to 255, "
    f"or a picture (the path of a file that exists, bytes, a PIL image, an array or tensor of 2 dimensions or more)"
)


def fill_name(fill: object) -> str:
    """Write a fill as one string.

    Returns
    -------
    str
        A name of `FILLS`; "#rrggbb" for a colour however it was given; "picture", or "picture NAME" with the name
        of its file, for another picture.

    Raises
    ------
    ArgumentError
        When it is no fill.
    """
    if (word := _word(fill)) is not None:
        return word
    picture = picture_of(fill)
    if picture is not None:
        return f"picture {picture[1]}".rstrip()
    levels = _named(fill) if isinstance(fill, str) else _levels(fill)
    return "#{:02x}{:02x}{:02x}".format(*levels)


def picture_of(fill: object) -> tuple[ImageLike, str] | None:
    """Return the picture that a fill is, and the name of its file or ""; None if it is a word or a colour."""
    if isinstance(fill, Picture):
        return fill.image, fill.path.name if fill.path is not None else fill.name
    if isinstance(fill, str):
        if _word(fill) is not None or _is_colour(fill) or not os.path.exists(os.path.expanduser(fill)):
            return None
        return fill, Path(fill).name
    if isinstance(fill, os.PathLike):
        return fill, Path(fill).name
    if isinstance(fill, PIL.Image.Image):
        return fill, Path(getattr(fill, "filename", "") or "").name
    if isinstance(fill, (bytes, bytearray, memoryview)):
        return bytes(fill), ""
    if isinstance(fill, (np.ndarray, Tensor)) and fill.ndim >= 2:
        return fill, ""
    return None


def check_inpainting(channels: int) -> None:
    """Refuse to inpaint for a network of so many input channels, or without OpenCV."""
    if channels not in (1, 3):
        raise ArgumentError(
            f"Expected a fill without colour for a network of {channels} input channels, got 'inpaint'. Take one of "
            f"{', '.join(_COLOURLESS)}."
        )
    try:
        import cv2  # noqa: F401  imported where it is used; slow, so not before it is needed
    except ImportError as e:
        raise ImportError(
            "Expected OpenCV for the fill 'inpaint', got none: it is not installed. pip install convscope[inpaint]"
        ) from e


def fill_picture(rgb: Tensor, fill: Fill, seed: int) -> Tensor:
    """Make the fill picture for a picture (1, C, H, W) in 0..1, in 0..1."""
    word = _word(fill)
    if word is None:
        return _colour(fill, rgb.shape[1]).to(rgb.device).reshape(1, -1, 1, 1).expand_as(rgb)
    if word == "grey":
        return torch.full_like(rgb, 0.5)
    if word == "mean":
        return rgb.mean(dim=(2, 3), keepdim=True).expand_as(rgb)
    if word == "blur":
        return blurred(rgb, _BLUR_SHARE * min(rgb.shape[2:]))
    # On the CPU, so that the noise is the same on every device.
    return torch.rand(rgb.shape, generator=torch.Generator().manual_seed(seed)).to(rgb.device)


def inpainted(
    picture: npt.NDArray[np.uint8], corner: tuple[int, int], covered: npt.NDArray[np.bool_]
) -> npt.NDArray[np.uint8]:
    """Fill what an occluder covers from its surroundings.

    Parameters
    ----------
    picture : uint8 array (H, W, C)
        Of 1 or 3 channels.
    corner : (top, left)
        Of the occluder's box, which lies in the picture.
    covered : bool array (height, width)
        Which pixels of its box the occluder covers.

    Returns
    -------
    uint8 array (height, width, C)
        The box. A pixel is filled from those within the radius, along the gradients of their distances to the mask,
        which takes one pixel more. So a crop with that margin gives what the whole picture would, to the bit.
    """
    import cv2

    bounds = []
    for start, length, limit in zip(corner, covered.shape, picture.shape[:2], strict=True):
        first = max(start - _INPAINT_RADIUS - 1, 0)
        bounds.append((first, min(start + length + _INPAINT_RADIUS + 1, limit), start - first))
    (top, bottom, row), (left, right, column) = bounds
    box = slice(row, row + covered.shape[0]), slice(column, column + covered.shape[1])
    around = np.ascontiguousarray(picture[top:bottom, left:right])
    mask = np.zeros(around.shape[:2], np.uint8)
    mask[box] = covered
    found = np.asarray(cv2.inpaint(around, mask, _INPAINT_RADIUS, cv2.INPAINT_TELEA), np.uint8)
    return found.reshape(around.shape)[box]


def blurred(rgb: Tensor, sigma: float) -> Tensor:
    """Convolve with a Gaussian, cut at three standard deviations, first along rows, then along columns."""
    channels = rgb.shape[1]
    for axis in (2, 3):
        # Reflection cannot reach further than the picture is long.
        radius = min(math.ceil(3 * sigma), rgb.shape[axis] - 1)
        offsets = torch.arange(-radius, radius + 1, dtype=torch.float64)
        weights = torch.exp(-0.5 * (offsets / sigma) ** 2)
        kernel = (weights / weights.sum()).to(rgb)
        rows_first = axis == 2
        padding = (0, 0, radius, radius) if rows_first else (radius, radius, 0, 0)
        kernel = kernel.reshape((1, 1, -1, 1) if rows_first else (1, 1, 1, -1)).expand(channels, -1, -1, -1)
        rgb = F.conv2d(F.pad(rgb, padding, mode="reflect"), kernel, groups=channels)
    return rgb


def _colour(fill: Fill, channels: int) -> Tensor:
    """Return a colour in 0..1, one number a channel."""
    if channels not in (1, 3):
        raise ArgumentError(
            f"Expected a fill without colour for a network of {channels} input channels, one of "
            f"{', '.join(_COLOURLESS)}, got {fill!r}."
        )
    red, green, blue = _named(fill) if isinstance(fill, str) else _levels(fill)
    if channels == 3:
        return torch.tensor([red, green, blue]) / 255
    # ITU-R 601, as Pillow turns colour into grey.
    return torch.tensor([(299 * red + 587 * green + 114 * blue) / 1000]) / 255


def _word(fill: object) -> str | None:
    """Return the one of `FILLS` that a fill is; None for any other."""
    if not isinstance(fill, str):
        return None
    # Gray, too: the web's colour of that name is half a level brighter, and who writes so means this one.
    return "grey" if fill.lower() in ("grey", "gray") else fill if fill in FILLS else None


def _is_colour(word: str) -> bool:
    try:
        ImageColor.getrgb(word)
    except ValueError:
        return False
    return True


def _named(fill: str) -> tuple[int, int, int]:
    try:
        red, green, blue, *alpha = ImageColor.getrgb(fill)
    except ValueError:
        close = did_you_mean(fill, [*FILLS, *ImageColor.colormap])
        raise ArgumentError(f"{_EXPECTED_FILL}, got {fill!r}.{close}") from None
    if alpha not in ([], [255]):
        raise ArgumentError(f"Expected a colour without transparency as fill, got {fill!r}.")
    return red, green, blue


def _levels(fill: object) -> tuple[int, int, int]:
    if isinstance(fill, (tuple, list, np.ndarray, Tensor)) and np.ndim(fill) == 1 and len(fill) == 3:
        red, green, blue = (whole_number(level, "fill (red, green, blue)") for level in fill)
        if min(red, green, blue) >= 0 and max(red, green, blue) <= 255:
            return red, green, blue
    raise ArgumentError(f"{_EXPECTED_FILL}, got {fill!r}.")
