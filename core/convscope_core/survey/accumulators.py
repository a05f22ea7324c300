"""Mergeable statistics of every channel over many images: its largest activations and its health.

An accumulator sees activations batch by batch, and two accumulators of the same channels merge into one. What
they hold depends on *which* images were seen, not on the batches, the order or the shards they came in: the
top activations exactly, the moments to float64 rounding. That is what lets a survey be cut into pieces,
resumed, and spread over machines.

Both accumulators read the same few numbers of each image and channel (`ImageStatistics`), which are computed
on the device in one sweep over the activations; everything after that is small.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from convscope_core.arguments import listed, require_counts
from convscope_core.errors import ArgumentError

_NOWHERE = torch.iinfo(torch.int64).max
"""Image index of an empty place in a `TopK`: sorts after every real image."""

_MOST_POSITIONS = 2**24
"""Up to here float32 counts exactly."""

_CACHED_MAPS, _CACHED_LINES = 2**17, 2**19
"""Activations that are reduced at once on a CPU, in maps that lie in one piece and, by each thread, in others, as
measured."""

_CANCELLED = 0.01
"""Share of the squares that has to remain as deviations, so that at most two digits of float32 are lost."""

_OCTAVES = 14
_STEPS_PER_OCTAVE = 2


def histogram_edges() -> Tensor:
    """Edges of the bins in which `Health` counts the maxima of the images.

    The bins are fixed, so that no pass over the data is needed to place them and histograms of any two
    surveys add up exactly; and logarithmic, so that they fit activations of any scale: half-octaves of the
    magnitude from 2^-14 to 2^14 on either side of zero, one bin around zero between them (a dead channel's
    maxima), and an open bin at each end.

    Returns
    -------
    Tensor
        (114,) float32, ascending. Bin b of the 115 holds ``edges[b - 1] <= value < edges[b]``.
    """
    steps = torch.arange(-_OCTAVES * _STEPS_PER_OCTAVE, _OCTAVES * _STEPS_PER_OCTAVE + 1, dtype=torch.float64)
    magnitude = torch.exp2(steps / _STEPS_PER_OCTAVE).float()
    return torch.cat([-magnitude.flip(0), magnitude])


@dataclass(frozen=True)
class ImageStatistics:
    """What the accumulators read off one batch of activations: a few numbers for each image and channel.

    Attributes
    ----------
    peaks : Tensor
        (N, C) float32, the largest activation.
    rows, columns : Tensor
        (N, C) int64, where it is: the first such position in row-major order.
    active : Tensor
        (N, C) int64, how many positions are greater than zero.
    means : Tensor
        (N, C) float32, mean over the positions.
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
    rows: Tensor
    columns: Tensor
    active: Tensor
    means: Tensor
    deviations: Tensor
    positions: Tensor
    saturated: Tensor
    bounded: Tensor

    @classmethod
    def of(cls, values: Tensor, ceiling: float | None = None) -> ImageStatistics:
        """Reduce activations to the statistics of each image and channel, on the device they are on.

        Parameters
        ----------
        values : Tensor
            (N, C, h, w) floating point activations of one layer. Half precision is widened, double precision
            rounded, to float32.
        ceiling : float, optional
            The largest value that the activation function can give, if it has one: how often it does is counted.

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
        if maps.device.type != "cpu":
            found = _at_once(maps, ceiling)
        elif maps.is_contiguous(memory_format=torch.channels_last) and not maps.is_contiguous():
            found = _by_position(maps, ceiling)
        else:
            found = _by_map(maps.contiguous(), ceiling)
        return cls(
            **found,
            positions=torch.full((channels,), positions, dtype=torch.int64, device=values.device),
            bounded=torch.full((channels,), ceiling is not None, device=values.device),
        )

    @classmethod
    def join(cls, parts: Sequence[ImageStatistics]) -> ImageStatistics:
        """Put the channels of several layers, for the same images, side by side."""
        return cls(
            peaks=torch.cat([p.peaks for p in parts], dim=1),
            rows=torch.cat([p.rows for p in parts], dim=1),
            columns=torch.cat([p.columns for p in parts], dim=1),
            active=torch.cat([p.active for p in parts], dim=1),
            means=torch.cat([p.means for p in parts], dim=1),
            deviations=torch.cat([p.deviations for p in parts], dim=1),
            positions=torch.cat([p.positions for p in parts]),
            saturated=torch.cat([p.saturated for p in parts], dim=1),
            bounded=torch.cat([p.bounded for p in parts]),
        )

    def broken(self) -> Tensor:
        """Mark the maps in which any activation is NaN or infinite: (N, C) bool, on the device."""
        # A NaN, or an infinity of either sign, anywhere in the map makes its mean NaN or infinite.
        return ~torch.isfinite(self.means)

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


def _by_map(maps: Tensor, ceiling: float | None) -> dict[str, Tensor]:
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
        # numpy's arg-max uses vector instructions, and takes the first of equals; torch's is ten times slower.
        place = torch.from_numpy(block.numpy().argmax(axis=2))
        peak = block.gather(2, place[..., None]).squeeze(2)
        squares = torch.linalg.vector_norm(block, dim=2).square_()
        active = torch.gt(block, 0, out=flags).sum(dim=2)
        saturated = torch.zeros_like(active) if ceiling is None else torch.ge(block, ceiling, out=flags).sum(dim=2)
        found.append((peak, place, block.mean(dim=2), squares, active, saturated))
    peaks, places, means, squares, active, saturated = map(torch.cat, zip(*found, strict=True))
    return {
        "peaks": peaks,
        **_lines(places, width),
        "means": means,
        "deviations": _deviations(flat, means, squares),
        "active": active.long(),
        "saturated": saturated.long(),
    }


def _by_position(maps: Tensor, ceiling: float | None) -> dict[str, Tensor]:
    """Reduce maps (N, C, h, w) on a CPU in which the channels of a position lie side by side."""
    count, channels, height, width = maps.shape
    # Some whole images at a time, or a band of lines of one, so that all passes over it run in the caches of the cores.
    cached = _CACHED_LINES * torch.get_num_threads()
    band = max(1, min(height, cached // (width * channels)))
    images = max(1, cached // (height * width * channels)) if band == height else 1
    scratch = torch.empty(min(images, count) * band * width * channels)
    found: list[tuple[Tensor, ...]] = []
    for first in range(0, count, images):
        for top in range(0, height, band):
            block = maps[first : first + images, :, top : top + band]
            lines = block.permute(0, 2, 3, 1)
            into = scratch[: block.numel()].view(lines.shape)
            # Pooling finds the value and the first place of it in one pass of vector instructions.
            peak, place = F.max_pool2d(block, block.shape[2:], return_indices=True)
            total = lines.sum(dim=(1, 2))
            squares = torch.mul(lines, lines, out=into).sum(dim=(1, 2))
            active = torch.gt(lines, 0, out=into).sum(dim=(1, 2))
            saturated = active * 0 if ceiling is None else torch.ge(lines, ceiling, out=into).sum(dim=(1, 2))
            found.append((peak.flatten(1), place.flatten(1) + top * width, total, squares, active, saturated))
    # (N, bands, C)
    peaks, places, *sums = (torch.cat(bands).view(count, -1, channels) for bands in zip(*found, strict=True))
    peak, best = peaks.max(dim=1)  # of equal bands the first
    total, squares, active, saturated = (each.sum(dim=1) for each in sums)
    means = total / (height * width)
    return {
        "peaks": peak,
        **_lines(places.gather(1, best[:, None])[:, 0], width),
        "means": means,
        "deviations": _deviations(maps.flatten(2), means, squares),
        "active": active.long(),
        "saturated": saturated.long(),
    }


def _deviations(maps: Tensor, means: Tensor, squares: Tensor) -> Tensor:
    """The sum of squared deviations of maps (N, C, positions) from their means, given the sums of their squares."""
    found = squares - means.square() * maps.shape[2]
    # Where the mean is large against the spread, or the squares overflow, the difference loses its digits: those maps
    # are gone through again.
    poor = ~(found > _CANCELLED * squares) & (squares != 0)
    if bool(poor.any()):
        found[poor] = (maps[poor] - means[poor][:, None]).square_().sum(dim=1)
    return found


def _at_once(maps: Tensor, ceiling: float | None) -> dict[str, Tensor]:
    """Reduce maps (N, C, h, w) of any layout on any device: the whole batch in each pass, as accelerators like it."""
    flat = maps.flatten(2)
    peaks, places = flat.max(dim=2)
    means = flat.mean(dim=2)
    active = (flat > 0).sum(dim=2)
    return {
        "peaks": peaks,
        **_lines(places, maps.shape[3]),
        "means": means,
        "deviations": (flat - means[..., None]).square_().sum(dim=2),
        "active": active,
        "saturated": torch.zeros_like(active) if ceiling is None else (flat >= ceiling).sum(dim=2),
    }


def _lines(places: Tensor, width: int) -> dict[str, Tensor]:
    """Rows and columns of positions that are counted in row-major order."""
    return {"rows": places.div(width, rounding_mode="floor"), "columns": places % width}


class TopK:
    """The k images that excite each channel most, with the position in each.

    At most one position per image counts: the largest activation, at its first position in row-major order.
    Images are ranked by activation, larger first, and among equal activations by image index, smaller first.
    That is a total order, so the answer is the same for every split of the images into batches and shards,
    and every order of them.

    The same image given twice counts once, with the larger of its activations (among equal ones, the first
    position). With this, merging is associative, commutative and idempotent: overlapping shards do no harm.

    Activations are compared as float32.

    Parameters
    ----------
    channels : int
        Number of channels, at least 1.
    k : int, default 9
        How many images to keep for each channel, at least 1. With fewer images than this the remaining places
        stay empty.
    device : torch.device or str, default "cpu"
        Where the state lives: best where the activations are.
    name : str, default "this layer"
        What the channels belong to, for error messages.
    """

    def __init__(
        self, channels: int, k: int = 9, *, device: torch.device | str = "cpu", name: str = "this layer"
    ) -> None:
        require_counts(channels=channels, k=k)
        self.channels = channels
        self.k = k
        self.name = name
        self.device = torch.device(device)
        self._values = torch.full((channels, k), -torch.inf, device=self.device)
        self._images = torch.full((channels, k), _NOWHERE, device=self.device)
        self._rows = torch.full((channels, k), -1, device=self.device)
        self._columns = torch.full((channels, k), -1, device=self.device)

    def __repr__(self) -> str:
        return f"TopK(channels={self.channels}, k={self.k})"

    @property
    def values(self) -> Tensor:
        """(channels, k) float32, descending; -inf in an empty place."""
        return self._values

    @property
    def images(self) -> Tensor:
        """(channels, k) int64, image indices; -1 in an empty place."""
        return torch.where(self._images == _NOWHERE, -1, self._images)

    @property
    def rows(self) -> Tensor:
        """(channels, k) int64; -1 in an empty place."""
        return self._rows

    @property
    def columns(self) -> Tensor:
        """(channels, k) int64; -1 in an empty place."""
        return self._columns

    def update(self, values: Tensor, images: Sequence[int] | Tensor) -> None:
        """Take in a batch.

        Parameters
        ----------
        values : Tensor
            (N, channels, h, w) floating point activations.
        images : sequence of int or Tensor
            (N,) index of the image that each row of the batch belongs to, 0 or greater.

        Raises
        ------
        ArgumentError
            When the shapes do not fit, an index is negative, or an activation is NaN or infinite.
        """
        self.add(ImageStatistics.of(values).checked(self.name), images)

    def add(self, statistics: ImageStatistics, images: Sequence[int] | Tensor, *, distinct: bool = False) -> None:
        """Take in a batch that is reduced already and known to be finite (see `ImageStatistics.checked`).

        Parameters
        ----------
        statistics : ImageStatistics
            Of N images.
        images : sequence of int or Tensor
            (N,) their indices.
        distinct : bool, default False
            Whether the images are known to be distinct and not seen before. It saves looking for repetitions, which
            makes an accelerator wait.
        """
        index = torch.as_tensor(images, dtype=torch.int64)
        _require_shape(statistics, self.channels, self.name)
        if index.shape != (len(statistics.peaks),):
            raise ArgumentError(
                f"Expected one image index for each of the {len(statistics.peaks)} rows of the batch, "
                f"got shape {tuple(index.shape)}."
            )
        if len(index) and int(index.min()) < 0:
            raise ArgumentError(f"Expected image indices of 0 or greater, got {int(index.min())}.")
        values, rows, columns = statistics.peaks.T, statistics.rows.T, statistics.columns.T
        numbers = index.to(self.device, non_blocking=True).expand(self.channels, -1)
        if distinct and self.device.type == "cpu":
            # Before long a batch is among the best of few channels: only those are sorted. Elsewhere asking which would
            # make the accelerator wait.
            worst, image, peaks = self._values[:, -1], self._images[:, -1], statistics.peaks
            enters = (peaks > worst) | ((peaks == worst) & (index[:, None] < image))
            few = enters.any(dim=0).nonzero().flatten()
            if len(few) * 2 < self.channels:
                part = copy.copy(self)
                for name in _STATE:
                    setattr(part, name, getattr(self, name)[few])
                part._insert(values[few], numbers[few], rows[few], columns[few], distinct)
                for name in _STATE:
                    setattr(self, name, getattr(self, name).index_copy(0, few, getattr(part, name)))
                return
        self._insert(values, numbers, rows, columns, distinct)

    def merge(self, other: TopK) -> None:
        """Take in all that `other` has seen.

        Raises
        ------
        ArgumentError
            When the number of channels or k differ.
        """
        if (other.channels, other.k) != (self.channels, self.k):
            raise ArgumentError(
                f"Expected to merge {self!r} with its like, got {other!r}. Accumulate both with the same layer and k."
            )
        self._insert(other._values, other._images, other._rows, other._columns)

    def _insert(self, values: Tensor, images: Tensor, rows: Tensor, columns: Tensor, distinct: bool = False) -> None:
        entries = {
            "values": torch.cat([self._values, values.to(self.device)], dim=1),
            "images": torch.cat([self._images, images.to(self.device)], dim=1),
            "rows": torch.cat([self._rows, rows.to(self.device)], dim=1),
            "columns": torch.cat([self._columns, columns.to(self.device)], dim=1),
        }
        # Sorted by image first, a stable sort by value leaves equal values in the order of their images.
        ordered = _sorted_by(entries, "images")
        if not distinct and bool(_repeats(ordered["images"]).any()):
            # Of the entries of one image the larger value comes first, then the earlier row and column; the
            # others are emptied.
            for key in ("columns", "rows", "values", "images"):
                entries = _sorted_by(entries, key, descending=key == "values")
            repeated = _repeats(entries["images"])
            ordered = {name: tensor.masked_fill(repeated, _EMPTY[name]) for name, tensor in entries.items()}
            ordered = _sorted_by(ordered, "images")
        # New tensors every time, never written in place: a copy of the accumulator stays as it was.
        best = _sorted_by(ordered, "values", descending=True, keep=self.k)
        self._values, self._images, self._rows, self._columns = (best[name] for name in _EMPTY)

    def copy(self) -> TopK:
        """Return an accumulator with the same state, independent of this one; no data is copied."""
        return copy.copy(self)

    def state_dict(self) -> dict[str, Tensor]:
        """Return values, images, rows and columns as plain CPU tensors."""
        return {
            "values": self.values.cpu(),
            "images": self.images.cpu(),
            "rows": self.rows.cpu(),
            "columns": self.columns.cpu(),
        }

    @classmethod
    def from_state(
        cls, state: Mapping[str, Tensor], *, device: torch.device | str = "cpu", name: str = "this layer"
    ) -> TopK:
        """Restore an accumulator from `state_dict`.

        Raises
        ------
        ArgumentError
            When an entry is missing or the shapes do not fit together.
        """
        _require_keys(state, _EMPTY)
        values = state["values"]
        if values.ndim != 2 or any(state[key].shape != values.shape for key in _EMPTY):
            shapes = {key: tuple(state[key].shape) for key in _EMPTY}
            raise ArgumentError(
                f"Expected top activations of one shape (channels, k), got {shapes}. The state is damaged."
            )
        top = cls(*values.shape, device=device, name=name)
        images = state["images"].long()
        top._insert(
            values.float(),
            torch.where(images < 0, _NOWHERE, images),
            state["rows"].long(),
            state["columns"].long(),
        )
        return top


class Health:
    """How alive each channel is: how often it is active, how strongly, and how that is spread.

    "Active" means greater than zero. Every image counts as often as it is given: unlike `TopK`, this cannot
    recognise an image it has seen before.

    Counts are exact integers; mean and variance are carried in float64 and merged by the formula of Chan,
    Golub and LeVeque ("Updating formulae and a pairwise algorithm for computing sample variances", 1979),
    which loses no precision where the mean is large against the spread.

    Parameters
    ----------
    channels : int
        Number of channels, at least 1.
    device : torch.device or str, default "cpu"
        Where the state lives. Needs float64: for Apple's MPS choose "cpu".
    name : str, default "this layer"
        What the channels belong to, for error messages.
    """

    def __init__(self, channels: int, *, device: torch.device | str = "cpu", name: str = "this layer") -> None:
        require_counts(channels=channels)
        self.channels = channels
        self.name = name
        self.device = torch.device(device)
        self._edges = histogram_edges().to(self.device)
        self._state = {
            "images": torch.zeros((), dtype=torch.int64, device=self.device),
            "positions": torch.zeros(channels, dtype=torch.int64, device=self.device),
            "active_images": torch.zeros(channels, dtype=torch.int64, device=self.device),
            "active_positions": torch.zeros(channels, dtype=torch.int64, device=self.device),
            "saturated_positions": torch.zeros(channels, dtype=torch.int64, device=self.device),
            "bounded_positions": torch.zeros(channels, dtype=torch.int64, device=self.device),
            "maximum": torch.full((channels,), -torch.inf, device=self.device),
            "mean": torch.zeros(channels, dtype=torch.float64, device=self.device),
            "deviation": torch.zeros(channels, dtype=torch.float64, device=self.device),
            "histogram": torch.zeros((channels, len(self._edges) + 1), dtype=torch.int64, device=self.device),
        }

    def __repr__(self) -> str:
        return f"Health(channels={self.channels}, images={self.images})"

    @property
    def images(self) -> int:
        """Number of images seen."""
        return int(self._state["images"])

    @property
    def positions(self) -> Tensor:
        """(channels,) int64, number of positions seen, over all images."""
        return self._state["positions"]

    @property
    def active_images(self) -> Tensor:
        """(channels,) int64, images with at least one activation greater than zero."""
        return self._state["active_images"]

    @property
    def active_positions(self) -> Tensor:
        """(channels,) int64, activations greater than zero."""
        return self._state["active_positions"]

    @property
    def saturated(self) -> Tensor:
        """(channels,) float64, share of activations at the upper bound of a bounded activation; NaN without a bound."""
        return self._state["saturated_positions"].double() / self._state["bounded_positions"]

    @property
    def maximum(self) -> Tensor:
        """(channels,) float32, the largest activation; -inf before the first image."""
        return self._state["maximum"]

    @property
    def mean(self) -> Tensor:
        """(channels,) float64, mean over all positions of all images; NaN before the first image."""
        return torch.where(self.positions > 0, self._state["mean"], torch.nan)

    @property
    def variance(self) -> Tensor:
        """(channels,) float64, variance over all positions of all images; NaN before the first image."""
        return self._state["deviation"] / self.positions

    @property
    def histogram(self) -> Tensor:
        """(channels, 115) int64, images by their largest activation, on the bins of `histogram_edges`.

        One count an image: the top activations are the right end of this distribution.
        """
        return self._state["histogram"]

    def update(self, values: Tensor) -> None:
        """Take in a batch.

        Parameters
        ----------
        values : Tensor
            (N, channels, h, w) floating point activations.

        Raises
        ------
        ArgumentError
            When the shape does not fit or an activation is NaN or infinite.
        """
        self.add(ImageStatistics.of(values).checked(self.name))

    def add(self, statistics: ImageStatistics) -> None:
        """Take in a batch that is reduced already and known to be finite (see `ImageStatistics.checked`)."""
        _require_shape(statistics, self.channels, self.name)
        count = len(statistics.peaks)
        if count == 0:
            return
        peaks, active = statistics.peaks.to(self.device), statistics.active.to(self.device)
        means, positions = statistics.means.to(self.device).double(), statistics.positions.to(self.device)
        mean = means.mean(dim=0)
        within = statistics.deviations.to(self.device).double().sum(dim=0)
        between = (means - mean).square().sum(dim=0) * positions
        bins = torch.bucketize(peaks.T.contiguous(), self._edges, right=True)
        self._combine(
            {
                "images": torch.tensor(count, device=self.device),
                "positions": positions * count,
                "active_images": (peaks > 0).sum(dim=0),
                "active_positions": active.sum(dim=0),
                "saturated_positions": statistics.saturated.to(self.device).sum(dim=0),
                "bounded_positions": positions * count * statistics.bounded.to(self.device),
                "maximum": peaks.amax(dim=0),
                "mean": mean,
                "deviation": within + between,
            },
            histogram=self.histogram.scatter_add(1, bins, torch.ones_like(bins)),
        )

    def merge(self, other: Health) -> None:
        """Take in all that `other` has seen.

        Raises
        ------
        ArgumentError
            When the number of channels differs.
        """
        if other.channels != self.channels:
            raise ArgumentError(
                f"Expected to merge {self!r} with its like, got {other!r}. Use the same layer for both."
            )
        theirs = {key: tensor.to(self.device) for key, tensor in other._state.items()}
        self._combine(theirs, histogram=self.histogram + theirs.pop("histogram"))

    def _combine(self, other: Mapping[str, Tensor], histogram: Tensor) -> None:
        mine = self._state
        total = mine["positions"] + other["positions"]
        # Weights rather than counts divided in place: 0 / 0 for two empty sides becomes 0, and swapping the
        # sides changes no bit.
        weight_mine = mine["positions"] / total.clamp(min=1).double()
        weight_other = other["positions"] / total.clamp(min=1).double()
        difference = other["mean"] - mine["mean"]
        counts = (
            "images",
            "positions",
            "active_images",
            "active_positions",
            "saturated_positions",
            "bounded_positions",
        )
        combined = {key: mine[key] + other[key] for key in counts}
        combined["maximum"] = torch.maximum(mine["maximum"], other["maximum"])
        combined["mean"] = mine["mean"] * weight_mine + other["mean"] * weight_other
        spread = difference.square() * (weight_mine * weight_other) * total
        combined["deviation"] = mine["deviation"] + other["deviation"] + spread
        combined["histogram"] = histogram
        # New tensors every time, never written in place: a copy of the accumulator stays as it was.
        self._state = combined

    def copy(self) -> Health:
        """Return an accumulator with the same state, independent of this one; no data is copied."""
        return copy.copy(self)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the state as plain CPU tensors ("deviation": sum of squared deviations from the mean)."""
        return {key: tensor.cpu() for key, tensor in self._state.items()}

    @classmethod
    def from_state(
        cls, state: Mapping[str, Tensor], *, device: torch.device | str = "cpu", name: str = "this layer"
    ) -> Health:
        """Restore an accumulator from `state_dict`.

        Raises
        ------
        ArgumentError
            When an entry is missing or the shapes do not fit together.
        """
        _require_keys(state, ("positions",))
        health = cls(state["positions"].numel(), device=device, name=name)
        _require_keys(state, health._state)
        for key, empty in health._state.items():
            if state[key].shape != empty.shape:
                raise ArgumentError(
                    f"Expected {key!r} of shape {tuple(empty.shape)}, got {tuple(state[key].shape)}. "
                    "The state is damaged."
                )
        health._state = {
            key: state[key].to(device=health.device, dtype=empty.dtype) for key, empty in health._state.items()
        }
        return health


