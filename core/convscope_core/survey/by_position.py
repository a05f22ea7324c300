"""Reduction of maps on a CPU in which the channels of a position lie side by side, in one call.

It is many short operations. Threads of Python's that compute side by side would wait for each other at every one, for
only one of them runs Python at a time, so TorchScript, whose programs do without Python, runs it. Where it does not, or
is gone from PyTorch, the same function runs as Python.
"""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Callable
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from convscope_core import compiled
from convscope_core.locks import Lock

__all__ = ["reduced"]

logger = logging.getLogger(__name__)
_Reduction: TypeAlias = Callable[[Tensor, "float | None", bool, "Tensor | None", Tensor, int, float], list[Tensor]]


def reduced(
    maps: Tensor, ceiling: float | None, signed: bool, places: Tensor | None, cached: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Reduce maps.

    Parameters
    ----------
    maps : Tensor
        (N, C, h, w) float32.
    ceiling : float or None
        Where it is given, how many positions are there or above is counted.
    signed : bool
        Whether the mean of the magnitudes is another than that of the values.
    places : Tensor, optional
        (N, C) int64, the positions of the peaks, where they are known.
    cached : int
        Numbers that are reduced at once: some whole images, or a band of lines of one, so that all passes over them run
        in the caches of the cores.

    Returns
    -------
    peaks, places, means, magnitudes, deviations, active, saturated : Tensor
        See `ImageStatistics`; places are counted in row-major order.
    """
    scratch = getattr(_own, "scratch", None)
    if scratch is None or len(scratch) < cached:
        with torch.inference_mode(False):
            # Whatever is set around the call that makes it: others use it, too.
            scratch = _own.scratch = torch.empty(cached, dtype=torch.float32, device="cpu")
    peaks, places, means, magnitudes, deviations, active, saturated = _reduction()(
        maps, ceiling, signed, places, scratch, cached, compiled.CANCELLED
    )
    return peaks, places, means, magnitudes, deviations, active, saturated


def _reduced(
    maps: Tensor,
    ceiling: float | None,
    signed: bool,
    places: Tensor | None,
    scratch: Tensor,
    cached: int,
    cancelled: float,
) -> list[Tensor]:
    """See `reduced`. Written in what TorchScript knows of Python."""
    count, channels, height, width = maps.shape
    band = max(1, min(height, cached // (width * channels)))
    images = max(1, cached // (height * width * channels)) if band == height else 1
    if scratch.numel() < images * band * width * channels:
        scratch = torch.empty([min(images, count) * band * width * channels], dtype=maps.dtype, device=maps.device)
    tops: list[Tensor] = []
    tops_at: list[Tensor] = []
    totals: list[Tensor] = []
    sizes: list[Tensor] = []
    powers: list[Tensor] = []
    above: list[Tensor] = []
    full: list[Tensor] = []
    into = scratch
    for some in torch.split(maps.permute(0, 2, 3, 1), images):
        for lines in torch.split(some, band, dim=1):
            if into.shape != lines.shape:
                into = scratch[: lines.numel()].view(lines.shape)
            if places is None:
                # Pooling finds the value and the first place of it in one pass of vector instructions.
                value, place = F.max_pool2d_with_indices(lines.permute(0, 3, 1, 2), [lines.shape[1], width])
                tops.append(value)
                tops_at.append(place)
            totals.append(lines.sum(dim=[1, 2]))
            powers.append(torch.mul(lines, lines, out=into).sum(dim=[1, 2]))
            above.append(torch.gt(lines, 0, out=into).sum(dim=[1, 2]))
            if ceiling is not None:
                full.append(torch.ge(lines, ceiling, out=into).sum(dim=[1, 2]))
            if signed:
                sizes.append(torch.abs(lines, out=into).sum(dim=[1, 2]))
    shape = [count, -1, channels]  # each (N, bands, C)
    flat = maps.flatten(2)
    if places is None:
        peaks, band_of = torch.cat(tops).view(shape).max(dim=1)  # of equal bands the first
        found = torch.cat(tops_at).view(shape).gather(1, band_of.unsqueeze(1)).squeeze(1) + band_of * (band * width)
    else:
        found = places
        peaks = flat.gather(2, found.unsqueeze(2)).squeeze(2)
    positions = height * width
    means = torch.cat(totals).view(shape).sum(dim=1) / positions
    magnitudes = torch.cat(sizes).view(shape).sum(dim=1) / positions if signed else means
    active = torch.cat(above).view(shape).sum(dim=1).long()
    saturated = torch.cat(full).view(shape).sum(dim=1).long() if ceiling is not None else torch.zeros_like(active)
    squares = torch.cat(powers).view(shape).sum(dim=1)
    deviations = squares - means.square() * positions
    # Where the mean is large against the spread, or the squares overflow, the difference loses its digits: those maps
    # are gone through again.
    kept = deviations > cancelled * squares
    if not bool(kept.all()):
        poor = ~kept & (squares != 0)
        if bool(poor.any()):
            deviations[poor] = (flat[poor] - means[poor].unsqueeze(1)).square().sum(dim=1)
    return [peaks, found, means, magnitudes, deviations, active, saturated]


class _Own(threading.local):
    """What belongs to one thread of Python: the memory in which it computes."""

    scratch: Tensor | None = None


_own = _Own()
_lock = Lock()
_made: list[_Reduction] = []


def _reduction() -> _Reduction:
    """Return the function, without Python where that works."""
    if not _made:
        with _lock:
            if not _made:
                _made.append(_compiled())
    return _made[0]


def _compiled() -> _Reduction:
    """Compile the function, and compare what it gives."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it is deprecated; there is nothing else that does without Python
            made: _Reduction = torch.jit.script(_reduced)
        with torch.inference_mode():
            maps = torch.arange(96.0, dtype=torch.float32, device="cpu").view(2, 3, 4, 4)
            maps = maps.contiguous(memory_format=torch.channels_last)
            given = maps, 9.0, True, None, torch.empty(48, dtype=torch.float32, device="cpu"), 48, compiled.CANCELLED
            if all(torch.equal(a, b) for a, b in zip(made(*given), _reduced(*given), strict=True)):
                return made
        logger.info("maps are reduced in Python, which is slower: TorchScript gives other numbers")
    except Exception as e:  # another PyTorch
        logger.info("maps are reduced in Python, which is slower: %s: %s", type(e).__name__, e)
    return _reduced
