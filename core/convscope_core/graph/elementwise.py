"""Elementwise functions of one map, however they are spelled, become one node each.

``x * sigmoid(x)``, ``0.5 * x * (1 + erf(x / sqrt(2)))``, ``where(x > 0, x, 0)``, ``x * relu6(x + 3) / 6``: operations
that take each number for itself and read, besides constants, one map. Together they are a function f of one number. No
list of spellings says which: the operations between a map and what is made of it are found in the graph, f is computed
at many numbers, and what it is there decides which node stands for it:

- a function of the vocabulary (a rectifier, a leaky one, SiLU, GELU, hard swish, Mish...), if it equals f everywhere;
- else, where operations are involved that have no place of their own in a network (a product of f's parts, a
  comparison, an exponential), one node of kind ``"activation"`` with the operations inside, if f is one: not linear,
  higher far above zero than far below, growing no faster than its input.

Anything else stays as it is.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from convscope_core.graph import ops
from convscope_core.graph.node import Graph, Node, map_values

__all__ = ["collapse_activations", "composed", "is_pointwise", "pointwise_sources"]

aten = torch.ops.aten

#: Operations that fill the shape of their input with one number.
_FILLED = frozenset(f"aten.{x}" for x in ("zeros_like", "ones_like", "full_like"))

#: Operations that change the type of numbers, such as that of a comparison's result.
_CAST = frozenset({"aten.to", "aten._to_copy", "aten.type_as"})

#: Operations of which PyTorch does not say, in every form, that they are pointwise.
_UNSAID = frozenset(
    {
        "aten.where",
        "aten.masked_fill",
        *(f"aten.special_{x}" for x in ("ndtr", "erf", "erfc", "expit", "log1p", "expm1")),
    }
)

#: Operations that are linear in one map or in two.
_LINEAR = frozenset({"add", "sub", "shift", "scale", "aten.neg", "aten.rsub"})

#: Activations that are another for some of their numbers: a leaky rectifier of slope 0.
_BY_NUMBERS = frozenset({"leaky_relu", "clamp", "hardtanh", "threshold"})

_LARGEST = 24
"""Operations in the longest spelling that is looked at."""


def is_pointwise(node: Node) -> bool:
    """Tell whether an operation takes each number of its inputs for itself, after broadcasting."""
    if node.kind in ops.ELEMENTWISE | _FILLED | _CAST | _UNSAID:
        return True
    return torch.Tag.pointwise in getattr(node.op, "tags", ())


def pointwise_sources(node: Node) -> list[Node]:
    """Return the inputs, each once, of a pointwise operation; of any other operation none."""
    return [i for i in dict.fromkeys(node.inputs) if i.kind != "size"] if is_pointwise(node) else []


def collapse_activations(graph: Graph) -> Graph:
    """Put one node in the place of each activation function that is spelled out.

    Returns
    -------
    Graph
        Computes the same, up to rounding.
    """
    above = _single_sources(graph)
    taken: set[Node] = set()
    makers: dict[Node, Callable[[Callable[[Node], Node]], Sequence[Node]]] = {}
    for end in reversed(graph.nodes):
        if end in taken or len(above.get(end, ())) < 2:
            continue
        found = _recognised(end, above[end][1:])
        if found is not None:
            source, spec, region = found
            makers[end] = functools.partial(_made, end, source, spec)
            taken.update(region)
    return graph.substituted(makers) if makers else graph


def _made(end: Node, source: Node, spec: ops.Spec, new: Callable[[Node], Node]) -> Sequence[Node]:
    args = {k: map_values(v, lambda _: new(source)) for k, v in spec.args.items()}
    return [Node(end.name, spec.kind, spec.op, args, end.shape, end.calls, spec.keywords)]


def _single_sources(graph: Graph) -> dict[Node, tuple[Node, ...]]:
    """Return, for each node, itself and the nodes that it is an elementwise function of, the nearest first."""
    above: dict[Node, tuple[Node, ...]] = {}
    for n in graph:
        if not n.batched or n.kind in ("size", ops.STOP):
            continue  # a function with a stop in it has another gradient than the one it looks like
        above[n] = (n,)
        sources = pointwise_sources(n)
        if not sources or len(sources) != len(set(n.inputs)) or not all(i in above for i in sources):
            continue
        if (
            any(i.shape != n.shape for i in sources)
            or not isinstance(n.op, torch._ops.OpOverload)
            or not _is_uniform(n)
        ):
            continue
        first, *others = (above[i] for i in sources)
        above[n] = (n, *(x for x in first if all(x in o for o in others)))[:_LARGEST]
    return above


def _is_uniform(n: Node) -> bool:
    """Tell whether the constants of an operation are the same at all positions: one number, or one a channel."""
    constants: list[Tensor] = []
    for v in n.args.values():
        map_values(v, tensor=constants.append)
    rank = len(n.shape)
    for t in constants:
        long = [t.dim() - a for a, size in enumerate(t.shape) if size > 1]
        channels = n.kind == "prelu" or long == [rank]
        if t.is_complex() or len(long) > 1 or (long and not channels):
            return False
    return True


def _region(source: Node, end: Node) -> list[Node]:
    """Return the operations that make `end` out of `source`, in an order in which they can be computed."""
    found: dict[Node, None] = {}

    def visit(n: Node) -> None:
        if n is source or n in found:
            return
        for i in n.inputs:
            visit(i)
        found[n] = None

    visit(end)
    return list(found)


def _recognised(end: Node, sources: Sequence[Node]) -> tuple[Node, ops.Spec, list[Node]] | None:
    """Return the node that `end` is an activation of, as what, and the operations in between."""
    for source in reversed(sources):  # the whole spelling before a part of it
        region = _region(source, end)
        if len(region) > _LARGEST or _is_spelled(region):
            continue
        f = _Function(source, end, region)
        spec = f.named()
        if spec is not None and [spec.kind] != [n.kind for n in region]:
            return source, spec, region
    source = sources[0]
    region = _region(source, end)
    if len(region) > _LARGEST or all(n.kind in _LINEAR or n.kind in ops.ACTIVATIONS for n in region):
        return None
    f = _Function(source, end, region)
    return (source, f.spec(), region) if f.is_activation() else None


def _is_spelled(region: Sequence[Node]) -> bool:
    """Tell whether a region consists of the vocabulary's operations already: nothing would be gained."""
    if len(region) == 1 and region[0].kind in _BY_NUMBERS:
        return False
    return all(n.kind in ops.ACTIVATIONS for n in region) or all(n.kind in _LINEAR for n in region)


