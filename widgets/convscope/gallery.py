"""The gallery: every explanation of a picture side by side, and what is left of each when the network forgets."""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import traitlets
from torch import Tensor

from convscope_core.datasets import Images
from convscope_core.errors import ArgumentError
from convscope_core.explain import Attribution, attribute_tensor, randomised, similarity
from convscope_core.explain import methods as all_methods
from convscope_core.explain.method import GROUPS, METHODS, Method, TableMethod, find, logits
from convscope_core.graph.backward import EXTENSIONS
from convscope_core.network import Network, Prediction
from convscope_core.patterns import Patterns

from ._instrument import Answer, Instrument, bundle, described, require_network

__all__ = ["Gallery"]

#: Pictures shown, methods shown by default, and classes listed under a picture.
ROWS, COLUMNS, CLASSES = 12, 8, 5
#: Maps kept, controls among them, so that going back to a class costs nothing: all of the largest gallery and as many.
KEPT = 2 * 2 * ROWS * COLUMNS
#: Maps in one answer, bytes; the front end asks again for the rest.
ANSWER = 8_000_000
#: Of the magnitudes of a map, the one at which colours end.
PERCENTILE = 99.5

#: Before anything is computed.
PROGRESS = {"state": "none", "revision": 0, "done": 0, "total": 0, "left": None, "failed": 0}

#: Place of a map: row, method, and whether it is the control's.
Place = tuple[int, str, bool]


@dataclass(frozen=True, eq=False)
class Tile:
    """A map that has been computed, or why it could not be.

    Attributes
    ----------
    number : int
        Tells it from all others of the gallery.
    found : Attribution or None
    rho : float or None
        Of a control: how alike it is to the map. NaN where one of them is constant.
    error : dict or None
        As the front end shows it.
    """

    number: int
    found: Attribution | None
    rho: float | None
    error: dict[str, Any] | None


