"""The gallery's traits and answers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import traitlets
from torch import Tensor

from convscope._instrument import Answer, Content, Instrument, Request, described
from convscope._job import Job, Step, progress
from convscope._still import Bar, Strip
from convscope._wire import Choice, Real, Value, Whole, fields
from convscope_core.datasets import Images
from convscope_core.errors import ArgumentError, ImageError
from convscope_core.explain import Attribution, attribute_tensor, randomised, similarity
from convscope_core.explain.method import METHODS, find
from convscope_core.network import Network, Prediction
from convscope_core.patterns import Patterns
from convscope_core.wordnet import class_name

from .columns import COLUMNS, arranged, takes_many_passes
from .tile import FAINT, Tile, is_turned, packed, painted, planes_of, strength

__all__ = ["GalleryPane"]

#: Pictures shown, and classes listed under a picture.
ROWS, CLASSES = 12, 5
#: Maps kept, controls among them, so that going back to a class costs nothing: all of the largest gallery and as many.
KEPT = 2 * 2 * ROWS * COLUMNS
#: Maps in one answer, bytes; the front end asks again for the rest.
ANSWER = 8_000_000

#: matplotlib's names of the gallery's colours.
DIVERGING = {"red-blue": "RdBu_r", "purple-green": "PRGn_r"}
#: Where a figure has no map.
NOTHING = np.full((8, 8, 3), 255, np.uint8)

#: Place of a map: row, method, and whether it is the control's.
Place = tuple[int, str, bool]
#: The maps that there are at one moment, by place; None where one is not computed.
Maps = Mapping[Place, Tile | None]


class GalleryPane(Instrument):
    """One row a picture, one column a method, each map with its control.

    Parameters
    ----------
    images : Images
        The first twelve that can be read are shown.
    method_options : mapping of str to mapping, optional
        Options of methods, by their name.
    patterns : Patterns, optional
        For the methods that need them.
    """

    methods: Any = traitlets.List(traitlets.Unicode(), None, allow_none=True).tag(sync=True)
    """list of str or None: the methods asked for; None for all that the network supports, at most eight."""

    target = Value(None, allow_none=True)
    """int, str or None: setting it sets all of `targets`; None for the most probable class of each picture."""

    targets: traitlets.List = traitlets.List().tag(sync=True)
    """list of int, str or None: the class that each row explains; None for its picture's most probable."""

    extended = traitlets.List(traitlets.Unicode()).tag(sync=True)
    """list of str: methods to extend to operations that they are not published for, where the network has such. Their
    columns are labelled."""

    control = traitlets.Bool(True).tag(sync=True)
    """bool: whether the controls are computed and shown."""

    top = Real(0.5, min=0.0, max=1.0).tag(sync=True)
    """float: share of the layers, from the output, that the control randomises; 0 for the classifier alone."""

    seed = Whole(0, min=0).tag(sync=True)
    """int: of the control's random weights."""

    opacity = Real(1.0, min=0.0, max=1.0).tag(sync=True)
    """float: of the maps over the picture, 0..1."""

    scale_by = Choice(["method", "group", "map"], "method").tag(sync=True)
    """str: what shares a scale of colours: the maps of a "method" in all rows (two methods have no common unit), those
    of a "group" within a row, or each "map" has its own."""

    colours = Choice(["red-blue", "purple-green"], "red-blue").tag(sync=True)
    """str: the colours of positive and negative values."""

    _columns: traitlets.List = traitlets.List().tag(sync=True)
    _refused: traitlets.List = traitlets.List().tag(sync=True)
    _tiles = progress(failed=0)

    def __init__(
        self,
        net: Network,
        *,
        images: Images,
        method_options: Mapping[str, Mapping[str, Any]] | None = None,
        patterns: Patterns | None = None,
        **options: Any,
    ) -> None:
        self._given = len(images)
        self.images, self._inputs, self._unread = _first_readable(net, images)
        self.options = {name: dict(chosen) for name, chosen in (method_options or {}).items()}
        if patterns is not None:
            patterns.require(net)
            for name in (m.name for m in METHODS.values() if "patterns" in m.options):
                self.options[name] = {"patterns": patterns, **self.options.get(name, {})}
        for name, chosen in self.options.items():
            find(name).settings(chosen)
        self._predictions: dict[int, Prediction] = {}
        self._computed: dict[tuple[Any, ...], Tile] = {}
        self._numbers = itertools.count(1)
        self._controls: tuple[float, int, Network] | None = None
        # A figure of rows says of each map whether it is there.
        self._tile_job = Job(
            self, "tiles", "_tiles", fields=lambda: {"failed": self._failed_tiles}, counted="maps",
            drawn=lambda what: what == "",
        )  # fmt: skip
        self._failed_tiles = 0
        super().__init__(net, **{"targets": [None] * len(self.images)} | options)
        self._arrange()

    # ---- what may be set

    @traitlets.validate("methods", "extended")
    def _known_methods(self, proposal: Any) -> list[str] | None:
        value = proposal["value"]
        return value and list(dict.fromkeys(find(name).name for name in value))

    @traitlets.validate("target")
    def _known_class(self, proposal: Any) -> int | None:
        value = proposal["value"]
        return None if value is None else self.net.class_index(value)

    @traitlets.validate("targets")
    def _known_classes(self, proposal: Any) -> list[int | None]:
        value = proposal["value"]
        if len(value) != len(self.images):
            raise traitlets.TraitError(
                f"Expected targets, a class or None for each of the {len(self.images)} pictures, got {len(value)}."
            )
        return [None if one is None else self.net.class_index(one) for one in value]

    @traitlets.observe("target")
    def _all_rows(self, change: Any) -> None:
        self.targets = [change["new"]] * len(self.images)

    @traitlets.observe("methods", "extended", "targets", "control", "top", "seed")
    def _other_setting(self, change: Any) -> None:
        if not self._live:
            return
        if change["name"] in ("methods", "extended"):
            self._arrange()
        self.start()

    def _arrange(self) -> None:
        """Find out what the network supports, and so the columns."""
        columns, refused = arranged(self.net, self.methods, self.extended, self.options)
        with self.hold_sync():
            self._columns, self._refused = columns, refused

    # ---- results

    def attribution(self, picture: int, method: str, control: bool = False) -> Attribution | None:
        """Return a map of the present class, as far as it is computed.

        Parameters
        ----------
        picture : int
            The row.
        method : str
        control : bool, default False
            The map of the randomised network.

        Returns
        -------
        Attribution or None
            None while it is not computed, or could not be.
        """
        tile = self._computed.get(self._key((picture, find(method).name, control)))
        return None if tile is None else tile.attribution

    @property
    def similarities(self) -> dict[tuple[int, str], float]:
        """Similarity of each map to its control by (row, method), -1..1, as far as computed.

        NaN where one of them is constant. See `convscope_core.explain.similarity`.
        """
        found = ((place, self._computed.get(self._key(place))) for place in self._places() if place[2])
        return {(row, name): t.rho for (row, name, _), t in found if t is not None and t.rho is not None}

    def _prediction(self, row: int) -> Prediction:
        found = self._predictions.get(row)
        if found is None:
            scores, _ = self.net.forward(self._input(row))
            found = self._predictions[row] = self.net.prediction(scores)
        return found

    def _input(self, row: int) -> Tensor:
        found = self._inputs.get(row)
        if found is None:
            found = self._inputs[row] = self.net.prepare(self.images[row].image)
        return found

    def _class(self, row: int) -> int:
        target = self.targets[row]
        return self._prediction(row).index if target is None else int(target)

    # ---- computing

    def start(self) -> None:
        """Compute what is missing in the background, or go on where `cancel` stopped; failed maps are tried again.

        Called by the constructor and by every change of a setting.
        """
        for key in [key for key, tile in list(self._computed.items()) if tile.error is not None]:
            self._computed.pop(key, None)
        self._failed_tiles = 0
        self._tile_job.start(self._tile_steps())

    def cancel(self) -> None:
        """Stop after the map under way; what is computed stays."""
        self._tile_job.cancel()

    def _places(self) -> list[Place]:
        """All maps of the present setting in the order in which they are computed."""
        names = [column["name"] for column in self._columns]
        slow = [name for name in names if takes_many_passes(find(name))]
        fast = [name for name in names if name not in slow]
        rows = range(len(self.images))
        maps = [(row, name, False) for group in (fast, slow) for row in rows for name in group]
        return maps + [(row, name, True) for row, name, _ in maps if self.control]

    def _key(self, place: Place) -> tuple[Any, ...]:
        row, name, control = place
        extension = next((c["extended"] and c["extended"]["how"] for c in self._columns if c["name"] == name), None)
        return (row, name, extension, self._class(row), (self.top, self.seed) if control else None)

    def _tile_steps(self) -> Iterator[Step]:
        while True:
            places = self._places()
            keys = {place: self._key(place) for place in places}
            missing = [place for place in places if keys[place] not in self._computed]
            done = len(places) - len(missing)
            if not missing:
                break
            yield Step(done, len(places))
            tile = self._compute(missing[0], keys[missing[0]])
            while len(self._computed) >= max(KEPT, 2 * len(places)):
                self._computed.pop(next(iter(self._computed)), None)  # `start` may have dropped it as a failed one
            self._computed[keys[missing[0]]] = tile
        tiles = [self._computed.get(key) for key in keys.values()]
        self._failed_tiles = sum(tile is not None and tile.error is not None for tile in tiles)
        yield Step(done, len(places), state="failed" if self._failed_tiles else "done")

    def _compute(self, place: Place, key: tuple[Any, ...]) -> Tile:
        row, name, control = place
        _, _, extension, target, _ = key
        number = next(self._numbers)
        settings = dict(self.options.get(name, {}))
        if extension is not None:
            settings["extension"] = extension
        try:
            net, rho, turned = self.net, None, False
            if control:
                net = self._randomised()
            attribution = attribute_tensor(net, self._input(row), name, target, **settings)
            if not np.isfinite(attribution.values).all():
                raise ArgumentError(
                    f"Expected finite values of {name}, got NaN or infinite ones. Check the picture and the weights."
                )
            if control:
                clean = self._computed.get((*key[:-1], None))
                if clean is not None and clean.attribution is not None:
                    rho = similarity(clean.attribution.values, attribution.values)
                    turned = is_turned(clean.attribution, attribution)
        except Exception as error:
            return Tile(number, None, None, False, described(error))
        return Tile(number, attribution, rho, turned, None)

    def _randomised(self) -> Network:
        known = self._controls  # `_forget` may come between
        if known is None or known[:2] != (self.top, self.seed):
            known = self._controls = (self.top, self.seed, randomised(self.net, self.top, self.seed))
        return known[2]

    def _forget(self) -> None:
        super()._forget()
        self._inputs.clear()
        self._controls = None

    # ---- answering

    def _answer_compute(self, _content: Content) -> Answer:
        self.start()
        return {}, []

    def _answer_rows(self, _content: Content) -> Answer:
        rows, pictures = [], []
        for row in range(len(self.images)):
            found = self._prediction(row)
            order = np.argsort(-found.probabilities, kind="stable")[:CLASSES]
            pixels = self.net.picture(self._input(row).cpu())
            rows.append(
                {
                    "name": self.images[row].name,
                    "label": None if (label := self.images[row].label) is None else class_name(label),
                    "classes": [self._described_class(row, int(index)) for index in order],
                    "height": pixels.shape[0],
                    "width": pixels.shape[1],
                }
            )
            pictures.append(pixels)
        return {"rows": rows, "given": self._given, "unread": self._unread}, pictures

    def _described_class(self, row: int, index: int) -> dict[str, Any]:
        probability = float(self._prediction(row).probabilities[index])
        return {"index": index, "label": self.net.labels[index], "probability": probability}

    @fields(have=traitlets.List(Whole()), all=traitlets.Bool())
    def _answer_tiles(self, content: Content) -> Answer:
        """All maps of the present setting; with the values of those whose number is not among ``have``."""
        have = set(content.get("have", ()))
        room = math.inf if content.get("all") else ANSWER
        tiles, planes, more = [], [], False
        for place in self._places():
            tile = self._computed.get(self._key(place))
            if tile is None:
                continue
            row, name, control = place
            told: dict[str, Any] = {"row": row, "method": name, "control": control, "number": tile.number}
            if tile.number not in have:
                if room <= 0:
                    more = True
                    continue
                described_tile, plane = packed(tile)
                told.update(described_tile, new=True)
                if plane is not None:
                    planes.append(plane)
                    room -= len(plane)
            tiles.append(told)
        targets = [self._described_class(row, self._class(row)) for row in range(len(self.images))]
        return {"tiles": tiles, "targets": targets, "more": more}, planes

    def _strips(self) -> list[Strip]:
        strips, maps = super()._strips(), self._maps()
        ends = self._ends(maps)
        for row in range(len(self.images)):
            made = [name for name, tile in tiles_of(maps, row) if tile is not None and tile.attribution]
            drawings = [self._drawn(maps, (row, name, False), ends) for name in made]
            pictures = [self.net.picture(self._input(row).cpu()), *drawings]
            strips.append(Strip(f"{self.images[row].name}: {', '.join(['the picture', *made])}", pictures, 100))
        return strips

    def _maps(self) -> Maps:
        """The maps as they are now, row by row in the order of the columns, controls where they are shown.

        What is drawn is made of one such look at them: meanwhile the worker adds others.
        """
        names, controls = [column["name"] for column in self._columns], (False, True) if self.control else (False,)
        places = [(row, name, one) for row in range(len(self.images)) for name in names for one in controls]
        return {place: self._computed.get(self._key(place)) for place in places}

    def _ends(self, maps: Maps) -> dict[tuple[int, str], float]:
        """The magnitude at which the colours of each map end, by row and method, as the front end has it."""
        found = {
            (row, name): strength(planes_of(tile.attribution))
            for (row, name, control), tile in maps.items()
            if not control and tile is not None and tile.attribution
        }
        if self.scale_by == "map":
            return found
        if self.scale_by == "method":
            return {(row, name): max(one for (_, of), one in found.items() if of == name) for row, name in found}
        groups = {name: find(name).group for _, name in found}
        ends = {
            (row, name): max(one for (at, of), one in found.items() if at == row and groups[of] == groups[name])
            for row, name in found
        }
        faint = {name for (row, name), one in found.items() if one < FAINT * ends[row, name]}
        return {place: found[place] if place[1] in faint else end for place, end in ends.items()}

    def _drawn(self, maps: Maps, place: Place, ends: Mapping[tuple[int, str], float]) -> np.ndarray:
        """A map in the gallery's colours, over its picture; nothing where there is none."""
        (row, name, control), tile = place, maps[place]
        if tile is None or tile.attribution is None:
            return NOTHING
        # Of a control only the order is compared.
        end = strength(planes_of(tile.attribution)) if control else ends[row, name]
        photo = self.net.picture(self._input(row).cpu())
        return painted(tile.attribution, end, self.colours, photo, self.opacity)

    def _figures(self) -> Mapping[str, Callable[[], Any]]:
        rows = range(len(self.images))
        each = {f"row {row}": partial(self._rows_figure, [row]) for row in rows}
        return {"gallery": partial(self._rows_figure, rows), **each, **super()._figures()}

    def _rows_figure(self, rows: Sequence[int]) -> list[Strip]:
        """Rows of the gallery: maps in its colours and on its scales, and beneath them their controls."""
        strips, maps = [], self._maps()
        ends = self._ends(maps)
        if not any(row in rows for row, _ in ends):
            raise ArgumentError("Expected maps, to draw them, got none yet. Wait for the first: wait().")
        for row in rows:
            tiles, controls, target = tiles_of(maps, row), tiles_of(maps, row, control=True), self._class(row)
            picture = self.net.picture(self._input(row).cpu())
            share = float(self._prediction(row).probabilities[target])
            text = f"{self.images[row].name}: {self.net.labels[target]} ({share:.3f}), explained by {self.net.name}"
            words = [f"{name.replace('_', ' ')}\n{_stand(tile, ends.get((row, name)))}" for name, tile in tiles]
            bar = Bar(DIVERGING[self.colours], -1, 1, "of ± beneath")
            drawings = [self._drawn(maps, (row, name, False), ends) for name, _ in tiles]
            strips.append(Strip(text, [picture, *drawings], 100, ["picture", *words], bar))
            if not controls:
                continue
            rhos = [_stand(tile) for _, tile in controls]
            text = f"its controls: the top {self.top:.0%} of the layers at random; colours end at each map’s own ±"
            drawings = [self._drawn(maps, (row, name, True), ends) for name, _ in controls]
            strips.append(Strip(text, [NOTHING, *drawings], 100, ["", *rhos], bar))
        return strips

    def _snapshot(self) -> list[Request]:
        return [*super()._snapshot(), ("rows", {}), ("tiles", {"all": True})]


