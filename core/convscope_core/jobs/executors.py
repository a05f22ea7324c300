"""Where the shards of a job are computed: here, batch by batch, or in an executor, shard by shard."""

from __future__ import annotations

import contextlib
import hashlib
import pickle
from collections.abc import Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from functools import lru_cache
from typing import Any, NamedTuple

from convscope_core.datasets import Images
from convscope_core.errors import ArgumentError, ConvscopeError, ExecutorError, StoreError
from convscope_core.jobs.job import Job
from convscope_core.jobs.parts import Packed, Part, unpacked
from convscope_core.jobs.results import Record, Results

__all__ = ["Event", "computed"]

_OUTSTANDING = 64
"""Shards that wait in an executor at once: enough for its workers, few enough to leave others to another process."""

_ATTEMPTS = 3
"""How often a shard is tried whose worker fails for a reason that is not the work's."""

AnyJob = Job[Any, Any]


class Event(NamedTuple):
    """A batch of a shard was computed, or a whole shard.

    Attributes
    ----------
    shard : int
    part : Part or None
        What the shard under way has accumulated, if the job tells; None when it is part of the results now.
    record : Record
        What became of this shard's images so far.
    done : bool
        Whether the shard is part of the results now.
    """

    shard: int
    part: Part | None
    record: Record
    done: bool


def computed(job: AnyJob, images: Images, results: Results, executor: Any = None) -> Generator[Event, None, None]:
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
    ExecutorError
        When the executor takes no more work, or a shard has failed three times for a reason that is not the work's.
    """
    return _here(job, images, results) if executor is None else _elsewhere(job, images, results, executor)


def _here(job: AnyJob, images: Images, results: Results) -> Generator[Event, None, None]:
    while (shard := results.take()) is not None:
        done = False
        try:
            indices = results.indices(shard)
            for part, record in job.steps(images.only(indices, traced=results.traced), indices):
                if record.visited < len(indices) or part is None:
                    yield Event(shard, part, record, False)
                    continue
                # Parts that are done are on the CPU, where merging has the same bits as in any other process.
                results.put(shard, job.restored(part.state_dict()), record)
                del part  # which the next shard's would lie beside
                done = True
                yield Event(shard, None, record, True)
        finally:
            if not done:
                _given_back(results, [shard])


def _elsewhere(job: AnyJob, images: Images, results: Results, executor: Any) -> Generator[Event, None, None]:
    executor, payload, key = _pickled(job, executor)
    pending: dict[Future[tuple[list[bytes], Record]], int] = {}
    attempts: dict[int, int] = {}

    def submit(shard: int) -> None:
        indices = results.indices(shard)
        portion = images.only(indices, traced=results.traced)
        try:
            pending[executor.submit(_compute, payload, key, portion, indices)] = shard
        except Exception as error:
            _given_back(results, [shard])
            raise _ended(executor, error, results) from error

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
                    _given_back(results, [shard])
                    raise
                except (Exception, CancelledError) as error:
                    attempts[shard] = attempts.get(shard, 0) + 1
                    if attempts[shard] >= _ATTEMPTS:
                        _given_back(results, [shard])
                        raise _ended(executor, error, results) from error
                    # With the worker its copy of the job may be lost.
                    executor, payload, key = _pickled(job, executor)
                    submit(shard)
                    continue
                results.put(shard, job.restored(unpacked(data)), record)
                yield Event(shard, None, record, True)
    finally:
        # What ends this may come while shards behind it are done: those are kept, too.
        lost = []
        for future, shard in sorted(pending.items(), key=lambda item: item[1]):
            if future.cancel() or not _kept(future, shard, job, results):
                lost.append(shard)
        _given_back(results, lost)


def _kept(future: Future[tuple[list[bytes], Record]], shard: int, job: AnyJob, results: Results) -> bool:
    """Put the results of a shard with the others, if it is done and that can still be done."""
    with contextlib.suppress(CancelledError):
        if future.done() and future.exception() is None:
            data, record = future.result()
            with contextlib.suppress(StoreError):
                results.put(shard, job.restored(unpacked(data)), record)
                return True
    return False


def _given_back(results: Results, shards: Sequence[int]) -> None:
    """Leave shards to others, if that can still be said: who finds them taken takes them at the end."""
    with contextlib.suppress(StoreError):
        results.give_back(shards)


def _ended(executor: Any, error: BaseException, results: Results) -> ExecutorError:
    """Return the error of an executor that computes no more."""
    came = f"{type(executor).__name__} that failed with {type(error).__name__}: {str(error) or 'no message'}"
    return ExecutorError(
        f"Expected an executor that computes all shards, got a {came.rstrip('.')}. A worker that dies has often run "
        f"out of memory: give a new executor, with fewer workers or a smaller batch_size. {results.kept}"
    )


def _pickled(job: AnyJob, executor: Any) -> tuple[Any, Any, str]:
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
    # Under a name of its own: data that another job lets go of at this moment is not this.
    client = executor if hasattr(executor, "get_executor") else getattr(executor, "_client", None)
    if client is not None and hasattr(client, "scatter"):
        return client.get_executor(pure=False), client.scatter(data, broadcast=True, hash=False), key
    return executor, data, key


@lru_cache(maxsize=1)
def _unpickled(data: _Bytes) -> AnyJob:
    job: AnyJob = pickle.loads(data.value)
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


def _compute(data: bytes, key: str, images: Images, indices: Sequence[int]) -> tuple[list[bytes], Record]:
    """Compute a shard in a worker."""
    job = _unpickled(_Bytes(data, key))
    *_, (part, record) = job.steps(images, indices)
    assert part is not None
    return list(Packed(part)), record
