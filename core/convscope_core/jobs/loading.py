"""Reading and preparing pictures a little ahead of the network that wants them."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor

from convscope_core.datasets import Images
from convscope_core.errors import ConvscopeError
from convscope_core.preprocessing import Preprocessing

__all__ = ["Batch", "Loaded", "Loading"]


class Loaded(NamedTuple):
    """A prepared picture (1, C, H, W) on the CPU with its label, or the reason why there is none."""

    tensor: Tensor | None
    label: str | None
    reason: str


class _Prepared(torch.utils.data.Dataset[tuple[int, Loaded]]):
    """Pictures, read and prepared when asked for."""

    def __init__(self, preprocessing: Preprocessing, images: Images) -> None:
        self._preprocessing = preprocessing
        self._images = images

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, place: int) -> tuple[int, Loaded]:
        try:
            picture = self._images[place]
            return place, Loaded(self._preprocessing.prepare(picture.image), picture.label, "")
        except MemoryError:
            raise
        except ConvscopeError as error:
            reason = str(error)
        except Exception as error:  # a user's data set may raise anything, and one picture should not end the work
            reason = f"{type(error).__name__}: {error}"
        return place, Loaded(None, None, reason)


Batch = list[tuple[int, Loaded]]


class Loading:
    """Decodes and prepares pictures, in threads or processes, a little ahead of where they are needed, in order."""

    def __init__(self, preprocessing: Preprocessing, images: Images, size: int, workers: int) -> None:
        self._pictures = _Prepared(preprocessing, images)
        self._size = size
        self._workers = workers
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> Iterator[Batch]:
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

    def _batches(self, pool: ThreadPoolExecutor) -> Iterator[Batch]:
        places = iter(range(len(self._pictures)))
        pending: deque[Future[tuple[int, Loaded]]] = deque()

        def fill() -> None:
            for place in islice(places, 2 * self._size - len(pending)):
                pending.append(pool.submit(self._pictures.__getitem__, place))

        fill()
        while pending:
            batch = [pending.popleft().result() for _ in range(min(self._size, len(pending)))]
            # Before the batch is used, so that the next one is decoded meanwhile.
            fill()
            yield batch
