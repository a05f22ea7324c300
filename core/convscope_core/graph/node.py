"""The graph itself: nodes with named, normalised arguments, in an order in which they can be computed.

A graph is data. It knows how to show itself and how to be walked, and nothing of what walks it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import torch

__all__ = ["Graph", "ModuleCall", "Node", "map_values", "needed_for", "nodes_in", "pruned", "with_args"]


class ModuleCall(NamedTuple):
    """One call of one submodule.

    Attributes
    ----------
    path : str
        The module's name in the user's module tree, ``""`` for the whole network.
    call : int
        1 for the first time the module is called, 2 for the second, and so on.
    type : str
        The class name of the module, without its package.
    """

    path: str
    call: int
    type: str

    @property
    def name(self) -> str:
        """The path, with ``#call`` from the second call on (``layer2.1.relu#2``)."""
        return self.path if self.call == 1 else f"{self.path}#{self.call}"


@dataclass(frozen=True, eq=False)
class Node:
    """One operation of the graph. Two nodes are equal only if they are the same object.

    Attributes
    ----------
    name : str
        Unique within the graph.
    kind : str
        What the operation is, independent of how it was spelled (``"conv"``, ``"relu"``, ``"max_pool"``...;
        see `convscope_core.graph.ops`). An operation that has no name there has its aten name as kind.
        ``"input"`` is the network's input; ``"size"`` computes an integer (such as the batch size).
    op : callable or None
        Computes the node from the values of `args` in their order (`keywords` by name). None for the input.
    args : mapping of str to value
        The arguments by name, in the order of the operation's schema. A value is a `Node`, a tensor
        (parameter or constant), a number, a string, None, or a tuple of such values.
    shape : tuple of int
        Shape of the result for one picture: the batch axis is left out where there is one.
    calls : tuple of ModuleCall
        The module calls in which the operation happens, outermost first.
    keywords : frozenset of str
        The arguments that `op` takes by keyword only.
    batched : bool
        Whether axis 0 of the result is the batch axis (and so is left out of `shape`).
    """

    name: str
    kind: str
    op: Callable[..., Any] | None
    args: Mapping[str, Any]
    shape: tuple[int, ...]
    calls: tuple[ModuleCall, ...] = ()
    keywords: frozenset[str] = frozenset()
    batched: bool = True
    inputs: tuple[Node, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "inputs", tuple(nodes_in(self.args)))

    def __getitem__(self, argument: str) -> Any:
        return self.args[argument]

    @property
    def module(self) -> str:
        """Path of the innermost module in which it happens, with the call number if that is not 1."""
        return self.calls[-1].name if self.calls else ""

    def __repr__(self) -> str:
        shown = ", ".join(f"{k}={_show(v)}" for k, v in self.args.items())
        shape = "×".join(map(str, self.shape)) or "()"
        return f"{self.name} = {self.kind}({shown}) -> {shape}" + (f"  [{self.module}]" if self.module else "")


