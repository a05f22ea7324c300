"""The forward walk over what changed: exact results for pictures that differ from one picture in a box.

After the pixels of a box change, each node changes in a box only (`Geometry.reach`); everything else is in the
recorded values of the clean picture. The walk computes that box, out of windows of its inputs in which the
recomputed part lies amid recorded values.

All pictures of a batch have their own position but one size of box, and so windows of one size at every node: the
size is the greatest that any position of the batch needs, and where a position needs less (at a border, or where it
meets the strides more luckily) the window holds values that come out as they were. So a batch is one dense tensor at
every node, and convolutions run without padding: what is outside a map is in the window as the operation's own
padding (zero, or minus infinity under a max pool). A sweep puts positions of like needs into one batch.

Nearly all the time goes into convolutions; `convscope_core.graph.kernels` makes those of 3x3 cheaper. Windows are put
together by copies in a loop over the pictures (`Regions._cut`), on accelerators by index (`_gathered`).
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from convscope_core.errors import ArgumentError
from convscope_core.graph.forward import FRESH, IN_PLACE, Runner
from convscope_core.graph.geometry import Geometry, Ranges, layouts
from convscope_core.graph.kernels import TILE, Kernels
from convscope_core.graph.node import Graph, Node, map_values
from convscope_core.graph.ops import ELEMENTWISE, kernel_size

__all__ = ["Changed", "Regions", "Work"]

logger = logging.getLogger(__name__)

Ints: TypeAlias = npt.NDArray[np.int64]
Floats: TypeAlias = npt.NDArray[np.float64]

#: From this share of a map on, all of it is computed: cutting windows would cost more than it saves.
_NEARLY_ALL = 0.8

#: From this share of the multiply-adds on, the ordinary forward pass is as quick.
_NO_GAIN = 0.9

#: Bytes that one batch may take, unless told otherwise. Small enough that a layer's windows stay near the
#: processor, large enough that the weights are read once for many positions.
_BUDGET = {"cpu": 2**27, "cuda": 2**31}

_MOST_PICTURES = {"cpu": 32, "cuda": 128}

#: As how many pictures at once those of a sweep count, for the choice of how to compute them.
_MANY = 16

#: Where windows are put together with copies in a loop. Elsewhere a loop would cost a launch for each copy.
_LOOPS = {"cpu"}

#: Where convolutions are quickest with the channels of a position side by side.
_CHANNELS_LAST = frozenset({"cpu", "cuda"})

#: Pictures of the first batch where batches are to take a certain time.
_FIRST = 4

_WINDOWED = frozenset({"conv", "max_pool", "avg_pool"})

#: Kinds that treat every position alike, given that their axes (channels, mostly) are no rows or columns.
_BY_POSITION = ELEMENTWISE | {
    "linear", "layer_norm", "local_response_norm", "permute", "reshape", "cat", "slice", "softmax",
    "log_softmax", "aten.channel_shuffle", "aten.native_channel_shuffle",
}  # fmt: skip

#: Kinds whose constant tensors belong to channels, never to positions.
_CHANNEL_WEIGHTS = frozenset({"batch_norm", "layer_norm", "linear", "prelu", "local_response_norm"})


@dataclass(frozen=True)
class Work:
    """Multiply-adds of convolutions and linear layers for one picture.

    Attributes
    ----------
    regions : int
        Of the walk over what changed.
    whole : int
        Of the ordinary forward pass.
    """

    regions: int
    whole: int

    @property
    def bound(self) -> float:
        """How many times faster the regions can be if a multiply-add costs the same in both."""
        return self.whole / self.regions if self.regions else math.inf


@dataclass(frozen=True, eq=False)
class Changed:
    """The values of one node for a batch of changed pictures: a window of its map each, or all of it.

    Attributes
    ----------
    value : tensor
        (N, *shape), with the window's height and width in place of the map's.
    clean : tensor
        (1, *shape): the values for the clean picture, which hold outside the windows.
    axes : (int, int) or None
        The axes of rows and columns in `value`; None where `value` is all there is.
    rows, columns : int array (N,)
        Where the windows begin.
    """

    value: Tensor
    clean: Tensor
    axes: tuple[int, int] | None = None
    rows: Ints | None = None
    columns: Ints | None = None

    def whole(self) -> Tensor:
        """Return the values everywhere, (N, *shape)."""
        if self.axes is None or self.rows is None or self.columns is None:
            return self.value
        if self.value.device.type not in _LOOPS:
            height, width = (self.clean.shape[a] for a in self.axes)
            rows, columns = (torch.from_numpy(s).to(self.value.device) for s in (self.rows, self.columns))
            everywhere = torch.zeros_like(rows)
            return _gathered(
                self.clean, self.axes, (height, width), (everywhere, everywhere), self.value, (rows, columns)
            )
        out = self.clean.expand(len(self.value), *self.clean.shape[1:]).clone()
        height, width = (self.value.shape[a] for a in self.axes)
        for part, v, r, c in zip(out, self.value, self.rows.tolist(), self.columns.tolist(), strict=True):
            part.narrow(self.axes[0] - 1, r, height).narrow(self.axes[1] - 1, c, width).copy_(v)
        return out

    def totals(self, channel: int | None = None, axis: int = 1) -> Tensor:
        """Return the sums of channels over all positions.

        Parameters
        ----------
        channel : int, optional
            Default: all of them.
        axis : int, default 1
            The axis of the channels in `value`.

        Returns
        -------
        tensor
            (N,) float64, or (N, channels) for all.
        """
        value, clean = self.value, self.clean
        if channel is not None:
            value, clean = value.narrow(axis, channel, 1), clean.narrow(axis, channel, 1)
        sums = value.movedim(axis, 1).double().reshape(len(value), value.shape[axis], -1).sum(2)
        if self.axes is not None and self.rows is not None and self.columns is not None:
            maps = clean[0].permute(axis - 1, self.axes[0] - 1, self.axes[1] - 1).double()
            height, width = (value.shape[a] for a in self.axes)
            # Sums of rectangles as differences of the integral image.
            integral = torch.nn.functional.pad(maps.cumsum(1).cumsum(2), (1, 0, 1, 0))
            r, c = (torch.from_numpy(starts).to(integral.device) for starts in (self.rows, self.columns))
            inside = (
                integral[:, r + height, c + width]
                - integral[:, r, c + width]
                - integral[:, r + height, c]
                + integral[:, r, c]
            )
            sums = sums + (integral[:, -1, -1, None] - inside).T
        return sums if channel is None else sums[:, 0]


class _Slots:
    """Where each picture's window begins along rows and columns, for every place the changed box may be at.

    `rows[i]` belongs to the i-th of the tops that a plan is for, `columns[i]` to the i-th of the lefts.
    """

    __slots__ = ("_there", "columns", "rows", "size")

    def __init__(self, size: tuple[int, int], rows: Ints, columns: Ints) -> None:
        self.size = size
        self.rows = rows
        self.columns = columns
        self._there: tuple[Tensor, Tensor] | None = None

    def of(self, batch: _Batch) -> tuple[Tensor, Tensor]:
        """Return where the windows of a batch begin, on its device."""
        device = batch.patches.device
        if self._there is None:
            self._there = torch.from_numpy(self.rows).to(device), torch.from_numpy(self.columns).to(device)
        tops, lefts = batch.there
        return self._there[0][tops], self._there[1][lefts]

    def moved(self, rows: int, columns: int) -> _Slots:
        return _Slots(self.size, self.rows + rows, self.columns + columns)


@dataclass(frozen=True, eq=False)
class _Cut:
    """How to get windows of one input of an operation.

    Attributes
    ----------
    source : Node
    axes : (int, int)
        Of rows and columns.
    padding : (int, int, int, int)
        Rows above and below, columns left and right that the clean map is extended by.
    fill : float
        What is in them.
    need : _Slots
        Windows to get, in the extended map.
    have : _Slots or None
        Windows that changed, in the extended map; None if the source does not change.
    """

    source: Node
    axes: tuple[int, int]
    padding: tuple[int, int, int, int]
    fill: float
    need: _Slots
    have: _Slots | None

    @property
    def elements(self) -> int:
        """Numbers in a window."""
        shape = self.source.shape
        positions = shape[self.axes[0] - 1] * shape[self.axes[1] - 1]
        return math.prod(self.need.size) * math.prod(shape) // max(positions, 1)

    @property
    def same(self) -> bool:
        """Whether what changed is what is needed."""
        h, n = self.have, self.need
        return (
            h is not None
            and h.size == n.size
            and np.array_equal(h.rows, n.rows)
            and np.array_equal(h.columns, n.columns)
        )

    @cached_property
    def covered(self) -> bool:
        """Whether what changed holds all that is needed."""
        h, n = self.have, self.need
        return h is not None and all(
            bool(((a <= b) & (a + p >= b + q)).all())
            for a, b, p, q in ((h.rows, n.rows, h.size[0], n.size[0]), (h.columns, n.columns, h.size[1], n.size[1]))
        )


class _Batch:
    """The pictures that are computed together; tops and lefts are indices of the plan's places."""

    def __init__(self, tops: Ints, lefts: Ints, patches: Tensor) -> None:
        self.tops, self.lefts = tops, lefts
        self.patches = patches
        self.size = len(tops)
        self.values: dict[Node, Any] = {}

    @cached_property
    def there(self) -> tuple[Tensor, Tensor]:
        """Tops and lefts on the device of the patches."""
        tops, lefts = (torch.from_numpy(i).to(self.patches.device) for i in (self.tops, self.lefts))
        return tops, lefts


