"""The forward walk: evaluate a graph on a batch, keeping only what was asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import torch

from convscope_core.graph import packed
from convscope_core.graph.node import Graph, Node, map_values, needed_for, nodes_in
from convscope_core.graph.ops import is_decided_by_rounding

__all__ = ["ANY_LAYOUT", "FRESH", "IN_PLACE", "Runner", "Visit", "evaluated"]

FRESH = frozenset(
    {"conv", "linear", "batch_norm", "add", "sub", "mul", "cat", "max_pool", "avg_pool", "scale", "shift"}
)
"""Kinds whose result is new memory that nothing else refers to."""

ANY_LAYOUT = (FRESH - {"avg_pool"}) | {
    "relu", "relu6", "silu", "gelu", "hardswish", "mish", "leaky_relu", "sigmoid", "linear", "flatten", "reshape",
    "permute", "slice", "pad", "mean", "adaptive_avg_pool", "adaptive_max_pool", "softmax", "layer_norm",
}  # fmt: skip
"""Kinds whose derivative is right whatever layout in memory the values and the signal have; tests compare each.

PyTorch's own is not for every operation: that of `instance_norm` is wrong for one picture and a channels-last signal,
that of `avg_pool` for a channels-last one on CUDA.
"""

Visit: TypeAlias = Callable[[Node, torch.Tensor, Sequence[torch.Tensor]], None]
"""Gets a node, its value and the values of `Node.inputs`."""


def evaluated(
    n: Node,
    value: Callable[[Node], Any],
    op: Callable[..., Any] | None = None,
    args: Mapping[str, Any] | None = None,
) -> Any:
    """Evaluate one node alone.

    Parameters
    ----------
    n : Node
    value : callable
        From a node among the arguments to its value.
    op : callable, optional
        In place of the node's own.
    args : mapping of str to value, optional
        In place of the node's own.
    """
    op = op or n.op
    assert op is not None
    found = {k: map_values(v, value) for k, v in (args or n.args).items()}
    positional = [v for k, v in found.items() if k not in n.keywords]
    return op(*positional, **{k: v for k, v in found.items() if k in n.keywords})


class Runner:
    """A graph, ready to be evaluated.

    Safe to use from several threads at once: a call keeps its values to itself. Intermediate results are
    freed after their last use. A rectifier whose input nobody else needs is computed in the memory of its
    input, as an in-place module would, and a sum that is not shown in that of one of its terms; what is recorded is
    never overwritten.

    What is shown and not kept is computed with packed kernels on a processor, unless gradients are enabled: they take
    once as much memory as the kernels.

    Parameters
    ----------
    graph : Graph
        The graph.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._plans: dict[tuple[tuple[Node, ...], bool], _Plan] = {}
        self._visits: dict[tuple[tuple[Node, ...], bool], _Plan] = {}
        self._kernels: dict[Node, torch.Tensor] = {}
        # Layouts other than PyTorch's plain one would make equal values unequal.
        self._packs = not any(is_decided_by_rounding(n) for n in graph)

    def __call__(
        self, x: torch.Tensor, record: Iterable[Node] = (), *, output: bool = True
    ) -> tuple[torch.Tensor, dict[Node, torch.Tensor]]:
        """Evaluate the graph.

        Parameters
        ----------
        x : tensor
            The input batch (N, C, H, W).
        record : iterable of Node
            Nodes whose values to return.
        output : bool, default True
            Whether the output is wanted. If not, the walk stops after the last recorded node, and an empty
            tensor is returned in place of the output.

        Returns
        -------
        output : tensor
        values : dict of Node to tensor
        """
        nodes = tuple(dict.fromkeys(record))
        key = (nodes, output)
        plan = self._plans.get(key)
        if plan is None:
            plan = self._plans[key] = _Plan(self.graph, nodes, output)
        return plan.run(x)

    def visit(self, x: torch.Tensor, nodes: Iterable[Node], visit: Visit) -> None:
        """Evaluate the graph as far as some nodes need it, and show each as soon as it is computed.

        While its value is in the cache, and without keeping it: the memory of a layer is free before that of the
        next but one is needed.

        Parameters
        ----------
        x : tensor
            The input batch (N, C, H, W).
        nodes : iterable of Node
            Nodes to show, not the input.
        visit : callable
            Gets the node, its value, and the values of its inputs, which all may be overwritten when the call has
            ended; of rectifiers, the input may be already.
        """
        asked = tuple(dict.fromkeys(nodes))
        packs = self._packs and packed.of_use(x) and not (torch.is_grad_enabled() or torch.is_autocast_enabled("cpu"))
        plan = self._visits.get((asked, packs))
        if plan is None:
            plan = _Plan(self.graph, (), False, asked, self._kernels if packs else None)
            self._visits[asked, packs] = plan
        plan.run(x, visit)


