"""A walk for one picture as a CUDA graph: repeated without Python, wherever the box is and whatever it holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from convscope_core.graph.node import Node
from convscope_core.graph.windows import Batch

__all__ = ["CapturedWalk"]


class CapturedWalk:
    """The kernels of a walk, with the memory that they read and write.

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
        device = self._patches.device
        aside: torch.cuda.Stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        here = torch.cuda.current_stream(device)
        aside.wait_stream(here)
        with torch.cuda.stream(aside):
            # Other threads may use the device meanwhile.
            self._graph.capture_begin(capture_error_mode="thread_local")
            try:
                walk(mine)
            finally:
                self._graph.capture_end()
        here.wait_stream(aside)
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
