"""Windows of maps: where they are, and how they are cut out of the clean picture's recorded values.

All pictures of a batch have windows of one size at every node, so that a batch is one dense tensor. Windows are put
together by copies in a loop over the pictures, on CUDA in one kernel (`convscope_core.fused`), elsewhere by index
(`gathered`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from convscope_core import fused
from convscope_core.graph.axes import dependent_nodes, structure, surroundings
from convscope_core.graph.forward import Runner
from convscope_core.graph.geometry import Ranges
from convscope_core.graph.kernels import Kernels
from convscope_core.graph.node import Graph, Node, needed_for
from convscope_core.graph.ops import ELEMENTWISE
from convscope_core.graph.workspace import Workspace
from convscope_core.locks import Lock, made_once
from convscope_core.precision import convolutions_round

__all__ = ["Batch", "Changed", "Cut", "Ints", "Recorded", "Windows", "gathered", "window"]

Ints: TypeAlias = npt.NDArray[np.int64]

#: Where windows are put together with copies in a loop. Elsewhere a loop would cost a launch for each copy.
_LOOPS = {"cpu"}

#: Where convolutions are fastest with the channels of a position side by side.
_CHANNELS_LAST = frozenset({"cpu", "cuda"})


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
            return gathered(
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


class Windows:
    """Where each picture's window begins along rows and columns, for every place the changed box may be at.

    `rows[i]` belongs to the i-th of the tops that a plan is for, `columns[i]` to the i-th of the lefts.
    """

    __slots__ = ("_on_device", "columns", "rows", "size")

    def __init__(self, size: tuple[int, int], rows: Ints, columns: Ints) -> None:
        self.size = size
        self.rows = rows
        self.columns = columns
        self._on_device: tuple[Tensor, Tensor] | None = None

    def of(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return where the windows of a batch begin, on its device."""
        rows, columns = self.on(batch.patches.device)
        tops, lefts = batch.on_device
        return rows[tops], columns[lefts]

    def on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return rows and columns on a device."""
        if self._on_device is None:
            rows, columns = (torch.from_numpy(np.ascontiguousarray(a)).to(device) for a in (self.rows, self.columns))
            self._on_device = rows, columns
        return self._on_device

    def moved(self, rows: int, columns: int) -> Windows:
        """Return windows that begin so many rows and columns further on."""
        return Windows(self.size, self.rows + rows, self.columns + columns)


@dataclass(frozen=True, eq=False)
class Cut:
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
    need : Windows
        Windows to get, in the extended map.
    have : Windows or None
        Windows that changed, in the extended map; None if the source does not change.
    """

    source: Node
    axes: tuple[int, int]
    padding: tuple[int, int, int, int]
    fill: float
    need: Windows
    have: Windows | None

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


class Batch:
    """The pictures that are computed together; tops and lefts are indices of the plan's places."""

    def __init__(self, tops: Ints, lefts: Ints, patches: Tensor, workspace: Workspace) -> None:
        self.tops, self.lefts = tops, lefts
        self.patches = patches
        self.workspace = workspace
        self.size = len(tops)
        self.values: dict[Node, Any] = {}

    @cached_property
    def on_device(self) -> tuple[Tensor, Tensor]:
        """Tops and lefts on the device of the patches."""
        tops, lefts = (torch.from_numpy(i).to(self.patches.device) for i in (self.tops, self.lefts))
        return tops, lefts

    @cached_property
    def uniform(self) -> bool:
        """Whether each of the patches has one colour."""
        patches = self.patches if self.patches.stride(0) else self.patches[:1]
        return bool((patches == patches[:, :, :1, :1]).all())


