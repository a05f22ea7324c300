"""A pass over pictures: what it accumulates, what its results are of, and what is made of them."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor

from convscope_core.arguments import require_counts
from convscope_core.datasets import Images
from convscope_core.jobs.ledger import Ledger
from convscope_core.jobs.loading import Prepares, loaded, reading
from convscope_core.jobs.parts import P, Part
from convscope_core.jobs.results import Record
from convscope_core.network import Network

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Check", "Job", "R"]

R = TypeVar("R")

Check = Callable[[], None]
"""Raises where a batch was not as it has to be."""


@dataclass(kw_only=True, eq=False, repr=False)
class Job(ABC, Generic[P, R]):
    """A pass over pictures, which is run by `convscope_core.jobs.run.begin`.

    Every pass states what it accumulates (`empty`, `add`, `restored`, and how its parts merge: `Part`) and what it
    makes of that (`result`). Its other settings are fields of a dataclass, which decide what a store may be continued
    by. Reading, shards, stores, executors, resuming, progress and cancelling are the same for all.

    A job pickles, to be computed in other processes. What it derives from the network and keeps by a `cached_property`
    is left out and derived there again.

    Parameters
    ----------
    net : Network
    batch_size : int, default 8
        Pictures that are added at a time.
    workers : int, default 0
        Processes that read them; 0 for threads.

    Attributes
    ----------
    kind : str
        What stores and progress bars call it.
    steps_hold_parts : bool
        Whether each step gives the part so far. False for parts too large to be copied after every batch, or read from
        a store after every shard.
    """

    kind: ClassVar[str]
    steps_hold_parts: ClassVar[bool] = True

    net: Network
    batch_size: int = 8
    workers: int = 0

    def __post_init__(self) -> None:
        require_counts(batch_size=self.batch_size)
        require_counts(0, workers=self.workers)

    def __getstate__(self) -> dict[str, Any]:
        derived = {name for name in self.__dict__ if isinstance(getattr(type(self), name, None), cached_property)}
        return {name: value for name, value in self.__dict__.items() if name not in derived}

    # -- what it accumulates --

    @abstractmethod
    def empty(self, device: torch.device) -> P:
        """Return the part of no picture.

        Parameters
        ----------
        device : torch.device
            Where best to accumulate: the network's, or the CPU where that has no float64.
        """

    @abstractmethod
    def add(self, part: P, x: Tensor, images: Sequence[int], labels: Sequence[str | None]) -> Check | None:
        """Take a batch into a part.

        Parameters
        ----------
        part : Part
        x : Tensor (N, C, H, W)
            Pictures as the network takes them (or as `preparing` makes them), on its device.
        images : sequence of int
            The number of each among all pictures.
        labels : sequence of str or None
            The class of each.

        Returns
        -------
        callable or None
            A check that asks the device something, such as whether all values are finite. It is called after the batch
            on a CPU and after the last batch of the shard elsewhere, because asking stops an accelerator's queue.
        """

    @classmethod
    @abstractmethod
    def restored(cls, state: Mapping[str, Tensor]) -> P:
        """Make a part of its `Part.state_dict`, on the CPU."""

    # -- what its results are of --

    def settings(self) -> dict[str, Any]:
        """Return what has to be the same for two parts to merge, beside network and pictures, as JSON holds it.

        By default all fields but those of how it is computed.
        """
        return {name: getattr(self, name) for name in self._setting_names()}

    def cure(self, setting: str) -> str:  # noqa: ARG002
        """Return what to do about a store in which one of `settings` is another, as sentences."""
        return "Give another file, or what the store was made with."

    @classmethod
    def of_store(cls, net: Network, about: Mapping[str, Any]) -> Self:
        """Make the job whose results a store holds, from what `about` wrote there."""
        return cls(net=net, **{name: about[name] for name in cls._setting_names()})

    @classmethod
    def _setting_names(cls) -> list[str]:
        return [f.name for f in fields(cls) if f.name not in _HOW]

    def about(self, images: Images) -> dict[str, Any]:
        """Return all that a store's results are of; results of anything else are refused.

        What keys that end with "?" hold is for information.
        """
        found = {
            "kind": self.kind,
            "network?": self.net.name,
            "fingerprint": self.net.fingerprint,
            "preprocessing": self.net.preprocessing.identity,
            **self.settings(),
            "folder?": None if images.folder is None else str(images.folder.resolve()),
        }
        whole: dict[str, Any] = json.loads(json.dumps(found))  # as it is read again: tuples are lists
        return whole

    def room(self, images: int, labels: Collection[str]) -> int:  # noqa: ARG002
        """Return how many bytes the `Part.state_dict` of a part takes at most, so that no file is believed more.

        By default 64 MB, 1 MB a picture and 16 times the part of no picture: to be overridden where parts are larger.

        Parameters
        ----------
        images : int
            Pictures of all parts.
        labels : collection of str
            Their labels.
        """
        empty = self.empty(torch.device("cpu")).state_dict()
        return 2**26 + 2**20 * images + 16 * sum(tensor.nbytes for tensor in empty.values())

    def shards(self, images: int, apart: bool) -> int | None:  # noqa: ARG002
        """Return in how many shards to cut images by default; None for as many as `convscope_core.jobs.results.cut`.

        Parameters
        ----------
        images : int
            How many.
        apart : bool
            Whether shards are computed in an executor, which may compute several at once.
        """
        return None

    # -- what is made of them --

    @abstractmethod
    def result(self, part: P, images: Images, ledger: Ledger) -> R:
        """Make the result of a part.

        Parameters
        ----------
        part : Part
            What all pictures seen have accumulated.
        images : Images
            All pictures.
        ledger : Ledger
            Which of them were seen and which could not be read.
        """

    # -- how a shard is computed --

    def preparing(self) -> Prepares:
        """Return what makes tensors of pictures; by default the network's preprocessing."""
        return self.net.preprocessing

    def steps(self, images: Images, indices: Sequence[int]) -> Generator[tuple[Part | None, Record], None, None]:
        """Compute a shard batch by batch.

        Parameters
        ----------
        images : Images
            The pictures of the shard alone.
        indices : sequence of int
            The numbers that they have among all pictures.

        Yields
        ------
        part : Part or None
            What this shard's images have accumulated so far; not changed by what follows. None before the last batch
            where steps hold no parts.
        record : Record
            What became of them.
        """
        device = self.net.device
        accumulating = torch.device("cpu") if device.type == "mps" else device  # Apple's MPS has no float64
        part = self.empty(accumulating)
        checks: list[Check] = []
        pinned = device.type == "cuda"
        with reading(self.workers):
            for batch in loaded(self.preparing(), images, indices, self.batch_size, self.workers, pinned=pinned):
                if batch.x is not None:
                    x = batch.x.to(device, self.net.dtype, non_blocking=pinned)
                    check = self.add(part, x, batch.numbers, batch.labels)
                    checks += [] if check is None else [check]
                last = batch.record.visited == len(indices)
                if accumulating.type == "cpu" or last:
                    for check in checks:
                        check()
                    checks.clear()
                yield (part if last else part.copy() if self.steps_hold_parts else None), batch.record


_HOW = frozenset(f.name for f in fields(Job))