def tiles_of(maps: Maps, row: int, control: bool = False) -> list[tuple[str, Tile | None]]:
    """The maps of a row by method; or its controls."""
    return [(name, tile) for (at, name, one), tile in maps.items() if (at, one) == (row, control)]


def _stand(tile: Tile | None, end: float | None = None) -> str:
    """What is written beneath a map: where its colours end; of a control how alike it is; or why there is none."""
    if tile is None:
        return "not computed yet"
    if tile.attribution is None:
        return "failed"
    if end is not None:
        return f"± {end:.2g}"
    if tile.rho is None or math.isnan(tile.rho):
        return "ρ: one is constant"
    return f"ρ = {tile.rho:.2f}{', signs turn' if tile.turned else ''}"


def _first_readable(net: Network, images: Images) -> tuple[Images, dict[int, Tensor], list[list[str]]]:
    """Return the pictures that are shown, as the network takes them, and name and error of those that are passed by.

    Raises
    ------
    ImageError
        If none can be read; of the first.
    """
    rows: dict[int, Tensor] = {}
    refused: list[ImageError] = []
    unread: list[list[str]] = []
    for index in range(len(images)):
        try:
            rows[index] = net.prepare(images[index].image)
        except ImageError as error:
            refused.append(error)
            unread.append([images[index].name, str(error)])
        if len(rows) == ROWS:
            break
    if not rows and refused:
        raise refused[0]
    return images.only(list(rows)), dict(enumerate(rows.values())), unread
