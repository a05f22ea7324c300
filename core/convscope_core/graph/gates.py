"""Which products of two maps are gates: a map, and a factor that says how much of it passes.

Methods with modified rules hold a gate constant, so what counts as one must follow from how it is computed, not from
how it is written. `gate_of` looks at where the two operands come from:

- one is the same along rows and columns (or along channels) on which the other is not: squeeze-and-excite, attention
  over positions; whether PyTorch broadcasts it, or it was expanded, repeated or interpolated from one number;
- one comes out of a squashing function (sigmoid, soft-max) of a branch that the other operand is no part of.

A function of one map (``x * sigmoid(1.702 x)``) is an activation and no gate (see `convscope_core.graph.elementwise`);
any other product has no rule.
"""

from __future__ import annotations

import functools
import math
import weakref
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from convscope_core.graph import ops
from convscope_core.graph.elementwise import is_pointwise, pointwise_sources
from convscope_core.graph.node import Graph, Node

__all__ = ["SQUASHED", "STATISTICS", "Gate", "constant_axes", "gate_of", "spell_products"]

aten = torch.ops.aten


class Gate(NamedTuple):
    """A gate, by the places of its operands among `Node.inputs`.

    Attributes
    ----------
    map, gate : int
    label : str
        What holding it constant stands in for, where no published method says so; empty for one that is learnt and
        broadcast (squeeze-and-excite).
    """

    map: int
    gate: int
    label: str


#: Of factors that are computed from a map without weights, such as 1 / its standard deviation.
STATISTICS = "statistics of a map that scale it, held constant (Ali et al. 2022)"

#: Of a gate as large as the map.
SQUASHED = "a squashed branch as gate of another, held constant"

_SQUASHING = frozenset({"sigmoid", "hardsigmoid", "softmax"})

#: Operations that hand numbers on, maybe several times, or to other places.
_SPREADING = ("aten.expand", "aten.repeat", "aten.tile", "aten.upsample", "aten._upsample", "aten.pixel_shuffle")

_MOVING = frozenset({"permute", "reshape", "flatten", "slice", "shift", "scale", "aten.neg", "aten.rsub"})

_WEIGHTED = (
    "conv", "linear", "batch_norm", "prelu", "layer_norm", "group_norm", "aten.matmul", "aten.mm", "aten.bmm",
    "aten.addmm", "aten.einsum",
)  # fmt: skip


_found: weakref.WeakKeyDictionary[Node, Gate | None] = weakref.WeakKeyDictionary()


def gate_of(node: Node) -> Gate | None:
    """Tell which operand of a product (or of a quotient, the divisor) is a gate; None where none is."""
    if node not in _found:
        _found[node] = _gate(node)
    return _found[node]


def _gate(node: Node) -> Gate | None:
    if node.kind not in ("mul", "div") or len(node.inputs) != 2 or node.inputs[0] is node.inputs[1]:
        return None
    orders = ((0, 1), (1, 0)) if node.kind == "mul" else ((0, 1),)
    constant = [constant_axes(i, node) for i in node.inputs]
    for map_, gate in orders:
        if node.inputs[map_].shape == node.shape and constant[gate] and not constant[map_] & constant[gate]:
            if constant[map_]:
                continue  # two factors along different axes: neither is the map
            return Gate(map_, gate, "" if _is_learnt(node.inputs[gate], node) else STATISTICS)
    for map_, gate in orders if node.kind == "mul" else ():
        if node.inputs[map_].shape != node.inputs[gate].shape:
            continue
        squashed = _squashed(node.inputs[gate])
        if squashed is None or _squashed(node.inputs[map_]) is not None:
            continue
        of_gate = _cone(node.inputs[gate]) | _cone(squashed) | {c for i in squashed.inputs for c in _cone(i)}
        if of_gate.isdisjoint(_cone(node.inputs[map_])):
            return Gate(map_, gate, SQUASHED)
    return None


def constant_axes(i: Node, node: Node) -> frozenset[int]:
    """Return the axes of a node, of those longer than 1, along which an operand of it holds one number."""
    missing = len(node.shape) - len(i.shape)
    found = set(range(missing)) | {a + missing for a in _constant_axes(i, {})}
    return frozenset(a for a in found if node.shape[a] != 1)


def _constant_axes(n: Node, known: dict[Node, frozenset[int]]) -> frozenset[int]:
    """Return the axes along which a node holds one number, whatever the picture; an axis of length 1 is one."""
    if n not in known:
        known[n] = frozenset()  # nodes form no circles; this is for those that are met twice
        single = {a for a, size in enumerate(n.shape) if size == 1}
        sources = [i for i in dict.fromkeys(n.inputs) if i.kind != "size"]
        if n.batched and sources and all(i.batched for i in sources):
            single |= _handed_on(n, sources, known)
        known[n] = frozenset(single)
    return known[n]


