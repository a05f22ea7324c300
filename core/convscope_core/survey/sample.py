"""A mergeable random sample of images with the maxima and means of all channels: what lies below the top."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from convscope_core.arguments import require_counts
from convscope_core.errors import ArgumentError
from convscope_core.survey.accumulator import Accumulator, marked
from convscope_core.survey.reduction import ImageStatistics

__all__ = ["Sample"]


class Sample(Accumulator):
    """The largest and the mean activation of every channel on a random sample of the images.

    The top activations of a unit show only its extreme; what it does on ordinary images, and which other units do the
    same, takes all channels on the same images. The sample is those `size` images whose numbers have the smallest
    hashes (a bottom-k sample): every image has the same chance, and which ones are in depends on the images alone, not
    on batches, order or shards.

    Parameters
    ----------
    size : int, default 512
        Images to keep. They take eight bytes for each channel and image.
    before_ceiling : bool, default False
        Whether the largest are those before the ceiling of the activation function, as in `TopK`.
    channels, device, name
        See `Accumulator`.
    """

    def __init__(
        self,
        channels: int,
        size: int = 512,
        *,
        before_ceiling: bool = False,
        device: torch.device | str = "cpu",
        name: str = "this layer",
    ) -> None:
        super().__init__(channels, device=device, name=name)
        self.before_ceiling = before_ceiling
        require_counts(size=size)
        self.size = size
        self._rows: dict[int, Tensor] = {}  # (2, channels): largest and mean

    def __repr__(self) -> str:
        return f"Sample(channels={self.channels}, size={self.size}, images={len(self._rows)})"

    @property
    def images(self) -> Tensor:
        """(n,) int64, the images in the sample, ascending; n <= `size`."""
        return torch.tensor(sorted(self._rows), dtype=torch.int64)

    @property
    def peaks(self) -> Tensor:
        """(n, channels) float32, the largest activation of each channel on each of `images`."""
        return self._stacked()[:, 0]

    @property
    def means(self) -> Tensor:
        """(n, channels) float32, the mean over the positions of each channel on each of `images`."""
        return self._stacked()[:, 1]

    def _stacked(self) -> Tensor:
        if not self._rows:
            return torch.zeros(0, 2, self.channels, device=self.device)
        return torch.stack([self._rows[image] for image in sorted(self._rows)])

    def update(self, values: Tensor, images: Sequence[int]) -> None:
        """Take in a batch.

        Parameters
        ----------
        values : Tensor
            (N, channels, h, w) floating point activations.
        images : sequence of int
            (N,) index of the image that each row of the batch belongs to, 0 or greater.

        Raises
        ------
        ArgumentError
            When the shapes do not fit or an activation is NaN or infinite.
        """
        self.add(ImageStatistics.of(values).checked(self.name), images)

    def add(self, statistics: ImageStatistics, images: Sequence[int]) -> None:
        """Take in a batch that is reduced already and known to be finite (see `ImageStatistics.checked`)."""
        self._require_batch(statistics, "image index", len(images))
        kept = self._smallest([*self._rows, *images])
        peaks = statistics.before_ceiling if self.before_ceiling else statistics.peaks
        for row, image in enumerate(images):
            if image in kept:
                # A copy: a view would keep the whole batch.
                self._rows[image] = torch.stack([peaks[row], statistics.means[row]]).to(self.device)
        self._keep(kept)

    def merge(self, other: Sample) -> None:
        """Take in all that `other` has seen.

        Raises
        ------
        ArgumentError
            When the number of channels, the size, or what the largest are of, differ.
        """
        self._require_like(other, "size", "before_ceiling")
        kept = self._smallest([*self._rows, *other._rows])
        self._rows.update((image, row.to(self.device)) for image, row in other._rows.items() if image in kept)
        self._keep(kept)

    def _smallest(self, images: Sequence[int]) -> set[int]:
        distinct = set(images)
        return distinct if len(distinct) <= self.size else set(heapq.nsmallest(self.size, distinct, key=mixed))

    def _keep(self, kept: set[int]) -> None:
        for image in [image for image in self._rows if image not in kept]:
            del self._rows[image]

    def copy(self) -> Sample:
        """Return an accumulator with the same state, independent of this one; no data is copied."""
        other = super().copy()
        other._rows = dict(self._rows)
        return other

    def state_dict(self) -> dict[str, Tensor]:
        """Return images, peaks, means and size as plain CPU tensors."""
        rows = self._stacked()
        # Into pinned memory it takes a tenth of the time, and that is there again for the next shard.
        there = torch.empty(rows.shape, dtype=rows.dtype, pin_memory=rows.device.type == "cuda").copy_(rows)
        peaks, means = there.unbind(1)
        found = {"images": self.images, "peaks": peaks, "means": means, "size": torch.tensor(self.size)}
        return found | marked(self.before_ceiling)

    @classmethod
    def from_state(
        cls, state: Mapping[str, Tensor], *, device: torch.device | str = "cpu", name: str = "this layer"
    ) -> Sample:
        """See `Accumulator`."""
        missing = [key for key in ("images", "peaks", "means", "size") if key not in state]
        peaks, means = state.get("peaks", torch.empty(0)), state.get("means", torch.empty(0))
        if missing or peaks.ndim != 2 or len(state["images"]) != len(peaks) or means.shape != peaks.shape:
            raise ArgumentError(
                "Expected the state of a sample: images (n,), peaks and means (n, channels) and size. Make it with "
                "state_dict()."
            )
        before = "before_ceiling" in state
        sample = cls(peaks.shape[1], int(state["size"]), before_ceiling=before, device=device, name=name)
        rows = torch.stack([peaks, means], 1).to(sample.device, torch.float32)
        # Copies: a row that is part of all rows is pickled with all of them.
        sample._rows = {image: row.clone() for image, row in zip(state["images"].tolist(), rows, strict=True)}
        return sample


def mixed(number: int) -> int:
    """Hash a whole number to 64 bits that look random: the finaliser of SplitMix64 (Steele, Lea & Flood, 2014)."""
    word = 2**64 - 1
    z = (number * 0x9E3779B97F4A7C15 + 0x9E3779B97F4A7C15) & word
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & word
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & word
    return z ^ (z >> 31)
