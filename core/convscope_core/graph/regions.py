"""The forward walk over what changed: exact results for pictures that differ from one picture in a box.

After the pixels of a box change, each node changes in a box only; everything else is in the recorded values of the
clean picture. `convscope_core.graph.plan` computes that box for a batch of pictures; here is decided which pictures
make a batch.

All pictures of a batch have their own position but one size of box, and so windows of one size at every node: the
size is the greatest that any position of the batch needs, and where a position needs less (at a border, or where it
meets the strides more luckily) the window holds values that come out as they were. A sweep puts positions of like
needs into one batch.
"""

from __future__ import annotations

import logging
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from convscope_core.errors import ArgumentError
from convscope_core.graph.forward import Runner
from convscope_core.graph.geometry import Geometry
from convscope_core.graph.kernels import Kernels
from convscope_core.graph.node import Graph, Node
from convscope_core.graph.plan import Plan, Work
from convscope_core.graph.windows import Batch, Changed, Cut, Ints, Recorded, Windows
from convscope_core.graph.workspace import Workspace
from convscope_core.locks import Lock
from convscope_core.precision import full_precision
from convscope_core.threads import parts_at_once, side_by_side

__all__ = ["Changed", "Regions", "Work"]

logger = logging.getLogger(__name__)

#: Bytes that one batch may take, unless told otherwise, and how many pictures. Small enough that a layer's windows stay
#: near the processor, large enough that the weights are read once for many positions.
_BUDGET = {"cpu": 2**27, "cuda": 2**31}
_MOST_PICTURES = {"cpu": 32, "cuda": 512}

#: As how many pictures at once those of a sweep count, for the choice of how to compute them.
_MANY = 16

#: Pictures of a batch, at least, where several are computed at once: PyTorch leaves 1x1 convolutions of fewer, on one
#: thread, to a slower library, and all kernels are brought into form for each batch.
_FEWEST = 16

#: Plans that are kept: those of batches that are computed at once, and of some sizes.
_PLANS = 8

#: Pictures of the first batch where batches are to take a certain time.
_FIRST = 4


#: Whether windows give what the ordinary forward pass gives, by graph: None, or how far they are off.
_measured: weakref.WeakKeyDictionary[Graph, str | None] = weakref.WeakKeyDictionary()

#: Greatest deviation of windows from the ordinary pass: of the greatest value, of what the box changes, and of the
#: greatest value that a node computes from (a sum that comes to nothing is as exact as what is summed).
_ROUNDING, _SHARE_OF_EFFECT, _ROUNDING_OF_INPUTS = 1e-4, 0.05, 1e-6


