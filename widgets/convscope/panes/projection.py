"""Projections of units down to the pictures, as tiles for the browser."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from convscope._instrument import Content, Instrument
from convscope._wire import Choice
from convscope_core.datasets import Images
from convscope_core.errors import ArgumentError
from convscope_core.explain import Projection, Unit, project_many
from convscope_core.explain.method import find, logits
from convscope_core.graph.geometry import Box
from convscope_core.measures import energy_box
from convscope_core.network import Layer, Network

__all__ = ["ProjectionPane", "Projector", "effective_box", "projection_tile", "signed_bytes", "visible"]

#: Prepared pictures that are kept, about 600 kB each.
KEPT = 64


class Projector:
    """Projects units of a network; a picture is prepared once, however often it is asked for.

    Parameters
    ----------
    net : Network

    Attributes
    ----------
    net : Network
    """

    def __init__(self, net: Network) -> None:
        self.net = net
        self._prepared: dict[int, torch.Tensor] = {}

    def through(self, net: Network) -> Projector:
        """Make that of a network with the same preprocessing and other weights; both keep pictures together."""
        other = Projector(net)
        other._prepared = self._prepared
        return other

    def __call__(self, images: Images, layer: Layer, units: Sequence[Unit], method: str) -> list[Projection]:
        """Project units whose pictures are counted in `images`."""
        used = list(dict.fromkeys(unit.image for unit in units))
        for index in used:
            if index not in self._prepared:
                self._prepared[index] = self.net.prepare(images[index].image)[0]
        pictures = Images.of([self._prepared[index] for index in used]) if used else images
        renumbered = [unit._replace(image=used.index(unit.image)) for unit in units]
        projections = project_many(self.net, pictures, layer.name, renumbered, method)
        while len(self._prepared) > KEPT:
            self._prepared.pop(next(iter(self._prepared)))
        return projections

    def forget(self) -> None:
        """Drop the prepared pictures."""
        self._prepared.clear()


class ProjectionPane(Instrument):
    """The method by which units are projected down to the pictures."""

    method = Choice(("deconvnet", "guided_backprop", "gradient"), default_value="deconvnet").tag(sync=True)
    """str: how activations are projected down to the pictures: "deconvnet" (Zeiler & Fergus 2014), "guided_backprop"
    (Springenberg et al. 2015) or "gradient". By default deconvnet where the network has max pooling; without it a
    deconvnet's projection hardly depends on the picture (Springenberg et al., section 3), and guided backprop is the
    default. On networks that both have no rule for (with SiLU or GELU, say) it is the gradient."""

    def __init__(self, net: Network, **options: Any) -> None:
        self._projector = Projector(net)
        super().__init__(net, **{"method": usual_method(net)} | options)

    def _projecting(self, content: Content) -> Projector:  # noqa: ARG002  what a pane that derives may need
        """What projects units of the network that a request is about."""
        return self._projector

    def _method(self, content: Content) -> str:
        return content.get("method") or self.method

    @property
    def _input_size(self) -> tuple[int, int]:
        height, width = self.net.input_shape[1:]
        return height, width

    def _forget(self) -> None:
        super()._forget()
        self._projector.forget()


def usual_method(net: Network) -> str:
    """Deconvnet where pooling switches tie its projections to the picture, else guided backprop.

    On a network with an operation that they have no rule for, the gradient.
    """
    pools = any(node.kind == "max_pool" for node in net.graph)
    for name in ("deconvnet", "guided_backprop") if pools else ("guided_backprop",):
        method = find(name)
        try:
            method.begin(net, method.options, logits(net), net.graph.input)
        except ArgumentError:
            continue
        return name
    return "gradient"


def visible(projection: Projection, size: tuple[int, int]) -> tuple[np.ndarray, list[int]]:
    """The part of a projection that lies in the picture, (C, h, w), and where: top, left, bottom, right."""
    height, width = size
    box = projection.box
    top, left = max(box.top, 0), max(box.left, 0)
    bottom, right = max(min(box.bottom, height), top), max(min(box.right, width), left)
    values = projection.values[:, top - box.top : bottom - box.top, left - box.left : right - box.left]
    return values, [top, left, bottom, right]


def effective_box(projection: Projection, size: tuple[int, int], share: float = 0.95) -> Box:
    """The square of the picture around what holds a share of a projection's energy."""
    values, (top, left, _, _) = visible(projection, size)
    if values.size == 0:
        return projection.box
    first, start, last, end = energy_box(values, share)
    side = max(last - first, end - start)
    row, column = top + (first + last - side) // 2, left + (start + end - side) // 2
    return Box(row, column, row + side, column + side)


def projection_tile(
    projection: Projection, size: tuple[int, int], side: int, shown: Box | None = None
) -> tuple[np.ndarray, float]:
    """A projection as the tile beside its crop: int8 (side, side, 3), and the magnitude of 127.

    Like the crop it shows the receptive field, or the whole picture where the field is as large as that; or the box of
    the picture that is asked for.
    """
    values, box = projection.values, projection.box
    if shown is not None:
        values = np.zeros((len(values), shown.bottom - shown.top, shown.right - shown.left), np.float32)
        part, (top, left, bottom, right) = visible(projection, size)
        above, before = max(top, shown.top), max(left, shown.left)
        below, after = max(min(bottom, shown.bottom), above), max(min(right, shown.right), before)
        values[:, above - shown.top : below - shown.top, before - shown.left : after - shown.left] = part[
            :, above - top : below - top, before - left : after - left
        ]
    elif box.bottom - box.top >= size[0] and box.right - box.left >= size[1]:
        part, (top, left, bottom, right) = visible(projection, size)
        values = np.zeros((len(values), *size), np.float32)
        values[:, top:bottom, left:right] = part
    if values.size == 0:  # the unit sees nothing but padding
        return np.zeros((side, side, 3), np.int8), 0.0
    large = max(values.shape[1:]) > side // 2
    resized = torch.nn.functional.interpolate(
        torch.from_numpy(values)[None],
        (side, side),
        # A field of a few pixels is shown as the pixels that it is.
        **({"mode": "bilinear", "antialias": True, "align_corners": False} if large else {"mode": "nearest"}),
    )
    return signed_bytes(resized[0].numpy())


def signed_bytes(values: np.ndarray) -> tuple[np.ndarray, float]:
    """Signed values (C, h, w) as int8 (h, w, 3), and the magnitude of 127: so large that few pixels exceed it."""
    if values.shape[0] != 3:
        values = np.broadcast_to(values.sum(0, keepdims=True), (3, *values.shape[1:]))
    magnitudes = np.abs(values)
    positive = magnitudes[magnitudes > 0]
    peak = float(np.percentile(positive, 99.5)) if positive.size else 0.0
    shades = np.rint(values * (127 / peak)).clip(-127, 127) if peak > 0 else np.zeros_like(values)
    return np.ascontiguousarray(np.moveaxis(shades, 0, -1).astype(np.int8)), peak
