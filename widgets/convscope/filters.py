"""The filter grid: every filter of a layer at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import traitlets

from convscope_core.datasets import Images
from convscope_core.errors import ArgumentError
from convscope_core.network import Layer, Network
from convscope_core.render import filters_rgb, quantise, shrink

from ._instrument import Answer, bundle, require_network, shown_layers
from ._projecting import TILE_SIDE, ProjectionPart

__all__ = ["FilterGrid"]

#: A map is sent with at most this many pixels a side: more than a tile shows, and 64 channels of VGG-16's first layer
#: come to 260 KB instead of 3.2 MB.
MAP_SIDE = 64
#: Units of all layers that a search for a class lists.
SEARCHED = 8
#: Side of a best patch, px.
PATCH_SIDE = 48


class FilterPart(ProjectionPart):
    """The grid's traits and answers, for the instruments that have one."""

    layer = traitlets.Unicode().tag(sync=True)
    """str: name of the layer. Aliases (a rectifier's or block's name) are written out as the layer's own name."""

    selected = traitlets.Int(None, allow_none=True).tag(sync=True)
    """int or None: the selected unit (channel)."""

    colormap = traitlets.Enum(("inferno", "viridis", "magma", "gray"), default_value="inferno").tag(sync=True)
    """str: colour map of activations; applied in the browser."""

    scale = traitlets.Enum(("unit", "layer"), default_value="unit").tag(sync=True)
    """str: whether each tile, or the whole layer, spans the colour map."""

    order = traitlets.Enum(("strongest", "mean", "index", "best", "rare", "class"), default_value="strongest").tag(
        sync=True
    )
    """str: order of the tiles: by maximum or mean on this picture, by index, by maximum over a survey, rarest first, by
    preference for the class `label`."""

    show = traitlets.Enum(("all", "alive", "dead", "rare", "repeated"), default_value="all").tag(sync=True)
    """str: which units are shown, by what a survey found: all, those that some picture activates, the others, those
    that less than one picture in a hundred activates, those that say the same as another."""

    label = traitlets.Unicode().tag(sync=True)
    """str: the class whose units are looked for, one of the survey's labels; empty for none."""

    lens = traitlets.Enum(("activation", "patch", "projection", "weights"), default_value="activation").tag(sync=True)
    """str: what a tile shows: the activation on this picture, the patch of a survey that excites the unit most, what
    the unit picked out of that patch (its projection by `method`), or the weights (first layer only)."""

    def _layer(self, content: Mapping[str, Any]) -> Layer:
        return self.net.layer(str(content.get("layer") or self.layer))

    @traitlets.validate("layer")
    def _known_layer(self, proposal: Any) -> str:
        return self.net.layer(proposal["value"]).name

    @traitlets.validate("selected")
    def _existing_unit(self, proposal: Any) -> int | None:
        value = proposal["value"]
        channels = self.net.layer(self.layer).channels if self.layer else None
        if value is not None and channels is not None and not 0 <= value < channels:
            raise traitlets.TraitError(f"selected: {self.layer} has units 0..{channels - 1}, got {value}")
        return value

    def _answer_search(self, content: Mapping[str, Any], _buffers: Sequence[Any]) -> Answer:
        """The units that prefer a class, of all layers; and the preference of every unit of one."""
        survey, layer, label = self._surveyed(), self._layer(content), str(content["label"])
        units = [[one.layer, one.channel, one.preference] for one in survey.units(label, n=SEARCHED)]
        preference = survey.classes(layer.name).preference(label)
        fields = {"label": label, "layer": layer.name, "units": units}
        return fields, [np.ascontiguousarray(preference, np.float32).tobytes()]

    @traitlets.observe("layer")
    def _keep_selection(self, _change: Any) -> None:
        # A unit that the new layer does not have is not selected in it.
        if self.selected is not None and self.selected >= self.net.layer(self.layer).channels:
            self.selected = None

    def _answer_grid(self, content: Mapping[str, Any], _buffers: Sequence[Any]) -> Answer:
        layer = self._layer(content)
        lens = content.get("lens", self.lens)
        maps = self.net.activations(self._current(content).image, [layer.name])[layer.name][0]
        flat = maps.flatten(1)
        summary = [
            flat.amax(1).cpu().numpy().astype(np.float32),
            flat.mean(1).cpu().numpy().astype(np.float32),
            (flat > 0).float().mean(1).cpu().numpy().astype(np.float32),
        ]
        if lens == "activation":
            planes = quantise(shrink(maps, MAP_SIDE))
            data, low, high, depth = planes.data, planes.low, planes.high, 1
        else:
            data = self._pictures_of(layer, lens)
            low, high, depth = np.zeros(len(data), np.float32), np.ones(len(data), np.float32), 3
        height, width = data.shape[1:3]
        fields = {
            "layer": layer.name,
            "lens": lens,
            "channels": len(data),
            "height": height,
            "width": width,
            "depth": depth,
        }
        return fields, [np.ascontiguousarray(one).tobytes() for one in (data, low, high, *summary)]

    def _pictures_of(self, layer: Layer, lens: str) -> np.ndarray:
        if lens == "weights":
            return self._weights(layer)
        if lens == "patch":
            return self._best_patches(layer, PATCH_SIDE)
        self._surveyed()  # without a survey there are no best patches to project
        # The projections themselves follow, a few at a time.
        return np.full((layer.channels, TILE_SIDE, TILE_SIDE, 3), 128, np.uint8)

    def _weights(self, layer: Layer) -> np.ndarray:
        weight = self.net.weight(layer.name)
        if weight is None or weight.ndim != 4 or weight.shape[1] != 3:
            raise ArgumentError(
                f"weights can be shown as pictures for a convolution over 3 colour channels, not for {layer.name} "
                f"({layer.kind}); choose the first layer"
            )
        return filters_rgb(weight)

    def _snapshot(self) -> list[tuple[str, dict[str, Any]]]:
        requests: list[tuple[str, dict[str, Any]]] = [*super()._snapshot(), ("grid", {})]
        if self.lens == "projection":
            channels = list(range(self.net.layer(self.layer).channels))
            requests.append(("tiles", {"layer": self.layer, "channels": channels}))
        return requests


