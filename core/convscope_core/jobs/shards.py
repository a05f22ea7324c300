"""Long work over many images, in pieces: computed anywhere, in any order, merged always in the same one.

A *job* turns the images of a shard into a *part*: an accumulator that merges. The parts of all shards are merged as the
leaves of a binary tree, so that the result has the same bits whoever computed which shard when, and whatever was
interrupted between; and so that at any moment only a handful of merged parts exist, however many shards are done.

Where the parts are kept is up to the *results*: `Memory`, or a file (`convscope_core.jobs.store.Store`).
"""

from __future__ import annotations

import hashlib
import itertools
import pickle
import zlib
from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping, MutableMapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, Protocol, TypeVar

import safetensors.torch
from torch import Tensor

from convscope_core.datasets import Images
from convscope_core.errors import ArgumentError, ConvscopeError

__all__ = ["Event", "Job", "Memory", "Part", "Record", "Results", "cut", "folded", "packed", "running", "unpacked"]

_OUTSTANDING = 64
"""Shards that wait in an executor at once: enough for its workers, few enough to leave some to another process."""

_TRIAL = 2**20
"""Bytes that are compressed to see whether it pays..."""

_WORTHWHILE = 1.25
"""...which it does by this factor."""

_ATTEMPTS = 3
"""How often a shard is tried whose worker fails for a reason that is not the work's."""

P = TypeVar("P", bound="Part")
Place = tuple[int, int]
"""Level and position of a node in the tree: it covers the shards from position * 2^level on, 2^level of them."""


class Part(Protocol):
    """A mergeable accumulator."""

    def merge(self, other: Any, /) -> None:
        """Take in all that `other` has seen."""

    def copy(self) -> Any:
        """Return an independent one with the same state."""

    def state_dict(self) -> dict[str, Tensor]:
        """Return the state as plain CPU tensors."""


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
    """

    images: list[int]
    labels: list[str | None]
    skipped: list[tuple[int, str]]

    @property
    def visited(self) -> int:
        """How many images were visited."""
        return len(self.images) + len(self.skipped)


class Job(ABC):
    """What is done with each shard. It must pickle if it is to run in other processes."""

    @abstractmethod
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
            Of the images of this shard so far; not changed by what follows. None before the last batch, for a job whose
            parts are too large to be copied every time.
        record : Record
            What became of them.
        """

    @abstractmethod
    def restored(self, state: Mapping[str, Tensor]) -> Part:
        """Make a part of its `Part.state_dict`, on the CPU."""


class Results(ABC):
    """Which shards there are, which are done, and their merged parts."""

    @abstractmethod
    def take(self) -> int | None:
        """Claim a shard that is not done; None when there is none left."""

    @abstractmethod
    def indices(self, shard: int) -> list[int]:
        """Return the numbers of a shard's images."""

    @abstractmethod
    def put(self, shard: int, part: Part, record: Record) -> None:
        """Record a shard as done. One that another process has done meanwhile is left as it is."""

    @abstractmethod
    def give_back(self, shards: Sequence[int]) -> None:
        """Leave shards that were claimed to others."""

    @abstractmethod
    def parts(self) -> tuple[Part, ...]:
        """Return the merged parts of all shards that are done, in the order of their shards; not to be changed."""


class Memory(Results):
    """Results in memory.

    Parameters
    ----------
    plan : sequence of sequence of int
        The numbers of each shard's images.
    """

    def __init__(self, plan: Sequence[Sequence[int]]) -> None:
        self._plan = plan
        self._left = list(range(len(plan)))[::-1]
        self._nodes: dict[Place, Part] = {}

    def take(self) -> int | None:
        """See `Results`."""
        return self._left.pop() if self._left else None

    def indices(self, shard: int) -> list[int]:
        """See `Results`."""
        return list(self._plan[shard])

    def put(self, shard: int, part: Part, record: Record) -> None:  # noqa: ARG002
        """See `Results`."""
        grow(self._nodes, shard, part)

    def give_back(self, shards: Sequence[int]) -> None:
        """See `Results`."""
        self._left += sorted(shards, reverse=True)

    def parts(self) -> tuple[Part, ...]:
        """See `Results`."""
        return ordered(self._nodes)


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


def grow(nodes: MutableMapping[Place, Part], shard: int, part: Part) -> None:
    """Add a leaf to the tree, and merge upwards while both halves are there."""
    level, position = 0, shard
    while (level, position ^ 1) in nodes:
        other = nodes.pop((level, position ^ 1))
        left, right = (other, part) if position % 2 else (part, other)
        part = left.copy()
        part.merge(right)
        level, position = level + 1, position // 2
    nodes[level, position] = part


def ordered(nodes: Mapping[Place, Part]) -> tuple[Part, ...]:
    """Return the parts of the nodes in the order of the shards that they cover."""
    return tuple(nodes[place] for place in sorted(nodes, key=lambda place: place[1] << place[0]))


def folded(parts: Sequence[P]) -> P:
    """Merge parts, of which there is at least one, from left to right; they stay as they are."""
    whole: P = parts[0].copy()
    for part in parts[1:]:
        whole.merge(part)
    return whole


