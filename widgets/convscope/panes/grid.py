"""Every unit of a layer at once, as tiles."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import traitlets

from convscope._instrument import Answer, Content, Request
from convscope._layers import class_names
from convscope._still import Strip, valued
from convscope._wire import Choice, Whole, fields
from convscope_core.errors import ArgumentError
from convscope_core.explain import Unit
from convscope_core.network import Layer, Network
from convscope_core.render import filters_apart, quantise, shrink
from convscope_core.survey import Survey
from convscope_core.wordnet import class_name

from .patches import cleared_beyond, inside
from .pictures import PicturesPane
from .projection import ProjectionPane, projection_tile
from .selection import SelectionPane
from .survey import SurveyPane

__all__ = ["GridPane"]

#: A feature map goes to the front end with at most this many pixels a side: more than a tile shows, and 64 units of
#: VGG-16's first layer come to 260 KB instead of 3.2 MB.
MAP_SIDE = 64
#: Side of the tiles that show a patch or its projection, px.
TILE_SIDE = 48
#: Tiles of projections that are kept, 7 kB each.
KEPT = 4096
#: Units of all layers that a search for a class lists.
SEARCHED = 8
#: Units that a still picture shows.
STILL = 10
#: And a figure.
FIGURE = 36
#: What a tile shows where there is nothing to show.
GREY = 128


class GridPane(PicturesPane, SelectionPane, SurveyPane, ProjectionPane):
    """The tiles of a layer, by their feature maps on a picture and by what a survey found."""

    colormap = Choice(("inferno", "viridis", "magma", "gray"), default_value="inferno").tag(sync=True)
    """str: colour map of activations; applied in the browser."""

    scale = Choice(("unit", "layer"), default_value="unit").tag(sync=True)
    """str: whether each tile, or the whole layer, spans the colours of activations and projections."""

    weights_scale = Choice(("unit", "layer"), default_value="layer").tag(sync=True)
    """str: the same of weights: on one scale a filter that dominates the layer, or does nothing, is seen."""

    order = Choice(("strongest", "mean", "index", "best", "rare", "class"), default_value="strongest").tag(sync=True)
    """str: order of the tiles: by maximum or mean on this picture, by index, by maximum over a survey, rarest first, by
    preference for the class `label`. Maxima count before the ceiling of the layer's activation, if it has one: many
    units of a ReLU6 reach 6."""

    show = Choice(("all", "alive", "dead", "rare", "repeated"), default_value="all").tag(sync=True)
    """str: which units are shown, by what a survey found: all, those that some picture activates, the others, those
    that less than one picture in a hundred activates, those that repeat another."""

    label = traitlets.Unicode().tag(sync=True)
    """str: the class whose units are looked for, one of the survey's labels; empty for none."""

    lens = Choice(("activation", "patch", "projection", "weights"), default_value="activation").tag(sync=True)
    """str: what a tile shows: the activation on this picture, the patch of a survey that excites the unit most, what
    the unit picked out of that patch (its projection by `method`), or the weights (first layer only)."""

    def __init__(self, net: Network, **options: Any) -> None:
        self._projection_tiles: dict[tuple[str, str, Unit], tuple[np.ndarray, float]] = {}
        super().__init__(net, **options)

    def _answer_grid(self, content: Content) -> Answer:
        layer = self._layer(content)
        lens = content.get("lens", self.lens)
        parts = np.zeros((0, 4), np.float32)
        maps, peaks = self._maps(layer, self._current(content).image)
        flat = maps.flatten(1)
        summary = [
            peaks,
            flat.mean(1).cpu().numpy().astype(np.float32),
            (flat > 0).float().mean(1).cpu().numpy().astype(np.float32),
        ]
        if lens == "activation":
            planes = quantise(shrink(maps, MAP_SIDE))
            data, low, high, depth = planes.data, planes.low, planes.high, 1
            signed = self._goes_below_zero(layer, maps, self._current(content).image)
        else:
            survey = None if lens == "weights" else self._surveyed()
            data, brightest = self._lens_pictures(layer, lens, survey)
            if survey is not None:
                parts = self._insides(layer, survey)
            low, high, depth, signed = -brightest, brightest, 3, lens != "patch"
        height, width = data.shape[1:3]
        answer = {
            "layer": layer.name,
            "lens": lens,
            "channels": len(data),
            "height": height,
            "width": width,
            "depth": depth,
            "signed": signed,
            "silenced": self._silent_units(layer),
            "names": class_names(self.net, layer),
            "ceiling": layer.ceiling,
        }
        return answer, [data, low, high, *summary, parts]

    def _maps(self, layer: Layer, image: Any) -> tuple[torch.Tensor, np.ndarray]:
        """The feature maps of a picture, (channels, h, w); and the largest value of each, before a ceiling."""
        uncut = self._acting_net.activations(image, [layer.name], before_ceiling=True)[layer.name][0]
        maps = uncut if layer.ceiling is None else uncut.clamp(max=layer.ceiling)
        return maps, uncut.flatten(1).amax(1).cpu().numpy().astype(np.float32)

    def _insides(self, layer: Layer, survey: Survey) -> np.ndarray:
        """Where in the best patch of each unit the picture is, as shares of the patch: float32 (channels, 4)."""
        best = [best_of(survey, layer, channel) for channel in range(layer.channels)]
        return np.array(
            [inside(one[0].box, self._input_size) if one else (0, 0, 1, 1) for one in best], np.float32
        ).reshape(-1, 4)

    def _lens_pictures(self, layer: Layer, lens: str, survey: Survey | None) -> tuple[np.ndarray, np.ndarray]:
        """A picture of each unit, (channels, h, w, 3) uint8, and what its brightest shade stands for; 0 of patches.

        Of no survey they are the weights.
        """
        if survey is None:
            weight = self.net.weight(layer.name)
            if weight is None or weight.ndim != 4 or weight.shape[1] != 3:
                raise ArgumentError(
                    f"Expected a convolution over 3 colour channels, to show its weights as pictures, got {layer.name} "
                    f"({layer.kind}). Choose the first layer."
                )
            return filters_apart(weight)
        tiles = np.full((layer.channels, TILE_SIDE, TILE_SIDE, 3), GREY, np.uint8)
        if lens == "patch":
            best = {channel: top[0] for channel in range(layer.channels) if (top := best_of(survey, layer, channel))}
            # Picture by picture, so that each is read once.
            for channel in sorted(best, key=lambda c: best[c].image):
                tiles[channel] = self._patches.patch(survey.images, best[channel], TILE_SIDE)[0]
        return tiles, np.zeros(layer.channels, np.float32)  # projections follow, a few at a time

    @fields(channels=traitlets.List(Whole()))
    def _answer_tiles(self, content: Content) -> Answer:
        """Projections of the best patches of a few of a layer's units."""
        survey = self._surveyed()
        (layer, wanted), method = self._units(content), self._method(content)
        tiles = self._projected(survey, layer, wanted, method)
        answer = {"layer": layer.name, "method": method, "channels": wanted, "side": TILE_SIDE}
        peaks = np.array([tiles[channel][1] for channel in wanted], np.float32)
        return answer, [b"".join(tiles[channel][0].tobytes() for channel in wanted), peaks]

    def _projected(
        self, survey: Survey, layer: Layer, wanted: Sequence[int], method: str
    ) -> dict[int, tuple[np.ndarray, float]]:
        """What units picked out of their best patches, and the largest magnitude in each, by channel."""
        tiles: dict[int, tuple[np.ndarray, float]] = {}
        missing: list[Unit] = []
        for channel in wanted:
            best = best_of(survey, layer, channel)
            if not best:
                tiles[channel] = np.full((TILE_SIDE, TILE_SIDE, 3), GREY, np.uint8), 0.0
                continue
            unit = Unit(best[0].image, channel, best[0].row, best[0].column, best[0].value)
            known = self._projection_tiles.get((layer.name, method, unit))
            if known is None:
                missing.append(unit)
            else:
                tiles[channel] = known
        for unit, projection in zip(missing, self._projector(survey.images, layer, missing, method), strict=True):
            shades, peak = projection_tile(projection, self._input_size, TILE_SIDE)
            tiles[unit.channel] = (shades.astype(np.int16) + GREY).astype(np.uint8), peak
            while len(self._projection_tiles) >= KEPT:
                self._projection_tiles.pop(next(iter(self._projection_tiles)))
            self._projection_tiles[layer.name, method, unit] = tiles[unit.channel]
        return tiles

    def _answer_health(self, content: Content) -> Answer:
        """What a survey found of every unit of a layer."""
        survey, layer = self._surveyed(), self._layer(content)
        health = survey.health(layer.name)
        before = survey.arrays(layer.name).before_ceiling
        best = health.maximum if before is None else before[:, 0]
        numbers = [np.asarray(one, np.float32) for one in (best, health.active_images)]
        answer = {
            "layer": layer.name,
            "images": health.images,
            "short": survey.shortage("rare"),
            "ceiling": None if before is None else layer.ceiling,
        }
        # 1: dead, 2: rarely active.
        state = health.dead.astype(np.uint8) + 2 * health.rare.astype(np.uint8)
        return answer, [*numbers, survey.duplicates(layer.name).astype(np.int32), state]

    def _answer_search(self, content: Content) -> Answer:
        """The units that prefer a class, of all layers; and the preference of every unit of one."""
        survey, layer, label = self._surveyed(), self._layer(content), content["label"]
        units = [[one.layer, one.channel, one.preference] for one in survey.units(label, n=SEARCHED)]
        preference = survey.classes(layer.name).preference(class_name(label))
        return {"label": class_name(label), "layer": layer.name, "units": units}, [np.asarray(preference, np.float32)]

    def _forget(self) -> None:
        super()._forget()
        self._projection_tiles.clear()

    def _strips(self) -> list[Strip]:
        return [*super()._strips(), self._strongest(STILL)]

    def _strongest(self, count: int, coloured: bool = False) -> Strip:
        """The feature maps of the units that answer most strongly to the current picture.

        In grey each has its own scale; `coloured` they have scale and colours of the grid.
        """
        layer = self.net.layer(self.layer)
        maps, peaks = self._maps(layer, self._current().image)
        order = np.argsort(-peaks, kind="stable")[:count].tolist()
        values = peaks if layer.ceiling is None else np.minimum(peaks, layer.ceiling)
        found = shrink(maps[order], MAP_SIDE)
        if coloured:
            signed = self._goes_below_zero(layer, maps, self._current().image)
            tiles = _coloured(found.cpu().numpy(), signed, self.colormap, self.scale == "layer")
        else:
            tiles = [np.repeat(plane[..., None], 3, axis=2) for plane in quantise(found).data]
        text = f"{self.layer}: the strongest of {len(maps)} units, {', '.join(map(str, order[:STILL]))}"
        silent = set(self._silent_units(layer))
        captions = [
            f"{channel}: {'silenced' if channel in silent else valued(values[channel], peaks[channel])}"
            for channel in order
        ]
        return Strip(text, tiles, 70, captions)

    def _figures(self) -> Mapping[str, Callable[[], Any]]:
        return {"grid": self._grid_figure, **super()._figures()}

    def _grid_figure(self) -> list[Strip]:
        """The units by the chosen lens: the strongest on the current picture; of weights all filters of the layer."""
        picture = self._current()
        if self.lens == "weights":
            tiles, _ = self._lens_pictures(self.net.layer(self.layer), "weights", None)
            text = f"{self.net.name}, {self.layer}: weights, each filter on its own scale"
            silent = set(self._silent_units(self.net.layer(self.layer)))
            captions = [f"{number}{': silenced' if number in silent else ''}" for number in range(len(tiles))]
            return [Strip(text, list(tiles), 70, captions)]
        if self.lens != "activation":
            return [self._best(FIGURE)]
        strip = self._strongest(FIGURE, coloured=True)
        scale = "all maps on one scale" if self.scale == "layer" else "each map on its own scale"
        text = f"{self.net.name}, {self.layer}, on {picture.name}: units and their maxima, {scale}"
        return [Strip("", [self.net.picture(picture.image)], 70, [picture.name]), strip._replace(text=text)]

    def _best(self, count: int) -> Strip:
        """The best patches, or what was picked out of them, of the units that answer most strongly to the picture."""
        survey, layer = self._surveyed(), self.net.layer(self.layer)
        _, peaks = self._maps(layer, self._current().image)
        order = np.argsort(-peaks, kind="stable")[:count].tolist()
        what = "what most excites each"
        if self.lens == "patch":
            found, _ = self._lens_pictures(layer, "patch", survey)
            tiles = [found[channel] for channel in order]
        else:
            projected = self._projected(survey, layer, order, self.method)
            tiles = [projected[channel][0] for channel in order]
            what = f"what each picked out of what most excites it ({self.method.replace('_', ' ')}, grey is zero)"
        parts = self._insides(layer, survey)
        best = [best_of(survey, layer, channel) for channel in order]
        captions = [
            f"{channel}: {valued(one[0].value, one[0].before_ceiling) if one else 'nothing'}"
            for channel, one in zip(order, best, strict=True)
        ]
        text = (
            f"{self.net.name}, {self.layer}: {what} in {int(survey.seen.sum())} pictures; the strongest units on "
            f"{self._current().name} first"
        )
        cleared = [cleared_beyond(tile, parts[channel]) for channel, tile in zip(order, tiles, strict=True)]
        return Strip(text, cleared, 70, captions)

    def _draws_survey(self, what: str) -> bool:
        return super()._draws_survey(what) or (what == "grid" and self.lens in ("patch", "projection"))

    def _snapshot(self) -> list[Request]:
        requests = [*super()._snapshot(), ("grid", {})]
        if self.survey is not None:
            requests.append(("health", {"layer": self.layer}))
            if self.label:
                requests.append(("search", {"layer": self.layer, "label": self.label}))
            if self.lens == "projection":
                channels = list(range(self.net.layer(self.layer).channels))
                requests.append(("tiles", {"layer": self.layer, "channels": channels}))
        return requests


def best_of(survey: Survey, layer: Layer, channel: int) -> list[Any]:
    """The exemplar that excites a unit most, in a list; an empty one where none excites it."""
    return [one for one in survey.top(layer.name, channel)[:1] if one.value > 0 or layer.activation is None]


def _coloured(maps: np.ndarray, signed: bool, colours: str, alike: bool) -> list[np.ndarray]:
    """Maps, (n, h, w), in colours, zero of signed ones in the middle; `alike`: on one scale, that of the strongest."""
    from matplotlib import colormaps

    axes = None if alike else (1, 2)
    high = np.abs(maps).max(axis=axes, keepdims=True) if signed else maps.max(axis=axes, keepdims=True)
    low = -high if signed else np.zeros_like(high) if alike else maps.min(axis=axes, keepdims=True)
    shares = np.where(high > low, (maps - low) / np.where(high > low, high - low, 1), 0.5 if signed else 0.0)
    pixels = colormaps["RdBu_r" if signed else colours](shares)[..., :3]
    return list(np.rint(255 * pixels).astype(np.uint8))
