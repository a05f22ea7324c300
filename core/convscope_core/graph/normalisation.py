"""Normalisations by statistics of the maps themselves: layer norm, group norm, instance norm, RMS norm.

`collapse_normalisations` puts PyTorch's own operation in the place of one that is written out, such as
``(x - x.mean(1, keepdim=True)) / torch.sqrt(x.var(1, keepdim=True, unbiased=False) + eps)`` with or without weights:
what is computed from one map and equals, on numbers of two sizes, the normalisation over the axes along which the
divisor is constant, is that normalisation. What differs from it by as little as the place of eps stays as it is.

`transposed` is the linear operation that a normalisation is once its standard deviation is held constant.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from convscope_core.graph import ops
from convscope_core.graph.gates import STATISTICS, constant_axes, gate_of
from convscope_core.graph.node import Graph, Node, map_values

__all__ = ["NORMALISATIONS", "collapse_normalisations", "gain", "transposed"]

aten = torch.ops.aten

#: Kinds that are normalisations by statistics of their input.
NORMALISATIONS = ("layer_norm", "group_norm", "instance_norm", "aten.rms_norm")

_LARGEST = 24
"""Operations in the longest spelling that is looked at."""


# -- what a normalisation is, once its statistics are held --


def transposed(n: Node, x: Tensor, signal: Tensor) -> Tensor:
    """Apply the transpose of a normalisation whose standard deviation is held constant: it is linear then.

    Parameters
    ----------
    n : Node
        One of `NORMALISATIONS`.
    x : tensor
        The value of its input, (S, *shape).
    signal : tensor
        At its output.
    """
    s = signal * gain(n, x)
    return s - _averaged(n, s) if _is_centred(n) else s


def gain(n: Node, x: Tensor) -> Tensor:
    """Return by what each value of the input is multiplied: its weight over the standard deviation."""
    if n.kind == "instance_norm" and not n["use_input_stats"]:
        factor = _along(torch.rsqrt(n["running_var"] + n["eps"]), x)
    else:
        centred = x - _averaged(n, x) if n.kind != "aten.rms_norm" else x
        eps = torch.finfo(x.dtype).eps if n["eps"] is None else n["eps"]
        factor = torch.rsqrt(_averaged(n, centred**2) + eps)
    weight = n["weight"]
    if weight is None:
        return factor
    return factor * (_along(weight, x) if n.kind in ("group_norm", "instance_norm") else weight)


def _is_centred(n: Node) -> bool:
    return n.kind != "aten.rms_norm" and not (n.kind == "instance_norm" and not n["use_input_stats"])


def _averaged(n: Node, t: Tensor) -> Tensor:
    """Return the average over the values that are normalised together, broadcast to all of them."""
    if n.kind == "group_norm":
        groups = t.reshape(len(t), n["num_groups"], -1).mean(2, keepdim=True)
        wide = groups.repeat_interleave(t.shape[1] // n["num_groups"], 1)
        return wide.reshape(len(t), -1, *[1] * (t.dim() - 2))
    if n.kind == "instance_norm":
        return t.mean(tuple(range(2, t.dim())), keepdim=True)
    return t.mean(tuple(range(-len(n["normalized_shape"]), 0)), keepdim=True)


def _along(channels: Tensor, x: Tensor) -> Tensor:
    return channels.reshape(-1, *[1] * (x.dim() - 2))


# -- written out --


class _Form(NamedTuple):
    """A normalisation of `source` over some axes (without the batch), as it was found in a graph."""

    source: Node
    axes: tuple[int, ...]
    eps: float
    factor: float
    centred: bool


def collapse_normalisations(graph: Graph) -> Graph:
    """Put one normalisation, and where axes have to move two permutations, in the place of each that is written out.

    Weights and biases that follow directly become its own.

    Returns
    -------
    Graph
        Computes the same, up to rounding.
    """
    taken = {n.name for n in graph}
    makers: dict[Node, Callable[[Callable[[Node], Node]], Sequence[Node]]] = {}
    inside: set[Node] = set()
    like = next((t for t in graph.tensors() if t.is_floating_point()), torch.ones(()))
    for n in reversed(graph.nodes):
        if n in inside:
            continue
        found = _form(n)
        if found is None:
            continue
        form, region = found
        inside.update(region)
        end, weight, bias = _affine(graph, n, form)
        if form.factor != 1:
            channels = _kind(form, len(n.shape)) in ("instance_norm", "group_norm")
            ones = like.new_ones(n.shape[:1] if channels else [n.shape[a] for a in form.axes])
            weight = form.factor * (ones if weight is None else weight)
        makers[end] = functools.partial(_made, end, form, weight, bias, taken)
    return graph.substituted(makers) if makers else graph


def _form(n: Node) -> tuple[_Form, list[Node]] | None:
    """Return the normalisation that a product or quotient is, and the operations that it is made of."""
    gate = gate_of(n) if n.kind in ("mul", "div") and n.batched else None
    if gate is None or gate.label != STATISTICS:
        return None
    axes = tuple(sorted(constant_axes(n.inputs[gate.gate], n)))
    map_ = n.inputs[gate.map]
    sources = [map_["input"]] if map_.kind == "sub" else []
    for source in (*sources, map_):
        if not isinstance(source, Node) or source.shape != n.shape or min(n.shape, default=0) < 1:
            continue
        region = _region(source, n)
        if region is not None and (form := _measured(source, region, axes)) is not None:
            return form, region
    return None


def _region(source: Node, end: Node) -> list[Node] | None:
    """Return the operations that make `end` of `source` alone, in order; None where something else goes in."""
    found: dict[Node, None] = {}

    def visit(n: Node) -> bool:
        if n is source or n in found:
            return True
        if not n.inputs or len(found) > _LARGEST or n.kind == "size":
            return False
        if not all(visit(i) for i in n.inputs):
            return False
        found[n] = None
        return True

    return list(found) if visit(end) and len(found) <= _LARGEST else None


def _measured(source: Node, region: Sequence[Node], axes: tuple[int, ...]) -> _Form | None:
    """Compare what is computed with normalisations of numbers of two sizes, of which eps matters to the second."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, *source.shape, generator=generator, dtype=torch.float64) + 0.3
    x[1] *= 1e-2
    y = _computed(source, region, x)
    if y is None or y.shape != x.shape or not bool(y.isfinite().all()):
        return None
    dims = tuple(a + 1 for a in axes)
    count = 1
    for a in axes:
        count *= source.shape[a]
    mean, var = x.mean(dims, keepdim=True), x.var(dims, keepdim=True, correction=0)
    for centred in (True, False):
        base = x - mean if centred else x
        spread = var if centred else (x**2).mean(dims, keepdim=True)
        for eps in _small_numbers(region):
            for factor in (1.0, (count - 1) / count) if count > 1 else (1.0,):
                # (x - mean) / sqrt(var / factor + eps), which is sqrt(factor) times that with eps * factor.
                other = base * factor**0.5 * torch.rsqrt(spread + eps * factor)
                if torch.allclose(y, other, rtol=1e-7, atol=1e-9):
                    return _Form(source, axes, eps * factor, factor**0.5, centred)
    return None