@dataclass(frozen=True, eq=False)
class Graph:
    """A pure feed-forward computation from one picture batch to one output.

    Attributes
    ----------
    nodes : tuple of Node
        In an order in which they can be computed; the input is the first, and every node reaches the output or the
        logits.
    output : Node
        The node whose value is the network's output.
    outputs_of : mapping of ModuleCall to Node
        For each module call with a single result: the node that holds it.
    folded : mapping of ModuleCall to Node
        For each module call whose operation was folded into another node (batch norm): that node.
    logits : Node
        The node of the class scores before they are squashed, of the output's shape. Default: the output. It may be
        beside the way to the output, where what makes the output of squashed scores was repeated on the scores.
    """

    nodes: tuple[Node, ...]
    output: Node
    outputs_of: Mapping[ModuleCall, Node] = field(default_factory=dict)
    folded: Mapping[ModuleCall, Node] = field(default_factory=dict)
    logits: Node = None  # type: ignore[assignment]
    consumers: Mapping[Node, tuple[Node, ...]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        users: dict[Node, list[Node]] = {n: [] for n in self.nodes}
        for n in self.nodes:
            for i in dict.fromkeys(n.inputs):
                users[i].append(n)
        object.__setattr__(self, "consumers", {n: tuple(u) for n, u in users.items()})
        object.__setattr__(self, "logits", cast("Node | None", self.logits) or self.output)

    @property
    def input(self) -> Node:
        """The node that stands for the input batch."""
        return self.nodes[0]

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    def __len__(self) -> int:
        return len(self.nodes)

    def __getitem__(self, name: str) -> Node:
        for n in self.nodes:
            if n.name == name:
                return n
        raise KeyError(name)

    def __repr__(self) -> str:
        return "\n".join(["Graph:", *(f"  {n!r}" for n in self.nodes), f"  output: {self.output.name}"])

    def __reduce__(self) -> tuple[Any, ...]:
        # Nodes are written as a flat list that refers by number: as they are, each inside the one that uses it, a deep
        # network would exceed the depth that pickle can recurse to. torch's operators are written by name.
        number = {n: i for i, n in enumerate(self.nodes)}

        def flat(args: Mapping[str, Any]) -> dict[str, Any]:
            return {k: map_values(v, lambda n: _Reference(number[n])) for k, v in args.items()}

        rows = [
            (n.name, n.kind, _named(n.op), flat(n.args), n.shape, n.calls, n.keywords, n.batched) for n in self.nodes
        ]
        outputs, folded = ({c: number[n] for c, n in m.items() if n in number} for m in (self.outputs_of, self.folded))
        return _restored, (rows, number[self.output], outputs, folded, number[self.logits])

    def rebuilt(self, change: Callable[[Node, dict[str, Any]], Node | None]) -> Graph:
        """Return a graph in which every node was given to `change` and the later nodes use what came back.

        Parameters
        ----------
        change : callable
            Gets the old node and its arguments, in which nodes are already the new ones; returns the new
            node. None means: the old node, with these arguments.
        """
        new: dict[Node, Node] = {}
        for n in self.nodes:
            args = {k: map_values(v, new.__getitem__) for k, v in n.args.items()}
            made = change(n, args)
            new[n] = with_args(n, args) if made is None else made
        output, logits = new[self.output], new[self.logits]
        return Graph(
            pruned(new.values(), output, logits),
            output,
            {c: new[n] for c, n in self.outputs_of.items() if n in new},
            {c: new[n] for c, n in self.folded.items() if n in new},
            logits,
        )

    def substituted(self, makers: Mapping[Node, Callable[[Callable[[Node], Node]], Sequence[Node]]]) -> Graph:
        """Return a graph in which other nodes stand for some, and what nothing needs any more is gone.

        Parameters
        ----------
        makers : mapping of Node to callable
            By the node that is replaced. Gets a function that returns the new graph's node for an earlier one of this
            graph; returns new nodes in the order in which they can be computed, the last in the old one's place.
        """
        new: dict[Node, Node] = {}
        order: list[Node] = []
        for n in self.nodes:
            if n in makers:
                made = makers[n](new.__getitem__)
            else:
                made = [with_args(n, {k: map_values(v, new.__getitem__) for k, v in n.args.items()})]
            order.extend(made)
            new[n] = made[-1]
        nodes = pruned(order, new[self.output])
        kept = set(nodes)
        outputs, folded = (
            {c: new[n] for c, n in m.items() if new.get(n) in kept} for m in (self.outputs_of, self.folded)
        )
        return Graph(nodes, new[self.output], outputs, folded)

    def with_tensors(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Graph:
        """Return a graph with ``change(parameter)`` for each parameter; shared ones stay shared."""
        done: dict[int, torch.Tensor] = {}

        def once(t: torch.Tensor) -> torch.Tensor:
            if id(t) not in done:
                done[id(t)] = change(t)
            return done[id(t)]

        def change_node(n: Node, args: dict[str, Any]) -> Node:
            return with_args(n, {k: map_values(v, tensor=once) for k, v in args.items()})

        return self.rebuilt(change_node)

    def tensors(self) -> list[torch.Tensor]:
        """Every parameter and constant of the graph, each once, in order of first use."""
        found: dict[int, torch.Tensor] = {}
        for n in self.nodes:
            for v in n.args.values():
                map_values(v, tensor=lambda t: found.setdefault(id(t), t))
        return list(found.values())

    def digest(self, *also: str) -> str:
        """SHA-256 (hex) over the operations, their arguments, the shapes, the bytes of every parameter, and `also`."""
        h = hashlib.sha256()
        index = {n: i for i, n in enumerate(self.nodes)}
        for n in self.nodes:
            h.update(f"{n.kind}|{getattr(n.op, '__name__', '')}|{n.shape}|".encode())
            for k, v in n.args.items():
                h.update(k.encode())
                _feed(h.update, v, index)
        h.update(" ".join([f"output {index[self.output]}", *also]).encode())
        return h.hexdigest()


class _Reference(NamedTuple):
    """The place of a node in a pickled graph. `map_values` does not enter it: it is met when a graph is restored."""

    number: int


class _Operator(NamedTuple):
    """A torch operator by name, such as ("aten", "relu", "default")."""

    namespace: str
    name: str
    overload: str


def _named(op: Callable[..., Any] | None) -> Any:
    if isinstance(op, torch._ops.OpOverload):
        namespace, _, name = op._schema.name.partition("::")
        return _Operator(namespace, name, op._overloadname)
    return op


def _restored(
    rows: list[tuple[Any, ...]],
    output: int,
    outputs_of: Mapping[ModuleCall, int],
    folded: Mapping[ModuleCall, int],
    logits: int,
) -> Graph:
    """Make a graph of what `Graph.__reduce__` wrote."""
    nodes: list[Node] = []

    def referred(value: Any) -> Any:
        if isinstance(value, _Reference):
            return nodes[value.number]
        return tuple(map(referred, value)) if isinstance(value, tuple) else value

    for name, kind, op, args, *rest in rows:
        if isinstance(op, _Operator):
            op = getattr(getattr(getattr(torch.ops, op.namespace), op.name), op.overload)
        nodes.append(Node(name, kind, op, {k: referred(v) for k, v in args.items()}, *rest))
    return Graph(
        tuple(nodes),
        nodes[output],
        {c: nodes[i] for c, i in outputs_of.items()},
        {c: nodes[i] for c, i in folded.items()},
        nodes[logits],
    )


def with_args(node: Node, args: Mapping[str, Any]) -> Node:
    """Return a copy of `node` with other arguments."""
    return Node(node.name, node.kind, node.op, args, node.shape, node.calls, node.keywords, node.batched)


def pruned(nodes: Iterable[Node], *wanted: Node) -> tuple[Node, ...]:
    """Return those of `nodes` that `wanted` depend on, and the input, each once and in the order given."""
    needed = needed_for(wanted)
    return tuple(n for n in dict.fromkeys(nodes) if n in needed or n.kind == "input")


def map_values(
    value: Any, node: Callable[[Node], Any] | None = None, tensor: Callable[[torch.Tensor], Any] | None = None
) -> Any:
    """Return `value` with every node and every tensor in it (tuples are entered) replaced."""
    if isinstance(value, Node):
        return node(value) if node is not None else value
    if isinstance(value, torch.Tensor):
        return tensor(value) if tensor is not None else value
    if isinstance(value, tuple):
        return tuple(map_values(v, node, tensor) for v in value)
    return value


def nodes_in(value: Any) -> Iterator[Node]:
    """Yield the nodes in an argument value (tuples and mappings are entered), in order, with repetitions."""
    if isinstance(value, Node):
        yield value
    elif isinstance(value, tuple):
        for v in value:
            yield from nodes_in(v)
    elif isinstance(value, Mapping):
        for v in value.values():
            yield from nodes_in(v)


def needed_for(nodes: Iterable[Node]) -> set[Node]:
    """Return some nodes and all nodes that their values come from."""
    found = set(nodes)
    stack = list(found)
    while stack:
        for i in stack.pop().inputs:
            if i not in found:
                found.add(i)
                stack.append(i)
    return found


def _feed(update: Callable[[bytes], None], value: Any, index: Mapping[Node, int]) -> None:
    if isinstance(value, Node):
        update(f"%{index[value]}".encode())
    elif isinstance(value, torch.Tensor):
        t = value.detach().cpu().contiguous()
        update(f"{t.dtype}{tuple(t.shape)}".encode())
        update(t.reshape(-1).view(torch.uint8).numpy().tobytes() if t.numel() else b"")
    elif isinstance(value, tuple):
        update(b"(")
        for v in value:
            _feed(update, v, index)
        update(b")")
    else:
        update(repr(value).encode())


def _show(value: Any) -> str:
    if isinstance(value, Node):
        return f"%{value.name}"
    if isinstance(value, torch.Tensor):
        return f"<{'×'.join(map(str, value.shape)) or 'scalar'}>"
    if isinstance(value, tuple):
        return f"({', '.join(map(_show, value))})"
    return repr(value)
