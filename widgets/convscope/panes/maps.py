"""What the network predicts for every position of the occluder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import traitlets

from convscope._instrument import Answer, Content, Request
from convscope._job import Job, Step, progress
from convscope._still import Strip
from convscope._wire import Real, Whole
from convscope_core.errors import ArgumentError
from convscope_core.network import Network
from convscope_core.occlusion import OcclusionResult, occluding_map

from .occluder import OccluderPane, core_shape

__all__ = ["MapsPane", "usual_stride"]

#: Partial maps are shown at most this often, seconds.
SHOW_EVERY = 0.2
#: A drag waits for one batch of the map; so long at most, seconds.
SLICE = 0.2
#: Maps kept, so that going back to a fill or a size costs nothing.
KEPT = 4

#: What maps depend on: revision, picture, fill, shape, size, stride and layer.
MapSetting = tuple[Any, ...]


class MapsPane(OccluderPane):
    """Maps of the probability, the most probable class and a unit's activity, over the positions of the occluder."""

    stride = traitlets.Union([Whole(), traitlets.Tuple(Whole(), Whole())], default_value=6).tag(sync=True)
    """int or (int, int): distance of neighbouring positions, px of the network's input; one, or (down, across)."""

    layer = traitlets.Unicode("").tag(sync=True)
    """str: the layer whose activity is shown; "" where the network has no convolution with feature maps."""

    channel = Whole(None, allow_none=True).tag(sync=True)
    """int or None: the unit of that layer; None for the strongest of the clean picture."""

    opacity = Real(1.0, min=0.0, max=1.0).tag(sync=True)
    """float: of the maps over the picture, 0..1."""

    show_trail = traitlets.Bool(False).tag(sync=True)

    _map = progress()

    def __init__(self, net: Network, **options: Any) -> None:
        self._results: dict[MapSetting, OcclusionResult] = {}
        self._computing: MapSetting | None = None
        # The figure of the maps says by itself how far they are.
        self._map_job = Job(self, "map", "_map", SHOW_EVERY, counted="positions", drawn=lambda what: what == "")
        super().__init__(net, **options)

    # ---- what may be set

    @traitlets.validate("stride")
    def _possible_stride(self, proposal: Any) -> int | tuple[int, int]:
        return checked_stride(proposal["value"])

    @traitlets.validate("layer")
    def _known_layer(self, proposal: Any) -> str:
        return self.net.layer(proposal["value"]).name if proposal["value"] else ""

    @traitlets.validate("channel")
    def _known_channel(self, proposal: Any) -> int | None:
        value = proposal["value"]
        if value is None:
            return None
        count = self.net.layer(self.layer).channels if self.layer else 0
        if not 0 <= value < count:
            raise traitlets.TraitError(
                f"Expected channel, a unit of {self.layer or 'no layer'} from 0 to {count - 1}, got {value}."
            )
        return int(value)

    @traitlets.observe("picture", "size", "shape", "fill", "stride", "layer", "_revision")
    def _other_setting(self, _change: Any) -> None:
        if self.channel is not None and (not self.layer or self.channel >= self.net.layer(self.layer).channels):
            self.channel = None
        if self._live:
            self.start()

    # ---- computing

    @property
    def result(self) -> OcclusionResult | None:
        """The maps for the present settings, as far as they are computed: an OcclusionResult, or None."""
        result = self._results.get(self._map_setting())
        return None if result is None else self._followed(result, self.target, self.channel)

    def start(self) -> None:
        """Compute the maps for the present settings in the background, or go on where `cancel` stopped.

        Called by the constructor and by every change of a setting.
        """
        self._begin(self._map_setting())

    def cancel(self) -> None:
        """Stop; what is computed stays."""
        # Seen by the job after the batch under way, a fraction of a second.
        self._map_job.cancel()

    def _begin(self, setting: MapSetting) -> None:
        if self._map_job.running and self._computing == setting:
            return
        self._computing = setting
        known = self._results.get(setting)
        self._map_job.start(self._map_steps(setting, known), *(counts(known) if known is not None else (0, 0)))

    def _map_setting(self, content: Content | None = None) -> MapSetting:
        """What maps depend on, by a request or by the traits. Target and channel are followed afterwards."""
        picture, fill, shape, size, _ = self._setting_of(content)
        message = content or {}
        stride = checked_stride(message.get("stride", self.stride))
        layer = message.get("layer", self.layer)
        return (self._revision, picture, fill, shape, size, stride, self.net.layer(layer).name if layer else "")

    def _map_steps(self, setting: MapSetting, known: OcclusionResult | None) -> Iterator[Step]:
        if known is not None and known.complete:
            yield Step(*counts(known), state="done")
            return
        _, picture, fill, shape, size, stride, layer = setting
        results = occluding_map(
            self.net,
            self.images[picture].image,
            size,
            stride,
            self._core_fill(fill),
            None,
            layer or None,
            shape=core_shape(shape),
            keep_all=True,
            preview=known is None,
            seconds=SLICE,
            start=known,
        )
        for result in results:
            self._keep(setting, result)
            done, total = counts(result)
            yield Step(done, total, fresh=True if done == 0 else None)  # a preview is shown at once

    def _keep(self, setting: MapSetting, result: OcclusionResult) -> None:
        self._results.pop(setting, None)
        while len(self._results) >= KEPT:
            self._results.pop(next(iter(self._results)))
        self._results[setting] = result

    # ---- answering

    def _followed(self, result: OcclusionResult, target: int | None, channel: int | None) -> OcclusionResult:
        index = result.clean.index if target is None else target
        if channel is None or result.layer is None:
            return result.follow(target=index)
        return result.follow(target=index, channel=channel)

    def _answer_compute(self, content: Content) -> Answer:
        self._begin(self._map_setting(content))
        return {}, []

    def _answer_map(self, content: Content) -> Answer:
        known = self._results.get(self._map_setting(content))
        if known is None:
            return {"rows": 0, "columns": 0}, []
        target, channel = self._setting_of(content).target, content.get("channel", self.channel)
        result = self._followed(known, target, channel)
        rows, columns = result.label.shape
        present = [int(one) for one in np.unique(result.label) if one >= 0]
        probability, activity = result.probability, result.activity
        preview = result.preview if not result.computed.any() else None
        if preview is not None:
            probability, activity = preview.probability, preview.activity
        answer = {
            "rows": rows,
            "columns": columns,
            "tops": result.positions[:, 0, 0].tolist(),
            "lefts": result.positions[0, :, 1].tolist(),
            "size": list(result.size),
            "stride": list(result.stride),
            "preview": preview is not None,
            "target": {"index": result.target, "label": result.labels[result.target]},
            "clean": {
                "index": result.clean.index,
                "label": result.clean.label,
                "probability": float(result.clean.probabilities[result.target]),
                "activity": None if result.layer is None else result.clean_activity,
            },
            "layer": result.layer,
            "unit": result.channel,
            "labels": {str(one): result.labels[one] for one in present},
        }
        planes = [(probability, np.float32), (activity, np.float32), (result.label, np.int32)]
        return answer, [np.asarray(plane, kind) for plane, kind in planes]

    def _strips(self) -> list[Strip]:
        result = self.result
        if result is None or not result.computed.all():
            return super()._strips()
        shades = np.nan_to_num(255 * result.probability).clip(0, 255).astype(np.uint8)
        text = f"probability of {result.labels[result.target]} for each place of the occluder, black 0, white 1"
        if unknown := int(np.isnan(result.probability).sum()):
            text += f", and black at {unknown} places where the network returns NaN"
        return [*super()._strips(), Strip(text, [np.repeat(shades[..., None], 3, axis=2)], 224)]

    def _figures(self) -> Mapping[str, Callable[[], Any]]:
        return {"maps": lambda: self._plotted(self.result), **super()._figures()}

    def _snapshot(self) -> list[Request]:
        return [*super()._snapshot(), ("map", {})]


def checked_stride(value: int | tuple[int, int]) -> int | tuple[int, int]:
    """A stride; one number where it is the same down and across."""
    down, across = (value, value) if isinstance(value, int) else value
    if min(down, across) < 1:
        raise ArgumentError(f"Expected stride, at least 1 px, got {value}.")
    return down if down == across else (down, across)


def counts(result: OcclusionResult) -> tuple[int, int]:
    """How many positions are computed, and of how many."""
    return int(result.computed.sum()), int(result.label.size)


def usual_stride(height: int, width: int) -> int:
    """The paper's 6 px; on small inputs the same share of the picture, 6/224."""
    side = min(height, width)
    return 6 if side >= 100 else max(1, round(side * 6 / 224))
