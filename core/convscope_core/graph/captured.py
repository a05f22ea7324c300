"""Passes over the graph as CUDA graphs: repeated without Python."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from convscope_core.graph.node import Node
from convscope_core.graph.windows import Batch
from convscope_core.locks import Lock

__all__ = ["CapturedWalk", "Repeated"]

logger = logging.getLogger(__name__)


class Repeated:
    """A function of tensors that is called again and again: on a CUDA device, from the second call on, as a graph.

    What one call begins on the device takes Python as long as the device computes, or longer where other threads run
    Python too.

    Parameters
    ----------
    call : callable
        Makes tensors of a batch, and what else it gets, and does nothing else: it is not called for every batch.
    lock : Lock
        Under which it computes.
    """

    def __init__(self, call: Callable[..., Sequence[Tensor]], lock: Lock) -> None:
        self._call = call
        self._lock = lock
        self._known: dict[tuple[Any, ...], Callable[..., Sequence[Tensor]] | None] = {}

    def __call__(self, *given: Tensor) -> Sequence[Tensor]:
        """Return what the function makes of what it is given, on one device: tensors of its own."""
        if given[0].device.type != "cuda" or any(x.requires_grad for x in given):
            return self._call(*given)
        with self._lock:
            key = (*((x.shape, x.stride(), x.dtype, x.device) for x in given), *_settings())
            if key not in self._known:
                found = self._call(*given)
                # After one call, to its end, there is what it makes once.
                self._known[key] = None
                return found
            ready = self._known[key] or self._captured(given)
            self._known[key] = ready
            return ready(*given)

    def _captured(self, given: Sequence[Tensor]) -> Callable[..., Sequence[Tensor]]:
        try:
            return _Captured(self._call, given)
        except RuntimeError as e:
            logger.info("a pass that cannot be captured, and stays slower: %s", e)
            return self._call


def _settings() -> tuple[Any, ...]:
    """What decides which kernels compute, beside the batch."""
    return (
        torch.backends.cudnn.allow_tf32,
        torch.backends.cuda.matmul.allow_tf32,
        torch.is_autocast_enabled("cuda"),
        torch.get_autocast_dtype("cuda"),
        torch.is_inference_mode_enabled(),
    )


class _Captured:
    """The kernels of a call, with the memory that they read and write."""

    def __init__(self, call: Callable[..., Sequence[Tensor]], given: Sequence[Tensor]) -> None:
        self._given = [x.clone() for x in given]
        self._graph = torch.cuda.CUDAGraph()
        self._results: Sequence[Tensor] = ()

        def make() -> None:
            self._results = call(*self._given)

        _capture(self._graph, make, given[0].device)

    def __call__(self, *given: Tensor) -> Sequence[Tensor]:
        for mine, x in zip(self._given, given, strict=True):
            mine.copy_(x)
        self._graph.replay()
        return [result.clone() for result in self._results]


def _capture(graph: torch.cuda.CUDAGraph, call: Callable[[], None], device: torch.device) -> None:
    """Take down the kernels that a call begins, beside what the device computes."""
    aside: torch.cuda.Stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    here = torch.cuda.current_stream(device)
    pool = torch.cuda.graph_pool_handle()
    aside.wait_stream(here)
    with torch.cuda.stream(aside):
        # Other threads may use the device meanwhile.
        graph.capture_begin(pool=pool, capture_error_mode="thread_local")
        try:
            call()
        except BaseException:
            with contextlib.suppress(RuntimeError):  # what went wrong first is told
                _end(graph, pool, device)
            raise
        _end(graph, pool, device)
    here.wait_stream(aside)


def _end(graph: torch.cuda.CUDAGraph, pool: tuple[int, int], device: torch.device) -> None:
    """End a capture; of one that failed, so that nobody notices.

    PyTorch stops there in the middle: whoever draws random numbers on the device later, a dropout too, is told that a
    capture is under way, and the memory of this one is nobody's.
    """
    try:
        graph.capture_end()
    except RuntimeError:
        index = torch._utils._get_device_index(device, optional=True)
        with contextlib.suppress(RuntimeError):  # where PyTorch did that much
            torch._C._cuda_endAllocateToPool(index, pool)
            torch._C._cuda_releasePool(index, pool)
        # One that succeeds ends it for the random numbers. What it launches has run before.
        number, another = torch.zeros(1, device=device), torch.cuda.CUDAGraph()
        another.capture_begin(capture_error_mode="thread_local")
        number.zero_()
        another.capture_end()
        raise


class CapturedWalk:
    """A walk for one picture, repeated wherever the box is and whatever it holds.

    Parameters
    ----------
    walk : callable
        Computes the values of a batch. It has been called before, so that what it makes once is there.
    batch : Batch
        Of one picture on a CUDA device.
    wanted : sequence of Node
        Whose values are read afterwards.

    Raises
    ------
    RuntimeError
        If something in the walk waits for the device.
    """

    def __init__(self, walk: Callable[[Batch], None], batch: Batch, wanted: Sequence[Node]) -> None:
        self._places = torch.cat(batch.on_device)
        mine = Batch(batch.tops, batch.lefts, batch.patches.clone(), batch.workspace)
        mine.on_device = self._places[:1], self._places[1:]
        self._patches = mine.patches
        self._graph = torch.cuda.CUDAGraph()
        _capture(self._graph, lambda: walk(mine), self._patches.device)
        self._values: dict[Node, Tensor] = {n: mine.values[n] for n in wanted if n in mine.values}
        # The workspace's memory may be replaced by larger; the kernels go on to use this.
        self._used = batch.workspace.tensors()

    def repeat(self, batch: Batch) -> None:
        """Compute the values of another batch of one picture."""
        self._patches.copy_(batch.patches)
        self._places.copy_(torch.tensor([batch.tops[0], batch.lefts[0]]))
        self._graph.replay()
        for n, value in self._values.items():
            batch.values[n] = value.clone()
