"""Whether a picture's values depend on the other pictures of its batch.

Told by structure where the batch axis is reduced away, and where every operation treats pictures one by one. For the
rest, by giving a picture neighbours that nothing which reads them can hide: not-a-number. Operations that are not
PyTorch's own may read where a number says (deformable convolutions), beyond all memory for one that is none: they are
given other numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from convscope_core.graph.forward import evaluated
from convscope_core.graph.node import Graph, Node
from convscope_core.graph.ops import ELEMENTWISE, POOLS

__all__ = ["influence", "mixing"]

#: Operations that take no values from a tensor, only its shape, type or device.
_WITHOUT_VALUES = frozenset(
    {f"aten.{x}_like" for x in ("zeros", "ones", "full", "empty")}
    | {f"aten.new_{x}" for x in ("zeros", "ones", "full", "empty")}
)

#: Operations that treat the pictures of a batch one by one, where axis 0 of what they take and give is the batch.
_ONE_BY_ONE = ELEMENTWISE | POOLS | {
    "conv", "conv1d", "conv3d", "conv_transpose", "linear", "flatten", "layer_norm", "group_norm",
    "local_response_norm", "aten.pixel_shuffle", "aten.pixel_unshuffle", "aten.channel_shuffle", "slice", "select",
    "aten.rsub", "aten.neg", "aten.exp", "aten.abs", "aten.sqrt", "aten.rsqrt", "pad",
}  # fmt: skip

#: The same, if the argument `dim` is not the batch axis.
_ALONG = frozenset({"softmax", "log_softmax", "cat", "mean"})


def mixing(graph: Graph) -> Node | None:
    """Return the first operation that takes values of pictures and gives something without a batch axis; or None."""
    telling = _telling(graph) & _read(graph)
    for n in graph:
        if n not in telling or _holds_pictures(n) or _is_several(graph, n):
            continue
        sources = [j for i in n.inputs for j in (i.inputs if _is_several(graph, i) else (i,))]
        if any(i in telling and _holds_pictures(i) for i in sources):
            return n
    return None


def influence(graph: Graph, x: Tensor) -> Node | None:
    """Return the operation at which a picture's values come to depend on those of its neighbours; or None.

    Parameters
    ----------
    graph : Graph
    x : tensor
        Pictures (N, C, H, W), two or more.
    """
    if all(_one_by_one(n) for n in graph if n.kind != "input"):
        return None
    before = _values(graph, x)
    finite = [1 - 2 * x, 30 * x + 5, -9 * x.abs()]
    kinds = finite if any(_is_foreign(n) for n in graph) else [torch.full_like(x, torch.nan), *finite]
    return next((n for row in (0, len(x) - 1) if (n := _followed(graph, x, row, before, kinds)) is not None), None)


def _followed(graph: Graph, x: Tensor, row: int, before: Mapping[Node, Any], kinds: list[Tensor]) -> Node | None:
    """Return where a picture follows its neighbours, if it follows any of several kinds of them.

    The first kind decides where a picture does not follow it. Where it does, others have to show the same: in a product
    with zero, not-a-number tells of a neighbour of which nothing is taken.
    """
    for others in kinds:
        changed = others.clone()
        changed[row] = x[row]
        try:
            after = _values(graph, changed)
        except (RuntimeError, IndexError, ValueError):
            continue  # an operation that takes no such values, such as a look-up
        same = _same(before[graph.output], after[graph.output], row)
        if bool(others.isnan().any()):
            if same:
                return None
        elif not same:
            return next(n for n in graph if n.batched and not _same(before[n], after[n], row))
    return None


def _is_foreign(n: Node) -> bool:
    return isinstance(n.op, torch._ops.OpOverload) and n.op.namespace not in ("aten", "prims")


def _same(before: Any, after: Any, row: int) -> bool:
    if not isinstance(before, Tensor):
        return True
    one, other = (torch.view_as_real(v[row]) if v.is_complex() else v[row].double() for v in (before, after))
    return torch.allclose(one, other, rtol=1e-4, atol=1e-5, equal_nan=True)


def _values(graph: Graph, x: Tensor) -> dict[Node, Any]:
    values: dict[Node, Any] = {graph.input: x}
    for n in graph.nodes[1:]:
        values[n] = evaluated(n, values.__getitem__)
    return values


def _telling(graph: Graph) -> set[Node]:
    """Return the nodes whose values depend on values of pictures."""
    found = {graph.input}
    for n in graph:
        if n.kind != "size" and n.kind not in _WITHOUT_VALUES and any(i in found for i in n.inputs):
            found.add(n)
    return found


def _read(graph: Graph) -> set[Node]:
    """Return the nodes whose values the output is made of."""
    found = {graph.output}
    for n in reversed(graph.nodes):
        if n in found and n.kind != "size" and n.kind not in _WITHOUT_VALUES:
            found.update(n.inputs)
    return found


def _holds_pictures(n: Node) -> bool:
    return n.batched or -1 in n.shape


def _is_several(graph: Graph, n: Node) -> bool:
    """Tell whether a node stands for several results, which others take out of it."""
    users = graph.consumers[n]
    return bool(users) and n.shape == () and not n.batched and all(u.kind == "getitem" for u in users)


def _one_by_one(n: Node) -> bool:
    if n.kind == "size":
        return True
    if not n.batched or not all(i.batched or i.kind == "size" for i in n.inputs):
        return False
    if n.kind in _ALONG:
        return _without_batch(n.args)
    if n.kind in ("reshape", "permute"):
        first: Any = n["shape"][0] if n.kind == "reshape" else n["dims"][0]
        return bool(first == (-1 if n.kind == "reshape" else 0)) and all(i.batched for i in n.inputs)
    return n.kind in _ONE_BY_ONE and n.args.get("training") is not True


def _without_batch(args: Mapping[str, Any]) -> bool:
    dims = args["dim"]
    return 0 not in (dims if isinstance(dims, tuple) else (dims,))
