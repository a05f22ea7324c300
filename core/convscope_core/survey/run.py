"""The survey: one pass over many images, for the top activations, the health and the classes of every unit.

Zeiler & Fergus (2014, sec. 4, fig. 2) show, for a few units of each layer, the nine images of a validation
set that excite it most. Here all units of all chosen layers are served by the same forward passes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from convscope_core.arguments import listed, require_counts
from convscope_core.datasets import Images
from convscope_core.errors import ArgumentError, NetworkError
from convscope_core.graph.bounds import without_ceiling
from convscope_core.graph.captured import Repeated
from convscope_core.jobs import Check, Job, Ledger, Progress, begin, completed, documented, last, load
from convscope_core.network import Layer, Network, listed_layers
from convscope_core.preprocessing import Preprocessing
from convscope_core.survey.reduction import ImageStatistics, Peaks
from convscope_core.survey.result import Survey
from convscope_core.survey.statistics import Statistics

__all__ = ["SurveyJob", "SurveyProgress", "choose", "load_survey", "survey", "surveying"]


class SurveyProgress(Progress[Survey]):
    """How far a running survey is.

    Attributes
    ----------
    done, total : int
        Images visited in this run, the unreadable ones among them, and to visit.
    """

    @property
    def survey(self) -> Survey:
        """Of everything seen so far: complete in itself, not changed by what follows, put together when asked for."""
        return self.result


@documented
def surveying(
    net: Network,
    images: Any,
    layers: str | Layer | Iterable[str | Layer] | None = None,
    k: int = 9,
    store: str | Path | None = None,
    executor: Any = None,
    shards: int | None = None,
    resume: bool = True,
    *,
    batch_size: int = 8,
    workers: int = 0,
    sample: int = 512,
    indices: Iterable[int] | None = None,
    start: Survey | None = None,
    progress: bool = False,
) -> Generator[SurveyProgress, None, None]:
    """Find the images that excite every unit of the chosen layers most, in one pass.

    An image that cannot be read is skipped and listed in `Survey.skipped`; with a store, the next call tries it again.

    The images are cut into shards, whose results are merged in one fixed order. So the survey has the same bits
    whether it ran through or was interrupted, here or in an executor, with a store or without; it depends on the batch
    size, the number of threads and the kind of machine only as far as the network's own arithmetic does, in the last
    digits.

    Parameters
    ----------
    net, images
    layers
        Default: all layers but the pools, whose activations are those of the layer before, again.
    k : int, default 9
        Top images to keep for each unit. Nine is the number of Zeiler & Fergus (2014, fig. 2). Of crops
        (`Images.crops`), as many candidates are kept as it takes that k of them share no pixel: (k - 1) m + 1 with m
        crops of a photograph, 28 bytes each.
    store
        `load_survey` opens it later.
    executor
    shards
        By default a 256th of the images each, between 64 and 4096; on a GPU, without an executor, 32,768 each.
    resume, batch_size, workers
    sample : int, default 512
        Images of the random sample on which the maxima and means of all units are kept, for `Survey.quantiles`,
        `Survey.similar`, `Survey.duplicates` and `Survey.sampled`: eight bytes for each image and unit. Which they are
        depends on their numbers alone.
    indices : iterable of int, optional
        Survey only these of the images. Default: all.
    start : Survey, optional
        Continue from this survey: images that it has seen already are left out. Its images must be the first
        of `images`, in the same order; so pictures may be added at the end. `layers` and `k` must be as in
        it, or left out. Not together with a store, which knows by itself what it has seen.
    progress

    Yields
    ------
    SurveyProgress
        After every batch, or, with an executor, after every shard; at least one. To cancel, stop iterating and close
        the generator: the survey of the last step is valid for the images seen so far.

    Raises
    ------
    ImageError
        When the images do not exist, or, while running, when not one could be read.
    LayerError
        When a layer does not exist.
    ArgumentError
        When another argument is out of range, `start` does not fit, or the store is of another network, another
        preprocessing, of other pictures or settings: the message names the difference.
    StoreError
        When the store cannot be read or written, or is damaged: what is safe, and what to do.
    ExecutorError
        While running, when the executor takes no more work, or processes that read pictures die.
    NetworkError
        While running, when a layer's activations are NaN or infinite.

    Examples
    --------
    >>> survey = cs.survey(net, "imagenet/val", store="vgg16.survey")
    >>> survey.top("features.28", 351)
    """
    pictures = Images.of(images)
    require_counts(k=k, sample=sample)
    if start is None:
        chosen, before = choose(net, layers), None
        crops = pictures.places.most if pictures.cropped else 1
        ranked = True
    else:
        chosen = _continued(net, pictures, layers, k, start)
        sample, before = start._statistics.sample.size, (start._statistics, start._ledger)
        crops, ranked = _crops(start), start.before_ceiling
    names = tuple(layer.name for layer in chosen)
    return begin(
        SurveyJob(
            net=net, batch_size=batch_size, workers=workers, layers=names, k=k, sample=sample, crops=crops,
            before_ceiling=ranked,
        ),
        pictures, SurveyProgress, store=store, executor=executor, shards=shards, resume=resume, indices=indices,
        start=before, progress=progress,
    )  # fmt: skip


survey = completed(surveying, "survey", Survey, lambda steps: last(steps).survey)


@documented
def load_survey(store: str | Path, net: Network, images: Any = None) -> Survey:
    """Open a survey that is kept in a store, finished or not; nothing is computed.

    Parameters
    ----------
    store : path
        The file.
    net
        The network that was surveyed.
    images
        The default are the files that the store knows of.

    Returns
    -------
    Survey

    Raises
    ------
    ArgumentError
        When there is no such store, it is of another network or preprocessing, or of other pictures, or it does not
        know its pictures' files.
    StoreError
        When the file cannot be read, or is damaged.
    """
    return load(SurveyJob, store, net, images)


_ON_GPU = 2**15
"""Images of a shard on a GPU by default: ten to thirty seconds of work there, beside which a commit is little."""


@dataclass(kw_only=True, eq=False, repr=False)
class SurveyJob(Job[Statistics, Survey]):
    """What a survey does with each batch: a forward pass, of which every layer is reduced while it is in the cache."""

    kind = "survey"

    layers: Sequence[str]
    k: int
    sample: int
    crops: int = 1
    """The most pictures that are of one photograph."""

    before_ceiling: bool = True
    """Whether pictures are ranked by values before the ceiling of a layer's activation; False where no layer has one.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        self.before_ceiling = self.before_ceiling and any(layer.ceiling is not None for layer in self._layers)

    def settings(self) -> dict[str, Any]:
        """See `Job`."""
        found = super().settings()
        # As in stores from before there were crops, and from before values before a ceiling were known.
        if self.crops == 1:
            del found["crops"]
        if not self.before_ceiling:
            del found["before_ceiling"]
        return found

    def shards(self, images: int, apart: bool) -> int | None:
        """See `Job`."""
        return None if apart or self.net.device.type != "cuda" else max(1, -(-images // _ON_GPU))

    def cure(self, setting: str) -> str:
        """See `Job`."""
        if setting != "before_ceiling":
            return super().cure(setting)
        return (
            "It was made by a version before 0.2, which ranks pictures by values after the ceiling of a layer's "
            "activation, where many are equal. Give another file, to survey anew; load_survey opens the store as it "
            "is, and survey(..., start=load_survey(...)) goes on from that."
        )

    @classmethod
    def of_store(cls, net: Network, about: Mapping[str, Any]) -> SurveyJob:
        """See `Job`."""
        return super().of_store(net, {"crops": 1, "before_ceiling": False, **about})

    @property
    def _kept(self) -> int:
        return _candidates(self.k, self.crops)

    @cached_property
    def _layers(self) -> tuple[Layer, ...]:
        return tuple(self.net.layer(name) for name in self.layers)

    @cached_property
    def _without_ceiling(self) -> dict[str, Callable[[Tensor], Tensor]]:
        """The activations of the layers that are ranked before the ceiling, as they would be without it."""
        found = {name: without_ceiling(self.net.graph_layer(name).node) for name in self.layers}
        return {name: each for name, each in found.items() if each is not None and self.before_ceiling}

    @property
    def _channels(self) -> int:
        return sum(layer.channels for layer in self._layers)

    def empty(self, device: torch.device) -> Statistics:
        """See `Job`."""
        return Statistics(self._channels, self._kept, self.sample, before_ceiling=self.before_ceiling, device=device)

    def room(self, images: int, labels: Collection[str]) -> int:
        """See `Job`."""
        return Statistics.room(self._channels, self._kept, min(self.sample, images), labels)

    @classmethod
    def restored(cls, state: Mapping[str, Tensor]) -> Statistics:
        """See `Job`."""
        return Statistics.from_state(state)

    def result(self, part: Statistics, images: Images, ledger: Ledger) -> Survey:
        """See `Job`."""
        return Survey.of(self.net, self._layers, images, part, ledger, self.k)

    def add(
        self,
        part: Statistics,
        x: Tensor,
        images: Sequence[int],
        labels: Sequence[str | None],
        output: Callable[[Tensor], None] | None = None,
    ) -> Check:
        """See `Job`; with what gets the outputs (N, K), of the same pass."""
        look = self._look if output is None else self._look_and_keep
        found = self.net.in_pieces(look, x)
        reduced = ImageStatistics.stack([ImageStatistics.of_values(each) for each in found])
        if output is not None:
            output(torch.cat([each[-1] for each in found]))
        part.add(reduced, images, labels)
        return partial(self._require_finite, images, reduced.broken())

    @cached_property
    def _look(self) -> Repeated:
        return Repeated(partial(_reduced, self.net, self.layers, self._without_ceiling, outputs=False), self.net.lock)

    @cached_property
    def _look_and_keep(self) -> Repeated:
        return Repeated(partial(_reduced, self.net, self.layers, self._without_ceiling, outputs=True), self.net.lock)

    def _require_finite(self, images: Sequence[int], broken: Tensor) -> None:
        if not bool(broken.any()):
            return
        channel = int(broken.any(dim=0).nonzero()[0])
        rows = broken[:, channel].nonzero().flatten().tolist()
        for layer in self._layers:
            if channel < layer.channels:
                raise NetworkError(
                    f"Expected finite activations, got NaN or infinite values in layer {layer.name!r}, "
                    f"channel {channel}, for image {listed([images[row] for row in rows])}. "
                    "Check the weights, and how pictures are prepared."
                )
            channel -= layer.channels


def _reduced(
    net: Network,
    names: Sequence[str],
    without_ceiling: Mapping[str, Callable[[Tensor], Tensor]],
    x: Tensor,
    *,
    outputs: bool,
) -> list[Tensor]:
    """Return the values of an `ImageStatistics` of a batch, and last, if they are wanted, its outputs."""
    bounds = {name: (net.ceiling(name), net.floor(name)) for name in names}
    layers: list[ImageStatistics] = []
    uncut: dict[str, Peaks] = {}
    kept: list[Tensor] = []

    def reduce(name: str, maps: Tensor) -> None:
        layers.append(ImageStatistics.of(maps, *bounds[name], uncut.get(name)))

    def before(name: str, function: Callable[[Tensor], Tensor], maps: Tensor) -> None:
        uncut[name] = Peaks.of(maps).after(function)

    def keep(output: Tensor) -> None:
        kept.append(output.clone())

    looks = {name: partial(before, name, function) for name, function in without_ceiling.items()}
    net.visit(x, list(names), reduce, keep if outputs else None, looks)
    return [*ImageStatistics.join(layers).values(), *kept]


def choose(net: Network, layers: str | Layer | Iterable[str | Layer] | None) -> tuple[Layer, ...]:
    """Resolve the layers to survey, in execution order, each once."""
    if layers is None:
        chosen = {layer.name for layer in net.layers if layer.kind != "pool"}
    else:
        chosen = {net.layer(item).name for item in listed_layers(layers)}
    if not chosen:
        what = "this network has no layer" if layers is None else "got none"
        raise ArgumentError(f"Expected at least one layer to survey, {what}. Choose from Network.layers.")
    return tuple(layer for layer in net.layers if layer.name in chosen)


def _continued(
    net: Network, images: Images, layers: str | Layer | Iterable[str | Layer] | None, k: int, start: Survey
) -> tuple[Layer, ...]:
    """Return the layers of the survey to go on with, after checking that it is a survey of the same things."""
    mine = [layer.name for layer in start.layers]
    wanted = mine if layers is None else [layer.name for layer in choose(net, layers)]
    for what, theirs, asked in (
        ("network", (start.network, start.fingerprint), (net.name, net.fingerprint)),
        ("layers", mine, wanted),
        ("k", start.k, k),
    ):
        if theirs != asked:
            raise ArgumentError(f"Expected to continue a survey of the same {what}, got one of {theirs} for {asked}.")
    if words := Preprocessing.difference(start.preprocessing, net.preprocessing.identity):
        raise ArgumentError(
            f"Expected to continue a survey of pictures that were prepared alike, got another preprocessing: {words}. "
            "Give the network with the preprocessing of that survey."
        )
    if not images.starts_with(start.images):
        raise ArgumentError(
            "Expected images that begin with those of the survey to continue, "
            f"{start.images!r}, got {images!r}. Add new pictures at the end: survey.images + [...]."
        )
    if images.cropped and _candidates(k, images.places.most) > start._statistics.top.k:
        raise ArgumentError(
            f"Expected to continue with pictures of which at most {_crops(start)} are of one photograph, as in that "
            f"survey, got {images.places.most}: of those that overlap it kept too few. Survey them together."
        )
    return start.layers


def _candidates(k: int, crops: int) -> int:
    """Images to keep for each unit, so that k of them share no pixel: see `convscope_core.crops.non_overlapping`."""
    return (k - 1) * crops + 1


def _crops(start: Survey) -> int:
    """The crops of a photograph that a survey has kept candidates for."""
    return (start._statistics.top.k - 1) // max(1, start.k - 1) or 1
