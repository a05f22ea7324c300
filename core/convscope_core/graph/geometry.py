"""Which part of the picture a position of a layer depends on, by interval arithmetic along each axis.

A box on a node's output maps to the box on each input that it depends on. Boxes are not clipped: where a
convolution reads its padding, the box leaves the map, so that all units of a layer have boxes of one size.

The other direction, from a box of the picture to the box of each node that it can change, asks the same table:
the positions of an output that change are those whose range of input meets the range that changed.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from convscope_core.graph.node import Graph, Node
from convscope_core.graph.ops import ELEMENTWISE, kernel_size

__all__ = ["Box", "Geometry", "Ranges", "ReceptiveField", "layouts"]


class Box(NamedTuple):
    """A rectangle of pixels: rows ``top <= r < bottom``, columns ``left <= c < right``.

    It may leave the picture on any side.
    """

    top: int
    left: int
    bottom: int
    right: int

    @property
    def height(self) -> int:
        """Number of rows."""
        return self.bottom - self.top

    @property
    def width(self) -> int:
        """Number of columns."""
        return self.right - self.left

    def clipped(self, height: int, width: int) -> Box:
        """Return the part of the box inside a picture of this size."""
        return Box(max(self.top, 0), max(self.left, 0), min(self.bottom, height), min(self.right, width))


class ReceptiveField(NamedTuple):
    """The receptive field of a layer's units, along the larger axis where the two differ.

    Attributes
    ----------
    size : int
        Side of a unit's box in input pixels.
    jump : int
        Distance of neighbouring units' boxes in input pixels.
    start : float
        Centre of the box of the first unit, in input pixels (0 is the centre of the first pixel).
    """

    size: int
    jump: int
    start: float


class Span(NamedTuple):
    """A range of positions along one axis, both ends included."""

    low: int
    high: int


class Ranges(NamedTuple):
    """Ranges of positions along one axis, one for each of P cases; both ends included.

    Empty where high < low (then low is `NOWHERE`, high is -1).

    Attributes
    ----------
    low, high : int array (P,)
    """

    low: npt.NDArray[np.int64]
    high: npt.NDArray[np.int64]


#: The lower end of an empty range: beyond any map.
NOWHERE = 2**40

#: Which rows, and which columns, of a node are needed. None: all of them.
_Need: TypeAlias = "tuple[Span | None, Span | None]"

_ALL: _Need = (None, None)
_AXES = ("H", "W")

#: Kinds that take (C, H, W) and give (C, H, W), whatever their input went through before.
_ON_MAPS = frozenset(
    {
        "conv", "conv_transpose", "max_pool", "avg_pool", "adaptive_avg_pool", "adaptive_max_pool",
        "aten.upsample_nearest2d", "aten.upsample_bilinear2d",
    }
)  # fmt: skip

#: Normalisation by statistics over positions: local but for two numbers, which see the whole map.
_STATISTICS = frozenset({"group_norm", "instance_norm"})

_KEEPS_LETTERS = _STATISTICS | {
    "layer_norm", "softmax", "log_softmax", "slice", "pad", "local_response_norm", "aten.roll", "aten.flip",
    "aten.channel_shuffle", "aten.native_channel_shuffle",
}  # fmt: skip


# -- which axis of a node is which --


def layouts(graph: Graph) -> dict[Node, tuple[str, ...]]:
    """Return, for each node, what its axes (without the batch) are.

    A letter per axis: ``"H"`` rows, ``"W"`` columns of a map, in the map's order; ``"C"`` channels, or a part
    of them; ``"?"`` anything else (token sequences, windows, positions and channels in one axis).
    """
    found: dict[Node, tuple[str, ...]] = {}
    for n in graph:
        found[n] = _layout(n, found)
    return found


def _layout(n: Node, known: Mapping[Node, tuple[str, ...]]) -> tuple[str, ...]:
    rank = len(n.shape)
    unknown = ("?",) * rank
    if not n.batched:
        return unknown
    if n.kind == "input":
        return ("C", "H", "W")[:rank] if rank == 3 else unknown
    if n.kind in _ON_MAPS and rank == 3:
        return ("C", "H", "W")
    sources = _tensors(n)
    if not sources or not all(i.batched for i in sources):
        return unknown
    letters = known[sources[0]]
    if n.kind in _KEEPS_LETTERS:
        return letters
    if n.kind == "linear":
        return (*letters[:-1], "C")
    if n.kind == "permute":
        dims = n["dims"]
        return tuple(letters[d - 1] for d in dims[1:]) if dims[0] == 0 else unknown
    if n.kind in ("reshape", "flatten"):
        return _regrouped(sources[0].shape, letters, n.shape)
    if n.kind == "select":
        return tuple(x for d, x in enumerate(letters, 1) if d != n["dim"])
    if n.kind == "mean":
        return letters if n["keepdim"] else tuple(x for d, x in enumerate(letters, 1) if d not in n["dim"])
    if n.kind == "cat" or _is_elementwise(n):
        return _combined(n.shape, [(i.shape, known[i]) for i in sources])
    return unknown


def _tensors(n: Node) -> list[Node]:
    """Return the inputs that hold values of the picture, each once."""
    return [i for i in dict.fromkeys(n.inputs) if i.kind != "size"]


def _is_elementwise(n: Node) -> bool:
    if n.kind in ELEMENTWISE:
        return True
    return n.op is not None and torch.Tag.pointwise in getattr(n.op, "tags", ())


def _combined(shape: tuple[int, ...], inputs: list[tuple[tuple[int, ...], tuple[str, ...]]]) -> tuple[str, ...]:
    """Agree on letters between operands that are broadcast: what is known of any and contradicted by none."""
    out = []
    for d in range(1, len(shape) + 1):
        votes = {letters[-d] for s, letters in inputs if len(s) >= d and (s[-d] > 1 or shape[-d] == 1)} - {"?"}
        out.append(votes.pop() if len(votes) == 1 else "?")
    return tuple(reversed(out))


def _regrouped(before: tuple[int, ...], letters: tuple[str, ...], after: tuple[int, ...]) -> tuple[str, ...]:
    """Return the letters after a reshape: whole axes keep theirs, merged or split channels are "C"."""
    out: list[str] = []
    i = j = 0
    while i < len(before) or j < len(after):
        if i < len(before) and j < len(after) and before[i] == after[j] and (before[i] > 1 or letters[i] in _AXES):
            out.append(letters[i])
            i, j = i + 1, j + 1
            continue
        start_i, start_j, p, q = i, j, 1, 1
        while True:
            if p <= q and i < len(before) and (p < q or i == start_i or before[i] == 1):
                if p == q and i > start_i and before[i] == 1 and letters[i] in _AXES and j < len(after):
                    break
                p *= before[i]
                i += 1
            elif j < len(after) and (q < p or j == start_j or after[j] == 1):
                q *= after[j]
                j += 1
            else:
                break
        merged = {x for x, s in zip(letters[start_i:i], before[start_i:i], strict=True) if s > 1}
        letter = "C" if merged <= {"C"} else "?"
        out.extend([letter] * (j - start_j))
    return tuple(out)


# -- from a box on a node to the boxes on its inputs --


class Geometry:
    """The receptive fields of a graph. It keeps the graph's structure, not its weights.

    Parameters
    ----------
    graph : Graph
        The graph whose nodes will be asked about.
    """

    def __init__(self, graph: Graph) -> None:
        skeleton = graph.with_tensors(lambda t: torch.empty_like(t, device="meta"))
        self._nodes = {n.name: n for n in skeleton}
        self._order = {n: i for i, n in enumerate(skeleton)}
        self._layout = layouts(skeleton)
        self._input = skeleton.input
        self._global: dict[Node, bool] = {}
        self._tables: dict[tuple[Node, int], dict[Node, Ranges | None]] = {}
        for n in skeleton:
            self._global[n] = self._sees_all(n)
        # Almost all boxes move by a fixed step from unit to unit; these need no walk when they are asked for.
        self._steady: dict[Node, _Steady | None] = {}
        for n in skeleton:
            self._steady[n] = self._composed(n)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the nodes that can be asked about."""
        return tuple(self._nodes)

    def box(self, name: str, row: int = 0, column: int = 0) -> Box:
        """Return the pixels that the units of a node at a position depend on.

        The union over the channels, not clipped: where a convolution reads its
        padding the box leaves the picture, and all units of a layer have boxes of one size. Units that see a
        whole map somewhere on their way (global pooling, flattening, attention) have the part of the picture
        that can reach them. Gates that multiply the maps by numbers computed from the whole picture are not
        followed; see `gated`.

        Parameters
        ----------
        name : str
            Name of the node.
        row, column : int
            Position on the node's map; of no effect for a vector.
        """
        return self._any(name, row, column)[0]

    def support(self, name: str, row: int = 0, column: int = 0) -> Box:
        """Return the pixels of the picture that the units of a node at a position depend on.

        As `box`, but clipped to the map at each operation on the way, and so to the picture. This is less than
        the clipped box where an operation reads beyond the end of a map whose last windows leave out some
        pixels. Exact along each axis, except that what is seen in pieces is taken without the gaps: dilated
        kernels, strides beyond the kernel, circular padding (both ends of a map), branches that meet again.
        Empty (bottom <= top or right <= left) for units that see padding only.
        """
        return self._seen(name, row, column, clip=True)[0]

    def gated(self, name: str) -> bool:
        """Tell whether a gate (squeeze-and-excite) or normalisation upstream sees the whole picture."""
        return self._any(name, 0, 0)[1]

    def receptive_field(self, name: str) -> ReceptiveField:
        """Return size, jump and start; for units that see the whole picture, the jump is the size."""
        first, _, whole = self._any(name, 0, 0)
        second = self._any(name, 1, 1)[0]
        height, width = first.height, first.width
        low, size = (first.top, height) if height >= width else (first.left, width)
        jumps = (
            height if whole[0] else second.top - first.top,
            width if whole[1] else second.left - first.left,
        )
        return ReceptiveField(size, max(jumps), low + (size - 1) / 2)

    def _any(self, name: str, row: int, column: int) -> tuple[Box, bool, tuple[bool, bool]]:
        """Return the box, whether a gate is upstream, and along which axes a whole map is seen."""
        steady = self._steady[self._nodes[name]]
        if steady is None:
            return self._seen(name, row, column)
        height, width = self._input.shape[1:]
        (top, bottom), (left, right) = steady.rows.at(row, height), steady.columns.at(column, width)
        return Box(top, left, bottom, right), steady.gated, (steady.rows.whole, steady.columns.whole)

    def _composed(self, n: Node) -> _Steady | None:
        """Return the boxes of a node from those of its inputs, or None where they do not move steadily."""
        if n is self._input:
            return _Steady(_Axis(1, 0, 0, False), _Axis(1, 0, 0, False), False)
        if n.kind == "size" or not self._moves_steadily(n):
            return None
        first, second = (
            (
                Span(r, r) if "H" in self._layout[n] else None,
                Span(r, r) if "W" in self._layout[n] else None,
            )
            for r in (0, 1)
        )
        gated = n.kind in _STATISTICS or self._normalises_positions(n)
        axes: list[_Axis | None] = [None, None]
        for (i, a), (_, b) in zip(self._wanted(n, first), self._wanted(n, second), strict=True):
            if a is _GATE:
                gated = True
                continue
            below = self._steady[i]
            if below is None:
                return None
            gated = gated or below.gated
            for axis, letter in enumerate(_AXES):
                made = _step(below[axis], a[axis], b[axis], self._size(i, letter))
                known = axes[axis]
                if made is None or (known is not None and known.jump != made.jump):
                    return None
                axes[axis] = made if known is None else known.joined(made)
        rows, columns = axes
        return None if rows is None or columns is None else _Steady(rows, columns, gated)

    def _moves_steadily(self, n: Node) -> bool:
        if n.kind in ("adaptive_avg_pool", "adaptive_max_pool"):
            sizes = zip(n["input"].shape[-2:], n["output_size"], strict=True)
            return all(out == 1 or size % out == 0 for size, out in sizes)
        if n.kind == "pad":
            return bool(n["mode"] == "constant")
        if n.kind == "cat":
            return self._layout[n][n["dim"] - 1] not in _AXES
        return n.kind not in _UNSTEADY

    def reach(self, box: Box) -> dict[str, Box | None]:
        """Return, for each node, the part of its map that can change when a box of the picture changes.

        The least rectangle that holds them: exact, except that kernels with gaps (dilation) and borders that
        repeat the map are taken as if they read all between the first and the last. What depends on
        statistics of a whole map (gates, group norm, attention, flattening) changes everywhere.

        Parameters
        ----------
        box : Box
            Pixels of the picture; what leaves the picture does not count.

        Returns
        -------
        dict of str to Box or None
            By node name. None where nothing can change; an axis that a node has not counts as one position.
        """
        rows = _one_range(box.top, box.bottom, self._input.shape[1])
        columns = _one_range(box.left, box.right, self._input.shape[2])
        boxes: dict[str, Box | None] = {}
        for name, (r, c) in self.spread(rows, columns).items():
            empty = bool(r.high[0] < r.low[0] or c.high[0] < c.low[0])
            boxes[name] = None if empty else Box(int(r.low[0]), int(c.low[0]), int(r.high[0]) + 1, int(c.high[0]) + 1)
        return boxes

    def spread(self, rows: Ranges, columns: Ranges) -> dict[str, tuple[Ranges, Ranges]]:
        """Return, for each node, the rows and the columns that can change for many boxes of the picture at once.

        The two axes do not mix, so that R ranges of rows and C ranges of columns stand for R * C boxes.

        Parameters
        ----------
        rows, columns : Ranges
            Of the picture, (R,) and (C,); inside it, or empty.

        Returns
        -------
        dict of str to (Ranges, Ranges)
            By node name, in the order of the graph: (R,) and (C,). An axis that a node has not counts as one
            position.
        """
        found: dict[Node, tuple[Ranges, Ranges]] = {self._input: (rows, columns)}
        out: dict[str, tuple[Ranges, Ranges]] = {}
        for n in self._order:
            if n is not self._input:
                sources = _tensors(n)
                # With no row that changes, no column does either, and the other way round.
                there = [i for i in sources if all((r.low <= r.high).any() for r in found[i])]
                found[n] = (
                    self._changed(n, 0, {i: found[i][0] for i in there}, len(rows.low)),
                    self._changed(n, 1, {i: found[i][1] for i in there}, len(columns.low)),
                )
            out[n.name] = found[n]
        return out

    def _changed(self, n: Node, axis: int, changed: Mapping[Node, Ranges], cases: int) -> Ranges:
        """Return which positions of a node along an axis see what changed in its inputs."""
        low, high = np.full(cases, NOWHERE), np.full(cases, -1)
        table = self._table(n, axis)
        for i, ranges in changed.items():
            if i not in table:
                continue
            seen = table[i]
            if seen is None:
                first, last = ranges
            else:
                meets = (seen.low <= ranges.high[:, None]) & (seen.high >= ranges.low[:, None])
                meets &= (ranges.low <= ranges.high)[:, None]
                met = meets.any(1)
                first = np.where(met, meets.argmax(1), NOWHERE)
                last = np.where(met, meets.shape[1] - 1 - meets[:, ::-1].argmax(1), -1)
            low, high = np.minimum(low, first), np.maximum(high, last)
        return Ranges(low, high)

    def _table(self, n: Node, axis: int) -> Mapping[Node, Ranges | None]:
        """Return, for each input, the range along an axis that each position of the node depends on.

        None: each position depends on the same position of the input.
        """
        if (n, axis) in self._tables:
            return self._tables[n, axis]
        letter = _AXES[axis]
        inputs = _tensors(n)
        count = self._size(n, letter)
        table: dict[Node, Ranges | None] = {}
        if n.kind in _STATISTICS or self._normalises_positions(n):
            table = {i: _everywhere(max(count, 1)) for i in inputs}
        elif count and _is_elementwise(n) and all(self._size(i, letter) == count for i in inputs):
            table = dict.fromkeys(inputs)
        else:
            for i in inputs:
                table[i] = Ranges(np.full(max(count, 1), NOWHERE), np.full(max(count, 1), -NOWHERE))
            for o in range(max(count, 1)):
                at = Span(o, o) if count else None
                for i, wanted in self._wanted(n, (at, None) if axis == 0 else (None, at)):
                    ranges = table[i]
                    span = wanted[axis]
                    assert ranges is not None
                    if wanted is _GATE or span is None or not self._size(i, letter):
                        span = Span(-NOWHERE, NOWHERE)
                    ranges.low[o] = min(ranges.low[o], span.low)
                    ranges.high[o] = max(ranges.high[o], span.high)
        self._tables[n, axis] = table
        return table

    def _seen(self, name: str, row: int, column: int, *, clip: bool = False) -> tuple[Box, bool, tuple[bool, bool]]:
        top = self._nodes[name]
        needs: dict[Node, _Need] = {top: (Span(row, row), Span(column, column))}
        whole = [False, False]
        gated = False
        seen: _Need = (Span(0, -1), Span(0, -1))
        pending = [(-self._order[top], name)]
        while pending:
            n = self._nodes[heapq.heappop(pending)[1]]
            need = self._resolved(n, needs[n], whole)
            if n is self._input:
                seen = need
                continue
            gated = gated or n.kind in _STATISTICS or self._normalises_positions(n)
            for i, wanted in self._wanted(n, need):
                if wanted is _GATE:
                    gated = True
                    continue
                if clip:
                    wanted = self._along(i, lambda _, size, s: Span(max(s.low, 0), min(s.high, size - 1)), wanted)
                    if _is_empty(wanted):
                        continue
                if i in needs:
                    needs[i] = _union(needs[i], wanted)
                else:
                    needs[i] = wanted
                    heapq.heappush(pending, (-self._order[i], i.name))
        rows, cols = seen
        height, width = self._input.shape[1:]
        r = _ends(rows, height, whole[0])
        c = _ends(cols, width, whole[1])
        return Box(r[0], c[0], r[1], c[1]), gated, (whole[0], whole[1])

    def _resolved(self, n: Node, need: _Need, whole: list[bool]) -> _Need:
        """Put numbers where all rows or columns are needed; forget ranges on axes the node has not."""
        letters = self._layout[n]
        out: list[Span | None] = []
        for axis, letter in enumerate(_AXES):
            span = need[axis]
            if letter not in letters:
                out.append(None)
            else:
                last = n.shape[letters.index(letter)] - 1
                if span is None:
                    whole[axis] = True
                    span = Span(0, last)
                out.append(span)
        return out[0], out[1]

    def _sees_all(self, n: Node) -> bool:
        """Tell whether the node depends on all positions of a map other than through a gate."""
        before = [self._global[i] for i in _tensors(n)]
        if n.kind == "mul" and len(before) == 2:
            return all(before)
        if any(before):
            return True
        if n.kind in ("adaptive_avg_pool", "adaptive_max_pool"):
            return bool(1 in n["output_size"])
        probe: _Need = (Span(0, 0), Span(0, 0))
        for i, wanted in self._wanted(n, probe):
            for axis, letter in enumerate(_AXES):
                there = letter in self._layout[i]
                if there and (wanted[axis] is None or letter not in self._layout[n]) and n.kind != "select":
                    return True
        return False

    def _normalises_positions(self, n: Node) -> bool:
        if n.kind != "layer_norm":
            return False
        return any(x != "C" for x in self._layout[n][-len(n["normalized_shape"]) :])

    def _wanted(self, n: Node, need: _Need) -> Iterator[tuple[Node, _Need]]:
        """Yield what is needed of each input for what is needed of the node's result."""
        kind = n.kind
        inputs = _tensors(n)
        if kind in _ON_MAPS:
            x = n["input"]
            size = x.shape[-2:]
            yield x, (_through(n, 0, need[0], size[0]), _through(n, 1, need[1], size[1]))
        elif kind == "mul" and len(inputs) == 2 and self._global[inputs[0]] != self._global[inputs[1]]:
            for i in inputs:
                yield i, (_GATE if self._global[i] else need)
        elif _is_elementwise(n):
            for i in inputs:
                yield i, self._broadcast(n, i, need)
        elif kind in ("pad", "slice", "select", "mean", "cat"):
            for i, offset in self._pieces(n):
                yield from self._shifted(n, i, offset, need)
        elif kind in ("softmax", "log_softmax"):
            yield n["input"], self._all_along(n, (n["dim"],), need)
        elif kind == "linear":
            x = n["input"]
            yield x, self._all_along(x, (len(x.shape),), need)
        elif kind in ("aten.roll", "aten.flip"):
            yield n["input"], self._all_along(n, tuple(d % (len(n.shape) + 1) for d in n["dims"]), need)
        elif kind in _KEEPS_LETTERS or kind in ("permute", "reshape", "flatten"):
            yield n["input"], need
        else:
            for i in inputs:
                yield i, _ALL

    def _broadcast(self, n: Node, i: Node, need: _Need) -> _Need:
        return self._along(i, lambda letter, size, span: Span(0, 0) if size < self._size(n, letter) else span, need)

    def _all_along(self, n: Node, dims: tuple[int, ...], need: _Need) -> _Need:
        letters = {self._layout[n][d - 1] for d in dims}
        if "?" in letters:
            return _ALL
        return (None if "H" in letters else need[0]), (None if "W" in letters else need[1])

    def _along(self, i: Node, change: Callable[[str, int, Span], Span | None], need: _Need) -> _Need:
        out = []
        for letter, span in zip(_AXES, need, strict=True):
            size = self._size(i, letter)
            out.append(change(letter, size, span) if size and span is not None else span)
        return out[0], out[1]

    def _size(self, n: Node, letter: str) -> int:
        letters = self._layout[n]
        return n.shape[letters.index(letter)] if letter in letters else 0

    def _pieces(self, n: Node) -> Iterator[tuple[Node, int]]:
        offset = 0
        if n.kind != "cat":
            yield n["input"], 0
            return
        for i in n["tensors"]:
            if isinstance(i, Node):
                yield i, offset
                offset += i.shape[n["dim"] - 1]
            else:
                offset += i.shape[n["dim"]]

    def _shifted(self, n: Node, i: Node, offset: int, need: _Need) -> Iterator[tuple[Node, _Need]]:
        """Yield what a pad, slice, select, mean or cat needs of an input."""
        letters = self._layout[i]
        out = list(need)
        for axis, letter in enumerate(_AXES):
            if letter not in letters:
                continue
            d = letters.index(letter) + 1
            size = i.shape[d - 1]
            span = out[axis]
            if n.kind == "select" and n["dim"] == d:
                out[axis] = Span(n["index"], n["index"])
            elif n.kind == "mean" and d in n["dim"]:
                out[axis] = None
            elif span is None:
                continue
            elif n.kind == "slice" and n["dim"] == d:
                out[axis] = Span(span.low * n["step"] + n["start"], span.high * n["step"] + n["start"])
            elif n.kind == "pad":
                at = 2 * (len(letters) - d)
                before = n["pad"][at] if at < len(n["pad"]) else 0
                out[axis] = _unpadded(span, before, size, n.shape[d - 1], n["mode"])
            elif n.kind == "cat" and n["dim"] == d:
                if span.high < offset or span.low >= offset + size:
                    return
                out[axis] = Span(span.low - offset, span.high - offset)
        yield i, (out[0], out[1])


