"""The layer and the unit that are looked at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import traitlets

from convscope._instrument import Content, Instrument
from convscope._wire import Whole, fields
from convscope_core.errors import LayerError
from convscope_core.network import Layer
from convscope_core.survey import Survey

__all__ = ["SelectionPane"]


class SelectionPane(Instrument):
    """One layer and, perhaps, one unit of it, for the panes that show them."""

    layer = traitlets.Unicode().tag(sync=True)
    """str: name of the layer. Aliases (a rectifier's or block's name) are written out as the layer's own name."""

    selected = Whole(None, allow_none=True).tag(sync=True)
    """int or None: the selected unit (channel)."""

    #: What a pane that has a survey looks layers up in.
    survey: Survey | None = None

    @fields(channel=Whole())
    def _take_open(self, content: Content, _buffers: Sequence[memoryview]) -> None:
        """Select the unit on which a page opens a layer, unless one has been selected: that was somebody's choice."""
        layer, channel = self._unit(content)
        if self.selected is None and self.layer == layer.name:
            self.selected = channel

    def _layer(self, content: Content) -> Layer:
        """The layer that a request is about; by default the selected one."""
        return self.net.layer(content.get("layer") or self.layer)

    def _unit(self, content: Content) -> tuple[Layer, int]:
        """The layer and the channel that a request is about."""
        layer, (channel,) = self._existing(content, [content["channel"]])
        return layer, channel

    def _units(self, content: Content) -> tuple[Layer, list[int]]:
        """The layer and the channels that a request is about."""
        return self._existing(content, list(dict.fromkeys(content["channels"])))  # each once: as many as there are

    def _existing(self, content: Content, channels: list[int]) -> tuple[Layer, list[int]]:
        layer = self._layer(content)
        for channel in channels:
            if not 0 <= channel < layer.channels:
                raise LayerError(f"Expected a unit of {layer.name} from 0 to {layer.channels - 1}, got {channel}.")
        return layer, channels

    @traitlets.validate("layer")
    def _known_layer(self, proposal: Any) -> str:
        layer = self.net.layer(proposal["value"])
        if self.survey is not None and layer.kind == "pool":
            self.survey.layer(layer)
        return layer.name

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