class FilterGrid(FilterPart):
    """All filters of a layer, each as its map on a picture.

    One canvas holds every tile and paints only what is in sight, so that thousands of channels scroll smoothly; colour
    map, scale, order and search are the browser's work alone. Arrow keys move the selection, plus and minus change the
    size of the tiles, a slash goes to the search.

    Parameters
    ----------
    net : Network
    image : path, bytes, PIL image, array, tensor or Picture
        Anything `Network.prepare` takes.
    layer : str, optional
        Name of a layer (see ``net.layers``); by default the last convolution.
    survey : Survey, optional
        From `survey`; adds the best patches and orders by what the filters did over all its pictures.
    **traits
        Initial traits: `selected`, `colormap`, `scale`, `order`, `show`, `label`, `lens`.

    Raises
    ------
    LayerError
        If the network has no such layer; the message lists close matches.
    ImageError
        If the picture cannot be read.
    """

    _name = "filters"
    _esm = bundle(_name)

    def __init__(self, net: Network, image: Any, layer: str | None = None, survey: Any = None, **traits: Any) -> None:
        require_network(net)
        images = Images.of([image])
        net.prepare(images[0].image)
        super().__init__(net, images, survey=survey, layer=layer or last_convolution(net), **traits)


def last_convolution(net: Network) -> str:
    """The layer that instruments open on when none is named."""
    layers = shown_layers(net)
    if not layers:
        raise ArgumentError(f"{net.name} has no layer with maps or vectors to show")
    convolutions = [layer for layer in layers if layer.kind == "conv" and layer.size != (1, 1)]
    return (convolutions or layers)[-1].name
