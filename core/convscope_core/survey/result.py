"""What a survey found: the top activations, the health and the classes of every unit, and which units are alike."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from functools import cached_property
from itertools import repeat
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from convscope_core.arguments import argument_kind, is_whole, listed, plain_methods, require_choice
from convscope_core.crops import non_overlapping
from convscope_core.datasets import Images
from convscope_core.errors import ArgumentError, LayerError, did_you_mean
from convscope_core.jobs.ledger import Ledger, Skipped
from convscope_core.network import Layer, Network, listed_layers
from convscope_core.preprocessing import Preprocessing
from convscope_core.survey.findings import (
    ClassMeans,
    ClassPreference,
    Exemplar,
    LayerHealth,
    Purity,
    QuantileExample,
    SampledActivations,
    SimilarUnit,
    TopActivations,
    UnitMatch,
)
from convscope_core.survey.health import histogram_edges
from convscope_core.survey.minima import MINIMA
from convscope_core.survey.statistics import Statistics
from convscope_core.wordnet import class_names

__all__ = ["Survey"]


@plain_methods
@argument_kind("Make one with survey(net, images), or open one with load_survey.")
class Survey:
    """What excites every unit of chosen layers of a network, over many images.

    Made by `survey`; never changes.

    Attributes
    ----------
    network : str
        Name of the network.
    fingerprint : str
        Identifies its weights: surveys of different networks do not merge.
    preprocessing : dict
        What was done to pictures before (`Preprocessing.identity`): surveys of differently prepared pictures do not
        merge.
    layers : tuple of Layer
        In execution order.
    k : int
        Number of top images of each unit. Of crops (`Images.crops`) that share pixels only the strongest is among them.
    images : Images
        What the indices of exemplars point into.
    """

    def __init__(
        self,
        *,
        network: str,
        fingerprint: str,
        preprocessing: Mapping[str, Any],
        layers: tuple[Layer, ...],
        images: Images,
        statistics: Statistics,
        ledger: Ledger,
        k: int | None = None,
    ) -> None:
        self.network = network
        self.fingerprint = fingerprint
        self.preprocessing = preprocessing
        self.layers = layers
        self.images = images
        self.k = statistics.top.k if k is None else k
        self._tops: dict[str, TopActivations] = {}
        self._statistics = statistics
        self._ledger = ledger
        ends = np.cumsum([0, *(layer.channels for layer in layers)]).tolist()
        self._channels = {layer.name: slice(a, b) for layer, a, b in zip(layers, ends[:-1], ends[1:], strict=True)}

    @classmethod
    def of(
        cls,
        net: Network,
        layers: tuple[Layer, ...],
        images: Images,
        statistics: Statistics,
        ledger: Ledger,
        k: int | None = None,
    ) -> Survey:
        """Put together the survey of layers of a network."""
        return cls(
            network=net.name,
            fingerprint=net.fingerprint,
            preprocessing=net.preprocessing.identity,
            layers=layers,
            images=images,
            statistics=statistics,
            ledger=ledger,
            k=k,
        )

    def with_layers(self, layers: tuple[Layer, ...]) -> Survey:
        """Return the survey with the layers of another network of the same module: its own hold on to its weights.

        Raises
        ------
        ArgumentError
            When they are others.
        """
        mine, theirs = ([(x.name, x.channels, x.size, x.activation) for x in side] for side in (self.layers, layers))
        if mine != theirs:
            other = next((a for a, b in zip(mine, theirs, strict=False) if a != b), (mine + theirs)[-1])
            raise ArgumentError(f"Expected layers of the same module, got others, from {other[0]!r} on.")
        found = copy.copy(self)
        found.layers = layers
        return found

    def with_images(self, images: Images) -> Survey:
        """Return the survey of the same pictures, found in another place; whether they are the same is not asked."""
        found = copy.copy(self)
        found.images = images
        return found

    @property
    def before_ceiling(self) -> bool:
        """Whether the images of layers with a ceiling (`Layer.ceiling`) are told apart by their values before it.

        They are ranked by these, counted in histograms by these, and units are compared by these. All else is of the
        activations that the network computes with. False where no layer has one, and in surveys of versions before
        0.2, which rank by the value after it: of images that all reach the ceiling the first ones stand first. Surveys
        that go on from one of these do so, too.
        """
        return self._statistics.top.before_ceiling

    def state(self) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
        """Return all that was found as arrays, and as what JSON holds; without layers and images."""
        arrays = {key: tensor.numpy() for key, tensor in self._statistics.state_dict().items()}
        seen, ledger = self._ledger.state()
        arrays.update({f"ledger.{key}": array for key, array in seen.items()})
        of = {"network": self.network, "fingerprint": self.fingerprint, "preprocessing": dict(self.preprocessing)}
        return arrays, {**of, "k": self.k, "ledger": ledger}

    @classmethod
    def of_state(
        cls,
        arrays: Mapping[str, npt.NDArray[Any]],
        settings: Mapping[str, Any],
        layers: tuple[Layer, ...],
        images: Images,
    ) -> Survey:
        """Restore a survey from its `state`, with its layers and images.

        Raises
        ------
        ArgumentError
            When the state is not whole, or of other layers or images.
        """
        tensors = {key: torch.from_numpy(array.copy()) for key, array in arrays.items()}
        ledger = {key.removeprefix("ledger."): a for key, a in arrays.items() if key.startswith("ledger.")}
        statistics = Statistics.from_state(tensors)
        channels = sum(layer.channels for layer in layers)
        if statistics.top.channels != channels or len(ledger["seen"]) != len(images):
            raise ArgumentError(
                f"Expected the survey of {statistics.top.channels} channels and {len(ledger['seen'])} images, got "
                f"{channels} and {len(images)}."
            )
        return cls(
            network=str(settings["network"]),
            fingerprint=str(settings["fingerprint"]),
            preprocessing=dict(settings["preprocessing"]),
            layers=layers,
            images=images,
            statistics=statistics,
            ledger=Ledger.of_state(ledger, settings["ledger"]),
            k=settings.get("k"),
        )

    @property
    def sample_size(self) -> int:
        """Most images that the random sample may have, see `sampled`."""
        return self._statistics.sample.size

    @property
    def seen(self) -> npt.NDArray[np.bool_]:
        """Bool (len(images),): images that are part of the survey; read-only."""
        return self._ledger.seen

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """Images that could not be read, by index, with the reason."""
        return self._ledger.skipped

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels of the images seen, in alphabetical order; names in place of WordNet ids, in the order of these."""
        return tuple(self._names[label] for label in self._ledger.labels)

    @cached_property
    def _names(self) -> dict[str, str]:
        return class_names(self._ledger.labels)

    def label(self, image: int) -> str | None:
        """The label that an image had when it was seen; None if it had none."""
        label = self._ledger.label(image)
        return None if label is None else self._names[label]

    def require(self, net: Network) -> None:
        """Raise ArgumentError unless this is a survey of a network, with these weights and this preprocessing."""
        if self.fingerprint != net.fingerprint:
            raise ArgumentError(
                f"Expected a survey of {net.name} with these weights (fingerprint {net.fingerprint[:8]}), got one of "
                f"{self.network} ({self.fingerprint[:8]}). Survey the pictures with this network."
            )
        if words := Preprocessing.difference(self.preprocessing, net.preprocessing.identity):
            raise ArgumentError(
                f"Expected a survey of pictures that were prepared as {net.name} prepares them, got another "
                f"preprocessing: {words}. Survey the pictures with this network."
            )

    def __repr__(self) -> str:
        channels = sum(layer.channels for layer in self.layers)
        text = (
            f"Survey of {self.network}: top {self.k} of {self._ledger.count:,} images "
            f"for {channels:,} channels of {len(self.layers)} layers"
        )
        return f"<{text}; {len(self.skipped)} images skipped>" if self.skipped else f"<{text}>"

    def top(self, layer: str | Layer, channel: int) -> list[Exemplar]:
        """The images that excite a unit most, strongest first; among equals the lower index.

        Where the layer's activation has a ceiling (ReLU6, hard tanh, hard sigmoid, clamp) and many images reach it,
        the strongest is that which would be without (`Exemplar.before_ceiling`).

        Parameters
        ----------
        layer : str or Layer
            One of `layers`, by name or alias.
        channel : int
            0 to the layer's number of channels less one.

        Returns
        -------
        list of Exemplar
            At most `k`, fewer when fewer images were seen.

        Raises
        ------
        LayerError
            When the layer is not part of the survey.
        ArgumentError
            When there is no such channel.
        """
        found, number = self._unit(layer, channel)
        arrays = self.arrays(found)
        columns = (arrays.values, arrays.images, arrays.rows, arrays.columns)
        rows = zip(*(c[number].tolist() for c in columns), strict=True)
        before = repeat(None) if arrays.before_ceiling is None else arrays.before_ceiling[number].tolist()
        return [
            Exemplar(value, image, row, column, found.box(row, column), uncut)
            for (value, image, row, column), uncut in zip(rows, before, strict=False)
            if image >= 0
        ]

    def arrays(self, layer: str | Layer) -> TopActivations:
        """The top activations of all units of a layer.

        Raises
        ------
        LayerError
            When the layer is not part of the survey.
        """
        found = self.layer(layer)
        if found.name not in self._tops:
            part = self._channels[found.name]
            top = self._apart({key: values[part] for key, values in self._top_arrays.items()})
            if self._cuts(found):
                top |= {"before_ceiling": top["values"], "values": _cut(top["values"], found)}
            self._tops[found.name] = TopActivations(**top)
        return self._tops[found.name]

    def _cuts(self, layer: Layer) -> bool:
        """Whether the maxima of a layer are kept as they are before a ceiling."""
        return self.before_ceiling and layer.ceiling is not None

    def _apart(self, top: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """The top k of candidates: of pictures that share pixels of a photograph, the strongest."""
        if not self.images.cropped:
            return top
        columns = non_overlapping(top["images"], self.images.places, self.k)
        empty = {"values": -np.inf}
        found = {
            key: np.where(
                columns < 0, empty.get(key, -1), np.take_along_axis(values, np.maximum(columns, 0), 1)
            ).astype(values.dtype)
            for key, values in top.items()
        }
        for array in found.values():
            array.flags.writeable = False
        return found

    def health(self, layer: str | Layer) -> LayerHealth:
        """How active each unit of a layer is.

        Raises
        ------
        LayerError
            When the layer is not part of the survey.
        """
        found = self.layer(layer)
        part = self._channels[found.name]
        state = {key: values[part] for key, values in self._health_arrays.items()}
        images = self._statistics.health.images
        with np.errstate(invalid="ignore"):  # 0 / 0 where no image was seen
            return LayerHealth(
                images=images,
                active_images=state["active_images"] / np.float64(images),
                active_positions=state["active_positions"] / state["positions"],
                maximum=state["maximum"],
                saturated=state["saturated"],
                mean=state["mean"],
                variance=state["variance"],
                magnitude=state["magnitude"],
                histogram=state["histogram"],
                edges=histogram_edges().numpy(),
                signed=found.activation is None,
            )

    def half(self, layer: str | Layer, which: str) -> list[int]:
        """Return the units of a layer that are active most, or least: what to silence for a look at either.

        Parameters
        ----------
        layer : str or Layer
        which : {"strongest", "weakest"}
            By the mean magnitude of a unit's activation over all positions of all images, `LayerHealth.magnitude`,
            which has hardly any ties where largest activations have many (those of ReLU6 end at 6). Among equals the
            first units are the stronger ones.

        Returns
        -------
        list of int
            Ascending. The two halves are all units; of an odd number one more is among the strongest.

        Raises
        ------
        LayerError
            When the layer is not part of the survey.
        ArgumentError
            When `which` is something else, or no image was seen.
        """
        require_choice("which", which, ("strongest", "weakest"))
        health = self.health(layer)
        if health.images == 0:
            raise ArgumentError("Expected a survey that has seen an image, got one of none. Survey an image first.")
        order = np.argsort(-health.magnitude, kind="stable")
        middle = (len(order) + 1) // 2
        return sorted((order[:middle] if which == "strongest" else order[middle:]).tolist())

    # -- classes --

    def classes(self, layer: str | Layer) -> ClassMeans:
        """Mean activation of the units of a layer over the images of each class.

        Raises
        ------
        LayerError
            When the layer is not part of the survey.
        """
        part = self._channels[self.layer(layer).name]
        labels, counts, means, spread = self._class_arrays
        return ClassMeans(labels, counts, means[:, part], spread[part])

    def purity(self, layer: str | Layer) -> Purity:
        """How much of one class the top images of each unit of a layer are.

        Only images on which the unit is active count.

        Raises
        ------
        LayerError
            When the layer is not part of the survey.
        """
        top = self.arrays(layer)
        shares: list[float] = []
        most: list[str | None] = []
        for values, images in zip(top.values, top.images, strict=True):
            found = [self.label(int(image)) for value, image in zip(values, images, strict=True) if value > 0]
            counts: dict[str, int] = {}
            for label in found:
                if label is not None:
                    counts[label] = counts.get(label, 0) + 1
            best = max(counts, key=counts.__getitem__, default=None)  # the first of equals: the stronger image's
            most.append(best)
            shares.append(np.nan if best is None else counts[best] / sum(counts.values()))
        return Purity(np.array(shares), tuple(most))

    def units(
        self, label: str, layers: str | Layer | Iterable[str | Layer] | None = None, n: int = 20
    ) -> list[UnitMatch]:
        """Find the units that prefer a class: "units for tabby".

        Parameters
        ----------
        label : str
            One of `labels`; of ImageNet's folders the id will do, too.
        layers : str, Layer or several of them, optional
            Where to look. Default: all surveyed layers.
        n : int, default 20
            How many at most.

        Returns
        -------
        list of UnitMatch
            By preference, largest first; only units that respond to the class more than to the others.

        Raises
        ------
        ArgumentError
            When no image of that class was seen, or of no other class, or too few of either (`MINIMA`).
        LayerError
            When a layer is not part of the survey.
        """
        label = self._names.get(label, label)
        self._require_class(label)
        chosen = self.layers if layers is None else listed_layers(layers)
        matches = []
        for layer in dict.fromkeys(self.layer(one).name for one in chosen):
            means = self.classes(layer)
            row, preference = means.labels.index(label), means.preference(label)
            count, total = means.counts[row], means.counts.sum()
            for channel in np.argsort(-preference, kind="stable")[:n].tolist():
                if preference[channel] > 0:
                    mean = float(means.means[row, channel])
                    whole = float(means.means[:, channel] @ means.counts)
                    others = (whole - mean * count) / (total - count)
                    matches.append(
                        UnitMatch(layer, channel, float(preference[channel]), mean, float(others), int(count))
                    )
        return sorted(matches, key=lambda match: -match.preference)[:n]

    def preferences(self, layer: str | Layer, channel: int, n: int = 5) -> list[ClassPreference]:
        """Find the classes that a unit responds to more than to the others: the other way round from `units`.

        Parameters
        ----------
        layer : str or Layer
        channel : int
        n : int, default 5
            How many at most.

        Returns
        -------
        list of ClassPreference
            Largest preference first, only positive ones; only of classes of which `comparable` says that enough images
            were seen.
        """
        found, number = self._unit(layer, channel)
        classes = self.classes(found)
        means, spread = classes.means[:, number], classes.spread[number]
        others = classes.counts.sum() - classes.counts
        if len(means) < 2 or not spread > 0:
            return []
        preference = (means - ((means * classes.counts).sum() - means * classes.counts) / others) / spread
        told = set(self.comparable)
        rows = [row for row in np.argsort(-preference, kind="stable").tolist() if classes.labels[row] in told]
        return [
            ClassPreference(classes.labels[row], float(preference[row]), float(means[row]), int(classes.counts[row]))
            for row in rows[:n]
            if preference[row] > 0
        ]

    def shortage(self, what: str) -> str | None:
        """Say that there are too few images to tell something; None where there are enough.

        Parameters
        ----------
        what : {"preference", "similar", "repeated", "rare"}
            One of `MINIMA`.
        """
        if what == "preference":
            _, counts, _, _ = self._class_arrays
            most = max((min(int(n), int(counts.sum() - n)) for n in counts), default=0)
            return MINIMA[what].shortage(most, "Preferences for classes are") if len(counts) > 1 else None
        if what == "similar":
            return MINIMA[what].shortage(len(self._sample_arrays[0]), "Similar units are")
        if what == "repeated":
            return MINIMA[what].shortage(len(self._sample_arrays[0]), "Repeated units are")
        return MINIMA[what].shortage(self._statistics.health.images, "Rarely active units are")

    @cached_property
    def comparable(self) -> tuple[str, ...]:
        """Labels of the classes of which, and of the others, enough images were seen to compare them (`MINIMA`)."""
        labels, counts, _, _ = self._class_arrays
        least = MINIMA["preference"].images
        return tuple(
            label for label, count in zip(labels, counts, strict=True) if min(count, counts.sum() - count) >= least
        )

    def _require_class(self, label: str) -> None:
        if not self.labels:
            raise ArgumentError(
                "Expected a survey of labelled images, but none of these has a label. Survey a folder with one "
                "sub-folder a class, or a data set of (picture, label)."
            )
        if label not in self.labels:
            raise ArgumentError(
                f"Expected a class of which images were surveyed, got {label!r}."
                f"{did_you_mean(str(label), self.labels)} There are {len(self.labels)}, such as {self.labels[0]!r} "
                "(Survey.labels): in folders of pictures a class has the name of its folder."
            )
        if len(self.labels) == 1:
            raise ArgumentError(f"Expected images of at least two classes to compare, got only {label!r}.")
        labels, counts, _, _ = self._class_arrays
        count = int(counts[labels.index(label)])
        MINIMA["preference"].require(min(count, int(counts.sum()) - count), f"{label!r}, and as many of the others")

    # -- beyond the top --

    def quantiles(self, layer: str | Layer, channel: int, n: int = 6) -> list[QuantileExample]:
        """Images on which a unit is active to different degrees: what the top images do not show.

        Parameters
        ----------
        layer : str or Layer
        channel : int
        n : int, default 6
            How many at most.

        Returns
        -------
        list of QuantileExample
            Strongest first, evenly spaced by rank among the sampled images that activate the unit; without the top
            `k` images. Where they are in their picture is found by `Network.activations`.
        """
        found, number = self._unit(layer, channel)
        sampled = self.sampled(found)
        images, peaks, values = sampled.images, sampled.before_ceiling[:, number], sampled.peaks[:, number]
        top = set(self.arrays(found).images[number].tolist())
        order = [int(row) for row in np.lexsort((images, -peaks)) if peaks[row] > 0 and int(images[row]) not in top]
        if len(order) > n:
            order = [order[round(place * (len(order) - 1) / max(1, n - 1))] for place in range(n)]
        return [
            QuantileExample(
                float((peaks < peaks[row]).mean()), float(values[row]), int(images[row]),
                float(peaks[row]) if self._cuts(found) else None,
            )
            for row in order
        ]  # fmt: skip

    def similar(
        self,
        layer: str | Layer,
        channel: int,
        n: int = 8,
        layers: str | Layer | Iterable[str | Layer] | None = None,
    ) -> list[SimilarUnit]:
        """Find the units that are active on the same images, by the correlation of their maxima over the sample.

        Of maxima before the ceiling, where layers have one (`before_ceiling`): of those after it many are all 6.

        Parameters
        ----------
        layer : str or Layer
        channel : int
        n : int, default 8
            How many at most.
        layers : str, Layer or several of them, optional
            Where to look. Default: the same layer.

        Returns
        -------
        list of SimilarUnit
            Largest correlation first; only positive ones; not the unit itself. None of a sample of few images
            (`MINIMA`).

        Raises
        ------
        LayerError
            When a layer is not part of the survey.
        ArgumentError
            When there is no such channel.
        """
        found, number = self._unit(layer, channel)
        if len(self._sample_arrays[0]) < MINIMA["similar"].images:
            return []
        chosen = [found] if layers is None else listed_layers(layers)
        mine = _standardised(self._sample_arrays[1][:, self._channels[found.name]][:, number : number + 1])
        units: list[SimilarUnit] = []
        for name in dict.fromkeys(self.layer(one).name for one in chosen):
            correlation = (mine.T @ _standardised(self._sample_arrays[1][:, self._channels[name]]))[0]
            units += [
                SimilarUnit(name, other, min(1.0, float(correlation[other])))
                for other in np.argsort(-correlation, kind="stable")[: n + 1].tolist()
                if correlation[other] > 0 and (name, other) != (found.name, number)
            ]
        return sorted(units, key=lambda unit: -unit.correlation)[:n]

    def sampled(self, layer: str | Layer) -> SampledActivations:
        """What all units of a layer do on the same random images: those of all surveys of the same pictures.

        Raises
        ------
        LayerError
            When the layer is not part of the survey.
        """
        found = self.layer(layer)
        part = self._channels[found.name]
        images, peaks, means = self._sample_arrays
        before = peaks[:, part]
        after = _cut(before, found) if self._cuts(found) else before
        return SampledActivations(images, after, means[:, part], before)

    def duplicates(self, layer: str | Layer, above: float = 0.99) -> npt.NDArray[np.int64]:
        """Units of a layer that say the same: whose maxima over the sample correlate almost perfectly, as in `similar`.

        Parameters
        ----------
        layer : str or Layer
        above : float, default 0.99
            Correlation from which on two units are duplicates.

        Returns
        -------
        int64 array (C,)
            For each unit the first unit that it duplicates; its own index if there is none. Units that fewer
            than eight sampled images activate are nobody's duplicates.
        """
        part = self._channels[self.layer(layer).name]
        peaks = self._sample_arrays[1][:, part]
        index = np.arange(peaks.shape[1], dtype=np.int64)
        first: npt.NDArray[np.int64] = index.copy()
        standard = _standardised(peaks)
        alike = standard.T @ standard >= above
        judged = (peaks > 0).sum(0) >= MINIMA["repeated"].images
        for channel in np.flatnonzero(judged).tolist():
            # Only firsts are compared with, so that a chain of slightly different units is not one group.
            before = np.flatnonzero(alike[channel, :channel] & judged[:channel] & (first[:channel] == index[:channel]))
            if before.size:
                first[channel] = before[0]
        return first

    # -- joining --

    def merge(self, other: Survey) -> Survey:
        """Join the surveys of two disjoint parts of the same images.

        Returns
        -------
        Survey
            Of all images that either has seen, the same whichever is merged into which. Both stay as they
            are.

        Raises
        ------
        ArgumentError
            When network, layers, k, ranking (`before_ceiling`) or images differ, or an image is part of both, which
            would count it twice.
        """
        for what, mine, theirs in (
            ("network", (self.network, self.fingerprint), (other.network, other.fingerprint)),
            ("layers", [layer.name for layer in self.layers], [layer.name for layer in other.layers]),
            ("k", self.k, other.k),
            ("ranking", self._ranking, other._ranking),
        ):
            if mine != theirs:
                raise ArgumentError(f"Expected two surveys of the same {what}, got {mine} and {theirs}.")
        if words := Preprocessing.difference(self.preprocessing, other.preprocessing):
            raise ArgumentError(f"Expected two surveys of pictures that were prepared alike, got {words}.")
        longer, shorter = (self, other) if len(self.images) >= len(other.images) else (other, self)
        if not longer.images.starts_with(shorter.images):
            raise ArgumentError(
                f"Expected two surveys of the same images, got {self.images!r} and {other.images!r}. "
                "Survey parts of one Images by indices=..., so that an index means the same picture in both."
            )
        twice = np.flatnonzero(longer.seen[: len(shorter.seen)] & shorter.seen)
        if twice.size:
            raise ArgumentError(
                f"Expected surveys of different images, got {twice.size} in both, which would count "
                f"twice: {listed(twice.tolist())}."
            )
        statistics, ledger = self._statistics.copy(), longer._ledger.copy()
        statistics.merge(other._statistics)
        ledger.merge(shorter._ledger)
        return Survey(
            network=self.network,
            fingerprint=self.fingerprint,
            preprocessing=self.preprocessing,
            layers=self.layers,
            images=longer.images,
            statistics=statistics,
            ledger=ledger,
            k=self.k,
        )

    @property
    def _ranking(self) -> str:
        return "before the ceiling" if self.before_ceiling else "after the ceiling"

    def _unit(self, layer: str | Layer, channel: int) -> tuple[Layer, int]:
        found = self.layer(layer)
        if not is_whole(channel):
            raise ArgumentError(f"Expected a channel as a whole number, got {channel!r}.")
        if not 0 <= channel < found.channels:
            raise ArgumentError(f"Expected a channel of {found.name!r} from 0 to {found.channels - 1}, got {channel}.")
        return found, int(channel)

    def layer(self, layer: str | Layer) -> Layer:
        """Return a layer of the survey, by name or alias.

        Raises
        ------
        LayerError
            When the layer is not part of the survey.
        """
        name = layer.name if isinstance(layer, Layer) else layer
        for candidate in self.layers:
            if candidate.name == name:
                return candidate
        for candidate in self.layers:
            if name in candidate.aliases:
                return candidate
        names = [candidate.name for candidate in self.layers]
        if isinstance(layer, Layer) and layer.kind == "pool":
            raise LayerError(
                f"Expected a layer that was surveyed, got the pooling {name!r}, whose maps repeat what came before. "
                f"Choose another, or survey it by name: survey(net, images, {name!r})."
            )
        known, choice = f"the surveyed layer {names[0]!r}", "that"
        if len(names) > 1:
            known = f"one of the {len(names)} surveyed layers"
            choice = f"one from {names[0]!r} to {names[-1]!r} (Survey.layers)"
        raise LayerError(
            f"Expected {known}, got {name!r}.{did_you_mean(str(name), names)} Choose {choice}, or survey this one, too."
        )

    @cached_property
    def _top_arrays(self) -> dict[str, npt.NDArray[Any]]:
        top = self._statistics.top.state_dict()
        return _frozen({key: top[key] for key in ("values", "images", "rows", "columns")})

    @cached_property
    def _health_arrays(self) -> dict[str, npt.NDArray[Any]]:
        health = self._statistics.health
        keys = (
            "positions",
            "active_images",
            "active_positions",
            "maximum",
            "saturated",
            "mean",
            "variance",
            "magnitude",
        )
        return _frozen({key: getattr(health, key).cpu() for key in (*keys, "histogram")})

    @cached_property
    def _class_arrays(self) -> tuple[tuple[str, ...], npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
        profile = self._statistics.profile
        arrays = _frozen({"counts": profile.counts, "means": profile.means.cpu(), "spread": profile.spread.cpu()})
        return tuple(class_names(profile.labels).values()), arrays["counts"], arrays["means"], arrays["spread"]

    @cached_property
    def _sample_arrays(self) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
        state = self._statistics.sample.state_dict()
        arrays = _frozen({name: state[name] for name in ("images", "peaks", "means")})
        return arrays["images"], arrays["peaks"], arrays["means"]


def _cut(values: npt.NDArray[np.float32], layer: Layer) -> npt.NDArray[np.float32]:
    """Values of a layer as its ceiling leaves them."""
    assert layer.ceiling is not None
    found: npt.NDArray[np.float32] = np.minimum(values, np.float32(layer.ceiling))
    found.flags.writeable = False
    return found


def _standardised(peaks: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Columns less their mean, of length 1: their products are correlations. 0 for a column that is constant."""
    centred = peaks.astype(np.float64) - (peaks.mean(0, dtype=np.float64) if len(peaks) else 0)
    length = np.sqrt(np.square(centred).sum(0))
    return np.asarray(np.divide(centred, length, out=np.zeros_like(centred), where=length > 0))


def _frozen(tensors: dict[str, Tensor]) -> dict[str, npt.NDArray[Any]]:
    """Arrays on the tensors' memory that cannot be written to by accident."""
    arrays = {key: tensor.numpy() for key, tensor in tensors.items()}
    for array in arrays.values():
        array.flags.writeable = False
    return arrays
