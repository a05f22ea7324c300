"""The whole microscope: pictures and occluder, layers, filters, units, with one selection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import ipywidgets
import numpy as np

from convscope_core.datasets import Images, sample_images
from convscope_core.errors import ArgumentError
from convscope_core.graph.geometry import Box
from convscope_core.network import Network
from convscope_core.render import crop
from convscope_core.survey import Survey

from ._instrument import Answer, bundle, require_network, shown_layers
from .filters import FilterPart, last_convolution
from .occluder import OccluderPart

__all__ = ["Explorer"]

#: Side of a thumbnail, px; and how many the strip shows.
THUMBNAIL_SIDE = 84
STRIP = 48
#: A survey that nobody asked for looks at this many pictures at most.
QUICK = 256


class Explorer(OccluderPart, FilterPart):
    """Put a network under the microscope.

    Left: the pictures, the occluder on the current one, class probabilities before and after. Top: the layers. Middle:
    every filter of the chosen layer. Right: the chosen unit, with the patches that activate it most, what it picked out
    of each, and what it picks out of the current picture. Beneath: how the probability of the target went during the
    drag. Pictures can be added by dropping or pasting them.

    The panes are one widget, so that selection and hovering link without the kernel. Displayed by itself the explorer
    brings the chart along (`box` holds both); inside a layout of your own it is the panes alone.

    Parameters
    ----------
    net : Network
    images : folder, list, data set or single picture, optional
        The pictures at hand (see `Images.of`); by default scikit-image's photographs.
    survey : Survey, optional
        From `survey`. By default the pictures at hand are surveyed in the background: at most 256 of them, evenly
        spaced.
    layer : str, optional
        The layer to open on; by default a convolution in the middle of the network.
    k : int, default 9
        Patches a unit, when the explorer makes the survey itself.
    **traits
        Initial traits: `picture`, `position`, `size`, `shape`, `fill`, `target`, `selected`, `colormap`, `scale`,
        `order`, `show`, `label`, `lens`, `method`, `contrast`, `show_trail`.

    Attributes
    ----------
    survey : Survey or None
        The survey behind the unit panel; grows while it is made.
    history : History
        Probabilities of the target, frame by frame, and their bqplot figure.
    box : ipywidgets.VBox
        The panes with the chart beneath.

    Raises
    ------
    ImageError
        If there are no pictures, or the first cannot be read.
    LayerError
        If the network has no such layer.
    """

    _name = "explorer"
    _esm = bundle(_name)

    def __init__(
        self,
        net: Network,
        images: Any = None,
        survey: Survey | None = None,
        layer: str | None = None,
        k: int = 9,
        **traits: Any,
    ) -> None:
        require_network(net)
        pictures = sample_images() if images is None else Images.of(images)
        net.prepare(pictures[int(traits.get("picture", 0))].image)
        super().__init__(net, pictures, survey=survey, layer=layer or middle(net), **traits)
        self._own_survey = survey is None
        # bqplot brings pandas along: a tenth of the time of `import convscope`, for this one chart.
        from ._history import History

        self.history = History(self)
        self.box = ipywidgets.VBox([self, self.history.figure], layout={"width": "100%"})
        if survey is None:
            self.start_survey(pictures, k, indices=spaced(len(pictures), QUICK))

    def _add(self, content: Mapping[str, Any], buffers: Sequence[Any]) -> None:
        super()._add(content, buffers)
        pictures, survey = Images.of(self.images), self.survey
        # A survey of one's own grows with the pictures; one that was given stays what it is.
        if survey is not None and self._own_survey and self._survey["state"] == "done":
            self.start_survey(pictures, indices=[len(pictures) - 1], start=survey)

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        return self.box._repr_mimebundle_(**kwargs)

    @property
    def address(self) -> str:
        """str: the selected unit as ``network/layer/unit``; set it to go to another."""
        return "/".join([self.net.name, self.layer, *([] if self.selected is None else [str(self.selected)])])

    @address.setter
    def address(self, address: str) -> None:
        names = {layer.name for layer in self.net.layers}
        parts = address.strip().split("/")
        at = next((index for index, part in enumerate(parts) if part in names), None)
        if at is None or len(parts) > at + 2 or (len(parts) == at + 2 and not parts[at + 1].isdigit()):
            raise ArgumentError(
                f"expected an address such as {self.net.name}/{self.layer}/0 (network/layer/unit), got {address!r}"
            )
        with self.hold_sync():
            self.selected = None
            self.layer = parts[at]
            self.selected = int(parts[at + 1]) if len(parts) == at + 2 else None

    def close(self) -> None:
        """Close the panes and the chart; the thread ends and the tensors are freed."""
        if hasattr(self, "box"):
            self.history.close()
            self.box.close()
        super().close()

    def _answer_thumbnails(self, _content: Mapping[str, Any], _buffers: Sequence[Any]) -> Answer:
        shown = self.images[:STRIP]
        tiles = [thumbnail(self.net.picture(one.image), THUMBNAIL_SIDE) for one in shown]
        return {"side": THUMBNAIL_SIDE, "count": len(tiles)}, [b"".join(tile.tobytes() for tile in tiles)]

    def _answer_here(self, content: Mapping[str, Any], _buffers: Sequence[Any]) -> Answer:
        """What the selected unit picks out of the current picture with the occluder on it."""
        picture, fill, shape, size, _ = self._asked(content)
        occlusion = self._occlusion(picture, fill, shape)
        position = occlusion.clip(content.get("position", self.position), size)
        fields, buffers = self._project_here(occlusion.occlude(position, size), content)
        return {**fields, "picture": picture, "position": list(position)}, buffers

    def _snapshot(self) -> list[tuple[str, dict[str, Any]]]:
        if self.selected is None:  # as the front end does, so that there is something to look at
            maps = self.net.activations(self._current().image, [self.layer])[self.layer]
            self.selected = int(maps[0].flatten(1).amax(1).argmax())
        requests: list[tuple[str, dict[str, Any]]] = [*super()._snapshot(), ("thumbnails", {})]
        if self.survey is not None:
            requests.append(("health", {"layer": self.layer}))
            top = self.survey.top(self.layer, self.selected)
            requests.append(("unit", {"layer": self.layer, "channel": self.selected}))
            requests.append(("projections", {"layer": self.layer, "channel": self.selected}))
            requests.append(("weaker", {"layer": self.layer, "channel": self.selected}))
            requests.append(("here", {"layer": self.layer, "channel": self.selected}))
            requests += [("whole", {"picture": image}) for image in {one.image for one in top}]
        return requests


def middle(net: Network) -> str:
    """A convolution about two thirds through the network: where filters respond to parts of things."""
    maps = [layer for layer in shown_layers(net) if layer.kind == "conv" and layer.size != (1, 1)]
    return maps[(2 * len(maps)) // 3].name if maps else last_convolution(net)


def spaced(count: int, most: int) -> range | list[int]:
    """At most `most` indices of `count` pictures, evenly spaced, so that every folder has its share."""
    return range(count) if count <= most else [(index * count) // most for index in range(most)]


def thumbnail(pixels: np.ndarray, side: int) -> np.ndarray:
    """The centre square of an RGB picture, `side` px."""
    height, width = pixels.shape[:2]
    half = min(height, width)
    top, left = (height - half) // 2, (width - half) // 2
    return crop(pixels, Box(top, left, top + half, left + half), side=side)