def _small_numbers(region: Sequence[Node]) -> list[float]:
    """Return the numbers that may be an eps."""
    found = [0.0]
    for n in region:
        for v in n.args.values():
            if isinstance(v, Tensor) and v.numel() == 1 and v.is_floating_point():
                v = float(v)
            if isinstance(v, float) and 0 < v < 0.5:
                found.append(v)
    return list(dict.fromkeys(found))


def _computed(source: Node, region: Sequence[Node], x: Tensor) -> Tensor | None:
    values: dict[Node, Any] = {source: x}

    def constant(t: Tensor) -> Tensor:
        t = t.detach().cpu()
        return t.double() if t.is_floating_point() else t

    try:
        with torch.inference_mode(False), torch.no_grad():
            for n in region:
                args = {k: map_values(v, values.__getitem__, constant) for k, v in n.args.items()}
                args = {k: list(v) if isinstance(v, tuple) else v for k, v in args.items()}
                positional = [v for k, v in args.items() if k not in n.keywords]
                assert n.op is not None
                values[n] = n.op(*positional, **{k: v for k, v in args.items() if k in n.keywords})
    except RuntimeError:  # an operation that takes other types or sizes only
        return None
    found: Tensor = values[region[-1]]
    return found


def _affine(graph: Graph, n: Node, form: _Form) -> tuple[Node, Tensor | None, Tensor | None]:
    """Return the last node that belongs to a normalisation, its weight and its bias."""
    end, weight, bias = n, None, None
    for kind in ("scale", "shift"):
        users = graph.consumers[end]
        if end is graph.output or len(users) != 1 or users[0].kind != kind or users[0].shape != n.shape:
            continue
        user = users[0]
        constants = [v for k, v in user.args.items() if isinstance(v, Tensor) and k in ("input", "other")]
        plain = user.op in (aten.mul.Tensor, aten.add.Tensor) and user.args.get("alpha", 1) == 1
        if not plain or len(constants) != 1 or (kind == "shift" and not form.centred):
            continue
        vector = _vector(constants[0], n, form)
        if vector is None:
            continue
        end = user
        weight, bias = (vector, bias) if kind == "scale" else (weight, vector)
    return end, weight, bias


