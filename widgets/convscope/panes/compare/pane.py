"""Two networks: first layers, layers against layers, matched units, where they disagree, and one square for both."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt
import traitlets

from convscope._instrument import Answer, Content, Request, framed
from convscope._job import Job, Step, progress
from convscope._layers import description, middle
from convscope._still import Strip
from convscope._wire import Choice, Value, Whole, fields
from convscope.panes.occluder import LiveOccluder, OccluderPane, Setting, checked_size, shape_value, visited
from convscope.panes.patches import Patches, inside
from convscope.panes.pictures import StripPane, first_readable
from convscope.panes.projection import Projector, projection_tile, usual_method
from convscope_core.datasets import Images
from convscope_core.errors import ArgumentError, ImageError, LayerError
from convscope_core.experiments import Comparison, ComparisonProgress, FilterHealth, measuring_filters
from convscope_core.experiments.architecture import FilterProgress, Side, filter_tiles, first_layer
from convscope_core.explain import Unit
from convscope_core.network import Network
from convscope_core.occlusion import fill_name
from convscope_core.plots import curves
from convscope_core.survey import Exemplar

from .together import Together, picture_size, together
from .words import answers, first_layer_row, numbers

__all__ = ["ComparePane"]

#: Pictures that are offered to the occluders, at most.
SHOWN = 24
#: Patches of each unit, and their side, px. Where projections are shown: pictures of each, two tiles a picture.
PATCHES, SIDE = 6, 40
PROJECTED = 2
#: Projections that are kept, 5 kB each.
KEPT = 1024
#: Pictures on which filters and strides are measured.
LOOKED = 64
#: Pairs of units that are shown at most.
MOST_PAIRS = 120
#: Pictures a pass: a drag waits for one of them at most.
BATCH = 4

Tile = npt.NDArray[np.uint8]
Steps = Callable[[], Generator[ComparisonProgress, None, None]]


class ComparePane(OccluderPane, StripPane):
    """Two networks on the same pictures; `net` is the first.

    Parameters
    ----------
    net : Network
    net_b : Network
    images : Images
        All pictures that are compared.
    layers : two sequences of str
        The layers of either that are compared.
    comparing : callable
        Begins the comparison; gives its steps.
    result : Comparison
        Instead of that: what is shown as it is.

    Attributes
    ----------
    result : Comparison or None
    health : tuple of FilterHealth or None
        Of the first layers.
    images : Images
        Those at hand, of which `picture` is one: where the two disagree, both surest first; the first ones where they
        agree on all, and until that is known.
    """

    layer_a = traitlets.Unicode().tag(sync=True)
    """str: the layer of the first network whose units are matched."""

    layer_b = traitlets.Unicode().tag(sync=True)
    """str: the layer of the second network with whose units they are matched."""

    pair_order = Choice(("mutual", "alike", "unlike"), default_value="mutual").tag(sync=True)
    """str: which pairs are shown: those of which each is the other's best match, or every unit of the first network
    with its best match; the most alike first, or the least."""

    pair_show = Choice(("patch", "projection"), default_value="patch").tag(sync=True)
    """str: what is shown of the pictures that excite a unit most: the patches, or beside them what the unit picked out
    of them, by deconvnet where the network has max pooling and rules for it (see `ProjectionPane.method`)."""

    pairs = Whole(12).tag(sync=True)
    """int: how many pairs of units are shown."""

    target_b = Value(None, allow_none=True).tag(sync=True)
    """int, str or None: the class of the second network that is followed; see `target`."""

    probability_b = traitlets.Float(float("nan"), read_only=True)
    """float: probability of that class with the occluder where it is, 0 to 1; NaN before the first computation."""

    _second = traitlets.Dict().tag(sync=True)
    _comparison = traitlets.Dict().tag(sync=True)
    _work = progress()

    def __init__(
        self,
        net: Network,
        net_b: Network,
        *,
        images: Images,
        layers: tuple[Sequence[str], Sequence[str]],
        comparing: Steps | None = None,
        result: Comparison | None = None,
        **options: Any,
    ) -> None:
        self.net_b = net_b
        self.result: Comparison | None = None
        self.health: list[FilterHealth | None] = [None, None]
        self._complaints: list[str | None] = [None, None]
        self._all = images
        self._layers = tuple(tuple(names) for names in layers)
        self._comparing = comparing
        #: The passes under way, which go on where they were stopped.
        self._passes = None if comparing is None else comparing()
        self._answers: tuple[int | None, str | None, list[dict[str, Any]]] = None, None, []
        self._occluder_b = LiveOccluder(net_b)
        self._patches = Patches(net), Patches(net_b)
        self._projectors = Projector(net), Projector(net_b)
        #: How units of either are projected: found when that is first asked for.
        self._methods: list[str | None] = [None, None]
        #: By network, layer, unit and image.
        self._projections: dict[tuple[int, str, int, int], Tile] = {}
        self._of_size = lru_cache(16)(partial(together, net, net_b))
        self._together_of = lru_cache(64)(self._found_together)
        self._chosen = "layer_a" in options or "layer_b" in options
        self._second = description(net_b)
        # Of a comparison there is nothing before it is of all pictures.
        self._job = Job(
            self, "compare", "_work", between=True, patient=True, counted="passes of a picture through a network",
            drawn=lambda what: what == "",
        )  # fmt: skip
        options = {**dict(zip(("layer_a", "layer_b"), map(self._opened, (0, 1)), strict=True)), **options}
        if result is not None:
            self.result, self._answers = result, answers(result, SHOWN)
            images = self._at_hand()
            options = {**options, **self._most_alike(options)}
        else:
            images = self._at_hand()
        self._tell()
        super().__init__(net, images=images, **options)
        self.observe(self._choose, ["layer_a", "layer_b"])
        self.start()

    # ---- what may be set

    @traitlets.validate("layer_a")
    def _known_layer_a(self, proposal: Any) -> str:
        return self._layer_of(0, proposal["value"])

    @traitlets.validate("layer_b")
    def _known_layer_b(self, proposal: Any) -> str:
        return self._layer_of(1, proposal["value"])

    def _layer_of(self, which: int, name: str) -> str:
        net = (self.net, self.net_b)[which]
        found = net.layer(name).name
        if found not in self._layers[which]:
            raise ArgumentError(
                f"Expected a layer of {net.name} that is compared ({_some(self._layers[which])}), got {found!r}."
            )
        return found

    @traitlets.validate("pairs")
    def _possible_pairs(self, proposal: Any) -> int:
        if not 1 <= proposal["value"] <= MOST_PAIRS:
            raise ArgumentError(f"Expected pairs from 1 to {MOST_PAIRS}, got {proposal['value']}.")
        return int(proposal["value"])

    @traitlets.validate("target_b")
    def _known_class_b(self, proposal: Any) -> int | None:
        value = proposal["value"]
        return None if value is None else self.net_b.class_index(value)

    def _choose(self, _change: Any) -> None:
        self._chosen = True

    def _opened(self, which: int) -> str:
        """The layer to open on, among those that are compared."""
        names, usual = self._layers[which], middle((self.net, self.net_b)[which])
        return usual if usual in names else names[(2 * len(names)) // 3]

    def _most_alike(self, now: Mapping[str, Any]) -> dict[str, str]:
        """The layer of the second network that is most like the first's, where no layer has been chosen."""
        if self._chosen or self._cka_complaint() is not None or self.result is None:
            return {}
        row = self.result.cka[self._layers[0].index(now["layer_a"])]
        return {} if np.isnan(row).all() else {"layer_b": self._layers[1][int(np.nanargmax(row))]}

    # ---- comparing

    def start(self) -> None:
        """Compare in the background what is not compared yet."""
        if self._job.running:
            return
        if self.result is not None and all(map(self._looked_at, (0, 1))):
            self._job.show("done", Step(self._pictures_to_see, self._pictures_to_see, fresh=False))
            return
        done = self._work["done"]
        self._job.start(self._steps(), done, self._pictures_to_see, fresh=False)

    def cancel(self) -> None:
        """Stop comparing; `start` goes on where it was stopped."""
        self._job.cancel()

    def _take_resume(self, _content: Content, _buffers: Sequence[memoryview]) -> None:
        self._worker.submit("resume", self.start)

    def _looked_at(self, which: int) -> bool:
        return self.health[which] is not None or self._complaints[which] is not None

    def _steps(self) -> Iterator[Step]:
        total = self._pictures_to_see
        if self.result is None and self._comparing is not None:
            self._passes = self._passes or self._comparing()
            try:
                for step in self._passes:
                    if step.result is not None:
                        self._found(step.result)
                    yield Step(step.done, total, fresh=step.result is not None)
            except Exception:
                self._passes = None  # one that has failed does not go on
                raise
            self._passes = None
        assert self.result is not None
        seen = 2 * len(self._all)
        for which, side in enumerate((self.result.a, self.result.b)):
            before = seen + which * self._looked_through
            if not self._looked_at(which):
                try:
                    for look in self._looking(side):
                        self.health[which] = look.result
                        yield Step(before + look.done, total, fresh=False)
                except LayerError as error:
                    self._complaints[which] = str(error)
                self._tell()
            yield Step(before + self._looked_through, total, fresh=True)

    @property
    def _looked_through(self) -> int:
        """Pictures on which filters and strides are measured."""
        return min(LOOKED, len(self._all))

    @property
    def _pictures_to_see(self) -> int:
        """All that there is to do: pictures, by either network, to be compared and to measure strides on."""
        return 2 * (len(self._all) + self._looked_through)

    def _looking(self, side: Side) -> Iterator[FilterProgress]:
        surveyed = first_layer(side.network).name in [layer.name for layer in side.survey.layers]
        survey = side.survey if surveyed else None
        return measuring_filters(side.network, survey, self._all, pictures=LOOKED, batch_size=BATCH)

    def _found(self, result: Comparison) -> None:
        self.result, self._answers = result, answers(result, SHOWN)
        with self.hold_sync():
            if self._fill_picture(self.fill) is not None:
                self.fill = "grey"
            self.picture = 0  # of any number of pictures there is a first
            self.images = self._at_hand()
            self.picture = self._first_readable(self.net, self.images)
            self._revision += 1
            self._list_pictures()
            for name, layer in self._most_alike({"layer_a": self.layer_a}).items():
                self.set_trait(name, layer)
            self._tell()
        # The same index is another picture now.
        self._follow(None)
        self._follow_b(None)

    def _first_readable(self, net: Network, images: Images) -> int:
        """The first picture that both networks can take; of a comparison that is known the first where none is left."""
        try:
            return first_readable(net, images, self.net_b)
        except ImageError:
            if self.result is None and len(images) == len(self._all):
                raise
            return 0

    def _at_hand(self) -> Images:
        """The pictures of the occluders."""
        shown = [row["image"] for row in self._answers[2]]
        return self._all.only(shown) if shown else self._all[:SHOWN]

    def _tell(self) -> None:
        """Tell the front end what is known."""
        result, (differing, complaint, rows) = self.result, self._answers
        both = None if result is None else np.intersect1d(result.a.answers.images, result.b.answers.images)
        compared = None if both is None else len(both)
        self._comparison = {
            "known": result is not None,
            "sides": [
                {
                    "name": net.name,
                    "layers": list(names),
                    "first": None if health is None else first_layer_row(health),
                    "complaint": problem,
                }
                for net, names, health, problem in zip(
                    (self.net, self.net_b), self._layers, self.health, self._complaints, strict=True
                )
            ],
            "numbers": [] if result is None else numbers(result),
            "agreement": None if result is None else result.agreement,
            "compared": compared,
            "unread": 0 if result is None or compared is None else len(result.images) - compared,
            "disagreements": differing,
            "complaint": complaint,
            "cka": self._cka_complaint(),
            "answers": rows,
        }

    def _cka_complaint(self) -> str | None:
        if self.result is not None:
            try:
                _ = self.result.cka
            except ArgumentError as error:
                return str(error)
        return None

    # ---- answering: layers and units

    def _compared(self) -> Comparison:
        if self.result is None:
            raise ArgumentError("Expected a comparison, got none yet. Wait until all pictures are seen.")
        return self.result

    def _tiles(self) -> list[np.ndarray | None]:
        """The filters of both first layers on one scale; None where there are none."""
        weights: list[np.ndarray | None] = []
        for net in (self.net, self.net_b):
            try:
                weight = net.weight(first_layer(net).name)
            except LayerError:
                weight = None
            weights.append(None if weight is None else weight.cpu().float().numpy())
        others = weights[::-1]
        return [None if one is None else filter_tiles(one, other) for one, other in zip(weights, others, strict=True)]

    def _answer_filters(self, _content: Content) -> Answer:
        tiles = self._tiles()
        sides = [
            None
            if one is None
            else {"layer": first_layer(net).name, "count": len(one), "height": one.shape[1], "width": one.shape[2]}
            for net, one in zip((self.net, self.net_b), tiles, strict=True)
        ]
        return {"sides": sides}, [b"" if one is None else one for one in tiles]

    def _answer_cka(self, _content: Content) -> Answer:
        values = self._compared().cka
        return {"rows": values.shape[0], "columns": values.shape[1]}, [values.astype(np.float32)]

    def _answer_matches(self, content: Content) -> Answer:
        """Pairs of units, with the patches that excite either most."""
        result = self._compared()
        layer_a = self._layer_of(0, content.get("layer_a", self.layer_a))
        layer_b = self._layer_of(1, content.get("layer_b", self.layer_b))
        found = result.matches(layer_a, layer_b) if self._cka_complaint() is None else []
        order = content.get("pair_order", self.pair_order)
        if order == "mutual":
            found = [pair for pair in found if pair.mutual]
        elif order == "unlike":
            found = found[::-1]
        count = min(max(1, content.get("pairs", self.pairs)), MOST_PAIRS)
        show = content.get("pair_show", self.pair_show)
        rows, buffers, within = [], [], []
        units = [pair.a for pair in found[:count]], [pair.b for pair in found[:count]]
        for which, (side, layer) in enumerate(((result.a, layer_a), (result.b, layer_b))):
            exemplars = [(unit, side.survey.top(layer, unit)) for unit in units[which]]
            tiles = (self._projected if show == "projection" else self._patched)(which, layer, exemplars)
            rows.append([len(one) for one in tiles])
            within.append(self._within(which, exemplars, show))
            buffers.append(b"".join(tile.tobytes() for one in tiles for tile in one))
        pairs = [
            {"units": [pair.a, pair.b], "r": pair.correlation, "mutual": pair.mutual, "patches": list(counts)}
            for pair, counts in zip(found[:count], zip(*rows, strict=True), strict=True)
        ]
        return {
            "layer_a": layer_a,
            "layer_b": layer_b,
            "pair_order": order,
            "pair_show": show,
            "side": SIDE,
            "all": len(found),
            "pairs": pairs,
            "inside": within,
        }, buffers

    def _within(self, which: int, units: Sequence[tuple[int, Sequence[Exemplar]]], show: str) -> list[list[float]]:
        """Where in each of the tiles the picture is; see `inside`."""
        size = (self.net, self.net_b)[which].input_shape[1:]
        shown, times = (PROJECTED, 2) if show == "projection" else (PATCHES, 1)
        return [inside(one.box, size) for _, exemplars in units for one in exemplars[:shown] for _ in range(times)]

    def _patched(self, which: int, _layer: str, units: Sequence[tuple[int, Sequence[Exemplar]]]) -> list[list[Tile]]:
        """The patches of each unit."""
        images, patches = self._compared().images, self._patches[which]
        return [[patches.patch(images, one, SIDE)[0] for one in exemplars[:PATCHES]] for _, exemplars in units]

    def _projected(self, which: int, layer: str, units: Sequence[tuple[int, Sequence[Exemplar]]]) -> list[list[Tile]]:
        """What each unit picked out of the pictures, mid-grey where nothing, and beside it the patch."""
        net, images, kept = (self.net, self.net_b)[which], self._compared().images, self._projections
        method = self._methods[which] = self._methods[which] or usual_method(net)
        places = [(unit, one) for unit, exemplars in units for one in exemplars[:PROJECTED]]
        missing = [
            Unit(one.image, unit, one.row, one.column, one.value)
            for unit, one in places
            if one.value > 0 and (which, layer, unit, one.image) not in kept
        ]
        height, width = net.input_shape[1:]
        for unit, found in zip(
            missing, self._projectors[which](images, net.layer(layer), missing, method), strict=True
        ):
            shades, _ = projection_tile(found, (height, width), SIDE)
            kept[which, layer, unit.channel, unit.image] = (shades.astype(np.int16) + 128).astype(np.uint8)
        nothing = np.full((SIDE, SIDE, 3), 128, np.uint8)
        rows = []
        for (channel, exemplars), patches in zip(units, self._patched(which, layer, units), strict=True):
            tiles = [kept.get((which, layer, channel, one.image), nothing) for one in exemplars[:PROJECTED]]
            rows.append([tile for pair in zip(tiles, patches, strict=False) for tile in pair])
        while len(kept) > KEPT:
            kept.pop(next(iter(kept)))
        return rows

    # ---- answering: the square on the second network's picture

    def _found_together(self, _revision: int, picture: int) -> Together:
        return self._of_size(picture_size(self.images[picture]))

    def _answer_together(self, content: Content) -> Answer:
        picture = content.get("picture", self.picture)
        self._current({"picture": picture})
        found = self._together_of(self._revision, picture)
        return {"picture": picture, "rows": list(found.rows), "columns": list(found.columns)}, []

    def _box_b(self, picture: int) -> tuple[tuple[int, int], int | tuple[int, int]]:
        """Where the square is on the second network's picture."""
        shape = self.net_b.input_shape
        position, (high, wide) = self._together_of(self._revision, picture).box(
            self.position, self.size, (shape[1], shape[2])
        )
        return position, high if high == wide else (high, wide)

    def _setting_b(self, content: Content | None) -> Setting:
        message = content or {}
        picture = message.get("picture", self.picture)
        self._current({"picture": picture})
        fill = message.get("fill", self.fill)
        target = message.get("target", self.target_b)
        return Setting(
            picture,
            fill if self._fill_picture(fill) is not None else fill_name(fill),
            shape_value(message["shape"]) if "shape" in message else self.shape,
            checked_size(self.net_b, message["size"] if "size" in message else self._box_b(picture)[1]),
            None if target is None else self.net_b.class_index(target),
        )

    def _compute_b(self, content: Content | None = None) -> dict[str, Any]:
        setting, message = self._setting_b(content), content or {}
        position = message["position"] if "position" in message else self._box_b(setting.picture)[0]
        frame = self._framed(self._occluder_b, setting, position)
        self.set_trait("probability_b", frame["target"]["now"])
        return frame

    @traitlets.observe("picture", "position", "size", "shape", "fill", "target_b")
    def _follow_b(self, _change: Any) -> None:
        if self._live:
            self._worker.submit("follow_b", lambda: self._guarded("occlude_b", self._compute_b))

    @fields(target=Value(None, allow_none=True), dragging=traitlets.Bool())
    def _answer_occlude_b(self, content: Content) -> Answer:
        return self._shown(self._occluder_b, self._setting_b(content), self._compute_b(content))

    @fields(target=Value(None, allow_none=True))
    def _answer_fill_b(self, content: Content) -> Answer:
        return self._filled(self._occluder_b, self._setting_b(content))

    def _answer_photo_b(self, content: Content) -> Answer:
        pixels = self.net_b.picture(self._current(content).image)
        return framed(pixels, content.get("picture", self.picture))

    def _answer_labels_b(self, _content: Content) -> Answer:
        return {"labels": list(self.net_b.labels)}, []

    def _answer_trail_b(self, _content: Content) -> Answer:
        return visited(self._occluder_b.trail)

    @fields(clear=traitlets.Bool())
    def _answer_trail(self, content: Content) -> Answer:
        if content.get("clear"):
            self._clear_b()
        return super()._answer_trail(content)

    def clear_trail(self) -> None:
        """Forget where the occluder has been, on both pictures."""
        super().clear_trail()
        self._clear_b()

    def _clear_b(self) -> None:
        self._occluder_b.trail.begin(None)
        self.send({"event": "trail_b", "trail": self._occluder_b.trail.number})

    # ---- life

    def _forget(self) -> None:
        super()._forget()
        self._occluder_b.forget()
        for kept in (*self._patches, *self._projectors):
            kept.forget()
        self._projections.clear()

    # ---- a page without a kernel

    def _snapshot(self) -> list[Request]:
        known: list[Request] = [] if self.result is None else [("matches", {})]
        if self.result is not None and self._cka_complaint() is None:
            known.append(("cka", {}))
        second: list[Request] = [(kind, {}) for kind in ("photo_b", "fill_b", "occlude_b", "trail_b", "together")]
        return [*super()._snapshot(), ("filters", {}), *known, *second]

    def _figures(self) -> Mapping[str, Callable[[], Any]]:
        return {"comparison": lambda: self._plotted(self.result), **super()._figures()}

    def _occluder_figure(self) -> Any:
        """The picture under the square as either network gets it, and the classes of each before and after."""
        figure, panels = curves(4, (3.4, 2.4))
        second = self._setting_b(None)
        name, position = self._current().name, self._box_b(second.picture)[0]
        for at, (net, occluder, setting, where) in enumerate((
            (self.net, self._occluder, self._setting_of(None), self.position),
            (self.net_b, self._occluder_b, second, position),
        )):  # fmt: skip
            self._draw_occluder(panels[2 * at : 2 * at + 2], occluder, setting, where, f"{name} · {net.name}")
        return figure

    def _strips(self) -> list[Strip]:
        strips = []
        tiles = [one for one in self._tiles() if one is not None]
        if tiles:
            names = " · ".join((self.net.name, self.net_b.name))
            strips.append(Strip(f"First layers on one scale: {names}", [_sheet(one) for one in tiles], 160))
        if self.result is not None:
            strips += [Strip(f"{name}: {a} | {b}") for name, a, b in _written(self.result)]
            answer, buffers = self._answer_matches({"pairs": 1})
            tiles = [np.frombuffer(bytes(one), np.uint8).reshape(-1, SIDE, SIDE, 3) for one in buffers]
            for pair in answer["pairs"]:
                (a, b), r = pair["units"], pair["r"]
                text = f"{answer['layer_a']} unit {a} | {answer['layer_b']} unit {b}, r {r:.2f}"
                strips.append(Strip(text, [*tiles[0], *tiles[1]], 52))
        return [*strips, *super()._strips()]


def _written(result: Comparison) -> Iterator[tuple[str, str, str]]:
    """The rows of the table in words."""
    for row in numbers(result):
        kind = {"share": "{:.1%}", "count": "{:,}", "seconds": "{:.2g} s"}[row["kind"]]
        a, b = ("–" if value != value else kind.format(value) for value in row["values"])
        yield row["name"], a, b


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")


def _sheet(tiles: np.ndarray) -> np.ndarray:
    """Tiles in a square, a white line between them."""
    count, height, width, _ = tiles.shape
    across = int(np.ceil(np.sqrt(count)))
    drawn = np.full((-(-count // across) * (height + 1) + 1, across * (width + 1) + 1, 3), 255, np.uint8)
    for place, tile in enumerate(tiles):
        top, left = 1 + place // across * (height + 1), 1 + place % across * (width + 1)
        drawn[top : top + height, left : left + width] = tile
    return drawn
