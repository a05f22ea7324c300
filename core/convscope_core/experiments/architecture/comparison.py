"""Two networks on the same pictures: what is alike, where they disagree, what they cost."""

from __future__ import annotations

import html
import json
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from convscope_core.arguments import is_whole, plain_methods, require_counts
from convscope_core.contents import TRACES
from convscope_core.datasets import Images
from convscope_core.errors import ArgumentError, LayerError
from convscope_core.experiments.architecture.answers import TOP, Answered, Answers
from convscope_core.experiments.architecture.filter_health import first_layer, sheet
from convscope_core.explain.projection import Projection, Unit, project_many
from convscope_core.jobs.known import KnownPictures
from convscope_core.measures import cka_matrix, gram
from convscope_core.measures.cka import FEWEST
from convscope_core.network import Layer, Network
from convscope_core.plots import draws_figure, note, panels
from convscope_core.render import signed
from convscope_core.saved_result import Values, require_values, typed
from convscope_core.saving import Damage, inflated, opened_result, reading_result, save_result
from convscope_core.survey import Survey

__all__ = ["Comparison", "Cost", "Disagreement", "Side", "UnitPair"]

Floats = npt.NDArray[np.float64]
Which = Literal["a", "b"]
X = TypeVar("X")

_FORM = "convscope comparison 2"
_ANSWERS = {
    "images": Values("int64", "pictures", 0),
    "classes": Values("int64", "pictures 5", -1),
    "probabilities": Values("float32", "pictures 5", 0, 1),
    "expected": Values("float32", "pictures", 0, 1, unknown=True),
}

_LONGEST = 2**15
"""Bytes that the name of a picture can need."""

_NAMED = 24
"""Layers whose names stand beside the matrix."""


@dataclass(frozen=True)
class Cost:
    """What a network takes.

    Attributes
    ----------
    parameters : int
        Numbers that it computes with, batch norms folded.
    multiply_adds : int
        Of its convolutions and linear layers, for one picture.
    seconds : float
        For one picture in a batch of its own, median of several passes of both networks in turn, on its device.
    """

    parameters: int
    multiply_adds: int
    seconds: float


@dataclass(frozen=True, eq=False)
class Side:
    """One of the two networks.

    Attributes
    ----------
    network : Network
    survey : Survey
    answers : Answers
    cost : Cost
    """

    network: Network
    survey: Survey
    answers: Answers
    cost: Cost

    @property
    def name(self) -> str:
        """Of the network."""
        return self.network.name

    def label(self, row: int) -> str:
        """Return the most probable class for the picture in a row of `answers`; of one class, that or "not" that."""
        number, labels = int(self.answers.classes[row, 0]), self.network.labels
        return labels[number] if number >= 0 else f"not {labels[0]}"


class UnitPair(NamedTuple):
    """A unit of the one network, and the unit of the other that is most like it.

    Attributes
    ----------
    a, b : int
        Channels.
    correlation : float
        Of their largest activations over the sampled pictures.
    mutual : bool
        Whether the first is the most like the second, too.
    """

    a: int
    b: int
    correlation: float
    mutual: bool


class Disagreement(NamedTuple):
    """A picture to which the two answer differently.

    Attributes
    ----------
    image : int
    label : str or None
        Its own class.
    a, b : str
        The most probable class of either.
    probability_a, probability_b : float
        Theirs.
    """

    image: int
    label: str | None
    a: str
    probability_a: float
    b: str
    probability_b: float


