"""Which part of the picture a position of a layer depends on, by interval arithmetic along each axis.

A box on a node's output maps to the box on each input that it depends on. Boxes are not clipped: where a
convolution reads its padding, the box leaves the map, so that all units of a layer have boxes of one size.

The other direction, from a box of the picture to the box of each node that it can change, asks the same table:
the positions of an output that change are those whose range of input meets the range that changed.

What a position reads is derived by `convscope_core.graph.axes`.
"""

from __future__ import annotations

import heapq
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from convscope_core.graph.axes import NOWHERE, Reads, structure
from convscope_core.graph.node import Graph

__all__ = ["Box", "Geometry", "Ranges", "ReceptiveField"]


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


class Ranges(NamedTuple):
    """Ranges of positions along one axis, one for each of P cases; both ends included.

    Empty where high < low (then low is `NOWHERE`, high is -1).

    Attributes
    ----------
    low, high : int array (P,)
    """

    low: npt.NDArray[np.int64]
    high: npt.NDArray[np.int64]


#: Rows and columns of a node that are needed, first and last; (0, 0) along an axis that it has not.
_Span: TypeAlias = "tuple[int, int]"


class _Moving(NamedTuple):
    """Boxes along one axis: unit r sees jump * r + low to jump * r + high; clipped to the picture if `whole`."""

    jump: int
    low: int
    high: int
    whole: bool

    def over_all(self, units: _Span, size: int) -> tuple[int, int]:
        ends = self.jump * units[0], self.jump * units[1]
        return _ends((min(ends) + self.low, max(ends) + self.high), size, self.whole)

    def over(self, reads: Reads) -> _Moving | None:
        """Return the boxes of units that read these; None if they do not move steadily."""
        if reads.step is None or reads.high[0] < reads.low[0]:
            return None
        ends = self.jump * int(reads.low[0]), self.jump * int(reads.high[0])
        return _Moving(self.jump * reads.step, min(ends) + self.low, max(ends) + self.high, self.whole or reads.whole)

    def joined(self, other: _Moving) -> _Moving | None:
        if self.jump != other.jump:
            return None
        return _Moving(self.jump, min(self.low, other.low), max(self.high, other.high), self.whole or other.whole)


class _Steady(NamedTuple):
    """The boxes of a node whose units' boxes move by a fixed step."""

    rows: _Moving
    columns: _Moving
    gated: bool


