"""Moved pictures, cut from a picture with a margin: shifted by whole pixels exactly, else resampled."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from convscope_core.occlusion.fills import blurred

__all__ = ["Move", "middle", "moved"]


class Move(NamedTuple):
    """What happens to a picture, around its middle: it is scaled and turned, then shifted.

    Attributes
    ----------
    down, right : float
        Pixels.
    scale : float
        Above 1 enlarges.
    angle : float
        Degrees, counter-clockwise.
    """

    down: float = 0.0
    right: float = 0.0
    scale: float = 1.0
    angle: float = 0.0


def middle(canvas: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the picture (N, C, H, W) inside its margin."""
    return _cut(canvas, size, 0, 0)


def moved(canvas: Tensor, size: tuple[int, int], moves: Sequence[Move], bounds: tuple[Tensor, Tensor]) -> Tensor:
    """Move a picture.

    Shifts by whole pixels, and rotations of square pictures by right angles, only choose pixels. All else is
    resampled: bicubic (Keys 1981, with -0.75), after a Gaussian where the picture shrinks, which removes what
    the smaller picture could not show; overshoots are cut off.

    Parameters
    ----------
    canvas : Tensor (1, C, H + 2 m, W + 2 m)
        With enough margin.
    size : (H, W)
    moves : sequence of Move
    bounds : pair of Tensor (C, 1, 1)
        Black and white.

    Returns
    -------
    Tensor (moves, C, H, W)
    """
    found: list[Tensor | None] = [_exactly(canvas, size, move) for move in moves]
    # Those of one scale share their Gaussian.
    for scale in dict.fromkeys(move.scale for move, one in zip(moves, found, strict=True) if one is None):
        chosen = [k for k, move in enumerate(moves) if found[k] is None and move.scale == scale]
        ready = blurred(canvas, 0.5 * math.sqrt(1 / scale**2 - 1)) if scale < 1 else canvas
        resampled = _resampled(ready, size, [moves[k] for k in chosen])
        low = torch.minimum(canvas.amin((0, 2, 3))[:, None, None], torch.minimum(*bounds))
        high = torch.maximum(canvas.amax((0, 2, 3))[:, None, None], torch.maximum(*bounds))
        for k, one in zip(chosen, resampled.clamp(low, high), strict=True):
            found[k] = one[None]
    return torch.cat([one for one in found if one is not None])


def _exactly(canvas: Tensor, size: tuple[int, int], move: Move) -> Tensor | None:
    """Move a picture without resampling; None where that cannot be."""
    quarters = move.angle / 90
    square = canvas.shape[2] == canvas.shape[3]
    if move.scale != 1 or move.down % 1 or move.right % 1 or quarters % (1 if square else 2):
        return None
    turned = torch.rot90(canvas, int(quarters) % 4, (2, 3)) if quarters else canvas
    return _cut(turned, size, int(move.down), int(move.right))


def _cut(canvas: Tensor, size: tuple[int, int], down: int, right: int) -> Tensor:
    top, left = (canvas.shape[2] - size[0]) // 2 - down, (canvas.shape[3] - size[1]) // 2 - right
    return canvas[:, :, top : top + size[0], left : left + size[1]].contiguous()


def _resampled(canvas: Tensor, size: tuple[int, int], moves: Sequence[Move]) -> Tensor:
    """Sample the canvas where each pixel of the moved pictures comes from."""
    rows = torch.arange(size[0], dtype=torch.float64) - (size[0] - 1) / 2
    columns = torch.arange(size[1], dtype=torch.float64) - (size[1] - 1) / 2
    grids = []
    for move in moves:
        y, x = (rows - move.down)[:, None], (columns - move.right)[None]
        # Rows count downwards: what is at (x, y) after a turn counter-clockwise was at this place before.
        cosine, sine = math.cos(math.radians(move.angle)), math.sin(math.radians(move.angle))
        before_x, before_y = (cosine * x - sine * y) / move.scale, (sine * x + cosine * y) / move.scale
        half_x, half_y = (canvas.shape[3] - 1) / 2, (canvas.shape[2] - 1) / 2
        grids.append(torch.stack([before_x / half_x, before_y / half_y], -1))
    grid = torch.stack(grids).to(canvas)
    return F.grid_sample(
        canvas.expand(len(moves), -1, -1, -1), grid, mode="bicubic", padding_mode="border", align_corners=True
    )
