"""Which axis of a node's result goes along the picture's rows, which along its columns, and what its positions read.

Nothing is declared: the axes of each node follow from its operation and from the axes of its inputs. Of each operation
it is found out, for one axis of one input, along which axis of the result its positions lie and which of them each
position of the result reads (`Link`):

- by formula, for the kinds that a network consists of (`_FORMULAS`);
- by moving numbers, for operations that only move values (`_MOVES`): every position is given its own number, and
  where the numbers come out is what was read;
- by trying, for anything else: the positions are changed one after the other, and what changes in the result has read
  them. In float64, with several draws.

So an axis is known only if all that a position reads lies in a known range, whatever the operation. Where that is not
so (positions that are merged, transposed onto each other, mixed by attention) a node has no such axis, which means:
each of its values depends on all rows, or on all columns, that its inputs depend on.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from convscope_core.graph.forward import evaluated
from convscope_core.graph.node import Graph, Node, map_values
from convscope_core.graph.ops import ELEMENTWISE, kernel_size

__all__ = ["NOWHERE", "Axes", "Reads", "Structure", "dependent_nodes", "is_elementwise", "is_uniform", "structure"]

Ints: TypeAlias = npt.NDArray[np.int64]

#: The lower end of an empty range: beyond any map.
NOWHERE = 2**40

#: The axes of a node's shape (without the batch) that go along rows and columns of the picture; None: not known.
Axes: TypeAlias = "tuple[int | None, int | None]"


class Reads(NamedTuple):
    """Which positions of an input each position of a node reads, along the picture's rows or along its columns.

    Attributes
    ----------
    low, high : int array (count,)
        The first and the last position; they may leave the input's map (padding). Empty where high < low.
    step : int or None
        By which both move from position to position; None where they do not move steadily.
    whole : bool
        Whether each position reads all that there is, such as global pooling and attention do.
    same : bool
        Whether each position reads the same position of the input, of as many.
    """

    low: Ints
    high: Ints
    step: int | None
    whole: bool = False
    same: bool = False

    def hull(self, first: int, last: int) -> tuple[int, int]:
        """Return the range that positions from `first` to `last` read; positions outside the map too."""
        if self.step is not None:
            ends = self.step * first, self.step * last
            return int(self.low[0]) + min(ends), int(self.high[0]) + max(ends)
        count = len(self.low)
        here = slice(min(max(first, 0), count - 1), min(max(last, 0), count - 1) + 1)
        return int(self.low[here].min()), int(self.high[here].max())


class Link(NamedTuple):
    """What becomes of one axis of an input.

    Attributes
    ----------
    axis : int or None
        The axis of the result along which its positions lie; None where each value of the result reads the same.
    reads : Reads
        By position along that axis; for None, of one position.
    """

    axis: int | None
    reads: Reads


class Structure(NamedTuple):
    """The axes of all nodes of a graph, and what their positions read; by names, so that it keeps no weights.

    Attributes
    ----------
    axes : mapping of str to (int or None, int or None)
        Of rows and columns, by node.
    reads : mapping of str to mapping of str to (Reads, Reads)
        By node, and by those of its inputs that depend on the picture: along rows, along columns.
    statistics : frozenset of str
        Nodes that are local but for numbers computed from a whole map: normalisations.
    """

    axes: Mapping[str, Axes]
    reads: Mapping[str, Mapping[str, tuple[Reads, Reads]]]
    statistics: frozenset[str]


_structures: weakref.WeakKeyDictionary[Graph, Structure] = weakref.WeakKeyDictionary()


def structure(graph: Graph) -> Structure:
    """Return the structure of a graph; found once."""
    found = _structures.get(graph)
    if found is None:
        found = _structures[graph] = _Derivation(graph).run()
    return found


def dependent_nodes(graph: Graph) -> set[Node]:
    """Return the nodes whose values depend on the picture, of which its size is no part. The input is not among them.

    A size counts as dependent where it is that of a value that does: there may be more values than pictures.
    """
    found: set[Node] = {graph.input}
    for n in graph.nodes[1:]:
        if found.isdisjoint(n.inputs) or (n.kind == "size" and found & set(n.inputs) <= {graph.input}):
            continue
        found.add(n)
    found.discard(graph.input)
    return found


def is_elementwise(n: Node) -> bool:
    """Tell whether the operation treats every number for itself, after broadcasting."""
    return n.kind in ELEMENTWISE or (n.op is not None and torch.Tag.pointwise in getattr(n.op, "tags", ()))


def is_uniform(n: Node) -> bool:
    """Tell whether the operation, applied to a part of the rows and columns, gives that part of its result.

    Given that it reads the same rows and columns that it writes (`Reads.same`).
    """
    return n.kind in _UNIFORM or is_elementwise(n)


#: Kinds that have no argument, and no weight, that depends on the size of an axis which they leave alone.
_UNIFORM = frozenset(
    {
        "linear", "layer_norm", "local_response_norm", "permute", "reshape", "cat", "slice", "select", "mean",
        "softmax", "log_softmax", "aten.channel_shuffle", "aten.native_channel_shuffle", "aten.stack", "aten.sum",
        "aten.amax", "aten.amin",
    }
)  # fmt: skip


class _Derivation:
    """Finds the structure of one graph."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.dependent = dependent_nodes(graph)
        self.axes: dict[Node, Axes] = {}
        self.known: dict[tuple[Any, ...], Link] = {}
        self.surroundings: dict[int, dict[Node, Any]] = {}

    def run(self) -> Structure:
        reads: dict[str, dict[str, tuple[Reads, Reads]]] = {}
        statistics = set()
        for n in self.graph:
            if n is self.graph.input:
                self.axes[n] = (len(n.shape) - 2, len(n.shape) - 1) if len(n.shape) >= 2 else (None, None)
                reads[n.name] = {}
                continue
            sources = [i for i in dict.fromkeys(n.inputs) if i in self.dependent or i is self.graph.input]
            along = [self._along(n, sources, k) for k in (0, 1)]
            if along[0][0] is not None and along[0][0] == along[1][0]:
                # One axis for both, as in a sequence of tokens, is neither.
                along = [(None, {i: _collapsed(r) for i, r in found.items()}) for _, found in along]
            (rows, by_row), (columns, by_column) = along
            self.axes[n] = (rows, columns)
            reads[n.name] = {i.name: (by_row[i], by_column[i]) for i in sources}
            if self._has_statistics(n, sources):
                statistics.add(n.name)
        return Structure({n.name: a for n, a in self.axes.items()}, reads, frozenset(statistics))

    def _along(self, n: Node, sources: list[Node], k: int) -> tuple[int | None, dict[Node, Reads]]:
        """Return the axis of a node along rows (0) or columns (1), and what its positions read of each source."""
        links = {i: self.link(n, i, a) for i in sources if (a := self.axes[i][k]) is not None}
        axes = {link.axis for link in links.values()} - {None}
        if len(axes) != 1:
            found = {i: _collapsed(link.reads) if link.axis is not None else link.reads for i, link in links.items()}
            return None, found | {i: _one() for i in sources if i not in links}
        axis = axes.pop()
        assert axis is not None
        count = n.shape[axis]
        found = {i: link.reads if link.axis == axis else _spread_over(link.reads, count) for i, link in links.items()}
        return axis, found | {i: _spread_over(_one(), count) for i in sources if i not in links}

    def _has_statistics(self, n: Node, sources: list[Node]) -> bool:
        if n.kind in ("group_norm", "instance_norm"):
            return True
        if n.kind != "layer_norm":
            return False
        first = len(n.shape) - len(n["normalized_shape"])
        return any(a is not None and a >= first for i in sources for a in self.axes[i])

    def link(self, n: Node, i: Node, a: int) -> Link:
        """Return what becomes of an axis of an input."""
        if not (n.batched and i.batched and min((*n.shape, *i.shape), default=0) > 0):
            return _lost(max(i.shape[a], 1))
        key = self._key(n, i, a)
        if key not in self.known:
            self.known[key] = self._found(n, i, a)
        return self.known[key]

    def _found(self, n: Node, i: Node, a: int) -> Link:
        found = None
        if n.kind in _FORMULAS:
            found = _FORMULAS[n.kind](n, i, a)
        elif is_elementwise(n):
            found = _broadcast(n, i, a)
        if found is None:
            found = self._moved(n, i, a) if n.kind in _MOVES else self._tried(n, i, a)
        assert len(found.reads.low) == (1 if found.axis is None else n.shape[found.axis])
        return found

    def _key(self, n: Node, i: Node, a: int) -> tuple[Any, ...]:
        """Return all that a link depends on; weights by what they are."""
        place = {j: (p, j.shape, j.batched, j in self.dependent) for p, j in enumerate(dict.fromkeys(n.inputs))}

        def plain(v: Any) -> Any:
            if isinstance(v, Node):
                # What a constant or a size holds counts too.
                return (*place[v], None if v in self.dependent or v is self.graph.input else id(v))
            if isinstance(v, Tensor):
                return "tensor", (tuple(v.shape) if n.kind in _FORMULAS or is_elementwise(n) else id(v))
            return tuple(map(plain, v)) if isinstance(v, tuple) else (type(v).__name__, v)

        return n.kind, str(n.op), n.shape, a, place[i][0], tuple((k, plain(v)) for k, v in n.args.items())

    # -- by moving numbers, and by trying --

    def _moved(self, n: Node, i: Node, a: int) -> Link:
        """Give every position along the axis its own number; other inputs hold zero."""
        shape = [1] * (len(i.shape) + 1)
        shape[a + 1] = i.shape[a]
        numbers = torch.arange(1, i.shape[a] + 1, dtype=torch.float32).view(shape).expand(1, *i.shape).contiguous()
        held = {j: numbers if j is i else torch.zeros(1, *j.shape) for j in self._sources(n)}
        out = self._result(n, held, 1, zeros=True)
        if out is None:
            return _lost(i.shape[a])
        at = out[0].round().long() - 1
        return _tightest(torch.where(at >= 0, at, i.shape[a]), at, i.shape[a])

    def _tried(self, n: Node, i: Node, a: int) -> Link:
        """Change the positions along the axis one after the other, and see what changes in the result."""
        size = i.shape[a]
        numel = math.prod(i.shape) + math.prod(n.shape)
        several = sum(1 for j in self._sources(n)) > 1
        if several and n.kind not in _LINEAR_IN_EACH:
            return _lost(size)  # one input may say where the other is read
        if numel * size > _MOST_WORK:
            return _lost(size)
        low = torch.full(n.shape, size)
        high = torch.full(n.shape, -1)
        generator = torch.Generator().manual_seed(0)
        at_once = max(1, _AT_ONCE // numel)
        for draw in _DRAWS:
            before = {j: draw[0](1, *j.shape, generator) for j in self._sources(n)}
            for first in range(0, size, at_once):
                positions = range(first, min(first + at_once, size))
                held = {j: t.expand(len(positions) + 1, *j.shape) for j, t in before.items()}
                changed = held[i].clone()
                for at, p in enumerate(positions):
                    part = changed[at + 1].select(a, p)
                    part.copy_(draw[1](1, *part.shape, generator)[0])
                out = self._result(n, held | {i: changed}, len(positions) + 1)
                if out is None:
                    return _lost(size)
                reading = _differs(out[1:], out[:1])
                for p, read in zip(positions, reading, strict=True):
                    low[read] = low[read].clamp(max=p)
                    high[read] = high[read].clamp(min=p)
        return _tightest(low, high, size)

    def _sources(self, n: Node) -> list[Node]:
        return [j for j in dict.fromkeys(n.inputs) if j in self.dependent or j is self.graph.input]

    def _result(self, n: Node, held: Mapping[Node, Tensor], count: int, *, zeros: bool = False) -> Tensor | None:
        """Evaluate an operation on given inputs and in their type; None where it does not take them."""
        dtype = next(iter(held.values())).dtype

        def formed(t: Tensor) -> Tensor:
            t = t.detach().cpu()
            if not t.is_floating_point():
                return t
            return torch.zeros_like(t, dtype=dtype) if zeros else t.to(dtype)

        def value(j: Node) -> Any:
            if j in held:
                return held[j]
            v = self._surroundings(count)[j]
            return formed(v) if isinstance(v, Tensor) else v

        args = {k: map_values(v, tensor=formed) for k, v in n.args.items()}
        try:
            with torch.inference_mode():
                out = evaluated(n, value, None, args)
        except Exception:  # whatever an operation refuses numbers with: then nothing is known of it
            return None
        fits = isinstance(out, Tensor) and tuple(out.shape) == (count, *n.shape)
        return out if fits else None

    def _surroundings(self, count: int) -> Mapping[Node, Any]:
        """Return the values of nodes that do not depend on the picture, for so many pictures."""
        if count not in self.surroundings:
            self.surroundings = {count: surroundings(self.graph, self.dependent, count)}
        return self.surroundings[count]


def surroundings(graph: Graph, dependent: set[Node], count: int) -> dict[Node, Any]:
    """Return the values of nodes that do not depend on the picture (sizes, constants spread by the batch).

    Parameters
    ----------
    graph : Graph
    dependent : set of Node
        As `dependent_nodes` returns them.
    count : int
        Number of pictures.
    """
    pictures = torch.zeros(1).expand(count, *graph.input.shape)
    found: dict[Node, Any] = {graph.input: pictures}
    with torch.inference_mode():
        for n in graph.nodes[1:]:
            if n not in dependent:
                found[n] = evaluated(n, found.__getitem__)
    del found[graph.input]
    return found


#: Numbers that trying may compute for one axis of one input; beyond that, nothing is known of it.
_MOST_WORK = 2**28

#: Numbers in one evaluation while trying.
_AT_ONCE = 2**23

_Draw: TypeAlias = Callable[..., Tensor]


def _normal(*shape: Any) -> Tensor:
    return torch.randn(shape[:-1], generator=shape[-1], dtype=torch.float64)


def _positive(*shape: Any) -> Tensor:
    return torch.rand(shape[:-1], generator=shape[-1], dtype=torch.float64) + 0.5


#: What inputs hold, and what is put into a position: both signs, large and small; the second for roots and logarithms.
_DRAWS: tuple[tuple[_Draw, _Draw], ...] = (
    (_normal, lambda *s: 30 + _normal(*s)),
    (_positive, lambda *s: 3 + _positive(*s)),
    (_normal, lambda *s: -30 + _normal(*s)),
)

#: Kinds of several inputs in which what is read of one does not depend on the values of another.
_LINEAR_IN_EACH = frozenset(
    {"aten.einsum", "aten.matmul", "aten.bmm", "aten.mm", "aten.baddbmm", "aten.stack", "aten.slice_scatter"}
    | {
        "aten.select_scatter",
        "aten.expand_as",
        "aten.hstack",
        "aten.vstack",
        "aten.dstack",
        "aten.column_stack",
        "aten.lerp",
    }
)

#: Kinds that move values without changing them. What is filled in (padding) is constant.
_MOVES = frozenset(
    {
        "reshape", "flatten", "pad", "permute", "slice", "select", "aten.repeat", "aten.tile", "aten.rot90",
        "aten.flip", "aten.roll", "aten.expand", "aten.expand_as", "aten.pixel_shuffle", "aten.pixel_unshuffle",
        "aten.movedim", "aten.channel_shuffle", "aten.native_channel_shuffle", "aten.im2col", "aten.unfold",
        "aten.stack", "aten.slice_scatter", "aten.select_scatter", "aten.repeat_interleave", "aten.t", "aten.diagonal",
        "aten.upsample_nearest2d", "aten._upsample_nearest_exact2d", "aten.upsample_nearest1d", "aten.moveaxis",
    }
)  # fmt: skip


def _differs(a: Tensor, b: Tensor) -> Tensor:
    """Tell which numbers differ by more than rounding; NaN and infinity count as numbers."""
    if a.dtype == torch.bool or not (a.is_floating_point() or a.is_complex()):
        return a != b
    if a.is_complex():
        return _differs(a.real, b.real) | _differs(a.imag, b.imag)
    finite = b[b.isfinite()]
    scale = float(finite.abs().max()) if finite.numel() else 1.0
    near = (a - b).abs() <= 1e-11 * max(scale, 1e-30)
    return ~(near | (a == b) | (a.isnan() & b.isnan()))


def _tightest(low: Tensor, high: Tensor, size: int) -> Link:
    """Return the link along the axis of a result that tells most about what its values read.

    Parameters
    ----------
    low, high : int tensor
        The first and the last position that each value reads: `size` and -1 for none.
    size : int
        Positions of the input.
    """
    best = None
    overall = Reads(*_ends(low.amin()[None], high.amax()[None]), 0)
    if bool(overall.high[0] < overall.low[0]):
        return Link(None, overall)
    extent = float(overall.high[0] - overall.low[0] + 1)
    for axis in range(low.dim()):
        others = tuple(d for d in range(low.dim()) if d != axis)
        first, last = (low.amin(others), high.amax(others)) if others else (low, high)
        mean = float((last - first + 1).clamp(min=0).double().mean())
        if low.shape[axis] > 1 and mean < extent:
            extent, best = mean, (axis, first, last)
    if best is None:
        whole = size > 1 and overall.low[0] == 0 and overall.high[0] == size - 1
        return Link(None, overall._replace(whole=bool(whole)))
    axis, first, last = best
    ends = _ends(first, last)
    steps = {int(v) for end in ends for v in np.diff(end)}
    return Link(axis, Reads(*ends, steps.pop() if len(steps) == 1 else None))


def _ends(low: Tensor, high: Tensor) -> tuple[Ints, Ints]:
    empty = high < low
    return low.masked_fill(empty, NOWHERE).numpy().copy(), high.masked_fill(empty, -NOWHERE).numpy().copy()


def _one() -> Reads:
    """Return that the only position is read."""
    return Reads(np.zeros(1, np.int64), np.zeros(1, np.int64), 0)


def _collapsed(reads: Reads) -> Reads:
    """Return what is read where positions are no longer told apart."""
    return Reads(reads.low.min()[None], reads.high.max()[None], 0, True)


def _spread_over(reads: Reads, count: int) -> Reads:
    """Return that each of so many positions reads the same."""
    return Reads(reads.low.repeat(count), reads.high.repeat(count), 0, reads.whole)


# -- by formula --


def _same(axis: int, size: int) -> Link:
    at = np.arange(size)
    return Link(axis, Reads(at, at, 1, same=True))


def _everything(axis: int, count: int, size: int) -> Link:
    """Each of `count` positions reads all `size`."""
    return Link(axis, Reads(np.zeros(count, np.int64), np.full(count, size - 1), 0, True))


def _lost(size: int) -> Link:
    return Link(None, Reads(np.zeros(1, np.int64), np.full(1, size - 1), 0, True))


def _broadcast(n: Node, i: Node, a: int) -> Link:
    if len(i.shape) != len(n.shape):
        return _lost(i.shape[a])  # its batch would meet another axis
    if i.shape[a] == n.shape[a]:
        return _same(a, n.shape[a])
    return Link(a, _spread_over(_one(), n.shape[a]))


def _conv(n: Node, i: Node, a: int) -> Link | None:
    kernel = kernel_size(n)
    k = a - (len(i.shape) - len(kernel))
    if i is not n["input"] or len(i.shape) != len(kernel) + 1 or k < 0:
        return _lost(i.shape[a])
    at, stride, padding = np.arange(n.shape[a]), n["stride"][k], n["padding"][k]
    reach = n["dilation"][k] * (kernel[k] - 1)
    if n.kind.startswith("conv_transpose"):
        low, high = -((at + padding - reach) // -stride), (at + padding) // stride
        return Link(a, Reads(low, high, 1 if stride == 1 else None))
    low = at * stride - padding
    return Link(a, Reads(low, low + reach, stride))


def _pool(n: Node, i: Node, a: int) -> Link | None:
    k = a - (len(i.shape) - 2)
    if k < 0:
        return _same(a, n.shape[a])
    at = np.arange(n.shape[a])
    dilation = n["dilation"][k] if "dilation" in n.args else 1
    low = at * n["stride"][k] - n["padding"][k]
    return Link(a, Reads(low, low + dilation * (n["kernel_size"][k] - 1), n["stride"][k]))


def _adaptive(n: Node, i: Node, a: int) -> Link | None:
    k = a - (len(i.shape) - 2)
    if k < 0:
        return _same(a, n.shape[a])
    size, out = i.shape[a], n.shape[a]
    if out == 1:
        return _everything(a, 1, size)
    at = np.arange(out)
    low, high = at * size // out, -((at + 1) * size // -out) - 1
    return Link(a, Reads(low, high, None if size % out else size // out))


def _bilinear(n: Node, i: Node, a: int) -> Link | None:
    k = a - (len(i.shape) - 2)
    if k < 0:
        return _same(a, n.shape[a])
    size, positions = i.shape[a], np.arange(n.shape[a])
    factors = n.args.get("scale_factors") or (n.args.get("scales_h"), n.args.get("scales_w"))
    if n["align_corners"]:
        at = positions * ((size - 1) / max(n.shape[a] - 1, 1))
        low, high = np.floor(at - 1e-4), np.ceil(at + 1e-4)  # the operation rounds to float32
    else:
        factor = factors[k]
        at = (positions + 0.5) * (size / n.shape[a] if factor is None else 1 / factor) - 0.5
        low, high = np.floor(at - 1e-4), np.floor(at + 1e-4) + 1
    return Link(a, Reads(low.clip(0, size - 1).astype(np.int64), high.clip(0, size - 1).astype(np.int64), None))


def _pad(n: Node, i: Node, a: int) -> Link | None:
    if n["mode"] != "constant":
        return None
    at = 2 * (len(i.shape) - 1 - a)
    before = n["pad"][at] if at < len(n["pad"]) else 0
    low = np.arange(n.shape[a]) - before
    return Link(a, Reads(low, low, 1))


def _slice(n: Node, i: Node, a: int) -> Link | None:
    if a != n["dim"] - 1 or n.shape[a] == i.shape[a]:
        return _same(a, n.shape[a])
    low = n["start"] + np.arange(n.shape[a]) * n["step"]
    return Link(a, Reads(low, low, n["step"]))


def _select(n: Node, i: Node, a: int) -> Link | None:
    d = n["dim"] - 1
    if a == d:
        low = np.array([n["index"]])
        return Link(None, Reads(low, low, 0))
    return _same(a - (a > d), i.shape[a])


def _permute(n: Node, i: Node, a: int) -> Link | None:
    dims = n["dims"]
    return _same(dims.index(a + 1) - 1, i.shape[a]) if dims[0] == 0 else _lost(i.shape[a])


def _reshape(n: Node, i: Node, a: int) -> Link | None:
    """An axis that stays whole: as many values before it and as long as before."""
    before = math.prod(i.shape[:a])
    size = i.shape[a]
    there = [b for b in range(len(n.shape)) if n.shape[b] == size and math.prod(n.shape[:b]) == before]
    if not there:
        return Link(None, _one()) if size == 1 else None
    # Axes of length 1 side by side keep their order.
    among = sum(1 for d in range(a) if i.shape[d] == 1 and math.prod(i.shape[:d]) == before) if size == 1 else 0
    return _same(there[min(among, len(there) - 1)], size)


def _cat(n: Node, i: Node, a: int) -> Link | None:
    parts, d = n["tensors"], n["dim"] - 1
    if any(isinstance(p, Node) and not (p.batched and len(p.shape) == len(n.shape)) for p in parts) or d < 0:
        return _lost(i.shape[a])
    if a != d:
        return _same(a, n.shape[a])
    low, high, offset = np.full(n.shape[a], NOWHERE), np.full(n.shape[a], -NOWHERE), 0
    for p in parts:
        length = p.shape[d] if isinstance(p, Node) else p.shape[d + 1]
        if p is i:
            low[offset : offset + length] = high[offset : offset + length] = np.arange(length)
        offset += length
    return Link(a, Reads(low, high, None))


def _stack(n: Node, i: Node, a: int) -> Link | None:
    d = n["dim"] % (len(n.shape) + 1) - 1
    return _same(a + (a >= d), i.shape[a]) if d >= 0 else _lost(i.shape[a])


def _reduction(n: Node, i: Node, a: int) -> Link | None:
    dims = n.args.get("dim")
    rank = len(i.shape) + 1
    if dims is None or dims == () or any(d % rank == 0 for d in (dims if isinstance(dims, tuple) else (dims,))):
        return _lost(i.shape[a])
    gone = sorted(d % rank - 1 for d in (dims if isinstance(dims, tuple) else (dims,)))
    if a in gone:
        return _everything(a, 1, i.shape[a]) if n["keepdim"] else _lost(i.shape[a])
    return _same(a if n["keepdim"] else a - sum(1 for d in gone if d < a), i.shape[a])


def _softmax(n: Node, i: Node, a: int) -> Link | None:
    return _everything(a, i.shape[a], i.shape[a]) if a == n["dim"] - 1 else _same(a, i.shape[a])


def _linear(n: Node, i: Node, a: int) -> Link | None:
    alone = i is n["input"] and a < len(i.shape) - 1
    return _same(a, i.shape[a]) if alone else _lost(i.shape[a])


def _norm(n: Node, i: Node, a: int) -> Link | None:
    return _same(a, i.shape[a]) if i is n["input"] else _lost(i.shape[a])


def _response_norm(n: Node, i: Node, a: int) -> Link | None:
    del n
    return _same(a, i.shape[a]) if a else _lost(i.shape[a])


def _shuffle(n: Node, i: Node, a: int) -> Link | None:
    del n
    return _same(a, i.shape[a]) if a else None


def _repeated(n: Node, i: Node, a: int) -> Link | None:
    return _broadcast(n, i, a) if len(i.shape) == len(n.shape) else None


_FORMULAS: dict[str, Callable[[Node, Node, int], Link | None]] = {
    "conv": _conv,
    "conv1d": _conv,
    "conv3d": _conv,
    "conv_transpose": _conv,
    "conv_transpose1d": _conv,
    "conv_transpose3d": _conv,
    "max_pool": _pool,
    "avg_pool": _pool,
    "adaptive_avg_pool": _adaptive,
    "adaptive_max_pool": _adaptive,
    "aten.upsample_bilinear2d": _bilinear,
    "pad": _pad,
    "slice": _slice,
    "select": _select,
    "permute": _permute,
    "reshape": _reshape,
    "flatten": _reshape,
    "cat": _cat,
    "aten.stack": _stack,
    "mean": _reduction,
    "aten.sum": _reduction,
    "aten.amax": _reduction,
    "aten.amin": _reduction,
    "softmax": _softmax,
    "log_softmax": _softmax,
    "linear": _linear,
    "group_norm": _norm,
    "instance_norm": _norm,
    "layer_norm": _norm,
    "local_response_norm": _response_norm,
    "aten.channel_shuffle": _shuffle,
    "aten.native_channel_shuffle": _shuffle,
    "aten.expand": _repeated,
}
