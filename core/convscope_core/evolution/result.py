"""What an evolution found: winners and their jumps, how far each layer is from where it ends, and its weights."""

from __future__ import annotations

import json
import math
import os
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from convscope_core.arguments import argument_kind, is_whole, plain_methods, require_counts
from convscope_core.contents import TRACES
from convscope_core.datasets import Images
from convscope_core.errors import ArgumentError, LayerError
from convscope_core.evolution.checkpoints import Checkpoints
from convscope_core.evolution.figures import Block, figure_of_curves, figure_of_rows
from convscope_core.evolution.moment import Cell, Moment, Weights, Winners
from convscope_core.evolution.table import MEASURES, EvolutionRow, EvolutionTable
from convscope_core.explain.projection import Unit, projecting
from convscope_core.jobs.known import KnownPictures
from convscope_core.locks import Lock
from convscope_core.measures import cka, dormant, energy_profile, gram, jaccard, patch_components
from convscope_core.measures.cka import FEWEST
from convscope_core.measures.dormancy import TAU, require_tau
from convscope_core.network import Layer, Network, listed_layers
from convscope_core.plots import draws_figure
from convscope_core.preprocessing import Preprocessing
from convscope_core.saved_result import Values, require_values, typed
from convscope_core.saving import Damage, inflated, opened_result, reading_result, save_result
from convscope_core.survey import Survey, inactive_word

__all__ = ["EvolutionResult"]

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

X = TypeVar("X")

_FORM = "convscope evolution 2"
_WEIGHTS = {
    "rms": Values("float64", "layers", 0, unknown=True),
    "first": Values("float32", "filters channels height width"),
}
_COMPONENTS = {"components": Values("float64", "components pixels"), "variances": Values("float64", "components", 0)}
_LONGEST = 2**15
"""Bytes that a picture's name and path may take."""

_CELLS = 4096
"""Projections that are kept."""

_PATCHES, _PICTURES = 64, 256
"""Patches of a picture and pictures of the sample whose principal components the energy profile is measured along."""


