"""A mergeable random sample of images with the maxima of all channels: what is between the top and nothing."""

from __future__ import annotations

import copy
import heapq
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from convscope_core.arguments import require_counts
from convscope_core.errors import ArgumentError
from convscope_core.survey.accumulators import ImageStatistics

__all__ = ["Sample"]


class Sample:
    """The largest activation of every channel on a random sample of the images.

    The top activations of a unit show only its extreme; what it does on ordinary images, and which other units do the
    same, takes all channels on the same images. The sample is those `size` images whose numbers have the smallest
    hashes (a bottom-k sample): every image has the same chance, and which ones are in depends on the images alone, not
    on batches, order or shards.

    Parameters
    ----------
    channels : int
        Number of channels, at least 1.
    size : int, default 512
        Images to keep. They take four bytes for each channel and image.
    device : torch.device or str, default "cpu"
        Where the state lives.
    name : str, default "this layer"
        What the channels belong to, for error messages.
    """

    def __init__(
        self, channels: int, size: int = 512, *, device: torch.device | str = "cpu", name: str = "this layer"
    ) -> None:
        require_counts(channels=channels, size=size)
        self.channels = channels
        self.size = size
        self.name = name
        self.device = torch.device(device)
        self._rows: dict[int, Tensor] = {}

    def __repr__(self) -> str:
        return f"Sample(channels={self.channels}, size={self.size}, images={len(self._rows)})"

    @property
    def images(self) -> Tensor:
        """(n,) int64, the images in the sample, ascending; n <= `size`."""
        return torch.tensor(sorted(self._rows), dtype=torch.int64)

    @property
    def peaks(self) -> Tensor:
        """(n, channels) float32, the largest activation of each channel on each of `images`."""
        if not self._rows:
            return torch.zeros(0, self.channels, device=self.device)
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
        peaks = statistics.peaks
        if peaks.shape != (len(images), self.channels):
            raise ArgumentError(
                f"Expected {self.channels} channels in {self.name} and an index for each image; got maxima of shape "
                f"{tuple(peaks.shape)} and {len(images)} indices."
            )
        kept = self._smallest([*self._rows, *images])
        for row, image in enumerate(images):
            if image in kept:
                # A copy: a view would keep the whole batch.
                self._rows[image] = peaks[row].to(self.device, copy=True)
        self._keep(kept)

    def merge(self, other: Sample) -> None:
        """Take in all that `other` has seen.

        Raises
        ------
        ArgumentError
            When the number of channels or the size differ.
        """
        if (other.channels, other.size) != (self.channels, self.size):
            raise ArgumentError(
                f"Expected to merge {self!r} with its like, got {other!r}. Use the same layers and size for both."
            )
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
        other = copy.copy(self)
        other._rows = dict(self._rows)
        return other

    def state_dict(self) -> dict[str, Tensor]:
        """Return images, peaks and size as plain CPU tensors."""
        return {"images": self.images, "peaks": self.peaks.cpu(), "size": torch.tensor(self.size)}

    @classmethod
    def from_state(
        cls, state: Mapping[str, Tensor], *, device: torch.device | str = "cpu", name: str = "this layer"
    ) -> Sample:
        """Restore an accumulator from `state_dict`.

        Raises
        ------
        ArgumentError
            When an entry is missing or the shapes do not fit together.
        """
        missing = [key for key in ("images", "peaks", "size") if key not in state]
        if missing or state["peaks"].ndim != 2 or len(state["images"]) != len(state["peaks"]):
            raise ArgumentError(
                "Expected the state of a sample: images (n,), peaks (n, channels) and size. Make it with state_dict()."
            )
        sample = cls(state["peaks"].shape[1], int(state["size"]), device=device, name=name)
        peaks = state["peaks"].to(sample.device, torch.float32)
        sample._rows = dict(zip(state["images"].tolist(), peaks, strict=True))
        return sample


def mixed(number: int) -> int:
    """Hash a whole number to 64 bits that look random: the finaliser of SplitMix64 (Steele, Lea & Flood, 2014)."""
    word = 2**64 - 1
    z = (number * 0x9E3779B97F4A7C15 + 0x9E3779B97F4A7C15) & word
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & word
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & word
    return z ^ (z >> 31)