def _handed_on(n: Node, sources: list[Node], known: dict[Node, frozenset[int]]) -> set[int]:
    x = sources[0]
    missing = len(n.shape) - len(x.shape)
    if n.kind.startswith(_SPREADING[:3]):
        return set(range(missing)) | {a + missing for a in _constant_axes(x, known)}
    if n.kind.startswith(_SPREADING[3:5]):
        return set(_constant_axes(x, known)) if not missing else set()
    if n.kind == "permute" and n["dims"][0] == 0:
        below = _constant_axes(x, known)
        return {a for a, d in enumerate(n["dims"][1:]) if d - 1 in below}
    if n.kind == "reshape":
        return _regrouped(x.shape, n.shape, _constant_axes(x, known))
    if not is_pointwise(n) or any(isinstance(v, Tensor) and v.numel() > 1 for v in n.args.values()):
        return set()
    found = set(range(len(n.shape)))
    for i in sorted(sources, key=is_pointwise):  # of a residual sum the branch first: that ends it
        if not found:
            break
        missing = len(n.shape) - len(i.shape)
        found &= set(range(missing)) | {a + missing for a in _constant_axes(i, known)}
    return found


def _regrouped(before: tuple[int, ...], after: tuple[int, ...], constant: frozenset[int]) -> set[int]:
    """Return the axes after a reshape along which all is the same: those made of such alone."""
    found: set[int] = set()
    if min((*before, *after), default=0) < 1 or math.prod(before) != math.prod(after):
        return found  # a size that is not known, or positions that became pictures
    i = j = 0
    while i < len(before) and j < len(after):
        first, start = i, j
        p, q = before[i], after[j]
        while p != q:
            if p < q:
                i += 1
                p *= before[i]
            else:
                j += 1
                q *= after[j]
        i, j = i + 1, j + 1
        if all(a in constant or before[a] == 1 for a in range(first, i)):
            found.update(range(start, j))
    return found


def _is_learnt(gate: Node, product: Node) -> bool:
    """Tell whether a weight, or a squashing function, is on the way from whole maps to a gate."""
    known: dict[Node, frozenset[int]] = {}
    stack, seen = [gate], {gate}
    while stack:
        n = stack.pop()
        if n.kind.startswith(_WEIGHTED) or n.kind in ops.ACTIVATIONS - {"clamp", "hardtanh", "threshold"}:
            return True
        if n.kind == "softmax":
            return True
        for i in n.inputs:
            whole = len(i.shape) == len(product.shape) and not _constant_axes(i, known)
            if i not in seen and i.kind != "size" and not whole:
                seen.add(i)
                stack.append(i)
    return False


def _squashed(n: Node) -> Node | None:
    """Return the squashing function that a node's numbers come out of, moved, spread, scaled or shifted since."""
    while True:
        bounds = [n.args.get(k) for k in ("min_val", "max_val", "min", "max")]
        clamped = n.kind in ("clamp", "hardtanh") and sorted(b for b in bounds if b is not None) == [0, 1]
        if n.kind in _SQUASHING or clamped:
            return n
        if n.kind == "mul" and all(_squashed(i) is not None for i in n.inputs):
            return n  # a gate for rows times one for columns
        sources = [i for i in n.inputs if i.kind != "size"]
        if not sources or not (n.kind in _MOVING or n.kind.startswith(_SPREADING)):
            return None
        n = sources[0]


def _cone(n: Node) -> set[Node]:
    """Return a node and all that it is an elementwise function of, alone or with others."""
    found, stack = {n}, [n]
    while stack:
        for i in pointwise_sources(stack.pop()):
            if i.shape == n.shape and i not in found:
                found.add(i)
                stack.append(i)
    return found


# -- products that are written as something else --


def spell_products(graph: Graph) -> Graph:
    """Put plain products (and sums) in the place of einsums that sum over nothing, gated linear units and addcmul."""
    taken = {n.name for n in graph}
    makers: dict[Node, Callable[[Callable[[Node], Node]], Sequence[Node]]] = {}
    for n in graph:
        plan = _einsum(n) if n.kind == "aten.einsum" else None
        if plan is not None:
            makers[n] = functools.partial(_product, n, *plan, taken)
        elif n.kind == "aten.glu" and n.batched and n["input"].batched and n["dim"] % (len(n.shape) + 1):
            makers[n] = functools.partial(_unit, n, taken)
        elif n.kind == "aten.addcmul" and n.batched and (n["value"] == 1 or isinstance(n["input"], Node)):
            makers[n] = functools.partial(_product_and_sum, n, taken)
    return graph.substituted(makers) if makers else graph