@plain_methods
@argument_kind("Make one with evolution(checkpoints, images), or open one with EvolutionResult.load.")
class EvolutionResult:
    """What the units of a network looked for at each checkpoint of its training.

    Made by `evolution`; never changes. Layers are given by name, alias or object. Arrays have an entry for each of T
    checkpoints and, where units are told apart, for each of C units of the layer.

    Attributes
    ----------
    checkpoints : Checkpoints
    layers : tuple of Layer
        In execution order.
    images : Images
        What winners are indices of.
    pictures : KnownPictures
        What these were when they were surveyed.
    tau : float
        Up to which share of its layer's mean magnitude a unit is dormant.
    """

    def __init__(
        self, checkpoints: Checkpoints, moments: Sequence[Moment], pictures: KnownPictures, tau: float = TAU
    ) -> None:
        self.checkpoints = checkpoints
        self.moments = tuple(moments)
        self.pictures = pictures
        self.tau = require_tau(tau)
        first = self.moments[0].survey
        self.layers: tuple[Layer, ...] = first.layers
        self.images: Images = first.images
        self._kept: dict[tuple[str, ...], Any] = {}
        self._cells: OrderedDict[tuple[Any, ...], Cell | None] = OrderedDict()
        self._lock = Lock()

    @property
    def k(self) -> int:
        """Top images kept for each unit and checkpoint."""
        return self.moments[0].survey.k

    @property
    def sample(self) -> int:
        """Size of the random sample of images."""
        return self.moments[0].survey.sample_size

    @property
    def labels(self) -> tuple[str, ...]:
        """What the checkpoints are called."""
        return self.checkpoints.labels

    def __len__(self) -> int:
        return len(self.moments)

    def __repr__(self) -> str:
        units = sum(layer.channels for layer in self.layers)
        head = (
            f"Evolution of {self.checkpoints.name}: {len(self)} checkpoint{'s' * (len(self) != 1)} "
            f"({self.labels[0]} to {self.labels[-1]}), {units:,} units of {len(self.layers)} layers, "
            f"{self._images:,} images"
        )
        wide = max(5, *(len(layer.name) for layer in self.layers))
        word = inactive_word(self._images)
        lines = [head, f"at the end: {'layer':<{wide}}  units  winners that stayed {word:>8}  dormant"]
        for layer in self.layers:  # what costs nothing to say; the rest is in the table
            shares = (self.staying(layer)[-1], self.dead(layer)[-1], self.dormant(layer)[-1])
            stayed, dead, dormant_ = ("–" if np.isnan(share) else f"{share:.1%}" for share in shares)
            lines.append(
                f"            {layer.name:<{wide}}  {layer.channels:>5}  {stayed:>19}  {dead:>7}  {dormant_:>7}"
            )
        return "\n".join(lines)

    @property
    def _images(self) -> int:
        return int(self.moments[-1].survey.seen.sum())

    # -- at one checkpoint --

    def survey(self, index: int) -> Survey:
        """The survey of a checkpoint."""
        return self._moment(index).survey

    def network(self, index: int) -> Network:
        """The network of a checkpoint, as `Checkpoints.network` makes it.

        Raises
        ------
        ArgumentError
            When its weights or its preprocessing are not those that were surveyed.
        """
        moment = self._moment(index)
        net = self.checkpoints.network(index)
        try:
            moment.survey.require(net)
        except ArgumentError as e:
            raise ArgumentError(
                f"Expected {moment.checkpoint.label} as it was surveyed, got another: its file, or the network that it "
                f"is of, was changed meanwhile. Make the evolution again. {e}"
            ) from e
        return net

    def require(self, net: Network, images: Images, made: str, moment: Moment | None = None) -> None:
        """Raise ArgumentError unless what was found is of a network's preprocessing and of what these pictures hold.

        Parameters
        ----------
        net : Network
        images : Images
            Of the same names.
        made : str
            What this evolution is called, for the message.
        moment : Moment, optional
            Whose network `net` has to be: equal weights may be of another architecture.
        """
        if moment is not None:
            moment.survey.require(net)
        elif words := Preprocessing.difference(self.survey(0).preprocessing, net.preprocessing.identity):
            raise ArgumentError(
                f"Expected pictures that are prepared as those of {made}, got another preprocessing: {words}."
            )
        self.pictures.require_contents(images, made, np.logical_or.reduce([one.survey.seen for one in self.moments]))

    def _moment(self, index: int) -> Moment:
        asked: Any = index
        whole = is_whole(asked)
        if not whole or not -len(self) <= index < len(self):
            raise ArgumentError(f"Expected the index of one of {len(self)} checkpoints, got {index!r}.")
        return self.moments[index]

    # -- winners --

    def winners(self, layer: str | Layer) -> Winners:
        """The strongest activation of every unit over the pictures, at every checkpoint.

        Raises
        ------
        LayerError
            When the layer is not part of the evolution.
        """
        name = self._name(layer)

        def make() -> Winners:
            tops = [self.survey(i).arrays(name) for i in range(len(self))]
            value = np.stack([top.values[:, 0] for top in tops])
            none = ~self._excited(name)[:, :, 0]
            places = [
                np.where(none, -1, np.stack([getattr(top, what)[:, 0] for top in tops]))
                for what in ("images", "rows", "columns")
            ]
            return Winners(*map(_frozen, (value, *places)))

        return self._once(("winners", name), make)

    def jumps(self, layer: str | Layer) -> Flags:
        """Whether a unit's winner is another picture than at the checkpoint before: bool (T, C), False at the first.

        Coming to life and dying count as well.
        """
        image = self.winners(layer).image
        found = np.zeros(image.shape, np.bool_)
        found[1:] = image[1:] != image[:-1]
        return _frozen(found)

    def staying(self, layer: str | Layer) -> Floats:
        """Share of the units whose winner is the picture of the checkpoint before: (T,), NaN at the first.

        Of the units that have a winner at either; NaN where none has.
        """
        image = self.winners(layer).image
        either = (image[1:] >= 0) | (image[:-1] >= 0)
        jumps = self.jumps(layer)[1:]
        return _frozen(np.concatenate([[np.nan], 1 - _ratio(jumps.sum(1), either.sum(1))]))

    def jaccard(self, layer: str | Layer) -> Floats:
        """How much of the top `k` pictures of a unit are those of the last checkpoint: mean Jaccard index, (T,).

        Pictures on which a unit is zero are not among its top. Units that have none at either checkpoint are left out;
        NaN where no unit is left.
        """
        name = self._name(layer)

        def make() -> Floats:
            excited = self._excited(name)
            sets = [np.where(excited[i], self.survey(i).arrays(name).images, -1) for i in range(len(self))]
            return _frozen(np.array([_mean(jaccard(one, sets[-1])) for one in sets]))

        return self._once(("jaccard", name), make)

    def _excited(self, name: str) -> Flags:
        """Which entries of the top are excitations, (T, C, k).

        Not those of units that are the same everywhere, and not zeros: among equals the order is that of the images.
        """
        found = []
        for moment in self.moments:
            values, variance = moment.survey.arrays(name).values, moment.survey.health(name).variance
            found.append(np.isfinite(values) & (values != 0) & (variance > 0)[:, None])
        return np.stack(found)

    # -- layers --

    def cka(self, layer: str | Layer) -> Floats:
        """How alike the layer is to what it is at the last checkpoint: debiased linear CKA, (T,).

        Of the mean activations of all units on the random sample of pictures (see `convscope_core.measures.cka`): 1 at
        the last, about 0 where nothing is alike. NaN where the layer tells no picture from another, or there are fewer
        than four pictures.
        """
        name = self._name(layer)

        def make() -> Floats:
            sampled = [self.survey(i).sampled(name) for i in range(len(self))]
            if min(len(one.images) for one in sampled) < FEWEST:
                return _frozen(np.full(len(self), np.nan))
            end = gram(sampled[-1].means, sampled[-1].images)
            return _frozen(np.array([cka(gram(one.means, one.images), end) for one in sampled]))

        return self._once(("cka", name), make)

    def dead(self, layer: str | Layer) -> Floats:
        """Share of the units that no picture activates, (T,): above zero anywhere, or, of signed layers, off zero."""
        name = self._name(layer)
        return _frozen(np.array([m.survey.health(name).dead.mean() for m in self.moments]))

    def dormant(self, layer: str | Layer, tau: float | None = None) -> Floats:
        """Share of the units that are tau-dormant, the dead ones among them, (T,).

        See `convscope_core.measures.dormant`; of activations after the rectifier.

        Parameters
        ----------
        layer : str or Layer
        tau : float, optional
            Default: that of the evolution.
        """
        name, limit = self._name(layer), self.tau if tau is None else tau
        return _frozen(np.array([dormant(m.survey.health(name).magnitude, limit).mean() for m in self.moments]))

    def weight_rms(self, layer: str | Layer) -> Floats:
        """Root mean square of the layer's weights as they are trained, (T,); NaN for a layer without."""
        place = [one.name for one in self.layers].index(self._name(layer))
        return _frozen(np.array([m.weights.rms[place] for m in self.moments]))

    def filters(self) -> npt.NDArray[np.float32]:
        """The weights of the first convolution at all checkpoints, (T, filters, C, h, w).

        Raises
        ------
        LayerError
            When the network has no convolution that looks at the picture.
        """
        found = [m.weights.first for m in self.moments if m.weights.first is not None]
        if len(found) < len(self):
            raise LayerError(
                f"Expected a first layer of filters that look at the picture, got {self.checkpoints.name}, which has "
                "none."
            )
        return np.stack(found)

    def energy_profile(self, initial: npt.ArrayLike | None = None) -> Floats:
        """How much of what the first layer's filters have learnt lies along each principal component of patches.

        See `convscope_core.measures.energy_profile`. The patches are of pictures of the sample, as the network takes
        them, at random places.

        Parameters
        ----------
        initial : array (filters, C, h, w), optional
            The weights before training. Default: those of the first checkpoint if that was kept before the first
            update, else zeros (`learnt_since` says which).

        Returns
        -------
        float64 array (T, C * h * w)
            By variance of the patches, largest first; 0 to 1 in each row.
        """
        weights = self.filters()
        before = initial if initial is not None else weights[0] if self.learnt_since == "start" else None
        components, _ = self._components()
        return np.stack([energy_profile(one, components, before) for one in weights])

    @property
    def learnt_since(self) -> str:
        """What `energy_profile` measures the change from, by default: "start", the weights before training; "zero"."""
        return "start" if self.labels[0] == "start" else "zero"

    def _components(self) -> tuple[Floats, Floats]:
        def make() -> tuple[Floats, Floats]:
            height, width = self.filters().shape[-2:]
            net, generator = self.network(len(self) - 1), np.random.default_rng(0)
            patches: list[npt.NDArray[np.float32]] = []
            for number in self.survey(-1).sampled(self.layers[0]).images[:_PICTURES].tolist():
                x = net.preprocessing.prepare(self.images[number])[0].numpy()
                rows_ = generator.integers(0, max(1, x.shape[1] - height + 1), _PATCHES)
                columns = generator.integers(0, max(1, x.shape[2] - width + 1), _PATCHES)
                patches += [x[:, r : r + height, c : c + width] for r, c in zip(rows_, columns, strict=True)]
            return patch_components(np.stack(patches))

        return self._once(("components",), make)

    # -- figures --

    def cell(self, layer: str | Layer, unit: int, index: int, method: str = "deconvnet", **options: Any) -> Cell | None:
        """A unit at a checkpoint: its winner, projected with the weights of then; None where it has none.

        Parameters
        ----------
        layer : str or Layer
        unit : int
        index : int
            Which checkpoint.
        method, **options
            As for `project`.
        """
        return self.cells(layer, [unit], index, method, **options)[0]

    def cells(
        self, layer: str | Layer, units: Iterable[int], index: int, method: str = "deconvnet", **options: Any
    ) -> list[Cell | None]:
        """Several units of a layer at a checkpoint, in one go; those made last are kept.

        Raises
        ------
        ArgumentError
            When there is no such unit, checkpoint, method or option.
        """
        self._moment(index)
        name, place = self._name(layer), int(index) % len(self)
        channels = next(one.channels for one in self.layers if one.name == name)
        asked = [int(unit) for unit in units]
        for unit in asked:
            if not 0 <= unit < channels:
                raise ArgumentError(f"Expected a unit of {name!r} from 0 to {channels - 1}, got {unit}.")
        setting = (name, place, method, repr(sorted(options.items())))
        keys: dict[int, tuple[Any, ...]] = {unit: (unit, *setting) for unit in asked}
        with self._lock:
            new = [unit for unit, key in keys.items() if key not in self._cells]
        made = self._projected(name, place, new, method, options)
        with self._lock:
            self._cells.update({keys[unit]: cell for unit, cell in made.items()})
            found = {unit: self._cells[key] for unit, key in keys.items() if key in self._cells}
            for unit in found:
                self._cells.move_to_end(keys[unit])
            while len(self._cells) > _CELLS:
                self._cells.popitem(last=False)
        # Another thread may have taken some away meanwhile.
        lost = [unit for unit in keys if unit not in found]
        found.update(self._projected(name, place, lost, method, options))
        return [found[unit] for unit in asked]

    def _projected(
        self, name: str, place: int, units: Sequence[int], method: str, options: Mapping[str, Any]
    ) -> dict[int, Cell | None]:
        winners, jumps = self.winners(name), self.jumps(name)[place]
        image, row, column, value = (getattr(winners, w)[place] for w in ("image", "row", "column", "value"))
        alive = [unit for unit in units if image[unit] >= 0]
        made: dict[int, Cell | None] = dict.fromkeys(units)
        if alive:
            wanted = [Unit(int(image[u]), u, int(row[u]), int(column[u]), float(value[u])) for u in alive]
            steps = projecting(self.network(place), self.images, name, wanted, method, **options)
            for unit, projection in zip(alive, steps, strict=True):
                number = int(image[unit])
                label = self.moments[place].survey.label(number)
                made[unit] = Cell(number, label, bool(jumps[unit]), projection)
        return made

    def table(self) -> EvolutionTable:
        """All that is measured of layers, a row a layer and checkpoint; prints, and goes into pandas by `columns`."""
        rows = []
        for layer in self.layers:
            measured = [getattr(self, name)(layer).tolist() for name in MEASURES]
            for checkpoint, *values in zip(self.checkpoints, *measured, strict=True):
                epoch = math.nan if checkpoint.epoch is None else checkpoint.epoch
                rows.append(EvolutionRow(layer.name, checkpoint.label, checkpoint.step, epoch, layer.channels, *values))
        return EvolutionTable(self.checkpoints.name, self.tau, self._images, tuple(rows))

    @draws_figure
    def plot(
        self,
        layers: str | Layer | Iterable[str | Layer] | None = None,
        units: int | Sequence[int] = 6,
        *,
        seed: int = 0,
        method: str = "deconvnet",
        **options: Any,
    ) -> Any:
        """Draw the paper's figure 4: rows are units, columns are checkpoints, jumps are marked by a bar.

        Each cell shows the projection of the unit's strongest activation over all pictures, each on a scale of its own
        whose strongest hundredth is clipped, and below it the picture in its receptive field.

        Parameters
        ----------
        layers : str, Layer or several, optional
            A block each. Default: all convolutions of the evolution.
        units : int or sequence of int, default 6
            How many of each layer, drawn at random from those that have a winner at the last checkpoint; or which.
        seed : int, default 0
        method, **options
            As for `project`.
        """
        if isinstance(units, int):
            require_counts(units=units)
        blocks = []
        for layer in self._several(layers):
            chosen = self._drawn(layer, units, seed) if isinstance(units, int) else [int(unit) for unit in units]
            cells = [self.cells(layer, chosen, i, method, **options) for i in range(len(self))]
            blocks.append(Block(layer.name, chosen, cells))
        return figure_of_rows(blocks, self._short())

    @draws_figure
    def plot_curves(self, layers: str | Layer | Iterable[str | Layer] | None = None) -> Any:
        """Draw what is measured of layers over the checkpoints, a line a layer.

        Parameters
        ----------
        layers : str, Layer or several, optional
            Default: all convolutions of the evolution.
        """
        chosen = self._several(layers)
        titles = {
            "staying": "winners that stay", "jaccard": f"top {self.k} as at the end (Jaccard)",
            "cka": "CKA to the end (debiased)", "dead": f"{inactive_word(self._images)} units",
            "dormant": f"dormant units (τ = {self.tau:g})", "weight_rms": "weight RMS",
        }  # fmt: skip
        curves = {t: {layer.name: getattr(self, name)(layer) for layer in chosen} for name, t in titles.items()}
        return figure_of_curves(curves, self._short())

    def _drawn(self, layer: Layer, count: int, seed: int) -> list[int]:
        """Draw units that have a winner at the last checkpoint."""
        alive = np.flatnonzero(self.winners(layer).image[-1] >= 0)
        alive = alive if alive.size else np.arange(layer.channels)
        drawn: list[int] = np.random.default_rng(seed).choice(alive, min(count, alive.size), replace=False).tolist()
        return sorted(drawn)

    def _short(self) -> list[str]:
        """Name checkpoints by their numbers."""
        return [one.label.removeprefix("epoch ").removeprefix("step ") for one in self.checkpoints]

    def _several(self, layers: str | Layer | Iterable[str | Layer] | None) -> list[Layer]:
        if layers is None:
            return [layer for layer in self.layers if layer.kind == "conv"] or list(self.layers)
        names = [self._name(one) for one in listed_layers(layers)]
        return [layer for layer in self.layers if layer.name in names]

    # -- keeping --

    def with_tau(self, tau: float) -> EvolutionResult:
        """Return the same with another threshold of dormancy; nothing is computed again."""
        return EvolutionResult(self.checkpoints, self.moments, self.pictures, tau)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write all surveys and what is measured to a file of safetensors; weights and pictures are not written.

        Returns
        -------
        Path
        """
        arrays: dict[str, npt.NDArray[Any]] = {}
        moments = []
        for i, moment in enumerate(self.moments):
            found, survey = moment.survey.state()
            arrays.update({f"{i}.survey.{key}": array for key, array in found.items()})
            arrays[f"{i}.rms"] = moment.weights.rms
            if moment.weights.first is not None:
                arrays[f"{i}.first"] = moment.weights.first
            one = moment.checkpoint
            moments.append({"step": one.step, "label": one.label, "digest": one.digest, "survey": survey})
        if ("components",) in self._kept:
            arrays["components"], arrays["variances"] = self._components()
        paths = (_text(self.images.path(i)) for i in range(len(self.images)))
        pictures = [[*pair] for pair in zip(self.pictures.identities, paths, strict=True)]
        arrays["traces"] = self.pictures.traces.view(np.uint8)
        arrays["pictures"] = np.frombuffer(zlib.compress(json.dumps(pictures).encode()), np.uint8)
        settings = {
            "tau": self.tau, "moments": moments, "layers": [layer.name for layer in self.layers],
            "folder": _text(self.images.folder),
        }  # fmt: skip
        return save_result(path, _FORM, arrays, settings)

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], checkpoints: Any, images: Any = None, **options: Any
    ) -> EvolutionResult:
        """Read what `save` wrote.

        Parameters
        ----------
        path : path
        checkpoints : Checkpoints, EvolutionRecorder, or what `Checkpoints.of` takes
            Those that it is of, and perhaps more. They have to know what they are of.
        images : Images, or what `Images.of` takes, optional
            The pictures. By default the files that they were.
        **options
            What `Checkpoints.of` takes: ``net``...

        Raises
        ------
        ArgumentError
            When there is no such file, it holds something else, or is of other checkpoints, pictures (names, labels,
            contents), architecture or preprocessing.
        StoreError
            When it is damaged.
        """
        taken = Checkpoints.of(checkpoints, **options)
        with opened_result(path, "EvolutionResult.save", (_FORM,)) as (_, arrays, settings):
            traces = arrays["traces"].view(TRACES)
            packed = inflated(arrays["pictures"].tobytes(), _LONGEST * (1 + len(traces)))
            pictures = typed(json.loads(packed), tuple[tuple[str, str | None], ...], "pictures")
            if traces.shape != (len(pictures),):
                raise Damage("other numbers of pictures and their traces")
            known = KnownPictures(tuple(name for name, _ in pictures), traces)
            folder = typed(settings["folder"], str | None, "folder")
            names = typed(settings["layers"], tuple[str, ...], "layers")
            tau = typed(settings["tau"], float, "tau")
            for i, about in enumerate(settings["moments"]):
                for name, hint in (("step", int), ("label", str), ("digest", str)):
                    typed(about[name], hint, name)
                weights = {key: arrays[f"{i}.{key}"] for key in _WEIGHTS if f"{i}.{key}" in arrays}
                require_values(weights, {name: _WEIGHTS[name] for name in {"rms", *weights}}, {"layers": len(names)})
            if "components" in arrays:
                components = {name: arrays[name] for name in _COMPONENTS}
                require_values(components, _COMPONENTS, {})
        chosen = _chosen(taken, settings["moments"], str(path))
        found = _pictures(pictures, folder, images, str(path))
        if images is not None:
            known.require_names(found, repr(str(path)))
        net = chosen.network(0)
        layers = tuple(net.layer(name) for name in names)
        moments = []
        with reading_result(path, "EvolutionResult.save"):
            for i, (checkpoint, about) in enumerate(zip(chosen, settings["moments"], strict=True)):
                survey = Survey.of_state(_part(arrays, f"{i}.survey."), about["survey"], layers, found)
                moments.append(Moment(checkpoint, survey, Weights(arrays[f"{i}.rms"], arrays.get(f"{i}.first"))))
            result = cls(chosen, moments, known, tau)
        result.require(net, found, repr(str(path)), result.moments[0])
        if "components" in arrays:
            result._kept[("components",)] = arrays["components"], arrays["variances"]
        return result

    # -- inside --

    def _name(self, layer: str | Layer) -> str:
        return self.moments[0].survey.layer(layer).name

    def _once(self, key: tuple[str, ...], make: Callable[[], X]) -> X:
        if key not in self._kept:
            self._kept[key] = make()
        found: X = self._kept[key]
        return found


def _frozen(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    array = np.asarray(array)
    array.flags.writeable = False
    return array


def _ratio(part: npt.NDArray[Any], whole: npt.NDArray[Any]) -> Floats:
    return np.asarray(np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0))


def _mean(values: Floats) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


def _part(arrays: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {key.removeprefix(prefix): value for key, value in arrays.items() if key.startswith(prefix)}


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _chosen(checkpoints: Checkpoints, moments: list[dict[str, Any]], path: str) -> Checkpoints:
    """Return the checkpoints that a saved evolution is of."""
    by_step = {one.step: place for place, one in enumerate(checkpoints)}
    places = []
    for about in moments:
        place = by_step.get(about["step"])
        if place is None or checkpoints[place].digest != about["digest"]:
            came = "none of that step" if place is None else "other weights"
            raise ArgumentError(
                f"Expected the checkpoints that {path!r} is of, got {came} for {about['label']} (step "
                f"{about['step']}). Give those that were surveyed."
            )
        places.append(place)
    return checkpoints.only(places)


def _pictures(known: list[list[Any]], folder: str | None, given: Any, path: str) -> Images:
    if given is not None:
        return Images.of(given)
    if folder is not None:
        return Images.found(Path(folder), [name.partition("\x1f")[0] for name, _ in known])
    if any(file is None for _, file in known):
        raise ArgumentError(
            f"Expected the pictures of {path!r} too, images=...: they were not files, so it does not know where."
        )
    return Images.of([file for _, file in known])