def packed(part: Part) -> bytes:
    """Write a part as compressed safetensors."""
    data = safetensors.torch.save({key: tensor.contiguous() for key, tensor in part.state_dict().items()})
    # The lowest level: counts are mostly zeros, and the digits of the rest do not compress at any. Sums of the size of
    # the weights are nothing but digits: those are stored as they are.
    trial = zlib.compress(data[:_TRIAL], 1)
    return zlib.compress(data, 1 if len(trial) * _WORTHWHILE < min(len(data), _TRIAL) else 0)


def unpacked(data: bytes) -> dict[str, Tensor]:
    """Read the state of a part; ArgumentError where the bytes are damaged."""
    try:
        return safetensors.torch.load(zlib.decompress(data))
    except (zlib.error, safetensors.SafetensorError) as error:
        raise ArgumentError(f"Expected the stored result of a shard, which is damaged: {error}.") from error


class Event(NamedTuple):
    """A batch of a shard was computed, or a whole shard.

    Attributes
    ----------
    part : Part or None
        Of the shard under way, if the job tells; None when it is part of the results now.
    record : Record
        Of this shard so far.
    done : bool
        Whether the shard is part of the results now.
    """

    part: Part | None
    record: Record
    done: bool


def running(job: Job, images: Images, results: Results, executor: Any = None) -> Generator[Event, None, None]:
    """Compute all shards that are not done.

    Closing the generator cancels: shards that are done stay in the results.

    Parameters
    ----------
    job : Job
    images : Images
        All pictures.
    results : Results
    executor : optional
        With the interface of `concurrent.futures.Executor`, or a dask client. Default: here, batch by batch.

    Yields
    ------
    Event
        After each batch; with an executor, after each shard.

    Raises
    ------
    ConvscopeError
        What the job raises.
    """
    return _here(job, images, results) if executor is None else _elsewhere(job, images, results, executor)


def _here(job: Job, images: Images, results: Results) -> Generator[Event, None, None]:
    while (shard := results.take()) is not None:
        done = False
        try:
            indices = results.indices(shard)
            for part, record in job.steps(images.only(indices), indices):
                if record.visited < len(indices) or part is None:
                    yield Event(part, record, False)
                    continue
                # Parts that are done are on the CPU, where merging has the same bits as in any other process.
                results.put(shard, job.restored(part.state_dict()), record)
                done = True
                yield Event(None, record, True)
        finally:
            if not done:
                results.give_back([shard])


def _elsewhere(job: Job, images: Images, results: Results, executor: Any) -> Generator[Event, None, None]:
    executor, payload, key = _sent(job, executor)
    pending: dict[Future[tuple[bytes, Record]], int] = {}
    attempts: dict[int, int] = {}

    def submit(shard: int) -> None:
        indices = results.indices(shard)
        pending[executor.submit(_compute, payload, key, images.only(indices), indices)] = shard

    try:
        while True:
            while len(pending) < _OUTSTANDING and (shard := results.take()) is not None:
                submit(shard)
            if not pending:
                return
            ready, _ = wait(pending, return_when=FIRST_COMPLETED)
            for future in sorted(ready, key=pending.__getitem__):
                shard = pending.pop(future)
                try:
                    data, record = future.result()
                except ConvscopeError:
                    results.give_back([shard])
                    raise
                except Exception as error:
                    attempts[shard] = attempts.get(shard, 0) + 1
                    try:
                        if attempts[shard] >= _ATTEMPTS:
                            raise error
                        # With the worker its copy of the job may be lost.
                        executor, payload, key = _sent(job, executor)
                        submit(shard)
                    except Exception:
                        results.give_back([shard])
                        raise error from None
                    continue
                results.put(shard, job.restored(unpacked(data)), record)
                yield Event(None, record, True)
    finally:
        for future in pending:
            future.cancel()
        results.give_back(list(pending.values()))


def _sent(job: Job, executor: Any) -> tuple[Any, Any, str]:
    """Return the executor, the pickled job as it is handed to each task, and a key to know it by."""
    try:
        data = pickle.dumps(job)
    except Exception as error:
        raise ArgumentError(
            f"Expected a network that pickles, to send it to other processes; {type(error).__name__}: {error}. A "
            "preprocess function must be importable there: define it in a module, not in a cell or as a lambda."
        ) from error
    key = hashlib.sha256(data).hexdigest()
    # A dask client, or its executor, can hand the weights to every worker once instead of with each task.
    # Under a name of its own: data that another survey lets go of at this moment is not this.
    client = executor if hasattr(executor, "get_executor") else getattr(executor, "_client", None)
    if client is not None and hasattr(client, "scatter"):
        return client.get_executor(pure=False), client.scatter(data, broadcast=True, hash=False), key
    return executor, data, key


@lru_cache(maxsize=1)
def _received(data: _Bytes) -> Job:
    job: Job = pickle.loads(data.value)
    return job


class _Bytes:
    """Bytes that are told apart by a key, so that a worker need not hash half a gigabyte for every shard."""

    def __init__(self, value: bytes, key: str) -> None:
        self.value = value
        self.key = key

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Bytes) and other.key == self.key

    def __hash__(self) -> int:
        return hash(self.key)


def _compute(data: bytes, key: str, images: Images, indices: Sequence[int]) -> tuple[bytes, Record]:
    """Compute a shard in a worker."""
    job = _received(_Bytes(data, key))
    *_, (part, record) = job.steps(images, indices)
    assert part is not None
    return packed(part), record
