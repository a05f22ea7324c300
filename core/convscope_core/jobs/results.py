"""Where the results of shards are kept: which shards there are, which are done, and their merged parts."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from convscope_core.contents import Trace
from convscope_core.jobs.parts import Part, Place, grow, ordered

__all__ = ["Memory", "Pending", "Record", "Results", "cut"]


@dataclass(frozen=True)
class Record:
    """What became of the images of a shard.

    Attributes
    ----------
    images : list of int
        Those that were read and counted.
    labels : list of str or None
        Their labels.
    skipped : list of (int, str)
        Those that could not be read, with the reason.
    traces : list of Trace
        What each of `images` was when it was read, where that was to be noted (`Images.traced`); empty otherwise.
    """

    images: list[int]
    labels: list[str | None]
    skipped: list[tuple[int, str]]
    traces: list[Trace] = field(default_factory=list)

    @property
    def visited(self) -> int:
        """How many images were visited."""
        return len(self.images) + len(self.skipped)


class Pending(NamedTuple):
    """A shard that is computed, and not among the results yet.

    Attributes
    ----------
    part : Part
    record : Record
    """

    part: Part
    record: Record


class Results(ABC):
    """Which shards there are, which are done, and their merged parts.

    Attributes
    ----------
    at_hand : bool
        Whether the parts of a `snapshot` cost nothing.
    traced : bool
        Whether records have to say what each picture was (`Images.traced`).
    kept : str
        What is kept when the work ends before its time, in words for errors.
    finished : set of int
        The shards that are done, as of the last `snapshot`.
    pending : tuple of Pending
        Shards that were `put`, and are not among what a `snapshot` gives yet.
    """

    at_hand: bool
    traced: bool
    kept: str
    finished: set[int]
    pending: tuple[Pending, ...] = ()

    @abstractmethod
    def take(self) -> int | None:
        """Claim a shard that is not done; None when there is none left."""

    @abstractmethod
    def indices(self, shard: int) -> list[int]:
        """Return the numbers of a shard's images."""

    @abstractmethod
    def put(self, shard: int, part: Part, record: Record) -> None:
        """Record a shard as done. One that another process has done meanwhile is left as it is.

        The part of a shard of which nothing could be read is left out, so that it can be tried again in its place.
        """

    @abstractmethod
    def give_back(self, shards: Sequence[int]) -> None:
        """Leave shards that were claimed to others."""

    @abstractmethod
    def snapshot(self, parts: bool = True) -> tuple[tuple[Part, ...], list[Record]]:
        """Return what there is at one moment, whoever did it; sets `finished`.

        Parameters
        ----------
        parts : bool, default True
            Whether the parts are wanted.

        Returns
        -------
        tuple of Part
            The merged parts of all shards that are done, in the order of their shards; not to be changed.
        list of Record
            Of the shards that were not done at the last snapshot.
        """

    @abstractmethod
    def wait(self) -> None:
        """Wait until what was put is among the results."""

    @property
    @abstractmethod
    def left(self) -> int:
        """Images in shards that are not done."""

    @abstractmethod
    def close(self) -> None:
        """Let go of what is open."""


class Memory(Results):
    """Results in memory.

    Parameters
    ----------
    plan : sequence of sequence of int
        The numbers of each shard's images.
    """

    at_hand = True
    traced = False
    kept = "What was computed is lost: give a store to keep it."

    def __init__(self, plan: Sequence[Sequence[int]]) -> None:
        self.finished = set()
        self._plan = plan
        self._left = list(range(len(plan)))[::-1]
        self._nodes: dict[Place, Part] = {}
        self._news: list[Record] = []

    def take(self) -> int | None:
        """See `Results`."""
        return self._left.pop() if self._left else None

    def indices(self, shard: int) -> list[int]:
        """See `Results`."""
        return list(self._plan[shard])

    def put(self, shard: int, part: Part, record: Record) -> None:
        """See `Results`."""
        if record.images:
            grow(self._nodes, shard, part)
        self.finished.add(shard)
        self._news.append(record)

    def give_back(self, shards: Sequence[int]) -> None:
        """See `Results`."""
        self._left += sorted(shards, reverse=True)

    def snapshot(self, parts: bool = True) -> tuple[tuple[Part, ...], list[Record]]:
        """See `Results`."""
        news, self._news = self._news, []
        return ordered(self._nodes) if parts else (), news

    def wait(self) -> None:
        """See `Results`."""

    @property
    def left(self) -> int:
        """See `Results`."""
        return sum(len(self._plan[shard]) for shard in self._left)

    def close(self) -> None:
        """See `Results`."""


def cut(indices: Sequence[int], shards: int | None = None) -> list[Sequence[int]]:
    """Cut a sequence into consecutive shards of nearly equal length.

    Parameters
    ----------
    indices : sequence of int
    shards : int, optional
        How many; at most one an image. By default a 256th of the images each, between 64 and 4096: what is lost when a
        process dies is seconds to minutes, and merging costs little beside computing.

    Returns
    -------
    list of sequence of int
        None for an empty sequence.
    """
    if not indices:
        return []
    if shards is None:
        length = max(64, min(4096, -(-len(indices) // 256)))
        # A multiple of the usual batch sizes.
        length += -length % 32
        return [indices[start : start + length] for start in range(0, len(indices), length)]
    count = min(shards, len(indices))
    ends = [len(indices) * number // count for number in range(count + 1)]
    return [indices[a:b] for a, b in itertools.pairwise(ends)]
