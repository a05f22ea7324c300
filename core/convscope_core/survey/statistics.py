"""All that a survey keeps of its channels, as one accumulator."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor

from convscope_core.errors import ArgumentError
from convscope_core.survey.accumulator import Accumulator
from convscope_core.survey.health import Health, histogram_edges
from convscope_core.survey.profile import ClassProfile
from convscope_core.survey.reduction import ImageStatistics
from convscope_core.survey.sample import Sample
from convscope_core.survey.top import TopK

__all__ = ["Statistics"]

_KINDS: dict[str, type[Accumulator]] = {"top": TopK, "health": Health, "profile": ClassProfile, "sample": Sample}


class Statistics:
    """Top activations, health, class profile and random sample of the same channels, of all layers side by side.

    Parameters
    ----------
    channels : int
        Number of channels of all surveyed layers together.
    k : int, default 9
        Top images to keep for each channel.
    sample : int, default 512
        Images in the random sample.
    before_ceiling : bool, default False
        Whether what tells images apart by their maxima is of those before the ceiling of the activation function: top
        activations, histogram and sample.
    device : torch.device or str, default "cpu"
        Where the state lives.

    Attributes
    ----------
    top : TopK
    health : Health
    profile : ClassProfile
    sample : Sample
    """

    def __init__(
        self,
        channels: int,
        k: int = 9,
        sample: int = 512,
        *,
        before_ceiling: bool = False,
        device: torch.device | str = "cpu",
    ) -> None:
        self.top = TopK(channels, k, before_ceiling=before_ceiling, device=device)
        self.health = Health(channels, before_ceiling=before_ceiling, device=device)
        self.profile = ClassProfile(channels, device=device)
        self.sample = Sample(channels, sample, before_ceiling=before_ceiling, device=device)

    def add(self, statistics: ImageStatistics, images: Sequence[int], labels: Sequence[str | None]) -> None:
        """Take in a batch of distinct images that this has not seen, reduced already and known to be finite."""
        self.top.add(statistics, images, distinct=True)
        self.health.add(statistics)
        self.profile.add(statistics, labels)
        self.sample.add(statistics, images)

    def merge(self, other: Statistics) -> None:
        """Take in all that `other` has seen, of other images; ArgumentError where they are not of the same kind."""
        self.top.merge(other.top)
        self.health.merge(other.health)
        self.profile.merge(other.profile)
        self.sample.merge(other.sample)

    @staticmethod
    def room(channels: int, k: int, sample: int, labels: Collection[str]) -> int:
        """Return how many bytes `state_dict` takes at most."""
        health = 8 * (len(histogram_edges()) + 10)
        text = sum(6 * len(label) + 8 for label in labels)  # as JSON escapes it
        each = 28 * k + health + 8 + 8 * len(labels) + 8 * sample
        return channels * each + 8 * (sample + len(labels)) + text + 2**16

    def copy(self) -> Statistics:
        """Return statistics with the same state, independent of these; no data is copied."""
        other = copy.copy(self)
        for name in _KINDS:
            setattr(other, name, getattr(self, name).copy())
        return other

    def state_dict(self) -> dict[str, Tensor]:
        """Return the state as plain CPU tensors, such as ``"top.values"``."""
        return {f"{name}.{key}": tensor for name in _KINDS for key, tensor in getattr(self, name).state_dict().items()}

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor], *, device: torch.device | str = "cpu") -> Statistics:
        """Restore statistics from `state_dict`.

        Raises
        ------
        ArgumentError
            When the state is not whole.
        """
        found = cls.__new__(cls)
        for name, kind in _KINDS.items():
            part = {key.partition(".")[2]: tensor for key, tensor in state.items() if key.startswith(f"{name}.")}
            setattr(found, name, kind.from_state(part, device=device))
        kinds = (found.top, found.health, found.sample)
        if len({getattr(found, name).channels for name in _KINDS}) != 1 or len({x.before_ceiling for x in kinds}) != 1:
            raise ArgumentError("Expected statistics of the same channels; the state is damaged.")
        return found
