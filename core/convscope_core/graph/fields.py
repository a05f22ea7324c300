"""The walk inside receptive fields: what thousands of units saw, each computed in its own box of the picture only.

A unit's value, and every signal that goes back from it, live in a window at each node: the positions that the unit
depends on. From unit to unit a window moves by a fixed step and keeps its size, so that many units, of any pictures and
positions, are one dense batch at every node. Convolutions and pools run on windows without their padding; what of a
window lies outside the map is put to the padding's value (zero, or minus infinity under a max pool) before they read
it, and what their transpose sends there is dropped. So the results are those of the walk over whole maps, at borders
too.

Where windows are not possible, or would save nothing, the whole maps are walked, and the box is cut out at the end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from convscope_core.graph.axes import Reads, dependent_nodes, is_elementwise, structure
from convscope_core.graph.backward import ROUTING, At, Rule, Table, Values, Walk, is_padding
from convscope_core.graph.forward import FRESH, IN_PLACE, Runner
from convscope_core.graph.node import Graph, Node, map_values, needed_for, with_args
from convscope_core.graph.ops import ELEMENTWISE

__all__ = ["FieldWalk", "Found", "Units", "Window"]

#: Bytes that the windows of one batch may take, unless told otherwise.
_BUDGET = {"cpu": 2**27, "cuda": 2**31}

#: From this share of the multiply-adds of whole maps on, whole maps are walked.
_NO_GAIN = 0.7

_MOST_UNITS = 1024

_WINDOWED = frozenset({"conv", "max_pool", "avg_pool"})

#: Kinds that treat every position alike, and have a finite derivative at zero, which stands for padding. (The signal
#: there is zero, and has to stay so.)
_BY_POSITION = (ELEMENTWISE - {"div"}) | {
    "linear", "layer_norm", "local_response_norm", "permute", "reshape", "cat", "softmax", "log_softmax", "slice",
    "aten.channel_shuffle", "aten.native_channel_shuffle", "aten.neg", "aten.rsub",
}  # fmt: skip

#: Kinds whose constant tensors belong to channels, never to positions.
_CHANNEL_WEIGHTS = frozenset({"batch_norm", "layer_norm", "linear", "prelu", "local_response_norm"})


class Window(NamedTuple):
    """The positions along one axis that a unit depends on: those from ``jump * r + low`` on, for a unit at r."""

    jump: int
    low: int
    size: int

    def at(self, units: Tensor) -> Tensor:
        """Return the first position for units at these places."""
        return units * self.jump + self.low

    def joined(self, other: Window) -> Window | None:
        """Return the window that holds both; None where they move differently."""
        if self.jump != other.jump:
            return None
        low = min(self.low, other.low)
        return Window(self.jump, low, max(self.low + self.size, other.low + other.size) - low)


_Pair = tuple[Window, Window]


class Units(NamedTuple):
    """Units of one layer: four tensors of length S.

    Attributes
    ----------
    pictures : int64 tensor
        Index into the batch of pictures.
    channels, rows, columns : int64 tensors
        The unit's place in its layer.
    """

    pictures: Tensor
    channels: Tensor
    rows: Tensor
    columns: Tensor

    def part(self, start: int, stop: int) -> Units:
        """Return the units from `start` to before `stop`."""
        return Units(*(t[start:stop] for t in self))


@dataclass(frozen=True, eq=False)
class Found:
    """What a walk found for a batch of units.

    Attributes
    ----------
    values : tensor (S, C, h, w)
        What arrives at the picture, in each unit's box; zero where the box leaves the picture. Where boxes differ in
        size (of units that see whole pictures), each is in the upper left corner.
    boxes : int64 tensor (S, 4)
        Top, left, bottom, right of each box, half-open; they may leave the picture.
    activations : tensor (S,)
        The units' own values.
    """

    values: Tensor
    boxes: Tensor
    activations: Tensor


class FieldWalk:
    """A reverse walk from units of one layer, each inside its receptive field.

    Parameters
    ----------
    graph : Graph
    table : Table
        The method.
    node : Node
        The node that holds the layer's values.
    axes : tuple of int
        Positions of channel, row and column in the node's shape; of the channel alone for a vector.
    box : callable
        ``box(row, column) -> (top, left, bottom, right)``, of a unit, where the whole maps are walked.
    runner : Runner, optional
        Evaluates the graph forward on whole pictures. Default: one of its own.
    budget : int, optional
        Bytes that one batch may take. Default: 128 MiB, on CUDA 2 GiB.
    always : bool, default False
        Whether to walk in windows even where whole maps take less work.

    Raises
    ------
    ArgumentError
        If the table states nothing about an operation on the way.

    Attributes
    ----------
    reason : str or None
        Why whole maps are walked; None where windows are.
    extended : mapping of Node to str
        As of `Walk`.
    """

    def __init__(
        self,
        graph: Graph,
        table: Table,
        node: Node,
        axes: tuple[int, ...],
        box: Callable[[int, int], Sequence[int]],
        runner: Runner | None = None,
        budget: int | None = None,
        *,
        always: bool = False,
    ) -> None:
        self.graph, self.node, self.axes = graph, node, axes
        self.runner = runner or Runner(graph)
        self.walk = Walk(graph, table, [node], runner=self.runner)
        self.extended = self.walk.extended
        self._box, self._budget = box, budget
        plan = _Plan(graph, self.walk, node, axes, always)
        self.reason = plan.reason
        self._plan = plan

    def __repr__(self) -> str:
        how = f"on whole maps: {self.reason}" if self.reason else "in windows"
        return f"<FieldWalk of {self.walk.table.name} from {self.node.module or self.node.name}, {how}>"

    @property
    def speedup(self) -> float:
        """Multiply-adds of the walk over whole maps over those in windows, forward and backward: the bound."""
        return self._plan.whole / self._plan.inside if self.reason is None and self._plan.inside else 1.0

    def __call__(self, x: Tensor, units: Units, start: str, activations: Tensor | None = None) -> Iterator[Found]:
        """Walk back from units.

        Parameters
        ----------
        x : tensor
            Pictures (N, C, H, W).
        units : Units
            At least one.
        start : {"one", "value", "positive"}
            What starts at each unit; "positive" is its value, or one where that is negative.
        activations : tensor (S,), optional
            The units' values, where they are known; computed otherwise.

        Yields
        ------
        Found
            For a batch of the units at a time, in order, until all are done. (Units in the order of their rows are
            done a little faster.)
        """
        units = Units(*(t.to(x.device) for t in units))
        step = self._batch_size(x)
        for first in range(0, len(units.rows), step):
            part = units.part(first, first + step)
            known = None if activations is None else activations[first : first + step].to(x.device, x.dtype)
            with torch.inference_mode(False), torch.no_grad():
                yield (self._whole if self.reason else self._inside)(x, part, start, known)

    def _batch_size(self, x: Tensor) -> int:
        budget = self._budget or _BUDGET.get(x.device.type, _BUDGET["cpu"])
        if self.reason:  # whole maps: what is recorded, and the signals on the way
            each = sum(math.prod(n.shape) for n in self.walk.record if n.batched) + 4 * max(
                math.prod(n.shape) for n in self.graph if n.batched
            )
        else:
            each = self._plan.elements
        return max(1, min(_MOST_UNITS, budget // (x.element_size() * each)))

    # -- on whole maps --

    def _whole(self, x: Tensor, units: Units, start: str, known: Tensor | None) -> Found:
        used, pictures = _distinct(units.pictures)
        tape = self.walk.forward(x[used])
        value = tape.values[self.node]
        signal = value.new_zeros(len(pictures), *self.node.shape)
        place = self._place(units)
        each = torch.arange(len(pictures), device=x.device)
        there, start_at = (pictures, *place), (each, *place)
        activations = value[there] if known is None else known
        signal[start_at] = _started(activations, start)
        maps = self.walk(tape, {self.node: signal}, pictures)
        found = [self._box(r, c) for r, c in zip(units.rows.tolist(), units.columns.tolist(), strict=True)]
        boxes = torch.tensor([tuple(b) for b in found], device=x.device)
        tops, lefts = boxes[:, 0], boxes[:, 1]
        # none for units that see padding only
        size = (max(int((boxes[:, 2] - tops).max()), 0), max(int((boxes[:, 3] - lefts).max()), 0))
        values = _cut(maps, (2, 3), each, tops, lefts, size)
        windows = Window(1, 0, size[0]), Window(1, 0, size[1])
        _fill(values, (2, 3), _strips((tops.tolist(), lefts.tolist()), windows, (maps.shape[2], maps.shape[3])), 0.0)
        return Found(values, boxes, activations)

    def _place(self, units: Units) -> tuple[Tensor, ...]:
        if len(self.axes) == 1:
            return (units.channels,)
        where: list[Tensor] = [units.channels] * 3
        for axis, value in zip(self.axes, (units.channels, units.rows, units.columns), strict=True):
            where[axis] = value
        return tuple(where)

    # -- in windows --

    def _inside(self, x: Tensor, units: Units, start: str, known: Tensor | None) -> Found:
        plan, walk = self._plan, self.walk
        batch = _Batch(plan, x, units)
        record = [n for n in walk.record if n is not self.node or n in plan.read]
        if known is None:
            record.append(self.node)
        used, _ = _distinct(units.pictures)
        if plan.needs_maps or len(used) * plan.whole_forward(record) < len(units.rows) * plan.inside_forward(record):
            batch.cut_out(self.runner, record)
        else:
            batch.compute(record)
        each = torch.arange(len(units.rows), device=x.device)
        zero = torch.zeros_like(each)
        place = tuple(units.channels if a == self.axes[0] else zero for a in range(3))
        start_at = (each, *place)
        activations = batch.windows[self.node][start_at] if known is None else known
        signal = x.new_zeros(len(each), *plan.shape(self.node))
        signal[start_at] = _started(activations, start)
        values = batch.back({self.node: signal}, walk.steps).get(self.graph.input)
        if values is None:
            values = x.new_zeros(len(each), *plan.shape(self.graph.input))
        rows, columns = plan.windows[self.graph.input]
        tops, lefts = rows.at(units.rows), columns.at(units.columns)
        return Found(values, torch.stack([tops, lefts, tops + rows.size, lefts + columns.size], 1), activations)


class _Plan:
    """Which window of each node a unit depends on; or the reason why there are none."""

    def __init__(self, graph: Graph, walk: Walk, node: Node, axes: tuple[int, ...], always: bool) -> None:
        self.graph, self.walk = graph, walk
        self._structure = structure(graph)
        self._dependent = dependent_nodes(graph) | {graph.input}
        self.windows: dict[Node, _Pair] = {}
        self.needs_maps = False  # some value is of the whole picture: a gate
        self.inside, self.whole, self.elements = 0.0, 0.0, 1
        self.reason: str | None
        if len(axes) == 1 or self.axes(node) is None:
            self.reason = "its units see the whole picture"
        elif self.axes(node) != (axes[1] + 1, axes[2] + 1):
            self.reason = "its maps lie across the picture"
        else:
            self.reason = self._lay(node)
        self.read = {i for n, rule in walk.steps for i in rule.needs(n)}
        if self.reason is None:
            self._count()
            if self.inside > _NO_GAIN * self.whole and not always:
                self.reason = f"windows would take {self.inside / self.whole:.0%} of the work"

    def _lay(self, node: Node) -> str | None:
        """Lay a window on every node, from the unit down."""
        one = Window(1, 0, 1)
        self.windows[node] = (one, one)
        rules = dict(self.walk.steps)
        for n in reversed(self.graph.nodes):
            if n not in self.windows or n is self.graph.input:
                continue
            axes = self.axes(n)
            where = f"{n.kind} ({n.module or n.name})"
            if axes is None or not self._by_position(n, axes):
                return f"{where} does not treat all positions alike"
            reached = set(rules[n].reaches(n)) if n in rules else set()
            for i in dict.fromkeys(n.inputs):
                if i.kind == "size":
                    continue
                if not self._is_map(n, i):
                    self.needs_maps = True
                    if i in reached and self.graph.input in needed_for([i]):
                        return f"the signal reaches {where} from the whole picture"
                    continue
                wanted = self.need(n, i)
                known = self.windows.get(i)
                if known is None:
                    self.windows[i] = wanted
                    continue
                joined = tuple(a.joined(b) for a, b in zip(known, wanted, strict=True))
                if joined[0] is None or joined[1] is None:
                    return f"its branches move differently at {i.module or i.name}"
                self.windows[i] = (joined[0], joined[1])
        return None if self.graph.input in self.windows else "its units do not depend on single positions"

    def axes(self, n: Node) -> tuple[int, int] | None:
        """Return the axes of rows and columns, counted with the batch, if both are known."""
        rows, columns = self._structure.axes[n.name]
        return None if rows is None or columns is None else (rows + 1, columns + 1)

    def size(self, n: Node) -> tuple[int, int]:
        """Return height and width of a node's maps."""
        axes = self.axes(n)
        assert axes is not None
        return n.shape[axes[0] - 1], n.shape[axes[1] - 1]

    def _is_map(self, n: Node, i: Node) -> bool:
        """Tell whether an input has positions of its own (a gate, one number a channel, has none)."""
        if i not in self._dependent or self.axes(i) is None:
            return False
        return n.kind in _WINDOWED or n.kind in ("pad", "slice") or all(r.same for r in self._reads(n, i))

    def _reads(self, n: Node, i: Node) -> tuple[Reads, Reads]:
        return self._structure.reads[n.name][i.name]

    def _by_position(self, n: Node, axes: tuple[int, int]) -> bool:
        maps = [i for i in n.inputs if i.kind != "size"]
        if n.kind in _WINDOWED:
            return axes == (2, 3) == self.axes(n["input"]) and len(maps) == 1
        if n.kind == "pad":
            return n["mode"] == "constant" and self.axes(n["input"]) == axes
        if n.kind == "slice" and n["dim"] in axes:
            return bool(n["step"] == 1)
        if n.kind not in _BY_POSITION or (n.kind in ("batch_norm", "prelu") and 1 in axes):
            return False
        if n.name in self._structure.statistics:  # of a layer norm along rows or columns
            return False
        for i in n.inputs:  # what has no positions of its own is the same for all
            alike = is_elementwise(n) and i.batched and len(i.shape) == len(n.shape)
            if not self._is_map(n, i) and not (alike and all(i.shape[a - 1] == 1 for a in axes)):
                return False
        return n.kind in _CHANNEL_WEIGHTS or not _has_constant_map(n, axes)

    def need(self, n: Node, i: Node) -> _Pair:
        """Return the window of an input that the node's window depends on."""
        found = []
        for (jump, low, size), reads in zip(self.windows[n], self._reads(n, i), strict=True):
            assert reads.step is not None  # of all kinds that are computed in windows
            first, extent = int(reads.low[0]), int(reads.high[0] - reads.low[0]) + 1
            found.append(Window(jump * reads.step, low * reads.step + first, (size - 1) * reads.step + extent))
        return found[0], found[1]

    def is_read_by(self, i: Node, n: Node) -> bool:
        """Tell whether a node is the only one that reads a value's memory, and no rule reads it but that node's."""
        if i is self.graph.input or i.kind in ROUTING:
            return False
        readers = {m for m, rule in self.walk.steps if i in rule.needs(m)}
        return self.graph.consumers[i] == (n,) and readers <= {n}

    def shape(self, n: Node, window: _Pair | None = None) -> tuple[int, ...]:
        """Return the shape of a node's window, or of the given window on it, without the axis of units."""
        found = self.windows.get(n) if window is None else window
        if found is None:
            return n.shape
        axes = self.axes(n)
        assert axes is not None
        shape = list(n.shape)
        for axis, w in zip(axes, found, strict=True):
            shape[axis - 1] = w.size
        return tuple(shape)

    # -- effort --

    def _count(self) -> None:
        steps = {n for n, _ in self.walk.steps}
        forward = set(self.walk.record) | {a for n in self.walk.record for a in needed_for([n])}
        for n in self.windows:
            times = (n in steps) + (n in forward)
            self.inside += times * _multiply_adds(n, math.prod(self.shape(n)))
            self.whole += times * _multiply_adds(n, math.prod(n.shape))
        kept = sum(math.prod(self.shape(n)) for n in self.walk.record if n in self.windows)
        self.elements = kept + 4 * max(math.prod(self.shape(n)) for n in self.windows)

    def whole_forward(self, record: Iterable[Node]) -> float:
        """Return the effort of computing values of nodes for a whole picture."""
        return sum(_multiply_adds(n, math.prod(n.shape)) for n in needed_for(record))

    def inside_forward(self, record: Iterable[Node]) -> float:
        """Return the effort of computing values of nodes in a unit's windows."""
        return sum(_multiply_adds(n, math.prod(self.shape(n))) for n in needed_for(record))


