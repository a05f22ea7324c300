"""The paper's linked panels: what the network says for every position of the occluder."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import traitlets

from convscope_core.network import Network
from convscope_core.occlusion import OcclusionResult, occluding_map

from ._instrument import Answer, bundle, require_network
from .occluder import Occluder, core_shape

__all__ = ["OcclusionMap"]

#: Partial maps are shown at most this often, seconds.
SHOW_EVERY = 0.2
#: A drag waits for one batch of the map; so long at most, seconds.
SLICE = 0.2
#: Maps kept, so that going back to a fill or a size costs nothing.
KEPT = 4

#: Before anything is computed.
PROGRESS = {"state": "none", "revision": 0, "done": 0, "total": 0, "left": None}

Setting = tuple[Any, ...]


class OcclusionMap(Occluder):
    """Slide an occluder over the whole picture: four linked panels.

    The picture with the occluder | the activity of one map of a layer | the probability of a class | the most probable
    class, each for every position of the occluder. Hovering one panel marks the place on all; a click puts the
    occluder there. The maps come from coarse to fine while one looks; until the first exact values are there, a
    first-order estimate is shown and marked "preview". Choosing another class or another map of the layer computes
    nothing anew.

    The occluder itself is that of `Occluder`: drag it, resize it, change its fill or form; the maps follow. The last
    few are kept, finished or not, so that going back costs nothing.

    Parameters
    ----------
    net : Network
    image : path, bytes, PIL image, array, tensor or Picture
        Anything `Network.prepare` takes.
    size : int or (int, int), optional
        Side, or height and width, of the occluder, px of the network's input. Default: the paper's 50, and 50/224 of
        the shorter side on inputs of less than 100 px.
    stride : int or (int, int), optional
        Distance of neighbouring positions, px. Default: the paper's 6, on small inputs the same share of the picture.
    fill, shape
        Of the occluder; see `Occluder`.
    target : int, str or None, optional
        Class to follow; by default the most probable of the clean picture.
    layer : str, optional
        Layer of which one map's activity is shown. Default: the last convolution with a map.
    channel : int, optional
        The map. Default: the one with the greatest sum for the clean picture.
    **traits
        Further traits: `position`, `colormap`.

    Raises
    ------
    ImageError
        If the picture cannot be read.
    LayerError, ArgumentError, traitlets.TraitError
        If an option is out of range; the message says what was expected.

    References
    ----------
    M. D. Zeiler, R. Fergus: Visualizing and Understanding Convolutional Networks, ECCV 2014, section 4.2, fig. 7.

    Examples
    --------
    >>> maps = cs.OcclusionMap(net, "dog.jpg")      # doctest: +SKIP
    >>> maps.wait(None)                             # doctest: +SKIP
    >>> maps.result.save("dog.safetensors")         # doctest: +SKIP
    """

    _name = "map"
    _esm = bundle(_name)

    stride = traitlets.Union([traitlets.Int(), traitlets.Tuple(traitlets.Int(), traitlets.Int())], default_value=6).tag(
        sync=True
    )
    """int or (int, int): distance of neighbouring positions, px of the network's input; one, or (down, across)."""

    layer = traitlets.Unicode("").tag(sync=True)
    """str: the layer whose activity is shown; "" where the network has no convolution with a map."""

    channel = traitlets.Int(None, allow_none=True).tag(sync=True)
    """int or None: the map of that layer; None for the strongest of the clean picture."""

    show_trail = traitlets.Bool(False).tag(sync=True)

    _map: traitlets.Dict = traitlets.Dict(default_value=PROGRESS).tag(sync=True)

    def __init__(
        self,
        net: Network,
        image: Any,
        size: int | tuple[int, int] | None = None,
        stride: int | tuple[int, int] | None = None,
        fill: Any = "grey",
        target: int | str | None = None,
        layer: str | None = None,
        *,
        channel: int | None = None,
        shape: Any = "square",
        **traits: Any,
    ) -> None:
        require_network(net)
        self._results: dict[Setting, OcclusionResult] = {}
        self._running: Setting | None = None
        self._begun = False
        self._cancel = threading.Event()
        if stride is None:
            stride = usual_stride(*net.input_shape[1:])
        if layer is None:
            layer = next((one.name for one in reversed(map_layers(net))), "")
        super().__init__(
            net, image, target, size, shape, fill, stride=stride, layer=layer, channel=channel, **traits
        )  # fmt: skip
        self._begun = True
        self.start()

    # ---- what may be set

    @traitlets.validate("stride")
    def _possible_stride(self, proposal: Any) -> int | tuple[int, int]:
        value = proposal["value"]
        down, across = (value, value) if isinstance(value, int) else value
        if min(down, across) < 1:
            raise traitlets.TraitError(f"stride: expected at least 1 px, got {value}")
        return down if down == across else (down, across)

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
                f"channel: expected a map of {self.layer or 'no layer'}, 0 to {count - 1}, got {value}"
            )
        return int(value)

    @traitlets.observe("picture", "size", "shape", "fill", "stride", "layer", "_revision")
    def _other_setting(self, _change: Any) -> None:
        if self.channel is not None and (not self.layer or self.channel >= self.net.layer(self.layer).channels):
            self.channel = None
        if getattr(self, "_worker", None) is not None and self.comm is not None and self._begun:
            self.start()

    # ---- computing

    @property
    def result(self) -> OcclusionResult | None:
        """The maps for the present settings, as far as they are computed: an OcclusionResult, or None."""
        found = self._results.get(self._setting())
        return None if found is None else self._followed(found, self.target, self.channel)

    def start(self) -> None:
        """Compute the maps for the present settings in the background, or go on where `cancel` stopped.

        Called by the constructor and by every change of a setting.
        """
        self._begin(self._setting())

    def _begin(self, setting: Setting) -> None:
        if self._running == setting and not self._cancel.is_set():
            return
        self._cancel = threading.Event()
        self._running = setting
        self._failures.pop("map", None)
        self._show("running", self._results.get(setting))
        self._worker.start(self._job(setting, self._cancel))

    def cancel(self) -> None:
        """Stop; what is computed stays."""
        # Seen by the job after the batch under way, a fraction of a second.
        self._cancel.set()

    def _setting(self, content: Mapping[str, Any] | None = None) -> Setting:
        """What maps depend on, as a request says or as the traits are. Target and channel are followed afterwards."""
        picture, fill, shape, size, _ = self._asked(content)
        asked = content or {}
        stride = asked.get("stride", self.stride)
        stride = tuple(stride) if isinstance(stride, (list, tuple)) else int(stride)
        return (self._revision, picture, fill, shape, size, stride, asked.get("layer", self.layer))

    def _job(self, setting: Setting, cancel: threading.Event) -> Iterator[None]:
        known = result = self._results.get(setting)
        state = "done"
        if known is None or not known.complete:
            begun = shown = time.monotonic()
            before: int | None = None
            try:
                for result in self._steps(setting, known):
                    self._keep(setting, result)
                    if self._running != setting:  # another job has taken this one's place in the middle of a batch
                        return
                    if cancel.is_set():
                        state = "cancelled"
                        break
                    now = time.monotonic()
                    done, total = int(result.computed.sum()), result.label.size
                    before = done if before is None else before
                    left = (now - begun) / (done - before) * (total - done) if done > before else None
                    if now - shown > SHOW_EVERY or done == 0:
                        shown = now
                        self._show("running", result, left)
                    yield
            except Exception as error:
                state = "failed"
                self._failed("map", error)
        if self._running == setting:
            self._running = None
            self._show(state, result)

    def _steps(self, setting: Setting, known: OcclusionResult | None) -> Iterator[OcclusionResult]:
        _, picture, fill, shape, size, stride, layer = setting
        return occluding_map(
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

    def _keep(self, setting: Setting, result: OcclusionResult) -> None:
        self._results.pop(setting, None)
        while len(self._results) >= KEPT:
            self._results.pop(next(iter(self._results)))
        self._results[setting] = result

    def _show(self, state: str, result: OcclusionResult | None, left: float | None = None) -> None:
        """Tell the front end how far the maps are; it asks for them."""
        self._map = {
            "state": state,
            "revision": self._map["revision"] + 1,
            "done": 0 if result is None else int(result.computed.sum()),
            "total": 0 if result is None else int(result.label.size),
            "left": left,
        }

    def _cancelled(self) -> None:
        self.cancel()

    # ---- answering

    def _followed(self, result: OcclusionResult, target: int | None, channel: int | None) -> OcclusionResult:
        index = result.clean.index if target is None else target
        if channel is None or result.layer is None:
            return result.follow(target=index)
        return result.follow(target=index, channel=channel)

    def _answer_compute(self, content: Mapping[str, Any], _buffers: Sequence[Any]) -> Answer:
        self._begin(self._setting(content))
        return {}, []

    def _answer_map(self, content: Mapping[str, Any], _buffers: Sequence[Any]) -> Answer:
        found = self._results.get(self._setting(content))
        if found is None:
            return {"rows": 0, "columns": 0}, []
        result = self._followed(found, content.get("target", self.target), content.get("channel", self.channel))
        rows, columns = result.label.shape
        present = [int(one) for one in np.unique(result.label) if one >= 0]
        probability, activity = result.probability, result.activity
        preview = result.preview if not result.computed.any() else None
        if preview is not None:
            probability, activity = preview.probability, preview.activity
        fields = {
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
        return fields, [np.ascontiguousarray(plane, kind).tobytes() for plane, kind in planes]

    def _snapshot(self) -> list[tuple[str, dict[str, Any]]]:
        return [*super()._snapshot(), ("map", {})]


def map_layers(net: Network) -> list[Any]:
    """Convolutions with maps."""
    return [layer for layer in net.layers if layer.kind == "conv" and layer.size != (1, 1)]


def usual_stride(height: int, width: int) -> int:
    """The paper's 6 px; on small inputs the same share of the picture, 6/224."""
    side = min(height, width)
    return 6 if side >= 100 else max(1, round(side * 6 / 224))
