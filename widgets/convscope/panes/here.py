"""What the selected unit picks out of the current picture, with the occluder on it."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import numpy as np
import torch

from convscope._instrument import Answer, Content, Request
from convscope._wire import Whole, fields
from convscope_core.explain import project

from .occluder import OccluderPane
from .projection import ProjectionPane, signed_bytes, visible
from .selection import SelectionPane

__all__ = ["HerePane"]


class _Seen(NamedTuple):
    """What a unit makes of a picture.

    That is the picture, (1, C, H, W); the maps of the layer, (units, h, w), before its ceiling; the unit's map, (h, w);
    where that is strongest, and how; and of what it is.
    """

    x: torch.Tensor
    maps: torch.Tensor
    feature_map: torch.Tensor
    strongest: dict[str, Any]
    of: dict[str, Any]


class HerePane(OccluderPane, SelectionPane, ProjectionPane):
    """The projection of the selected unit's strongest activation, where it lies in the current picture."""

    def _seen(self, content: Content) -> _Seen:
        """What a unit makes of the picture with the occluder on it."""
        setting = self._setting_of(content)
        occlusion = self._occlusion(setting.picture, setting.fill, setting.shape)
        position = occlusion.clip(content.get("position", self.position), setting.size)
        x = occlusion.occlude(position, setting.size)
        layer, channel = self._unit(content)
        maps = self._acting_net.activations(x, layer.name, before_ceiling=True)[layer.name][0]
        uncut = maps[channel]
        feature_map = uncut if layer.ceiling is None else uncut.clamp(max=layer.ceiling)
        row, column = divmod(int(uncut.argmax()), uncut.shape[1])
        strongest = {
            "row": row,
            "column": column,
            "value": float(feature_map[row, column]),
            "before": None if layer.ceiling is None else float(uncut[row, column]),
        }
        of = {"layer": layer.name, "channel": channel, "picture": setting.picture, "position": list(position)}
        return _Seen(x, maps, feature_map, strongest, of)

    @fields(channel=Whole())
    def _answer_here(self, content: Content) -> Answer:
        """The projection, and the milliseconds that it took: by them the front end tells whether a drag can bear it."""
        start = time.perf_counter()
        seen = self._seen(content)
        (layer, channel), method = self._unit(content), self._method(content)
        box, peak, shades = [0, 0, 0, 0], 0.0, np.zeros(0, np.int8)
        if seen.strongest["value"] > 0 or layer.activation is None:
            place = seen.strongest["row"], seen.strongest["column"]
            projection = project(self._acting_net, seen.x, layer.name, channel, place, method)
            values, box = visible(projection, self._input_size)
            shades, peak = signed_bytes(values)
        took = 1000 * (time.perf_counter() - start)
        return {**seen.of, **seen.strongest, "method": method, "box": box, "peak": peak, "milliseconds": took}, [shades]

    def _snapshot(self) -> list[Request]:
        requests = super()._snapshot()
        if self.selected is not None:
            requests.append(("here", {"layer": self.layer, "channel": self.selected}))
        return requests
