"""The ten crops of the paper: four corners and the middle, of the picture and of its mirror image."""

from __future__ import annotations

import torch
from torch import Tensor

from convscope_core.errors import ArgumentError

__all__ = ["CROPS", "middle", "one_of_ten", "ten_crops"]

#: How many crops a picture has.
CROPS = 10


def ten_crops(pictures: Tensor, size: int) -> Tensor:
    """Cut all ten crops out of pictures.

    Parameters
    ----------
    pictures : Tensor (N, C, H, W)
    size : int
        Side of the crops, in pixels.

    Returns
    -------
    Tensor (10, N, C, size, size)
        Top left, top right, bottom left, bottom right, middle; then the same of the mirrored picture, as
        `torchvision.transforms.TenCrop` does.

    Raises
    ------
    ArgumentError
        If a picture is smaller.
    """
    return torch.stack([_crop(pictures, size, number) for number in range(CROPS)])


def middle(pictures: Tensor, size: int) -> Tensor:
    """Cut the crop in the middle out of pictures (N, C, H, W): (N, C, size, size)."""
    return _crop(pictures, size, 4)


def one_of_ten(pictures: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Cut one crop out of each picture, drawn from its ten.

    Parameters
    ----------
    pictures : Tensor (N, C, H, W)
    size : int
    generator : torch.Generator
        On the CPU; gives one number a picture.

    Returns
    -------
    Tensor (N, C, size, size)
    """
    drawn = torch.randint(CROPS, (len(pictures),), generator=generator)
    cut = pictures.new_empty(*pictures.shape[:2], size, size)
    for number in range(CROPS):
        chosen = (drawn == number).nonzero()[:, 0].to(pictures.device)
        if len(chosen):
            cut[chosen] = _crop(pictures[chosen], size, number)
    return cut


def _crop(pictures: Tensor, size: int, number: int) -> Tensor:
    height, width = pictures.shape[2:]
    if min(height, width) < size:
        raise ArgumentError(f"Expected pictures of at least {size} pixels, to crop them, got {height}×{width}.")
    low, right = height - size, width - size
    row, column = [(0, 0), (0, right), (low, 0), (low, right), (round(low / 2), round(right / 2))][number % 5]
    if number < 5:
        return pictures[:, :, row : row + size, column : column + size]
    column = right - column
    return pictures[:, :, row : row + size, column : column + size].flip(3)
