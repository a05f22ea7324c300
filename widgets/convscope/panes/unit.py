"""One unit: the patches that activate it most, what it picked out of each, and what else a survey found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from convscope._instrument import Answer, Content, Parts, Request, framed
from convscope._layers import class_names
from convscope._still import Strip, valued
from convscope._wire import Choice, Whole, fields
from convscope_core.errors import ArgumentError
from convscope_core.explain import Unit
from convscope_core.survey import MINIMA, Exemplar, Survey

from .patches import cleared_beyond, inside
from .projection import ProjectionPane, effective_box, projection_tile
from .selection import SelectionPane
from .survey import SurveyPane

__all__ = ["UnitPane", "bars", "ceiling_of", "few", "strength"]

#: Side of the patches, px.
PATCH_SIDE = 112
#: Zero of a projection.
GREY = 128
#: Patches that are projected at once: together they take less, but a hand that sets out waits for them.
PART = 3
#: Weaker examples, beside the top ones.
WEAKER = 6
#: Bars of the histogram of activations, at most and (where there are as many bins) at least.
BARS, LEAST = 24, 10

#: What a request about a unit says, beside the layer; where there are checkpoints it names one.
CHECKPOINT = Whole(None, allow_none=True)
SIDE = Whole(None, allow_none=True, min=8, max=PATCH_SIDE)
UNIT = fields(channel=Whole(), checkpoint=CHECKPOINT, side=SIDE)


class UnitPane(SelectionPane, SurveyPane, ProjectionPane):
    """The selected unit."""

    contrast = Choice(("tile", "group"), default_value="tile").tag(sync=True)
    """str: whether each projection spans the range from black to white, or the projections of a unit share it."""

    crop = Choice(("field", "effective"), default_value="field").tag(sync=True)
    """str: what a patch shows: the whole receptive field, or the square around what holds 95 % of the energy of its
    projection."""

    def _side(self, content: Content) -> int:
        """How large patches are to be, px: a saved page asks for smaller ones where it keeps many."""
        return int(content.get("side") or PATCH_SIDE)

    def _unit_of(self, content: Content) -> dict[str, Any]:
        """What tells a request's unit from others; its answer repeats it."""
        return {name: content[name] for name in ("channel", "checkpoint") if name in content} | {
            "layer": self._layer(content).name
        }

    @UNIT
    def _answer_unit(self, content: Content) -> Answer:
        survey, side = self._surveyed(content), self._side(content)
        layer, channel = self._unit(content)
        top = survey.top(layer.name, channel)
        exemplars, patches = self._patches.shown(survey.images, top, side)
        health = survey.health(layer.name)
        labels = [label for one in top if one.value > 0 and (label := survey.label(one.image)) is not None]
        # The first of equally frequent ones is the stronger picture's.
        most = max(labels, key=labels.count, default=None)
        counts, edges = bars(health.histogram[channel], health.edges, health.signed)
        answer = {
            **self._unit_of(content),
            "exemplars": exemplars,
            "side": side,
            "counts": counts,
            "edges": edges,
            "images": int(survey.seen.sum()),
            "cropped": survey.images.cropped,
            "share": float(health.active_images[channel]),
            "purity": None if most is None else [most, labels.count(most), len(labels)],
            "classes": [[one.label, one.preference, one.images] for one in survey.preferences(layer.name, channel)],
            "similar": [[one.channel, one.correlation] for one in survey.similar(layer.name, channel)],
            "sampled": len(survey.sampled(layer.name).images),
            "short": [one for what in ("preference", "similar") if (one := survey.shortage(what))],
            "name": None if (names := class_names(self.net, layer)) is None else names[channel],
            "ceiling": ceiling_of(survey, layer.name),
            "values": few(survey, layer.name, channel),
        }
        return answer, [patches]

    @fields(
        channel=Whole(),
        checkpoint=CHECKPOINT,
        side=SIDE,
        crop=Choice(("field", "effective"), default_value=None, allow_none=True),
    )
    def _answer_projections(self, content: Content) -> Parts:
        """The projections of a unit's exemplars, in their order; and the patches, where they are as large as these."""
        survey = self._surveyed(content)
        (layer, channel), method = self._unit(content), self._method(content)
        top, crop, side = survey.top(layer.name, channel), content.get("crop") or self.crop, self._side(content)
        units = [Unit(one.image, channel, one.row, one.column, one.value) for one in top]
        project, projections = self._projecting(content), []
        for at in range(0, len(units), PART):
            projections += project(survey.images, layer, units[at : at + PART], method)
            yield
        boxes = [effective_box(one, self._input_size) if crop == "effective" else None for one in projections]
        tiles = [projection_tile(one, self._input_size, side, box) for one, box in zip(projections, boxes, strict=True)]
        small = [one._replace(box=box) for one, box in zip(top, boxes, strict=True) if box is not None]
        shown, patches = self._patches.shown(survey.images, small, side)
        answer = {
            **self._unit_of(content),
            "method": method,
            "crop": crop,
            "inside": [one["inside"] for one in shown],
            "sides": [one.box.bottom - one.box.top for one in small],
            # While a survey runs the exemplars may have changed since the browser was told of them.
            "places": [[one.image, one.row, one.column] for one in top],
            "side": side,
            "peaks": [peak for _, peak in tiles],
        }
        return answer, [b"".join(shades.tobytes() for shades, _ in tiles), patches]

    @UNIT
    def _answer_weaker(self, content: Content) -> Parts:
        """Pictures that excite a unit less than the top ones do, from a random sample."""
        survey, net, side = self._surveyed(content), self._projecting(content).net, self._side(content)
        layer, channel = self._unit(content)
        weaker, quantiles = [], []
        for one in survey.quantiles(layer.name, channel, WEAKER):
            # The sample knows how strongly, not where: that is found again, for these few.
            found = net.activations(survey.images[one.image].image, layer.name, before_ceiling=True)
            feature_map = found[layer.name][0, channel]
            row, column = divmod(int(feature_map.argmax()), feature_map.shape[1])
            weaker.append(Exemplar(one.value, one.image, row, column, layer.box(row, column), one.before_ceiling))
            quantiles.append(one.quantile)
            yield
        exemplars, patches = self._patches.shown(survey.images, weaker, side)
        for exemplar, quantile in zip(exemplars, quantiles, strict=True):
            exemplar["quantile"] = quantile
        return {**self._unit_of(content), "exemplars": exemplars, "side": side}, [patches]

    @fields(picture=Whole(min=0), checkpoint=CHECKPOINT)
    def _answer_whole(self, content: Content) -> Answer:
        """The whole of a picture of the survey."""
        image, images = content["picture"], self._surveyed(content).images
        if image >= len(images):
            raise ArgumentError(f"Expected a picture of the survey from 0 to {len(images) - 1}, got {image}.")
        return framed(self._patches.picture(images, image), image)

    def _moments(self) -> list[dict[str, int]]:
        """The checkpoints at which a saved page shows the unit, as requests name them."""
        return [{}]

    def _moment(self) -> dict[str, int]:
        """The checkpoint at which the unit is looked at, as requests name it, also when newer ones come."""
        return {}

    def _strips(self) -> list[Strip]:
        survey = self.survey  # which grows
        if survey is None or self.selected is None:
            return super()._strips()
        top = survey.top(self.layer, self.selected)
        return [*super()._strips(), self._patch_strip(survey, self.selected, top)]

    def _patch_strip(self, survey: Survey, channel: int, top: Sequence[Exemplar]) -> Strip:
        """The patches that excite a unit of the present layer most."""
        shown, patches = self._patches.shown(survey.images, top, PATCH_SIDE)
        tiles = np.frombuffer(patches, np.uint8).reshape(-1, PATCH_SIDE, PATCH_SIDE, 3)
        cleared = [cleared_beyond(tile, one["inside"]) for tile, one in zip(tiles, shown, strict=True)]
        classes = class_names(self.net, self.net.layer(self.layer))
        of_class = f" ({classes[channel]})" if classes else ""
        text = f"{self.layer}, unit {channel}{of_class}: what excites it most in {int(survey.seen.sum())} pictures"
        if any(strength(one) > one.value for one in top):
            text += f"; in brackets: before the ceiling of {ceiling_of(survey, self.layer):g}"
        return Strip(text, cleared, 78, [valued(one.value, one.before_ceiling) for one in top])

    def _figures(self) -> Mapping[str, Callable[[], Any]]:
        return {"unit": self._unit_figure, **super()._figures()}

    def _unit_figure(self) -> list[Strip]:
        """The paper's figure 2 of one unit: its patches, and what it picked out of each."""
        content = self._moment()
        survey, layer = self._surveyed(content), self.net.layer(self.layer)
        if self.selected is None:
            raise ArgumentError("Expected a selected unit, to draw its figure, got none. Set selected=... first.")
        top, method = survey.top(layer.name, self.selected), self.method
        units = [Unit(one.image, self.selected, one.row, one.column, one.value) for one in top]
        projections = self._projecting(content)(survey.images, layer, units, method)
        boxes = [effective_box(one, self._input_size) if self.crop == "effective" else None for one in projections]
        top = [one if box is None else one._replace(box=box) for one, box in zip(top, boxes, strict=True)]
        found = [
            projection_tile(one, self._input_size, PATCH_SIDE, box) for one, box in zip(projections, boxes, strict=True)
        ]
        strongest = max((peak for _, peak in found), default=0.0)
        tiles = []
        for (shades, peak), one in zip(found, top, strict=True):
            gain = peak / strongest if self.contrast == "group" and strongest > 0 else 1.0
            tile = np.rint(GREY + gain * shades).astype(np.uint8)
            tiles.append(cleared_beyond(tile, inside(one.box, self._input_size)))
        scale = "all on one scale" if self.contrast == "group" else "each on its own scale"
        text = f"what it picked out of each ({method.replace('_', ' ')}, {scale}; grey is zero)"
        patches = self._patch_strip(survey, self.selected, top)
        if self.crop == "effective":
            patches = patches._replace(text=f"{patches.text}; cut to what holds 95 % of each projection’s energy")
        return [patches, Strip(text, tiles, 78)]

    def _snapshot(self) -> list[Request]:
        requests = super()._snapshot()
        if self.survey is None or self.selected is None:
            return requests
        pictures: set[int] = set()
        for moment in self._moments():
            channel = self.selected
            unit, survey = {"layer": self.layer, "channel": channel, **moment}, self._surveyed(moment)
            requests += [(kind, unit) for kind in ("unit", "projections", "weaker")]
            pictures |= {one.image for one in survey.top(self.layer, channel)}
            pictures |= {one.image for one in survey.quantiles(self.layer, channel, WEAKER)}
        return [*requests, *[("whole", {"picture": image}) for image in sorted(pictures)]]


