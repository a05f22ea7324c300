"""Frequencies of filters and of maps: what a filter looks for, and what a stride folds."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from convscope_core.errors import ArgumentError

__all__ = ["BINS", "Orientation", "coverage", "energy_above", "frequencies", "orientation", "radial_spectrum"]

Floats = npt.NDArray[np.float64]

BINS = 16
"""Rings of a radial spectrum."""

_SIDE = 64
"""Side of the grid of frequencies on which filters are looked at, at least."""


def frequencies() -> Floats:
    """Return the frequency of each ring of `radial_spectrum`, in cycles a pixel: (16,), the middles, 0 to 0.5."""
    return (np.arange(BINS) + 0.5) / (2 * BINS)


def radial_spectrum(filters: npt.ArrayLike) -> Floats:
    """Return how a filter's power is spread over frequencies, whatever their direction.

    The squared magnitude of the Fourier transform of each channel, padded with zeros to 64 x 64, added over channels;
    its mean in rings of frequency. A point is flat: it passes all frequencies alike.

    Parameters
    ----------
    filters : array (n, C, h, w)

    Returns
    -------
    float64 array (n, 16)
        By `frequencies`; the last ring holds the corners beyond 0.5 cycles a pixel, too. Each row adds up to 1; all 0
        for a filter without weights.
    """
    power, _, radius = _power(filters)
    ring = np.minimum((radius * 2 * BINS).astype(np.int64), BINS - 1)
    counts = np.bincount(ring.ravel(), minlength=BINS)
    found = np.stack([np.bincount(ring.ravel(), one.ravel(), BINS) / counts for one in power])
    total = found.sum(1, keepdims=True)
    return np.asarray(np.divide(found, total, out=np.zeros_like(found), where=total > 0))


class Orientation(NamedTuple):
    """In which direction filters vary.

    Attributes
    ----------
    angle : float64 array (n,)
        Degrees from the horizontal, counterclockwise, 0 to 180: 0 for a filter that varies from left to right, such as
        a vertical edge. NaN for a filter that does not vary.
    coherence : float64 array (n,)
        0 (in all directions alike) to 1 (in one only).
    """

    angle: Floats
    coherence: Floats


def orientation(filters: npt.ArrayLike) -> Orientation:
    """Find the direction in which each filter varies: of the mean of its power over directions, as doubled angles.

    Parameters
    ----------
    filters : array (n, C, h, w)
        The mean of each channel is left out.
    """
    w = _filters(filters)
    power, theta, radius = _power(w - w.mean((2, 3), keepdims=True))
    power = power * (radius > 0)
    total = power.sum((1, 2))
    scale = np.square(w).sum((1, 2, 3)) * radius.size
    varies = total > 1e-20 * np.where(scale > 0, scale, 1)
    mean = np.divide((power * np.exp(2j * theta)).sum((1, 2)), total, out=np.zeros(len(w), complex), where=varies)
    angle = np.degrees(np.angle(mean)) / 2 % 180
    return Orientation(np.where(varies, angle, np.nan), np.abs(mean))


def coverage(spectra: Floats) -> float:
    """Return how evenly filters together cover the frequencies: 1 for all alike, 1/16 for a single ring.

    The exponential of the entropy of their mean spectrum, as a share of the rings. The paper calls a first layer better
    whose filters leave no gap between high and low frequencies (Zeiler & Fergus 2014, sec. 4.1), and gives no number.

    Parameters
    ----------
    spectra : float64 array (n, 16)
        Of `radial_spectrum`; rows of zeros are left out.

    Returns
    -------
    float
        NaN where nothing is left.
    """
    known = spectra[spectra.sum(1) > 0]
    if not len(known):
        return float("nan")
    mean = known.mean(0)
    mean = mean[mean > 0]
    return float(np.exp(-(mean * np.log(mean)).sum()) / spectra.shape[1])


def energy_above(maps: Tensor, stride: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return how much of the variation of maps is too fine for a stride, and how much there is.

    A map that is read at every s-th place holds frequencies up to 1 / (2 s) cycles a place (the Nyquist rate); what is
    above is folded onto lower ones: aliasing. Frequencies are those of the discrete cosine transform (type 2), which
    sees no jump at the borders. The mean does not count.

    Parameters
    ----------
    maps : Tensor (N, C, h, w)
        Floating point.
    stride : (int, int)
        Along rows and columns.

    Returns
    -------
    above, total : float64 Tensors (N, C)
        Sums of squares; their ratio is the share that aliases.
    """
    if maps.ndim != 4 or min(stride) < 1:
        raise ArgumentError(f"Expected maps (N, C, h, w) and strides of 1 or more, got {tuple(maps.shape)}, {stride}.")
    height, width = maps.shape[2:]
    centred = maps.float() - maps.float().mean((2, 3), keepdim=True)
    total = centred.square().sum((2, 3), dtype=torch.float64)
    # Row k has k / (2 size) cycles a place: those below the Nyquist rate are k < size / s.
    rows, columns = (
        _cosines(size, -(-size // s)).to(maps.device) for size, s in zip((height, width), stride, strict=True)
    )
    below = (rows @ centred @ columns.T).square().sum((2, 3), dtype=torch.float64)
    return (total - below).clamp(min=0), total


@lru_cache(maxsize=64)
def _cosines(size: int, count: int) -> Tensor:
    """Return the first rows of the orthonormal transform: (count, size); row k has frequency k / (2 size)."""
    k, n = np.arange(count)[:, None], np.arange(size)[None]
    rows = np.sqrt(2 / size) * np.cos(np.pi * k * (n + 0.5) / size)
    rows[0] /= np.sqrt(2)
    return torch.from_numpy(rows.astype(np.float32))


def _filters(filters: npt.ArrayLike) -> Floats:
    w = np.asarray(filters, np.float64)
    if w.ndim != 4 or not np.isfinite(w).all():
        raise ArgumentError(f"Expected finite filters (n, C, h, w), got shape {w.shape}.")
    return w


def _power(filters: npt.ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Return power (n, side, side), and the direction and the length of each frequency."""
    w = _filters(filters)
    side = max(_SIDE, *w.shape[2:])
    power = np.square(np.abs(np.fft.fft2(w, (side, side)))).sum(1)
    f = np.fft.fftfreq(side)
    return power, np.arctan2(-f[:, None], f[None]), np.hypot(f[:, None], f[None])
