"""Reading and preparing pictures a little ahead of the network that wants them."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any, NamedTuple, Protocol, TypeAlias

import torch
from torch import Tensor

from convscope_core.contents import Trace
from convscope_core.datasets import Images
from convscope_core.errors import ConvscopeError, ExecutorError
from convscope_core.jobs.results import Record

__all__ = ["Loaded", "Prepares", "loaded"]


class Prepares(Protocol):
    """Makes a tensor (1, C, H, W) of a picture, as `convscope_core.preprocessing.Preprocessing` does."""

    def prepare(self, image: Any, /) -> Tensor:
        """Return the tensor, on the CPU, of the same shape for all pictures."""


class Loaded(NamedTuple):
    """A batch of prepared pictures.

    Attributes
    ----------
    x : Tensor (N, C, H, W) or None
        On the CPU; None when not one of the batch could be read.
    numbers : list of int
        The pictures' numbers.
    labels : list of str or None
    record : Record
        What became of this and all earlier batches.
    """

    x: Tensor | None
    numbers: list[int]
    labels: list[str | None]
    record: Record


def loaded(
    preprocessing: Prepares, images: Images, indices: Sequence[int], batch_size: int, workers: int
) -> Generator[Loaded, None, None]:
    """Read and prepare pictures batch by batch, in order.

    Parameters
    ----------
    preprocessing : Prepares
    images : Images
    indices : sequence of int
        The number of each picture, for the record.
    batch_size : int
    workers : int
        Processes that read; 0 for threads.

    Yields
    ------
    Loaded
    """
    record = Record([], [], [])
    with _Loading(preprocessing, images, batch_size, workers) as batches:
        for batch in _guarded(batches, workers):
            good = [(indices[place], one) for place, one in batch if one.tensor is not None]
            numbers, labels = [number for number, _ in good], [one.label for _, one in good]
            record = Record(
                [*record.images, *numbers],
                [*record.labels, *labels],
                [*record.skipped, *((indices[place], one.reason) for place, one in batch if one.tensor is None)],
                [*record.traces, *(one.trace for _, one in good if one.trace is not None)],
            )
            tensors = [one.tensor for _, one in good if one.tensor is not None]
            yield Loaded(torch.cat(tensors) if tensors else None, numbers, labels, record)


def _guarded(batches: Iterator[_Batch], workers: int) -> Iterator[_Batch]:
    """Tell in our words that a process that reads pictures died."""
    try:
        yield from batches
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise ExecutorError(
            f"Expected the {workers} processes that read pictures (workers) to live, got one that died: {error} "
            "Memory, or shared memory, may be short: give fewer, or workers=0. Shards that a store has are kept."
        ) from error


class _Read(NamedTuple):
    """A prepared picture (1, C, H, W) on the CPU with its label, or the reason why there is none; what it was."""

    tensor: Tensor | None
    label: str | None
    reason: str
    trace: Trace | None = None


class _Prepared(torch.utils.data.Dataset[tuple[int, _Read]]):
    """Pictures, read and prepared when asked for."""

    def __init__(self, preprocessing: Prepares, images: Images) -> None:
        self._preprocessing = preprocessing
        self._images = images

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, place: int) -> tuple[int, _Read]:
        try:
            picture = self._images[place]
            trace = None
            if self._images.traced:
                # Before it is decoded, so that what is written meanwhile is no part of it; decoding says best what is
                # wrong with a file that cannot be read.
                with contextlib.suppress(OSError):
                    trace = self._images.trace(place, picture)
            x = self._preprocessing.prepare(picture.image)
            if self._images.traced and trace is None:
                trace = self._images.trace(place, picture)
            return place, _Read(x, picture.label, "", trace)
        except MemoryError:
            raise
        except ConvscopeError as error:
            reason = str(error)
        except Exception as error:  # a user's data set may raise anything, and one picture should not end the work
            reason = f"{type(error).__name__}: {error}"
        return place, _Read(None, None, reason)


_Batch: TypeAlias = list[tuple[int, _Read]]


class _Loading:
    """Decodes and prepares pictures, in threads or processes, a little ahead of where they are needed, in order."""

    def __init__(self, preprocessing: Prepares, images: Images, size: int, workers: int) -> None:
        self._pictures = _Prepared(preprocessing, images)
        self._size = size
        self._workers = workers
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> Iterator[_Batch]:
        if self._workers:
            loader = torch.utils.data.DataLoader(
                self._pictures, self._size, num_workers=self._workers, collate_fn=list, prefetch_factor=2
            )
            return iter(loader)
        self._pool = ThreadPoolExecutor(min(4, os.cpu_count() or 1), thread_name_prefix="convscope-loading")
        return self._batches(self._pool)

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def _batches(self, pool: ThreadPoolExecutor) -> Iterator[_Batch]:
        places = iter(range(len(self._pictures)))
        pending: deque[Future[tuple[int, _Read]]] = deque()

        def fill() -> None:
            for place in islice(places, 2 * self._size - len(pending)):
                pending.append(pool.submit(self._pictures.__getitem__, place))

        fill()
        while pending:
            batch = [pending.popleft().result() for _ in range(min(self._size, len(pending)))]
            # Before the batch is used, so that the next one is decoded meanwhile.
            fill()
            yield batch
