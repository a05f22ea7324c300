"""What surveys read off activations: a few numbers of each image and channel.

They are computed on the device in one sweep over the activations; everything after that is small.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from convscope_core import compiled, fused
from convscope_core.arguments import listed
from convscope_core.errors import ArgumentError
from convscope_core.survey import by_position

__all__ = ["ImageStatistics", "Peaks"]

_MOST_POSITIONS = 2**24
"""Up to here float32 counts exactly."""

_CACHED_MAPS, _CACHED_LINES = 2**17, 2**17
"""Activations that are reduced at once on a CPU, in maps that lie in one piece and, by each thread, in others, as
measured."""


class Peaks(NamedTuple):
    """The largest value of each map, and where it is.

    Attributes
    ----------
    values : Tensor
        (N, C) float32.
    places : Tensor
        (N, C) int64, the first such position, counted in row-major order.
    """

    values: Tensor
    places: Tensor

    @classmethod
    def of(cls, maps: Tensor) -> Peaks:
        """Find them in maps (N, C, h, w), on the device they are on."""
        maps = maps.detach().float()
        if maps.device.type != "cpu":
            return cls(*maps.flatten(2).max(dim=2))
        if _lies_by_position(maps):
            values, places = F.max_pool2d(maps, maps.shape[2:], return_indices=True)
            return cls(values.flatten(1), places.flatten(1))
        return cls(*_largest(maps.contiguous().flatten(2)))

    def after(self, function: Callable[[Tensor], Tensor]) -> Peaks:
        """Return those of maps that a function, which nowhere falls, has been applied to.

        Values that it makes equal to its smallest are all alike: then the first position is the first of the map.
        """
        values = function(self.values)
        return Peaks(values, self.places.where(values > function(torch.full_like(values, -torch.inf)), 0))


@dataclass(frozen=True)
class ImageStatistics:
    """What the accumulators read off one batch of activations: a few numbers for each image and channel.

    Attributes
    ----------
    peaks : Tensor
        (N, C) float32, the largest activation.
    before_ceiling : Tensor
        (N, C) float32, the same as it would be without the ceiling of the activation function; as `peaks` where there
        is none, or nothing is known of it.
    rows, columns : Tensor
        (N, C) int64, where that is: the first such position in row-major order.
    active : Tensor
        (N, C) int64, how many positions are greater than zero.
    means : Tensor
        (N, C) float32, mean over the positions.
    magnitudes : Tensor
        (N, C) float32, mean over the positions of the magnitude.
    deviations : Tensor
        (N, C) float32, sum over the positions of the squared deviation from that mean.
    positions : Tensor
        (C,) int64, the number of positions, h * w.
    saturated : Tensor
        (N, C) int64, how many positions are at the upper bound of a bounded activation; 0 where there is none.
    bounded : Tensor
        (C,) bool, whether there is a bound.
    """

    peaks: Tensor
    before_ceiling: Tensor
    rows: Tensor
    columns: Tensor
    active: Tensor
    means: Tensor
    magnitudes: Tensor
    deviations: Tensor
    positions: Tensor
    saturated: Tensor
    bounded: Tensor

    @classmethod
    def of(
        cls,
        values: Tensor,
        ceiling: float | None = None,
        floor: float | None = None,
        before_ceiling: Peaks | None = None,
    ) -> ImageStatistics:
        """Reduce activations to the statistics of each image and channel, on the device they are on.

        Parameters
        ----------
        values : Tensor
            (N, C, h, w) floating point activations of one layer. Half precision is widened, double precision
            rounded, to float32.
        ceiling : float, optional
            The largest value that the activation function can give, if it has one: how often it does is counted.
        floor : float, optional
            The smallest. Of values that are never negative the mean is that of the magnitudes, which saves computing
            it.
        before_ceiling : Peaks, optional
            Of the activations as they would be if those above the ceiling were not cut off.

        Raises
        ------
        ArgumentError
            When `values` has another number of dimensions, is not floating point, or holds no position at
            all.
        """
        if values.ndim != 4 or not values.is_floating_point():
            raise ArgumentError(
                "Expected activations as a floating point tensor (N, C, h, w), "
                f"got {values.dtype} of shape {tuple(values.shape)}. Give vectors as (N, C, 1, 1)."
            )
        _, channels, height, width = values.shape
        positions = height * width
        if not 1 <= positions <= _MOST_POSITIONS:
            raise ArgumentError(
                f"Expected maps with 1 to {_MOST_POSITIONS} positions, got shape {tuple(values.shape)}."
            )
        maps = values.detach().float()
        signed = floor is None or floor < 0
        if fused.of_use(maps[:, :, 0, 0]) and maps.is_contiguous():
            found = fused.maps_reduced(maps, ceiling)
            if before_ceiling is not None:
                found |= {"peaks": _at(maps.flatten(2), before_ceiling.places), **_places(before_ceiling.places, width)}
        elif maps.device.type != "cpu":
            found = _at_once(maps, ceiling, signed, before_ceiling)
        elif _lies_by_position(maps) or (positions == 1 and len(maps)):
            found = _by_position(maps, ceiling, signed, before_ceiling)
        else:
            found = _by_map(maps.contiguous(), ceiling, signed, before_ceiling)
        if "places" in found:
            found |= _places(found.pop("places"), width)
        each, bounded = _of_channels(channels, positions, ceiling is not None, values.device)
        return cls(
            **found,
            before_ceiling=found["peaks"] if before_ceiling is None else before_ceiling.values,
            positions=each,
            bounded=bounded,
        )

    @classmethod
    def join(cls, parts: Sequence[ImageStatistics]) -> ImageStatistics:
        """Put the channels of several layers, for the same images, side by side."""
        return cls(
            peaks=torch.cat([p.peaks for p in parts], dim=1),
            before_ceiling=torch.cat([p.before_ceiling for p in parts], dim=1),
            rows=torch.cat([p.rows for p in parts], dim=1),
            columns=torch.cat([p.columns for p in parts], dim=1),
            active=torch.cat([p.active for p in parts], dim=1),
            means=torch.cat([p.means for p in parts], dim=1),
            magnitudes=torch.cat([p.magnitudes for p in parts], dim=1),
            deviations=torch.cat([p.deviations for p in parts], dim=1),
            positions=torch.cat([p.positions for p in parts]),
            saturated=torch.cat([p.saturated for p in parts], dim=1),
            bounded=torch.cat([p.bounded for p in parts]),
        )

    @classmethod
    def stack(cls, parts: Sequence[ImageStatistics]) -> ImageStatistics:
        """Put several images, of the same channels, below each other."""
        if len(parts) == 1:
            return parts[0]
        each = [field.name for field in fields(cls) if field.name not in ("positions", "bounded")]
        return replace(parts[0], **{name: torch.cat([getattr(part, name) for part in parts]) for name in each})

    def values(self) -> list[Tensor]:
        """Return all attributes in their order."""
        return [getattr(self, field.name) for field in fields(self)]

    @classmethod
    def of_values(cls, values: Sequence[Tensor]) -> ImageStatistics:
        """Make them of `values`, and what may follow those."""
        return cls(*values[: len(fields(cls))])

    def broken(self) -> Tensor:
        """Mark the maps in which any activation is NaN or infinite: (N, C) bool, on the device."""
        # A NaN, or an infinity of either sign, anywhere in the map makes its mean NaN or infinite.
        # One that is cut off is seen in what it would be without.
        return ~(torch.isfinite(self.means) & torch.isfinite(self.before_ceiling))

    def broken_channels(self) -> list[int]:
        """Channels in which any activation of any image is NaN or infinite."""
        return [int(channel) for channel in self.broken().any(dim=0).nonzero().flatten().tolist()]

    def checked(self, name: str) -> ImageStatistics:
        """Return these statistics, or raise ArgumentError where activations are NaN or infinite."""
        if broken := self.broken_channels():
            raise ArgumentError(
                f"Expected finite activations, got NaN or infinite values in {name}, channel {listed(broken)}. "
                "They have no order, so no largest: check the pictures and the weights."
            )
        return self


def _places(places: Tensor, width: int) -> dict[str, Tensor]:
    return {"rows": places.div(width, rounding_mode="floor"), "columns": places % width}


@lru_cache(maxsize=1024)
def _of_channels(channels: int, positions: int, bounded: bool, device: torch.device) -> tuple[Tensor, Tensor]:
    """The same for every picture, and not to be changed."""
    with torch.inference_mode(False):
        each = torch.full((channels,), positions, dtype=torch.int64, device=device)
        return each, torch.full((channels,), bounded, device=device)


def _lies_by_position(maps: Tensor) -> bool:
    """Whether the channels of a position lie side by side in memory."""
    return maps.is_contiguous(memory_format=torch.channels_last) and not maps.is_contiguous()


def _largest(flat: Tensor) -> tuple[Tensor, Tensor]:
    """The largest values of maps (N, C, positions) on a CPU of which each lies in one piece, and where they are."""
    # numpy's arg-max uses vector instructions, and takes the first of equals; torch's is ten times slower.
    places = torch.from_numpy(flat.numpy().argmax(axis=2))
    return _at(flat, places), places


def _at(flat: Tensor, places: Tensor) -> Tensor:
    """The values of maps (N, C, positions) at a place of each."""
    return flat.gather(2, places[..., None]).squeeze(2)


def _by_map(maps: Tensor, ceiling: float | None, signed: bool, before_ceiling: Peaks | None) -> dict[str, Tensor]:
    """Reduce maps (N, C, h, w) on a CPU of which each lies in one piece."""
    count, channels, height, width = maps.shape
    flat = maps.flatten(2)
    # A few images at a time through one scratch buffer: the passes below then run in the cache, and no large temporary
    # is mapped and unmapped.
    images = max(1, _CACHED_MAPS // (channels * height * width))
    scratch = torch.empty_like(flat[:images])
    found: list[tuple[Tensor, ...]] = []
    for first in range(0, max(1, count), images):
        block = flat[first : first + images]
        flags = scratch[: len(block)]
        if before_ceiling is None:
            peak, place = _largest(block)
        else:
            place = before_ceiling.places[first : first + images]
            peak = _at(block, place)
        squares = torch.linalg.vector_norm(block, dim=2).square_()
        active = torch.gt(block, 0, out=flags).sum(dim=2)
        saturated = torch.zeros_like(active) if ceiling is None else torch.ge(block, ceiling, out=flags).sum(dim=2)
        mean = block.mean(dim=2)
        size = torch.abs(block, out=flags).mean(dim=2) if signed else mean
        found.append((peak, place, mean, size, squares, active, saturated))
    peaks, places, means, magnitudes, squares, active, saturated = map(torch.cat, zip(*found, strict=True))
    return {
        "peaks": peaks,
        "places": places,
        "means": means,
        "magnitudes": magnitudes,
        "deviations": _deviations(flat, means, squares),
        "active": active.long(),
        "saturated": saturated.long(),
    }


def _by_position(maps: Tensor, ceiling: float | None, signed: bool, before_ceiling: Peaks | None) -> dict[str, Tensor]:
    """Reduce maps (N, C, h, w) on a CPU in which the channels of a position lie side by side."""
    places = None if before_ceiling is None else before_ceiling.places
    if compiled.of_use("maps", maps):
        return compiled.maps_reduced(maps, ceiling, signed, places)
    names = "peaks", "places", "means", "magnitudes", "deviations", "active", "saturated"
    found = by_position.reduced(maps, ceiling, signed, places, _CACHED_LINES * torch.get_num_threads())
    return dict(zip(names, found, strict=True))


def _deviations(maps: Tensor, means: Tensor, squares: Tensor) -> Tensor:
    """The sum of squared deviations of maps (N, C, positions) from their means, given the sums of their squares."""
    found = squares - means.square() * maps.shape[2]
    # Where the mean is large against the spread, or the squares overflow, the difference loses its digits: those maps
    # are gone through again.
    poor = ~(found > compiled.CANCELLED * squares) & (squares != 0)
    if bool(poor.any()):
        found[poor] = (maps[poor] - means[poor][:, None]).square_().sum(dim=1)
    return found


def _at_once(maps: Tensor, ceiling: float | None, signed: bool, before_ceiling: Peaks | None) -> dict[str, Tensor]:
    """Reduce maps (N, C, h, w) of any layout on any device: the whole batch in each pass, as accelerators like it."""
    flat = maps.flatten(2)
    peaks, places = (
        flat.max(dim=2) if before_ceiling is None else (_at(flat, before_ceiling.places), before_ceiling.places)
    )
    means = flat.mean(dim=2)
    active = (flat > 0).sum(dim=2)
    return {
        "peaks": peaks,
        "places": places,
        "means": means,
        "magnitudes": flat.abs().mean(dim=2) if signed else means,
        "deviations": (flat - means[..., None]).square_().sum(dim=2),
        "active": active,
        "saturated": torch.zeros_like(active) if ceiling is None else (flat >= ceiling).sum(dim=2),
    }
