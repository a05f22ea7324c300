"""How units change while a network is trained: a row a unit, a column a checkpoint."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import traitlets

from convscope._colours import ramp
from convscope._instrument import Answer, Content, Request
from convscope._job import Step
from convscope._still import Strip
from convscope._wire import Choice, Whole, fields
from convscope_core.datasets import Images
from convscope_core.errors import ArgumentError, LayerError
from convscope_core.evolution import Checkpoint, Checkpoints, EvolutionRecorder, EvolutionResult, evolving
from convscope_core.explain import Unit
from convscope_core.network import Layer, Network
from convscope_core.preprocessing import Preprocessing
from convscope_core.survey import Exemplar, Survey, inactive_word

from .patches import cleared_beyond, inside
from .projection import Projector, projection_tile
from .unit import UnitPane

__all__ = ["CURVES", "EvolutionPane", "orders"]

#: Side of the pictures in a cell, px.
SIDE = 64
#: Side of the patches of a saved page at other checkpoints than the one that is looked at, px.
SAVED_SIDE = 56
#: Cells that are kept, 25 kB each.
KEPT = 2048
#: Units of a figure, at most, and of a still picture.
DRAWN, STILL = 48, 5
#: Pictures a pass: a click waits for one of them at most.
BATCH = 8

#: What is measured of every layer and checkpoint, by the name that `EvolutionResult` has for it.
CURVES = ("staying", "jaccard", "cka", "dead", "dormant", "weight_rms")

#: A cell: layer, method, checkpoint, unit.
Key = tuple[str, str, int, int]
#: The projection int8 (side, side, 3), the magnitude of 127, and the patch uint8 (side, side, 3).
Cell = tuple[np.ndarray, float, np.ndarray]


class EvolutionPane(UnitPane):
    """The winners of every unit of a layer at every checkpoint, and the chosen unit at the chosen one.

    Parameters
    ----------
    net : Network
        Any of the checkpoints': they differ in their weights only.
    source : EvolutionResult, Checkpoints or EvolutionRecorder
        What is shown as it is; what is looked through in the background; what is looked through as it grows.
    alike : Checkpoints
        That know what those of the source are of.
    images : Images
    k : int, default 9
        Pictures kept for each unit and checkpoint.

    Attributes
    ----------
    result : EvolutionResult or None
        Grows by a checkpoint at a time.
    """

    checkpoint = Whole(None, allow_none=True).tag(sync=True)
    """int or None: index of the checkpoint that is looked at; None for the newest, also while new ones come."""

    show = Choice(("both", "projection", "crop"), default_value="both").tag(sync=True)
    """str: what a cell shows of the picture that excites the unit most: what the unit picked out of it with the weights
    of the checkpoint, the patch itself, or both."""

    order = Choice(("strongest", "jumps", "settling", "index"), default_value="strongest").tag(sync=True)
    """str: order of the units: by their strongest activation at the newest checkpoint, by the number of jumps, latest
    jump first, by number."""

    rows = Whole(12).tag(sync=True)
    """int: how many units are shown; 0 for all of the layer."""

    spread = Choice(("tile", "row", "layer"), default_value="tile").tag(sync=True)
    """str: which projections share a range of shades: none, those of a unit, all that are shown."""

    curve = Choice(("staying", "jaccard", "cka", "inactive", "weight_rms", "energy"), default_value="staying").tag(
        sync=True
    )
    """str: what is drawn beneath: the share of units whose winner stays, top pictures shared with the last checkpoint,
    linear CKA to the last, dead and dormant units, the weights' root mean square, energy of the first layer."""

    _evolution = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        net: Network,
        *,
        source: EvolutionResult | Checkpoints | EvolutionRecorder,
        alike: Checkpoints,
        images: Images,
        layers: Sequence[str],
        k: int = 9,
        **options: Any,
    ) -> None:
        self.result: EvolutionResult | None = source if isinstance(source, EvolutionResult) else None
        self.images = images
        self._source, self._alike, self._k = source, alike, k
        self._layers = tuple(layers)
        self._cells: dict[Key, Cell] = {}
        self._unsubscribe: Callable[[], None] = lambda: None
        self._known: tuple[EvolutionResult | None, dict[str, Any]] = None, {"curves": {}, "energy": []}
        # Before the comm is opened: a page may show the widget before it hears of what is set afterwards.
        self._tell()
        super().__init__(net, **options)
        if self.result is not None:
            count = len(self.result.checkpoints)
            self._survey_job.show("done", Step(count, count, fresh=True))
            return
        if isinstance(source, EvolutionRecorder):
            self._unsubscribe = source.observe(self._arrived)
        self.start()

    def _description(self, net: Network) -> dict[str, Any]:
        whole = super()._description(net)
        shown = [one for one in whole["layers"] if one["name"] in self._layers]
        return {**whole, "name": self._alike.name, "layers": shown}

    # ---- what may be set

    @traitlets.validate("layer")
    def _known_layer(self, proposal: Any) -> str:
        name = self.net.layer(proposal["value"]).name
        if name not in self._layers:
            raise ArgumentError(
                f"Expected one of the layers that were followed ({', '.join(self._layers)}), got {name!r}."
            )
        return name

    @traitlets.validate("checkpoint")
    def _existing_checkpoint(self, proposal: Any) -> int | None:
        value, count = proposal["value"], 0 if self.result is None else len(self.result.checkpoints)
        if value is None or not count:
            return None
        if not -count <= value < count:
            raise traitlets.TraitError(f"Expected checkpoint, an index from 0 to {count - 1}, got {value}.")
        return int(value % count)

    @traitlets.validate("rows")
    def _possible_rows(self, proposal: Any) -> int:
        if proposal["value"] < 0:
            raise traitlets.TraitError(f"Expected rows, 0 for all units or a number of them, got {proposal['value']}.")
        return int(proposal["value"])

    # ---- looking through the pictures

    def start(self) -> None:
        """Look through the pictures with every checkpoint that is there, in the background, or go on with it.

        Called by the constructor and whenever a checkpoint is recorded; call it again after `cancel` or a failure.
        """
        if self._survey_job.running or isinstance(self._source, EvolutionResult):
            return
        total = len(self._recorded())
        if total > self._columns:
            self._survey_job.start(
                self._steps(), self._columns * len(self.images), total * len(self.images), fresh=False
            )

    def cancel(self) -> None:
        """Stop looking through the pictures; the checkpoints that are done stay."""
        self._survey_job.cancel()

    def _take_resume(self, _content: Content, _buffers: Sequence[memoryview]) -> None:
        self._worker.submit("resume", self.start)

    def _arrived(self, _checkpoint: Checkpoint) -> None:
        """A checkpoint was recorded. In the thread that trains, which must not wait: the instrument's own goes on."""
        self._worker.submit("arrived", self._look_on)

    def _look_on(self) -> None:
        if not self._live:  # closed meanwhile
            return
        self._tell()
        if not self._survey_job.stopped.is_set():
            self.start()

    def _recorded(self) -> Checkpoints:
        """What there is to look through by now."""
        return Checkpoints.of(self._source, self._alike)

    @property
    def _columns(self) -> int:
        return 0 if self.result is None else len(self.result.checkpoints)

    def _steps(self) -> Iterator[Step]:
        while len(recorded := self._recorded()) > self._columns:
            if self.result is not None and Preprocessing.difference(
                self.result.survey(0).preprocessing, recorded.network(0).preprocessing.identity
            ):  # the recorder has taken a training's preprocessing since: all is looked through again
                self.result = None
            # What is recorded meanwhile has its turn in the next round.
            for one in evolving(recorded, self.images, self._layers, k=self._k, start=self.result, batch_size=BATCH):
                grown = one.result is not None and len(one.result.checkpoints) > self._columns
                if grown:
                    self.result = one.result
                yield Step(one.done, one.total, fresh=grown)

    def _survey_news(self) -> Mapping[str, Any]:
        """What joins the progress when there is another checkpoint."""
        if self.result is None:
            return {}
        self.survey = self.result.survey(self._columns - 1)
        self._tell()
        dead = {name: float(self.result.dead(name)[-1]) for name in self._layers}
        images = int(self.survey.seen.sum())
        return {"dead": dead, "images": images, "inactive": inactive_word(images)}

    def _tell(self) -> None:
        """Tell the front end which checkpoints there are, and what is measured of them."""
        result, recorded = self.result, self._recorded()
        due = self._source.due if isinstance(self._source, EvolutionRecorder) else ()
        counts = "step" if any(one.epoch is None for one in recorded) else "epoch"
        ahead = [short(one) for one in recorded[self._columns :]] + [f"{moment:g}" for moment in due or ()]
        live = isinstance(self._source, EvolutionRecorder)
        self._evolution = {
            "counts": counts,
            "checkpoints": [{"label": one.label, "short": short(one)} for one in recorded[: self._columns]],
            "ahead": ahead,
            "live": "no" if not live else "ended" if due == () else "training",
            "recorded": len(recorded),
            "planned": None if due is None else len(recorded) + len(due),
            "pictures": len(self.images) if result is None else int(result.survey(-1).seen.sum()),
            "unread": 0 if result is None else len(result.survey(-1).skipped),
            **self._measured(),
            "colours": {
                "layers": dict(zip(self._layers, ramp(len(self._layers)), strict=True)),
                "checkpoints": ramp(self._columns),
            },
            "tau": 0.0 if result is None else float(result.tau),
        }

    def _measured(self) -> dict[str, Any]:
        """The curves; measured once for each result, which takes its time."""
        if self._known[0] is not self.result and self.result is not None:
            self._known = self.result, {"curves": curves(self.result, self._layers), "energy": energy(self.result)}
        return self._known[1]

    # ---- answering

    def _evolved(self) -> EvolutionResult:
        if self.result is None:
            raise ArgumentError("Expected a checkpoint that was looked through, got none yet. Wait for the first.")
        return self.result

    def _index(self, content: Content | None) -> int:
        """The checkpoint that a request is about; the newest where it names none."""
        index: int | None = None if content is None else content.get("checkpoint")
        if index is not None and not 0 <= index < self._columns:
            raise ArgumentError(f"Expected checkpoint, an index from 0 to {self._columns - 1}, got {index}.")
        return self._columns - 1 if index is None else index

    def _surveyed(self, content: Content | None = None) -> Survey:
        return self._evolved().survey(self._index(content))

    def _projecting(self, content: Content) -> Projector:
        # The network is not kept here: the result keeps as many as there is room for.
        return self._projector.through(self._evolved().network(self._index(content)))

    def _answer_winners(self, content: Content) -> Answer:
        """The strongest activation of every unit of a layer at every checkpoint, and the orders of the units."""
        result, layer = self._evolved(), self._layer(content)
        winners = result.winners(layer.name)
        jumps = np.asarray(result.jumps(layer.name), np.uint8)
        answer = {"layer": layer.name, "channels": layer.channels}
        numbers: list[np.ndarray] = [np.asarray(winners.value, np.float32), np.asarray(winners.image, np.int32), jumps]
        return answer, [*numbers, *orders(winners.value, jumps).values()]

    @fields(channels=traitlets.List(Whole()))
    def _answer_cells(self, content: Content) -> Answer:
        """The winners of a few units at a checkpoint: what the units picked out of them, and the patches."""
        (layer, channels), index, method = self._units(content), self._index(content), self._method(content)
        result = self._evolved()
        images, found = result.images, winners_at(result, layer, index, channels)
        missing = [one for one in channels if one in found and (layer.name, method, index, one) not in self._cells]
        if missing:
            units = [Unit(found[c].image, c, found[c].row, found[c].column, found[c].value) for c in missing]
            projections = self._projecting(content)(images, layer, units, method)
            for channel, projection in zip(missing, projections, strict=True):
                patch, _ = self._patches.patch(images, found[channel], SIDE)
                self._keep(
                    (layer.name, method, index, channel), (*projection_tile(projection, self._input_size, SIDE), patch)
                )
        nothing = np.zeros((SIDE, SIDE, 3), np.int8), 0.0, np.zeros((SIDE, SIDE, 3), np.uint8)
        cells = [self._cells.get((layer.name, method, index, one), nothing) for one in channels]
        pictures = [images[found[one].image] if one in found else None for one in channels]
        answer = {
            "layer": layer.name,
            "method": method,
            "checkpoint": index,
            "channels": channels,
            "side": SIDE,
            "peaks": [peak for _, peak, _ in cells],
            "insides": [inside(found[one].box, self._input_size) if one in found else [0, 0, 1, 1] for one in channels],
            "names": ["" if one is None else one.name for one in pictures],
            "labels": [None if one is None else one.label for one in pictures],
        }
        return answer, [
            b"".join(shades.tobytes() for shades, _, _ in cells),
            b"".join(one[2].tobytes() for one in cells),
        ]

    def _keep(self, key: Key, cell: Cell) -> None:
        while len(self._cells) >= KEPT:
            self._cells.pop(next(iter(self._cells)))
        self._cells[key] = cell

    def _forget(self) -> None:
        super()._forget()
        self._cells.clear()

    def close(self) -> None:
        """Close the widget: it no longer follows the training, its thread ends, its tensors are freed."""
        if self._complete:
            self._unsubscribe()
        super().close()

    # ---- a page without a kernel

    def _shown(self, result: EvolutionResult) -> list[int]:
        """The units that have a row."""
        order = orders(result.winners(self.layer).value, result.jumps(self.layer))[self.order].tolist()
        units = order[: self.rows or len(order)]
        return units if self.selected is None or self.selected in units else [*units[:-1], self.selected]

    def _strips(self) -> list[Strip]:
        result = self.result  # which grows
        if result is None:
            return super()._strips()
        layer, checkpoints = self.net.layer(self.layer), result.checkpoints
        moments = ", ".join(map(short, checkpoints))
        counts = self._evolution["counts"]
        strips = [Strip(f"{self.layer}: the patch that excites a unit most at {counts} {moments}")]
        for unit in self._shown(result)[:STILL]:
            patches = [self._patch_at(result, layer, index, unit) for index in range(len(checkpoints))]
            strips.append(Strip(f"unit {unit}", patches, 56))
        return [*strips, *super()._strips()]

    def _patch_at(self, result: EvolutionResult, layer: Layer, index: int, unit: int) -> np.ndarray:
        """The patch of a unit's winner at a checkpoint, white where it has none, or where its picture ends."""
        found = winners_at(result, layer, index, [unit])
        if unit not in found:
            return np.full((SIDE, SIDE, 3), 255, np.uint8)
        patch, _ = self._patches.patch(result.images, found[unit], SIDE)
        return cleared_beyond(patch, inside(found[unit].box, self._input_size))

    def _figures(self) -> Mapping[str, Callable[[], Any]]:
        own = {"evolution": self._winners_figure, "curves": lambda: self._evolved().plot_curves()}
        return {**own, **super()._figures()}

    def _winners_figure(self) -> Any:
        """The rows that are shown, the first of many."""
        result = self._evolved()
        return result.plot(self.layer, self._shown(result)[:DRAWN], method=self.method)

    def _figure_notes(self, what: str) -> list[str]:
        notes = super()._figure_notes(what)
        planned = self._evolution["planned"]
        if planned is not None and self._columns < planned:
            notes.append(f"unfinished, training: {self._columns} of {planned} checkpoints that are planned")
        result = self.result
        if what == "evolution" and result is not None and len(rows := self._shown(result)) > DRAWN:
            notes.append(f"the first {DRAWN} of {len(rows)} units that are shown")
        return notes

    def _moment(self) -> dict[str, int]:
        self._evolved()
        return {"checkpoint": self._index({"checkpoint": self.checkpoint})}

    def _moments(self) -> list[dict[str, int]]:
        """All of them; the one that is looked at as large as ever, the others smaller: they make most of the page."""
        chosen = self._index({"checkpoint": self.checkpoint})
        return [
            {"checkpoint": index} if index == chosen else {"checkpoint": index, "side": SAVED_SIDE}
            for index in range(self._columns)
        ]

    def _snapshot(self) -> list[Request]:
        result = self.result
        if result is None:
            return super()._snapshot()
        with self.hold_sync():
            # As the front end does, so that there is something to look at.
            if self.selected is None:
                self.selected = self._shown(result)[0]
            self.checkpoint = self._index({"checkpoint": self.checkpoint})
        rows = {"layer": self.layer, "method": self.method, "channels": self._shown(result)}
        cells = [("cells", {**rows, "checkpoint": index}) for index in range(self._columns)]
        return [*super()._snapshot(), ("winners", {"layer": self.layer}), *cells]


