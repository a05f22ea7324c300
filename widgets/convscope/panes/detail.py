"""One unit, large: its map over the picture, and what of the picture one place of it hangs on."""

from __future__ import annotations

import numpy as np

from convscope._instrument import Answer, Content, Request
from convscope._wire import Whole, fields
from convscope_core.explain import effective_field

from .here import HerePane

__all__ = ["DetailPane"]


class DetailPane(HerePane):
    """The map of the selected unit on the current picture, and the receptive fields of one of its places."""

    @fields(channel=Whole(), row=Whole(None, allow_none=True), column=Whole(None, allow_none=True))
    def _answer_detail(self, content: Content) -> Answer:
        """The map; and of a place, by default the strongest, the receptive field and the effective one."""
        x, maps, feature_map, best, of = self._seen(content)
        layer = self._acting_net.layer(of["layer"])
        height, width = feature_map.shape
        strongest = best["row"], best["column"]
        row, column = content.get("row"), content.get("column")
        place = strongest if row is None or column is None else (row, column)
        found = effective_field(self._acting_net, x, of["layer"], of["channel"], place)
        answer = {
            **of,
            "height": height,
            "width": width,
            "signed": self._goes_below_zero(layer, maps, self._current(content).image),
            "strongest": list(strongest),
            "place": list(place),
            "field": list(layer.box(*place)),
            "effective": None if found.box is None else list(found.box),
            "share": found.share,
        }
        return answer, [feature_map.cpu().numpy().astype(np.float32)]

    def _snapshot(self) -> list[Request]:
        requests = super()._snapshot()
        if self.selected is not None:
            requests.append(("detail", {"layer": self.layer, "channel": self.selected}))
        return requests
