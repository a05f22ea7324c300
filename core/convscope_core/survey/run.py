"""The survey: one pass over many images, for the top activations, the health and the classes of every channel.

Zeiler & Fergus (2014, sec. 4, fig. 2) show, for some channels of each layer, the nine images of a validation
set that excite it most. Here all channels of all chosen layers are served by the same forward passes.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from convscope_core.datasets import Images
from convscope_core.errors import ArgumentError, ImageError, NetworkError
from convscope_core.jobs.ledger import Ledger
from convscope_core.jobs.loading import loaded
from convscope_core.jobs.shards import Job, Memory, Part, Record, Results, cut, folded, running
from convscope_core.jobs.store import Store
from convscope_core.network import Layer, Network
from convscope_core.survey.accumulators import ImageStatistics, require_counts, some
from convscope_core.survey.result import Survey
from convscope_core.survey.statistics import Statistics

__all__ = ["SurveyProgress", "load_survey", "survey", "surveying"]


@dataclass(frozen=True, eq=False)
class SurveyProgress:
    """How far a running survey is.

    Attributes
    ----------
    done, total : int
        Images visited in this run, the unreadable ones among them, and to visit.
    """

    done: int
    total: int
    _layers: tuple[Layer, ...]
    _net: Network
    _images: Images
    _parts: tuple[Statistics, ...]
    _ledger: Ledger

    @cached_property
    def survey(self) -> Survey:
        """Of everything seen so far: complete in itself, not changed by what follows, put together when asked for."""
        return Survey.of(self._net, self._layers, self._images, folded(self._parts), self._ledger)


def survey(
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
    progress: bool = True,
) -> Survey:
    """Find the images that excite every channel of the chosen layers most, in one pass.

    The same as the last `SurveyProgress.survey` of `surveying`, which has the description of the parameters
    and errors.

    Parameters
    ----------
    net, images, layers, k, store, executor, shards, resume, batch_size, workers, sample, indices, start
        See `surveying`.
    progress : bool, default True
        Show a progress bar, with images a second and the time left.

    Returns
    -------
    Survey

    Examples
    --------
    >>> survey = cs.survey(net, "imagenet/val", store="vgg16.survey")
    >>> survey.top("features.28", 351)
    """
    run = surveying(
        net,
        images,
        layers,
        k,
        store,
        executor,
        shards,
        resume,
        batch_size=batch_size,
        workers=workers,
        sample=sample,
        indices=indices,
        start=start,
    )
    with tqdm(desc="survey", unit="image", disable=not progress) as bar:
        for step in run:
            bar.total = step.total
            bar.update(step.done - bar.n)
    return step.survey


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
) -> Generator[SurveyProgress, None, None]:
    """Survey step by step: yields after every batch, or, with an executor, after every shard.

    To cancel, stop iterating and close the generator: the survey of the last step is valid for the images
    seen so far. An image that cannot be read is skipped and listed in `Survey.skipped`.

    The images are cut into shards, whose results are merged in one fixed order. So the survey has the same bits
    whether it ran through or was interrupted, here or in an executor, with a store or without; it depends on the batch
    size, the number of threads and the kind of machine only as far as the network's own arithmetic does, in the last
    digits.

    Parameters
    ----------
    net : Network
    images : Images, or what `Images.of` takes
        The pictures.
    layers : str, Layer or several of them, optional
        Default: all layers but the pools, whose activations are those of the layer before, again.
    k : int, default 9
        Top images to keep for each channel. Nine is the number of Zeiler & Fergus (2014, fig. 2).
    store : path, optional
        A file in which every shard that is done is kept. If the process dies, the same call goes on where it stopped;
        when all is there, it only reads. Several processes may share it. `load_survey` opens it later.
    executor : optional
        Computes the shards in other processes or on other machines: anything with the interface of
        `concurrent.futures.Executor` whose tasks are pickled (a process pool, MPI, submitit), or a dask client. Network
        and pictures are sent along; files have to be readable there under the same paths. A shard whose worker dies is
        tried again. Give each process its share of the cores (``torch.set_num_threads``) where several run on one
        machine.
    shards : int, optional
        In how many pieces. By default a 256th of the images each, between 64 and 4096. A store keeps those that it was
        made with.
    resume : bool, default True
        Go on from a store that exists. False: refuse one that has results already.
    batch_size : int, default 8
        Images a forward pass.
    workers : int, default 0
        Processes that decode and prepare pictures (of `torch.utils.data.DataLoader`). 0: threads of this one.
    sample : int, default 512
        Images of the random sample on which the maxima of all channels are kept, for `Survey.quantiles`,
        `Survey.similar` and `Survey.duplicates`: four bytes for each image and channel.
    indices : iterable of int, optional
        Survey only these of the images. Default: all.
    start : Survey, optional
        Continue from this survey: images that it has seen already are left out. Its images must be the first
        of `images`, in the same order; so pictures may be added at the end. `layers` and `k` must be as in
        it, or left out. Not together with a store, which knows by itself what it has seen.

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
        When another argument is out of range, `start` does not fit, or the store is of another network, of other
        pictures or settings: the message names the difference.
    NetworkError
        While running, when a layer's activations are NaN or infinite.
    """
    pictures = Images.of(images)
    require_counts(batch_size=batch_size, k=k, sample=sample, **({} if shards is None else {"shards": shards}))
    whole: Any = workers
    if isinstance(whole, bool) or not isinstance(whole, int) or whole < 0:
        raise ArgumentError(f"Expected workers to be a whole number of at least 0, got {workers!r}.")
    if executor is not None and not hasattr(executor, "submit"):
        raise ArgumentError(
            f"Expected an executor with the interface of concurrent.futures, got {type(executor).__name__}. For "
            "example concurrent.futures.ProcessPoolExecutor(), or a dask.distributed.Client."
        )
    if start is None:
        chosen = _choose(net, layers)
        ledger = Ledger(len(pictures))
        before: tuple[Statistics, ...] = ()
    else:
        if store is not None:
            raise ArgumentError("Expected a store or a survey to start from, got both. A store goes on by itself.")
        chosen = _continued(net, pictures, layers, k, start)
        ledger, before = start._ledger.grown(len(pictures)), (start._statistics,)
        sample = start._statistics.sample.size
    todo = [index for index in _checked_indices(indices, len(pictures)) if not ledger.seen[index]]
    job = _Survey(net, chosen, k, sample, batch_size, workers)
    if store is None:
        return _run(job, pictures, Memory(cut(todo, shards)), ledger, before, len(todo), executor)
    results = Store.opened(store, job, _about(net, chosen, k, sample, pictures), pictures, todo, shards, resume=resume)
    for record in results.records():
        _enter(ledger, record)
    left = results.left
    return _run(job, pictures, results, ledger, (), left, executor)


def load_survey(store: str | Path, net: Network, images: Any = None) -> Survey:
    """Open a survey that is kept in a store, finished or not; nothing is computed.

    Parameters
    ----------
    store : path
        The file.
    net : Network
        The network that was surveyed.
    images : Images, or what `Images.of` takes, optional
        The pictures that were surveyed. By default the files that the store knows of.

    Returns
    -------
    Survey

    Raises
    ------
    ArgumentError
        When there is no such store, it is of another network, or it does not know its pictures' files.
    """
    path = Path(store).expanduser()
    if not path.is_file():
        raise ArgumentError(f"Expected the file of a survey, got {str(path)!r}, which does not exist.")
    results = Store(path, Statistics.from_state)
    try:
        about = results.about
        if about.get("kind") != "survey":
            raise ArgumentError(f"Expected the store of a survey, {str(path)!r} is one of {about.get('kind')!r}.")
        if about["fingerprint"] != net.fingerprint:
            raise ArgumentError(
                f"Expected a survey of {net.name} with these weights (fingerprint {net.fingerprint[:8]}); "
                f"{str(path)!r} is of {about['network?']} ({about['fingerprint'][:8]})."
            )
        chosen = tuple(net.layer(name) for name in about["layers"])
        if images is None:
            pictures = _remembered(results, about, path)
        else:
            pictures = Images.of(images)
            kept = [index for index, _, _ in results.pictures()]
            results.begin(about, pictures, kept)
        ledger = Ledger(len(pictures))
        for record in results.records():
            _enter(ledger, record)
        parts: tuple[Any, ...] = results.parts() or (_empty(chosen, about["k"], about["sample"]),)
        return Survey.of(net, chosen, pictures, folded(parts), ledger)
    finally:
        results.close()


def _remembered(results: Store, about: Mapping[str, Any], path: Path) -> Images:
    """The pictures of a store by what it knows about their files."""
    kept = results.pictures()
    files = {index: (name, file) for index, name, file in kept}
    folder = about.get("folder?")
    if not files or (folder is None and any(file is None for _, file in files.values())):
        raise ArgumentError(
            f"Expected the pictures of the survey {str(path)!r} too, images=...: they were not files, so the store "
            "does not know where they are."
        )
    # Numbers count in all pictures, of which only some may have been surveyed.
    last = max(files) + 1
    if folder is not None:
        names = [files.get(index, ("", None))[0] for index in range(last)]
        return Images.found(Path(folder), names)
    return Images.of([files.get(index, ("", ""))[1] or "not surveyed" for index in range(last)])


def _about(net: Network, layers: Sequence[Layer], k: int, sample: int, images: Images) -> dict[str, Any]:
    folder = images.folder
    return {
        "kind": "survey",
        "network?": net.name,
        "fingerprint": net.fingerprint,
        "layers": [layer.name for layer in layers],
        "k": k,
        "sample": sample,
        "folder?": None if folder is None else str(folder.resolve()),
    }


def _run(
    job: _Survey,
    images: Images,
    results: Results,
    ledger: Ledger,
    before: tuple[Statistics, ...],
    total: int,
    executor: Any,
) -> Generator[SurveyProgress, None, None]:
    """Compute what is left, and tell after each step what there is."""
    nothing = _empty(job.layers, job.k, job.sample)

    def progress(done: int, part: Part | None, record: Record | None) -> SurveyProgress:
        seen = ledger
        if part is not None and record is not None:
            seen = ledger.copy()
            _enter(seen, record)
        parts: tuple[Any, ...] = (*before, *results.parts(), *([] if part is None else [part]))
        return SurveyProgress(done, total, job.layers, job.net, images, parts or (nothing,), seen.copy())

    try:
        done = 0
        ended = total == 0
        for part, record, whole in running(job, images, results, executor) if total else ():
            if whole:
                _enter(ledger, record)
                done += record.visited
            now = done if whole else done + record.visited
            ended = now >= total
            if ended and not ledger.count:
                reasons = "; ".join(f"image {index}: {reason}" for index, reason in islice(ledger.skipped, 3))
                raise ImageError(f"Expected pictures that can be read, got {total} that all failed. {reasons}")
            yield progress(min(now, total), part, record)
        if not ended or total == 0:
            # Nothing was left to do, or another process did the rest.
            for record in results.records() if isinstance(results, Store) else ():
                _enter(ledger, record)
            yield progress(total, None, None)
    finally:
        if isinstance(results, Store):
            results.close()


def _enter(ledger: Ledger, record: Record) -> None:
    ledger.mark(record.images, record.labels)
    for index, reason in record.skipped:
        ledger.skip(index, reason)


def _empty(layers: Sequence[Layer], k: int, sample: int) -> Statistics:
    return Statistics(sum(layer.channels for layer in layers), k, sample)


class _Survey(Job):
    """What a survey does with each shard: forward passes, reduced as they go.

    Pickles, so that it can be sent to other processes.
    """

    def __init__(
        self, net: Network, layers: tuple[Layer, ...], k: int, sample: int, batch_size: int, workers: int
    ) -> None:
        self.net = net
        self.layers = layers
        self.k = k
        self.sample = sample
        self.batch_size = batch_size
        self.workers = workers

    def __getstate__(self) -> dict[str, Any]:
        # A layer holds the geometry of the whole graph; the network makes it anew.
        return {**self.__dict__, "layers": [layer.name for layer in self.layers]}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.layers = tuple(self.net.layer(name) for name in state["layers"])

    def restored(self, state: Mapping[str, Tensor]) -> Statistics:
        return Statistics.from_state(state)

    def steps(self, images: Images, indices: Sequence[int]) -> Generator[tuple[Statistics, Record], None, None]:
        # Apple's MPS has no float64.
        device = torch.device("cpu") if self.net.device.type == "mps" else self.net.device
        statistics = Statistics(sum(layer.channels for layer in self.layers), self.k, self.sample, device=device)
        broken: list[tuple[list[int], Tensor]] = []
        for batch in loaded(self.net.preprocessing, images, indices, self.batch_size, self.workers):
            if batch.x is not None:
                reduced = self._reduced(batch.x.to(self.net.device, non_blocking=True))
                statistics.add(reduced, batch.numbers, batch.labels)
                broken.append((batch.numbers, reduced.broken()))
            # Whether activations are finite is asked of an accelerator once a shard: asking stops its queue.
            if device.type == "cpu" or batch.record.visited == len(indices):
                self._require_finite(broken)
                broken.clear()
            yield statistics.copy(), batch.record

    def _reduced(self, x: Tensor) -> ImageStatistics:
        """Run a batch, and reduce every layer while it is in the cache."""
        parts: list[ImageStatistics] = []
        ceilings = {layer.name: self.net.ceiling(layer.name) for layer in self.layers}

        def visit(name: str, maps: Tensor) -> None:
            parts.append(ImageStatistics.of(maps, ceilings[name]))

        self.net.visit(x, [layer.name for layer in self.layers], visit)
        return ImageStatistics.join(parts)

    def _require_finite(self, batches: Sequence[tuple[list[int], Tensor]]) -> None:
        for images, broken in batches:
            if not bool(broken.any()):
                continue
            channel = int(broken.any(dim=0).nonzero()[0])
            rows = broken[:, channel].nonzero().flatten().tolist()
            for layer in self.layers:
                if channel < layer.channels:
                    raise NetworkError(
                        f"Expected finite activations, got NaN or infinite values in layer {layer.name!r}, "
                        f"channel {channel}, for image {some([images[row] for row in rows])}. "
                        "Check the weights, and how pictures are prepared."
                    )
                channel -= layer.channels


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
) -> tuple[Layer, ...]:
    """Return the layers of the survey to go on with, after checking that it is a survey of the same things."""
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
    return start.layers


def _checked_indices(indices: Iterable[int] | None, count: int) -> list[int]:
    if indices is None:
        return list(range(count))
    chosen = [int(index) for index in indices]
    if outside := [index for index in chosen if not 0 <= index < count]:
        raise ArgumentError(f"Expected indices of images from 0 to {count - 1}, got {some(outside)}.")
    return list(dict.fromkeys(chosen))
