"""What a survey answers: plain records and arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from convscope_core.graph.geometry import Box
from convscope_core.survey.minima import MINIMA

__all__ = [
    "ClassMeans",
    "ClassPreference",
    "Exemplar",
    "LayerHealth",
    "Purity",
    "QuantileExample",
    "SampledActivations",
    "SimilarUnit",
    "TopActivations",
    "UnitMatch",
]

RARE = 0.01
"""A unit that is active in a smaller share of the images than this, but not dead, is rarely active."""


class Exemplar(NamedTuple):
    """An image that excites a unit, and where.

    Attributes
    ----------
    value : float
        The activation, after the rectifier that directly follows the layer.
    image : int
        Index into `Survey.images`.
    row, column : int
        Position in the unit's map: the first of the largest (before the ceiling), in row-major order.
    box : Box
        Receptive field of that position, in pixels of the network's input, half-open, not clipped to the
        picture.
    before_ceiling : float or None
        What `value` would be if the activation did not cut it off (`Layer.ceiling`): a ReLU6's 6.00 may be 9.31 before
        the ceiling. `Survey.top` is ordered by it. None of layers that cut nothing off, and of surveys that are not
        ordered by it (`Survey.before_ceiling`).
    """

    value: float
    image: int
    row: int
    column: int
    box: Box
    before_ceiling: float | None = None


@dataclass(frozen=True, eq=False)
class TopActivations:
    """The top activations of all units of a layer, as arrays.

    Attributes
    ----------
    values : float32 array (C, k)
        Descending; -inf in an empty place (fewer images than k).
    images, rows, columns : int64 arrays (C, k)
        Index into `Survey.images` and position in the map; -1 in an empty place.
    before_ceiling : float32 array (C, k) or None
        See `Exemplar`; descending, -inf in an empty place.
    """

    values: npt.NDArray[np.float32]
    images: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    columns: npt.NDArray[np.int64]
    before_ceiling: npt.NDArray[np.float32] | None = None


@dataclass(frozen=True, eq=False)
class LayerHealth:
    """How active the units of a layer are. "Active" means greater than zero.

    Attributes
    ----------
    images : int
        Number of images seen.
    active_images : float64 array (C,)
        Share of the images, 0 to 1, in which the unit is active anywhere.
    active_positions : float64 array (C,)
        Share of the positions of all images, 0 to 1, at which it is active.
    maximum : float32 array (C,)
        The largest activation; -inf if no image was seen.
    saturated : float64 array (C,)
        Share of the positions, 0 to 1, at which a bounded activation (ReLU6, sigmoid, tanh...) is at its upper bound;
        NaN where there is no bound.
    mean, variance : float64 arrays (C,)
        Over all positions of all images; NaN if no image was seen.
    magnitude : float64 array (C,)
        Mean of the magnitudes over all positions of all images; NaN if no image was seen.
    histogram : int64 array (C, 115)
        Images by their largest activation: bin b counts ``edges[b - 1] <= value < edges[b]``, the first and
        last bin are open. The top activations are its right end. Where `Survey.before_ceiling` the activations are
        those before the ceiling of the layer's activation: of many units of a ReLU6 all images reach 6.
    edges : float32 array (114,)
        Half-octaves on either side of zero (see `histogram_edges`).
    signed : bool
        The layer ends in no activation: a value below zero says something (of a logit, "not this class").
    """

    images: int
    active_images: npt.NDArray[np.float64]
    active_positions: npt.NDArray[np.float64]
    maximum: npt.NDArray[np.float32]
    saturated: npt.NDArray[np.float64]
    mean: npt.NDArray[np.float64]
    variance: npt.NDArray[np.float64]
    magnitude: npt.NDArray[np.float64]
    histogram: npt.NDArray[np.int64]
    edges: npt.NDArray[np.float32]
    signed: bool = False

    @property
    def dead(self) -> npt.NDArray[np.bool_]:
        """Bool (C,): units that no image activated; none where no image was seen.

        Of a signed layer those that are zero everywhere: a value below zero is a response.
        """
        never = (self.active_images == 0) & (self.images > 0)
        return np.asarray(never & (self.magnitude == 0) if self.signed else never)

    @property
    def rare(self) -> npt.NDArray[np.bool_]:
        """Bool (C,): units that are active in less than one image in a hundred, but not dead.

        None of few images (`MINIMA`), and none of a signed layer.
        """
        if self.signed:
            return np.zeros(len(self.active_images), bool)
        rare = (self.active_images > 0) & (self.active_images < RARE)
        return np.asarray(rare & (self.images >= MINIMA["rare"].images))


@dataclass(frozen=True, eq=False)
class SampledActivations:
    """What all units of a layer do on the same random images.

    Attributes
    ----------
    images : int64 array (n,)
        Index into `Survey.images`, ascending.
    peaks, means : float32 arrays (n, C)
        Largest and mean activation of each unit over the positions of each image.
    before_ceiling : float32 array (n, C)
        The largest before the ceiling of the layer's activation, see `Exemplar`; as `peaks` where there is none, and in
        surveys that did not look before it.
    """

    images: npt.NDArray[np.int64]
    peaks: npt.NDArray[np.float32]
    means: npt.NDArray[np.float32]
    before_ceiling: npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class ClassMeans:
    """Mean activation of the units of a layer over the images of each class.

    Attributes
    ----------
    labels : tuple of str
        The L classes of which images were seen, in alphabetical order.
    counts : int64 array (L,)
        Images of each.
    means : float64 array (L, C)
        Mean activation over all positions of all images of the class.
    spread : float64 array (C,)
        Standard deviation between images of their mean activation, over all labelled images.
    """

    labels: tuple[str, ...]
    counts: npt.NDArray[np.int64]
    means: npt.NDArray[np.float64]
    spread: npt.NDArray[np.float64]

    def preference(self, label: str) -> npt.NDArray[np.float64]:
        """How much more each unit responds to a class than to the others, float64 (C,).

        The difference of the two mean activations in standard deviations between images: an effect size, dimensionless
        and comparable across layers. 0 for a unit that never varies, NaN where only one class was seen.
        """
        row = self.labels.index(label)
        others = self.counts.sum() - self.counts[row]
        if others == 0:
            return np.full(self.means.shape[1], np.nan)
        total = (self.means * self.counts[:, None]).sum(0)
        rest = (total - self.means[row] * self.counts[row]) / others
        difference = self.means[row] - rest
        return np.asarray(np.divide(difference, self.spread, out=np.zeros_like(difference), where=self.spread > 0))


@dataclass(frozen=True, eq=False)
class Purity:
    """How much of one class the top images of each unit of a layer are.

    Attributes
    ----------
    share : float64 array (C,)
        Share of the labelled top images, 0 to 1, that have the most frequent label; NaN where none has a label.
    label : tuple of str or None
        (C,) that label; among equals the one of the stronger image.
    """

    share: npt.NDArray[np.float64]
    label: tuple[str | None, ...]


class UnitMatch(NamedTuple):
    """A unit that prefers a class.

    Attributes
    ----------
    layer : str
    channel : int
    preference : float
        Mean activation on the class less that on the others, in standard deviations between images.
    mean, others : float
        The two mean activations.
    images : int
        Of the class, that were seen.
    """

    layer: str
    channel: int
    preference: float
    mean: float
    others: float
    images: int


class ClassPreference(NamedTuple):
    """A class that a unit prefers.

    Attributes
    ----------
    label : str
    preference : float
        Mean activation on the class less that on the others, in standard deviations between images.
    mean : float
        Mean activation on the class.
    images : int
        Of the class, that were seen.
    """

    label: str
    preference: float
    mean: float
    images: int


class SimilarUnit(NamedTuple):
    """A unit that is active on the same images.

    Attributes
    ----------
    layer : str
    channel : int
    correlation : float
        Pearson correlation, -1 to 1, of the two units' maxima over the images of the sample.
    """

    layer: str
    channel: int
    correlation: float


class QuantileExample(NamedTuple):
    """An image on which a unit is less active than on its top images.

    Attributes
    ----------
    quantile : float
        Share of the sampled images, 0 to 1, that excite the unit less.
    value : float
        Its largest activation on the image.
    image : int
        Index into `Survey.images`.
    before_ceiling : float or None
        See `Exemplar`.
    """

    quantile: float
    value: float
    image: int
    before_ceiling: float | None = None
