"""What the selected unit picks out of the current picture, with the occluder on it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from convscope._instrument import Answer, Content, Request
from convscope._wire import Whole, fields
from convscope_core.explain import project

from .occluder import OccluderPane
from .projection import ProjectionPane, signed_bytes, visible
from .selection import SelectionPane

__all__ = ["HerePane"]


class HerePane(OccluderPane, SelectionPane, ProjectionPane):
    """The projection of the selected unit's strongest activation, where it lies in the current picture."""

    def _seen(self, content: Content) -> tuple[torch.Tensor, torch.Tensor, dict[str, Any]]:
        """The picture with the occluder on it, (1, C, H, W); a unit's map of it, (h, w); and of what that is."""
        setting = self._setting_of(content)
        occlusion = self._occlusion(setting.picture, setting.fill, setting.shape)
        position = occlusion.clip(content.get("position", self.position), setting.size)
        x = occlusion.occlude(position, setting.size)
        layer, channel = self._unit(content)
        feature_map = self._acting_net.forward(x, [layer.name])[1][layer.name][0, channel]
        of = {"layer": layer.name, "channel": channel, "picture": setting.picture, "position": list(position)}
        return x, feature_map, of

    @fields(channel=Whole())
    def _answer_here(self, content: Content) -> Answer:
        x, feature_map, of = self._seen(content)
        (layer, channel), method = self._unit(content), self._method(content)
        row, column = divmod(int(feature_map.argmax()), feature_map.shape[1])
        value = float(feature_map[row, column])
        found = {
            **of,
            "method": method,
            "row": row,
            "column": column,
            "value": value,
        }
        if value <= 0 and layer.activation is not None:
            return {**found, "box": [0, 0, 0, 0], "peak": 0.0}, [b""]
        projection = project(self._acting_net, x, layer.name, channel, (row, column), method)
        values, box = visible(projection, self._input_size)
        shades, peak = signed_bytes(values)
        return {**found, "box": box, "peak": peak}, [np.ascontiguousarray(shades)]

    def _snapshot(self) -> list[Request]:
        requests = super()._snapshot()
        if self.selected is not None:
            requests.append(("here", {"layer": self.layer, "channel": self.selected}))
        return requests