class _Batch(Values):
    """Units with their windows: values forward, signals backward."""

    def __init__(self, plan: _Plan, x: Tensor, units: Units) -> None:
        self.plan, self.x, self.units = plan, x, units
        self.windows: dict[Node, Tensor] = {}
        self._locals: dict[Node, Node] = {}
        self._whose: Node | None = None  # the node whose rule is asking
        self._globals: dict[Node, Tensor] = {}
        self._switches: dict[Node, Tensor] = {}
        self._outside: dict[tuple[_Pair, tuple[int, int]], Sequence[_Strip]] = {}
        self.places = (units.rows.tolist(), units.columns.tolist())

    # values, as a rule asks for them

    def value(self, node: Node) -> Tensor:
        whose = self._whose
        assert whose is not None
        return self.windows[whose] if node is self._locals.get(whose) else self._read(whose, node)

    def shape(self, node: Node) -> tuple[int, ...]:
        whose = self._whose
        assert whose is not None
        if node is self._locals.get(whose) or node not in self.plan.windows or not self.plan._is_map(whose, node):
            return self.plan.shape(whose) if node is self._locals.get(whose) else node.shape
        return self.plan.shape(node, self.plan.need(whose, node))

    def at(self, n: Node) -> At:
        """Return the node as its rule sees it: on windows, without padding."""
        self._whose = n
        self._locals[n] = self._locals.get(n) or self._local(n)
        return At(self._locals[n], len(self.units.rows), self, self.x.device, self.x.dtype)

    def _read(self, n: Node, i: Node) -> Tensor:
        """Return an input in the part of its window that the node reads, borders as the node's padding has them."""
        plan = self.plan
        if i not in plan.windows or not plan._is_map(n, i):
            return self._globals[i][self.units.pictures]
        have, want = plan.windows[i], plan.need(n, i)
        axes = plan.axes(i)
        assert axes is not None
        value = self._part(i, self.windows[i], have, want)
        if n.kind in _WINDOWED or n.kind == "pad":
            fill = -math.inf if n.kind == "max_pool" else float((n["value"] or 0.0) if n.kind == "pad" else 0.0)
            strips = self._strips(i, want)
            if strips:
                # Zero may stand there for good, as nothing reads what is outside but as padding; so may anything that
                # nobody else reads.
                value = value.clone() if fill and not plan.is_read_by(i, n) else value
                _fill(value, axes, strips, fill)
        return value

    def _strips(self, n: Node, window: _Pair) -> Sequence[_Strip]:
        """Return what of the units' windows lies outside a node's map."""
        key = (window, self.plan.size(n))
        if key not in self._outside:
            self._outside[key] = _strips(self.places, window, key[1])
        return self._outside[key]

    def _local(self, n: Node) -> Node:
        """Return the node as it is on windows."""
        plan = self.plan
        if n.kind == "conv":
            return with_args(n, {**n.args, "padding": (0, 0)})
        if n.kind == "max_pool":
            return with_args(n, {**n.args, "padding": (0, 0), "ceil_mode": False})
        if n.kind == "avg_pool":
            return self._local_average(n)
        axes = plan.axes(n)
        assert axes is not None
        if n.kind == "pad" or (n.kind == "slice" and n["dim"] in axes):
            return replace(n, op=_copy)  # the reading does it
        if n.kind == "reshape":
            return with_args(n, {**n.args, "shape": (-1, *plan.shape(n))})
        return with_args(n, n.args)

    def _local_average(self, n: Node) -> Node:
        """Return the average pool on windows: under padding, and over the border, it divides by other numbers."""
        x = self.x.new_ones(1, 1, *n["input"].shape[1:])
        args = {**n.args, "padding": (0, 0), "ceil_mode": False, "divisor_override": 1}
        whole = [n["kernel_size"], n["stride"], n["padding"], n["ceil_mode"], n["count_include_pad"]]
        # The sum over the window of what is in the map, and of ones: their ratio is 1 / divisor.
        sums = torch.ops.aten.avg_pool2d(x, *whole[:4], True, 1)
        shares = (torch.ops.aten.avg_pool2d(x, *whole, n["divisor_override"]) / sums)[0, 0].nan_to_num(0.0)
        if bool((shares == shares[0, 0]).all()):
            share = float(shares[0, 0])
            return replace(with_args(n, args), op=lambda v, *rest: torch.ops.aten.avg_pool2d(v, *rest) * share)
        index = []
        for w, u, count in zip(self.plan.windows[n], (self.units.rows, self.units.columns), shares.shape, strict=True):
            index.append((w.at(u)[:, None] + torch.arange(w.size, device=u.device)).clamp(0, count - 1))
        mine = shares[index[0][:, :, None], index[1][:, None, :]][:, None]
        return replace(with_args(n, args), op=lambda v, *rest: torch.ops.aten.avg_pool2d(v, *rest) * mine)

    def inside(self, node: Node, value: Tensor) -> Tensor:
        del node
        whose = self._whose
        assert whose is not None
        i = whose.inputs[0]
        axes = self.plan.axes(i)
        if axes is None or i not in self.plan.windows:
            return value
        window = self.plan.need(whose, i)
        strips = [*self._strips(i, window)]
        while is_padding(i):
            at = [2 * (len(i.shape) - a) for a in axes]
            before = [i["pad"][k] if k < len(i["pad"]) else 0 for k in at]
            rows, columns = (Window(w.jump, w.low - b, w.size) for w, b in zip(window, before, strict=True))
            window = rows, columns
            i = i.inputs[0]
            strips += self._strips(i, window)
        if strips:
            value = value.clone()
            _fill(value, axes, strips, 0.0)
        return value

    def placed(self, node: Node, map_: Tensor, signals: int) -> Tensor:
        del node, signals
        whose = self._whose
        assert whose is not None
        i = whose.inputs[0]
        axes = self.plan.axes(i)
        if axes is None or i not in self.plan.windows:
            return map_.expand(len(self.units.rows), *map_.shape[1:])
        window = self.plan.need(whose, i)
        starts = [w.at(u) for w, u in zip(window, (self.units.rows, self.units.columns), strict=True)]
        none = torch.zeros_like(self.units.pictures)
        cut = _cut(map_, axes, none, starts[0], starts[1], (window[0].size, window[1].size))
        _fill(cut, axes, self._strips(i, window), 0.0)
        return cut

    def once(self, node: Node, name: str, compute: Callable[[Tensor], Tensor]) -> Tensor:
        del node
        whose = self._whose
        assert whose is not None
        found = self._switches.get(whose) if name == "switches" else None
        return compute(self._read(whose, whose.inputs[0])) if found is None else found

    # forward

    def cut_out(self, runner: Runner, record: Sequence[Node]) -> None:
        """Compute whole maps once for each picture, and cut the windows out."""
        used, pictures = _distinct(self.units.pictures)
        gates = [
            i for n in self.plan.windows for i in n.inputs
            if i.kind != "size" and n is not self.plan.graph.input and not self.plan._is_map(n, i)
            and i in self.plan.read
        ]  # fmt: skip
        _, values = runner(self.x[used], [*record, *gates], output=False)
        full = self.x.new_zeros(len(self.x), 0)
        for i in gates:
            whole = full.new_empty(len(self.x), *i.shape)
            whole[used] = values[i]
            self._globals[i] = whole
        for n in record:
            axes, window = self.plan.axes(n), self.plan.windows.get(n)
            if window is None or axes is None:
                continue
            starts = [w.at(u) for w, u in zip(window, (self.units.rows, self.units.columns), strict=True)]
            size = (window[0].size, window[1].size)
            self.windows[n] = _cut(values[n], axes, pictures, starts[0], starts[1], size)

    def compute(self, record: Sequence[Node]) -> None:
        """Compute the values of nodes in their windows, from the pictures."""
        graph, kept = self.plan.graph, set(record)
        order = [n for n in graph if n in (needed := needed_for(record)) and n in self.plan.windows]
        last = {i: n for n in order for i in n.inputs}
        window = self.plan.windows[graph.input]
        starts = [w.at(u) for w, u in zip(window, (self.units.rows, self.units.columns), strict=True)]
        size = (window[0].size, window[1].size)
        self.windows[graph.input] = _cut(self.x, (2, 3), self.units.pictures, starts[0], starts[1], size)
        for n in order:
            if n is graph.input:
                continue
            at = self.at(n)
            sources = [i for i in n.inputs if i.kind != "size"]
            values = [self._read(n, i) for i in sources]
            mine = sum(1 for u in graph.consumers[sources[0]] if u in needed) == 1
            if n.kind in IN_PLACE and mine and sources[0].kind in FRESH and sources[0] not in kept:
                at.node = replace(at.node, op=IN_PLACE[n.kind])
            if n.kind == "max_pool":
                pool = (at.node[k] for k in ("kernel_size", "stride", "padding", "dilation", "ceil_mode"))
                self.windows[n], self._switches[n] = torch.ops.aten.max_pool2d_with_indices(values[0], *pool)
            else:
                self.windows[n] = at.compute(*values)
            for i in dict.fromkeys(sources):
                if last[i] is n and i not in kept:
                    self.windows.pop(i, None)

    # backward

    def back(self, signals: Mapping[Node, Tensor], steps: Iterable[tuple[Node, Rule]]) -> dict[Node, Tensor]:
        """Carry signals back in windows; return what arrived at nodes that no step takes further."""
        plan = self.plan
        arrived = {n: (signal, plan.windows[n]) for n, signal in signals.items()}
        for n, rule in steps:
            found = arrived.pop(n, None)
            if found is None:
                continue
            parts = rule.backward(self._grown(n, *found), self.at(n))
            if isinstance(parts, Tensor):
                parts = [parts]
            for i, part in zip(n.inputs, parts, strict=False):
                if part is None or i not in plan.windows:
                    continue
                want, axes = plan.need(n, i), plan.axes(i)
                assert axes is not None
                own = n.kind in _WINDOWED  # what a convolution or pool sends is new memory
                strips = self._strips(i, want) if own or n.kind == "pad" else ()
                if strips:
                    part = part if own else part.clone()
                    _fill(part, axes, strips, 0.0)
                arrived[i] = self._joined(i, arrived[i], (part, want), own) if i in arrived else (part, want)
        return {n: self._grown(n, *found) for n, found in arrived.items()}

    def _joined(self, n: Node, old: tuple[Tensor, _Pair], new: tuple[Tensor, _Pair], own: bool) -> tuple[Tensor, _Pair]:
        """Add two signals at a node, of which the second may be written to if it is `own`."""
        if own and new[1] == self.plan.windows[n]:
            self._part(n, *new, old[1]).add_(old[0])
            return new
        return self._grown(n, *old) + self._grown(n, *new), self.plan.windows[n]

    def _grown(self, n: Node, signal: Tensor, window: _Pair) -> Tensor:
        """Return a signal on the node's whole window, zero where it was not."""
        whole = self.plan.windows[n]
        if window == whole:
            return signal
        grown = signal.new_zeros(len(signal), *self.plan.shape(n))
        self._part(n, grown, whole, window).copy_(signal)
        return grown

    def _part(self, n: Node, value: Tensor, have: _Pair, want: _Pair) -> Tensor:
        """Return the part of a value in one window of a node that is in another."""
        axes = self.plan.axes(n)
        assert axes is not None
        for axis, a, b in zip(axes, have, want, strict=True):
            if a != b:
                value = value.narrow(axis, b.low - a.low, b.size)
        return value


