"""Which nodes of a graph are layers, and what they are called.

A layer is an *anchor* (convolution, linear, residual add, concatenation, pool, or a batch norm that could not
be folded and that a rectifier follows) together with the activation function that directly follows it as its
only consumer. Its value is taken after that activation. It is named by the module whose output the anchor is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from convscope_core.graph.axes import is_elementwise
from convscope_core.graph.bounds import bounds, ceiling
from convscope_core.graph.node import Graph, ModuleCall, Node, needed_for
from convscope_core.graph.ops import ACTIVATIONS, POOLS

__all__ = ["GraphLayer", "find_layers"]

_ANCHORS = {
    "conv": "conv",
    "conv_transpose": "conv_transpose",
    "linear": "linear",
    "add": "add",
    "cat": "cat",
    "batch_norm": "batch_norm",
    **dict.fromkeys(POOLS, "pool"),
}

_WEIGHTED = frozenset({"conv", "conv_transpose", "linear", "batch_norm"})


@dataclass(frozen=True, eq=False)
class GraphLayer:
    """A layer as part of a graph.

    Attributes
    ----------
    name : str
        Unique among the layers of a graph.
    kind : str
        ``"conv"``, ``"conv_transpose"``, ``"linear"``, ``"add"``, ``"cat"``, ``"pool"`` or ``"batch_norm"``.
    anchor : Node
        The operation that makes it a layer.
    node : Node
        The node that holds its value: the activation that follows the anchor, or the anchor.
    aliases : tuple of str
        Other module names that mean this layer: the activation's, the folded batch norm's, an enclosing
        block's.
    axes : tuple of int
        Positions of channel, row and column in the node's shape; only the channel's for a vector. Rows and columns are
        the map's own, in the order in which the module has them: on a map that lies across, rows go along the picture's
        columns.
    """

    name: str
    kind: str
    anchor: Node
    node: Node
    aliases: tuple[str, ...]
    axes: tuple[int, ...]

    @property
    def activation(self) -> str | None:
        """The kind of the activation that is part of the layer, or None."""
        return None if self.node is self.anchor else self.node.kind

    @property
    def bounds(self) -> tuple[float | None, float | None]:
        """The smallest and the largest value that it can have by its activation."""
        return (None, None) if self.node is self.anchor else bounds(self.node)

    @property
    def ceiling(self) -> float | None:
        """The value at which its activation cuts off all that would be larger, or None."""
        return None if self.node is self.anchor else ceiling(self.node)

    @property
    def channels(self) -> int:
        """Number of channels."""
        return self.node.shape[self.axes[0]]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of a channel; (1, 1) for a vector."""
        if len(self.axes) == 1:
            return (1, 1)
        return self.node.shape[self.axes[1]], self.node.shape[self.axes[2]]


def find_layers(graph: Graph) -> tuple[GraphLayer, ...]:
    """Return the layers of a graph in execution order.

    Left out: what does not hold one map or one number a channel (token sequences, attention), and what the
    output does not depend on.
    """
    layout = _layouts(graph)
    computed = needed_for([graph.output])  # the rest makes the logits again of what is squashed
    found: list[tuple[str, Node, Node, tuple[int, ...]]] = []
    learned: set[Node] = set()  # what some weight has been applied to; before that, all is preprocessing
    for n in graph:
        if n.kind in _WEIGHTED or not learned.isdisjoint(n.inputs):
            learned.add(n)
        kind = _kind(n)
        if kind is None or n not in learned or n not in computed:
            continue
        value = _after_activation(graph, n, computed)
        if kind == "batch_norm" and value is n:
            continue
        axes = _axes(layout[value]) if value.batched else None
        if axes is not None:
            found.append((kind, n, value, axes))
    made_by: dict[Node, list[ModuleCall]] = {}
    for call, n in graph.outputs_of.items():
        made_by.setdefault(n, []).append(call)
    for call, n in graph.folded.items():
        made_by.setdefault(n, []).append(call)
    names = _unique([_name(anchor, value, made_by) for _, anchor, value, _ in found])
    layers = []
    taken = set(names)
    for name, (kind, anchor, value, axes) in zip(names, found, strict=True):
        calls = [*made_by.get(anchor, ()), *made_by.get(value, ())]
        aliases = tuple(dict.fromkeys(c.name for c in calls if c.path and c.name not in taken))
        taken.update(aliases)
        layers.append(GraphLayer(name, kind, anchor, value, aliases, axes))
    return tuple(layers)


