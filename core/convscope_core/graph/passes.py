"""Passes over a pure graph: batch norm folded, response normalisation in one node, weights of its own."""

from __future__ import annotations

from typing import Any

import torch

from convscope_core.graph import ops
from convscope_core.graph.node import Graph, Node, with_args

__all__ = ["collapse_response_norm", "fold_batch_norm", "own", "without_idle_stops"]


def without_idle_stops(graph: Graph) -> Graph:
    """Take out the stops of gradients in a network that lets no gradient through at all.

    Such a forward pass runs under `torch.no_grad` as a whole, or on a frozen part, to save memory. Autograd has no
    gradient for it; that of what it computes is the one that can be meant.
    """
    reached = {graph.input}
    for n in graph:
        if n.kind != ops.STOP and not reached.isdisjoint(n.inputs):
            reached.add(n)
    if graph.output in reached or not any(n.kind == ops.STOP for n in graph):
        return graph

    def change(n: Node, args: dict[str, Any]) -> Node | None:
        source = args.get("input")
        return source if n.kind == ops.STOP and isinstance(source, Node) else None

    return graph.rebuilt(change)


def fold_batch_norm(graph: Graph) -> Graph:
    """Fold every batch norm into the convolution or linear operation of which it is the only consumer.

    The arithmetic is done in float64 and stored in float32: weight' = weight * g, bias' = (bias - mean) * g +
    beta with g = gamma / sqrt(var + eps).
    """
    folded: dict[Node, Node] = {}  # batch norm -> the operation before it
    for n in graph:
        if n.kind == "batch_norm":
            x = n["input"]
            alone = graph.consumers[x] == (n,) and x is not graph.output
            per_channel = x.kind == "conv" or (x.kind == "linear" and len(x.shape) == 1)
            if alone and per_channel:
                folded[n] = x
    normed = {x: n for n, x in folded.items()}

    def change(n: Node, args: dict[str, Any]) -> Node | None:
        if n in normed:
            weight, bias = _folded(n, normed[n])
            return with_args(n, args | {"weight": weight, "bias": bias})
        if n in folded:
            made = args["input"]
            assert isinstance(made, Node)
            return made
        return None

    result = graph.rebuilt(change)
    gone = {n.calls[-1]: result[x.name] for n, x in folded.items() if n.calls}
    return Graph(result.nodes, result.output, result.outputs_of, {**result.folded, **gone}, result.logits)


def _folded(layer: Node, norm: Node) -> tuple[torch.Tensor, torch.Tensor]:
    weight = layer["weight"].double()
    gain = torch.rsqrt(norm["running_var"].double() + norm["eps"])
    if norm["weight"] is not None:
        gain = gain * norm["weight"].double()
    shift = -norm["running_mean"].double()
    if layer["bias"] is not None:
        shift = shift + layer["bias"].double()
    shift = shift * gain
    if norm["bias"] is not None:
        shift = shift + norm["bias"].double()
    dtype = layer["weight"].dtype
    return (weight * gain.view(-1, *[1] * (weight.dim() - 1))).to(dtype), shift.to(dtype)


def collapse_response_norm(graph: Graph) -> Graph:
    """Put one node in the place of each local response normalisation (ten operations in PyTorch).

    Krizhevsky et al. 2012, section 3.3; PyTorch divides alpha by the size.
    """

    def change(n: Node, args: dict[str, Any]) -> Node | None:
        found = _response_norm(n)
        if found is None:
            return None
        size, alpha, beta, k = found
        a = {"input": args["input"], "size": size, "alpha": alpha, "beta": beta, "k": k}
        return Node(n.name, "local_response_norm", ops.local_response_norm, a, n.shape, n.calls)

    return graph.rebuilt(change)


def _response_norm(n: Node) -> tuple[int, float, float, float] | None:
    """Return (size, alpha, beta, k) if the node is x / (k + alpha * average of x² over channels) ** beta."""
    if n.kind != "div" or len(n.shape) != 3:
        return None
    x, power = n["input"], n["other"]
    if power.kind != "aten.pow" or not isinstance(power.args.get("exponent"), (int, float)):
        return None
    shift = power["input"]
    if shift.kind != "shift" or not isinstance(shift["other"], (int, float)) or shift["alpha"] != 1:
        return None
    scale = shift["input"]
    if scale.kind != "scale" or not isinstance(scale["other"], (int, float)):
        return None
    size = None
    step = scale["input"]
    padding: tuple[int, ...] = ()
    while step.kind in ("reshape", "pad", "aten.avg_pool3d"):
        if step.kind == "aten.avg_pool3d":
            size, *others = step["kernel_size"]
            plain = others == [1, 1] and set(step["stride"]) == {1} and set(step["padding"]) == {0}
            if not plain or step["divisor_override"]:
                return None
        elif step.kind == "pad":
            padding = step["pad"]
        step = step["input"]
    squares = step.kind == "mul" and step["input"] is x and step["other"] is x
    if size is None or not squares or padding != (0, 0, 0, 0, size // 2, (size - 1) // 2):
        return None
    return size, scale["other"], power["exponent"], shift["other"]


def own(graph: Graph, device: torch.device, *, copy: bool) -> Graph:
    """Return the graph with parameters of its own on `device`, laid out for speed.

    On the CPU, kernels of 2-D convolutions are stored channels-last; convolutions then give channels-last
    maps, and so does all that follows. Measured (two cores, batch 1, against the module in its own layout):
    0.55 of the time for GoogLeNet, 0.71 EfficientNet-Lite0, 0.78 VGG-16, 0.82 DenseNet-121; no network was
    slower. Where maps are compared they stay as they are: convolutions in that layout make equal values unequal.

    Parameters
    ----------
    graph : Graph
        The graph.
    device : torch.device
        Where the parameters go.
    copy : bool
        Whether to copy parameters that are already as they should be, so that nobody else can change them.
    """
    plain = any(ops.is_decided_by_rounding(n) for n in graph)
    kernels = set() if plain else {id(n["weight"]) for n in graph if n.kind == "conv"}

    def change(t: torch.Tensor) -> torch.Tensor:
        last = device.type == "cpu" and id(t) in kernels
        layout = torch.channels_last if last else torch.contiguous_format
        return t.detach().to(device, copy=copy).contiguous(memory_format=layout)

    return graph.with_tensors(change)