class Geometry:
    """The receptive fields of a graph. It keeps the graph's structure, not its weights.

    Parameters
    ----------
    graph : Graph
        The graph whose nodes will be asked about.
    """

    def __init__(self, graph: Graph) -> None:
        found = structure(graph)
        self._reads, self._statistics = found.reads, found.statistics
        self._axes = found.axes
        self._order = {n.name: k for k, n in enumerate(graph)}
        self._input = graph.input.name
        self._picture = graph.input.shape[1:]
        self._sizes = {n.name: tuple(0 if a is None else n.shape[a] for a in found.axes[n.name]) for n in graph}
        self._whole: dict[str, bool] = {}
        self._gates: dict[str, frozenset[str]] = {}
        # Almost all boxes move by a fixed step from unit to unit; these need no walk when they are asked for.
        self._steady: dict[str, _Steady | None] = {}
        for n in graph:
            self._find_gates(n.name, n.kind)
            self._steady[n.name] = self._composed(n.name)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the nodes that can be asked about."""
        return tuple(self._order)

    def box(self, name: str, row: int = 0, column: int = 0, axes: tuple[int, ...] | None = None) -> Box:
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
            Position on the node's map; of no effect along an axis of the picture that the node has not.
        axes : (int, int), optional
            Axes of the node's shape along which they count. Default: those that go along the picture's rows and
            columns. () for a vector.
        """
        return self._any(name, self._spans(name, row, column, axes))[0]

    def _spans(self, name: str, row: int, column: int, axes: tuple[int, ...] | None) -> tuple[_Span, _Span]:
        """Return the positions along a node's rows and columns that are meant; all where they are not counted."""
        place = dict(zip(self._axes[name] if axes is None else axes, (row, column), strict=False))
        spans = []
        for a, size in zip(self._axes[name], self._sizes[name], strict=True):
            spans.append((0, 0) if a is None else (place[a], place[a]) if a in place else (0, size - 1))
        return spans[0], spans[1]

    def support(self, name: str, row: int = 0, column: int = 0) -> Box:
        """Return the pixels of the picture that the units of a node at a position depend on.

        As `box`, but clipped to the map at each operation on the way, and so to the picture. This is less than
        the clipped box where an operation reads beyond the end of a map whose last windows leave out some
        pixels. Exact along each axis, except that what is seen in pieces is taken without the gaps: dilated
        kernels, strides beyond the kernel, circular padding (both ends of a map), branches that meet again.
        Empty (bottom <= top or right <= left) for units that see padding only.
        """
        return self._seen(name, self._spans(name, row, column, None), clip=True)[0]

    def gated(self, name: str) -> bool:
        """Tell whether a gate (squeeze-and-excite) or normalisation upstream sees the whole picture."""
        return self._any(name, ((0, 0), (0, 0)))[1]

    def receptive_field(self, name: str, axes: tuple[int, ...] | None = None) -> ReceptiveField:
        """Return size, jump and start; for units that see the whole picture, the jump is the size.

        Parameters
        ----------
        name, axes
            As for `box`.
        """
        first, _, whole = self._any(name, self._spans(name, 0, 0, axes))
        second = self._any(name, self._spans(name, 1, 1, axes))[0]
        height, width = first.height, first.width
        low, size = (first.top, height) if height >= width else (first.left, width)
        jumps = (
            height if whole[0] else abs(second.top - first.top),
            width if whole[1] else abs(second.left - first.left),
        )
        return ReceptiveField(size, max(jumps), low + (size - 1) / 2)

    def _find_gates(self, name: str, kind: str) -> None:
        """Find out whether a node sees a whole map other than through a gate, and which of its inputs are gates.

        A gate is the factor of a multiplication that sees a whole map, where the other does not.
        """
        sources = self._reads[name]
        seeing = frozenset(i for i in sources if self._whole[i])
        self._gates[name] = frozenset()
        if kind == "mul" and len(sources) == 2:
            self._whole[name] = len(seeing) == 2
            self._gates[name] = seeing if len(seeing) == 1 else frozenset()
        else:
            self._whole[name] = bool(seeing) or any(r.whole for pair in sources.values() for r in pair)

    def _any(self, name: str, spans: tuple[_Span, _Span]) -> tuple[Box, bool, tuple[bool, bool]]:
        """Return the box, whether a gate is upstream, and along which axes a whole map is seen."""
        steady = self._steady[name]
        if steady is None:
            return self._seen(name, spans)
        (top, bottom), (left, right) = (
            moving.over_all(span, size)
            for moving, span, size in zip((steady.rows, steady.columns), spans, self._picture, strict=True)
        )
        return Box(top, left, bottom, right), steady.gated, (steady.rows.whole, steady.columns.whole)

    def _composed(self, name: str) -> _Steady | None:
        """Return the boxes of a node from those of its inputs, or None where they do not move steadily."""
        if name == self._input:
            return _Steady(_Moving(1, 0, 0, False), _Moving(1, 0, 0, False), False)
        gated = name in self._statistics or bool(self._gates[name])
        axes: list[_Moving | None] = [None, None]
        for i, pair in self._reads[name].items():
            if i in self._gates[name]:
                continue
            below = self._steady[i]
            if below is None:
                return None
            gated = gated or below.gated
            for k, (moving, reads) in enumerate(zip((below.rows, below.columns), pair, strict=True)):
                made = moving.over(reads)
                known = axes[k]
                axes[k] = made if known is None or made is None else known.joined(made)
                if axes[k] is None:
                    return None
        rows, columns = axes
        return None if rows is None or columns is None else _Steady(rows, columns, gated)

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
        rows = _one_range(box.top, box.bottom, self._picture[0])
        columns = _one_range(box.left, box.right, self._picture[1])
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
        found: dict[str, tuple[Ranges, Ranges]] = {}
        for name in self._order:
            if name == self._input:
                found[name] = (rows, columns)
                continue
            # With no row that changes, no column does either, and the other way round.
            changing = [i for i in self._reads[name] if all((r.low <= r.high).any() for r in found[i])]
            found[name] = (
                self._changed(name, 0, {i: found[i][0] for i in changing}, len(rows.low)),
                self._changed(name, 1, {i: found[i][1] for i in changing}, len(columns.low)),
            )
        return found

    def _changed(self, name: str, k: int, changed: dict[str, Ranges], cases: int) -> Ranges:
        """Return which positions of a node along an axis see what changed in its inputs."""
        low, high = np.full(cases, NOWHERE), np.full(cases, -1)
        for i, ranges in changed.items():
            reads = self._reads[name][i][k]
            if name in self._statistics or reads.whole:
                there = ranges.low <= ranges.high
                first, last = np.where(there, 0, NOWHERE), np.where(there, max(self._sizes[name][k], 1) - 1, -1)
            elif reads.same:
                first, last = ranges
            else:
                meets = (reads.low <= ranges.high[:, None]) & (reads.high >= ranges.low[:, None])
                meets &= (ranges.low <= ranges.high)[:, None]
                met = meets.any(1)
                first = np.where(met, meets.argmax(1), NOWHERE)
                last = np.where(met, meets.shape[1] - 1 - meets[:, ::-1].argmax(1), -1)
            low, high = np.minimum(low, first), np.maximum(high, last)
        return Ranges(low, high)

    def _seen(self, top: str, spans: tuple[_Span, _Span], *, clip: bool = False) -> tuple[Box, bool, tuple[bool, bool]]:
        needs: dict[str, tuple[_Span, _Span]] = {top: spans}
        whole = [False, False]
        gated = False
        seen: tuple[_Span, _Span] = (0, -1), (0, -1)
        pending = [(-self._order[top], top)]
        while pending:
            name = heapq.heappop(pending)[1]
            rows, columns = needs[name]
            if name == self._input:
                seen = rows, columns
                continue
            gated = gated or name in self._statistics or bool(self._gates[name])
            for i, pair in self._reads[name].items():
                if i in self._gates[name]:
                    continue
                wanted = pair[0].hull(*rows), pair[1].hull(*columns)
                if clip:
                    wanted = _clipped(wanted[0], self._sizes[i][0]), _clipped(wanted[1], self._sizes[i][1])
                if any(high < low for low, high in wanted):
                    continue
                whole = [w or reads.whole for w, reads in zip(whole, pair, strict=True)]
                if i in needs:
                    needs[i] = _hull(needs[i][0], wanted[0]), _hull(needs[i][1], wanted[1])
                else:
                    needs[i] = wanted
                    heapq.heappush(pending, (-self._order[i], i))
        (top_, bottom), (left, right) = (
            _ends(s, size, w) for s, size, w in zip(seen, self._picture, whole, strict=True)
        )
        return Box(top_, left, bottom, right), gated, (whole[0], whole[1])


def _one_range(start: int, stop: int, size: int) -> Ranges:
    low, high = max(start, 0), min(stop, size) - 1
    return Ranges(np.array([low if low <= high else NOWHERE]), np.array([high if low <= high else -1]))


def _clipped(span: _Span, size: int) -> _Span:
    return max(span[0], 0), min(span[1], max(size, 1) - 1)


def _hull(a: _Span, b: _Span) -> _Span:
    return min(a[0], b[0]), max(a[1], b[1])


def _ends(span: _Span, size: int, whole: bool) -> tuple[int, int]:
    return (max(span[0], 0), min(span[1] + 1, size)) if whole else (span[0], span[1] + 1)