class Gallery(Instrument):
    """Compare all methods of explanation on a few pictures, each with its control.

    One row a picture, one column a method, in three groups that answer different questions: *function*, how the score
    changes with the picture; *signal*, what the network picked out of it; *attribution*, how much each place
    contributed. Within a group and row the maps share one scale of colours. A click on a class explains that class.

    Under each map stands its control: the same map of the same class after the network's top layers have been
    randomised, and how alike the two are (Spearman's ρ of the magnitudes). A map that hardly changes hardly depends on
    what those layers learnt, however much it looks like the thing in the picture.

    Parameters
    ----------
    net : Network
    images : path, picture, folder, list or Images
        What `Images.of` takes; the first twelve are shown.
    methods : list of str, optional
        Names of `cs.methods(net)`. Default: all that this network supports, at most eight; those it does not support
        are listed with the reason.
    target : int or str, optional
        Class to explain in all rows. Default: the most probable class of each picture.
    control : bool, default True
        Whether to compute and show the controls.
    options : dict of str to dict, optional
        Options of methods, by their name: ``{"deconvnet": {"switches": False}}``.
    patterns : Patterns, optional
        From `fit_patterns`, of this network: for PatternNet and PatternAttribution, which are not possible without.
    **traits
        Further traits: `targets`, `extended`, `top`, `seed`, `opacity`, `scale_by`, `colours`.

    Raises
    ------
    ImageError
        If a picture cannot be read.
    ArgumentError, traitlets.TraitError
        If an option is out of range; the message says what was expected.

    Notes
    -----
    What the maps can and cannot say. Deconvnet and guided backprop show what a unit sees, not why a class was chosen:
    in the pointing game the strongest place of a deconvnet's map lies on the object less often than the centre of the
    picture does (67.5 against 69.6, in percent, VOC 2007, VGG-16). Neither they nor the others show that a place is
    needed: only changing the picture does (`OcclusionMap`). A control that differs is necessary for a map that
    depends on what was learnt, and not sufficient for one that is right.

    References
    ----------
    J. Adebayo et al.: Sanity Checks for Saliency Maps, NeurIPS 2018, section 3 (the randomisation is stated in
    `convscope_core.explain.randomised`). P.-J. Kindermans et al.: Learning how to explain neural networks, ICLR 2018,
    section 1 (function, signal, attribution). R. Fong, M. Patrick, A. Vedaldi: Understanding Deep Networks via
    Extremal Perturbations and Smooth Masks, ICCV 2019, table 1 (the pointing game).

    Examples
    --------
    >>> gallery = cs.Gallery(net, ["cat.jpg", "cup.jpg"])      # doctest: +SKIP
    >>> gallery.wait(None)                                     # doctest: +SKIP
    >>> gallery.attribution(0, "gradient").values              # doctest: +SKIP
    >>> gallery.similarities                                   # doctest: +SKIP
    {(0, 'gradient'): 0.22, (0, 'guided_backprop'): 0.81}
    """

    _name = "gallery"
    _esm = bundle(_name)

    methods: Any = traitlets.List(traitlets.Unicode(), None, allow_none=True).tag(sync=True)
    """list of str or None: the methods asked for; None for all that the network supports, at most eight."""

    target = traitlets.Any(None, allow_none=True)
    """int, str or None: setting it sets all of `targets`; None for the most probable class of each picture."""

    targets: traitlets.List = traitlets.List().tag(sync=True)
    """list of int, str or None: the class that each row explains; None for its picture's most probable."""

    extended = traitlets.List(traitlets.Unicode()).tag(sync=True)
    """list of str: methods to extend to operations that they are not published for, where the network has such. Their
    columns are labelled."""

    control = traitlets.Bool(True).tag(sync=True)
    """bool: whether the controls are computed and shown."""

    top = traitlets.Float(0.5, min=0.0, max=1.0).tag(sync=True)
    """float: share of the layers, from the output, that the control randomises; 0 for the classifier alone."""

    seed = traitlets.Int(0, min=0).tag(sync=True)
    """int: of the control's random weights."""

    opacity = traitlets.Float(1.0, min=0.0, max=1.0).tag(sync=True)
    """float: of the maps over the picture, 0..1."""

    scale_by = traitlets.Enum(["group", "map"], "group").tag(sync=True)
    """str: what shares a scale of colours: the maps of a "group" within a row, or each "map" has its own."""

    colours = traitlets.Enum(["red-blue", "purple-green"], "red-blue").tag(sync=True)
    """str: the colours of positive and negative values."""

    _columns: traitlets.List = traitlets.List().tag(sync=True)
    _refused: traitlets.List = traitlets.List().tag(sync=True)
    _tiles: traitlets.Dict = traitlets.Dict(default_value=PROGRESS).tag(sync=True)

    def __init__(
        self,
        net: Network,
        images: Any,
        methods: Sequence[str] | None = None,
        target: int | str | None = None,
        control: bool = True,
        *,
        options: Mapping[str, Mapping[str, Any]] | None = None,
        patterns: Patterns | None = None,
        **traits: Any,
    ) -> None:
        require_network(net)
        pictures = Images.of(images)
        self._given = len(pictures)
        pictures = pictures[:ROWS]
        self._inputs = {row: net.prepare(one.image) for row, one in enumerate(pictures)}  # refused here, if at all
        self.options = {name: dict(chosen) for name, chosen in (options or {}).items()}
        if patterns is not None:
            patterns.require(net)
            for name in (m.name for m in METHODS.values() if "patterns" in m.options):
                self.options[name] = {"patterns": patterns, **self.options.get(name, {})}
        for name, chosen in self.options.items():
            find(name).settings(chosen)
        self._predictions: dict[int, Prediction] = {}
        self._made: dict[tuple[Any, ...], Tile] = {}
        self._numbers = itertools.count(1)
        self._controls: tuple[float, int, Network] | None = None
        self._cancel = threading.Event()
        self._begun = False
        traits.setdefault("targets", [None] * len(pictures))
        super().__init__(
            net, pictures, methods=None if methods is None else list(methods), control=control, **traits
        )  # fmt: skip
        if target is not None:
            self.target = target
        self._arrange()
        self._begun = True
        self.start()

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
                f"targets: expected a class, or None, for each of the {len(self.images)} pictures; got {len(value)}"
            )
        return [None if one is None else self.net.class_index(one) for one in value]

    @traitlets.observe("target")
    def _all_rows(self, change: Any) -> None:
        self.targets = [change["new"]] * len(self.images)

    @traitlets.observe("methods", "extended", "targets", "control", "top", "seed")
    def _other_setting(self, change: Any) -> None:
        if not getattr(self, "_begun", False) or self.comm is None:
            return
        if change["name"] in ("methods", "extended"):
            self._arrange()
        self.start()

    def _arrange(self) -> None:
        """Find out what the network supports, and so the columns."""
        columns: list[dict[str, Any]] = []
        refused: list[dict[str, Any]] = []
        names = [m.name for m in all_methods(self.net)] if self.methods is None else self.methods
        for name in sorted(names, key=lambda name: GROUPS.index(find(name).group)):
            column = self._column(name)
            (refused if "reason" in column else columns).append(column)
        if self.methods is None and len(columns) > COLUMNS:
            # Those that take long give way first.
            asked = (*self.extended, *self.options)
            order = sorted(columns, key=lambda c: c["name"] not in asked and is_dear(find(c["name"])))
            for column in order[COLUMNS:]:
                columns.remove(column)
                reason = f"At most {COLUMNS} are shown by themselves; methods=[...] chooses."
                refused.append({**column, "reason": reason, "extension": None, "kind": "more"})
        with self.hold_sync():
            self._columns, self._refused = columns, refused

    def _column(self, name: str) -> dict[str, Any]:
        """What the front end knows of a method; with a "reason" where the network does not support it."""
        found = find(name)
        settings = found.settings(self.options.get(name, {}))
        column: dict[str, Any] = {"name": name, "group": found.group, "summary": found.source, "extended": None}
        try:
            plan = found.begin(self.net, settings, logits(self.net), self.net.graph.input)
        except (ArgumentError, ImportError) as error:
            extension = self._extension(found, settings)
            if extension is None or name not in self.extended:
                kind = "missing" if isinstance(error, ImportError) else "network"
                return {**column, "reason": str(error), "kind": kind, "extension": extension}
            settings = {**settings, "extension": extension}
            plan = found.begin(self.net, settings, logits(self.net), self.net.graph.input)
        if plan.extended:  # "how" is None where the method's own table has a rule that is not the paper's
            kinds = Counter(node.kind for node in plan.extended)
            where = ", ".join(f"{kind} (×{count})" if count > 1 else kind for kind, count in kinds.items())
            column["extended"] = {"how": settings["extension"], "where": where}
        return column

    def _extension(self, found: Method, settings: Mapping[str, Any]) -> str | None:
        """The first extension with which a method would be possible."""
        if settings.get("extension", "") is not None:
            return None
        for extension in EXTENSIONS:
            try:
                found.begin(self.net, {**settings, "extension": extension}, logits(self.net), self.net.graph.input)
            except (ArgumentError, ImportError):
                continue
            return extension
        return None

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
        tile = self._made.get(self._key((picture, find(method).name, control)))
        return None if tile is None else tile.found

    @property
    def similarities(self) -> dict[tuple[int, str], float]:
        """Similarity of each map to its control by (row, method), -1..1, as far as computed.

        NaN where one of them is constant. See `convscope_core.explain.similarity`.
        """
        found = ((place, self._made.get(self._key(place))) for place in self._places() if place[2])
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
        self._cancel.set()
        self._cancel = threading.Event()
        for key in [key for key, tile in self._made.items() if tile.error is not None]:
            self._made.pop(key, None)
        self._failures.pop("tiles", None)
        self._show("running", 0, 0)
        self._worker.start(self._job(self._cancel))

    def cancel(self) -> None:
        """Stop after the map under way; what is computed stays."""
        self._cancel.set()

    def _places(self) -> list[Place]:
        """All maps of the present setting in the order in which they are computed."""
        quick = [c["name"] for c in self._columns if not is_dear(find(c["name"]))]
        dear = [c["name"] for c in self._columns if is_dear(find(c["name"]))]
        rows = range(len(self.images))
        maps = [(row, name, False) for names in (quick, dear) for row in rows for name in names]
        return maps + [(row, name, True) for row, name, _ in maps if self.control]

    def _key(self, place: Place) -> tuple[Any, ...]:
        row, name, control = place
        extension = next((c["extended"] and c["extended"]["how"] for c in self._columns if c["name"] == name), None)
        return (row, name, extension, self._class(row), (self.top, self.seed) if control else None)

    def _job(self, cancel: threading.Event) -> Iterator[None]:
        try:
            yield from self._steps(cancel)
        except Exception as error:
            self._failed("tiles", error)
            self._show("failed", 0, 0)

    def _steps(self, cancel: threading.Event) -> Iterator[None]:
        begun, first = time.monotonic(), None
        while True:
            places = self._places()
            keys = {place: self._key(place) for place in places}
            missing = [place for place in places if keys[place] not in self._made]
            done = len(places) - len(missing)
            first = done if first is None else first
            if self._cancel is not cancel:
                return  # another job has taken this one's place
            if cancel.is_set() or not missing:
                break
            left = (time.monotonic() - begun) / (done - first) * len(missing) if done > first else None
            self._show("running", done, len(places), left)
            yield
            if not cancel.is_set():
                key = keys[missing[0]]
                tile = self._compute(missing[0], key)
                while len(self._made) >= max(KEPT, 2 * len(places)):
                    self._made.pop(next(iter(self._made)))
                self._made[key] = tile
        failed = sum(self._made[keys[place]].error is not None for place in places if keys[place] in self._made)
        state = "cancelled" if missing else "failed" if failed else "done"
        self._show(state, done, len(places), failed=failed)

    def _compute(self, place: Place, key: tuple[Any, ...]) -> Tile:
        row, name, control = place
        _, _, extension, target, _ = key
        number = next(self._numbers)
        settings = dict(self.options.get(name, {}))
        if extension is not None:
            settings["extension"] = extension
        try:
            net, rho = self.net, None
            if control:
                net = self._randomised()
            found = attribute_tensor(net, self._input(row), name, target, **settings)
            if not np.isfinite(found.values).all():
                raise ArgumentError(
                    f"Expected finite values of {name}, got NaN or infinite ones. Check the picture and the weights."
                )
            if control:
                map_of = self._made.get((*key[:-1], None))
                if map_of is not None and map_of.found is not None:
                    rho = similarity(map_of.found.values, found.values)
        except Exception as error:
            return Tile(number, None, None, described(error))
        return Tile(number, found, rho, None)

    def _randomised(self) -> Network:
        known = self._controls  # `_forget` may come between
        if known is None or known[:2] != (self.top, self.seed):
            known = self._controls = (self.top, self.seed, randomised(self.net, self.top, self.seed))
        return known[2]

    def _show(self, state: str, done: int, total: int, left: float | None = None, failed: int = 0) -> None:
        """Tell the front end how far the maps are; it asks for them."""
        revision = self._tiles["revision"] + 1
        self._tiles = {
            "state": state,
            "revision": revision,
            "done": done,
            "total": total,
            "left": left,
            "failed": failed,
        }

    def _cancelled(self) -> None:
        self.cancel()

    def _forget(self) -> None:
        super()._forget()
        self._inputs.clear()
        self._controls = None

    # ---- answering

    def _answer_compute(self, _content: Mapping[str, Any], _buffers: Sequence[Any]) -> Answer:
        self.start()
        return {}, []

    def _answer_rows(self, _content: Mapping[str, Any], _buffers: Sequence[Any]) -> Answer:
        rows, pictures = [], []
        for row in range(len(self.images)):
            found = self._prediction(row)
            order = np.argsort(-found.probabilities, kind="stable")[:CLASSES]
            pixels = self.net.picture(self._input(row).cpu())
            rows.append(
                {
                    "name": self.images[row].name,
                    "classes": [self._described_class(row, int(index)) for index in order],
                    "height": pixels.shape[0],
                    "width": pixels.shape[1],
                }
            )
            pictures.append(np.ascontiguousarray(pixels).tobytes())
        return {"rows": rows, "given": self._given}, pictures

    def _described_class(self, row: int, index: int) -> dict[str, Any]:
        probability = float(self._prediction(row).probabilities[index])
        return {"index": index, "label": self.net.labels[index], "probability": probability}

    def _answer_tiles(self, content: Mapping[str, Any], _buffers: Sequence[Any]) -> Answer:
        """All maps of the present setting; with the values of those whose number is not among ``have``."""
        have = {int(one) for one in content.get("have", ())}
        room = math.inf if content.get("all") else ANSWER
        tiles, planes, more = [], [], False
        for place in self._places():
            tile = self._made.get(self._key(place))
            if tile is None:
                continue
            row, name, control = place
            fields: dict[str, Any] = {"row": row, "method": name, "control": control, "number": tile.number}
            if tile.number not in have:
                if room <= 0:
                    more = True
                    continue
                described_tile, plane = packed(tile)
                fields.update(described_tile, new=True)
                if plane is not None:
                    planes.append(plane)
                    room -= len(plane)
            tiles.append(fields)
        targets = [self._described_class(row, self._class(row)) for row in range(len(self.images))]
        return {"tiles": tiles, "targets": targets, "more": more}, planes

    def _snapshot(self) -> list[tuple[str, dict[str, Any]]]:
        return [("rows", {}), ("tiles", {"all": True})]


def is_dear(method: Method) -> bool:
    """Whether a method takes many passes through the network; a table of rules takes one there and one back."""
    return not isinstance(method, TableMethod)


def packed(tile: Tile) -> tuple[dict[str, Any], bytes | None]:
    """A map as the front end takes it: 16 bits a value, 0 for zero and 32767 for the greatest magnitude.

    A signal in three colours is sent as that, planes red, green, blue; all else as the sum over the channels.
    """
    found = tile.found
    if found is None:
        return {"error": tile.error}, None
    coloured = found.group == "signal" and found.layer is None and len(found.values) == 3
    values = found.values if coloured else found.heatmap[None]
    magnitudes = np.abs(values)
    limit = float(magnitudes.max())
    strong = float(np.percentile(magnitudes, PERCENTILE)) or limit
    steps = np.rint(values.astype(np.float64) * (32767.0 / (limit or 1.0))).astype("<i2")
    rho = tile.rho
    fields = {
        "depth": len(values),
        "height": values.shape[1],
        "width": values.shape[2],
        "limit": limit,
        "strong": strong,
        "target": found.target,
        "label": found.label,
        "score": found.score,
        "rho": None if rho is None or math.isnan(rho) else rho,
        "error": None,
    }
    return fields, steps.tobytes()