def _einsum(n: Node) -> tuple[list[str], str] | None:
    """Return the letters of the operands and of the result, where an einsum is a product of two that sums nothing."""
    terms, _, result = n["equation"].replace(" ", "").partition("->")
    operands = terms.split(",")
    letters = set(result)
    if len(operands) != 2 or not result or not n.batched or len(letters) != len(result):
        return None
    if any(len(set(t)) != len(t) or not set(t) <= letters for t in operands) or set("".join(operands)) != letters:
        return None
    for t, value in zip(operands, n["tensors"], strict=True):
        ok = value.batched and t[:1] == result[0] if isinstance(value, Node) else result[0] not in t
        if not ok or "." in t:
            return None
    return operands, result


def _product(n: Node, operands: list[str], result: str, taken: set[str], new: Callable[[Node], Node]) -> list[Node]:
    made: list[Node] = []
    sides: list[Node | Tensor] = []
    for t, value in zip(operands, n["tensors"], strict=True):
        order = [t.index(x) for x in result if x in t]
        if isinstance(value, Tensor):
            sides.append(value.permute(order).reshape([value.shape[t.index(x)] if x in t else 1 for x in result[1:]]))
            continue
        x = new(value)
        if order != sorted(order):
            args: dict[str, Any] = {"input": x, "dims": tuple(order)}
            shape = tuple(value.shape[d - 1] for d in order[1:])
            x = Node(_named(n, taken), "permute", aten.permute.default, args, shape, n.calls)
            made.append(x)
        wide = tuple(value.shape[t.index(c) - 1] if c in t else 1 for c in result[1:])
        if len(wide) != len(value.shape):
            args = {"input": x, "shape": (-1, *wide)}
            x = Node(_named(n, taken), "reshape", aten.reshape.default, args, wide, n.calls)
            made.append(x)
        sides.append(x)
    kind = "mul" if all(isinstance(s, Node) for s in sides) else "scale"
    if isinstance(sides[0], Tensor):
        sides.reverse()
    product = dict(zip(("input", "other"), sides, strict=True))
    return [*made, Node(n.name, kind, aten.mul.Tensor, product, n.shape, n.calls)]


def _unit(n: Node, taken: set[str], new: Callable[[Node], Node]) -> list[Node]:
    x, dim = new(n["input"]), n["dim"] % (len(n.shape) + 1)
    half = n.shape[dim - 1]
    parts = []
    for start in (0, half):
        args = {"input": x, "dim": dim, "start": start, "end": start + half, "step": 1}
        parts.append(Node(_named(n, taken), "slice", aten.slice.Tensor, args, n.shape, n.calls))
    gate = Node(_named(n, taken), "sigmoid", aten.sigmoid.default, {"input": parts[1]}, n.shape, n.calls)
    args = {"input": parts[0], "other": gate}
    return [*parts, gate, Node(n.name, "mul", aten.mul.Tensor, args, n.shape, n.calls)]


def _product_and_sum(n: Node, taken: set[str], new: Callable[[Node], Node]) -> list[Node]:
    """``input + value * tensor1 * tensor2``, of which constants may be any but all."""
    a, b, c = (new(v) if isinstance(v, Node) else v for v in (n["tensor1"], n["tensor2"], n["input"]))
    made: list[Node] = []
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        product: Node | Tensor = a * b
    else:
        kind = "mul" if isinstance(a, Node) and isinstance(b, Node) else "scale"
        a, b = (b, a) if isinstance(a, Tensor) else (a, b)
        shapes = [tuple(v.shape)[-len(n.shape) :] for v in (a, b)]  # without the batch
        rank = max(map(len, shapes))
        wide = [(1,) * (rank - len(x)) + x for x in shapes]
        shape = tuple(max(sizes) for sizes in zip(*wide, strict=True))
        product = Node(_named(n, taken), kind, aten.mul.Tensor, {"input": a, "other": b}, shape, n.calls)
        made.append(product)
    first, second = (c, product) if isinstance(c, Node) else (product, c)
    kind = "add" if isinstance(second, Node) else "shift"
    args = {"input": first, "other": second, "alpha": n["value"]}
    return [*made, Node(n.name, kind, aten.add.Tensor, args, n.shape, n.calls, frozenset({"alpha"}))]


def _named(n: Node, taken: set[str]) -> str:
    k = 1
    while f"{n.name}_{k}" in taken:
        k += 1
    taken.add(f"{n.name}_{k}")
    return f"{n.name}_{k}"