class _Plan:
    """The steps for one set of nodes: operation, slots to read, slot to write, slots to free.

    What is recorded is kept to the end; what is visited is only sure to be whole when its own step is done.
    Convolutions take packed kernels where there is something to keep them in.
    """

    def __init__(
        self,
        graph: Graph,
        record: tuple[Node, ...],
        output: bool,
        visited: tuple[Node, ...] = (),
        kernels: dict[Node, torch.Tensor] | None = None,
    ) -> None:
        wanted = (*record, graph.output) if output else record
        needed = needed_for((*wanted, *visited))
        order = [n for n in graph.nodes if n in needed and n.kind != "input"]
        slot = {graph.input: 0, **{n: i + 1 for i, n in enumerate(order)}}
        last: dict[Node, Node] = {}
        uses = Counter(i for n in order for i in n.inputs)
        for n in order:
            for i in n.inputs:
                last[i] = n
        self.size = len(slot)
        self.output = slot[graph.output] if output else None
        self.record = [(n, slot[n]) for n in record]
        kept = set(wanted)
        self.visited = {slot[n]: (n, tuple(slot[i] for i in n.inputs)) for n in visited}
        self.steps: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any], int, tuple[int, ...]]] = []
        self.guarded = {slot[n] for n in order if n.kind not in ANY_LAYOUT}
        for n in order:
            assert n.op is not None
            free = tuple(slot[i] for i in dict.fromkeys(n.inputs) if last[i] is n and i not in kept)
            if n not in last and n not in kept:  # only visited
                free = (*free, slot[n])
            op = n.op
            if kernels is not None and _packable(n):
                self.steps.append((_convolution(n, kernels), (_Slot(slot[n["input"]]),), {}, slot[n], free))
                continue
            mine = [
                isinstance(x, Node) and x.kind in FRESH and x not in kept and last[x] is n and uses[x] == 1
                for x in (n.args.get("input"), n.args.get("other"))
            ]
            if n.kind in IN_PLACE:
                falling = n.args.get("negative_slope", 0) < 0  # of which the sign does not tell the input's
                if mine[0] and not falling:
                    op = IN_PLACE[n.kind]
            elif n.kind == "add" and n in visited:
                pass  # it is shown with its terms, which are what a pattern is of
            elif n.kind == "add" and mine[0]:
                op = _added
            elif n.kind == "add" and mine[1] and n.args.get("alpha", 1) == 1:
                op = _added_to_other
            positional = tuple(_template(v, slot) for k, v in n.args.items() if k not in n.keywords)
            named = {k: _template(v, slot) for k, v in n.args.items() if k in n.keywords}
            self.steps.append((op, positional, named, slot[n], free))

    def run(self, x: torch.Tensor, visit: Visit | None = None) -> tuple[torch.Tensor, dict[Node, torch.Tensor]]:
        values: list[Any] = [None] * self.size
        values[0] = x
        guarded = self.guarded if torch.is_grad_enabled() else ()
        for op, args, named, into, free in self.steps:
            values[into] = op(*[_fill(a, values) for a in args], **{k: _fill(v, values) for k, v in named.items()})
            if into in guarded and isinstance(values[into], torch.Tensor) and values[into].requires_grad:
                values[into].register_hook(torch.Tensor.contiguous)
            if visit is not None and into in self.visited:
                node, read = self.visited[into]
                visit(node, values[into], [values[i] for i in read])
            for i in free:
                values[i] = None
        output = x.new_empty(0) if self.output is None else values[self.output]
        return output, {n: values[i] for n, i in self.record}


def _packable(n: Node) -> bool:
    """Tell whether a convolution has a packed kernel; not where a network computes in another type between its own."""
    return packed.takes(n) and n["weight"].dtype == torch.float32


def _convolution(n: Node, kernels: dict[Node, torch.Tensor]) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return what computes a convolution with a packed kernel, which comes to the others with the first pictures."""
    made: list[Callable[[torch.Tensor], torch.Tensor]] = []

    def convolved(x: torch.Tensor) -> torch.Tensor:
        if not made:
            if n not in kernels:
                kernels[n] = packed.kernel(n, tuple(x.shape))
            made.append(packed.convolution(n, kernels[n], n["padding"]))
        return made[0](x)

    return convolved


def _added(x: torch.Tensor, other: torch.Tensor, alpha: float = 1) -> torch.Tensor:
    """Add two values in the memory of the first, where that can hold the sum."""
    if x.shape != other.shape or x.dtype != other.dtype:
        return torch.add(x, other, alpha=alpha)
    return x.add_(other, alpha=alpha)


def _added_to_other(x: torch.Tensor, other: torch.Tensor, alpha: float = 1) -> torch.Tensor:
    """Add two values in the memory of the second, where that can hold the sum."""
    return _added(other, x, alpha)


class _Slot(int):
    """The place of a value that an earlier step computed."""


def _template(value: Any, slot: dict[Node, int]) -> Any:
    if isinstance(value, Node):
        return _Slot(slot[value])
    if isinstance(value, tuple) and any(True for _ in nodes_in(value)):
        return [_template(v, slot) for v in value]
    return value


def _fill(a: Any, values: list[Any]) -> Any:
    if type(a) is _Slot:
        return values[a]
    if type(a) is list:
        return [_fill(v, values) for v in a]
    return a


IN_PLACE: dict[str, Callable[..., Any]] = {
    "relu": torch.ops.aten.relu_.default,
    "relu6": torch.ops.aten.hardtanh_.default,
    "hardtanh": torch.ops.aten.hardtanh_.default,
    "silu": torch.ops.aten.silu_.default,
    "hardswish": torch.ops.aten.hardswish_.default,
    "leaky_relu": torch.ops.aten.leaky_relu_.default,
}
