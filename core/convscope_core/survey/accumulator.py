"""What the mergeable statistics of channels have in common.

An accumulator sees activations batch by batch, and two accumulators of the same channels merge into one. What
they hold depends on *which* images were seen, not on the batches, the order or the shards they came in: the
top activations exactly, the moments to float64 rounding. That is what lets a survey be cut into pieces,
resumed, and spread over machines.

All read the same few numbers of each image and channel (`convscope_core.survey.reduction.ImageStatistics`).
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from convscope_core.arguments import require_counts
from convscope_core.errors import ArgumentError
from convscope_core.survey.reduction import ImageStatistics

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Accumulator", "marked", "require_keys"]


class Accumulator(ABC):
    """A mergeable statistic of channels.

    Parameters
    ----------
    channels : int
        Number of channels, at least 1.
    device : torch.device or str, default "cpu"
        Where the state lives: best where the activations are. Sums need float64: for Apple's MPS choose "cpu".
    name : str, default "this layer"
        What the channels belong to, for error messages.
    """

    def __init__(self, channels: int, *, device: torch.device | str = "cpu", name: str = "this layer") -> None:
        require_counts(channels=channels)
        self.channels = channels
        self.name = name
        self.device = torch.device(device)

    @abstractmethod
    def state_dict(self) -> dict[str, Tensor]:
        """Return the state as plain CPU tensors."""

    @classmethod
    @abstractmethod
    def from_state(
        cls, state: Mapping[str, Tensor], *, device: torch.device | str = "cpu", name: str = "this layer"
    ) -> Self:
        """Restore an accumulator from `state_dict`.

        Raises
        ------
        ArgumentError
            When an entry is missing or the shapes do not fit together.
        """

    def copy(self) -> Self:
        """Return an accumulator with the same state, independent of this one; no data is copied.

        The state is never written in place: new tensors take the place of old ones.
        """
        return copy.copy(self)

    def _require_like(self, other: Accumulator, *settings: str) -> None:
        """Raise ArgumentError unless the channels of another, and these settings of it, are as here."""
        if any(getattr(self, name) != getattr(other, name) for name in ("channels", *settings)):
            raise ArgumentError(
                f"Expected to merge {self!r} with its like, got {other!r}. Use the same layers"
                f"{''.join(f' and {name}' for name in settings)} for both."
            )

    def _require_batch(self, statistics: ImageStatistics, what: str = "", *shape: int) -> None:
        """Raise ArgumentError unless a batch has these channels, and something of a shape is one for each image."""
        images, channels = statistics.peaks.shape
        if channels != self.channels:
            raise ArgumentError(f"Expected {self.channels} channels in {self.name}, got {channels}.")
        if what and shape != (images,):
            raise ArgumentError(f"Expected one {what} for each of the {images} images of the batch, got shape {shape}.")


def marked(before_ceiling: bool) -> dict[str, Tensor]:
    """Return what says, in a state, that it is of values before a ceiling: nothing where it is not."""
    return {"before_ceiling": torch.tensor(True)} if before_ceiling else {}


def require_keys(state: Mapping[str, Tensor], keys: Iterable[str]) -> None:
    """Raise ArgumentError unless a state has all these entries."""
    expected = list(keys)
    if missing := [key for key in expected if key not in state]:
        raise ArgumentError(
            f"Expected a state with {', '.join(expected)}; {', '.join(missing)} is missing. Make it with state_dict()."
        )
