"""Grad-CAM, computed by Captum."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from convscope_core.errors import ArgumentError, LayerError
from convscope_core.explain.method import Request, computed, require
from convscope_core.explain.options import require_flag
from convscope_core.graph.forward import Runner
from convscope_core.graph.node import Graph, Node, nodes_in, with_args
from convscope_core.network import Network

__all__ = ["grad_cam"]


def _last_maps(net: Network, node: Node) -> str:
    """Return the last layer with maps that a node depends on: what is pooled or flattened next."""
    before = {node}
    for n in reversed(net.graph.nodes):
        if n in before:
            before.update(nodes_in(n.args))
    for layer in reversed(net.layers):
        found = net.graph_layer(layer.name)
        if layer.kind != "pool" and layer.size != (1, 1) and found.node in before and found.node is not node:
            return layer.name
    raise ArgumentError("Expected a target that depends on a layer with maps; there is none. Give layer=.")


@computed("grad_cam", "attribution", "captum", layer=_last_maps)
def grad_cam(request: Request, *, relu: bool = True, upsample: bool = True) -> Tensor:
    """Grad-CAM: the maps of a layer, weighted by their mean gradients and summed.

    Parameters
    ----------
    request : Request
        Its layer is by default the last with maps before they are pooled or flattened: in VGG the last convolution (as
        in the paper), in ResNet the last residual sum, in GoogLeNet the last concatenation; after the activation that
        follows.
    relu : bool, default True
        Whether negative values are dropped, as in the paper.
    upsample : bool, default True
        Whether the map is enlarged to the picture, bilinearly.

    References
    ----------
    R. R. Selvaraju, M. Cogswell, A. Das, R. Vedantam, D. Parikh, D. Batra: Grad-CAM: Visual Explanations from Deep
    Networks via Gradient-Based Localization, ICCV 2017, section 3.
    """
    require_flag(relu, "relu")
    require_flag(upsample, "upsample")
    captum = require("captum.attr", "grad_cam")
    assert request.layer is not None
    found = request.net.graph_layer(request.layer)
    if len(found.axes) != 3 or found.size == (1, 1):
        raise LayerError(f"Expected a layer with maps; {request.layer} has none. Give a convolution before it.")
    module = _Marked(request, found.node, found.axes)
    map_: Tensor = captum.LayerGradCam(module, module.marker).attribute(request.x.clone(), relu_attributions=relu)
    if upsample:
        map_ = captum.LayerAttribution.interpolate(map_, request.net.input_shape[1:], "bilinear")
    return map_


class _Marked(nn.Module):
    """The explained scores as a module in which one node's value goes through a module of its own, channels first."""

    def __init__(self, request: Request, node: Node, axes: tuple[int, ...]) -> None:
        super().__init__()
        self.marker = nn.Identity()
        self.request = request
        there = (0, *(a + 1 for a in axes))
        back = tuple(int(i) for i in torch.tensor(there).argsort())
        self.target: Node | None = None

        def change(n: Node, args: dict[str, Any]) -> Node:
            made = with_args(n, args)
            if n is node:
                op = n.op
                assert op is not None

                def marked(*a: Any, **k: Any) -> Tensor:
                    value: Tensor = self.marker(op(*a, **k).permute(there))
                    return value.permute(back)

                made = Node(n.name, "marked", marked, args, n.shape, n.calls, n.keywords, n.batched)
            if n is request.node:
                self.target = made
            return made

        graph: Graph = request.net.graph.rebuilt(change)
        self.runner = Runner(graph)

    def forward(self, x: Tensor) -> Tensor:
        assert self.target is not None
        _, values = self.runner(x, [self.target], output=False)
        return self.request.score(values[self.target])
