"""Fitting patterns: one pass over many pictures, in shards that may be computed anywhere."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from torch import Tensor
from tqdm.auto import tqdm

from convscope_core.datasets import Images
from convscope_core.errors import ArgumentError, ImageError, did_you_mean
from convscope_core.graph.node import Node
from convscope_core.jobs.loading import loaded
from convscope_core.jobs.shards import Job, Memory, Record, Results, cut, folded, running
from convscope_core.jobs.store import Store
from convscope_core.network import Layer, Network
from convscope_core.patterns.estimate import DENOMINATORS, Patterns, regimes_of, require_regimes
from convscope_core.patterns.neurons import Neurons, neurons_of
from convscope_core.patterns.statistics import LayerSums, PatternSums, full_precision
from convscope_core.survey.accumulators import require_counts

__all__ = ["FitProgress", "fit_patterns", "fitting_patterns"]

_SHARDS = 16
"""Shards by default, at most: parts are as large as the weights, and a few of them exist at once."""

_LEAST = 64
"""Images of a shard by default, at least."""


@dataclass(frozen=True, eq=False)
class FitProgress:
    """How far a running fit is.

    Attributes
    ----------
    done, total : int
        Images visited in this run, the unreadable ones among them, and to visit.
    skipped : tuple of (int, str)
        Images that could not be read, with the reason.
    """

    done: int
    total: int
    skipped: tuple[tuple[int, str], ...]
    _net: Network
    _neurons: tuple[Neurons, ...]
    _parts: tuple[PatternSums, ...]
    _settings: Mapping[str, Any]

    @cached_property
    def patterns(self) -> Patterns:
        """From all shards that are done (with a store, when all are), put together when asked for.

        Raises
        ------
        ArgumentError
            When there are fewer than two pictures.
        """
        images = sum(part.images for part in self._parts)
        if images < 2:
            raise ArgumentError(
                f"Expected at least two pictures to fit patterns on, got {images}. A covariance needs some hundreds, "
                "of the kind that the network was trained on, to mean anything."
            )
        return Patterns.of(self._net, self._neurons, folded(self._parts), **self._settings)


def fit_patterns(
    net: Network,
    images: Any,
    regime: str | Sequence[str] = "positive",
    denominator: str = "paper",
    layers: str | Layer | Iterable[str | Layer] | None = None,
    store: str | Path | None = None,
    executor: Any = None,
    shards: int | None = None,
    resume: bool = True,
    *,
    batch_size: int = 8,
    workers: int = 0,
    few: int = 100,
    progress: bool = True,
) -> Patterns:
    """Fit the patterns of every neuron of a network: what PatternNet and PatternAttribution need.

    The same as the last `FitProgress.patterns` of `fitting_patterns`, which has the description of the parameters and
    errors.

    Parameters
    ----------
    net, images, regime, denominator, layers, store, executor, shards, resume, batch_size, workers, few
        See `fitting_patterns`.
    progress : bool, default True
        Show a progress bar, with images a second and the time left.

    Returns
    -------
    Patterns

    Examples
    --------
    >>> patterns = cs.fit_patterns(net, "imagenet/train-sample")
    >>> patterns.save("vgg16.patterns")
    >>> cs.attribute(net, "dog.jpg", "patternattribution", patterns=patterns)
    """
    run = fitting_patterns(
        net, images, regime, denominator, layers, store, executor, shards, resume,
        batch_size=batch_size, workers=workers, few=few,
    )  # fmt: skip
    with tqdm(desc="patterns", unit="image", disable=not progress) as bar:
        for step in run:
            bar.total = step.total
            bar.update(step.done - bar.n)
    return step.patterns


def fitting_patterns(
    net: Network,
    images: Any,
    regime: str | Sequence[str] = "positive",
    denominator: str = "paper",
    layers: str | Layer | Iterable[str | Layer] | None = None,
    store: str | Path | None = None,
    executor: Any = None,
    shards: int | None = None,
    resume: bool = True,
    *,
    batch_size: int = 8,
    workers: int = 0,
    few: int = 100,
) -> Generator[FitProgress, None, None]:
    """Fit patterns step by step: yields after every batch, or, with an executor, after every shard.

    To cancel, stop iterating and close the generator. Sums are kept in float64: 16 bytes a weight for one regime, 32
    for several, a few times over (a part for each level of the tree in which shards are merged).

    Parameters
    ----------
    net : Network
    images : Images, or what `Images.of` takes
        Pictures like those that the network was trained on; their labels do not matter. The paper took half of
        ImageNet's training pictures.
    regime : {"positive", "negative", "all"} or several of them, default "positive"
        Of which samples. "positive": where the unit is active, the paper's a_+, which both methods use. "negative":
        where it is not, a_-, which only the quality of the two-component estimator needs. "all": the linear estimator's
        a. With several, the first is the main one. Whether a unit is active is decided by the rectifier that its output
        goes to, the bias included; for class scores by their own sign. Layers whose outputs go to no rectifier of
        their own (before a residual sum, bottlenecks without activation) are always fitted on all samples.
    denominator : {"paper", "bias_neuron"}, default "paper"
        See `convscope_core.patterns.estimate.pattern_of`.
    layers : str, Layer or several of them, optional
        Default: all convolutions, linear layers, residual sums and average pools.
    store : path, optional
        A file in which every shard that is done is kept. If the process dies, the same call goes on where it stopped.
        Several processes may share it.
    executor : optional
        Computes the shards in other processes or on other machines, as for `surveying`.
    shards : int, optional
        In how many pieces. By default at most 16, of at least 64 images.
    resume : bool, default True
        Go on from a store that exists. False: refuse one that has results already.
    batch_size : int, default 8
        Images a forward pass.
    workers : int, default 0
        Processes that decode and prepare pictures. 0: threads of this one.
    few : int, default 100
        Units with fewer samples in their regime are reported as thin.

    Yields
    ------
    FitProgress
        At least one.

    Raises
    ------
    ImageError
        When the images do not exist, or, while running, when not one could be read.
    LayerError
        When a layer does not exist.
    ArgumentError
        When another argument is out of range, there are too few pictures, a layer has no neurons, or the store is of
        another network, of other pictures or settings: the message names the difference.
    NetworkError
        While running, when a layer's outputs are NaN or infinite.

    References
    ----------
    P.-J. Kindermans, K. T. Schütt, M. Alber, K.-R. Müller, D. Erhan, B. Kim, S. Dähne: Learning how to explain neural
    networks: PatternNet and PatternAttribution, ICLR 2018, section 4.
    """
    regimes = require_regimes(regime)
    if denominator not in DENOMINATORS:
        raise ArgumentError(
            f"Expected denominator as one of {', '.join(map(repr, DENOMINATORS))}; got {denominator!r}."
            f"{did_you_mean(str(denominator), DENOMINATORS)}"
        )
    require_counts(batch_size=batch_size, few=few, **({} if shards is None else {"shards": shards}))
    whole: Any = workers
    if isinstance(whole, bool) or not isinstance(whole, int) or whole < 0:
        raise ArgumentError(f"Expected workers to be a whole number of at least 0, got {workers!r}.")
    if executor is not None and not hasattr(executor, "submit"):
        raise ArgumentError(
            f"Expected an executor with the interface of concurrent.futures, got {type(executor).__name__}. For "
            "example concurrent.futures.ProcessPoolExecutor(), or a dask.distributed.Client."
        )
    pictures = Images.of(images)
    if len(pictures) < 2:
        raise ArgumentError(f"Expected at least two pictures to fit patterns on, got {len(pictures)}.")
    neurons = neurons_of(net, layers)
    job = _Fit(net, neurons, regimes, batch_size, workers)
    todo = range(len(pictures))
    pieces = shards or max(1, min(_SHARDS, len(pictures) // _LEAST))
    settings = {"regimes": regimes, "denominator": denominator, "few": few}
    if store is None:
        return _run(job, pictures, Memory(cut(todo, pieces)), settings, len(pictures), executor)
    about = {
        "kind": "patterns",
        "network?": net.name,
        "fingerprint": net.fingerprint,
        "layers": [layer.name for layer in neurons],
        "sums": list(_kept(regimes)),
    }
    results = Store.opened(store, job, about, pictures, todo, pieces, resume=resume)
    return _run(job, pictures, results, settings, results.left, executor)


def _run(
    job: _Fit, images: Images, results: Results, settings: Mapping[str, Any], total: int, executor: Any
) -> Generator[FitProgress, None, None]:
    records: list[Record] = list(results.records()) if isinstance(results, Store) else []
    skipped = [entry for record in records for entry in record.skipped]
    counted = sum(len(record.images) for record in records)
    done = 0

    def progress(visited: int) -> FitProgress:
        # A store's are read when all is there.
        parts: tuple[Any, ...] = results.parts() if visited >= total or isinstance(results, Memory) else ()
        return FitProgress(visited, total, tuple(skipped), job.net, job.neurons, parts, settings)

    try:
        for _, record, whole in running(job, images, results, executor) if total else ():
            if whole:
                skipped += record.skipped
                counted += len(record.images)
                done += record.visited
            now = done if whole else done + record.visited
            if now >= total and not counted:
                reasons = "; ".join(f"image {index}: {reason}" for index, reason in islice(skipped, 3))
                raise ImageError(f"Expected pictures that can be read, got {len(images)} that all failed. {reasons}")
            yield progress(now)
        if done < total or not total:
            done = total  # nothing was left, or another process did the rest
            yield progress(total)
    finally:
        if isinstance(results, Store):
            results.close()


def _kept(regimes: Sequence[str]) -> tuple[bool, bool]:
    """Tell whether sums over active samples are needed, and over all."""
    return "positive" in regimes or "negative" in regimes, "all" in regimes or "negative" in regimes


class _Fit(Job):
    """What a fit does with each shard: forward passes, and the sums of each layer while its values are at hand.

    Pickles, so that it can be sent to other processes.
    """

    def __init__(
        self, net: Network, neurons: tuple[Neurons, ...], regimes: tuple[str, ...], batch_size: int, workers: int
    ) -> None:
        self.net = net
        self.neurons = neurons
        self.regimes = regimes
        self.batch_size = batch_size
        self.workers = workers

    def __getstate__(self) -> dict[str, Any]:
        # Neurons hold nodes of the graph; the network finds them again.
        return {**self.__dict__, "neurons": [layer.name for layer in self.neurons]}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.neurons = neurons_of(self.net, state["neurons"])

    def restored(self, state: Mapping[str, Tensor]) -> PatternSums:
        return PatternSums.from_state(state)

    def _sums(self) -> PatternSums:
        found = []
        for layer in self.neurons:
            active, whole = _kept(regimes_of(layer, self.regimes))
            found.append(LayerSums(active, whole))
        return PatternSums(found)

    def steps(self, images: Images, indices: Sequence[int]) -> Generator[tuple[PatternSums | None, Record], None, None]:
        device = self.net.device
        sums = self._sums()
        of = dict(zip((layer.node for layer in self.neurons), zip(self.neurons, sums.layers, strict=True), strict=True))

        def visit(node: Node, value: Tensor, inputs: Sequence[Tensor]) -> None:
            layer, mine = of[node]
            mine.add(layer, inputs, value)

        unseen: list[int] = []
        for batch in loaded(self.net.preprocessing, images, indices, self.batch_size, self.workers):
            if batch.x is not None:
                with full_precision(device):
                    self.net.visit_nodes(batch.x.to(device, non_blocking=True), of, visit)
                sums.images += len(batch.numbers)
                unseen += batch.numbers
            last = batch.record.visited == len(indices)
            # An accelerator is asked once a shard: asking stops its queue.
            if device.type == "cpu" or last:
                what = f"image {unseen[0]}" if len(unseen) == 1 else f"images {unseen[:1]} to {unseen[-1:]}"
                sums.require_finite(self.neurons, what)
                unseen.clear()
            yield (sums if last else None), batch.record