_Step: TypeAlias = Callable[[_Batch], Any]


class Regions:
    """A graph and a picture, ready to be asked what changes when boxes of the picture change.

    Not to be used from several threads at once (windows are put together in memory that calls share).

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
        Bytes that one batch may take in `sweep`. Default: 128 MiB, on CUDA 2 GiB.
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
                f"Expected one clean picture (1, {', '.join(map(str, graph.input.shape))}); got {tuple(x.shape)}."
            )
        self.graph = graph
        self.geometry = Geometry(graph) if geometry is None else geometry
        self.budget = _BUDGET.get(x.device.type, 2**28) if budget is None else budget
        self._x = x if dtype is None else x.to(dtype)
        self._runner = Runner(graph) if runner is None else runner
        self._kernels = Kernels() if kernels is None else kernels
        self._layout = layouts(graph)
        self._wanted = frozenset(record)
        self._depends = _dependents(graph)
        kept = [n for n in graph if n in self._depends and n.batched and self._is_kept(n)]
        with torch.inference_mode():
            self.output, self._clean = self._runner(x, kept)
        self._clean |= {graph.input: x, graph.output: self.output}
        self._clean = {n: t.to(self._x.dtype) if t.is_floating_point() else t for n, t in self._clean.items()}
        self.values = {n: self._clean[n] for n in self._wanted}
        self._extended: dict[tuple[Node, tuple[int, ...], float], Tensor] = {}
        self._plans: dict[tuple[tuple[int, int], tuple[int, ...], tuple[int, ...], int], _Plan] = {}
        self._scratch = self._x.new_empty(0)

    def _is_kept(self, n: Node) -> bool:
        """Tell whether a node's clean values may be needed; not where each position goes to the same one only."""
        users = self.graph.consumers[n]
        if n in self._wanted or n.kind in ("pad", "slice"):  # those two are put together from their own
            return True
        return not users or any(u.kind not in ELEMENTWISE or len(u.inputs) > 1 for u in users)

    # -- what a walk for a size of box looks like --

    def reason(self, size: tuple[int, int]) -> str | None:
        """Say why boxes of this size take the ordinary forward pass; None if they do not."""
        return self._plan(size).reason

    def work(self, size: tuple[int, int], positions: Sequence[tuple[int, int]] = ()) -> Work:
        """Count the multiply-adds for one box of this size, anywhere or at one of some positions in a `sweep`."""
        return self._plan(size, positions).work

    def batch_size(self, size: tuple[int, int], positions: Sequence[tuple[int, int]] = ()) -> int:
        """Return how many boxes of this size a `sweep` computes at once, by the budget."""
        most = _MOST_PICTURES.get(self._x.device.type, 64)
        return max(1, min(most, self.budget // max(self._plan(size, positions).bytes, 1)))

    def order(self, size: tuple[int, int], positions: Sequence[tuple[int, int]]) -> list[int]:
        """Return the indices of positions in the order in which a `sweep` computes them, if memory suffices."""
        batches = self._batches(size, positions, range(len(positions)), self.batch_size(size, positions))
        return [i for batch in batches for i in self._neighbours(size, positions, batch)]

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

        def split(some: Ints) -> list[Ints]:
            count = -(-len(some) // most)
            if count == 1:
                return [some]
            at = len(some) * (count // 2) // count
            sides = []
            for cost in costs:
                ranked = some[np.argsort(cost[some], kind="stable")]
                sides.append((cost[ranked[at - 1]] / max(cost[ranked[-1]], 1.0), ranked))
            _, ranked = min(sides, key=lambda side: side[0])
            return [*split(ranked[:at]), *split(ranked[at:])]

        return [[left[k] for k in some] for some in split(np.arange(len(left)))]

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
        moved: Ints = at.clip(0, np.array(self._x.shape[2:]) - size)
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
        return self._call(positions, patches, tuple(record), ())

    def _call(
        self,
        positions: Sequence[tuple[int, int]],
        patches: Tensor,
        record: tuple[Node, ...],
        among: Sequence[tuple[int, int]],
    ) -> tuple[Tensor, dict[Node, Changed]]:
        size, at = self._checked(positions, patches, record)
        patches = patches.to(self._x.dtype)
        with torch.inference_mode():
            inside = self._inside(size, at)
            if not np.array_equal(at, inside):
                patches = self._clipped(size, at, inside, patches)
            plan = self._plan(size, among, 1 if len(at) == 1 else _MANY)
            return plan.run(_Batch(*plan.cases(inside), patches.expand(len(at), -1, -1, -1)), record)

    def sweep(
        self,
        positions: Sequence[tuple[int, int]],
        size: tuple[int, int],
        patches: Callable[[Sequence[tuple[int, int]]], Tensor],
        record: Iterable[Node] = (),
        seconds: float | None = None,
    ) -> Iterator[tuple[list[int], Tensor, dict[Node, Changed]]]:
        """Compute many positions in batches as large as the budget allows.

        When memory runs out, batches become half as large, down to single pictures.

        Parameters
        ----------
        positions : sequence of (top, left)
        size : (h, w)
            Of the boxes.
        patches : callable
            From some of the positions to what the boxes hold there, as a call takes it.
        record : iterable of Node
        seconds : float, optional
            About how long a batch may take: batches begin small and grow as far as that, so that others get a turn
            often. Default: no limit.

        Yields
        ------
        indices : list of int
            Which of the positions; each comes once, in the order of `order`.
        output, values
            As of a call.
        """
        limit = self.batch_size(size, positions)
        most = limit if seconds is None else min(limit, _FIRST)
        record = tuple(record)
        waiting = self._batches(size, positions, range(len(positions)), most)
        while waiting:
            now = self._neighbours(size, positions, waiting.pop(0))
            places = [positions[i] for i in now]
            begun = time.perf_counter()
            try:
                output, values = self._call(places, patches(places), record, places)
            except RuntimeError as e:
                if not _is_out_of_memory(e) or len(now) == 1:
                    raise
                limit = most = max(1, len(now) // 2)
                logger.info("out of memory with %d pictures at once; going on with %d", len(now), most)
                self._scratch = self._x.new_empty(0)
                waiting = self._batches(size, positions, [*now, *(i for batch in waiting for i in batch)], most)
                continue
            if seconds is not None:
                if output.is_cuda:
                    torch.cuda.synchronize(output.device)
                pace = (time.perf_counter() - begun) / len(now)
                fitting = max(1, min(limit, int(seconds / pace), 2 * most))
                if not 0.7 * most < fitting < 1.5 * most:  # small changes are not worth putting batches together anew
                    most = fitting
                    waiting = self._batches(size, positions, [i for batch in waiting for i in batch], most)
            yield now, output, values

    def _checked(
        self, positions: Sequence[tuple[int, int]], patches: Tensor, record: tuple[Node, ...]
    ) -> tuple[tuple[int, int], Ints]:
        channels, height, width = self._x.shape[1:]
        at = np.array(positions, np.int64).reshape(-1, 2)
        fits = patches.dim() == 4 and patches.shape[1] == channels and len(patches) in (1, len(at)) and len(at)
        if not fits or not (1 <= patches.shape[2] <= height and 1 <= patches.shape[3] <= width):
            raise ArgumentError(
                f"Expected patches (N or 1, {channels}, h, w), for N >= 1 positions, of at most {height}x{width} "
                f"pixels; got {tuple(patches.shape)} for {len(at)} positions."
            )
        missing = [n.name for n in record if n not in self._wanted]
        if missing:
            raise ArgumentError(f"Expected nodes given as record to Regions; got {', '.join(missing)}.")
        return (patches.shape[2], patches.shape[3]), at

    def _clipped(self, size: tuple[int, int], at: Ints, inside: Ints, patches: Tensor) -> Tensor:
        """Return windows inside the picture that hold what the patches hold of it."""
        have, need = _Slots(size, at[:, 0], at[:, 1]), _Slots(size, inside[:, 0], inside[:, 1])
        cut = _Cut(self.graph.input, (2, 3), (0, 0, 0, 0), 0.0, need, have)
        each = np.arange(len(at))
        patches = patches.expand(len(at), -1, -1, -1)
        return self._cut(cut, patches, _Batch(each, each, patches))

    def _plan(self, size: tuple[int, int], positions: Sequence[tuple[int, int]] = (), pictures: int = _MANY) -> _Plan:
        limits = self._x.shape[2] - size[0], self._x.shape[3] - size[1]
        tops, lefts = (tuple(sorted({min(max(p[a], 0), limits[a]) for p in positions})) for a in (0, 1))
        key = (size, tops, lefts, pictures)
        plan = self._plans.get(key)
        if plan is None:
            if len(self._plans) >= 8:  # a hand that resizes the occluder asks for many sizes once
                self._plans.pop(next(iter(self._plans)))
            everywhere = tuple(np.arange(limit + 1) for limit in limits)
            places = (np.array(tops), np.array(lefts)) if positions else (everywhere[0], everywhere[1])
            plan = self._plans[key] = _Plan(self, size, places, pictures)
            if plan.reason is not None:
                logger.info("boxes of %dx%d take the ordinary forward pass: %s", *size, plan.reason)
        return plan

    # -- windows --

    def _cut(self, cut: _Cut, changed: Tensor | None, batch: _Batch, *, scratch: bool = False) -> Tensor:
        """Return windows of an input: recorded values with what changed in place."""
        source = self._extend(cut)
        need, (down, across) = cut.need, cut.axes
        if source.device.type not in _LOOPS:
            clean = None if cut.covered and changed is not None else source
            changed_at = None if cut.have is None else cut.have.of(batch)
            return _gathered(clean, cut.axes, need.size, need.of(batch), changed, changed_at)
        tops, lefts = batch.tops, batch.lefts
        rows, columns = need.rows[tops], need.columns[lefts]
        count = len(tops)
        shape = list(source.shape)
        shape[0], shape[down], shape[across] = count, *need.size
        out = self._empty(shape, source, scratch)
        if changed is None or not cut.covered:
            stride, offset = source.stride(), source.storage_offset()
            for first, last, r, c in _runs(rows, columns):
                shape[0] = last - first
                at = offset + r * stride[down] + c * stride[across]
                out[first:last].copy_(source.as_strided(shape, (0, *stride[1:]), at))
        if changed is not None and cut.have is not None:
            have = cut.have.size
            for first, last, r, c in _runs(cut.have.rows[tops] - rows, cut.have.columns[lefts] - columns):
                top, left = max(r, 0), max(c, 0)
                height = min(r + have[0], need.size[0]) - top
                width = min(c + have[1], need.size[1]) - left
                if height > 0 and width > 0:
                    part = changed[first:last].narrow(down, top - r, height).narrow(across, left - c, width)
                    out[first:last].narrow(down, top, height).narrow(across, left, width).copy_(part)
        return out

    def _empty(self, shape: list[int], like: Tensor, scratch: bool) -> Tensor:
        last = len(shape) == 4 and like.is_contiguous(memory_format=torch.channels_last)
        if not scratch:
            layout = torch.channels_last if last else torch.contiguous_format
            return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=layout)
        # Fresh memory for every window would be zeroed by the system first, at half the price of filling it.
        numel = math.prod(shape)
        if self._scratch.numel() < numel:
            self._scratch = like.new_empty(numel)
        flat = self._scratch[:numel]
        if last:
            return flat.view(shape[0], shape[2], shape[3], shape[1]).permute(0, 3, 1, 2)
        return flat.view(shape)

    def _extend(self, cut: _Cut) -> Tensor:
        """Return the clean values of a cut's source with its padding around, in the layout of the kernels."""
        key = (cut.source, cut.padding, cut.fill)
        if key not in self._extended:
            t = self._clean[cut.source]
            top, bottom, left, right = cut.padding
            if any(cut.padding):
                t = torch.nn.functional.pad(t, (left, right, top, bottom), value=cut.fill)
            if t.dim() == 4 and t.device.type in _CHANNELS_LAST and cut.axes == (2, 3):
                t = t.contiguous(memory_format=torch.channels_last)
            self._extended[key] = t
        return self._extended[key]


class _Plan:
    """The steps for one size of box, tops and lefts that it may have, and about how many pictures at once."""

    def __init__(self, regions: Regions, size: tuple[int, int], places: tuple[Ints, Ints], pictures: int) -> None:
        self.regions = regions
        self.graph = graph = regions.graph
        self.places = places
        self.pictures = pictures
        self.cuts: list[_Cut] = []
        self.bytes = 0
        self._slots: dict[Node, _Slots] = {graph.input: _Slots(size, *places)}
        self._whole: set[Node] = set()
        self._tiled: set[Node] = set()
        self._reads: dict[Node, list[_Cut]] = {}
        self._ranges = self._spread(size)
        for n in graph.nodes[1:]:
            if n in regions._depends:
                self._place(n, *self._ranges[n.name])
        computed = [n for n in graph.nodes[1:] if n in self._slots or n in self._whole]
        self.work = Work(
            sum(_multiply_adds(n, self._share(n)) for n in computed),
            sum(_multiply_adds(n, 1.0) for n in graph if n in regions._depends),
        )
        self.reason = self._why_not(computed)
        self.steps = [] if self.reason else self._compiled()

    def cases(self, at: Ints) -> tuple[Ints, Ints]:
        """Return the indices, in `places`, of the rows (top, left) of an array."""
        return np.searchsorted(self.places[0], at[:, 0]), np.searchsorted(self.places[1], at[:, 1])

    def costs(self) -> tuple[Floats, Floats]:
        """Return what each of the rows, and of the columns, in `places` costs along its axis, in units of its own."""
        nodes = [n for n in self.graph if n in self._slots or n in self._whole]
        found = []
        for axis in (0, 1):
            total = np.zeros(len(self.places[axis]))
            for n in nodes:
                ranges = self._ranges[n.name][axis]
                lengths = np.maximum(ranges.high - ranges.low + 1, 0)
                if n in self._tiled:
                    lengths = -(-lengths // TILE) * TILE
                total += _effort(n, self._share(n)) * lengths / max(1, lengths.max())
            found.append(total)
        return found[0], found[1]

    def _spread(self, size: tuple[int, int]) -> dict[str, tuple[Ranges, Ranges]]:
        start = self._slots[self.graph.input]
        return self.regions.geometry.spread(
            Ranges(start.rows, start.rows + size[0] - 1), Ranges(start.columns, start.columns + size[1] - 1)
        )

    # -- which windows --

    def _place(self, n: Node, rows: Ranges, columns: Ranges) -> None:
        """Decide whether a node is computed in windows, everywhere, or not at all."""
        changed = [i for i in n.inputs if i in self._slots or i in self._whole]
        if not changed or not ((rows.low <= rows.high).any() and (columns.low <= columns.high).any()):
            if not n.batched and changed:
                self._whole.add(n)  # there is no clean value that stands for any number of pictures
            return
        axes = self._axes(n)
        if axes is None or any(i in self._whole for i in changed) or not self._by_position(n, axes):
            self._whole.add(n)
            return
        height, width = n.shape[axes[0] - 1], n.shape[axes[1] - 1]
        down, across = _window(rows, height), _window(columns, width)
        if down[0] * across[0] >= _NEARLY_ALL * height * width:
            self._whole.add(n)
            return
        self._slots[n] = _Slots((down[0], across[0]), down[1], across[1])

    def _axes(self, n: Node) -> tuple[int, int] | None:
        """Return the axes of rows and columns, counted with the batch, if it has both."""
        letters = self.regions._layout[n]
        if not n.batched or letters.count("H") != 1 or letters.count("W") != 1:
            return None
        return letters.index("H") + 1, letters.index("W") + 1

    def _by_position(self, n: Node, axes: tuple[int, int]) -> bool:
        """Tell whether the operation gives the same when applied to windows."""
        kind = n.kind
        maps = [i for i in n.inputs if i.kind != "size"]
        if kind in _WINDOWED:
            return axes == (2, 3) and len(maps) == 1
        if kind == "pad":
            return n["mode"] == "constant" and self._axes(n["input"]) == axes
        if kind == "slice" and n["dim"] in axes:
            return bool(n["step"] == 1)
        if kind not in _BY_POSITION and torch.Tag.pointwise not in getattr(n.op, "tags", ()):
            return False
        if kind in ("softmax", "log_softmax", "cat") and n["dim"] in axes:
            return False
        if kind == "layer_norm" and len(n.shape) - len(n["normalized_shape"]) < max(axes):
            return False
        if any(self._axes(i) is None for i in maps if i in self._slots):
            return False
        return kind in _CHANNEL_WEIGHTS or not self._has_constant_map(n, axes)

    def _has_constant_map(self, n: Node, axes: tuple[int, int]) -> bool:
        """Tell whether an operand is a constant with a value of its own for every position."""
        constants: list[Tensor] = []
        for v in n.args.values():
            map_values(v, tensor=lambda t: constants.append(t))
        rank = len(n.shape) + 1
        return any(t.dim() > rank - a - 1 and t.shape[a - rank] > 1 for t in constants for a in axes if a < rank)

    def _share(self, n: Node) -> float:
        slots = self._slots.get(n)
        axes = self._axes(n)
        if slots is None or axes is None:
            return 1.0
        return slots.size[0] * slots.size[1] / (n.shape[axes[0] - 1] * n.shape[axes[1] - 1])

    def _why_not(self, computed: list[Node]) -> str | None:
        effort = sum(_effort(n, self._share(n)) for n in computed)
        whole = sum(_effort(n, 1.0) for n in self.regions._depends)
        if effort < _NO_GAIN * whole:
            return None
        first = next((n for n in computed if n in self._whole), None)
        if first is None:
            return "nearly every value changes"
        where = f" in {first.module}" if first.module else ""
        return f"from {first.name} ({first.kind}{where}) on, everything changes: {effort / whole:.0%} of the work"

    # -- steps --

    def _compiled(self) -> list[tuple[Node, _Step, tuple[Node, ...]]]:
        regions, graph = self.regions, self.graph
        steps: list[tuple[Node, _Step]] = []
        for n in graph.nodes[1:]:
            if n not in regions._depends:
                steps.append((n, self._constant(n)))
            elif n in self._whole:
                steps.append((n, self._on_wholes(n)))
            elif n in self._slots:
                steps.append((n, self._on_windows(n)))
            if n in self._slots or n in self._whole:
                # Three tensors of the size of the largest are alive at once: input, windows of it, result.
                around = sum(c.elements for c in self._reads.get(n, ()))
                numbers = int(2 * self._share(n) * math.prod(n.shape)) + around
                self.bytes = max(self.bytes, numbers * regions._x.element_size())
        last: dict[Node, Node] = {}
        for n, _ in steps:
            for i in n.inputs:
                last[i] = n
        kept = {graph.output, *regions._wanted}
        return [
            (n, step, tuple(i for i in dict.fromkeys(n.inputs) if last[i] is n and i not in kept)) for n, step in steps
        ]

    def _constant(self, n: Node) -> _Step:
        """A node that no picture changes, such as a class token for each picture of the batch."""
        args = self._args(n)

        def step(batch: _Batch) -> Any:
            # A size is asked of some batch; every one has as many pictures.
            def value(i: Node) -> Any:
                return batch.patches if i in self.regions._depends or i is self.graph.input else batch.values[i]

            return _evaluated(n, value, None, args)

        return step

    def _on_wholes(self, n: Node) -> _Step:
        size = n.shape[1:]
        if len(size) == 2 and self._in_tiles(n, (size[0], size[1])):
            return self._windowed(n, self._everywhere(n))
        getters = {i: self._whole_of(i) for i in dict.fromkeys(n.inputs)}
        for i in dict.fromkeys(n.inputs):
            if i in self._slots:
                self._remember(n, self._to_whole(i))
        op, args = self._op(n), self._args(n)

        def step(batch: _Batch) -> Any:
            return _evaluated(n, lambda i: getters[i](batch), op, args)

        return step

    def _to_whole(self, i: Node) -> _Cut:
        axes = self._axes(i)
        assert axes is not None
        return _Cut(i, axes, (0, 0, 0, 0), 0.0, self._everywhere(i), self._slots[i])

    def _everywhere(self, i: Node) -> _Slots:
        """The windows that are all of a map."""
        axes = self._axes(i)
        assert axes is not None
        rows, columns = self.places
        return _Slots((i.shape[axes[0] - 1], i.shape[axes[1] - 1]), rows * 0, columns * 0)

    def _whole_of(self, i: Node) -> _Step:
        regions = self.regions
        if i in self._slots:
            cut = self._to_whole(i)
            return lambda batch: regions._cut(cut, batch.values[i], batch)
        if i in self._whole or i not in regions._depends:
            return lambda batch: batch.values[i]
        return lambda batch: regions._clean[i].expand(batch.size, *i.shape)

    def _on_windows(self, n: Node) -> _Step:
        if n.kind in _WINDOWED:
            return self._windowed(n, self._slots[n])
        if n.kind == "pad" or (n.kind == "slice" and n["dim"] in (self._axes(n) or ())):
            return self._shifted(n)
        slots, axes = self._slots[n], self._axes(n)
        assert axes is not None
        getters: dict[Node, _Step] = {}
        own: set[Node] = set()
        for i in dict.fromkeys(n.inputs):
            getters[i], mine = self._aligned(n, i, slots)
            if mine:
                own.add(i)
        args = self._args(n)
        if n.kind == "reshape":
            shape = list(n["shape"])
            shape[axes[0]], shape[axes[1]] = slots.size
            args["shape"] = tuple(shape)
        op = self._op(n)
        if n.kind == "add" and n["input"] is not n["other"]:
            a, b, alpha = n["input"], n["other"], n["alpha"]
            shapes = a.shape == b.shape == n.shape
            if shapes and (a in own or self._is_spent(a, n)):
                return lambda batch: getters[a](batch).add_(getters[b](batch), alpha=alpha)
            if shapes and alpha == 1 and (b in own or self._is_spent(b, n)):
                return lambda batch: getters[b](batch).add_(getters[a](batch))
        return lambda batch: _evaluated(n, lambda i: getters[i](batch), op, args)

    def _aligned(self, n: Node, i: Node, slots: _Slots) -> tuple[_Step, bool]:
        """Return what gets an input in the windows of a node, and whether that is memory of its own."""
        regions = self.regions
        axes = self._axes(i)
        if i not in regions._depends:
            return (lambda batch: batch.values[i]), False
        mine = self._axes(n)
        assert mine is not None
        broadcast = axes is None or any(i.shape[a - 1] == 1 != n.shape[b - 1] for a, b in zip(axes, mine, strict=True))
        if broadcast:  # unchanged, or all of the result would change
            return (lambda batch: regions._clean[i].expand(batch.size, *i.shape)), False
        assert axes is not None
        cut = _Cut(i, axes, (0, 0, 0, 0), 0.0, slots, self._slots.get(i))
        if cut.same:
            return (lambda batch: batch.values[i]), False
        self._remember(n, cut)
        return (lambda batch: regions._cut(cut, batch.values.get(i), batch)), True

    def _windowed(self, n: Node, slots: _Slots) -> _Step:
        """A convolution or pool: windows with a border, then the operation without padding."""
        regions, x = self.regions, n["input"]
        kernel, stride, padding = kernel_size(n), n["stride"], n["padding"]
        dilation = n.args.get("dilation", (1, 1))
        reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
        tiled = self._in_tiles(n, slots.size)
        if tiled:
            self._tiled.add(n)
        # Tiles may compute some rows and columns too many.
        computed = [-(-s // TILE) * TILE if tiled else s for s in slots.size]
        needed = [(c - 1) * stride[a] + reach[a] for a, c in enumerate(computed)]
        after = [
            max(0, (n.shape[1 + a] - slots.size[a]) * stride[a] + needed[a] - padding[a] - x.shape[1 + a])
            for a in (0, 1)
        ]
        need = _Slots((needed[0], needed[1]), slots.rows * stride[0], slots.columns * stride[1])
        around = (padding[0], after[0], padding[1], after[1])
        fill = -math.inf if n.kind == "max_pool" else 0.0
        have = self._slots[x] if x in self._slots else self._everywhere(x)
        cut = _Cut(x, (2, 3), around, fill, need, have.moved(padding[0], padding[1]))
        same = cut.same
        if not same:
            self._remember(n, cut)

        def windows(batch: _Batch) -> Tensor:
            if same:
                found: Tensor = batch.values[x]
                return found
            return regions._cut(cut, batch.values[x], batch, scratch=True)

        if tiled:
            kernels, (height, width) = regions._kernels, slots.size
            return lambda batch: kernels.tiled(n, windows(batch))[:, :, :height, :width]
        args = {**self._args(n), "padding": (0, 0)}
        if "ceil_mode" in args:
            args["ceil_mode"] = False
        if n.kind != "avg_pool":
            return lambda batch: _evaluated(n, lambda _: windows(batch), n.op, args)
        # Under padding, and where the last window hangs over the border, averages divide by other numbers.
        args["divisor_override"] = 1
        probe = regions._x.new_ones(1, 1, *x.shape[1:])
        ones = torch.nn.functional.pad(probe, (around[2], around[3], around[0], around[1]))
        per_window = _evaluated(n, lambda _: probe) / _evaluated(n, lambda _: ones, n.op, args)
        if bool((per_window == per_window.flatten()[0]).all()):
            share = float(per_window.flatten()[0])
            return lambda batch: _evaluated(n, lambda _: windows(batch), n.op, args).mul_(share)

        def averaged(batch: _Batch) -> Tensor:
            sums: Tensor = _evaluated(n, lambda _: windows(batch), n.op, args)
            return sums.mul_(_gathered(per_window, (2, 3), slots.size, slots.of(batch)))

        return averaged

    def _shifted(self, n: Node) -> _Step:
        """A pad with a constant, or a crop: the result's own clean values, with what changed moved."""
        regions, x, slots = self.regions, n["input"], self._slots[n]
        axes = self._axes(n)
        assert axes is not None
        moves = [0, 0]
        for k, a in enumerate(axes):
            if n.kind == "slice":
                moves[k] = -n["start"] if n["dim"] == a else 0
            else:
                at = 2 * (len(n.shape) - a)
                moves[k] = n["pad"][at] if at < len(n["pad"]) else 0
        cut = _Cut(n, axes, (0, 0, 0, 0), 0.0, slots, self._slots[x].moved(*moves))
        self._remember(n, cut)
        return lambda batch: regions._cut(cut, batch.values[x], batch)

    def _args(self, n: Node) -> dict[str, Any]:
        return self.regions._kernels.arguments(n, self.regions._x.dtype)

    def _in_tiles(self, n: Node, size: tuple[int, int]) -> bool:
        return Kernels.tiles(n, self.regions._x, size, self.pictures)

    def _remember(self, n: Node, cut: _Cut) -> None:
        self.cuts.append(cut)
        self._reads.setdefault(n, []).append(cut)

    def _is_spent(self, i: Node, n: Node) -> bool:
        """Tell whether a node's result may be overwritten by the only one that reads it."""
        return (
            i.kind in FRESH
            and self.graph.consumers[i] == (n,)
            and i not in self.regions._wanted
            and (i in self._slots if n in self._slots else i in self._whole)
        )

    def _op(self, n: Node) -> Callable[..., Any]:
        assert n.op is not None
        return IN_PLACE[n.kind] if n.kind in IN_PLACE and self._is_spent(n["input"], n) else n.op

    # -- computing --

    def run(self, batch: _Batch, record: tuple[Node, ...]) -> tuple[Tensor, dict[Node, Changed]]:
        regions = self.regions
        if self.reason is not None:
            cut = self._to_whole(self.graph.input)
            x = regions._cut(cut, batch.patches, batch).to(regions.output.dtype)
            output, values = regions._runner(x, record)
            return output, {n: Changed(v, regions._clean[n]) for n, v in values.items()}
        values = batch.values
        values[self.graph.input] = batch.patches
        for n, step, free in self.steps:
            values[n] = step(batch)
            for i in free:
                values.pop(i, None)
        found = {n: self._found(n, batch) for n in (self.graph.output, *record)}
        return found[self.graph.output].whole().to(regions.output.dtype), {n: found[n] for n in record}

    def _found(self, n: Node, batch: _Batch) -> Changed:
        clean = self.regions._clean[n]
        if n in self._slots:
            slots = self._slots[n]
            rows, columns = slots.rows[batch.tops], slots.columns[batch.lefts]
            return Changed(batch.values[n], clean, self._axes(n), rows, columns)
        value = batch.values[n] if n in self._whole else clean.expand(batch.size, *clean.shape[1:])
        return Changed(value, clean)


def _dependents(graph: Graph) -> set[Node]:
    """Return the nodes whose values depend on the picture, in which its size does not count."""
    found = {graph.input}
    for n in graph.nodes[1:]:
        if n.kind != "size" and not found.isdisjoint(n.inputs):
            found.add(n)
    found.discard(graph.input)
    return found


def _window(ranges: Ranges, size: int) -> tuple[int, Ints]:
    """Return one length that holds each range, and where each window of that length begins inside the map."""
    extent = max(1, int((ranges.high - ranges.low).max()) + 1)
    return extent, np.minimum(ranges.low, size - extent)


def _gathered(
    source: Tensor | None,
    axes: tuple[int, int],
    size: tuple[int, int],
    at: tuple[Tensor, Tensor],
    changed: Tensor | None = None,
    changed_at: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Return windows of a map, with what changed in place, in a fixed number of steps whatever the positions are.

    Parameters
    ----------
    source : tensor or None
        (1, *shape); None where what changed holds all that is wanted.
    axes : (int, int)
        Of rows and columns.
    size : (int, int)
        Of the windows.
    at : pair of int tensor (N,)
        Rows and columns in which they begin.
    changed : tensor, optional
        (N, *shape), with its own height and width.
    changed_at : pair of int tensor (N,), optional
        Where that begins.

    Returns
    -------
    tensor
        (N, *shape), with the windows' height and width.
    """
    indices = [start[:, None] + torch.arange(s, device=start.device) for start, s in zip(at, size, strict=True)]
    out = None
    if source is not None:
        i, j = indices
        out = source.movedim(axes, (1, 2))[0][i[:, :, None], j[:, None, :]]
    if changed is not None and changed_at is not None:
        parts = changed.movedim(axes, (1, 2))
        i, j = (index - start[:, None] for index, start in zip(indices, changed_at, strict=True))
        rows, columns = (k.clamp(0, s - 1) for k, s in zip((i, j), parts.shape[1:3], strict=True))
        each = torch.arange(len(parts), device=parts.device)
        new = parts[each[:, None, None], rows[:, :, None], columns[:, None, :]]
        if out is None:
            out = new
        else:
            inside = (i == rows)[:, :, None] & (j == columns)[:, None, :]
            out = torch.where(inside.reshape(*inside.shape, *[1] * (out.dim() - 3)), new, out)
    assert out is not None
    return out.movedim((1, 2), axes)


def _starts(slots: _Slots | None, axis: int) -> Ints:
    assert slots is not None
    return slots.columns if axis else slots.rows


def _runs(a: Ints, b: Ints) -> Iterator[tuple[int, int, int, int]]:
    """Yield (first, last + 1, a, b) for each run of equal pairs."""
    if len(a) == 1:  # one picture that follows the hand
        yield 0, 1, int(a[0]), int(b[0])
        return
    ends = [*(np.flatnonzero((a[1:] != a[:-1]) | (b[1:] != b[:-1])) + 1).tolist(), len(a)]
    first = 0
    for last in ends:
        yield first, last, int(a[first]), int(b[first])
        first = last


def _evaluated(
    n: Node,
    value: Callable[[Node], Any],
    op: Callable[..., Any] | None = None,
    args: Mapping[str, Any] | None = None,
) -> Any:
    op = op or n.op
    assert op is not None
    found = {k: map_values(v, value) for k, v in (args or n.args).items()}
    positional = [v for k, v in found.items() if k not in n.keywords]
    return op(*positional, **{k: v for k, v in found.items() if k in n.keywords})


def _multiply_adds(n: Node, share: float) -> int:
    """Count the multiply-adds of a node for one picture, of a share of its positions."""
    if n.kind in ("conv", "conv_transpose"):
        at = n if n.kind == "conv" else n["input"]
        return round(share * math.prod(at.shape[1:]) * int(n["weight"].numel()))
    if n.kind == "linear":
        return round(share * math.prod(n.shape[:-1]) * int(n["weight"].numel()))
    return 0


def _effort(n: Node, share: float) -> float:
    """Return the multiply-adds of a share of a node's positions, or how many numbers they are if that is more."""
    return max(_multiply_adds(n, share), share * math.prod(n.shape))


def _is_out_of_memory(e: RuntimeError) -> bool:
    return isinstance(e, torch.OutOfMemoryError) or "allocate memory" in str(e)
