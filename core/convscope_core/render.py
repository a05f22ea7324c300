"""Arrays to pictures: eight-bit planes of feature maps, crops around a unit's box, first-layer weights in colour.

The live path takes the raw bytes of these arrays; colour maps are applied where they are shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from convscope_core.arguments import is_whole
from convscope_core.errors import ArgumentError

__all__ = ["Planes", "quantise", "shrink", "crop", "filters_apart", "filters_rgb", "signed"]

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Planes:
    """Maps in eight bits, each with a scale of its own.

    Attributes
    ----------
    data : uint8 array (C, h, w)
        0 stands for the channel's `low`, 255 for its `high`, linear between.
    low, high : float32 arrays (C,)
        Smallest and largest value of each map.
    """

    data: Bytes
    low: Floats
    high: Floats

    def dequantise(self) -> Floats:
        """Return the maps as float32 (C, h, w): exact where a map is at its `low` or `high`."""
        share = self.data.astype(np.float64) / 255.0
        low, high = (ends.astype(np.float64)[:, None, None] for ends in (self.low, self.high))
        return ((1.0 - share) * low + share * high).astype(np.float32)


def quantise(maps: Tensor | npt.NDArray[Any]) -> Planes:
    """Map each channel linearly to 0..255, from its smallest to its largest value.

    Rounding is to the nearest step, so a value comes back from `Planes.dequantise` within half a step, (high
    - low) / 510; the smallest and the largest come back exactly. A constant channel becomes zeros and comes
    back exactly.

    Parameters
    ----------
    maps : Tensor or array (C, h, w)
        Finite numbers, taken as float32.

    Raises
    ------
    ArgumentError
        When the shape is another, a map has no position, or a value is NaN or infinite.
    """
    values = _as_maps(maps).numpy()
    if values.shape[1] * values.shape[2] == 0:
        raise ArgumentError(f"Expected maps with at least one position, got shape {values.shape}.")
    low, high = values.min(axis=(1, 2)), values.max(axis=(1, 2))
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        raise ArgumentError("Expected finite maps, got NaN or infinite values. Check the picture and the weights.")
    # In float64 the range neither overflows nor underflows, whatever the float32 values are.
    start = low.astype(np.float64)[:, None, None]
    span = high.astype(np.float64)[:, None, None] - start
    steps = (values - start) * (255.0 / np.where(span > 0, span, 1.0))
    return Planes(np.rint(steps).astype(np.uint8), low, high)


def shrink(maps: Tensor | npt.NDArray[Any], side: int) -> Tensor:
    """Average maps down so that no side is longer than `side`; smaller maps are returned as they are.

    Every output cell is the mean of the block of cells it covers (blocks of neighbouring cells share a row or
    column where the sizes do not divide), so a small strong response fades but does not vanish between
    samples.

    Parameters
    ----------
    maps : Tensor or array (C, h, w)
        Numbers, taken as float32.
    side : int
        Longest side wanted, in cells, at least 1.

    Returns
    -------
    Tensor
        float32 (C, h', w') on the CPU; the shape of a map is kept to the nearest cell.
    """
    side = _require_side(side)
    values = _as_maps(maps)
    height, width = values.shape[1:]
    longest = max(height, width)
    if longest <= side:
        return values
    return F.interpolate(values[None], size=_fit((height, width), side), mode="area")[0]


def crop(picture: Bytes, box: Sequence[int], side: int | None = None, pad: int = 128) -> Bytes:
    """Cut a box out of a picture, with grey where the box leaves it.

    So the crop of a unit at the border keeps the full size of its receptive field, as the deep visualization
    toolbox (Yosinski et al. 2015) shows it.

    Parameters
    ----------
    picture : uint8 array (H, W, 3)
    box : Box or (top, left, bottom, right)
        Half-open, in pixels; may lie partly or wholly outside the picture.
    side : int, optional
        Resize so that the longer side is this many pixels: averaging areas when shrinking, bilinear when
        growing. By default the crop keeps its size.
    pad : int, default 128
        Grey level, 0 to 255, outside the picture.

    Returns
    -------
    uint8 array (h, w, 3)

    Raises
    ------
    ArgumentError
        When the picture is of another kind, the box is empty, or `side` or `pad` is out of range.
    """
    picture, pad = _require_picture(picture), _require_level(pad)
    top, left, bottom, right = (int(edge) for edge in box)
    if bottom <= top or right <= left:
        raise ArgumentError(
            f"Expected a box (top, left, bottom, right) with bottom > top and right > left, got {tuple(box)}."
        )
    patch = np.full((bottom - top, right - left, 3), pad, dtype=np.uint8)
    inside = picture[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    if inside.size:
        row, column = max(-top, 0), max(-left, 0)
        patch[row : row + inside.shape[0], column : column + inside.shape[1]] = inside
    if side is None or max(patch.shape[:2]) == _require_side(side):
        return patch
    rows, columns = _fit((patch.shape[0], patch.shape[1]), side)
    method = Image.Resampling.BOX if side < max(patch.shape[:2]) else Image.Resampling.BILINEAR
    return np.array(Image.fromarray(patch).resize((columns, rows), method))


def filters_rgb(weight: Tensor | npt.NDArray[Any]) -> Bytes:
    """Show the weights of first-layer filters as colour pictures, all on one scale.

    Zero is mid-grey (128), the largest weight by magnitude of *all* filters reaches 1 or 255. One scale for
    all is what lets a filter that dominates the layer, or a dead one, be seen (Zeiler & Fergus 2014, fig. 6).
    Weights trained on normalised input live in that space; they are shown as they are.

    Parameters
    ----------
    weight : Tensor or array (C, 3, h, w) or (C, 1, h, w)

    Returns
    -------
    uint8 array (C, h, w, 3)

    Raises
    ------
    ArgumentError
        When the filters have neither three nor one input channel, or a weight is NaN or infinite.
    """
    values = _as_filters(weight)
    return _shades(values, np.abs(values).max(initial=0.0))


def filters_apart(weight: Tensor | npt.NDArray[Any]) -> tuple[Bytes, Floats]:
    """Show the weights of first-layer filters as colour pictures, each on a scale of its own.

    Parameters
    ----------
    weight : Tensor or array (C, 3, h, w) or (C, 1, h, w)

    Returns
    -------
    uint8 array (C, h, w, 3)
        As of `filters_rgb`, but each filter's own largest weight by magnitude reaches 1 or 255.
    float32 array (C,)
        That magnitude. The pictures brought to one scale are ``128 + (picture - 128) * magnitude / largest``, within
        half a shade.

    Raises
    ------
    ArgumentError
        As of `filters_rgb`.
    """
    values = _as_filters(weight)
    strongest = np.abs(values).max(axis=(1, 2, 3), initial=0.0)
    return _shades(values, strongest[:, None, None, None]), strongest.astype(np.float32)


def _as_filters(weight: Tensor | npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    values = torch.as_tensor(weight).detach().cpu().double().numpy()
    if values.ndim != 4 or values.shape[1] not in (1, 3):
        raise ArgumentError(
            f"Expected filters that see colour, (C, 3, h, w), or grey, (C, 1, h, w), got {values.shape}. "
            "Only the first layer of a network has a picture for a filter."
        )
    if not np.isfinite(values).all():
        raise ArgumentError("Expected finite weights, got NaN or infinite values. Check the network.")
    found: npt.NDArray[np.float64] = values
    return found


def _shades(values: npt.NDArray[np.float64], strongest: Any) -> Bytes:
    """Signed values (C, 3 or 1, h, w) as (C, h, w, 3): zero is mid-grey, the strongest 1 or 255."""
    shades = np.rint(128.0 + 127.0 * values / np.where(strongest > 0, strongest, 1.0)).astype(np.uint8)
    shades = shades.transpose(0, 2, 3, 1)
    return np.ascontiguousarray(np.broadcast_to(shades, (*shades.shape[:3], 3)))


def signed(
    values: Tensor | npt.NDArray[Any], scale: str = "tile", percentile: float = 100.0, gain: float = 1.0
) -> Bytes:
    """Show signed values as pictures in which zero is mid-grey (128).

    Shade = 128 + 127 * gain * x / strongest, where strongest is the largest magnitude of a tile, a group or all; what
    exceeds the range is clipped. With a scale for each tile its structure shows; with one for a group, such as the
    nine projections of a unit, how strong they are beside one another; with one for a layer, which units dominate.
    (Yosinski's toolbox: x / (2 max(max x, -min x)) + 1/2 for each tile. Zeiler & Fergus 2014 give no formula.) The
    values are shown in the network's space; neither the mean is added nor the deviation multiplied.

    Parameters
    ----------
    values : Tensor or array (..., 3, h, w) or (..., 1, h, w)
        Tiles, such as (C, h, w), (9, C, h, w) or (units, 9, C, h, w). One channel becomes grey.
    scale : {"tile", "group", "layer"}, default "tile"
        What shares a scale: each tile alone; the tiles along the last axis before the tile's own; all.
    percentile : float, default 100
        Of the magnitudes, above 0 up to 100: which of them counts as the strongest. 99.5 lets few outliers clip.
    gain : float, default 1
        Contrast, greater than 0.

    Returns
    -------
    uint8 array (..., h, w, 3)

    Raises
    ------
    ArgumentError
        When the shape, an option or a value (NaN, infinite) is of another kind.
    """
    x = torch.as_tensor(values).detach().cpu().double().numpy()
    if x.ndim < 3 or x.shape[-3] not in (1, 3) or x.size == 0:
        raise ArgumentError(f"Expected tiles (..., 3, h, w) or (..., 1, h, w), got shape {x.shape}.")
    if not np.isfinite(x).all():
        raise ArgumentError("Expected finite values, got NaN or infinite ones. Check the picture and the weights.")
    if scale not in ("tile", "group", "layer"):
        raise ArgumentError(f"Expected scale as 'tile', 'group' or 'layer', got {scale!r}.")
    if not 0 < percentile <= 100:
        raise ArgumentError(f"Expected percentile above 0, up to 100, got {percentile!r}.")
    if not 0 < gain < float("inf"):
        raise ArgumentError(f"Expected a gain greater than 0, got {gain!r}.")
    first = {"tile": x.ndim - 3, "group": max(x.ndim - 4, 0), "layer": 0}[scale]
    axes = tuple(range(first, x.ndim))
    strongest = np.percentile(np.abs(x), percentile, axis=axes, keepdims=True)
    if percentile < 100:  # where nearly all is zero, the percentile is too
        strongest = np.where(strongest > 0, strongest, np.abs(x).max(axis=axes, keepdims=True))
    shades = 128.0 + 127.0 * gain * x / np.where(strongest > 0, strongest, 1.0)
    shades = np.rint(shades.clip(1, 255)).astype(np.uint8)
    shades = np.moveaxis(shades, -3, -1)
    return np.ascontiguousarray(np.broadcast_to(shades, (*shades.shape[:-1], 3)))


def _as_maps(maps: Tensor | npt.NDArray[Any]) -> Tensor:
    values = torch.as_tensor(maps).detach()
    if values.ndim != 3:
        raise ArgumentError(
            f"Expected maps of shape (C, h, w), got {tuple(values.shape)}. Take one picture of a batch first."
        )
    return values.cpu().float()


def _require_side(side: object) -> int:
    if not is_whole(side) or side < 1:
        raise ArgumentError(f"Expected a side of at least 1 pixel, as a whole number, got {side!r}.")
    return int(side)


def _require_level(pad: object) -> int:
    if not isinstance(pad, (int, np.integer)) or not 0 <= pad <= 255:
        raise ArgumentError(f"Expected a grey level from 0 to 255 for pad, got {pad!r}.")
    return int(pad)


def _require_picture(picture: object) -> Bytes:
    if isinstance(picture, np.ndarray):
        if picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3:
            return picture
        kind = f"{picture.dtype} {picture.shape}"
    else:
        kind = type(picture).__name__
    raise ArgumentError(f"Expected a picture as a uint8 array (H, W, 3), got {kind}.")


def _fit(size: tuple[int, int], side: int) -> tuple[int, int]:
    """Scale (height, width) so that the longer is `side`, neither less than 1."""
    longest = max(size)
    return max(1, round(size[0] * side / longest)), max(1, round(size[1] * side / longest))