class Regions:
    """A graph and a picture, ready to be asked what changes when boxes of the picture change.

    What depends on what is derived from the graph (`convscope_core.graph.axes`); when a graph is first asked about, one
    box is computed both ways, and should they disagree, its boxes take the ordinary forward pass (`distrust`).

    Not to be used from several threads at once (windows are put together in memory that calls share); a sweep uses
    several itself.

    Parameters
    ----------
    graph : Graph
    x : tensor
        (1, C, H, W), the clean picture.
    record : iterable of Node, default ()
        Nodes whose values calls may ask for.
    geometry : Geometry, optional
        Of this graph, to save making it.
    budget : int, optional
        Bytes that what is computed at once may take in `sweep`. Default: 128 MiB for a batch, on CUDA 2 GiB.
    runner : Runner, optional
        Of this graph.
    kernels : Kernels, optional
        Of this graph, to share them between pictures.
    dtype : torch.dtype, optional
        In which the walk computes, such as ``torch.bfloat16``; recorded values are in it. The clean picture's own
        values are computed in the type of `x` and rounded; boxes that take the ordinary forward pass (see
        `reason`) are computed in the type of `x`. To see what it costs, compare the output for a few positions
        with that of a `Regions` without it. Default: that of `x`.

    Attributes
    ----------
    output : tensor
        (1, K): the network's output for the clean picture.
    values : dict of Node to tensor
        The clean values of `record`, (1, *shape).
    distrust : str or None
        How far windows were off when they were measured; None where they give what the ordinary pass gives.
    """

    def __init__(
        self,
        graph: Graph,
        x: Tensor,
        record: Iterable[Node] = (),
        *,
        geometry: Geometry | None = None,
        budget: int | None = None,
        runner: Runner | None = None,
        kernels: Kernels | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        if x.dim() != 4 or len(x) != 1 or tuple(x.shape[1:]) != graph.input.shape:
            raise ArgumentError(
                f"Expected one clean picture (1, {', '.join(map(str, graph.input.shape))}), got {tuple(x.shape)}."
            )
        self.graph = graph
        self.geometry = Geometry(graph) if geometry is None else geometry
        self.budget = budget
        wanted = frozenset(record)
        kernels = kernels or Kernels()
        self._workspaces = [kernels.workspace]  # more where several batches are computed at once
        self._recorded = Recorded(graph, x, wanted, Runner(graph) if runner is None else runner, kernels, dtype)
        self.output = self._recorded.output
        self.values = {n: self._recorded.clean(n) for n in wanted}
        self.distrust: str | None = None
        self._plans: dict[tuple[tuple[int, int], tuple[int, ...], tuple[int, ...], int], Plan] = {}
        self._planning = Lock()
        if dtype is None and graph not in _measured:
            with full_precision(x.device):  # it is about what is wrong, not about what is rounded
                _measured[graph] = self._deviation()
        self.distrust = _measured.get(graph)
        if self.distrust is not None:
            self._plans.clear()
            logger.warning("%s; all boxes take the ordinary forward pass, which is slower and exact", self.distrust)

    def _deviation(self) -> str | None:
        """Compute one box in windows and by the ordinary pass; return how far they differ, None if they do not."""
        x = self._recorded.x
        size = tuple(max(1, s // 3) for s in x.shape[2:])
        at = (x.shape[2] - size[0]) // 3, (x.shape[3] - size[1]) * 2 // 3
        if self._plan((size[0], size[1])).reason is not None:
            return None
        draw = torch.Generator().manual_seed(0)
        patch = 3 * torch.randn(1, x.shape[1], *size, generator=draw).to(x)
        picture = x.clone()
        picture[:, :, at[0] : at[0] + size[0], at[1] : at[1] + size[1]] = patch
        record = tuple(self.values)
        try:
            output, changed = self([at], patch, record)
            found = [output, *(changed[n].whole() for n in record)]
        except Exception as e:  # whatever it is, the ordinary pass does without it
            logger.warning("windows failed", exc_info=e)
            return f"windows fail with {type(e).__name__}: {str(e)[:200]}"
        nodes = [self.graph.output, *record]
        with torch.inference_mode():
            expected, values = self._recorded.runner(picture, {*record, *(i for n in nodes for i in n.inputs)})
        clean = [self.output, *(self.values[n] for n in record)]
        for n, a, b, c in zip(nodes, found, [expected, *(values[n] for n in record)], clean, strict=True):
            error, effect, scale = (float(t.abs().max()) for t in (a - b, b - c, b))
            given = [t for i in n.inputs for t in _tensors(values[i])]
            computed_from = max((float(t.abs().max()) for t in given if t.dtype != torch.bool), default=0.0)
            small = (_ROUNDING * scale, _SHARE_OF_EFFECT * effect, _ROUNDING_OF_INPUTS * computed_from)
            if not any(error <= most for most in small):  # NaN is more than any
                return f"windows are off at {n.name}: by {error:.2g} of {scale:.2g}, where a box changes {effect:.2g}"
        return None

    # -- what a walk for a size of box looks like --

    def reason(self, size: tuple[int, int]) -> str | None:
        """Say why boxes of this size take the ordinary forward pass; None if they do not."""
        return self._plan(size).reason

    def work(self, size: tuple[int, int], positions: Sequence[tuple[int, int]] = ()) -> Work:
        """Count the multiply-adds for one box of this size, anywhere or at one of some positions in a `sweep`."""
        return self._plan(size, positions).work

    def batch_size(self, size: tuple[int, int], positions: Sequence[tuple[int, int]] = ()) -> int:
        """Return how many boxes of this size a `sweep` computes at once, by the budget, in all batches together."""
        device = self._recorded.x.device
        most = _MOST_PICTURES.get(device.type, 64)
        parts = parts_at_once(len(positions) or most * torch.get_num_threads(), device, _FEWEST)
        budget = parts * _BUDGET.get(device.type, 2**28) if self.budget is None else self.budget
        return max(1, min(parts * most, budget // max(self._plan(size, positions).bytes, 1)))

    def order(self, size: tuple[int, int], positions: Sequence[tuple[int, int]]) -> list[int]:
        """Return the indices of positions in the order in which a `sweep` computes them, if memory suffices."""
        batches, _ = self._in_parts(size, positions, range(len(positions)), self.batch_size(size, positions))
        return [i for batch in batches for i in self._neighbours(size, positions, batch)]

    def _in_parts(
        self, size: tuple[int, int], positions: Sequence[tuple[int, int]], left: Sequence[int], most: int
    ) -> tuple[list[list[int]], int]:
        """Return batches, and how many of them to compute at once, which together have at most so many pictures."""
        turns = max(1, -(-len(left) // most))
        parts = parts_at_once(-(-len(left) // turns), self._recorded.x.device, _FEWEST)
        if parts > 1:
            most = -(-len(left) // (turns * parts))
        return self._batches(size, positions, left, most), parts

    def _batches(
        self, size: tuple[int, int], positions: Sequence[tuple[int, int]], indices: Iterable[int], most: int
    ) -> list[list[int]]:
        """Put positions together whose windows are of like sizes, at most so many.

        Windows are as large as the greatest need among the pictures of a batch, along rows and along columns. How
        much a position needs depends on how it meets the strides, and on how near a border is.
        """
        left = list(indices)
        if not left:
            return []
        plan = self._plan(size, [positions[i] for i in left])
        cases = plan.cases(self._inside(size, np.array([positions[i] for i in left], np.int64)))
        costs = [cost[case] for cost, case in zip(plan.costs(), cases, strict=True)]

        def split(part: Ints) -> list[Ints]:
            count = -(-len(part) // most)
            if count == 1:
                return [part]
            at = len(part) * (count // 2) // count
            sides = []
            for cost in costs:
                ranked = part[np.argsort(cost[part], kind="stable")]
                sides.append((cost[ranked[at - 1]] / max(cost[ranked[-1]], 1.0), ranked))
            _, ranked = min(sides, key=lambda side: side[0])
            return [*split(ranked[:at]), *split(ranked[at:])]

        return [[left[k] for k in part] for part in split(np.arange(len(left)))]

    def _neighbours(self, size: tuple[int, int], positions: Sequence[tuple[int, int]], batch: list[int]) -> list[int]:
        """Order a batch so that neighbours meet the strides in the same way.

        What changed is pasted with one copy for each run of pictures in which it lies at the same place of
        the window.
        """
        places = [positions[i] for i in batch]
        plan = self._plan(size, places)
        keys = []
        for axis in (0, 1):
            cuts = [c for c in plan.cuts if c.have is not None]
            offsets = [_starts(c.have, axis) - _starts(c.need, axis) for c in cuts]
            table = np.stack(offsets, 1) if offsets else np.zeros((len(plan.places[axis]), 1), np.int64)
            keys.append(np.unique(table, axis=0, return_inverse=True)[1].reshape(-1))
        tops, lefts = plan.cases(self._inside(size, np.array(places, np.int64)))
        return [batch[i] for i in np.lexsort((lefts, tops, keys[1][lefts], keys[0][tops]))]

    def _inside(self, size: tuple[int, int], at: Ints) -> Ints:
        """Move boxes the shortest way into the picture."""
        moved: Ints = at.clip(0, np.array(self._recorded.x.shape[2:]) - size)
        return moved

    # -- computing --

    def __call__(
        self, positions: Sequence[tuple[int, int]], patches: Tensor, record: Iterable[Node] = ()
    ) -> tuple[Tensor, dict[Node, Changed]]:
        """Compute the output for pictures in which a box is replaced.

        Parameters
        ----------
        positions : sequence of (top, left)
            Upper left corners of the boxes, one for each picture, N >= 1. A box may leave the picture: what is
            outside is left out.
        patches : tensor
            (N, C, h, w) or (1, C, h, w): what the boxes hold, h and w at most the picture's. Where a patch holds
            the clean picture's own pixels nothing changes, so that a patch may be a mask of any form.
        record : iterable of Node, default ()
            Of those given to the constructor: nodes whose values to return.

        Returns
        -------
        output : tensor
            (N, K), equal to that of the ordinary forward pass up to rounding.
        values : dict of Node to Changed

        Raises
        ------
        ArgumentError
            If patches or positions do not fit the picture, or a node is not recorded.
        """
        return self._call(positions, patches, tuple(record), (), self._workspaces[0])

    def _call(
        self,
        positions: Sequence[tuple[int, int]],
        patches: Tensor,
        record: tuple[Node, ...],
        among: Sequence[tuple[int, int]],
        workspace: Workspace,
    ) -> tuple[Tensor, dict[Node, Changed]]:
        size, at = self._checked(positions, patches, record)
        patches = patches.to(self._recorded.x.dtype)
        with torch.inference_mode():
            inside = self._inside(size, at)
            if not np.array_equal(at, inside):
                patches = self._clipped(size, at, inside, patches, workspace)
            plan = self._plan(size, among, 1 if len(at) == 1 else _MANY)
            batch = Batch(*plan.cases(inside), patches.expand(len(at), -1, -1, -1), workspace)
            return plan.run(batch, record)

    def _at_once(
        self, batches: Sequence[list[tuple[int, int]]], patches: Tensor, record: tuple[Node, ...]
    ) -> list[tuple[Tensor, dict[Node, Changed]]]:
        """Compute several batches of positions side by side, with the patches of one after the other."""
        while len(self._workspaces) < len(batches):
            self._workspaces.append(Workspace())
        self._checked([place for places in batches for place in places], patches, record)
        sizes = [len(places) for places in batches]
        each = torch.split(patches, sizes) if len(patches) > 1 else [patches] * len(sizes)
        return side_by_side(
            lambda part: self._call(*part[:2], record, part[0], part[2]),
            list(zip(batches, each, self._workspaces, strict=False)),
        )

    def sweep(
        self,
        positions: Sequence[tuple[int, int]],
        size: tuple[int, int],
        patches: Callable[[Sequence[tuple[int, int]]], Tensor],
        record: Iterable[Node] = (),
        seconds: float | None = None,
    ) -> Iterator[tuple[list[int], Tensor, dict[Node, Changed]]]:
        """Compute many positions in batches as large as the budget allows.

        On a processor several batches are computed at once, on a thread each: the work of a layer is too little to be
        shared out among threads well. When memory runs out, batches become half as large, down to single pictures.

        Parameters
        ----------
        positions : sequence of (top, left)
        size : (h, w)
            Of the boxes.
        patches : callable
            From some of the positions to what the boxes hold there, as a call takes it.
        record : iterable of Node
        seconds : float, optional
            About how long what is computed at once may take: batches begin small and grow as far as that, so that
            others get a turn often. Default: no limit.

        Yields
        ------
        indices : list of int
            Which of the positions; each comes once, in the order of `order`.
        output, values
            As of a call.
        """
        limit = most = self.batch_size(size, positions)
        if seconds is not None:  # what waits for a turn waits for no more pictures where several batches are at once
            limit = min(limit, _MOST_PICTURES.get(self._recorded.x.device.type, 64))
            most = min(limit, _FIRST)
        record = tuple(record)
        waiting, parts = self._in_parts(size, positions, range(len(positions)), most)
        while waiting:
            now = [self._neighbours(size, positions, batch) for batch in waiting[:parts]]
            del waiting[:parts]
            places = [[positions[i] for i in batch] for batch in now]
            count = sum(map(len, now))
            begun = time.perf_counter()
            try:
                found = self._at_once(places, patches([place for batch in places for place in batch]), record)
            except RuntimeError as e:
                if not _is_out_of_memory(e) or count == 1:
                    raise
                limit = most = max(1, count // 2)
                logger.info("out of memory with %d pictures at once; going on with %d", count, most)
                for workspace in self._workspaces:
                    workspace.free()
                waiting, parts = self._in_parts(size, positions, _joined([*now, *waiting]), most)
                continue
            if seconds is not None:
                if found[0][0].is_cuda:
                    torch.cuda.synchronize(found[0][0].device)
                pace = (time.perf_counter() - begun) / count
                fitting = max(1, min(limit, int(seconds / pace), 2 * most))
                if not 0.7 * most < fitting < 1.5 * most:  # small changes are not worth putting batches together again
                    most = fitting
                    waiting, parts = self._in_parts(size, positions, _joined(waiting), most)
            for batch, (output, values) in zip(now, found, strict=True):
                yield batch, output, values

    def _checked(
        self, positions: Sequence[tuple[int, int]], patches: Tensor, record: tuple[Node, ...]
    ) -> tuple[tuple[int, int], Ints]:
        channels, height, width = self._recorded.x.shape[1:]
        at = np.array(positions, np.int64).reshape(-1, 2)
        fits = patches.dim() == 4 and patches.shape[1] == channels and len(patches) in (1, len(at)) and len(at)
        if not fits or not (1 <= patches.shape[2] <= height and 1 <= patches.shape[3] <= width):
            raise ArgumentError(
                f"Expected patches (N or 1, {channels}, h, w), for N >= 1 positions, of at most {height}x{width} "
                f"pixels, got {tuple(patches.shape)} for {len(at)} positions."
            )
        missing = [n.name for n in record if n not in self.values]
        if missing:
            raise ArgumentError(f"Expected nodes given as record to Regions, got {', '.join(missing)}.")
        return (patches.shape[2], patches.shape[3]), at

    def _clipped(self, size: tuple[int, int], at: Ints, inside: Ints, patches: Tensor, workspace: Workspace) -> Tensor:
        """Return windows inside the picture that hold what the patches hold of it."""
        have, need = Windows(size, at[:, 0], at[:, 1]), Windows(size, inside[:, 0], inside[:, 1])
        cut = Cut(self.graph.input, (2, 3), (0, 0, 0, 0), 0.0, need, have)
        each = np.arange(len(at))
        patches = patches.expand(len(at), -1, -1, -1)
        return self._recorded.cut(cut, patches, Batch(each, each, patches, workspace))

    def _plan(self, size: tuple[int, int], positions: Sequence[tuple[int, int]] = (), pictures: int = _MANY) -> Plan:
        limits = self._recorded.x.shape[2] - size[0], self._recorded.x.shape[3] - size[1]
        tops, lefts = (tuple(sorted({min(max(p[a], 0), limits[a]) for p in positions})) for a in (0, 1))
        key = (size, tops, lefts, pictures)
        with self._planning:
            plan = self._plans.get(key)
            if plan is None:
                while len(self._plans) >= _PLANS:  # a hand that resizes the occluder asks for many sizes once
                    self._plans.pop(next(iter(self._plans)))
                everywhere = tuple(np.arange(limit + 1) for limit in limits)
                places = (np.array(tops), np.array(lefts)) if positions else (everywhere[0], everywhere[1])
                plan = self._plans[key] = Plan(self._recorded, self.geometry, size, places, pictures, self.distrust)
                if plan.reason is not None:
                    logger.info("boxes of %dx%d take the ordinary forward pass: %s", *size, plan.reason)
        return plan


def _joined(batches: Iterable[list[int]]) -> list[int]:
    return [i for batch in batches for i in batch]


def _tensors(value: Any) -> list[Tensor]:
    """Return what a node gives: one tensor, or several, of which other nodes take one."""
    if isinstance(value, Tensor):
        return [value]
    return [t for v in value for t in _tensors(v)] if isinstance(value, (tuple, list)) else []


def _starts(slots: Windows | None, axis: int) -> Ints:
    assert slots is not None
    return slots.columns if axis else slots.rows


def _is_out_of_memory(e: RuntimeError) -> bool:
    return isinstance(e, torch.OutOfMemoryError) or "allocate memory" in str(e)