# -- the function of one number --


class _Function:
    """What the operations between two nodes make of a number; in float64, and for each channel where they differ."""

    def __init__(self, source: Node, end: Node, region: Sequence[Node]) -> None:
        self.source, self.end, self.region = source, end, region
        self.steps, self.constants = _steps(source, region)
        x = _samples(region)
        wide = x.reshape(-1, *[1] * len(source.shape))
        channels = [t for t in self.constants if t.numel() > 1]
        if channels:
            wide = wide.expand(len(x), source.shape[0], *[1] * (len(source.shape) - 1))
        constants = tuple(t.detach().cpu().double() if t.is_floating_point() else t.cpu() for t in self.constants)
        self.x = x[:, None]
        try:
            with torch.inference_mode(False), torch.no_grad():
                y = composed(wide, self.steps, constants)
        except RuntimeError:  # an operation that does not take float64, or maps of one position
            y = x.new_full((len(x), 1), float("nan"))
        self.y = y.cpu().reshape(len(x), -1)  # what makes a tensor makes it where the graph is
        self.known = self.y.is_floating_point() and bool(self.y.isfinite().all())

    def spec(self) -> ops.Spec:
        """The function as one operation with the others inside."""
        return ops.Spec(
            "activation", composed, {"input": self.source, "steps": self.steps, "constants": self.constants}
        )

    def named(self) -> ops.Spec | None:
        """Return the function as an operation of the vocabulary; None if it is none."""
        if not self.known:
            return None
        x, y = self.x, self.y
        one = bool((y == y[:, :1]).all())
        if self._is(x.clamp(min=0), 0.0):
            return ops.Spec("relu", aten.relu.default, {"input": self.source})
        if self._is(x.clamp(0, 6), 0.0):
            bounds = {"min_val": 0.0, "max_val": 6.0}
            return ops.Spec("relu6", aten.hardtanh.default, {"input": self.source, **bounds})
        low, high = (float(y[self.x[:, 0] == v][0, 0]) for v in (-1e4, 1e4))
        # A hard tanh or a clamp keeps its name.
        spelled = len(self.region) == 1 and self.region[0].kind in ops.ACTIVATIONS
        if one and not spelled and low < high < 1e4 and self._is(x.clamp(low, high), 0.0):
            args = {"input": self.source, "min": low if low > -1e4 else None, "max": high}
            return ops.Spec("clamp", aten.clamp.default, args)
        slope = -y[self.x[:, 0] == -1.0][0]
        if bool((slope.abs() < 1).all()) and self._is(torch.where(x < 0, x * slope, x), 0.0):
            if one:
                a = {"negative_slope": float(slope[0])}
                return ops.Spec("leaky_relu", aten.leaky_relu.default, {"input": self.source, **a})
            like = next((t for t in self.constants if t.is_floating_point()), torch.ones(()))
            return ops.Spec("prelu", aten.prelu.default, {"input": self.source, "weight": slope.to(like)})
        if one:
            for kind, target, extra in _NAMED:
                args = ops.bind(target, (self.source,), extra)
                if self._is(target(x, **extra)):
                    return ops.spec(kind, target, args)
        return None

    def is_activation(self) -> bool:
        """Tell whether the function is one: not linear, tending upwards, growing no faster than its input."""
        if not self.known:
            return False
        x, y = self.x, self.y
        low, middle, high = (y[self.x[:, 0] == v][0] for v in (-1e4, 0.0, 1e4))
        chord = middle + x * (high - low) / 2e4
        linear = bool(((y - chord).abs() <= 1e-6 * (1 + x.abs())).all())
        steps = all(len(torch.unique(column)) <= 3 for column in y.T)
        slow = bool((y.abs() <= _STEEPEST * (1 + x.abs())).all())
        return bool((high > low).all()) and slow and not linear and not steps

    def _is(self, other: Tensor, near: float = 3e-6) -> bool:
        """Tell whether another function is this one: to the rounding of float32, or but for that of the sums in it.

        In the second case it is so at zero too: a number that is clamped at 1e-12, to be divided by, is not rectified.
        """
        slack = near * other.abs() + 1e-8 if near else 1e-12 * self.x.abs()
        return bool(((self.y - other).abs() <= slack).all())