_STATE = ("_values", "_images", "_rows", "_columns")

_EMPTY: dict[str, float] = {"values": -torch.inf, "images": _NOWHERE, "rows": -1, "columns": -1}
"""The entries of a `TopK` and what an empty place holds."""


def _sorted_by(
    entries: Mapping[str, Tensor], key: str, *, descending: bool = False, keep: int | None = None
) -> dict[str, Tensor]:
    """Sort each row of all entries by one of them, stably, and keep the first few columns."""
    order = entries[key].sort(dim=1, stable=True, descending=descending).indices[:, :keep]
    return {name: tensor.gather(1, order) for name, tensor in entries.items()}


def _repeats(images: Tensor) -> Tensor:
    """Mark, in rows sorted by image, the entries whose image is that of the entry before."""
    repeated = torch.zeros_like(images, dtype=torch.bool)
    repeated[:, 1:] = (images[:, 1:] == images[:, :-1]) & (images[:, 1:] != _NOWHERE)
    return repeated


def _require_shape(statistics: ImageStatistics, channels: int, name: str) -> None:
    if statistics.peaks.shape[1] != channels:
        raise ArgumentError(f"Expected {channels} channels in {name}, got {statistics.peaks.shape[1]}.")


def _require_keys(state: Mapping[str, Tensor], keys: Mapping[str, object] | Sequence[str]) -> None:
    if missing := [key for key in keys if key not in state]:
        raise ArgumentError(
            f"Expected a state with {', '.join(keys)}; {', '.join(missing)} is missing. Make it with state_dict()."
        )