#: Kinds whose boxes do not move by one step from unit to unit.
_UNSTEADY = frozenset(
    {"conv_transpose", "select", "aten.flip", "aten.roll", "aten.upsample_nearest2d", "aten.upsample_bilinear2d"}
)


class _Axis(NamedTuple):
    """Boxes along one axis: unit r sees jump * r + low to jump * r + high; clipped to the picture if `whole`."""

    jump: int
    low: int
    high: int
    whole: bool

    def at(self, r: int, size: int) -> tuple[int, int]:
        return _ends(Span(self.jump * r + self.low, self.jump * r + self.high), size, self.whole)

    def joined(self, other: _Axis) -> _Axis:
        low, high = min(self.low, other.low), max(self.high, other.high)
        return _Axis(self.jump, low, high, self.whole or other.whole)


class _Steady(NamedTuple):
    """The boxes of a node whose units' boxes move by a fixed step."""

    rows: _Axis
    columns: _Axis
    gated: bool


def _step(below: _Axis | bool, a: Span | None, b: Span | None, size: int) -> _Axis | None:
    """Return the boxes of units whose first needs `a` of an input and whose second needs `b`; None if unsteady.

    `below` are the input's boxes and `size` its length along the axis, 0 if it has not this axis.
    """
    assert isinstance(below, _Axis)
    if not size:  # all that the input sees
        return below
    if a is None or b is None:
        return _Axis(0, below.low, below.jump * (size - 1) + below.high, True)
    slope = b.low - a.low
    if b.high - a.high != slope:
        return None
    jump = below.jump * slope
    return _Axis(jump, below.jump * a.low + below.low, below.jump * a.high + below.high, below.whole)