class Recorded:
    """What is known of the clean picture: the values of every node that windows are put together with.

    Several threads may use it at once.

    Parameters
    ----------
    graph : Graph
    x : tensor
        (1, C, H, W), the clean picture.
    wanted : iterable of Node
        Nodes whose values are recorded in any case.
    runner : Runner
    kernels : Kernels
    dtype : torch.dtype or None
        As of `convscope_core.graph.regions.Regions`.

    Attributes
    ----------
    x : tensor
        The clean picture in `dtype`.
    output : tensor
        (1, K), in the picture's own type.
    nodes : list of Node
        What the output and what is wanted are computed from, in order, without the input.
    dependent : set of Node
        Nodes whose values depend on the picture.
    planar : bool
        Whether convolutions get maps that lie in one piece each. In full float32 cuDNN brings others into that form
        anyway, or leaves them to old kernels, of which one gave NaN.
    """

    def __init__(
        self,
        graph: Graph,
        x: Tensor,
        wanted: Iterable[Node],
        runner: Runner,
        kernels: Kernels,
        dtype: torch.dtype | None,
    ) -> None:
        self.graph, self.runner, self.kernels = graph, runner, kernels
        self.x = x if dtype is None else x.to(dtype)
        self.planar = self.x.is_cuda and self.x.dtype == torch.float32 and not convolutions_round()
        self._axes = structure(graph).axes
        self.wanted = frozenset(wanted)
        needed = needed_for([graph.output, *self.wanted])
        self.nodes = [n for n in graph.nodes[1:] if n in needed]
        self.dependent = dependent_nodes(graph)
        kept = [n for n in self.nodes if n in self.dependent and n.batched and self._is_kept(n)]
        with torch.inference_mode():
            self.output, clean = runner(x, kept)
        clean |= {graph.input: x, graph.output: self.output}
        self._picture = x
        self._clean = {n: self._formed(t) for n, t in clean.items()}
        for n, t in surroundings(graph, self.dependent, 3).items():
            if n.batched and isinstance(t, Tensor) and bool((t == t[:1]).all()):
                self._clean[n] = self._formed(t[:1]).to(x.device)
        self._constants: dict[tuple[int, int], tuple[Tensor, Node]] = {}
        self._extended: dict[tuple[Node, tuple[int, ...], float], Tensor] = {}
        self._making = Lock()

    def _formed(self, t: Tensor) -> Tensor:
        return t.to(self.x.dtype) if t.is_floating_point() else t

    def axes(self, n: Node) -> tuple[int, int] | None:
        """Return the axes of rows and columns in a node's values, counted with the batch, if both are known."""
        rows, columns = self._axes.get(n.name, (None, None))
        return None if rows is None or columns is None else (rows + 1, columns + 1)

    def clean(self, n: Node) -> Tensor:
        """Return a node's values for the clean picture, (1, *shape), in `dtype`.

        Of nodes that do not depend on the picture, those that are alike for every picture of a batch have one
        (see `has_clean`).
        """

        def compute() -> Tensor:  # one that seemed to be of no use
            with torch.inference_mode():
                return self._formed(self.runner(self._picture, [n], output=False)[1][n])

        return made_once(self._clean, n, compute, self._making)

    def has_clean(self, n: Node) -> bool:
        """Tell whether one value stands for any number of clean pictures."""
        return n in self._clean or (n in self.dependent and n.batched)

    def constant(self, t: Tensor, rank: int) -> Node:
        """Return a node that stands for a constant, in values of so many axes (with the batch).

        Parameters
        ----------
        t : tensor
            Aligned by its last axes; its first axis of all `rank`, where it has them, is of length 1.
        rank : int
        """

        def make() -> tuple[Tensor, Node]:
            value = t.reshape((1,) * (rank - t.dim()) + tuple(t.shape))
            n = Node(f"constant_{len(self._constants)}", "constant", None, {}, tuple(value.shape[1:]))
            self._clean[n] = self._formed(value.detach())
            return t, n  # with the tensor, whose id stays its own so long

        return made_once(self._constants, (id(t), rank), make, self._making)[1]

    def _is_kept(self, n: Node) -> bool:
        """Tell whether a node's clean values may be needed; not where each position goes to the same one only."""
        users = self.graph.consumers[n]
        if n in self.wanted or n.kind in ("pad", "slice"):  # those two are put together from their own
            return True
        return not users or any(u.kind not in ELEMENTWISE or len(u.inputs) > 1 for u in users)

    def cut(self, cut: Cut, changed: Tensor | None, batch: Batch, *, scratch: bool = False) -> Tensor:
        """Return windows of an input: recorded values with what changed in place.

        With `scratch` in the batch's workspace, until the next such windows.
        """
        source = self._extend(cut)
        need, (down, across) = cut.need, cut.axes
        if source.device.type not in _LOOPS:
            clean = None if cut.covered and changed is not None else source
            if cut.axes == (2, 3) and source.dim() == 4 and fused.of_use(source):
                device = source.device
                there = None if cut.have is None or changed is None else cut.have.on(device)
                return fused.windows_taken(clean, need.size, batch.on_device, need.on(device), changed, there)
            changed_at = None if cut.have is None else cut.have.of(batch)
            return gathered(clean, cut.axes, need.size, need.of(batch), changed, changed_at)
        tops, lefts = batch.tops, batch.lefts
        rows, columns = need.rows[tops], need.columns[lefts]
        count = len(tops)
        shape = list(source.shape)
        shape[0], shape[down], shape[across] = count, *need.size
        out = _empty(shape, source, batch.workspace if scratch else None)
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

    def _extend(self, cut: Cut) -> Tensor:
        """Return the clean values of a cut's source with its padding around, in the layout of the kernels."""

        def make() -> Tensor:
            t = self.clean(cut.source)
            top, bottom, left, right = cut.padding
            if any(cut.padding):
                t = torch.nn.functional.pad(t, (left, right, top, bottom), value=cut.fill)
            if t.dim() == 4 and t.device.type in _CHANNELS_LAST and set(cut.axes) == {2, 3}:
                t = t.contiguous(memory_format=torch.channels_last)
            return t

        return made_once(self._extended, (cut.source, cut.padding, cut.fill), make, self._making)


def _empty(shape: list[int], like: Tensor, workspace: Workspace | None) -> Tensor:
    last = len(shape) == 4 and like.is_contiguous(memory_format=torch.channels_last)
    if workspace is None:
        layout = torch.channels_last if last else torch.contiguous_format
        return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=layout)
    flat = workspace.take("windows", like, math.prod(shape))
    if last:
        return flat.view(shape[0], shape[2], shape[3], shape[1]).permute(0, 3, 1, 2)
    return flat.view(shape)


def window(ranges: Ranges, size: int) -> tuple[int, Ints]:
    """Return one length that holds each range, and where each window of that length begins inside the map."""
    extent = max(1, int((ranges.high - ranges.low).max()) + 1)
    return extent, np.minimum(ranges.low, size - extent)


def gathered(
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