def ceiling_of(survey: Survey, layer: str) -> float | None:
    """Where the layer's activation cuts off, if the survey looked before that; else None."""
    return survey.layer(layer).ceiling if survey.before_ceiling else None


def strength(exemplar: Exemplar) -> float:
    """The value by which a survey ranks."""
    return exemplar.value if exemplar.before_ceiling is None else exemplar.before_ceiling


def few(survey: Survey, layer: str, channel: int) -> list[float] | None:
    """The unit's largest activations, where they are too few for a histogram: these are told one by one; else None."""
    health = survey.health(layer)
    active = health.images if health.signed else round(float(health.active_images[channel]) * health.images)
    if active >= MINIMA["histogram"].images:
        return None
    return [one.value for one in survey.top(layer, channel) if one.value > 0 or health.signed]


def bars(counts: np.ndarray, edges: np.ndarray, signed: bool = False) -> tuple[list[int], list[float]]:
    """The pictures' maxima as a few bars for a person to read.

    The first bar holds the pictures that do not activate the unit; the others are the survey's half-octaves, from the
    largest maximum downwards, what lies below them added to the lowest. Of a signed layer all are half-octaves, from
    the smallest maximum to the largest, and what lies about zero is one bar.

    Parameters
    ----------
    counts : ndarray
        (B,) int, pictures in each of the survey's bins.
    edges : ndarray
        (B - 1,) float, the bins' inner edges, ascending.
    signed : bool, default False
        Whether a maximum below zero says something, too.

    Returns
    -------
    list of int, list of float
        Counts of n bars, and their n + 1 edges; the first bar ends at 0, unless the layer is signed.
    """
    if signed:
        return _signed_bars(counts, edges)
    # Bin b holds edges[b - 1] <= value < edges[b]; the bin around zero is where an inactive unit's maximum falls.
    active = int(np.searchsorted(edges, 0.0)) + 1
    positive = counts[active:]
    filled = np.flatnonzero(positive)
    if len(filled) == 0:
        return [int(counts.sum())], [0.0, 0.0]
    last = active + int(filled[-1])
    # From the least active picture on, but over a range wide enough to tell a narrow distribution from a broad one.
    first = max(active, last - BARS + 2, min(active + int(filled[0]), last - LEAST + 2))
    lower = int(counts[active:first].sum())
    shown = [int(count) for count in counts[first : last + 1]]
    shown[0] += lower
    inner = [float(edges[b]) for b in range(first - 1, min(last + 1, len(edges)))]
    return [int(counts[:active].sum()), *shown], [0.0, *inner]


def _signed_bars(counts: np.ndarray, edges: np.ndarray) -> tuple[list[int], list[float]]:
    filled = np.flatnonzero(counts)
    if len(filled) == 0:
        return [0], [0.0, 0.0]
    # The open bins at the ends are drawn an octave wide.
    ends = [2 * edges[0], *edges, 2 * edges[-1]]
    missing = max(0, LEAST - (int(filled[-1]) - int(filled[0]) + 1))
    low = max(0, int(filled[0]) - missing // 2)
    high = min(len(counts) - 1, int(filled[-1]) + (missing + 1) // 2)
    zero = int(np.searchsorted(edges, 0.0))
    distances = np.abs(np.arange(low, high + 1) - zero)
    near = next(k for k in range(len(counts)) if (distances > k).sum() < BARS)
    starts = [b for b in range(low, high + 1) if abs(b - zero) > near or b == max(low, zero - near)]
    sums = np.add.reduceat(counts[: high + 1], starts)
    return [int(count) for count in sums], [float(ends[b]) for b in [*starts, high + 1]]
