"""Reading and preparing pictures a little ahead of the network that wants them."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor

from convscope_core.contents import Trace
from convscope_core.datasets import Images
from convscope_core.errors import ConvscopeError, ExecutorError
from convscope_core.jobs.results import Record

__all__ = ["Loaded", "Prepares", "loaded", "reading"]


class Prepares(Protocol):
    """Makes a tensor (1, C, H, W) of a picture, as `convscope_core.preprocessing.Preprocessing` does."""

    def prepare(self, image: Any, /) -> Tensor:
        """Return the tensor, on the CPU, of the same shape for all pictures."""


class Loaded(NamedTuple):
    """A batch of prepared pictures.

    Attributes
    ----------
    x : Tensor (N, C, H, W) or None
        On the CPU, in pinned memory if that was asked for; None when not one of the batch could be read.
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
    preprocessing: Prepares,
    images: Images,
    indices: Sequence[int],
    batch_size: int,
    workers: int,
    *,
    pinned: bool = False,
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
    pinned : bool, default False
        Whether batches are to lie in pinned memory, out of which a copy to a CUDA device waits neither for what is
        computed there nor for itself.

    Yields
    ------
    Loaded
    """
    record = Record([], [], [])
    with _Loading(preprocessing, images, batch_size, workers, pinned) as batches:
        for x, batch in batches:
            good = [(indices[place], one) for place, one in batch if one.tensor is not None]
            numbers, labels = [number for number, _ in good], [one.label for _, one in good]
            record = Record(
                [*record.images, *numbers],
                [*record.labels, *labels],
                [*record.skipped, *((indices[place], one.reason) for place, one in batch if one.tensor is None)],
                [*record.traces, *(one.trace for _, one in good if one.trace is not None)],
            )
            yield Loaded(x, numbers, labels, record)


@contextlib.contextmanager
def reading(workers: int) -> Iterator[None]:
    """Tell in our words that a process that reads pictures died: PyTorch does wherever the main thread is."""
    try:
        yield
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
    """Decodes and prepares pictures, in threads or processes, and puts them together, a little ahead and in order."""

    def __init__(self, preprocessing: Prepares, images: Images, size: int, workers: int, pinned: bool) -> None:
        self._pictures = _Prepared(preprocessing, images)
        self._size = size
        self._workers = workers
        self._pinned = pinned
        self._pools: list[ThreadPoolExecutor] = []

    def __enter__(self) -> Iterator[tuple[Tensor | None, _Batch]]:
        read: Iterator[_Batch]
        if self._workers:
            loader = torch.utils.data.DataLoader(
                self._pictures, self._size, num_workers=self._workers, collate_fn=list, prefetch_factor=2
            )
            read = iter(loader)
        else:
            read = self._read(self._pool(min(4, os.cpu_count() or 1)))
        return self._joined(read, self._pool(1))

    def __exit__(self, *_: object) -> None:
        for pool in self._pools:
            pool.shutdown(wait=True, cancel_futures=True)

    def _pool(self, threads: int) -> ThreadPoolExecutor:
        pool = ThreadPoolExecutor(threads, thread_name_prefix="convscope-loading")
        self._pools.append(pool)
        return pool

    def _read(self, pool: ThreadPoolExecutor) -> Iterator[_Batch]:
        places = iter(range(len(self._pictures)))
        pending: deque[Future[tuple[int, _Read]]] = deque()

        def fill() -> None:
            for place in islice(places, self._size - len(pending)):
                pending.append(pool.submit(self._pictures.__getitem__, place))

        fill()
        while pending:
            batch = [pending.popleft().result() for _ in range(min(self._size, len(pending)))]
            # Before the batch is put together and used, so that the next one is decoded meanwhile.
            fill()
            yield batch

    def _joined(self, read: Iterator[_Batch], pool: ThreadPoolExecutor) -> Iterator[tuple[Tensor | None, _Batch]]:
        def join() -> tuple[Tensor | None, _Batch] | None:
            batch = next(read, None)
            return None if batch is None else (self._tensor(batch), batch)

        # Large batches take longer to put together than a GPU to compute.
        ahead = pool.submit(join)
        while (found := ahead.result()) is not None:
            ahead = pool.submit(join)
            yield found

    def _tensor(self, batch: _Batch) -> Tensor | None:
        parts = [one.tensor for _, one in batch if one.tensor is not None]
        if not parts:
            return None
        shape = (sum(map(len, parts)), *parts[0].shape[1:])
        x = torch.empty(shape, dtype=parts[0].dtype, pin_memory=self._pinned)
        # By NumPy: PyTorch would share it out among threads, beside those that compute.
        np.concatenate([part.numpy(force=True) for part in parts], out=x.numpy())
        return x