@plain_methods
class Comparison:
    """Two networks on the same pictures. Made by `compare`; never changes.

    Attributes
    ----------
    a, b : Side
    images : Images
    """

    def __init__(self, a: Side, b: Side, images: Images) -> None:
        self.a = a
        self.b = b
        self.images = images
        self._kept: dict[tuple[Any, ...], Any] = {}
        # The same picture may be unreadable for one of them.
        self._common = np.intersect1d(a.answers.images, b.answers.images)
        self._rows = tuple(np.searchsorted(side.answers.images, self._common) for side in (a, b))

    # -- answers --

    @property
    def common_labels(self) -> tuple[str, ...]:
        """Labels of classes that both know, and of which neither has two."""
        shared = set(self.a.network.labels) & set(self.b.network.labels)
        return tuple(x for x in self.a.network.labels if x in shared and self._once_in_both(x))

    def _once_in_both(self, label: str) -> bool:
        return all(side.network.labels.count(label) == 1 for side in (self.a, self.b))

    @property
    def agreement(self) -> float:
        """Share of the pictures to which both give the same class; NaN where they have no class in common."""
        if not self.common_labels or not len(self._common):
            return float("nan")
        a, b = self._answers()
        return float(np.mean([x == y for x, y in zip(a, b, strict=True)]))

    def accuracy(self, which: Which, top: int = 1) -> float:
        """Share of the pictures whose own class is among the most probable: 0 to 1; NaN where none is known.

        Of pictures that have a label which is one of the network's. Of a network of one class, of all that have a
        label, if that of some is the class: no is right for the others.

        Parameters
        ----------
        which : {"a", "b"}
        top : int, default 1
            Up to 5.
        """
        right = self.right(which, top)
        return float(np.mean(list(right.values()))) if right else float("nan")

    def right(self, which: Which, top: int = 1) -> dict[int, bool]:
        """Whether the own class of a picture is among the most probable, by the index of the picture.

        Only pictures whose own class is known are there: those of which `accuracy` is the share.

        Parameters
        ----------
        which : {"a", "b"}
        top : int, default 1
            Up to 5.
        """
        side = self._side(which)
        require_counts(top=top)
        if top > TOP:
            raise ArgumentError(f"Expected top from 1 to {TOP}, got {top!r}.")
        numbers = {label: n for n, label in enumerate(side.network.labels) if side.network.labels.count(label) == 1}
        labels = [side.survey.label(int(image)) for image in side.answers.images]
        own = np.array([-1 if label is None else numbers.get(label, -1) for label in labels], np.int64)
        known = own >= 0
        if not known.any():
            return {}
        if len(side.network.labels) == 1:
            known, top = np.array([label is not None for label in labels]), 1
        right = (side.answers.classes[known, :top] == own[known, None]).any(1)
        return dict(zip(side.answers.images[known].tolist(), right.tolist(), strict=True))

    def disagreements(self, n: int | None = None) -> list[Disagreement]:
        """Pictures to which the two answer differently, those first of which both are surest.

        Parameters
        ----------
        n : int, optional
            How many at most. Default: all.

        Raises
        ------
        ArgumentError
            When the networks have no class in common, so that all answers differ.
        """
        _require_most(n)
        if not self.common_labels:
            raise ArgumentError(
                f"Expected networks with classes in common, got {self.a.name} ({self._some('a')}) and {self.b.name} "
                f"({self._some('b')}). Give both the same labels."
            )
        found = []
        for image, row_a, row_b, a, b in zip(self._common, *self._rows, *self._answers(), strict=True):
            if a != b:
                p, q = (float(s.answers.probabilities[r, 0]) for s, r in ((self.a, row_a), (self.b, row_b)))
                found.append(Disagreement(int(image), self.a.survey.label(int(image)), a, p, b, q))
        found.sort(key=lambda one: (-min(one.probability_a, one.probability_b), one.image))
        return found[:n]

    def _answers(self) -> tuple[list[str], list[str]]:
        a, b = ([side.label(row) for row in rows] for side, rows in zip((self.a, self.b), self._rows, strict=True))
        return a, b

    def _some(self, which: Which) -> str:
        labels = self._side(which).network.labels
        return ", ".join(labels[:3]) + (", ..." if len(labels) > 3 else "")

    # -- layers and units --

    @property
    def layers(self) -> tuple[tuple[Layer, ...], tuple[Layer, ...]]:
        """The layers of either that are compared, in execution order."""
        return self.a.survey.layers, self.b.survey.layers

    @property
    def cka(self) -> Floats:
        """How alike the layers are: debiased linear CKA of all of the one with all of the other, (layers, layers).

        Of the mean activations of all units on the sampled pictures that both could read (see
        `convscope_core.measures.cka`). NaN for layers that tell no picture from another.

        Raises
        ------
        ArgumentError
            When there are fewer than four such pictures.
        """

        def make() -> Floats:
            sides = []
            for side in (self.a, self.b):
                sampled = [side.survey.sampled(layer) for layer in side.survey.layers]
                rows = np.isin(sampled[0].images, self._sampled)
                sides.append([gram(one.means[rows], one.images[rows]) for one in sampled])
            return cka_matrix(*sides)

        self._require_sampled("CKA is not defined")
        return self._once(("cka",), make)

    def _require_sampled(self, otherwise: str) -> None:
        if len(self._sampled) < FEWEST:
            raise ArgumentError(
                f"Expected at least {FEWEST} sampled pictures that both networks can read, got {len(self._sampled)}: "
                f"{otherwise}. Give more pictures, or a larger sample."
            )

    @property
    def _sampled(self) -> npt.NDArray[np.int64]:
        """Numbers of the pictures that are in the samples of both."""
        a, b = (side.survey.sampled(side.survey.layers[0]).images for side in (self.a, self.b))
        return np.intersect1d(a, b)

    def correlations(self, layer_a: str | Layer, layer_b: str | Layer) -> npt.NDArray[np.float32]:
        """How alike the units of two layers are: correlation of their largest activations on the sampled pictures.

        Before the ceilings of their activations, where they have some.

        Returns
        -------
        float32 array (units of the one, units of the other)
            -1 to 1; 0 for units that are the same on all pictures.

        Raises
        ------
        ArgumentError
            When there are fewer than four such pictures.
        """
        self._require_sampled("units correlate by chance")
        names = self.a.survey.layer(layer_a).name, self.b.survey.layer(layer_b).name

        def make() -> npt.NDArray[np.float32]:
            standard = []
            for side, name in zip((self.a, self.b), names, strict=True):
                sampled = side.survey.sampled(name)
                peaks = sampled.before_ceiling[np.isin(sampled.images, self._sampled)].astype(np.float64)
                peaks = peaks - peaks[:1]
                peaks = peaks - peaks.mean(0)
                length = np.linalg.norm(peaks, axis=0)
                standard.append(np.divide(peaks, length, out=np.zeros_like(peaks), where=length > 0))
            return np.asarray(np.clip(standard[0].T @ standard[1], -1, 1), np.float32)

        return self._once(("correlations", *names), make)

    def matches(self, layer_a: str | Layer, layer_b: str | Layer, n: int | None = None) -> list[UnitPair]:
        """Match each unit of a layer of the one network with the unit of a layer of the other that is most like it.

        Parameters
        ----------
        layer_a, layer_b : str or Layer
        n : int, optional
            How many at most. Default: all.

        Returns
        -------
        list of UnitPair
            Most alike first; without units, of either layer, that are the same on all pictures.

        Raises
        ------
        ArgumentError
            When there are fewer than four pictures, as for `correlations`.
        """
        _require_most(n)
        correlation = self.correlations(layer_a, layer_b)
        units_a, units_b = (np.flatnonzero(correlation.any(axis)) for axis in (1, 0))
        if not units_a.size:
            return []
        varied = correlation[np.ix_(units_a, units_b)]
        best, back = varied.argmax(1), varied.argmax(0)
        pairs = [
            UnitPair(int(units_a[a]), int(units_b[best[a]]), float(varied[a, best[a]]), int(back[best[a]]) == a)
            for a in np.argsort(-varied.max(1), kind="stable").tolist()
        ]
        return pairs[:n]

    # -- pictures --

    def first_layers(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        """Draw the filters of both first layers on one scale: two pictures (H, W, 3).

        Raises
        ------
        LayerError
            When one has no convolution that looks at the picture.
        """
        a, b = (self._filters(side) for side in (self.a, self.b))
        return sheet(a, b), sheet(b, a)

    def second_layer(self, which: Which) -> Layer:
        """The second convolution of a network, among those that are compared.

        Raises
        ------
        LayerError
            When there is none.
        """
        side = self._side(which)
        convolutions = [layer for layer in side.survey.layers if layer.kind == "conv"]
        first = side.network.first_convolution
        after = [layer for layer in convolutions if first is None or layer.name != first.name]
        if not after:
            raise LayerError(
                f"Expected a second convolution among the layers of {side.name} that are compared, got none."
            )
        return after[0]

    def projections(
        self,
        which: Which,
        layer: str | Layer | None = None,
        units: int | Iterable[int] = 16,
        *,
        method: str = "deconvnet",
        seed: int = 0,
        **options: Any,
    ) -> list[Projection]:
        """Project the strongest activation over the pictures of units of a layer, as in the paper's figure 6 (d, e).

        Parameters
        ----------
        which : {"a", "b"}
        layer : str or Layer, optional
            Default: `second_layer`.
        units : int or iterable of int, default 16
            How many, drawn at random from those that are not dead; or which: channels.
        method, **options
            As for `project`.
        seed : int, default 0

        Returns
        -------
        list of Projection
            By unit; without dead ones.

        Raises
        ------
        LayerError
            When there is no such layer or unit.
        """
        require_counts(0, seed=seed)
        side = self._side(which)
        found = self.second_layer(which) if layer is None else side.survey.layer(layer)
        name = found.name
        top = side.survey.arrays(name)
        alive = np.flatnonzero((top.images[:, 0] >= 0) & (top.values[:, 0] > 0))
        given: Any = units
        if isinstance(given, Iterable) and not isinstance(given, str):
            asked = list(given)
            for unit in asked:
                if not is_whole(unit) or not 0 <= unit < found.channels:
                    raise LayerError(f"Expected units of {name}, 0 to {found.channels - 1}, got {unit!r}.")
            chosen = [int(unit) for unit in asked if unit in alive]
        else:
            require_counts(units=given)
            chosen = sorted(np.random.default_rng(seed).permutation(alive)[:given].tolist())
        wanted = [Unit(int(top.images[u, 0]), u, int(top.rows[u, 0]), int(top.columns[u, 0]), float(top.values[u, 0]))
                  for u in chosen]  # fmt: skip
        return project_many(side.network, self.images, name, wanted, method, **options)

    def _filters(self, side: Side) -> npt.NDArray[np.float32]:
        weight = side.network.weight(first_layer(side.network).name)
        assert weight is not None
        return weight.cpu().float().numpy()

    # -- shown --

    def rows(self) -> dict[str, tuple[Any, Any]]:
        """What is compared in numbers, by name, of either network."""
        a, b = self.a.cost, self.b.cost
        return {
            "network": (self.a.name, self.b.name),
            "layers compared": (len(self.layers[0]), len(self.layers[1])),
            "accuracy": (self.accuracy("a"), self.accuracy("b")),
            "top-5 accuracy": (self.accuracy("a", 5), self.accuracy("b", 5)),
            "parameters": (a.parameters, b.parameters),
            "multiply-adds": (a.multiply_adds, b.multiply_adds),
            "seconds a picture": (a.seconds, b.seconds),
        }

    def __repr__(self) -> str:
        lines = [f"Comparison of {self.a.name} and {self.b.name} on {len(self._common):,} images"]
        for name, (a, b) in list(self.rows().items())[1:]:
            lines.append(f"  {name:<18} {_written(name, a):>14} {_written(name, b):>14}")
        agreement = self.agreement
        lines.append(
            "  no class in common"
            if np.isnan(agreement)
            else f"  agreement {agreement:.1%}; {len(self.common_labels):,} classes in common"
        )
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        head, *rows = self.rows().items()
        body = "".join(
            f"<tr><th style='text-align:left'>{name}</th><td>{_written(name, a)}</td><td>{_written(name, b)}</td></tr>"
            for name, (a, b) in rows
        )
        names = "".join(f"<th>{html.escape(name)}</th>" for name in head[1])
        agreement = "" if np.isnan(self.agreement) else f"<caption>agreement {self.agreement:.1%}</caption>"
        return f"<table>{agreement}<thead><tr><th></th>{names}</tr></thead><tbody>{body}</tbody></table>"

    @draws_figure
    def plot(self, units: int = 16, *, seed: int = 0, method: str = "deconvnet", **options: Any) -> Any:
        """Draw the paper's figure 6: first layers on one scale, second layers' projections; and CKA of all layers.

        Where a network has no such layer, or the pictures are too few, the panel says so.

        Parameters
        ----------
        units : int, default 16
            Of each second layer, at random.
        seed : int, default 0
        method, **options
            As for `project`.
        """
        figure, every = panels(1, 5, (3.2, 3.4))
        filters = [None if side.network.first_convolution is None else self._filters(side) for side in (self.a, self.b)]
        for panel, own, other, side in zip(every[:2], filters, filters[::-1], (self.a, self.b), strict=True):
            panel.set_title(side.name, fontsize=8)
            if own is None:
                note(panel, "no convolution looks at the picture")
            else:
                panel.imshow(sheet(own, other), interpolation="nearest")
                panel.set_title(f"{side.name}: {first_layer(side.network).name}", fontsize=8)
        sides: tuple[Which, Which] = ("a", "b")
        for panel, which in zip(every[2:4], sides, strict=True):
            panel.set_title(self._side(which).name, fontsize=8)
            try:
                layer = self.second_layer(which).name
            except LayerError:
                note(panel, "no second convolution is compared")
                continue
            found = self.projections(which, layer, units, method=method, seed=seed, **options)
            if found:
                panel.imshow(_tiled([one.values for one in found]), interpolation="nearest")
            else:
                note(panel, "no unit is active")
            panel.set_title(f"{self._side(which).name}: {layer}", fontsize=8)
        every[4].set_title("CKA (debiased)", fontsize=8)
        if len(self._sampled) < FEWEST:
            note(every[4], f"not defined of fewer than {FEWEST} pictures")
            return figure
        image = every[4].imshow(self.cka, vmin=0, vmax=1, cmap="viridis", aspect="auto")
        for mark, layers in zip((every[4].set_yticks, every[4].set_xticks), self.layers, strict=True):
            if len(layers) <= _NAMED:
                mark(range(len(layers)), [layer.name for layer in layers], fontsize=6)
        every[4].tick_params(axis="x", rotation=90)
        every[4].set_ylabel(self.a.name, fontsize=8)
        every[4].set_xlabel(self.b.name, fontsize=8)
        figure.colorbar(image, ax=every[4], shrink=0.8)
        return figure

    # -- kept --

    def save(self, path: str | Path) -> Path:
        """Write both surveys and all answers to a file of safetensors; networks and pictures are not written."""
        arrays: dict[str, npt.NDArray[Any]] = {}
        known = KnownPictures.of(self.images)
        arrays["traces"] = known.traces.view(np.uint8)
        arrays["pictures"] = np.frombuffer(zlib.compress(json.dumps(known.identities).encode()), np.uint8)
        settings: dict[str, Any] = {}
        for name, side in (("a", self.a), ("b", self.b)):
            found, survey = side.survey.state()
            arrays.update({f"{name}.survey.{key}": array for key, array in found.items()})
            arrays.update({f"{name}.answers.{key}": getattr(side.answers, key) for key in _ANSWERS})
            layers = [layer.name for layer in side.survey.layers]
            settings[name] = {"survey": survey, "cost": asdict(side.cost), "layers": layers}
        return save_result(path, _FORM, arrays, settings)

    @classmethod
    def load(cls, path: str | Path, net_a: Network, net_b: Network, images: Any) -> Comparison:
        """Read what `save` wrote.

        Parameters
        ----------
        path : path
        net_a, net_b : Network
            Those that were compared.
        images : Images, or what `Images.of` takes
            The pictures, in the same order.

        Raises
        ------
        ArgumentError
            When there is no such file, it holds something else, or is of other networks or pictures (names, labels,
            contents).
        StoreError
            When it is damaged.
        """
        pictures = Images.of(images)
        with opened_result(path, "Comparison.save", (_FORM,)) as (_, arrays, settings):
            traces = arrays["traces"].view(TRACES)
            packed = inflated(arrays["pictures"].tobytes(), _LONGEST * (1 + len(traces)))
            known = KnownPictures(typed(json.loads(packed), tuple[str, ...], "pictures"), traces)
            if len(known.identities) != len(traces):
                raise Damage("other numbers of pictures and their traces")
            told = {}
            for name in ("a", "b"):
                about = settings[name]
                require_values(_part(arrays, f"{name}.answers."), _ANSWERS, {})
                names = (about["survey"]["fingerprint"], about["survey"]["network"])
                told[name] = (
                    typed(names[0], str, "fingerprint"), typed(names[1], str, "network"), about["survey"],
                    typed(about["layers"], tuple[str, ...], "layers"), typed(about["cost"], Cost, "cost"),
                )  # fmt: skip
        known.require_names(pictures, repr(str(path)))
        sides = []
        for name, net in (("a", net_a), ("b", net_b)):
            (was, network, about, names, cost), now = told[name], net.fingerprint
            if was != now:
                raise ArgumentError(
                    f"Expected {network} with the weights of {str(path)!r} ({was[:8]}), got "
                    f"{net.name} ({now[:8]}). Give the networks in the order in which they were compared."
                )
            with reading_result(path, "Comparison.save"):
                layers = tuple(net.layer(one) for one in names)
                survey = Survey.of_state(_part(arrays, f"{name}.survey."), about, layers, pictures)
                answers = Answers(**_part(arrays, f"{name}.answers."))
            survey.require(net)
            known.require_contents(pictures, repr(str(path)), survey.seen)
            sides.append(Side(net, survey, answers, cost))
        return cls(sides[0], sides[1], pictures)

    # -- inside --

    @classmethod
    def of(
        cls, nets: Sequence[Network], found: Sequence[Answered], costs: Sequence[Cost], images: Images
    ) -> Comparison:
        """Put together the comparison of two networks."""
        a, b = (Side(net, *one, cost) for net, one, cost in zip(nets, found, costs, strict=True))
        return cls(a, b, images)

    def _side(self, which: Which) -> Side:
        if which not in ("a", "b"):
            raise ArgumentError(f"Expected 'a' or 'b' for the one network or the other, got {which!r}.")
        return self.a if which == "a" else self.b

    def _once(self, key: tuple[Any, ...], make: Callable[[], X]) -> X:
        if key not in self._kept:
            made: Any = make()
            made.flags.writeable = False
            self._kept[key] = made
        found: X = self._kept[key]
        return found


def _require_most(n: Any) -> None:
    if n is not None:
        require_counts(0, n=n)


def _part(arrays: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {key.removeprefix(prefix): value for key, value in arrays.items() if key.startswith(prefix)}


def _written(name: str, value: Any) -> str:
    if isinstance(value, float):
        if np.isnan(value):
            return "–"
        return f"{value:.1%}" if "accuracy" in name else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else html.escape(str(value))


def _tiled(tiles: Sequence[npt.NDArray[np.float32]]) -> npt.NDArray[np.uint8]:
    """Lay projections (C, h, w) of about one size out in a square, each on its own scale."""
    shown = [signed(tile if len(tile) in (1, 3) else tile.sum(0, keepdims=True)) for tile in tiles if tile.size]
    side = max((max(one.shape[:2]) for one in shown), default=1)
    across = int(np.ceil(np.sqrt(max(1, len(shown)))))
    down = max(1, -(-len(shown) // across))
    drawn = np.full((down * (side + 2), across * (side + 2), 3), 255, np.uint8)
    for place, one in enumerate(shown):
        top, left = place // across * (side + 2), place % across * (side + 2)
        drawn[top : top + one.shape[0], left : left + one.shape[1]] = one
    return drawn
