"""Comparing two networks: one pass of each over the same pictures."""

from __future__ import annotations

import statistics
import time
from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from convscope_core.arguments import require_counts
from convscope_core.datasets import Images
from convscope_core.errors import ConvscopeError
from convscope_core.experiments.architecture.answers import Answered, AnsweredJob
from convscope_core.experiments.architecture.comparison import Comparison, Cost
from convscope_core.graph.trace import probe
from convscope_core.jobs import Progress, begin, completed, documented, last
from convscope_core.jobs.forms import shown
from convscope_core.network import Layer, Network
from convscope_core.saving import folder_for
from convscope_core.survey.run import choose

__all__ = ["ComparisonProgress", "compare", "comparing"]

_PASSES = 5
"""Timed passes of each network."""


@dataclass(frozen=True, eq=False)
class ComparisonProgress:
    """How far a comparison is.

    Attributes
    ----------
    done, total : int
        Pictures visited, and to visit: those of both networks.
    """

    done: int
    total: int
    _found: tuple[Answered, ...]
    _nets: tuple[Network, Network]
    _images: Images

    @cached_property
    def result(self) -> Comparison | None:
        """The comparison, at the last step; None before."""
        if len(self._found) < 2:
            return None
        return Comparison.of(self._nets, self._found, _costs(self._nets), self._images)


@documented
def comparing(
    net_a: Network,
    net_b: Network,
    images: Any,
    layers_a: str | Layer | Iterable[str | Layer] | None = None,
    layers_b: str | Layer | Iterable[str | Layer] | None = None,
    *,
    k: int = 9,
    sample: int = 512,
    store: str | Path | None = None,
    executor: Any = None,
    shards: int | None = None,
    resume: bool = True,
    batch_size: int = 8,
    workers: int = 0,
    progress: bool = False,
) -> Generator[ComparisonProgress, None, None]:
    """Compare two networks on the same pictures, in one pass of each.

    Any two: other architectures, input sizes, preprocessings and classes. Layers are compared by what they do on the
    pictures, not by name. Zeiler & Fergus (2014, sec. 4.1, fig. 6) compare the first two layers of two networks by eye.

    Parameters
    ----------
    net_a, net_b : Network
    images
    layers_a, layers_b : str, Layer or several of them, optional
        Of either network. Default: all but the pools.
    k : int, default 9
        Top images to keep for each unit.
    sample : int, default 512
        Images on which layers and units are compared: the same for both, drawn by their numbers.
    store : path, optional
        A folder, made when it is not there, with a file for each network. If the process dies, the same call goes on
        where it stopped.
    executor, shards, resume, batch_size, workers, progress

    Yields
    ------
    ComparisonProgress
        After every batch, or, with an executor, after every shard.

    Raises
    ------
    ArgumentError
        When an argument is out of range, or the store is of something else.
    ImageError
        When the images do not exist, or one of the networks can read none.
    LayerError
        When a layer does not exist.
    NetworkError
        While running, when a layer's activations are NaN or infinite.

    Examples
    --------
    >>> found = cs.compare(cs.load("zfnet_shapes"), cs.load("alexnet_shapes"), cs.Shapes())
    >>> found.cka
    >>> found.disagreements(5)
    """
    require_counts(k=k, sample=sample)
    pictures = Images.of(images)
    folder = None if store is None else folder_for("stores, one a network", store)
    jobs = [
        AnsweredJob(
            net=net, batch_size=batch_size, workers=workers, layers=tuple(layer.name for layer in choose(net, layers)),
            k=k, sample=sample,
        )
        for net, layers in ((net_a, layers_a), (net_b, layers_b))
    ]  # fmt: skip
    files = [None if folder is None else folder / f"{name}.comparison" for name in ("a", "b")]
    passes = [
        begin(job, pictures, Progress, store=file, executor=executor, shards=shards, resume=resume)
        for job, file in zip(jobs, files, strict=True)
    ]
    steps = _steps(passes, (net_a, net_b), pictures)
    return shown(steps, "comparison", "image", lambda step: (step.done, step.total)) if progress else steps


compare = completed(comparing, "compare", Comparison, lambda steps: _whole(steps))


def _whole(steps: Iterable[ComparisonProgress]) -> Comparison:
    result = last(steps).result
    assert result is not None
    return result


def _steps(
    passes: list[Generator[Progress[Answered], None, None]], nets: tuple[Network, Network], images: Images
) -> Generator[ComparisonProgress, None, None]:
    found: tuple[Answered, ...] = ()
    total = 2 * len(images)
    for place, (steps, net) in enumerate(zip(passes, nets, strict=True)):
        step: Progress[Answered] | None = None
        try:
            with closing(steps):
                for step in steps:
                    done = len(images) * (place + 1) - step.total + step.done
                    if step.done < step.total:
                        yield ComparisonProgress(done, total, found, nets, images)
        except ConvscopeError as error:
            which = "second" if place else "first"
            raise type(error)(f"Expected to compare {net.name}, the {which} network. {error}") from error
        assert step is not None
        found = (*found, step.result)
        yield ComparisonProgress(len(images) * (place + 1), total, found, nets, images)


def _costs(nets: tuple[Network, Network]) -> list[Cost]:
    """Measure both in turn, so that what else the machine does tells in both alike."""
    pictures = [probe(net.input_shape)[:1].to(net.device, net.dtype) for net in nets]
    taken: list[list[float]] = [[], []]
    for repeat in range(_PASSES + 1):
        for net, x, seconds in zip(nets, pictures, taken, strict=True):
            start = time.perf_counter()
            net.forward(x)
            if net.device.type != "cpu":
                torch.accelerator.synchronize()
            if repeat:  # the first makes ready
                seconds.append(time.perf_counter() - start)
    return [
        Cost(net.parameters, net.multiply_adds, statistics.median(seconds))
        for net, seconds in zip(nets, taken, strict=True)
    ]
