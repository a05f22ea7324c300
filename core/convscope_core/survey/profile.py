"""Mergeable means of every channel by class: which classes a unit responds to."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from convscope_core.errors import ArgumentError
from convscope_core.survey.accumulator import Accumulator
from convscope_core.survey.reduction import ImageStatistics

__all__ = ["ClassProfile"]


class ClassProfile(Accumulator):
    """Mean activation of every channel over the images of each class.

    Only labels that were met take memory: eight bytes for each channel. Images without a label are left out. Every
    image counts as often as it is given. Sums are carried in float64, so that batches and shards change them in the
    last digits at most.

    Parameters
    ----------
    channels, device, name
        See `Accumulator`.
    """

    def __init__(self, channels: int, *, device: torch.device | str = "cpu", name: str = "this layer") -> None:
        super().__init__(channels, device=device, name=name)
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        self._squares = torch.zeros(channels, dtype=torch.float64, device=self.device)

    def __repr__(self) -> str:
        return f"ClassProfile(channels={self.channels}, labels={len(self._sums)})"

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that were met, in alphabetical order."""
        return tuple(sorted(self._sums))

    @property
    def counts(self) -> Tensor:
        """(labels,) int64, images of each label."""
        return torch.tensor([self._counts[label] for label in self.labels], dtype=torch.int64)

    @property
    def means(self) -> Tensor:
        """(labels, channels) float64, mean over all positions of all images of each label."""
        return self._stacked() / self.counts.to(self.device)[:, None]

    @property
    def spread(self) -> Tensor:
        """(channels,) float64, standard deviation between images of a channel's mean activation; NaN without images.

        Over all labelled images, whatever their class: the scale on which two classes differ much or little.
        """
        images = self.counts.sum().to(self.device)
        mean = self._stacked().sum(0) / images
        return (self._squares / images - mean.square()).clamp(min=0).sqrt()

    def update(self, values: Tensor, labels: Sequence[str | None]) -> None:
        """Take in a batch.

        Parameters
        ----------
        values : Tensor
            (N, channels, h, w) floating point activations.
        labels : sequence of str or None
            The class of each of the N images.

        Raises
        ------
        ArgumentError
            When the shapes do not fit or an activation is NaN or infinite.
        """
        self.add(ImageStatistics.of(values).checked(self.name), labels)

    def add(self, statistics: ImageStatistics, labels: Sequence[str | None]) -> None:
        """Take in a batch that is reduced already and known to be finite (see `ImageStatistics.checked`)."""
        means = statistics.means
        self._require_batch(statistics, "label (or None)", len(labels))
        rows: dict[str, list[int]] = {}
        for row, label in enumerate(labels):
            if label is not None:
                rows.setdefault(label, []).append(row)
        for label, those in rows.items():
            # A slice for each image, added in order: the same bits on every device, which an indexed sum is not.
            total = self._sums.get(label)
            for row in those:
                mean = means[row].to(self.device, torch.float64)
                total = mean if total is None else total + mean
                self._squares = self._squares + mean.square()
            assert total is not None
            self._put(label, total, len(those))

    def merge(self, other: ClassProfile) -> None:
        """Take in all that `other` has seen.

        Raises
        ------
        ArgumentError
            When the number of channels differs.
        """
        self._require_like(other)
        self._squares = self._squares + other._squares.to(self.device)
        for label, theirs in other._sums.items():
            mine = self._sums.get(label)
            theirs = theirs.to(self.device)
            self._put(label, theirs if mine is None else mine + theirs, other._counts[label])

    def _put(self, label: str, total: Tensor, more: int) -> None:
        # New tensors every time, never written in place: a copy of the accumulator stays as it was.
        self._sums[label] = total
        self._counts[label] = self._counts.get(label, 0) + more

    def _stacked(self) -> Tensor:
        if not self._sums:
            return torch.zeros(0, self.channels, dtype=torch.float64, device=self.device)
        return torch.stack([self._sums[label] for label in self.labels])

    def copy(self) -> ClassProfile:
        """Return an accumulator with the same state, independent of this one; no data is copied."""
        other = super().copy()
        other._sums, other._counts = dict(self._sums), dict(self._counts)
        return other

    def state_dict(self) -> dict[str, Tensor]:
        """Return sums, squares, counts and labels (the UTF-8 bytes of a JSON list) as plain CPU tensors."""
        text = np.frombuffer(json.dumps(self.labels).encode(), np.uint8).copy()
        return {
            "sums": self._stacked().cpu(),
            "squares": self._squares.cpu(),
            "counts": self.counts,
            "labels": torch.from_numpy(text),
        }

    @classmethod
    def from_state(
        cls, state: Mapping[str, Tensor], *, device: torch.device | str = "cpu", name: str = "this layer"
    ) -> ClassProfile:
        """See `Accumulator`."""
        try:
            sums, squares, counts = state["sums"], state["squares"], state["counts"].tolist()
            labels = json.loads(bytes(state["labels"].numpy()))
            if len(labels) != len(counts) or sums.shape != (len(counts), len(squares)):
                raise ValueError
        except (KeyError, ValueError, IndexError):
            raise ArgumentError(
                "Expected the state of a class profile: sums (labels, channels), squares (channels,), counts (labels,) "
                "and labels. Make it with state_dict()."
            ) from None
        profile = cls(sums.shape[1], device=device, name=name)
        profile._squares = squares.to(profile.device, torch.float64)
        for label, total, count in zip(labels, sums.to(profile.device, torch.float64), counts, strict=True):
            profile._put(label, total.clone(), count)  # a row alone is pickled alone
        return profile
