"""What the paper does to pictures before its network gets them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import PIL.Image
import torch
from torch import Tensor

from convscope_core.arguments import plain_methods, require_counts
from convscope_core.errors import ArgumentError

__all__ = ["MeanSubtraction", "squared"]


@plain_methods
@dataclass(frozen=True)
class MeanSubtraction:
    """Scale and crop a picture to a square, then subtract the mean of the training pictures.

    The preprocessing of Zeiler and Fergus (2013), section 3, but that the mean is one colour and not one for each
    pixel. Pickles; equal where it does the same.

    Parameters
    ----------
    resize : int, default 256
        Length of the shorter side in pixels, of which the square in the middle is kept.
    size : int, default 224
        Side of the crop from the middle of that square, at most `resize`.
    mean : three float, default (0.485, 0.456, 0.406)
        Colours between 0 and 1. The default is ImageNet's.
    std : three float, default (1/255, 1/255, 1/255)
        What colours are divided by. With the default the network gets values between -255 and 255, mostly between -128
        and 128, as the paper's did.
    """

    resize: int = 256
    size: int = 224
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (1 / 255, 1 / 255, 1 / 255)

    def __post_init__(self) -> None:
        require_counts(resize=self.resize, size=self.size)
        if self.size > self.resize:
            raise ArgumentError(
                f"Expected a size of at most the {self.resize} pixels that pictures are resized to, got {self.size}."
            )
        object.__setattr__(self, "mean", _three("mean", self.mean))
        object.__setattr__(self, "std", _three("std", self.std))
        if min(self.std) <= 0:
            raise ArgumentError(f"Expected positive numbers as std, got {self.std}.")

    def __call__(self, picture: PIL.Image.Image) -> Tensor:
        """Return the crop of a picture as the network takes it: (3, size, size) float32."""
        pixels = squared(picture, self.resize)
        edge = round((self.resize - self.size) / 2)  # as torchvision's CenterCrop
        return self.normalised(pixels[:, edge : edge + self.size, edge : edge + self.size])

    def normalised(self, pixels: Tensor) -> Tensor:
        """Return uint8 pixels (..., 3, H, W) as the network takes them, on their device: float32."""
        mean, std = (torch.tensor(v, device=pixels.device)[:, None, None] for v in (self.mean, self.std))
        return (pixels.float() / 255 - mean) / std


def squared(picture: PIL.Image.Image, side: int) -> Tensor:
    """Scale a picture's shorter side to `side` pixels and keep the square in the middle: uint8 (3, side, side)."""
    import torchvision.transforms.functional as vision

    found: Any = picture.convert("RGB")
    if min(found.size) != side:
        found = vision.resize(found, [side], vision.InterpolationMode.BILINEAR, antialias=True)
    pixels: Tensor = vision.pil_to_tensor(vision.center_crop(found, [side, side]))
    return pixels


def _three(name: str, values: Sequence[float]) -> tuple[float, ...]:
    found = tuple(float(v) for v in values)
    if len(found) != 3:
        raise ArgumentError(f"Expected three numbers as {name}, for red, green and blue, got {values!r}.")
    return found