def _kind(n: Node) -> str | None:
    if n.kind == "add" and any(i.shape != n.shape for i in n.inputs):
        return None  # a broadcast add is a bias that is computed, not a meeting of two branches
    if n.kind == "cat" and n["dim"] == 0:
        return None
    if n.kind in ("mean", "aten.amax"):
        x = n["input"]
        return "pool" if len(x.shape) == 3 and n["dim"] == (2, 3) else None
    return _ANCHORS.get(n.kind)


def _after_activation(graph: Graph, n: Node, computed: set[Node]) -> Node:
    users = [u for u in graph.consumers[n] if u in computed]
    if n is not graph.output and len(users) == 1 and users[0].kind in ACTIVATIONS and users[0].inputs == (n,):
        return users[0]
    return n


def _axes(layout: tuple[str, ...]) -> tuple[int, ...] | None:
    if len(layout) == 1:
        return (0,)
    if sorted(layout) != ["C", "H", "W"]:
        return None
    # The map's two axes in their own order, as the module gives them, however they lie on the picture.
    channel = layout.index("C")
    return (channel, *(a for a in range(3) if a != channel))


# -- which axis of a node holds what --

#: Kinds that take (C, H, W) and give (C, H, W), whatever their input went through before.
_ON_MAPS = frozenset(
    {
        "conv", "conv_transpose", "max_pool", "avg_pool", "adaptive_avg_pool", "adaptive_max_pool",
        "aten.upsample_nearest2d", "aten.upsample_bilinear2d",
    }
)  # fmt: skip

_KEEPS_LETTERS = frozenset(
    {
        "group_norm", "instance_norm", "layer_norm", "softmax", "log_softmax", "slice", "pad", "local_response_norm",
        "aten.roll", "aten.flip", "aten.channel_shuffle", "aten.native_channel_shuffle",
    }
)  # fmt: skip

_AXES = ("H", "W")


def _layouts(graph: Graph) -> dict[Node, tuple[str, ...]]:
    """Return, for each node, what its axes (without the batch) hold.

    A letter per axis: ``"C"`` channels, or a part of them; ``"H"`` and ``"W"`` the two axes of a map, as the operation
    takes them, whatever they have to do with the picture (that is `structure`'s to say); ``"?"`` anything else (token
    sequences, windows, positions and channels in one axis).
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
    sources = [i for i in dict.fromkeys(n.inputs) if i.kind != "size"]
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
    if n.kind == "cat" or is_elementwise(n):
        return _combined(n.shape, [(i.shape, known[i]) for i in sources])
    return unknown


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


def _name(anchor: Node, value: Node, made_by: Mapping[Node, list[ModuleCall]]) -> str:
    calls = list(_innermost_first(anchor, made_by))
    leaf = anchor.calls[-1] if anchor.calls else None
    if leaf is not None and leaf.path and leaf in calls and _is_leaf(leaf, anchor):
        return leaf.name
    after = [c for c in made_by.get(value, ()) if c.path and value.calls and c == value.calls[-1]]
    if value is not anchor and after and after[0] not in anchor.calls:
        return after[0].name
    for c in calls:
        if c.path:
            return c.name
    where = leaf.name if leaf is not None else ""
    return f"{where}.{anchor.kind}" if where else anchor.kind


def _innermost_first(n: Node, made_by: Mapping[Node, list[ModuleCall]]) -> Iterator[ModuleCall]:
    yield from sorted(made_by.get(n, ()), key=lambda c: -c.path.count(".") - bool(c.path))


def _is_leaf(call: ModuleCall, anchor: Node) -> bool:
    """Tell whether the module's own operation is the anchor, not a block in which a function was called."""
    return anchor.kind not in ("add", "cat") or call.type in ("Add", "Cat", "Concat", "FloatFunctional")


def _unique(names: list[str]) -> list[str]:
    seen: dict[str, int] = {}
    out = []
    taken = set(names)
    for name in names:
        k = seen.get(name, 0) + 1
        unique = name
        if k > 1:
            unique = f"{name}#{k}"
            while unique in taken:
                k += 1
                unique = f"{name}#{k}"
            taken.add(unique)
        seen[name] = k
        out.append(unique)
    return out
