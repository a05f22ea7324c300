"""The layer and the unit that are looked at."""

from __future__ import annotations

from typing import Any

import traitlets

from convscope._instrument import Content, Instrument
from convscope_core.network import Layer

__all__ = ["SelectionPane"]


class SelectionPane(Instrument):
    """One layer and, perhaps, one unit of it, for the panes that show them."""

    layer = traitlets.Unicode().tag(sync=True)
    """str: name of the layer. Aliases (a rectifier's or block's name) are written out as the layer's own name."""

    selected = traitlets.Int(None, allow_none=True).tag(sync=True)
    """int or None: the selected unit (channel)."""

    def _layer(self, content: Content) -> Layer:
        return self.net.layer(str(content.get("layer") or self.layer))

    @traitlets.validate("layer")
    def _known_layer(self, proposal: Any) -> str:
        return self.net.layer(proposal["value"]).name

    @traitlets.validate("selected")
    def _existing_unit(self, proposal: Any) -> int | None:
        value = proposal["value"]
        channels = self.net.layer(self.layer).channels if self.layer else None
        if value is not None and channels is not None and not 0 <= value < channels:
            raise traitlets.TraitError(
                f"Expected selected, a unit of {self.layer} from 0 to {channels - 1}, got {value}."
            )
        return value

    @traitlets.observe("layer")
    def _keep_selection(self, _change: Any) -> None:
        # A unit that the new layer does not have is not selected in it.
        if self.selected is not None and self.selected >= self.net.layer(self.layer).channels:
            self.selected = None
