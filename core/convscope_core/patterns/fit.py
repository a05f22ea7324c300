"""Fitting patterns: one pass over many pictures, in shards that may be computed anywhere."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from convscope_core.arguments import listed, require_choice, require_counts
from convscope_core.datasets import Images
from convscope_core.errors import ArgumentError, NetworkError
from convscope_core.graph.captured import Repeated
from convscope_core.graph.node import Node
from convscope_core.jobs import Check, Job, Ledger, Progress, begin, completed, documented, last
from convscope_core.network import Layer, Network
from convscope_core.patterns.estimate import DENOMINATORS, Patterns, regimes_of, require_regimes
from convscope_core.patterns.neurons import Neurons, neurons_of
from convscope_core.patterns.statistics import ROW, LayerSums, PatternSums, sums_of
from convscope_core.precision import full_precision

__all__ = ["FitProgress", "fit_patterns", "fitting_patterns"]

_SHARDS = 16
"""Shards by default, at most: parts are larger than the weights, and are written, merged and read again."""

_LEAST = 64
"""Images of a shard by default, at least."""

_LEAST_ON_GPU = 4096
"""The same on a GPU, from which the sums of each shard are brought: for a second of work there."""


class FitProgress(Progress[Patterns]):
    """How far a running fit is.

    Attributes
    ----------
    done, total : int
        Images visited in this run, the unreadable ones among them, and to visit.
    skipped : tuple of (int, str)
        Images that could not be read, with the reason.
    """

    @property
    def patterns(self) -> Patterns:
        """From all shards that are done (with a store, when all are), put together when asked for.

        Raises
        ------
        ArgumentError
            When there are fewer than two pictures.
        """
        return self.result


@documented
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
    progress: bool = False,
) -> Generator[FitProgress, None, None]:
    """Fit the patterns of every neuron of a network: what PatternNet and PatternAttribution need.

    Sums are kept in float64: 16 bytes a weight for one regime, 24 for several. In memory are those of convolutions, and
    of linear layers with many samples a picture, of the shard under way; for each other linear layer up to 64 MB of
    samples; and a few units' of what is merged or finished. That is so however many pictures and shards. All other
    sums are in temporary files, a part for each level of the tree in which shards are merged and two while they are
    (``TMPDIR``, by default in ``/var/tmp``). What workers of an executor hand over goes through memory whole.

    Parameters
    ----------
    net
    images
        Like those that the network was trained on; their labels do not matter. The paper took half of ImageNet's
        training pictures.
    regime : {"positive", "negative", "all"} or several of them, default "positive"
        Of which samples. "positive": where the unit is active, the paper's ``a_+``, which both methods use. "negative":
        where it is not, ``a_-``, which only the quality of the two-component estimator needs. "all": the linear
        estimator's a. With several, the first is the main one. Whether a unit is active is decided by the rectifier
        that its output goes to, the bias included; for class scores by their own sign. Layers whose outputs go to no
        rectifier of their own (before a residual sum, bottlenecks without activation) are always fitted on all samples.
    denominator : {"paper", "bias_neuron"}, default "paper"
        See `convscope_core.patterns.estimate.pattern_of`.
    layers
        Default: all convolutions (transposed ones too), linear layers, residual sums and average pools.
    store, executor
    shards
        By default at most 16, of at least 64 images; on a GPU, without an executor, of at least 4096.
    resume, batch_size, workers
    few : int, default 100
        Units with fewer samples in their regime are reported as thin.
    progress

    Yields
    ------
    FitProgress
        After every batch, or, with an executor, after every shard; at least one. To cancel, stop iterating and close
        the generator.

    Raises
    ------
    ImageError
        When the images do not exist, or, while running, when not one could be read.
    LayerError
        When a layer does not exist.
    ArgumentError
        When another argument is out of range, there are too few pictures, a layer has no neurons, or the store is of
        another network, another preprocessing, of other pictures or settings: the message names the difference.
    StoreError
        When the store or a temporary file cannot be read or written, or the store is damaged: what is safe, and what
        to do.
    ExecutorError
        While running, when the executor takes no more work, or processes that read pictures die.
    NetworkError
        While running, when a layer's outputs are NaN or infinite.

    References
    ----------
    P.-J. Kindermans, K. T. Schütt, M. Alber, K.-R. Müller, D. Erhan, B. Kim, S. Dähne: Learning how to explain neural
    networks: PatternNet and PatternAttribution, ICLR 2018, section 4.

    Examples
    --------
    >>> patterns = cs.fit_patterns(net, "imagenet/train-sample")
    >>> patterns.save("vgg16.patterns")
    >>> cs.attribute(net, "dog.jpg", "patternattribution", patterns=patterns)
    """
    regimes = require_regimes(regime)
    require_choice("denominator", denominator, DENOMINATORS)
    require_counts(few=few)
    pictures = Images.of(images)
    if len(pictures) < 2:
        raise _too_few(len(pictures))
    names = tuple(layer.name for layer in neurons_of(net, layers))
    return begin(
        _FitJob(
            net=net, batch_size=batch_size, workers=workers, layers=names, regimes=regimes, denominator=denominator,
            few=few,
        ),
        pictures, FitProgress, store=store, executor=executor, shards=shards, resume=resume, progress=progress,
    )  # fmt: skip


fit_patterns = completed(fitting_patterns, "fit_patterns", Patterns, lambda steps: last(steps).patterns)


@dataclass(kw_only=True, eq=False, repr=False)
class _FitJob(Job[PatternSums, Patterns]):
    """What a fit does with each batch: a forward pass, and the sums of each layer while its values are at hand."""

    kind = "patterns"
    steps_hold_parts = False

    layers: Sequence[str]
    regimes: tuple[str, ...]
    denominator: str
    few: int

    @cached_property
    def _neurons(self) -> tuple[Neurons, ...]:
        return neurons_of(self.net, self.layers)

    def settings(self) -> dict[str, Any]:
        # The same sums serve several regimes, and every denominator.
        return {"layers": self.layers, "sums": _kept(self.regimes)}

    def cure(self, setting: str) -> str:
        """See `Job`."""
        if setting != "sums":
            return super().cure(setting)
        return (
            "The first says whether there are sums over the active samples, the second over all: regime='positive' "
            "needs the first, 'all' the second, 'negative' both. Ask for what the store has, or give another file."
        )

    def shards(self, images: int, apart: bool) -> int:
        least = _LEAST if apart or self.net.device.type != "cuda" else _LEAST_ON_GPU
        return max(1, min(_SHARDS, images // least))

    def empty(self, device: torch.device) -> PatternSums:  # noqa: ARG002  sums lie where the first values do
        return PatternSums([LayerSums(*_kept(regimes_of(layer, self.regimes))) for layer in self._neurons])

    def room(self, images: int, labels: Collection[str]) -> int:  # noqa: ARG002
        # At most four sums as large as the weights, and a few numbers for each neuron, in float64.
        return sum(8 * (4 * n.weight.numel() + 8 * n.outputs * n.phases + 2**10) for n in self._neurons) + 2**16

    @classmethod
    def restored(cls, state: Mapping[str, Tensor]) -> PatternSums:
        return PatternSums.from_state(state)

    def result(self, part: PatternSums, images: Images, ledger: Ledger) -> Patterns:  # noqa: ARG002
        if part.images < 2:
            raise _too_few(part.images)
        return Patterns.of(self.net, self._neurons, part, self.regimes, self.denominator, self.few)

    def add(self, part: PatternSums, x: Tensor, images: Sequence[int], labels: Sequence[str | None]) -> Check:  # noqa: ARG002
        if part.images and self.net.device.type == "cuda":
            self._add_at_once(part, x)
        else:
            self._visit(x, lambda number, inputs, value: part.layers[number].add(self._neurons[number], inputs, value))
        part.images += len(images)
        return partial(self._require_finite, images, part.finite)

    def _add_at_once(self, part: PatternSums, x: Tensor) -> None:
        """Take in a batch that is not the first, in one launch on a GPU."""
        tensors = self._look(x, torch.cat([sums.tensors["shift"] for sums in part.layers]))
        found: dict[int, dict[str, Tensor]] = defaultdict(dict)
        for (number, name), tensor in zip(self._found, tensors, strict=True):
            found[number][name] = tensor
        for number, sums in found.items():
            part.layers[number].take(sums)

    def _visit(self, x: Tensor, look: Callable[[int, Sequence[Tensor], Tensor], None]) -> None:
        """Show each layer's number, inputs and outputs."""
        numbers = {layer.node: number for number, layer in enumerate(self._neurons)}

        def visit(node: Node, value: Tensor, inputs: Sequence[Tensor]) -> None:
            look(numbers[node], inputs, value)

        with full_precision(self.net.device):
            self.net.visit_nodes(x, numbers, visit)

    @cached_property
    def _look(self) -> Repeated:
        return Repeated(self._sums, self.net.lock)

    def _sums(self, x: Tensor, shifts: Tensor) -> list[Tensor]:
        """Return what a batch adds to the sums of all layers; which are which, always alike, is left in `_found`."""
        names: list[tuple[int, str]] = []
        each = torch.split(shifts, [layer.outputs for layer in self._neurons])
        tensors: list[Tensor] = []

        def look(number: int, inputs: Sequence[Tensor], value: Tensor) -> None:
            layer = self._neurons[number]
            for found in sums_of(layer, inputs, value, each[number], *_kept(regimes_of(layer, self.regimes))):
                for name, tensor in found.items():
                    names.append((number, name))
                    # Samples are of values that the network may write over.
                    tensors.append(tensor.clone() if name.startswith(ROW) else tensor)

        self._visit(x, look)
        self._found = names  # at once: threads may share this
        return tensors

    def _require_finite(self, images: Sequence[int], finite: Tensor) -> None:
        for layer, good in zip(self._neurons, finite.tolist(), strict=True):
            if not good:
                raise NetworkError(
                    f"Expected finite activations, got NaN or infinite values in layer {layer.name!r}, for image "
                    f"{listed(images)}. Check the weights, and how pictures are prepared."
                )


def _kept(regimes: Sequence[str]) -> tuple[bool, bool]:
    """Tell whether sums over active samples are needed, and over all."""
    return "positive" in regimes or "negative" in regimes, "all" in regimes or "negative" in regimes


def _too_few(images: int) -> ArgumentError:
    return ArgumentError(
        f"Expected at least two pictures to fit patterns on, got {images}. A covariance needs hundreds of them, of the "
        "kind that the network was trained on, to mean anything."
    )
