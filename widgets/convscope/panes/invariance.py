"""A picture that is moved or changed, and what that does to layers and to the class."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import traitlets

from convscope._colours import ramp
from convscope._instrument import Answer, Content, Request, framed
from convscope._job import Job, Step, progress
from convscope._still import Strip
from convscope._wire import Choice, Real
from convscope_core.arguments import require_choice
from convscope_core.datasets import Images
from convscope_core.errors import ArgumentError
from convscope_core.experiments import (
    ConsistencyResult,
    InvarianceResult,
    measuring_consistency,
    measuring_invariance,
)
from convscope_core.experiments.invariance import DISTANCES, Curve, Varied, checked_fill
from convscope_core.experiments.invariance.transforms import KINDS, Transform, margin_of
from convscope_core.network import Network

from .pictures import StripPane, thumbnails

__all__ = ["InvariancePane"]

#: Pictures of the strip that follow the slider.
SHOWN = 12

#: How fine the slider is.
FINE = {
    "shift_y": 1, "shift_x": 1, "scale": 0.01, "rotation": 1, "blur": 0.1, "brightness": 0.05, "contrast": 0.05,
    "hue": 5, "noise": 0.01, "jpeg": 1,
}  # fmt: skip

#: Fills that are offered; any colour can be set from Python.
FILLS = ("mean", "reflect", "edge", "wrap", "source", "grey", "#000000")


class InvariancePane(StripPane):
    """One picture under a transformation, the curves of layers and of the class, and how consistent the network is.

    Parameters
    ----------
    net : Network
    images : Images
    transforms : tuple of Transform
    layers : sequence of str
        Whose curves are measured.

    Attributes
    ----------
    results : dict of str to InvarianceResult
        By transformation, with the fill that is chosen; each is measured when it is first looked at.
    consistency : ConsistencyResult or None
    """

    transform = traitlets.Unicode().tag(sync=True)
    """str: the transformation."""

    value = Real(0.0).tag(sync=True)
    """float: how far, in the transformation's unit."""

    fill = traitlets.Unicode("mean").tag(sync=True)
    """str: what is seen beyond the picture."""

    distance = Choice(DISTANCES, default_value="relative").tag(sync=True)
    """str: the distance between features; see `InvarianceResult.distances`."""

    shown: traitlets.List = traitlets.List(traitlets.Unicode()).tag(sync=True)
    """list of str: the layers that are drawn, of those that are measured."""

    _invariance = traitlets.Dict().tag(sync=True)
    _work = progress()

    def __init__(
        self, net: Network, *, images: Images, transforms: tuple[Transform, ...], layers: Sequence[str], **options: Any
    ) -> None:
        self.results: dict[str, InvarianceResult] = {}
        self.consistency: ConsistencyResult | None = None
        self._transforms = {one.name: one for one in transforms}
        self._layers = tuple(layers)
        self._canvases: dict[tuple[int, str], torch.Tensor] = {}
        self._clean: tuple[int, Any, Any] | None = None
        # The slider also stands between pixels.
        self._margin = margin_of(transforms, net.input_shape) + 2
        self._varied_of: dict[str, Varied] = {}
        # The consistency is measured after the curves, which may be whole.
        self._measuring = Job(
            self, "invariance", "_work", between=True, fields=dict, patient=True,
            counted="measurements (curves and consistency of each picture)",
            drawn=lambda what: what == "" or not self._curves_known,
        )  # fmt: skip
        first = next(iter(self._transforms))
        options = {"transform": first, "shown": list(layers), **options}
        # Before anything follows from it: traits given together are checked in no particular order.
        require_choice("transform", options["transform"], self._transforms)
        options.setdefault("value", KINDS[options["transform"]].identity)
        self._tell(checked_fill(options.get("fill", "mean")))
        super().__init__(net, images=images, **options)
        self.observe(self._changed, ["transform", "fill", "_pictures"])
        self.start()

    # ---- what may be set

    @traitlets.validate("transform")
    def _known_transform(self, proposal: Any) -> str:
        name = str(proposal["value"])
        require_choice("transform", name, self._transforms)
        return name

    @traitlets.validate("value")
    def _possible_value(self, proposal: Any) -> float:
        return self._in_range(self.transform, float(proposal["value"]))

    def _in_range(self, name: str, value: float) -> float:
        low, high = self._ends(name)
        if not low <= value <= high:
            raise ArgumentError(f"Expected value from {low:g} to {high:g} for {name}, got {value:g}.")
        return value

    def _ends(self, name: str) -> tuple[float, float]:
        """Between which values the slider goes: those that are measured, and the one that changes nothing."""
        values = (*self._transforms[name].values, KINDS[name].identity)
        return min(values), max(values)

    @traitlets.validate("fill")
    def _known_fill(self, proposal: Any) -> str:
        return checked_fill(proposal["value"])

    @traitlets.validate("shown")
    def _known_layers(self, proposal: Any) -> list[str]:
        names = [self.net.layer(name).name for name in proposal["value"]]
        if unknown := [name for name in names if name not in self._layers]:
            raise ArgumentError(f"Expected layers that are measured ({', '.join(self._layers)}), got {unknown[0]!r}.")
        return names

    # ---- measuring

    def _changed(self, change: Any) -> None:
        if change["name"] == "transform" and change["old"] != change["new"]:
            low, high = self._ends(self.transform)
            if not low <= self.value <= high:
                self.value = KINDS[self.transform].identity
        if change["name"] != "transform":
            self.results, self.consistency = {}, None
            self._canvases.clear()
            self._clean = None
            self._tell(self.fill)
        self.start()

    def start(self) -> None:
        """Measure the transformation that is looked at, in the background, where that is not known yet."""
        if self._curves_known and self.consistency:
            self._measuring.cancel()
            return
        count = len(self.images)
        known = count * (self._curves_known + (self.consistency is not None))
        self._measuring.start(self._steps(self.transform, self.fill), known, 2 * count, fresh=False)

    @property
    def _curves_known(self) -> bool:
        """Whether the transformation that is looked at is measured on all pictures."""
        known = self.results.get(self.transform)
        return known is not None and len(known.images) + len(known.skipped) >= len(self.images)

    def cancel(self) -> None:
        """Stop measuring; what is measured stays."""
        self._measuring.cancel()

    def _take_resume(self, _content: Content, _buffers: Sequence[memoryview]) -> None:
        self._worker.submit("resume", self.start)

    def _steps(self, name: str, fill: str) -> Iterator[Step]:
        count, images, chosen = len(self.images), self.images, self._transforms[name]
        before = self.results.get(name)
        if before is None or len(before.images) + len(before.skipped) < count:
            values, known = {name: chosen.values}, 0 if self.consistency is None else count
            for step in measuring_invariance(self.net, images, values, self._layers, fill=fill):
                if fill != self.fill or images is not self.images:
                    return  # something else is looked at by now
                if step.images:  # of none that was read there is no result
                    self.results = {**self.results, name: step.result}
                    self._tell(fill)
                yield Step(known + step.done, 2 * count, fresh=step.images > 0)
        if self.consistency is None:
            for found in measuring_consistency(self.net, images, fill=fill):
                if fill != self.fill or images is not self.images:
                    return
                if found.images:
                    self.consistency = found.result
                    self._tell(fill)
                yield Step(count + found.done, 2 * count, fresh=found.images > 0)

    def _tell(self, fill: str) -> None:
        """Tell the front end what is known."""
        names = [*FILLS, *([] if fill in FILLS else [fill])]
        self._invariance = {
            "transforms": [
                {
                    "name": name,
                    "words": one.kind.words,
                    "unit": one.kind.unit,
                    "identity": one.kind.identity,
                    "values": list(one.values),
                    "step": FINE[name],
                }
                for name, one in self._transforms.items()
            ],
            "fills": names,
            "layers": list(self._layers),
            "colours": dict(zip(self._layers, ramp(len(self._layers)), strict=True)),
            "curves": {name: self._curves(name, found) for name, found in self.results.items()},
            "consistency": self._consistent(),
            "moves": [name for name in self._transforms if name in ("shift_y", "shift_x", "scale", "rotation")],
        }

    def _curves(self, name: str, found: InvarianceResult) -> dict[str, Any]:
        return {
            "pictures": len(found.images),
            "skipped": len(found.skipped),
            "distances": {
                distance: {layer: _held(found.curve(name, layer, distance)) for layer in self._layers}
                for distance in DISTANCES
            },
            "probability": _held(found.probability_curve(name)),
            "each": {
                str(image): [float(one) for one in row]
                for image, row in zip(found.images.tolist(), found.probabilities(name), strict=True)
            },
        }

    def _consistent(self) -> dict[str, Any] | None:
        if self.consistency is None:
            return None
        numbers = self.consistency.table().items()
        return {
            "pictures": len(self.consistency.images),
            "numbers": [[name, *(None if math.isnan(one) else one for one in number)] for name, number in numbers],
        }

    # ---- answering

    def _varied(self, fill: str) -> Varied:
        if fill not in self._varied_of:
            while len(self._varied_of) >= len(FILLS):
                self._varied_of.pop(next(iter(self._varied_of)))
            self._varied_of[fill] = Varied(self.net, fill, self._margin)
        return self._varied_of[fill]

    def _canvas(self, image: int, fill: str) -> torch.Tensor:
        key = image, fill
        if key not in self._canvases:
            while len(self._canvases) >= 4 * SHOWN:
                self._canvases.pop(next(iter(self._canvases)))
            self._canvases[key] = self._varied(fill).frame.prepare(self.images[image].image)
        return self._canvases[key]

    def _asked(self, content: Content) -> tuple[str, float, str]:
        name = content.get("transform", self.transform)
        require_choice("transform", name, self._transforms)
        value = self._in_range(name, content.get("value", self.value))
        return name, value, checked_fill(content.get("fill", self.fill))

    def _moved(self, content: Content, image: int) -> torch.Tensor:
        name, value, fill = self._asked(content)
        return self._varied(fill)(self._canvas(image, fill), name, [value], image)

    def _answer_moved(self, content: Content) -> Answer:
        """The picture that is looked at, moved; its classes, and how far its features are from where they were."""
        image = content.get("picture", self.picture)
        self._current(content)  # that there is one
        picture = self._moved(content, image)
        outputs, values = self.net.forward(picture, self._layers)
        classes = self.net.prediction(outputs)
        clean, before = self._as_it_is(image)
        distances = {
            name: _distances(before[name].flatten().double(), values[name].flatten().double()) for name in self._layers
        }
        fields, buffers = framed(self.net.pixels(picture[0]), image)
        return {
            **fields,
            "transform": self._asked(content)[0],
            "value": self._asked(content)[1],
            "label": clean.label,
            "before": clean.probability,
            "now": float(classes.probabilities[clean.index]),
            "top": classes.label,
            "best": classes.probability,
            "distances": distances,
        }, buffers

    def _as_it_is(self, image: int) -> tuple[Any, dict[str, torch.Tensor]]:
        if self._clean is None or self._clean[0] != image:
            outputs, values = self.net.forward(self.net.prepare(self.images[image].image), self._layers)
            self._clean = image, self.net.prediction(outputs), {name: one.clone() for name, one in values.items()}
        return self._clean[1], self._clean[2]

    def _answer_thumbnails(self, content: Content) -> Answer:
        count = min(SHOWN, len(self.images))
        return thumbnails(range(count), lambda index: self.net.pixels(self._moved(content, index)[0]))

    def _forget(self) -> None:
        super()._forget()
        self._canvases.clear()
        self._clean = None

    # ---- a page without a kernel

    def _strips(self) -> list[Strip]:
        (photo, *others), kind = super()._strips(), KINDS[self.transform]
        moved = self.net.pixels(self._moved({}, self.picture)[0])
        text = f"{photo.text} · {kind.words}: {self.value:g} {kind.unit}".rstrip()
        known = self.consistency
        numbers = [] if known is None else list(known.table().items())
        lines = [
            Strip(f"{name}: {value:.3f}" + ("" if math.isnan(low) else f" ({low:.3f} to {high:.3f})"))
            for name, (value, low, high) in numbers
        ]
        return [photo._replace(text=text, pictures=[moved]), *lines, *others]

    def _figures(self) -> Mapping[str, Callable[[], Any]]:
        return {"curves": self._curves_figure, **super()._figures()}

    def _curves_figure(self) -> Any:
        """The curves that are shown, of the transformation that is looked at."""
        result = self.results.get(self.transform)
        if result is None:
            return self._plotted(None)
        return result.plot(self.shown or None, self.distance)

    def _snapshot(self) -> list[Request]:
        now = {"transform": self.transform, "value": self.value, "fill": self.fill}
        others = [one for one in super()._snapshot() if one[0] not in ("thumbnails", "photo")]
        values = sorted({*self._transforms[self.transform].values, self.value})
        moved = [("moved", {**now, "value": value, "picture": self.picture}) for value in values]
        return [*others, *moved, ("thumbnails", now)]


def _held(curve: Curve) -> dict[str, list[float | None]]:
    """A curve as JSON holds it, which has no NaN."""
    parts: Mapping[str, np.ndarray] = {"mean": curve.mean, "low": curve.low, "high": curve.high}
    return {
        name: [float(one) if math.isfinite(one) else None for one in values.tolist()] for name, values in parts.items()
    }


def _distances(before: torch.Tensor, after: torch.Tensor) -> dict[str, float | None]:
    raw = float((after - before).norm())
    lengths = float(before.norm()), float(after.norm())
    cosine = (raw**2 - (lengths[1] - lengths[0]) ** 2) / (2 * lengths[0] * lengths[1]) if all(lengths) else None
    return {
        "raw": raw,
        "relative": raw / lengths[0] if lengths[0] else (None if raw else 0.0),
        "cosine": 0.0 if raw == 0 else None if cosine is None else min(max(cosine, 0.0), 2.0),
    }
