"""The evolution of a network: a survey of the same pictures at each checkpoint of its training.

Zeiler & Fergus (2014, fig. 4) show, for a few units of each layer, the strongest activation over all training pictures
after 1, 2, 5, 10, 20, 30, 40 and 64 epochs, projected with the weights of then. Here each checkpoint is surveyed in one
pass for all units of all layers, by `convscope_core.survey`; all else is read off these surveys and the weights.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import nn

from convscope_core.arguments import require_counts
from convscope_core.datasets import Images
from convscope_core.errors import ArgumentError, ConvscopeError
from convscope_core.evolution.checkpoints import Checkpoint, Checkpoints
from convscope_core.evolution.moment import Moment, weights_at
from convscope_core.evolution.result import EvolutionResult
from convscope_core.jobs.forms import completed, documented, last, shown
from convscope_core.jobs.known import KnownPictures
from convscope_core.measures.dormancy import TAU, require_tau
from convscope_core.network import Layer, Network, listed_layers
from convscope_core.saving import folder_for
from convscope_core.survey import Survey, surveying

__all__ = ["EvolutionProgress", "evolution", "evolving"]

_START = "the evolution to start from"


@dataclass(frozen=True, eq=False)
class EvolutionProgress:
    """How far a running evolution is.

    Attributes
    ----------
    done, total : int
        Pictures visited, and to visit: those of all checkpoints. What a store or a result to start from has already
        counts as done.
    checkpoint : Checkpoint
        Which is surveyed now, or was last.
    """

    done: int
    total: int
    checkpoint: Checkpoint
    _moments: tuple[Moment, ...]
    _checkpoints: Checkpoints
    _pictures: KnownPictures
    _tau: float

    @cached_property
    def result(self) -> EvolutionResult | None:
        """Of all checkpoints whose survey is whole, not changed by what follows; None before the first of them."""
        if not self._moments:
            return None
        return EvolutionResult(self._checkpoints, self._moments, self._pictures, self._tau)


@documented
def evolving(
    checkpoints: Any,
    images: Any,
    layers: str | Layer | Iterable[str | Layer] | None = None,
    *,
    net: Network | nn.Module | None = None,
    k: int = 9,
    sample: int = 512,
    tau: float = TAU,
    store: str | Path | None = None,
    executor: Any = None,
    shards: int | None = None,
    resume: bool = True,
    batch_size: int = 8,
    workers: int = 0,
    start: EvolutionResult | None = None,
    progress: bool = False,
) -> Generator[EvolutionProgress, None, None]:
    """Find what the units of a network looked for at each checkpoint of its training.

    For every unit and checkpoint: the picture that excites it most, and where; whether that is another than at the
    checkpoint before; and per layer how far it is from where it ends. Each checkpoint costs one survey: one forward
    pass over the pictures, for all units of all layers.

    Parameters
    ----------
    checkpoints : Checkpoints, EvolutionRecorder, or what `Checkpoints.of` takes
    images
        The same for all checkpoints.
    layers
        Default: all layers but the pools, as for `survey`.
    net : Network or torch.nn.Module, optional
        What the checkpoints are of, where they do not know it.
    k : int, default 9
        Top images to keep for each unit and checkpoint.
    sample : int, default 512
        Images of the random sample on which the mean activations of all units are kept, for `EvolutionResult.cka`: the
        same images at each checkpoint. Eight bytes for each image, unit and checkpoint. Means over places rather than
        whole maps, because the maps of 512 images do not fit into memory (those of VGG-16's first layer take 6.6 GB);
        so CKA does not see a layer that only moves what it responds to.
    tau : float, default 0.025
        Share of its layer's mean magnitude up to which a unit counts as dormant. Can be changed afterwards.
    store : path, optional
        A folder, made when it is not there, with the store of a survey for each checkpoint: `load_survey` opens them.
        If the process dies, the same call goes on where it stopped; when all is there, it only reads.
    executor, shards, resume, batch_size, workers
    start : EvolutionResult, optional
        What is known already, of the same pictures, layers and settings: its checkpoints are not surveyed again. So new
        checkpoints of a training that goes on cost one survey each. What is measured against the last checkpoint is
        then measured against the new last.
    progress

    Yields
    ------
    EvolutionProgress
        After every batch, or, with an executor, after every shard; at least one. To cancel, stop iterating and close
        the generator.

    Raises
    ------
    ArgumentError
        When there is no checkpoint, they are not in order, it is not known what they are of, another argument is out of
        range, or `start` or the store is of something else.
    ImageError
        When the images do not exist, or, while running, when not one could be read.
    LayerError
        When a layer does not exist.
    NetworkError
        While running: when the weights of a checkpoint are missing, of another architecture, NaN or infinite, or a
        layer's activations are. Every message names the checkpoint.

    Examples
    --------
    >>> found = cs.evolution(recorder, "photos/", ["conv1", "conv2", "conv5"], store="run1.evolution")
    >>> found.plot()
    >>> found.staying("conv5")
    """
    taken = Checkpoints.of(checkpoints, net)
    if not taken:
        raise ArgumentError("Expected at least one checkpoint, got none yet. Train until the recorder has kept one.")
    pictures = Images.of(images)
    require_counts(k=k, sample=sample)
    require_tau(tau)
    given: Any = start
    if given is not None and not isinstance(given, EvolutionResult):
        raise ArgumentError(f"Expected an EvolutionResult to start from, got {type(given).__name__}.")
    wanted: list[str] | None
    if layers is None:
        wanted = None if start is None else [layer.name for layer in start.layers]
    else:
        wanted = [layer.name if isinstance(layer, Layer) else layer for layer in listed_layers(layers)]
    known = {} if start is None else _known(start, taken, pictures, k, sample)
    folder = None if store is None else folder_for("stores, one a checkpoint", store)
    with _naming(taken[0]):
        first = taken.network(0)
    # Arguments are refused here, before anything is computed.
    options = {
        "k": k, "sample": sample, "executor": executor, "shards": shards, "batch_size": batch_size, "workers": workers,
    }  # fmt: skip
    surveying(first, pictures, wanted, **options).close()
    if start is not None and wanted is not None:
        index, moment = next(iter(known.items()), (0, None))  # those of one evolution are all of one architecture
        with _naming(taken[index]):
            start.require(taken.network(index), pictures, _START, moment)
        mine, theirs = {first.layer(name).name for name in wanted}, {layer.name for layer in start.layers}
        if mine != theirs:
            other = sorted(mine ^ theirs)[0]
            raise ArgumentError(f"Expected to go on with the same layers, got others ({other}). Leave layers out.")
    options["resume"] = resume
    steps = _steps(taken, pictures, wanted, options, folder, known, float(tau), start)
    return shown(steps, "evolution", "image", lambda step: (step.done, step.total)) if progress else steps


evolution = completed(evolving, "evolution", EvolutionResult, lambda steps: _whole(steps))


def _whole(steps: Iterable[EvolutionProgress]) -> EvolutionResult:
    result = last(steps).result
    assert result is not None
    return result


def _steps(
    checkpoints: Checkpoints,
    images: Images,
    layers: list[str] | None,
    options: dict[str, Any],
    folder: Path | None,
    known: dict[int, Moment],
    tau: float,
    start: EvolutionResult | None,
) -> Generator[EvolutionProgress, None, None]:
    moments: list[Moment] = []
    shared = None if start is None else start.layers
    noted = KnownPictures.of(images) if start is None else start.pictures
    total = len(images) * len(checkpoints)

    def reached(index: int, done: int) -> EvolutionProgress:
        there = tuple(moments)
        at = len(images) * index + done
        return EvolutionProgress(at, total, checkpoints[index], there, checkpoints[: len(there)], noted, tau)

    for index, checkpoint in enumerate(checkpoints):
        if index in known:
            before = known[index]
            moments.append(Moment(before.checkpoint, before.survey.with_images(images), before.weights))
            yield reached(index, len(images))
            continue
        with _naming(checkpoint):
            net = checkpoints.network(index)
            at = None if folder is None else folder / f"{_file_name(checkpoint)}.survey"
            survey: Survey | None = None
            with closing(surveying(net, images, layers, store=at, **options)) as steps:
                for step in steps:
                    if step.done < step.total:
                        yield reached(index, len(images) - step.total + step.done)
                    else:
                        survey = step.survey
            assert survey is not None
            shared = shared or survey.layers
            # Layers hold on to the weights of their network: those of one checkpoint serve for all.
            weights = weights_at(checkpoints, index, net, shared)
            moments.append(Moment(checkpoint, survey.with_layers(shared), weights))
        yield reached(index, len(images))


def _file_name(checkpoint: Checkpoint) -> str:
    """Name the store of a checkpoint: as it is called, with all digits where others may be called the same."""
    label, epoch = checkpoint.label, checkpoint.epoch
    if epoch is not None and label != "start" and float(f"{epoch:g}") != epoch:
        label = f"epoch {epoch!r}"
    return re.sub("[^A-Za-z0-9.]+", "-", label)


def _known(start: EvolutionResult, checkpoints: Checkpoints, images: Images, k: int, sample: int) -> dict[int, Moment]:
    """Return the moments of an evolution that are of these checkpoints, by place."""
    start.pictures.require_names(images, _START)
    for what, theirs, mine in (("k", start.k, k), ("sample", start.sample, sample)):
        if theirs != mine:
            raise ArgumentError(f"Expected to go on with the same {what}, {theirs}, got {mine}.")
    by_step = {moment.checkpoint.step: moment for moment in start.moments}
    found = {}
    for index, checkpoint in enumerate(checkpoints):
        moment = by_step.get(checkpoint.step)
        if moment is not None and (moment.checkpoint is checkpoint or moment.checkpoint.digest == checkpoint.digest):
            found[index] = moment
    return found


@contextmanager
def _naming(checkpoint: Checkpoint) -> Generator[None, None, None]:
    """Name the checkpoint in the errors of a block."""
    try:
        yield
    except ConvscopeError as error:
        if repr(checkpoint.label) in str(error):
            raise
        raise type(error)(f"Expected to survey {checkpoint.label}, which fails. {error}") from error