#: Stands for the input of a multiplication that is a gate computed from the whole picture.
_GATE: _Need = (Span(0, -1), Span(0, -1))


def _through(n: Node, axis: int, span: Span | None, size: int) -> Span | None:
    """Return the range of input that a range of a convolution's or pool's output depends on."""
    if span is None:
        return None
    if n.kind in ("adaptive_avg_pool", "adaptive_max_pool"):
        out = n["output_size"][axis]
        if out == 1:
            return None
        return Span(span.low * size // out, -((span.high + 1) * size // -out) - 1)
    if n.kind.startswith("aten.upsample"):
        return _scaled(span, size, n.shape[-2:][axis], n.args, axis)
    dilation = n["dilation"][axis] if "dilation" in n.args else 1
    reach = dilation * (kernel_size(n)[axis] - 1)
    stride, padding = n["stride"][axis], n["padding"][axis]
    if n.kind == "conv_transpose":
        return Span(-((span.low + padding - reach) // -stride), (span.high + padding) // stride)
    return Span(span.low * stride - padding, span.high * stride - padding + reach)


def _scaled(span: Span, before: int, after: int, args: Mapping[str, Any], axis: int) -> Span:
    """Return the range of the input of an upsampling, nearest or bilinear."""
    factors = args.get("scale_factors")
    step = 1 / factors[axis] if factors else before / after
    if "align_corners" not in args:  # nearest
        return Span(math.floor(span.low * step), math.floor(span.high * step))
    if args["align_corners"]:
        step = (before - 1) / max(after - 1, 1)
        return Span(math.floor(span.low * step), math.ceil(span.high * step))
    return Span(math.floor((span.low + 0.5) * step - 0.5), math.floor((span.high + 0.5) * step - 0.5) + 1)


def _unpadded(span: Span, before: int, size: int, padded: int, mode: str) -> Span:
    """Return the range of the input of a pad; a border that repeats the map reads its inside as well."""
    low, high = span.low - before, span.high - before
    if mode == "constant":
        return Span(low, high)
    first, last = max(low, -before), min(high, padded - before - 1)  # positions that exist
    if mode == "circular":
        if first < 0:
            high = max(high, size - 1)
        if last >= size:
            low = min(low, 0)
    else:
        reflect = mode == "reflect"
        if first < 0:
            high = max(high, -first if reflect else 0)
        if last >= size:
            low = min(low, 2 * (size - 1) - last if reflect else size - 1)
    return Span(low, high)


def _one_range(start: int, stop: int, size: int) -> Ranges:
    low, high = max(start, 0), min(stop, size) - 1
    return Ranges(np.array([low if low <= high else NOWHERE]), np.array([high if low <= high else -1]))


def _everywhere(count: int) -> Ranges:
    return Ranges(np.full(count, -NOWHERE), np.full(count, NOWHERE))


def _union(a: _Need, b: _Need) -> _Need:
    return _hull(a[0], b[0]), _hull(a[1], b[1])


def _is_empty(need: _Need) -> bool:
    return any(span is not None and span.high < span.low for span in need)


def _hull(a: Span | None, b: Span | None) -> Span | None:
    if a is None or b is None:
        return None
    return Span(min(a.low, b.low), max(a.high, b.high))


def _ends(span: Span | None, size: int, whole: bool) -> tuple[int, int]:
    if span is None:
        return 0, size
    if whole:
        return max(span.low, 0), min(span.high + 1, size)
    return span.low, span.high + 1
