"""The layers that instruments offer, and those that they open on."""

from __future__ import annotations

from typing import Any

from convscope_core.errors import ArgumentError
from convscope_core.network import Layer, Network

__all__ = ["convolutions", "description", "last_convolution", "middle", "shown_layers"]


def shown_layers(net: Network) -> list[Layer]:
    """The layers that the instruments offer: all but the poolings, whose maps repeat what came before."""
    return [layer for layer in net.layers if layer.kind != "pool"]


def class_names(net: Network, layer: Layer) -> list[str] | None:
    """The names of a layer's units where these are the classes: of the last layer, where the network has names."""
    is_last = layer.name == shown_layers(net)[-1].name
    named = net.labels != tuple(str(index) for index in range(len(net.labels)))
    return list(net.labels) if is_last and named and layer.channels == len(net.labels) else None


def convolutions(net: Network) -> list[Layer]:
    """Convolutions with feature maps; those of squeeze-and-excite gates have single numbers."""
    return [layer for layer in net.layers if layer.kind == "conv" and layer.size != (1, 1)]


def last_convolution(net: Network) -> str:
    """The layer that instruments open on when none is named."""
    layers = shown_layers(net)
    if not layers:
        raise ArgumentError(
            f"Expected a network with a layer that has maps or vectors to show, got {net.name}, which has none."
        )
    return (convolutions(net) or layers)[-1].name


def middle(net: Network) -> str:
    """A convolution about two thirds through the network: where units respond to parts of things."""
    layers = convolutions(net)
    return layers[(2 * len(layers)) // 3].name if layers else last_convolution(net)


def description(net: Network) -> dict[str, Any]:
    """What the front end knows of a network."""
    return {
        "name": net.name,
        "device": str(net.device),
        "size": list(net.input_shape[1:]),
        "layers": [
            {
                "name": layer.name,
                "kind": layer.kind,
                "channels": layer.channels,
                "size": list(layer.size),
                "field": int(layer.receptive_field.size),
                "gated": layer.gated,
                "signed": layer.activation is None,
            }
            for layer in shown_layers(net)
        ],
    }