def _copy(x: Tensor, *rest: Any) -> Tensor:
    del rest
    return x.clone()


def _distinct(pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Return the pictures that occur, and for each entry which of these it is."""
    used: Tensor
    index: Tensor
    used, index = torch.unique(pictures, return_inverse=True)
    return used, index


def _started(activations: Tensor, start: str) -> Tensor:
    """Return what starts at units with these values."""
    if start == "value":
        return activations
    ones = torch.ones_like(activations)
    return ones if start == "one" else torch.where(activations < 0, ones, activations)


def _cut(
    value: Tensor, axes: tuple[int, int], pictures: Tensor, tops: Tensor, lefts: Tensor, size: tuple[int, int]
) -> Tensor:
    """Cut windows out of maps (N, ...): (S, ...). What lies outside holds any value of the map."""
    others = [a for a in range(1, value.dim()) if a not in axes]
    order = [0, *axes, *others]
    rows, columns = (
        (start[:, None] + torch.arange(s, device=start.device)).clamp(0, value.shape[a] - 1)
        for start, s, a in zip((tops, lefts), size, axes, strict=True)
    )
    found = value.permute(order)[pictures[:, None, None], rows[:, :, None], columns[:, None, :]]
    return found.permute([order.index(a) for a in range(value.dim())])


class _Strip(NamedTuple):
    """Rows, or columns, of the windows of neighbouring units: units, axis (0 or 1), positions; half-open."""

    first: int
    last: int
    axis: int
    low: int
    high: int


def _strips(places: Sequence[Sequence[int]], window: _Pair, map_: tuple[int, int]) -> list[_Strip]:
    """Return what lies outside a map, of windows of units at these rows and columns."""
    found: list[_Strip] = []
    for axis, (units, w, size) in enumerate(zip(places, window, map_, strict=True)):
        first = 0
        for last in range(1, len(units) + 1):
            if last < len(units) and units[last] == units[first]:
                continue  # neighbours at one place are done together
            start = units[first] * w.jump + w.low
            before, after = min(max(-start, 0), w.size), min(max(start + w.size - size, 0), w.size)
            if before:
                found.append(_Strip(first, last, axis, 0, before))
            if after:
                found.append(_Strip(first, last, axis, w.size - after, w.size))
            first = last
    return found


def _fill(value: Tensor, axes: tuple[int, int], strips: Iterable[_Strip], fill: float) -> None:
    """Put strips of windows to a value, in place."""
    for s in strips:
        value[s.first : s.last].narrow(axes[s.axis], s.low, s.high - s.low).fill_(fill)


def _has_constant_map(n: Node, axes: tuple[int, int]) -> bool:
    """Tell whether an operand is a constant with a value of its own for every position."""
    constants: list[Tensor] = []
    for v in n.args.values():
        map_values(v, tensor=lambda t: constants.append(t))
    rank = len(n.shape) + 1
    return any(t.dim() > rank - a - 1 and t.shape[a - rank] > 1 for t in constants for a in axes if a < rank)


def _multiply_adds(n: Node, elements: float) -> float:
    """Return the multiply-adds of a node for this many output elements; of anything but layers, the elements."""
    weight = n.args.get("weight")
    if n.kind in ("conv", "linear") and isinstance(weight, Tensor):
        return elements * math.prod(weight.shape[1:])
    return elements
