"""Projections behind an instrument: what units picked out of the pictures, as tiles for the browser."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import traitlets

from convscope_core.datasets import Images
from convscope_core.errors import ArgumentError
from convscope_core.explain import Projection, Unit, project, project_many
from convscope_core.explain.method import find, logits
from convscope_core.network import Layer, Network

from ._instrument import Answer
from ._surveying import CROP_SIDE, SurveyPart

__all__ = ["ProjectionPart"]

#: Side of a tile of the filter grid, px.
TILE_SIDE = 48
#: Tiles kept, 7 kB each; and prepared pictures, about 600 kB each.
KEPT_TILES, KEPT_PICTURES = 4096, 64


class ProjectionPart(SurveyPart):
    """What instruments with projections share: the method, and the tiles for a unit and for a layer."""

    method = traitlets.Enum(("deconvnet", "guided_backprop", "gradient"), default_value="deconvnet").tag(sync=True)
    """str: how activations are projected down to the pictures: "deconvnet" (Zeiler & Fergus 2014), "guided_backprop"
    (Springenberg et al. 2015) or "gradient". By default deconvnet where the network has max pooling; without it a
    deconvnet's projection hardly depends on the picture (Springenberg et al., section 3), and guided backprop is the
    default. On networks that both have no rule for (with SiLU or GELU, say) it is the gradient."""

    contrast = traitlets.Enum(("tile", "group"), default_value="tile").tag(sync=True)
    """str: whether each projection spans the range from black to white, or the projections of a unit share it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._tiles: dict[tuple[str, str, Unit], np.ndarray] = {}
        self._inputs: dict[int, torch.Tensor] = {}
        super().__init__(*args, **kwargs)
        if "method" not in kwargs:
            self.method = usual_method(self.net)

    def _project(self, images: Images, layer: Layer, units: Sequence[Unit], method: str) -> list[Projection]:
        """Project units whose pictures are counted in `images`, each read once however often it is asked for."""
        used = list(dict.fromkeys(unit.image for unit in units))
        for index in used:
            if index not in self._inputs:
                self._inputs[index] = self.net.prepare(images[index].image)[0]
        pictures = Images.of([self._inputs[index] for index in used]) if used else images
        renumbered = [unit._replace(image=used.index(unit.image)) for unit in units]
        made = project_many(self.net, pictures, layer.name, renumbered, method)
        while len(self._inputs) > KEPT_PICTURES:
            self._inputs.pop(next(iter(self._inputs)))
        return made

    def _answer_projections(self, content: Mapping[str, Any], _buffers: Sequence[Any]) -> Answer:
        """The projections of a unit's exemplars, in their order."""
        survey = self._surveyed()
        layer, channel = self.net.layer(str(content["layer"])), int(content["channel"])
        units = [Unit(one.image, channel, one.row, one.column, one.value) for one in survey.top(layer.name, channel)]
        method = str(content.get("method") or self.method)
        made = self._project(survey.images, layer, units, method)
        tiles, peaks = zip(*(tile(one, self._size, CROP_SIDE) for one in made), strict=True) if made else ((), ())
        fields = {
            "layer": layer.name,
            "channel": channel,
            "method": method,
            "side": CROP_SIDE,
            "peaks": list(peaks),
        }
        return fields, [b"".join(one.tobytes() for one in tiles)]

    def _answer_tiles(self, content: Mapping[str, Any], _buffers: Sequence[Any]) -> Answer:
        """Projections of the best patches of some of a layer's channels."""
        survey = self._surveyed()
        layer, method = self.net.layer(str(content["layer"])), str(content.get("method") or self.method)
        wanted = [int(one) for one in content["channels"]]
        found: dict[int, np.ndarray] = {}
        missing: list[Unit] = []
        for channel in wanted:
            best = next(iter(survey.top(layer.name, channel)), None)
            if best is None or best.value <= 0:
                found[channel] = np.full((TILE_SIDE, TILE_SIDE, 3), 128, np.uint8)
                continue
            unit = Unit(best.image, channel, best.row, best.column, best.value)
            known = self._tiles.get((layer.name, method, unit))
            if known is None:
                missing.append(unit)
            else:
                found[channel] = known
        for unit, one in zip(missing, self._project(survey.images, layer, missing, method), strict=True):
            shades, _ = tile(one, self._size, TILE_SIDE)
            found[unit.channel] = (shades.astype(np.int16) + 128).astype(np.uint8)
            while len(self._tiles) >= KEPT_TILES:
                self._tiles.pop(next(iter(self._tiles)))
            self._tiles[layer.name, method, unit] = found[unit.channel]
        fields = {"layer": layer.name, "method": method, "channels": wanted, "side": TILE_SIDE}
        return fields, [b"".join(found[c].tobytes() for c in wanted)]

    def _project_here(self, x: torch.Tensor, content: Mapping[str, Any]) -> Answer:
        """The projection of a unit's strongest activation on a prepared picture, where it lies in that."""
        layer, channel = self.net.layer(str(content["layer"])), int(content["channel"])
        maps = self.net.forward(x, [layer.name])[1][layer.name][0, channel]
        row, column = divmod(int(maps.argmax()), maps.shape[1])
        value = float(maps[row, column])
        method = str(content.get("method") or self.method)
        head = {
            "layer": layer.name,
            "channel": channel,
            "method": method,
            "row": row,
            "column": column,
            "value": value,
        }
        if value <= 0:
            return {**head, "box": [0, 0, 0, 0], "peak": 0.0}, [b""]
        made = project(self.net, x, layer.name, channel, (row, column), method)
        values, box = inside(made, self._size)
        shades, peak = signed_bytes(values)
        return {**head, "box": box, "peak": peak}, [np.ascontiguousarray(shades).tobytes()]

    @property
    def _size(self) -> tuple[int, int]:
        height, width = self.net.input_shape[1:]
        return height, width

    def _forget(self) -> None:
        super()._forget()
        self._tiles.clear()
        self._inputs.clear()


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


def inside(made: Projection, size: tuple[int, int]) -> tuple[np.ndarray, list[int]]:
    """The part of a projection that lies in the picture, (C, h, w), and where: top, left, bottom, right."""
    height, width = size
    box = made.box
    top, left = max(box.top, 0), max(box.left, 0)
    bottom, right = max(min(box.bottom, height), top), max(min(box.right, width), left)
    return made.values[:, top - box.top : bottom - box.top, left - box.left : right - box.left], [
        top,
        left,
        bottom,
        right,
    ]


def tile(made: Projection, size: tuple[int, int], side: int) -> tuple[np.ndarray, float]:
    """A projection as the tile beside its crop: int8 (side, side, 3), and the magnitude of 127.

    Like the crop it shows the receptive field, or the whole picture where the field is as large as that.
    """
    values = made.values
    if made.box.bottom - made.box.top >= size[0] and made.box.right - made.box.left >= size[1]:
        part, (top, left, bottom, right) = inside(made, size)
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
    size = np.abs(values)
    seen = size[size > 0]
    peak = float(np.percentile(seen, 99.5)) if seen.size else 0.0
    shades = np.rint(values * (127 / peak)).clip(-127, 127) if peak > 0 else np.zeros_like(values)
    return np.ascontiguousarray(np.moveaxis(shades, 0, -1).astype(np.int8)), peak