_STEEPEST = 4.0
"""What an activation may be, relative to its input, at most."""

#: Smooth functions of the vocabulary: kind, operation, arguments by which they differ.
_NAMED: Sequence[tuple[str, Any, Mapping[str, Any]]] = (
    ("silu", aten.silu.default, {}),
    ("gelu", aten.gelu.default, {}),
    ("gelu", aten.gelu.default, {"approximate": "tanh"}),
    ("mish", aten.mish.default, {}),
    ("hardswish", aten.hardswish.default, {}),
    ("sigmoid", aten.sigmoid.default, {}),
    ("hardsigmoid", aten.hardsigmoid.default, {}),
    ("tanh", aten.tanh.default, {}),
    ("softplus", aten.softplus.default, {}),
    ("elu", aten.elu.default, {}),
    ("selu", aten.selu.default, {}),
    ("log_sigmoid", aten.log_sigmoid.default, {}),
)


def _samples(region: Iterable[Node]) -> Tensor:
    """Numbers at which to look: all around zero, far out, and on both sides of every number that is mentioned."""
    far = torch.logspace(-6, 4, 41, dtype=torch.float64)
    mentioned: list[float] = []
    for n in region:
        for v in n.args.values():
            if isinstance(v, (int, float)) and not isinstance(v, bool) and abs(v) <= 1e4:
                mentioned.append(float(v))
            map_values(v, tensor=lambda t: mentioned.extend(t.flatten().tolist()[:64]) if t.is_floating_point() else 0)
    around = torch.tensor(mentioned, dtype=torch.float64)
    around = torch.cat([around + d for d in (-1e-3, 0.0, 1e-3)])
    ends = torch.tensor([-1e4, -1.0, 0.0, 1.0, 1e4], dtype=torch.float64)
    near = torch.linspace(-12, 12, 241, dtype=torch.float64)
    found: Tensor = torch.unique(torch.cat([near, far, -far, around, -around, ends]))
    return found


# -- several operations as one --


@dataclass(frozen=True)
class _Value:
    """Stands, in the steps of a composed operation, for what step `index` computed; 0 is the input."""

    index: int


@dataclass(frozen=True)
class _Constant:
    """Stands for a constant tensor."""

    index: int


def _steps(source: Node, region: Sequence[Node]) -> tuple[tuple[Any, ...], tuple[Tensor, ...]]:
    """Return the operations of a region as data: by name, with numbers for what goes in."""
    place = {source: 0, **{n: i for i, n in enumerate(region, 1)}}
    constants: dict[int, Tensor] = {}
    order: dict[int, int] = {}

    def kept(t: Tensor) -> _Constant:
        constants[id(t)] = t
        return _Constant(order.setdefault(id(t), len(order)))

    steps = []
    for n in region:
        args = {k: map_values(v, lambda i: _Value(place[i]), kept) for k, v in n.args.items()}
        positional = tuple(v for k, v in args.items() if k not in n.keywords)
        named = tuple((k, v) for k, v in args.items() if k in n.keywords)
        steps.append((str(n.op), positional, named))
    return tuple(steps), tuple(constants.values())


def composed(input: Tensor, steps: tuple[Any, ...], constants: tuple[Tensor, ...] = ()) -> Tensor:
    """Compute several elementwise operations one after the other.

    Parameters
    ----------
    input : Tensor
    steps : tuple of (name, positional arguments, named arguments)
        Operations by name, so that they can be pickled. Arguments may stand for the results of earlier steps and for
        constants.
    constants : tuple of Tensor
    """
    values = [input]

    def filled(v: Any) -> Any:
        if isinstance(v, _Value):
            return values[v.index]
        if isinstance(v, _Constant):
            return constants[v.index]
        return [filled(x) for x in v] if isinstance(v, tuple) else v

    for name, positional, named in steps:
        values.append(_operator(name)(*map(filled, positional), **{k: filled(v) for k, v in named}))
    result: Tensor = values[-1]
    return result if result.shape == input.shape else result.expand(input.shape)


@functools.cache
def _operator(name: str) -> Any:
    namespace, packet, overload = name.split(".")
    return getattr(getattr(getattr(torch.ops, namespace), packet), overload)
