"""Running a job over pictures, step by step, from the start or from a store."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch

from convscope_core.arguments import listed, require_counts, require_path
from convscope_core.datasets import Images
from convscope_core.errors import ArgumentError, ImageError
from convscope_core.jobs.executors import Event, computed
from convscope_core.jobs.forms import shown
from convscope_core.jobs.job import Job, R
from convscope_core.jobs.ledger import Ledger, Skipped
from convscope_core.jobs.parts import P, Part, folded
from convscope_core.jobs.results import Memory, Results, cut
from convscope_core.jobs.store import Store
from convscope_core.jobs.write_behind import WriteBehind
from convscope_core.network import Network
from convscope_core.saving import require_file

__all__ = ["Progress", "begin", "load", "none_readable"]


@dataclass(frozen=True, eq=False)
class Progress(Generic[R]):
    """How far a running job is.

    Attributes
    ----------
    done, total : int
        Images visited in this run, the unreadable ones among them, and to visit.
    """

    done: int
    total: int
    _job: Job[Any, R]
    _images: Images
    _ledger: Ledger
    _parts: tuple[Part, ...]

    @property
    def images(self) -> int:
        """How many images the result is of."""
        return self._ledger.count

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """Images that could not be read, by index, with the reason."""
        return self._ledger.skipped

    @cached_property
    def result(self) -> R:
        """Of everything seen so far: complete in itself, not changed by what follows, put together when asked for."""
        return self._job.result(folded(self._parts), self._images, self._ledger)


S = TypeVar("S", bound=Progress[Any])


def begin(
    job: Job[P, R],
    images: Images,
    step: type[S],
    *,
    store: str | Path | None = None,
    executor: Any = None,
    shards: int | None = None,
    resume: bool = True,
    indices: Iterable[int] | None = None,
    start: tuple[P, Ledger] | None = None,
    progress: bool = False,
) -> Generator[S, None, None]:
    """Begin a job, or go on with one: arguments are refused here, work is done by the generator.

    The images are cut into shards, whose results are merged in one fixed order. So a result has the same bits whether
    its job ran through or was interrupted, here or in an executor, with a store or without. It depends on the batch
    size, the number of threads and the kind of machine only as far as the network's own arithmetic does.

    Parameters
    ----------
    job : Job
    images : Images
        All pictures.
    step : type of Progress
        What is yielded.
    store, executor, shards, resume, progress
        See `convscope_core.jobs.forms.SHARED`.
    indices : iterable of int, optional
        Work on these of the images only. Default: all.
    start : tuple of Part and Ledger, optional
        Go on from these; what the ledger has seen is left out. Not together with a store.

    Yields
    ------
    Progress
        After every batch, or, with an executor, after every shard; at least one. Closing the generator cancels:
        shards that are done stay in the store.

    Raises
    ------
    ArgumentError
        When an argument is out of range, or the store is of something else: the message names the difference.
    StoreError
        Also while running, when the store cannot be read or written, or is damaged.
    ExecutorError
        While running, when the executor takes no more work, or processes that read pictures die.
    ImageError
        While running, when not one image could be read.
    """
    require_counts(**({} if shards is None else {"shards": shards}))
    if executor is not None and not hasattr(executor, "submit"):
        raise ArgumentError(
            f"Expected an executor with the interface of concurrent.futures, got {type(executor).__name__}. For "
            "example concurrent.futures.ProcessPoolExecutor(), or a dask.distributed.Client."
        )
    if start is not None and store is not None:
        raise ArgumentError(f"Expected a store or a {job.kind} to start from, got both. A store goes on by itself.")
    before, ledger = ((), Ledger(len(images))) if start is None else ((start[0],), start[1].grown(len(images)))
    todo = [index for index in _numbers(indices, len(images)) if not ledger.seen[index]]
    count = shards or job.shards(len(todo), executor is not None)
    results: Results
    if store is None:
        results = Memory(cut(todo, count))
    else:
        results = Store.opened(store, job, job.about(images), images, todo, count, resume=resume)
        if executor is None:
            results = WriteBehind(results)
    steps = _steps(job, images, step, results, results.left, ledger, before, executor)
    return shown(steps, job.kind, "image", lambda s: (s.done, s.total)) if progress else steps


def _steps(
    job: Job[P, R],
    images: Images,
    step: type[S],
    results: Results,
    total: int,
    ledger: Ledger,
    before: tuple[P, ...],
    executor: Any,
) -> Generator[S, None, None]:
    """Compute what is left, and tell after each step what there is."""

    def reached(visited: int, event: Event | None = None) -> S:
        if visited >= total:
            results.wait()
        # Records and parts are of one moment: others may work on the same store.
        merged, news = results.snapshot(job.steps_hold_parts or results.at_hand or visited >= total)
        ledger.enter(news)
        if 0 < total <= visited and not ledger.count:
            raise none_readable(ledger.skipped)
        seen = ledger.copy()
        parts: tuple[Part, ...] = (*before, *merged)
        for pending in results.pending:
            seen.enter([pending.record])
            parts = (*parts, pending.part) if job.steps_hold_parts else parts
        if event is not None and event.part is not None and event.shard not in results.finished:
            seen.enter([event.record])
            parts = (*parts, event.part)
        return step(visited, total, job, images, seen, parts or (job.empty(torch.device("cpu")),))

    try:
        done = 0
        with closing(computed(job, images, results, executor)) as events:
            for event in events if total else ():
                done += event.record.visited if event.done else 0
                yield reached(min(done + (0 if event.done else event.record.visited), total), event)
        if done < total or not total:
            # Nothing was left to do, or another process did the rest.
            yield reached(total)
    finally:
        results.close()


def load(job: type[Job[P, R]], store: str | Path, net: Network, images: Any = None) -> R:
    """Make the result of what is kept in a store, finished or not; nothing is computed.

    Parameters
    ----------
    job : type of Job
        The settings of its stores are its fields.
    store : path
        The file.
    net : Network
    images : Images, or what `Images.of` takes, optional
        The pictures. By default the files that the store knows of.

    Raises
    ------
    ArgumentError
        When there is no such store, it is of another kind, network, preprocessing or other pictures, or it does not
        know its pictures' files.
    StoreError
        When the file cannot be read, or is damaged.
    """
    path = require_path("store", store)
    require_file(path, f"the file of a {job.kind}")
    results = Store(path, write=False)
    try:
        about = results.about
        if not about:
            raise ArgumentError(
                f"Expected the store of a {job.kind}, got {str(path)!r}, which is empty: nothing was laid out in it."
            )
        if about.get("kind") != job.kind:
            came = f"{str(path)!r}, which is one of {about.get('kind')!r}"
            raise ArgumentError(f"Expected the store of a {job.kind}, got {came}.")
        if about["fingerprint"] != net.fingerprint:
            raise ArgumentError(
                f"Expected a {job.kind} of {net.name} with these weights (fingerprint {net.fingerprint[:8]}), got "
                f"{str(path)!r}, which is of {about['network?']} ({about['fingerprint'][:8]}). Give that network."
            )
        results.job = kept = job.of_store(net, about)
        pictures = results.files() if images is None else Images.of(images)
        results.require_same({**about, "preprocessing": net.preprocessing.identity}, pictures)
        parts, records = results.snapshot()
        ledger = Ledger(len(pictures))
        ledger.enter(records)
        whole: Any = folded(parts or (kept.empty(torch.device("cpu")),))
        return kept.result(whole, pictures, ledger)
    finally:
        results.close()


def none_readable(skipped: Sequence[Skipped]) -> ImageError:
    """Return the error of pictures of which not one could be read."""
    reasons = "; ".join(f"image {index}: {reason}" for index, reason in skipped[:3])
    return ImageError(f"Expected pictures that can be read, got {len(skipped)} that all failed. {reasons}")


def _numbers(indices: Iterable[int] | None, count: int) -> Sequence[int]:
    if indices is None:
        return range(count)
    chosen = [int(index) for index in indices]
    if outside := [index for index in chosen if not 0 <= index < count]:
        raise ArgumentError(f"Expected indices of images from 0 to {count - 1}, got {listed(outside)}.")
    return list(dict.fromkeys(chosen))
