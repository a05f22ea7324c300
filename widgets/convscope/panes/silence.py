"""Units that are held at zero, and what the network says without them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import traitlets

from convscope._instrument import Answer, Content, Request
from convscope._wire import Choice, Value, fields
from convscope_core.datasets import Images
from convscope_core.errors import ArgumentError
from convscope_core.locks import Lock
from convscope_core.network import Layer, Network, Prediction

from .occluder import LiveOccluder, OccluderPane, Setting
from .selection import SelectionPane
from .survey import SurveyPane

__all__ = ["SilencePane"]


class SilencePane(OccluderPane, SelectionPane, SurveyPane):
    """Units that say nothing: class probabilities, occluder, feature maps and projections are those without them.

    A survey stays that of the whole network.
    """

    silenced = Value({}).tag(
        sync=True, to_json=lambda silenced, _: to_browser(silenced), from_json=lambda value, _: from_browser(value)
    )
    """dict of str to list of int: by layer, the units that are held at zero; {} for none. Layers are convolutions and
    linear layers, by name or alias, as for `Network.silenced`; units a number, several, or None for all of the layer.
    A layer's half: ``explorer.silenced = {layer: explorer.survey.half(layer, "weakest")}``."""

    def __init__(self, net: Network, *, images: Images, **options: Any) -> None:
        #: The last network with silenced units that was made, and which they are.
        self._silent: tuple[dict[str, list[int]], Network] = {}, net
        #: The worker and a figure may both be the first to let it answer.
        self._falling = Lock()
        #: A frame without the silenced units, and the most probable class there with them.
        self._unsilenced: tuple[dict[str, Any], dict[str, Any]] | None = None
        super().__init__(net, images=images, **options)
        #: The occluder of the whole network.
        self._whole = self._occluder
        if self.silenced:
            self._fall_silent()

    @traitlets.validate("silenced")
    def _possible_silence(self, proposal: Any) -> dict[str, list[int]]:
        units = listed(proposal["value"])
        net = self.net.silenced(units, f"{self.net.name} with silenced units")
        silenced = in_order(self.net, units)
        if silenced and silenced != self._silent[0]:
            self._silent = silenced, net
        return silenced

    @traitlets.observe("silenced")
    def _follow_silence(self, _change: Any) -> None:
        def follow() -> None:
            self._fall_silent()
            self._compute()

        if self._live:
            self._worker.submit("silence", lambda: self._guarded("silence", follow))

    def _fall_silent(self) -> None:
        """Let the network without the silenced units answer from now on."""
        with self._falling:
            silenced, net = self._silent
            if not self.silenced:
                if self._occluder is self._whole:
                    return
                occluder = self._whole
            elif silenced == self.silenced and net is not self._occluder.net:
                occluder = LiveOccluder(net)
                occluder.trail = self._whole.trail
            else:
                return
            self._occluder.forget()
            self._occluder = occluder
        self._revision += 1

    def _whole_prediction(self, setting: Setting) -> Prediction | None:
        if self._occluder is self._whole:
            return None
        return self._occlusion(setting.picture, setting.fill, setting.shape, self._whole).clean

    def _silent_units(self, layer: Layer) -> list[int]:
        silenced, net = self._silent
        return silenced.get(layer.name, []) if net is self._acting_net else []

    def _figure_notes(self, what: str) -> list[str]:
        # A figure shows what the traits are, also right after they were set.
        self._fall_silent()
        of_layers = [
            f"{len(units)} {'unit' if len(units) == 1 else 'units'} of {layer}"
            for layer, units in self.silenced.items()
        ]
        notes = super()._figure_notes(what)
        if not of_layers:
            return notes
        of_whole = "; the survey, and so this figure, is of the whole network" if what == "unit" else ""
        return [f"{', '.join(of_layers)} silenced{of_whole}", *notes]

    def _compute(self, content: Content | None = None) -> dict[str, Any]:
        frame = super()._compute(content)
        if "whole" not in frame["target"]:
            return {**frame, "silenced": 0}
        known = {**frame, "silenced": sum(map(len, self._silent[0].values()))}
        # Only beside the whole network's answer under the same occluder can be said what the units do to it. A drag
        # does not wait for that: it is asked once more where it ends.
        if (content or {}).get("dragging", False):
            return known
        if self._unsilenced is None or self._unsilenced[0] is not frame:
            picture, fill, shape, size, _ = self._setting_of(content)
            occlusion = self._occlusion(picture, fill, shape, self._whole)
            with self._whole.threads.chosen((picture, fill, shape, size)):
                now = occlusion.predict(tuple(frame["position"]), size)
            self._unsilenced = frame, {"index": now.index, "label": now.labels[now.index]}
        return {**known, "unsilenced": self._unsilenced[1]}

    def _answer_silenceable(self, content: Content) -> Answer:
        """Why units of a layer cannot be silenced; None where they can."""
        layer = self._layer(content)
        try:
            self.net.silenced({layer.name: []})
        except ArgumentError as error:
            return {"layer": layer.name, "refused": str(error)}, []
        return {"layer": layer.name, "refused": None}, []

    @fields(which=Choice(("strongest", "weakest", "all", "none")))
    def _take_silence(self, content: Content, _buffers: Sequence[memoryview]) -> None:
        layer, which = self._layer(content).name, content["which"]

        def silence() -> None:
            half = which in ("strongest", "weakest")
            units = self._surveyed().half(layer, which) if half else None if which == "all" else []
            self.silenced = {**self.silenced, layer: units}

        self._worker.submit("silence more", lambda: self._guarded("silence", silence))

    def _snapshot(self) -> list[Request]:
        return [*super()._snapshot(), ("silenceable", {"layer": self.layer})]

    def _forget(self) -> None:
        super()._forget()
        self._whole.forget()


def listed(silenced: Any) -> dict[str, list[Any] | None]:
    """Silenced units by layer, each as a list; None for all."""
    if silenced is not None and not isinstance(silenced, Mapping):
        raise ArgumentError(
            f"Expected silenced as a dict of layers to their units, got {silenced!r:.80}. For example {{'conv1': [3]}}."
        )
    return {
        layer: None if units is None else list(units) if is_several(units) else [units]
        for layer, units in (silenced or {}).items()
    }


def is_several(units: Any) -> bool:
    return isinstance(units, Iterable) and not isinstance(units, str)


def in_order(net: Network, silenced: Mapping[str, list[Any] | None]) -> dict[str, list[int]]:
    """Silenced units as the trait keeps them: by the layers' own names, in the network's order, ascending."""
    found: dict[str, set[int]] = {}
    for key, units in silenced.items():
        layer = net.layer(key)
        found.setdefault(layer.name, set()).update(range(layer.channels) if units is None else map(int, units))
    return {layer.name: sorted(found[layer.name]) for layer in net.layers if found.get(layer.name)}


def to_browser(silenced: Mapping[str, list[int]]) -> list[list[Any]]:
    """Silenced units as pairs of a layer and its units, in the layers' order."""
    return [[layer, units] for layer, units in silenced.items()]


def from_browser(value: Any) -> Any:
    """Undo `to_browser`."""
    pairs = isinstance(value, list) and all(
        isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str) and isinstance(pair[1], list)
        for pair in value
    )
    if not pairs:
        raise ArgumentError(
            f"Expected silenced as a list of layers and their units, got {value!r:.80}. Reload the page."
        )
    return dict(value)