def winners_at(result: EvolutionResult, layer: Layer, index: int, channels: Sequence[int]) -> dict[int, Exemplar]:
    """The winners at a checkpoint of those of the units that have one."""
    winners = result.winners(layer.name)
    return {
        one: Exemplar(float(winners.value[index, one]), int(image), row, column, layer.box(row, column))
        for one in channels
        if (image := winners.image[index, one]) >= 0
        for row, column in [(int(winners.row[index, one]), int(winners.column[index, one]))]
    }


def short(checkpoint: Checkpoint) -> str:
    """The number alone, beneath a heading that says what it counts."""
    return str(checkpoint.step) if checkpoint.epoch is None else f"{checkpoint.epoch:g}"


def curves(result: EvolutionResult, layers: Sequence[str]) -> dict[str, dict[str, list[float | None]]]:
    """What is measured of each layer, checkpoint by checkpoint, as JSON holds it."""
    return {name: {layer: held(getattr(result, name)(layer)) for layer in layers} for name in CURVES}


def energy(result: EvolutionResult) -> list[list[float | None]]:
    """The energy profile of the first layer at each checkpoint; none where it does not look at the picture."""
    try:
        return [held(row) for row in result.energy_profile()]
    except LayerError:
        return []


def held(values: Any) -> list[float | None]:
    """Numbers as JSON holds them, which has no NaN."""
    return [None if math.isnan(one) else float(one) for one in values]


def orders(values: np.ndarray, jumps: np.ndarray) -> dict[str, np.ndarray]:
    """The units of a layer in the orders in which they are shown.

    Parameters
    ----------
    values : ndarray
        (T, C) strongest activation of each unit at each checkpoint.
    jumps : ndarray
        (T, C) whether another picture won than at the checkpoint before.

    Returns
    -------
    dict of str to ndarray
        Each (C,) int32. "strongest": at the last checkpoint; "jumps": most of them first; "settling": whose last jump
        is latest first; "index": by number. Equal ones by their strength at the last checkpoint, then by number.
    """
    count, units = values.shape
    strength = -values[-1]
    last = np.where(jumps.any(0), count - 1 - np.argmax(jumps[::-1], axis=0), -1)
    keys = {"strongest": np.zeros(units), "jumps": -jumps.sum(0, dtype=np.int64), "settling": -last}
    found = {name: np.lexsort((np.arange(units), strength, key)).astype(np.int32) for name, key in keys.items()}
    return {**found, "index": np.arange(units, dtype=np.int32)}
