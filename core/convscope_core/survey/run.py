"""The survey: one pass over many images, for the top activations and the health of every channel.

Zeiler & Fergus (2014, sec. 4, fig. 2) show, for some channels of each layer, the nine images of a validation
set that excite it most. Here all channels of all chosen layers are served by the same forward passes.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from tqdm.auto import tqdm

from convscope_core.datasets import Images
from convscope_core.errors import (
    ArgumentError,
    ConvscopeError,
    ImageError,
    LayerError,
    NetworkError,
    did_you_mean,
)
from convscope_core.graph.geometry import Box
from convscope_core.network import Layer, Network
from convscope_core.survey.accumulators import (
    Health,
    ImageStatistics,
    TopK,
    histogram_edges,
    require_counts,
    some,
)

__all__ = [
    "Exemplar",
    "LayerHealth",
    "Skipped",
    "Survey",
    "SurveyProgress",
    "TopActivations",
    "survey",
    "surveying",
]


class Exemplar(NamedTuple):
    """An image that excites a channel, and where.

    Attributes
    ----------
    value : float
        The activation, after the rectifier that directly follows the layer.
    image : int
        Index into `Survey.images`.
    row, column : int
        Position in the channel's map: the first of the largest, in row-major order.
    box : Box
        Receptive field of that position, in pixels of the network's input, half-open, not clipped to the
        picture.
    """

    value: float
    image: int
    row: int
    column: int
    box: Box


@dataclass(frozen=True, eq=False)
class TopActivations:
    """The top activations of all channels of a layer, as arrays.

    Attributes
    ----------
    values : float32 array (C, k)
        Descending; -inf in an empty place (fewer images than k).
    images, rows, columns : int64 arrays (C, k)
        Index into `Survey.images` and position in the map; -1 in an empty place.
    """

    values: npt.NDArray[np.float32]
    images: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    columns: npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class LayerHealth:
    """How alive the channels of a layer are. "Active" means greater than zero.

    Attributes
    ----------
    images : int
        Number of images seen.
    active_images : float64 array (C,)
        Share of the images, 0 to 1, in which the channel is active anywhere.
    active_positions : float64 array (C,)
        Share of the positions of all images, 0 to 1, at which it is active.
    maximum : float32 array (C,)
        The largest activation; -inf if no image was seen.
    mean, variance : float64 arrays (C,)
        Over all positions of all images; NaN if no image was seen.
    histogram : int64 array (C, 115)
        Images by their largest activation: bin b counts ``edges[b - 1] <= value < edges[b]``, the first and
        last bin are open. The top activations are its right end.
    edges : float32 array (114,)
        Half-octaves on either side of zero (see `histogram_edges`).
    """

    images: int
    active_images: npt.NDArray[np.float64]
    active_positions: npt.NDArray[np.float64]
    maximum: npt.NDArray[np.float32]
    mean: npt.NDArray[np.float64]
    variance: npt.NDArray[np.float64]
    histogram: npt.NDArray[np.int64]
    edges: npt.NDArray[np.float32]

    @property
    def dead(self) -> npt.NDArray[np.bool_]:
        """Bool (C,): channels that no image activated; none where no image was seen."""
        return np.asarray((self.active_images == 0) & (self.images > 0))


class Skipped(NamedTuple):
    """An image that could not be read.

    Attributes
    ----------
    image : int
        Index into `Survey.images`.
    reason : str
    """

    image: int
    reason: str


class Survey:
    """What excites every channel of some layers of a network, over some images.

    Made by `survey`; never changes.

    Attributes
    ----------
    network : str
        Name of the network.
    fingerprint : str
        Identifies its weights: surveys of different networks do not merge.
    layers : tuple of Layer
        In execution order.
    k : int
        Number of top images kept for each channel.
    images : Images
        What the indices of exemplars point into.
    seen : bool array (len(images),)
        Images that are part of the survey; read-only.
    skipped : tuple of Skipped
        Images that could not be read, by index.
    """

    def __init__(
        self,
        *,
        network: str,
        fingerprint: str,
        layers: tuple[Layer, ...],
        images: Images,
        top: TopK,
        health: Health,
        seen: npt.NDArray[np.bool_],
        skipped: Iterable[Skipped],
    ) -> None:
        self.network = network
        self.fingerprint = fingerprint
        self.layers = layers
        self.images = images
        self.k = top.k
        self.seen = seen
        self.seen.flags.writeable = False
        self.skipped = tuple(sorted(skipped))
        self._top = top
        self._health = health
        ends = np.cumsum([0, *(layer.channels for layer in layers)]).tolist()
        self._channels = {layer.name: slice(a, b) for layer, a, b in zip(layers, ends[:-1], ends[1:], strict=True)}

    @classmethod
    def _empty(cls, net: Network, images: Images, layers: tuple[Layer, ...], k: int) -> Survey:
        channels = sum(layer.channels for layer in layers)
        # Apple's MPS has no float64.
        device = torch.device("cpu") if net.device.type == "mps" else net.device
        return cls(
            network=net.name,
            fingerprint=net.fingerprint,
            layers=layers,
            images=images,
            top=TopK(channels, k, device=device),
            health=Health(channels, device=device),
            seen=np.zeros(len(images), dtype=np.bool_),
            skipped=(),
        )

    def __repr__(self) -> str:
        channels = sum(layer.channels for layer in self.layers)
        text = (
            f"Survey of {self.network}: top {self.k} of {self.seen.sum():,} images "
            f"for {channels:,} channels of {len(self.layers)} layers"
        )
        return f"<{text}; {len(self.skipped)} images skipped>" if self.skipped else f"<{text}>"

    def top(self, layer: str | Layer, channel: int) -> list[Exemplar]:
        """The images that excite a channel most, strongest first; among equals the lower index.

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
        found = self._find(layer)
        if isinstance(channel, bool) or not isinstance(channel, (int, np.integer)):
            raise ArgumentError(f"Expected a channel as a whole number, got {channel!r}.")
        if not 0 <= channel < found.channels:
            raise ArgumentError(f"Expected a channel of {found.name!r} from 0 to {found.channels - 1}, got {channel}.")
        arrays = self.arrays(found)
        columns = (arrays.values, arrays.images, arrays.rows, arrays.columns)
        return [
            Exemplar(value, image, row, column, found.box(row, column))
            for value, image, row, column in zip(*(c[channel].tolist() for c in columns), strict=True)
            if image >= 0
        ]

    def arrays(self, layer: str | Layer) -> TopActivations:
        """The top activations of all channels of a layer.

        Raises
        ------
        LayerError
            When the layer is not part of the survey.
        """
        part = self._channels[self._find(layer).name]
        return TopActivations(**{key: values[part] for key, values in self._top_arrays.items()})

    def health(self, layer: str | Layer) -> LayerHealth:
        """How alive each channel of a layer is.

        Raises
        ------
        LayerError
            When the layer is not part of the survey.
        """
        part = self._channels[self._find(layer).name]
        state = {key: values[part] for key, values in self._health_arrays.items()}
        images = self._health.images
        with np.errstate(invalid="ignore"):  # 0 / 0 where no image was seen
            return LayerHealth(
                images=images,
                active_images=state["active_images"] / np.float64(images),
                active_positions=state["active_positions"] / state["positions"],
                maximum=state["maximum"],
                mean=state["mean"],
                variance=state["variance"],
                histogram=state["histogram"],
                edges=histogram_edges().numpy(),
            )

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
            When network, layers, k or images differ, or an image is part of both, which would count it twice.
        """
        for what, mine, theirs in (
            ("network", (self.network, self.fingerprint), (other.network, other.fingerprint)),
            ("layers", [layer.name for layer in self.layers], [layer.name for layer in other.layers]),
            ("k", self.k, other.k),
        ):
            if mine != theirs:
                raise ArgumentError(f"Expected two surveys of the same {what}, got {mine} and {theirs}.")
        longer, shorter = (self, other) if len(self.images) >= len(other.images) else (other, self)
        if not longer.images.starts_with(shorter.images):
            raise ArgumentError(
                f"Expected two surveys of the same images, got {self.images!r} and {other.images!r}. "
                "Survey parts of one Images by indices=..., so that an index means the same picture in both."
            )
        seen = longer.seen.copy()
        twice = np.flatnonzero(seen[: len(shorter.seen)] & shorter.seen)
        if twice.size:
            raise ArgumentError(
                f"Expected surveys of different images, got {twice.size} in both, which would count "
                f"twice: {some(twice.tolist())}."
            )
        seen[: len(shorter.seen)] |= shorter.seen
        top, health = self._top.copy(), self._health.copy()
        top.merge(other._top)
        health.merge(other._health)
        reasons = {index: reason for index, reason in (*other.skipped, *self.skipped) if not seen[index]}
        return self._with(images=longer.images, top=top, health=health, seen=seen, skipped=reasons)

    def _with(
        self,
        *,
        images: Images,
        top: TopK,
        health: Health,
        seen: npt.NDArray[np.bool_],
        skipped: dict[int, str],
    ) -> Survey:
        return Survey(
            network=self.network,
            fingerprint=self.fingerprint,
            layers=self.layers,
            images=images,
            top=top,
            health=health,
            seen=seen,
            skipped=(Skipped(*entry) for entry in skipped.items()),
        )

    def _find(self, layer: str | Layer) -> Layer:
        name = layer.name if isinstance(layer, Layer) else layer
        for candidate in self.layers:
            if candidate.name == name:
                return candidate
        for candidate in self.layers:
            if name in candidate.aliases:
                return candidate
        names = [candidate.name for candidate in self.layers]
        raise LayerError(
            f"Expected one of the {len(names)} surveyed layers, got {name!r}."
            f"{did_you_mean(str(name), names)} They run from {names[0]!r} to {names[-1]!r} (Survey.layers)."
        )

    @cached_property
    def _top_arrays(self) -> dict[str, npt.NDArray[Any]]:
        return _frozen(self._top.state_dict())

    @cached_property
    def _health_arrays(self) -> dict[str, npt.NDArray[Any]]:
        health = self._health
        keys = ("positions", "active_images", "active_positions", "maximum", "mean", "variance", "histogram")
        return _frozen({key: getattr(health, key).cpu() for key in keys})


@dataclass(frozen=True, eq=False)
class SurveyProgress:
    """How far a running survey is.

    Attributes
    ----------
    done, total : int
        Images visited in this run, the unreadable ones among them, and to visit.
    survey : Survey
        Of everything seen so far: complete in itself, and not changed by what follows.
    """

    done: int
    total: int
    survey: Survey


def survey(
    net: Network,
    images: Any,
    layers: str | Layer | Iterable[str | Layer] | None = None,
    k: int = 9,
    *,
    batch_size: int = 8,
    indices: Iterable[int] | None = None,
    start: Survey | None = None,
    progress: bool = True,
) -> Survey:
    """Find the images that excite every channel of the chosen layers most, in one pass.

    The same as the last `SurveyProgress.survey` of `surveying`, which has the description of the parameters
    and errors.

    Parameters
    ----------
    net, images, layers, k, batch_size, indices, start
        See `surveying`.
    progress : bool, default True
        Show a progress bar.

    Returns
    -------
    Survey
    """
    run = surveying(net, images, layers, k, batch_size=batch_size, indices=indices, start=start)
    with tqdm(desc="survey", unit="image", disable=not progress) as bar:
        for step in run:
            bar.total = step.total
            bar.update(step.done - bar.n)
            latest = step.survey
    return latest


def surveying(
    net: Network,
    images: Any,
    layers: str | Layer | Iterable[str | Layer] | None = None,
    k: int = 9,
    *,
    batch_size: int = 8,
    indices: Iterable[int] | None = None,
    start: Survey | None = None,
) -> Generator[SurveyProgress, None, None]:
    """Survey step by step: yields after every batch.

    To cancel, stop iterating and close the generator: the survey of the last step is valid for the images
    seen so far. An image that cannot be read is skipped and listed in `Survey.skipped`.

    The result does not depend on the order of the images or on how they are cut into runs; on the batch size
    only as far as the network's own arithmetic does, in the last digits.

    Parameters
    ----------
    net : Network
    images : Images, or what `Images.of` takes
        The pictures. They are decoded in threads, while the network computes.
    layers : str, Layer or several of them, optional
        Default: all layers but the pools, whose activations are those of the layer before, again.
    k : int, default 9
        Top images to keep for each channel. Nine is the number of Zeiler & Fergus (2014, fig. 2).
    batch_size : int, default 8
        Images a forward pass. All activations of the chosen layers are held for one batch.
    indices : iterable of int, optional
        Survey only these of the images: a shard. Default: all.
    start : Survey, optional
        Continue from this survey: images that it has seen already are left out. Its images must be the first
        of `images`, in the same order; so pictures may be added at the end. `layers` and `k` must be as in
        it, or left out.

    Yields
    ------
    SurveyProgress
        At least one.

    Raises
    ------
    ImageError
        When the images do not exist, or, while running, when not one could be read.
    LayerError
        When a layer does not exist.
    ArgumentError
        When another argument is out of range, or `start` does not fit.
    NetworkError
        While running, when a layer's activations are NaN or infinite.
    """
    pictures = Images.of(images)
    require_counts(batch_size=batch_size)
    if start is None:
        begin = Survey._empty(net, pictures, _choose(net, layers), k)
    else:
        begin = _continued(net, pictures, layers, k, start)
    todo = [index for index in _checked_indices(indices, len(pictures)) if not begin.seen[index]]
    return _run(net, begin, todo, batch_size)


def _run(net: Network, begin: Survey, todo: Sequence[int], batch_size: int) -> Generator[SurveyProgress, None, None]:
    images, names = begin.images, [layer.name for layer in begin.layers]
    top, health, seen = begin._top.copy(), begin._health.copy(), begin.seen.copy()
    again = set(todo)
    skipped = {image: reason for image, reason in begin.skipped if image not in again}

    def snapshot() -> Survey:
        return begin._with(images=images, top=top.copy(), health=health.copy(), seen=seen.copy(), skipped=skipped)

    if not todo:
        yield SurveyProgress(0, 0, snapshot())
        return
    with _Loader(net, images, todo, ahead=2 * batch_size) as loader:
        for done, batch in loader.batches(batch_size):
            good = [(index, x) for index, x in batch if isinstance(x, Tensor)]
            skipped.update((index, x) for index, x in batch if not isinstance(x, Tensor))
            if good:
                indices = [index for index, _ in good]
                _, activations = net.forward(torch.cat([x for _, x in good]), names)
                statistics = ImageStatistics.join([ImageStatistics.of(activations[name]) for name in names])
                del activations
                _require_finite(statistics, begin.layers, indices)
                top.add(statistics, indices)
                health.add(statistics)
                seen[indices] = True
            if done == len(todo) and not seen.any():
                first = "; ".join(f"image {index}: {reason}" for index, reason in islice(skipped.items(), 3))
                raise ImageError(f"Expected pictures that can be read, got {len(todo)} that all failed. {first}")
            yield SurveyProgress(done, len(todo), snapshot())


class _Loader:
    """Decodes and prepares images in threads, a little ahead of where they are needed, in order."""

    def __init__(self, net: Network, images: Images, todo: Sequence[int], ahead: int) -> None:
        self._net = net
        self._images = images
        self._todo = iter(todo)
        self._ahead = ahead
        self._pool = ThreadPoolExecutor(min(4, os.cpu_count() or 1), thread_name_prefix="convscope-survey")
        self._pending: deque[tuple[int, Future[Tensor | str]]] = deque()

    def __enter__(self) -> _Loader:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def batches(self, size: int) -> Generator[tuple[int, list[tuple[int, Tensor | str]]], None, None]:
        """Yield the number of images so far, and a batch of (index, prepared picture or reason why not)."""
        done = 0
        self._fill()
        while self._pending:
            batch = [self._pending.popleft() for _ in range(min(size, len(self._pending)))]
            loaded = [(index, future.result()) for index, future in batch]
            # Before the batch is used, so that the next one is decoded meanwhile.
            self._fill()
            done += len(loaded)
            yield done, loaded

    def _fill(self) -> None:
        for index in islice(self._todo, self._ahead - len(self._pending)):
            self._pending.append((index, self._pool.submit(self._load, index)))

    def _load(self, index: int) -> Tensor | str:
        try:
            return self._net.prepare(self._images[index].image)
        except MemoryError:
            raise
        except ConvscopeError as error:
            return str(error)
        except Exception as error:  # a user's data set may raise anything, and one picture should not end the survey
            return f"{type(error).__name__}: {error}"


def _choose(net: Network, layers: str | Layer | Iterable[str | Layer] | None) -> tuple[Layer, ...]:
    """Resolve the layers to survey, in execution order, each once."""
    if layers is None:
        chosen = {layer.name for layer in net.layers if layer.kind != "pool"}
    else:
        wanted = [layers] if isinstance(layers, (str, Layer)) else list(layers)
        chosen = {net.layer(item.name if isinstance(item, Layer) else item).name for item in wanted}
    if not chosen:
        what = "this network has no layer" if layers is None else "got none"
        raise ArgumentError(f"Expected at least one layer to survey, {what}. Choose from Network.layers.")
    return tuple(layer for layer in net.layers if layer.name in chosen)


def _continued(
    net: Network, images: Images, layers: str | Layer | Iterable[str | Layer] | None, k: int, start: Survey
) -> Survey:
    """Return `start` over the images to go on with, after checking that it is a survey of the same things."""
    mine = [layer.name for layer in start.layers]
    wanted = mine if layers is None else [layer.name for layer in _choose(net, layers)]
    for what, theirs, asked in (
        ("network", (start.network, start.fingerprint), (net.name, net.fingerprint)),
        ("layers", mine, wanted),
        ("k", start.k, k),
    ):
        if theirs != asked:
            raise ArgumentError(f"Expected to continue a survey of the same {what}, got one of {theirs} for {asked}.")
    if not images.starts_with(start.images):
        raise ArgumentError(
            "Expected images that begin with those of the survey to continue, "
            f"{start.images!r}, got {images!r}. Add new pictures at the end: survey.images + [...]."
        )
    seen = np.zeros(len(images), dtype=np.bool_)
    seen[: len(start.seen)] = start.seen
    return start._with(images=images, top=start._top, health=start._health, seen=seen, skipped=dict(start.skipped))


def _checked_indices(indices: Iterable[int] | None, count: int) -> list[int]:
    if indices is None:
        return list(range(count))
    chosen = [int(index) for index in indices]
    if outside := [index for index in chosen if not 0 <= index < count]:
        raise ArgumentError(f"Expected indices of images from 0 to {count - 1}, got {some(outside)}.")
    return list(dict.fromkeys(chosen))


def _require_finite(statistics: ImageStatistics, layers: Sequence[Layer], indices: Sequence[int]) -> None:
    for channel in statistics.broken_channels():
        rows = (~statistics.means[:, channel].isfinite()).nonzero().flatten().tolist()
        for layer in layers:
            if channel < layer.channels:
                raise NetworkError(
                    f"Expected finite activations, got NaN or infinite values in layer {layer.name!r}, "
                    f"channel {channel}, for image {some([indices[row] for row in rows])}. "
                    "Check the weights, and how pictures are prepared."
                )
            channel -= layer.channels


def _frozen(tensors: dict[str, Tensor]) -> dict[str, npt.NDArray[Any]]:
    """Arrays on the tensors' memory that cannot be written to by accident."""
    arrays = {key: tensor.numpy() for key, tensor in tensors.items()}
    for array in arrays.values():
        array.flags.writeable = False
    return arrays
