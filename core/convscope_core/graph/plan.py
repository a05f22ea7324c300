"""How one batch of changed pictures is computed: which nodes in windows and which everywhere, and the steps.

After the pixels of a box change, each node changes in a box only (`Geometry.reach`). A plan puts that box, for every
place that the pixels may be at, into a window of each node; convolutions run on windows without padding: what is
outside a map is in the window as the operation's own padding (zero, or minus infinity under a max pool).

Nearly all the time goes into convolutions; `convscope_core.graph.kernels` makes those of 3x3 cheaper.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from convscope_core.graph.axes import NOWHERE, is_elementwise, is_uniform, structure
from convscope_core.graph.captured import CapturedWalk
from convscope_core.graph.forward import FRESH, IN_PLACE, evaluated
from convscope_core.graph.geometry import Geometry, Ranges
from convscope_core.graph.kernels import TILE, Inner, Kernels
from convscope_core.graph.node import Node, map_values
from convscope_core.graph.ops import is_decided_by_rounding, kernel_size
from convscope_core.graph.windows import Batch, Changed, Cut, Ints, Recorded, Windows, gathered, window

__all__ = ["Floats", "Plan", "Work", "multiply_adds"]

logger = logging.getLogger(__name__)

Floats: TypeAlias = npt.NDArray[np.float64]

#: From this share of a map on, all of it is computed: cutting windows would cost more than it saves.
_NEARLY_ALL = 0.8

#: From this share of the multiply-adds on, the ordinary forward pass is as fast.
_NO_GAIN = 0.9

#: How often a walk is taken before it is captured: what it makes once is there then, and a hand has stopped resizing.
_BEFORE_CAPTURE = 2

#: From this share of a convolution's tiles on, those that are alike under an occluder of one colour are computed once.
_ALIKE = 0.125

_WINDOWED = frozenset({"conv", "max_pool", "avg_pool"})

#: Kinds whose constant tensors belong to channels: axis 1, or those that they normalise.
_CHANNEL_WEIGHTS = frozenset({"batch_norm", "layer_norm", "linear", "prelu", "local_response_norm"})

_Step: TypeAlias = Callable[[Batch], Any]


@dataclass(frozen=True)
class Work:
    """Multiply-adds of convolutions and linear layers for one picture.

    Attributes
    ----------
    regions : int
        Of the walk over what changed.
    whole : int
        Of the ordinary forward pass.
    carried_out : int
        Of the walk as it is computed: tiles take fewer (`convscope_core.graph.kernels`); what it costs to transform
        them is not counted.
    """

    regions: int
    whole: int
    carried_out: int

    @property
    def bound(self) -> float:
        """How many times faster the regions can be if a multiply-add costs the same in both."""
        return self.whole / self.regions if self.regions else math.inf

    @property
    def bound_in_tiles(self) -> float:
        """How many times faster the regions can be as they are computed, beside a direct ordinary pass."""
        return self.whole / self.carried_out if self.carried_out else math.inf


class Plan:
    """The steps for one size of box, tops and lefts that it may have, and about how many pictures at once."""

    def __init__(
        self,
        recorded: Recorded,
        geometry: Geometry,
        size: tuple[int, int],
        places: tuple[Ints, Ints],
        pictures: int,
        distrust: str | None = None,
    ) -> None:
        self.recorded, self.geometry = recorded, geometry
        self.graph = graph = recorded.graph
        self.places = places
        self.pictures = pictures
        self.cuts: list[Cut] = []
        self.bytes = 0
        self._windows: dict[Node, Windows] = {graph.input: Windows(size, *places)}
        self._whole: set[Node] = set()
        self._tiled: set[Node] = set()
        self._reads: dict[Node, list[Cut]] = {}
        self._structure = structure(graph)
        self._ranges = self._spread(size)
        self._constant_in = {graph.input: self._ranges[graph.input.name]}
        for n in recorded.nodes:
            if n in recorded.dependent:
                self._place(n, *self._ranges[n.name])
        computed = [n for n in recorded.nodes if n in self._windows or n in self._whole]
        self.reason = distrust or self._why_not(computed)
        self.steps = [] if self.reason else self._compiled()
        self.work = Work(
            sum(multiply_adds(n, self._share(n)) for n in computed),
            sum(multiply_adds(n, 1.0) for n in recorded.nodes if n in recorded.dependent),
            sum(self._carried_out(n) for n in computed),
        )
        self._walked: dict[tuple[Node, ...], int] = {}
        self._captured: dict[tuple[Node, ...], CapturedWalk] = {}

    def cases(self, at: Ints) -> tuple[Ints, Ints]:
        """Return the indices, in `places`, of the rows (top, left) of an array."""
        return np.searchsorted(self.places[0], at[:, 0]), np.searchsorted(self.places[1], at[:, 1])

    def costs(self) -> tuple[Floats, Floats]:
        """Return what each of the rows, and of the columns, in `places` costs along its axis, in units of its own."""
        nodes = [n for n in self.recorded.nodes if n in self._windows or n in self._whole]
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
        start = self._windows[self.graph.input]
        return self.geometry.spread(
            Ranges(start.rows, start.rows + size[0] - 1), Ranges(start.columns, start.columns + size[1] - 1)
        )

    # -- which windows --

    def _place(self, n: Node, rows: Ranges, columns: Ranges) -> None:
        """Decide whether a node is computed in windows, everywhere, or not at all."""
        changed = [i for i in n.inputs if i in self._windows or i in self._whole]
        if not changed or not ((rows.low <= rows.high).any() and (columns.low <= columns.high).any()):
            if not n.batched:
                self._whole.add(n)  # there is no clean value that stands for any number of pictures
            return
        axes = self.recorded.axes(n)
        if axes is None or any(i in self._whole for i in changed) or not self._in_parts(n, axes):
            self._whole.add(n)
            return
        height, width = n.shape[axes[0] - 1], n.shape[axes[1] - 1]
        down, across = window(rows, height), window(columns, width)
        if down[0] * across[0] >= _NEARLY_ALL * height * width:
            self._whole.add(n)
            return
        self._windows[n] = Windows((down[0], across[0]), down[1], across[1])
        if all(i in self._constant_in for i in n.inputs) and (
            n.kind in _WINDOWED or (is_elementwise(n) and not _constants(n))
        ):
            rows, columns = (self._seeing_constant(n, k) for k in (0, 1))
            if (rows.low <= rows.high).all() and (columns.low <= columns.high).all():
                self._constant_in[n] = rows, columns

    def _seeing_constant(self, n: Node, k: int) -> Ranges:
        """Return the positions along an axis that read only what is constant if the pixels of the box are."""
        low, high = np.zeros(len(self.places[k]), np.int64), np.full(len(self.places[k]), NOWHERE)
        for i in n.inputs:
            ranges, reads = self._constant_in[i][k], self._structure.reads[n.name][i.name][k]
            first, last = ranges
            if not reads.same:
                inside = (reads.low >= ranges.low[:, None]) & (reads.high <= ranges.high[:, None])
                there = inside.any(1)
                first = np.where(there, inside.argmax(1), NOWHERE)
                last = np.where(there, inside.shape[1] - 1 - inside[:, ::-1].argmax(1), -1)
            low, high = np.maximum(low, first), np.minimum(high, last)
        return Ranges(low, high)

    def _tiles_alike(self, n: Node, windows: Windows) -> Inner | None:
        """Return the tiles of a convolution that are alike if the pixels of the box are, wherever it is.

        Elsewhere than on a processor none: to ask the device whether they are would take longer.
        """
        if n not in self._constant_in or self.recorded.x.device.type != "cpu":
            return None
        found, every = [], 1
        for (low, high), starts, size in zip(
            self._constant_in[n], (windows.rows, windows.columns), windows.size, strict=True
        ):
            first, after = -(-int((low - starts).max()) // TILE), int((high - starts).min() + 1) // TILE
            found.append((first, max(first, after)))
            every *= -(-size // TILE)
        alike = math.prod(after - first for first, after in found)
        return (found[0], found[1]) if alike > 1 and alike >= _ALIKE * every else None

    def _in_parts(self, n: Node, axes: tuple[int, int]) -> bool:
        """Tell whether the operation can be computed in windows, out of windows of its inputs."""
        changed = [i for i in dict.fromkeys(n.inputs) if i in self._windows]
        others = [i for i in n.inputs if i not in self._windows]
        if n.kind in _WINDOWED or n.kind == "pad":
            if others or self.recorded.axes(n["input"]) != axes:
                return False
            return set(axes) == {2, 3} if n.kind in _WINDOWED else bool(n["mode"] == "constant")
        if n.kind == "slice" and n["dim"] in axes:
            return bool(n["step"] == 1)
        if not is_uniform(n) or not all(r.same for i in changed for r in self._structure.reads[n.name][i.name]):
            return False
        if n.name in self._structure.statistics or (n.kind in ("batch_norm", "prelu") and 1 in axes):
            return False
        aligned = is_elementwise(n) or n.kind == "cat"
        if not aligned and n.kind != "aten.stack":
            return not others
        if not aligned:
            tensors = any(isinstance(t, Tensor) for t in n["tensors"])
            reads = self._structure.reads[n.name]
            known = all(i.name in reads and self.recorded.axes(i) for i in others)
            return not tensors and known and all(r.same for i in others for r in reads[i.name])
        return all(self._is_aligned(n, i, axes) for i in others) and (
            n.kind in _CHANNEL_WEIGHTS or all(self._fits(n, tuple(t.shape), axes) for t in _constants(n))
        )

    def _is_aligned(self, n: Node, i: Node, axes: tuple[int, int]) -> bool:
        """Tell whether what does not change has a value for each position of a node, or one for all."""
        alike = i.batched and len(i.shape) == len(n.shape) and self.recorded.has_clean(i)
        return alike and self._fits(n, (1, *i.shape), axes)

    def _fits(self, n: Node, shape: tuple[int, ...], axes: tuple[int, int]) -> bool:
        rank = len(n.shape) + 1
        if len(shape) > rank or (len(shape) == rank and shape[0] != 1):
            return False
        full = (1,) * (rank - len(shape)) + shape
        return all(full[a] in (1, n.shape[a - 1]) for a in axes)

    def _share(self, n: Node) -> float:
        windows = self._windows.get(n)
        axes = self.recorded.axes(n)
        if windows is None or axes is None:
            return 1.0
        return windows.size[0] * windows.size[1] / (n.shape[axes[0] - 1] * n.shape[axes[1] - 1])

    def _carried_out(self, n: Node) -> int:
        if n not in self._tiled:
            return multiply_adds(n, self._share(n))
        size = self._windows[n].size if n in self._windows else (n.shape[1], n.shape[2])
        return Kernels.products(n, size)

    def _why_not(self, computed: list[Node]) -> str | None:
        decided = next((n for n in computed if is_decided_by_rounding(n)), None)
        if decided is not None:
            return f"{decided.name} ({decided.kind}) compares maps that may be equal, where rounding decides"
        effort = sum(_effort(n, self._share(n)) for n in computed)
        whole = sum(_effort(n, 1.0) for n in self.recorded.nodes if n in self.recorded.dependent)
        if effort < _NO_GAIN * whole:
            return None
        first = next((n for n in computed if n in self._whole), None)
        if first is None:
            return "nearly every value changes"
        where = f" in {first.module}" if first.module else ""
        return f"from {first.name} ({first.kind}{where}) on, everything changes: {effort / whole:.0%} of the work"

    # -- steps --

    def _compiled(self) -> list[tuple[Node, _Step, tuple[Node, ...]]]:
        recorded, graph = self.recorded, self.graph
        steps: list[tuple[Node, _Step]] = []
        for n in recorded.nodes:
            if n not in recorded.dependent:
                steps.append((n, self._constant(n)))
            elif n in self._whole:
                steps.append((n, self._on_wholes(n)))
            elif n in self._windows:
                steps.append((n, self._on_windows(n)))
            if n in self._windows or n in self._whole:
                # Three tensors of the size of the largest are alive at once: input, windows of it, result.
                around = sum(c.elements for c in self._reads.get(n, ()))
                numbers = int(2 * self._share(n) * math.prod(n.shape)) + around
                self.bytes = max(self.bytes, numbers * recorded.x.element_size())
        last: dict[Node, Node] = {}
        for n, _ in steps:
            for i in n.inputs:
                last[i] = n
        kept = {graph.output, *recorded.wanted}
        return [
            (n, step, tuple(i for i in dict.fromkeys(n.inputs) if last[i] is n and i not in kept)) for n, step in steps
        ]

    def _constant(self, n: Node) -> _Step:
        """A node that no picture changes, such as a class token for each picture of the batch."""
        args = self._args(n)

        def step(batch: Batch) -> Any:
            # A size is asked of some batch; every one has as many pictures.
            def value(i: Node) -> Any:
                return batch.patches if i in self.recorded.dependent or i is self.graph.input else batch.values[i]

            return evaluated(n, value, None, args)

        return step

    def _on_wholes(self, n: Node) -> _Step:
        if n.kind == "conv":
            x = n["input"]
            axes = self.recorded.axes(x) if x in self._windows else (2, 3)
            if self._in_tiles(n, (n.shape[1], n.shape[2])) and axes in ((2, 3), (3, 2)):
                return self._windowed(n, self._everywhere(n, axes), axes)
        getters = {i: self._whole_of(i) for i in dict.fromkeys(n.inputs)}
        for i in dict.fromkeys(n.inputs):
            if i in self._windows:
                self._remember(n, self._to_whole(i))
        if n.kind == "conv":
            convolved, get = self._convolution(n, n["input"].shape[1:], n["padding"]), getters[n["input"]]
            return lambda batch: convolved(get(batch))
        op, args = self._op(n), self._args(n)

        def step(batch: Batch) -> Any:
            return evaluated(n, lambda i: getters[i](batch), op, args)

        return step

    def _to_whole(self, i: Node) -> Cut:
        axes = self._axes(i)
        return Cut(i, axes, (0, 0, 0, 0), 0.0, self._everywhere(i, axes), self._windows[i])

    def _axes(self, n: Node) -> tuple[int, int]:
        """Return the axes of a node that is in windows."""
        axes = self.recorded.axes(n)
        assert axes is not None  # see `_place`
        return axes

    def _everywhere(self, n: Node, axes: tuple[int, int]) -> Windows:
        """The windows that are all of a map, of which these are taken for rows and columns."""
        rows, columns = self.places
        return Windows((n.shape[axes[0] - 1], n.shape[axes[1] - 1]), rows * 0, columns * 0)

    def _whole_of(self, i: Node) -> _Step:
        recorded = self.recorded
        if i in self._windows:
            cut = self._to_whole(i)
            return lambda batch: recorded.cut(cut, batch.values[i], batch)
        if i in self._whole or i not in recorded.dependent:
            return lambda batch: batch.values[i]
        return lambda batch: recorded.clean(i).expand(batch.size, *i.shape)

    def _on_windows(self, n: Node) -> _Step:
        windows, axes = self._windows[n], self._axes(n)
        if n.kind in _WINDOWED:
            return self._windowed(n, windows, axes)
        if n.kind == "pad" or (n.kind == "slice" and n["dim"] in axes):
            return self._shifted(n)
        getters: dict[Node, _Step] = {}
        own: set[Node] = set()
        for i in dict.fromkeys(n.inputs):
            getters[i], mine = self._aligned(n, i, windows)
            if mine:
                own.add(i)
        args = self._args(n)
        if n.kind == "reshape":
            shape = list(n["shape"])
            shape[axes[0]], shape[axes[1]] = windows.size
            args["shape"] = tuple(shape)
        if n.kind not in _CHANNEL_WEIGHTS:
            args = {k: self._with_windows_of_constants(n, v, getters) for k, v in args.items()}
        op = self._op(n)
        if n.kind == "add" and n["input"] is not n["other"]:
            a, b, alpha = n["input"], n["other"], n["alpha"]
            shapes = a.shape == b.shape == n.shape
            if shapes and (a in own or self._is_spent(a, n)):
                return lambda batch: getters[a](batch).add_(getters[b](batch), alpha=alpha)
            if shapes and alpha == 1 and (b in own or self._is_spent(b, n)):
                return lambda batch: getters[b](batch).add_(getters[a](batch))
        return lambda batch: evaluated(n, lambda i: getters[i](batch), op, args)

    def _aligned(self, n: Node, i: Node, windows: Windows) -> tuple[_Step, bool]:
        """Return what gets an input in the windows of a node, and whether that is memory of its own."""
        recorded, mine = self.recorded, self._axes(n)
        if i in self._windows:
            axes = self._axes(i)
        else:  # unchanged; where it has axes of its own, it is aligned with the result all the same
            axes = mine if is_elementwise(n) or n.kind == "cat" else self._axes(i)
            if all(i.shape[a - 1] == 1 for a in axes):
                return (lambda batch: recorded.clean(i).expand(batch.size, *i.shape)), False
            if any(i.shape[a - 1] != n.shape[b - 1] for a, b in zip(axes, mine, strict=True)):
                # one value for each row, or for each column
                windows = Windows(
                    (
                        windows.size[0] if i.shape[axes[0] - 1] > 1 else 1,
                        windows.size[1] if i.shape[axes[1] - 1] > 1 else 1,
                    ),
                    windows.rows * (i.shape[axes[0] - 1] > 1),
                    windows.columns * (i.shape[axes[1] - 1] > 1),
                )
        cut = Cut(i, axes, (0, 0, 0, 0), 0.0, windows, self._windows.get(i))
        if cut.same:
            return (lambda batch: batch.values[i]), False
        self._remember(n, cut)
        changes = i in self._windows
        return (lambda batch: recorded.cut(cut, batch.values[i] if changes else None, batch)), True

    def _with_windows_of_constants(self, n: Node, value: Any, getters: dict[Node, _Step]) -> Any:
        """Put a node in the place of each constant that has values of its own for the positions."""

        def stand_in(t: Tensor) -> Any:
            rank, windows = len(n.shape) + 1, self._windows[n]
            full = (1,) * (rank - t.dim()) + tuple(t.shape)
            if n.kind != "cat" and all(full[a] == 1 for a in self._axes(n)):
                return t
            i = self.recorded.constant(t, rank)
            getters[i], _ = self._aligned(n, i, windows)
            return i

        return map_values(value, tensor=stand_in)

    def _windowed(self, n: Node, windows: Windows, axes: tuple[int, int]) -> _Step:
        """A convolution or pool: windows with a border, then the operation without padding."""
        if self._in_tiles(n, windows.size):
            self._tiled.add(n)
            return self._bordered(n, windows, axes, tiled=True)
        step, inner = self._bordered(n, windows, axes), self._tiles_alike(n, windows)
        alike = 0 if inner is None else math.prod(after - first for first, after in inner)
        if not Kernels.tiles(n, self.recorded.x, windows.size, self.pictures, alike):
            return step
        under_one_colour = self._bordered(n, windows, axes, tiled=True, instead=True)
        return lambda batch: (under_one_colour if batch.uniform else step)(batch)

    def _bordered(
        self, n: Node, windows: Windows, axes: tuple[int, int], *, tiled: bool = False, instead: bool = False
    ) -> _Step:
        """As `_windowed`, in tiles or not; `instead` of another way that reads the same."""
        recorded, x = self.recorded, n["input"]
        # Of rows and of columns, which may be either of the two axes that the kernel moves along.
        order = (axes[0] - 2, axes[1] - 2)
        kernel, stride, padding = ([v[s] for s in order] for v in (kernel_size(n), n["stride"], n["padding"]))
        dilation = [n["dilation"][s] for s in order] if "dilation" in n.args else (1, 1)
        reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
        # Tiles may compute a few rows and columns too many.
        computed = [-(-s // TILE) * TILE if tiled else s for s in windows.size]
        needed = [(c - 1) * stride[k] + reach[k] for k, c in enumerate(computed)]
        after = [
            max(0, (n.shape[1 + s] - windows.size[k]) * stride[k] + needed[k] - padding[k] - x.shape[1 + s])
            for k, s in enumerate(order)
        ]
        need = Windows((needed[0], needed[1]), windows.rows * stride[0], windows.columns * stride[1])
        above, left = order.index(0), order.index(1)
        around = (padding[above], after[above], padding[left], after[left])
        fill = -math.inf if n.kind == "max_pool" else 0.0
        have = self._windows[x] if x in self._windows else self._everywhere(x, axes)
        cut = Cut(x, axes, around, fill, need, have.moved(padding[0], padding[1]))
        same = cut.same
        if not same and not instead:
            self._remember(n, cut)
        get = self._whole_of(x) if x not in self._windows else lambda batch: batch.values[x]

        def read(batch: Batch) -> Tensor:
            value: Tensor = get(batch)
            return value if same else recorded.cut(cut, value, batch, scratch=True)

        if tiled:
            kernels, height, width = recorded.kernels, windows.size[above], windows.size[left]
            alike = self._tiles_alike(n, windows)
            inner = None if alike is None else (alike[above], alike[left])

            def computed_in_tiles(batch: Batch) -> Tensor:
                found = kernels.tiled(n, read(batch), batch.workspace, inner if inner and batch.uniform else None)
                return found[:, :, :height, :width]

            return computed_in_tiles
        if n.kind == "conv":
            convolved = self._convolution(n, (needed[above], needed[left]), (0, 0))
            return lambda batch: convolved(read(batch))
        args = {**self._args(n), "padding": (0, 0)}
        if "ceil_mode" in args:
            args["ceil_mode"] = False
        if n.kind != "avg_pool":
            return lambda batch: evaluated(n, lambda _: read(batch), n.op, args)
        # Under padding, and where the last window hangs over the border, averages divide by other numbers.
        args["divisor_override"] = 1
        probe = recorded.x.new_ones(1, 1, *x.shape[1:])
        ones = torch.nn.functional.pad(probe, (around[2], around[3], around[0], around[1]))
        per_window = evaluated(n, lambda _: probe) / evaluated(n, lambda _: ones, n.op, args)
        if bool((per_window == per_window.flatten()[0]).all()):
            share = float(per_window.flatten()[0])
            return lambda batch: evaluated(n, lambda _: read(batch), n.op, args).mul_(share)

        def averaged(batch: Batch) -> Tensor:
            sums: Tensor = evaluated(n, lambda _: read(batch), n.op, args)
            return sums.mul_(gathered(per_window, axes, windows.size, windows.of(batch)))

        return averaged

    def _shifted(self, n: Node) -> _Step:
        """A pad with a constant, or a crop: the result's own clean values, with what changed moved."""
        recorded, x, windows = self.recorded, n["input"], self._windows[n]
        axes = self._axes(n)
        moves = [0, 0]
        for k, a in enumerate(axes):
            if n.kind == "slice":
                moves[k] = -n["start"] if n["dim"] == a else 0
            else:
                at = 2 * (len(n.shape) - a)
                moves[k] = n["pad"][at] if at < len(n["pad"]) else 0
        cut = Cut(n, axes, (0, 0, 0, 0), 0.0, windows, self._windows[x].moved(*moves))
        self._remember(n, cut)
        return lambda batch: recorded.cut(cut, batch.values[x], batch)

    def _args(self, n: Node) -> dict[str, Any]:
        return self.recorded.kernels.arguments(n, self.recorded.x.dtype)

    def _convolution(self, n: Node, size: tuple[int, ...], padding: tuple[int, int]) -> Callable[[Tensor], Tensor]:
        """Return what computes a convolution of windows, or whole maps, of a size."""
        recorded = self.recorded
        layout = torch.contiguous_format if recorded.planar else torch.channels_last
        size = (self.pictures, n["input"].shape[0], *size)
        return recorded.kernels.convolution(n, recorded.x, size, padding, layout)

    def _in_tiles(self, n: Node, size: tuple[int, int]) -> bool:
        return Kernels.tiles(n, self.recorded.x, size, self.pictures)

    def _remember(self, n: Node, cut: Cut) -> None:
        self.cuts.append(cut)
        self._reads.setdefault(n, []).append(cut)

    def _is_spent(self, i: Node, n: Node) -> bool:
        """Tell whether a node's result may be overwritten by the only one that reads it."""
        return (
            i.kind in FRESH
            and self.graph.consumers[i] == (n,)
            and i not in self.recorded.wanted
            and (i in self._windows if n in self._windows else i in self._whole)
        )

    def _op(self, n: Node) -> Callable[..., Any]:
        assert n.op is not None
        if n.kind == "linear":
            rows = self.pictures * round(self._share(n) * math.prod(n.shape[:-1]))
            return self.recorded.kernels.product(n, self.recorded.x, rows) or n.op
        return IN_PLACE[n.kind] if n.kind in IN_PLACE and self._is_spent(n["input"], n) else n.op

    # -- computing --

    def run(self, batch: Batch, record: tuple[Node, ...]) -> tuple[Tensor, dict[Node, Changed]]:
        """Compute the output (N, K), and the values of recorded nodes, for the pictures of a batch."""
        recorded = self.recorded
        if self.reason is not None:
            cut = self._to_whole(self.graph.input)
            x = recorded.cut(cut, batch.patches, batch).to(recorded.output.dtype)
            if any(is_decided_by_rounding(n) for n in recorded.nodes):
                x = x.contiguous()  # equal values stay equal
            output, values = recorded.runner(x, record)
            return output, {n: Changed(v, recorded.clean(n)) for n, v in values.items()}
        wanted = (self.graph.output, *record)
        if self.pictures == 1 and batch.patches.is_cuda:
            self._repeat(batch, wanted)
        else:
            self._walk(batch)
        found = {n: self._found(n, batch) for n in wanted}
        return found[self.graph.output].whole().to(recorded.output.dtype), {n: found[n] for n in record}

    def _walk(self, batch: Batch) -> None:
        values = batch.values
        values[self.graph.input] = batch.patches
        for n, step, free in self.steps:
            values[n] = step(batch)
            for i in free:
                values.pop(i, None)

    def _repeat(self, batch: Batch, wanted: tuple[Node, ...]) -> None:
        """Walk for one picture on CUDA: what is asked again and again is recorded, and then repeated as a whole.

        A picture takes the device less time than Python takes to tell it what to do.
        """
        captured = self._captured.get(wanted)
        if captured is not None:
            captured.repeat(batch)
            return
        self._walk(batch)
        self._walked[wanted] = self._walked.get(wanted, 0) + 1
        if self._walked[wanted] == _BEFORE_CAPTURE:
            try:
                self._captured[wanted] = CapturedWalk(self._walk, batch, wanted)
            except RuntimeError as e:  # an operation that waits for the device
                logger.info("a walk that cannot be captured, and stays slower: %s", e)

    def _found(self, n: Node, batch: Batch) -> Changed:
        clean = self.recorded.clean(n)
        if n in self._windows:
            windows = self._windows[n]
            rows, columns = windows.rows[batch.tops], windows.columns[batch.lefts]
            return Changed(batch.values[n], clean, self._axes(n), rows, columns)
        value = batch.values[n] if n in self._whole else clean.expand(batch.size, *clean.shape[1:])
        return Changed(value, clean)


def multiply_adds(n: Node, share: float) -> int:
    """Count the multiply-adds of a node for one picture, of a share of its positions."""
    if n.kind in ("conv", "conv_transpose"):
        at = n if n.kind == "conv" else n["input"]
        return round(share * math.prod(at.shape[1:]) * int(n["weight"].numel()))
    if n.kind == "linear":
        return round(share * math.prod(n.shape[:-1]) * int(n["weight"].numel()))
    return 0


def _constants(n: Node) -> list[Tensor]:
    found: list[Tensor] = []
    for v in n.args.values():
        map_values(v, tensor=found.append)
    return found


def _effort(n: Node, share: float) -> float:
    """Return the multiply-adds of a share of a node's positions, or how many numbers they are if that is more."""
    return max(multiply_adds(n, share), share * math.prod(n.shape))
