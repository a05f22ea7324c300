"""What the pass found: distances, probabilities and classes of every picture, the spread of units, equivariance."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from convscope_core.arguments import require_choice
from convscope_core.errors import ArgumentError, LayerError, did_you_mean
from convscope_core.experiments.invariance.curve import Curve, curve_of, mean_of
from convscope_core.experiments.invariance.figure import FigureRow, Lines, drawn
from convscope_core.experiments.invariance.table import InvarianceRow, InvarianceTable
from convscope_core.experiments.invariance.transforms import SHIFTS, Transform
from convscope_core.network import Layer, listed_layers
from convscope_core.plots import draws_figure
from convscope_core.saved_result import SavedResult, Values

__all__ = ["DISTANCES", "InvarianceResult"]

Floats = npt.NDArray[np.float64]

DISTANCES = ("raw", "relative", "cosine")


@dataclass(frozen=True, eq=False, repr=False)
class InvarianceResult(SavedResult):
    """How far features and class follow when pictures are moved or changed.

    N pictures, L layers, V values of all transformations one after the other, S of those that shift. The methods take a
    transformation and a layer by name; theirs are the measures, the attributes are what they are made of.

    Attributes
    ----------
    transforms : tuple of Transform
        Each with its `name` and `values`.
    layers : tuple of str
    units : tuple of int
        How many each layer has.
    images : int64 array (N,)
        The pictures' numbers.
    skipped : tuple of (int, str)
        Pictures that could not be read, with the reason.
    targets : int64 array (N,)
        The class whose probability is followed.
    truths : int64 array (N,)
        The class that the picture's label names, or -1.
    clean_classes : int64 array (N,)
        The most probable class of the picture as it is. Of a network of one class, that answers yes or no: 0 for yes,
        from a probability of one half on, and -1 for no.
    clean_probability : float32 array (N,)
        Probability of the target for the picture as it is.
    clean_norm : float64 array (N, L)
        Euclidean norm of the features of the picture as it is.
    distance, norm : float64 array (N, L, V)
        Norm of the difference between the features of the transformed picture and these; norm of the former.
    probability : float32 array (N, V)
        Of the target.
    classes : int64 array (N, V)
        The most probable, likewise.
    inside, overlap : float32 array (N, L, S)
        See `equivariance`.
    over_transforms, over_pictures : float64 array (transforms, sum of units)
        See `spread`.
    strips : uint8 array (first pictures, transforms, 5, 64, 64, 3)
        The first pictures at five values of each transformation.
    labels : tuple of str
        Class names.
    fill, target, seed
        As they were asked for.
    network, fingerprint : str
    """

    _form: ClassVar[str] = "convscope invariance 1"
    _arrays: ClassVar[dict[str, Values]] = {
        "images": Values("int64", "pictures", 0),
        "targets": Values("int64", "pictures", 0),
        "truths": Values("int64", "pictures", -1),
        "clean_classes": Values("int64", "pictures", -1),
        "clean_probability": Values("float32", "pictures", 0, 1),
        "clean_norm": Values("float64", "pictures layers", 0),
        "distance": Values("float64", "pictures layers values", 0),
        "norm": Values("float64", "pictures layers values", 0),
        "probability": Values("float32", "pictures values", 0, 1),
        "classes": Values("int64", "pictures values", -1),
        "inside": Values("float32", "pictures layers shifts", 0, unknown=True),
        "overlap": Values("float32", "pictures layers shifts", 0, unknown=True),
        "over_transforms": Values("float64", "transforms channels", 0, unknown=True),
        "over_pictures": Values("float64", "transforms channels", 0, unknown=True),
        "strips": Values("uint8", "shown transforms 5 64 64 3"),
    }

    transforms: tuple[Transform, ...]
    layers: tuple[str, ...]
    units: tuple[int, ...]
    images: npt.NDArray[np.int64]
    skipped: tuple[tuple[int, str], ...]
    targets: npt.NDArray[np.int64]
    truths: npt.NDArray[np.int64]
    clean_classes: npt.NDArray[np.int64]
    clean_probability: npt.NDArray[np.float32]
    clean_norm: Floats
    distance: Floats
    norm: Floats
    probability: npt.NDArray[np.float32]
    classes: npt.NDArray[np.int64]
    inside: npt.NDArray[np.float32]
    overlap: npt.NDArray[np.float32]
    over_transforms: Floats
    over_pictures: Floats
    strips: npt.NDArray[np.uint8]
    labels: tuple[str, ...]
    fill: str
    target: str
    seed: int
    network: str
    fingerprint: str

    def transform(self, name: str) -> Transform:
        """Return a transformation by its name.

        Raises
        ------
        ArgumentError
            When it was not measured.
        """
        require_choice("a transformation that was measured", name, [t.name for t in self.transforms])
        return next(t for t in self.transforms if t.name == name)

    # -- features --

    def distances(self, transform: str, layer: str | Layer, distance: str = "relative") -> Floats:
        """Return how far the features of a layer are from those of the picture as it is, for every picture and value.

        Parameters
        ----------
        transform : str
        layer : str or Layer
        distance : {"raw", "relative", "cosine"}, default "relative"
            "raw" is the Euclidean norm ``|b - a|`` of the difference, a for the picture as it is, as in the paper;
            "relative" that over ``|a|``; "cosine" is ``1 - a.b / (|a| |b|)``.

        Returns
        -------
        float64 array (N, values)
            Exactly 0 where the picture is as it was. NaN where it is relative to features that are all zero.
        """
        require_choice("distance", distance, DISTANCES)
        columns, row = self._columns(transform), self._layer(layer)
        raw = self.distance[:, row, columns]
        if distance == "raw":
            return raw
        before, after = self.clean_norm[:, row, None], self.norm[:, row, columns]
        with np.errstate(divide="ignore", invalid="ignore"):
            if distance == "relative":
                found = np.where(before > 0, raw / before, np.nan)
            else:
                # |b - a|² = |a|² + |b|² - 2ab: of small angles nothing is lost, as it would be in 1 - ab / (|a||b|).
                apart = (raw**2 - (after - before) ** 2) / (2 * before * after)
                found = np.where(before * after > 0, np.clip(apart, 0.0, 2.0), np.nan)
        return np.where(raw == 0, 0.0, found)

    def curve(self, transform: str, layer: str | Layer, distance: str = "relative") -> Curve:
        """Return the mean distance over pictures for every value; parameters as for `distances`."""
        return curve_of(self.transform(transform).values, self.distances(transform, layer, distance))

    def spread(self, transform: str, layer: str | Layer) -> Floats:
        """Return how far each unit varies over a transformation, in units of how far it varies over pictures.

        The standard deviation over the transformation's values, mean over pictures; divided by the standard deviation
        over pictures, mean over values (Quiroga et al., 2019; Goodfellow et al. (2009) have a like ratio of firing
        rates). Activations are means over the places of a map: a unit whose response only moves does not vary.

        Returns
        -------
        float64 array (units,)
            0: the transformation does not move the unit at all; 1: as much as another picture does. NaN where it is the
            same for all pictures, or there are fewer than two pictures or values.
        """
        self.transform(transform)
        row = [t.name for t in self.transforms].index(transform)
        end = np.cumsum(self.units)[self._layer(layer)]
        units = slice(end - self.units[self._layer(layer)], end)
        above, below = self.over_transforms[row, units], self.over_pictures[row, units]
        with np.errstate(divide="ignore", invalid="ignore"):
            found: Floats = np.where(below > 0, above / below, np.nan)
        return found

    def equivariance(self, transform: str, layer: str | Layer, inside: bool = True) -> Floats:
        """Return how far a layer's maps have not moved with the picture, for shifts by whole cells of the maps.

        The maps of the shifted picture against those of the picture as it is, moved by as many cells: the norm of the
        difference over the norm of the latter, over the cells that both have (Lenc & Vedaldi (2019) fit the map between
        features; here it is known).

        Parameters
        ----------
        transform : {"shift_y", "shift_x"}
        layer : str or Layer
        inside : bool, default True
            Only cells that see nothing of what lies beyond the picture, before and after: 0, up to rounding, for
            convolutions and pools of whatever stride. False: all cells that have a counterpart, and so what padding and
            fill do to them.

        Returns
        -------
        float64 array (N, values)
            NaN where the shift is not a whole number of cells, and where there is no such cell: units of high layers
            see the whole picture.

        Raises
        ------
        ArgumentError
            When the transformation is none that shifts, or was not measured.
        """
        if transform not in SHIFTS:
            raise ArgumentError(f"Expected a transformation that shifts, {' or '.join(SHIFTS)}, got {transform!r}.")
        self.transform(transform)
        at = 0
        for name, values in self.transforms:
            if name == transform:
                break
            at += len(values) * (name in SHIFTS)
        found = (self.inside if inside else self.overlap)[:, self._layer(layer), at : at + len(values)]
        return found.astype(np.float64)

    # -- classes --

    def probabilities(self, transform: str) -> npt.NDArray[np.float32]:
        """Return the probability of the target, (N, values)."""
        return self.probability[:, self._columns(transform)]

    def probability_curve(self, transform: str) -> Curve:
        """Return the mean probability of the targets for every value."""
        return curve_of(self.transform(transform).values, self.probabilities(transform).astype(np.float64))

    def kept(self, transform: str) -> npt.NDArray[np.bool_]:
        """Return where the most probable class is that of the picture as it is, (N, values)."""
        found: npt.NDArray[np.bool_] = self.classes[:, self._columns(transform)] == self.clean_classes[:, None]
        return found

    # -- shown --

    def table(self, distance: str = "relative") -> InvarianceTable:
        """Return a row for every transformation and layer."""
        require_choice("distance", distance, DISTANCES)
        rows = []
        for transform in self.transforms:
            changing = list(transform.changing)
            name = transform.name
            probability = self.probabilities(name)[:, changing].astype(np.float64)
            for layer in self.layers:
                mean = mean_of(self.distances(name, layer, distance)[:, changing])
                far = int(np.nanargmax(mean)) if np.isfinite(mean).any() else -1
                moved = self.equivariance(name, layer) if name in SHIFTS else np.full((1, 1), np.nan)
                rows.append(
                    InvarianceRow(
                        transform=name,
                        layer=layer,
                        distance=_average(mean),
                        largest=float(mean[far]) if far >= 0 else math.nan,
                        at=transform.values[changing[far]] if far >= 0 else math.nan,
                        spread=_median(self.spread(name, layer)),
                        equivariance=_average(moved),
                        probability=_average(probability),
                        kept=_average(self.kept(name)[:, changing].astype(np.float64)),
                    )
                )
        return InvarianceTable(self.network, distance, len(self.images), self.transforms, tuple(rows))

    def __repr__(self) -> str:
        count = len(self.images)
        return (
            f"Invariance of {self.network}: {count} picture{'s' * (count != 1)}, fill {self.fill}, probability of the "
            f"{self.target} class {float(self.clean_probability.mean()):.3f} for pictures as they are\n"
            f"{self.table().text()}"
        )

    @draws_figure
    def plot(self, layers: str | Layer | list[str | Layer] | None = None, distance: str = "relative") -> Any:
        """Draw figure 5 of the paper: a row a transformation; pictures, distances of layers, probability.

        Parameters
        ----------
        layers : str, Layer or list of them, optional
            A panel each. Default: the first, and the last but one (the paper's layers 1 and 7).
        distance : {"raw", "relative", "cosine"}, default "relative"
        """
        require_choice("distance", distance, DISTANCES)
        chosen: list[Any]
        if layers is None:
            chosen = list(dict.fromkeys((self.layers[0], self.layers[max(len(self.layers) - 2, 0)])))
        else:
            chosen = listed_layers(layers)
        names = [self.layers[self._layer(layer)] for layer in chosen]
        rows = []
        for number, transform in enumerate(self.transforms):
            name = transform.name
            distances = [
                Lines(
                    f"{layer}: {distance} distance",
                    self.distances(name, layer, distance),
                    self.curve(name, layer, distance),
                )
                for layer in names
            ]
            title = f"probability of the {self.target} class"
            probability = Lines(title, self.probabilities(name), self.probability_curve(name), 1.0)
            rows.append(FigureRow(transform, self.strips[:, number], [*distances, probability]))
        return drawn(rows)

    def _sizes(self) -> Mapping[str, int]:
        return {
            "values": sum(len(t.values) for t in self.transforms),
            "shifts": sum(len(t.values) for t in self.transforms if t.name in SHIFTS),
            "channels": sum(self.units),
            "layers": len(self.units),
        }

    def _columns(self, transform: str) -> slice:
        self.transform(transform)
        at = 0
        for name, values in self.transforms:
            if name == transform:
                return slice(at, at + len(values))
            at += len(values)
        raise AssertionError(transform)

    def _layer(self, layer: str | Layer) -> int:
        name = layer.name if isinstance(layer, Layer) else layer
        if name not in self.layers:
            raise LayerError(
                f"Expected one of the layers that were measured ({', '.join(self.layers[:8])}"
                f"{', ...' * (len(self.layers) > 8)}), got {name!r}.{did_you_mean(str(name), self.layers)}"
            )
        return self.layers.index(name)


def _average(values: Floats) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else math.nan


def _median(values: Floats) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if known.size else math.nan
