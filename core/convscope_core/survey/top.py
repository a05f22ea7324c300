"""The images that excite each channel most, mergeable."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from convscope_core.arguments import require_counts
from convscope_core.errors import ArgumentError
from convscope_core.survey.accumulator import Accumulator, marked, require_keys
from convscope_core.survey.reduction import ImageStatistics
from convscope_core.threads import parts_at_once, side_by_side

__all__ = ["TopK"]

_NOWHERE = torch.iinfo(torch.int64).max
"""Image index of an empty place in a `TopK`: sorts after every real image."""

_LOW = 2**32 - 1
"""All ones in the lower half of a key by which is sorted."""

_STATE = ("_values", "_images", "_rows", "_columns")

_WAITING = 32
"""Images, at least, that wait until they are sorted in together."""

_SORTED = 1024
"""Channels that are sorted at once on a CPU: few enough for what that takes to stay in the cache, and to be memory that
was used before, which the operating system need not clear."""

_EMPTY: dict[str, float] = {"values": -torch.inf, "images": _NOWHERE, "rows": -1, "columns": -1}
"""The entries of a `TopK` and what an empty place holds."""


class TopK(Accumulator):
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
    k : int, default 9
        How many images to keep for each channel, at least 1. With fewer images than this the remaining places
        stay empty.
    before_ceiling : bool, default False
        Whether to rank by activations as they would be without the ceiling of the activation function, and to keep
        these (`ImageStatistics.before_ceiling`): the order of a ReLU6's images that all reach 6 would say nothing.
    channels, device, name
        See `Accumulator`.
    """

    def __init__(
        self,
        channels: int,
        k: int = 9,
        *,
        before_ceiling: bool = False,
        device: torch.device | str = "cpu",
        name: str = "this layer",
    ) -> None:
        super().__init__(channels, device=device, name=name)
        require_counts(k=k)
        self.k = k
        self.before_ceiling = before_ceiling
        self._values = torch.full((channels, k), -torch.inf, dtype=torch.float32, device=self.device)
        self._images = torch.full((channels, k), _NOWHERE, device=self.device)
        self._rows = torch.full((channels, k), -1, device=self.device)
        self._columns = torch.full((channels, k), -1, device=self.device)
        self._waiting: tuple[dict[str, Tensor], ...] = ()
        self._largest = -1
        """The largest image index that was given: known without asking the device."""

    def __repr__(self) -> str:
        return f"TopK(channels={self.channels}, k={self.k}{', before_ceiling=True' * self.before_ceiling})"

    @property
    def values(self) -> Tensor:
        """(channels, k) float32, descending; -inf in an empty place."""
        self._settle()
        return self._values

    @property
    def images(self) -> Tensor:
        """(channels, k) int64, image indices; -1 in an empty place."""
        self._settle()
        return torch.where(self._images == _NOWHERE, -1, self._images)

    @property
    def rows(self) -> Tensor:
        """(channels, k) int64; -1 in an empty place."""
        self._settle()
        return self._rows

    @property
    def columns(self) -> Tensor:
        """(channels, k) int64; -1 in an empty place."""
        self._settle()
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
        index = torch.as_tensor(images, dtype=torch.int64, device="cpu")
        self._require_batch(statistics, "image index", *index.shape)
        if len(index) and int(index.min()) < 0:
            raise ArgumentError(f"Expected image indices of 0 or greater, got {int(index.min())}.")
        if len(index):
            self._largest = max(self._largest, int(index.max()))
        peaks = statistics.before_ceiling if self.before_ceiling else statistics.peaks
        peaks, rows, columns = (t.to(self.device) for t in (peaks, statistics.rows, statistics.columns))
        values, rows, columns = peaks.T, rows.T, columns.T
        numbers = index.to(self.device, non_blocking=True).expand(self.channels, -1)
        if not distinct:
            self._insert(values, numbers, rows, columns)
            return
        batch = dict(zip(_EMPTY, (values, numbers, rows, columns), strict=True))
        self._waiting = (*self._waiting, batch)
        if sum(one["values"].shape[1] for one in self._waiting) >= max(self.k, _WAITING):
            self._settle()

    def _settle(self) -> None:
        """Sort in the batches that wait, of distinct images."""
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, ()
        size = _SORTED if self.device.type == "cpu" else self.channels
        blocks = [slice(first, first + size) for first in range(0, self.channels, size)]
        count = parts_at_once(len(blocks), self.device)
        parts = [blocks[len(blocks) * i // count : len(blocks) * (i + 1) // count] for i in range(count)]
        sort = partial(self._sorted_in, waiting)
        found = [block for part in side_by_side(lambda part: [sort(block) for block in part], parts) for block in part]
        # New tensors every time, never written in place: a copy of the accumulator stays as it was.
        self._values, self._images, self._rows, self._columns = map(torch.cat, zip(*found, strict=True))

    def _sorted_in(self, waiting: Sequence[Mapping[str, Tensor]], block: slice) -> tuple[Tensor, ...]:
        """Return the state of some of the channels with the batches that wait."""
        part = copy.copy(self)
        old = [getattr(self, name)[block] for name in _STATE]
        joined = {name: torch.cat([one[name][block] for one in waiting], dim=1) for name in _EMPTY}
        few: slice | Tensor = slice(None)
        if self.device.type == "cpu":
            # Before long batches are among the best of few channels: only those are sorted. Elsewhere asking which
            # would make the accelerator wait.
            worst, image = old[0][:, -1:], old[1][:, -1:]
            enters = (joined["values"] > worst) | ((joined["values"] == worst) & (joined["images"] < image))
            few = enters.any(dim=1).nonzero().flatten()
        for name, array in zip(_STATE, old, strict=True):
            setattr(part, name, array[few])
        part._insert(**{name: array[few] for name, array in joined.items()}, distinct=True)
        new = [getattr(part, name) for name in _STATE]
        if isinstance(few, slice):
            return tuple(new)
        return tuple(a.index_copy(0, few, b) for a, b in zip(old, new, strict=True))

    def merge(self, other: TopK) -> None:
        """Take in all that `other` has seen.

        Raises
        ------
        ArgumentError
            When the number of channels, k, or what they are ranked by differ.
        """
        self._require_like(other, "k", "before_ceiling")
        other._settle()
        self._largest = max(self._largest, other._largest)
        self._insert(other._values, other._images, other._rows, other._columns)

    def _insert(self, values: Tensor, images: Tensor, rows: Tensor, columns: Tensor, distinct: bool = False) -> None:
        self._settle()
        entries = {
            "values": torch.cat([self._values, values.to(self.device)], dim=1),
            "images": torch.cat([self._images, images.to(self.device)], dim=1),
            "rows": torch.cat([self._rows, rows.to(self.device)], dim=1),
            "columns": torch.cat([self._columns, columns.to(self.device)], dim=1),
        }
        if not distinct and bool(_repeats(entries["images"].sort(dim=1).values).any()):
            # Of the entries of one image the larger value comes first, then the earlier row and column; the
            # others are emptied.
            for key in ("columns", "rows", "values", "images"):
                entries = _sorted_by(entries, key, descending=key == "values")
            repeated = _repeats(entries["images"])
            entries = {name: tensor.masked_fill(repeated, _EMPTY[name]) for name, tensor in entries.items()}
        best = _ranked(entries["values"], entries["images"], self._largest)[:, : self.k]
        # New tensors every time, never written in place: a copy of the accumulator stays as it was.
        self._values, self._images, self._rows, self._columns = (entries[name].gather(1, best) for name in _EMPTY)

    def state_dict(self) -> dict[str, Tensor]:
        """Return values, images, rows, columns, and that values are before the ceiling if so, as plain CPU tensors."""
        return {
            "values": self.values.cpu(),
            "images": self.images.cpu(),
            "rows": self.rows.cpu(),
            "columns": self.columns.cpu(),
            **marked(self.before_ceiling),
        }

    @classmethod
    def from_state(
        cls, state: Mapping[str, Tensor], *, device: torch.device | str = "cpu", name: str = "this layer"
    ) -> TopK:
        """See `Accumulator`."""
        require_keys(state, _EMPTY)
        values = state["values"]
        if values.ndim != 2 or any(state[key].shape != values.shape for key in _EMPTY):
            shapes = {key: tuple(state[key].shape) for key in _EMPTY}
            raise ArgumentError(
                f"Expected top activations of one shape (channels, k), got {shapes}. The state is damaged."
            )
        top = cls(*values.shape, before_ceiling="before_ceiling" in state, device=device, name=name)
        images = state["images"].long()
        found = (
            values.float(),
            torch.where(images < 0, _NOWHERE, images),
            state["rows"].long(),
            state["columns"].long(),
        )
        top._largest = int(images.max()) if images.numel() else -1
        if _ordered(*found[:2]):
            top._values, top._images, top._rows, top._columns = (array.to(top.device) for array in found)
        else:
            top._insert(*found)
        return top


def _ordered(values: Tensor, images: Tensor) -> bool:
    """Whether each row is as `TopK` keeps it: larger values first, of equal ones smaller images, and none twice."""
    falls = values[:, 1:] < values[:, :-1]
    tie = (values[:, 1:] == values[:, :-1]) & (images[:, 1:] >= images[:, :-1])
    return bool((falls | tie).all()) and not bool(_repeats(images.sort(dim=1).values).any())


def _ranked(values: Tensor, images: Tensor, largest: int) -> Tensor:
    """Return the order of each row (channels, n): larger values first, of equal ones smaller images.

    Sorted are whole numbers: the bits of the values, which order as the values do once those of negative ones are
    turned, above the image, which is at most `largest` or nowhere.
    """
    on_cpu = values.device.type == "cpu"
    if on_cpu or largest >= _LOW:
        by_image = torch.from_numpy(images.numpy().argsort(axis=1)) if on_cpu else images.argsort(dim=1)
        values = values.gather(1, by_image)
        low = torch.arange(values.shape[1], device=values.device)
    else:
        by_image, low = None, images.clamp(max=_LOW)
    bits = (values + 0.0).view(torch.int32)  # of two zeros one
    ascending = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    keys = (~ascending).long() << 32 | low
    if by_image is None:
        return keys.argsort(dim=1)
    if on_cpu:
        # By vector instructions, ten times as fast as torch.
        keys.numpy().sort(axis=1)
    else:
        keys = keys.sort(dim=1).values
    return by_image.gather(1, keys & _LOW)


def _sorted_by(entries: Mapping[str, Tensor], key: str, *, descending: bool = False) -> dict[str, Tensor]:
    """Sort each row of all entries by one of them, stably."""
    order = entries[key].sort(dim=1, stable=True, descending=descending).indices
    return {name: tensor.gather(1, order) for name, tensor in entries.items()}


def _repeats(images: Tensor) -> Tensor:
    """Mark, in rows sorted by image, the entries whose image is that of the entry before."""
    repeated = torch.zeros_like(images, dtype=torch.bool)
    repeated[:, 1:] = (images[:, 1:] == images[:, :-1]) & (images[:, 1:] != _NOWHERE)
    return repeated