def _vector(t: Tensor, n: Node, form: _Form) -> Tensor | None:
    """Return a constant as a weight of the operation that stands for a normalisation; None where it is none."""
    rank = len(n.shape)
    shape = (1,) * (rank - t.dim()) + tuple(t.shape) if t.dim() <= rank else tuple(t.shape[t.dim() - rank :])
    if t.numel() != _product(shape):
        return None
    t = t.reshape(shape)
    long = {a for a, size in enumerate(shape) if size > 1}
    if _kind(form, rank) in ("instance_norm", "group_norm"):
        return t.expand(n.shape[0], *shape[1:]).reshape(-1).contiguous() if long <= {0} else None
    if not long <= set(form.axes):
        return None
    wide = [n.shape[a] if a in form.axes else 1 for a in range(rank)]
    return t.expand(wide).reshape([n.shape[a] for a in form.axes]).contiguous()


def _product(shape: Sequence[int]) -> int:
    found = 1
    for size in shape:
        found *= size
    return found


def _kind(form: _Form, rank: int) -> str:
    if form.centred and rank > 1:
        if form.axes == tuple(range(1, rank)):
            return "instance_norm"
        if form.axes == tuple(range(rank)):
            return "group_norm"
    return "layer_norm" if form.centred else "aten.rms_norm"


def _made(
    end: Node, form: _Form, weight: Tensor | None, bias: Tensor | None, taken: set[str], new: Callable[[Node], Node]
) -> list[Node]:
    x, rank, shape = new(form.source), len(end.shape), tuple(end.shape[a] for a in form.axes)
    kind = _kind(form, rank)
    args: dict[str, Any] = {"input": x, "weight": weight, "bias": bias, "eps": form.eps}
    if kind == "instance_norm":
        rest = {"running_mean": None, "running_var": None, "use_input_stats": True, "momentum": 0.0}
        args = {**args, **rest, "cudnn_enabled": False}
        return [_node(end, kind, aten.instance_norm.default, args, end.shape, end.name)]
    if kind == "group_norm":
        args = {**args, "num_groups": 1, "cudnn_enabled": False}
        return [_node(end, kind, aten.group_norm.default, args, end.shape, end.name)]
    op = aten.layer_norm.default if form.centred else aten.rms_norm.default
    args["normalized_shape"] = shape
    if form.axes == tuple(range(rank - len(form.axes), rank)):
        return [_node(end, kind, op, args, end.shape, end.name)]
    order = [0, *(a + 1 for a in range(rank) if a not in form.axes), *(a + 1 for a in form.axes)]
    there = tuple(end.shape[d - 1] for d in order[1:])
    first = _node(end, "permute", aten.permute.default, {"input": x, "dims": tuple(order)}, there, _named(end, taken))
    norm = _node(end, kind, op, {**args, "input": first}, there, _named(end, taken))
    back = {"input": norm, "dims": tuple(order.index(d) for d in range(rank + 1))}
    return [first, norm, _node(end, "permute", aten.permute.default, back, end.shape, end.name)]


def _node(end: Node, kind: str, op: Any, args: dict[str, Any], shape: tuple[int, ...], name: str) -> Node:
    names = [a.name if a.name != "self" else "input" for a in op._schema.arguments]
    ordered = {k: args[k] for k in names if k in args}
    return Node(name, kind, op, ordered, shape, end.calls, ops.spec(kind, op, ordered).keywords)


def _named(n: Node, taken: set[str]) -> str:
    k = 1
    while f"{n.name}_{k}" in taken:
        k += 1
    taken.add(f"{n.name}_{k}")
    return f"{n.name}_{k}"
