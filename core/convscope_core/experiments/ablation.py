"""What becomes of the answers when units or whole layers say nothing."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from convscope_core.arguments import is_whole, plain_methods
from convscope_core.datasets import Images
from convscope_core.errors import ArgumentError, LayerError, did_you_mean
from convscope_core.graph import Node
from convscope_core.graph.forward import evaluated
from convscope_core.graph.node import needed_for
from convscope_core.jobs import Job, Ledger, Progress, begin, completed, documented, last
from convscope_core.network import Layer, Network, listed_layers
from convscope_core.plots import axes, draws_figure
from convscope_core.saved_result import SavedResult, Values

__all__ = ["Ablation", "ablating", "ablation"]

Silence = Mapping[str, Sequence[int] | None]
"""By layer, which units say nothing; None: all."""


@plain_methods
@dataclass(frozen=True, eq=False, repr=False)
class Ablation(SavedResult):
    """How often a network is right when units are silenced.

    Attributes
    ----------
    labels : tuple of str
        What is silenced in each row; the first is "nothing".
    right : int64 array (rows, classes)
        How many pictures of each class are right.
    probability : float64 array (rows, classes)
        Sum over these of the probability of their class.
    kept : int64 array (rows, classes)
        How many have the most probable class that they have when nothing is silenced, right or wrong.
    counts : int64 array (classes,)
        Pictures of each class.
    classes : tuple of str
        The network's, of which there are pictures.
    images : int64 array (images,)
        The pictures' numbers.
    skipped : tuple of (int, str)
        Pictures that could not be read, with the reason.
    network, fingerprint : str
    """

    _form: ClassVar[str] = "convscope ablation 1"
    _arrays: ClassVar[dict[str, Values]] = {
        "right": Values("int64", "labels classes", 0),
        "probability": Values("float64", "labels classes", 0),
        "kept": Values("int64", "labels classes", 0),
        "counts": Values("int64", "classes", 0),
        "images": Values("int64", "pictures", 0),
    }

    labels: tuple[str, ...]
    right: npt.NDArray[np.int64]
    probability: npt.NDArray[np.float64]
    kept: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]
    classes: tuple[str, ...]
    images: npt.NDArray[np.int64]
    skipped: tuple[tuple[int, str], ...]
    network: str
    fingerprint: str

    @property
    def accuracy(self) -> npt.NDArray[np.float64]:
        """(rows,) share of the pictures that are right: 0..1."""
        return _share(self.right, self.counts)

    @property
    def mean_probability(self) -> npt.NDArray[np.float64]:
        """(rows,) mean probability of the pictures' own class: 0..1."""
        return _share(self.probability, self.counts)

    @property
    def changed(self) -> npt.NDArray[np.float64]:
        """(rows,) share of the pictures whose most probable class is another than when nothing is silenced."""
        return 1 - _share(self.kept, self.counts)

    @property
    def accuracies(self) -> npt.NDArray[np.float64]:
        """(rows, classes) share of the pictures of each class that are right."""
        found: npt.NDArray[np.float64] = self.right / self.counts
        return found

    def worst(self, row: int | str, k: int = 3) -> list[tuple[str, float]]:
        """Return the classes that lose the most accuracy in a row, with how much; by its label or number."""
        if isinstance(row, str) and row not in self.labels:
            raise ArgumentError(f"Expected what is silenced, got {row!r}.{did_you_mean(row, self.labels)}")
        place = self.labels.index(row) if isinstance(row, str) else row
        lost = self.accuracies[0] - self.accuracies[place]
        order = np.argsort(-lost, kind="stable")[:k]
        return [(self.classes[number], float(lost[number])) for number in order]

    def __repr__(self) -> str:
        wide = max(8, *(len(label) for label in self.labels))
        lines = [
            f"Ablation of {self.network}: {_many(int(self.counts.sum()), 'picture')} of "
            f"{_many(len(self.classes), 'class', 'classes')}",
            f"  {'silenced':<{wide}}  accuracy  probability  changed  loses most",
        ]
        rows = range(len(self.labels)) if len(self.labels) <= 20 else self._most()
        for row in rows:
            name, lost = self.worst(row, 1)[0]
            lines.append(
                f"  {self.labels[row]:<{wide}}  {self.accuracy[row]:>8.1%}  {self.mean_probability[row]:>11.3f}  "
                f"{self.changed[row]:>7.1%}  {f'{name} {-lost:+.0%}' if row and lost > 0 else ''}".rstrip()
            )
        if len(self.labels) > 20:
            lines.append(f"  ... and {len(self.labels) - len(rows)} that change less")
        return "\n".join(lines)

    def _most(self) -> list[int]:
        order = np.argsort(-self.changed[1:], kind="stable")[:12] + 1
        return [0, *order.tolist()]

    @draws_figure
    def plot(self) -> Any:
        """Draw accuracy and mean probability of every row, those of the whole network as lines."""
        figure, panel = axes((max(4.0, 0.25 * len(self.labels)), 3))
        places = np.arange(1, len(self.labels))
        for values, label, colour in (
            (self.accuracy, "accuracy", "C0"),
            (self.mean_probability, "probability of the class", "C1"),
        ):
            panel.plot(places, values[1:], ".", color=colour, label=label)
            panel.axhline(values[0], color=colour, linewidth=0.8)
        panel.set_ylim(0, 1)
        if len(places) <= 40:
            panel.set_xticks(places, self.labels[1:], rotation=90, fontsize="small")
        panel.set_xlabel("silenced")
        panel.legend(fontsize="small")
        return figure


class _Counts:
    """Sums over pictures, by row and class of the network.

    Parameters
    ----------
    images : list of int
    sums : Tensor (3, rows, classes) float64
        Right; probability of the class; with the class of the whole network.
    counts : Tensor (classes,) int64
    """

    def __init__(self, images: list[int], sums: Tensor, counts: Tensor) -> None:
        self.images, self.sums, self.counts = images, sums, counts

    def merge(self, other: _Counts) -> None:
        self.images = [*self.images, *other.images]
        self.sums, self.counts = self.sums + other.sums, self.counts + other.counts

    def copy(self) -> _Counts:
        return _Counts(self.images, self.sums, self.counts)

    def state_dict(self) -> dict[str, Tensor]:
        return {"images": torch.tensor(self.images, dtype=torch.int64), "sums": self.sums, "counts": self.counts}


class _Rest:
    """The part of a network that depends on layers, to be computed again with units of these silenced.

    Parameters
    ----------
    net : Network
    layers : tuple of str

    Attributes
    ----------
    frontier : list of Node
        Whose values of the whole network it begins with.
    """

    def __init__(self, net: Network, layers: tuple[str, ...]) -> None:
        graph = net.graph
        self._layers = {net.graph_layer(name).node: (name, net.graph_layer(name).axes[0] + 1) for name in layers}
        after: set[Node] = set()
        for node in graph.nodes:
            if any(i in after or i in self._layers for i in node.inputs):
                after.add(node)
        self._steps = [node for node in graph.nodes if node in after and node in needed_for([graph.output])]
        self._output = graph.output
        last = {i: node for node in self._steps for i in node.inputs}
        self._free = {node: [i for i in dict.fromkeys(node.inputs) if last[i] is node] for node in self._steps}
        used = dict.fromkeys(i for node in self._steps for i in node.inputs if i not in after)
        # a layer that nothing silenced comes before is begun with, and so is one that is the output itself
        first = [node for node in self._layers if node not in after]
        self.frontier = list(dict.fromkeys([*first, *used]))

    def outputs(self, known: Mapping[Node, Tensor], units: Silence) -> Tensor:
        """Compute the network's outputs (N, K) with units of the layers silenced."""
        values: dict[Node, Any] = {node: self._silenced(node, known[node], units) for node in self.frontier}
        for node in self._steps:
            values[node] = self._silenced(node, evaluated(node, values.__getitem__), units)
            for done in self._free[node]:
                if done is not self._output:
                    del values[done]
        found: Tensor = values[self._output]
        return found

    def _silenced(self, node: Node, value: Any, units: Silence) -> Any:
        if node not in self._layers:
            return value
        name, axis = self._layers[node]
        chosen = units[name]
        if chosen is None:
            return torch.zeros_like(value)
        return value.index_fill(axis, torch.tensor(list(chosen), dtype=torch.int64, device=value.device), 0)


@dataclass(kw_only=True, eq=False, repr=False)
class _AblationJob(Job[_Counts, Ablation]):
    """Each batch is given to every network with something silenced."""

    kind = "ablation"

    silenced: dict[str, dict[str, list[int] | None]]

    @cached_property
    def rests(self) -> list[_Rest]:
        """By row: what is computed again. Rows of the same layers share it."""
        made: dict[tuple[str, ...], _Rest] = {}
        return [made.setdefault(tuple(units), _Rest(self.net, tuple(units))) for units in self.silenced.values()]

    def empty(self, device: torch.device) -> _Counts:  # noqa: ARG002  sums are small
        classes = len(self.net.labels)
        rows = len(self.silenced) + 1
        return _Counts([], torch.zeros(3, rows, classes, dtype=torch.float64), torch.zeros(classes, dtype=torch.int64))

    @classmethod
    def restored(cls, state: Mapping[str, Tensor]) -> _Counts:
        return _Counts(state["images"].tolist(), state["sums"], state["counts"])

    def add(self, part: _Counts, x: Tensor, images: Sequence[int], labels: Sequence[str | None]) -> None:
        classes = torch.tensor([_class(self.net, image, one) for image, one in zip(images, labels, strict=True)])
        rows: list[Tensor] = []
        intact: Tensor | None = None
        for p in self._probabilities(x):
            found = self.net.decided(p)
            intact = found if intact is None else intact
            rows.append(torch.stack([found == classes, p[torch.arange(len(p)), classes], found == intact]))
        sums = torch.zeros_like(part.sums)
        sums.index_add_(2, classes, torch.stack(rows, 1))
        part.merge(_Counts(list(images), sums, torch.bincount(classes, minlength=len(self.net.labels))))

    def _probabilities(self, x: Tensor) -> Iterator[Tensor]:
        """Class probabilities (N, K) of a batch: of the whole network, then of each row."""
        frontier = dict.fromkeys(node for rest in self.rests for node in rest.frontier)
        with self.net.lock, torch.inference_mode():
            outputs, values = self.net.runner(x, frontier)
        yield self._checked(outputs, "the whole network")
        for (label, units), rest in zip(self.silenced.items(), self.rests, strict=True):
            with torch.inference_mode():
                outputs = rest.outputs(values, units)
            yield self._checked(outputs, f"the network without {label}")

    def _checked(self, outputs: Tensor, what: str) -> Tensor:
        p = self.net.probabilities(outputs).double().cpu()
        if not bool(torch.isfinite(p).all()):
            raise ArgumentError(f"Expected finite outputs, got NaN or infinity of {what}. Check the weights.")
        return p

    def result(self, part: _Counts, images: Images, ledger: Ledger) -> Ablation:  # noqa: ARG002
        there = part.counts.numpy() > 0
        right, probability, kept = part.sums.numpy()[:, :, there]
        return Ablation(
            labels=("nothing", *self.silenced),
            right=right.astype(np.int64),
            probability=probability,
            kept=kept.astype(np.int64),
            counts=part.counts.numpy()[there],
            classes=tuple(name for name, known in zip(self.net.labels, there, strict=True) if known),
            images=np.array(part.images),
            skipped=tuple((entry.image, entry.reason) for entry in ledger.skipped),
            network=self.net.name,
            fingerprint=self.net.fingerprint,
        )


@documented
def ablating(
    net: Network,
    images: Any,
    silence: str | Layer | Iterable[str | Layer] | Mapping[str, Silence],
    *,
    store: Any = None,
    executor: Any = None,
    shards: int | None = None,
    resume: bool = True,
    batch_size: int = 32,
    workers: int = 0,
    progress: bool = False,
) -> Generator[Progress[Ablation], None, None]:
    """Measure accuracy and class probability with units or layers silenced.

    Where training a network without layers asks what layers are good for when the others may make up for them, as in
    table 3 of Zeiler and Fergus (2013), this asks what the trained network uses. Silenced units are 0 after the
    activation that follows; only what depends on them is computed again.

    Parameters
    ----------
    net
    images
        With labels that are classes of the network.
    silence : str, Layer, iterable of them, or mapping of str to mapping
        - A layer, or several: every unit of it by itself, a row each.
        - A mapping of rows, by a label of your choice, to what is silenced together: layers to units (None: all).
          ``{"eyes": {"conv5": [3, 17]}, "no conv4": {"conv4": None}}``
    store, executor, shards, resume, batch_size, workers, progress

    Yields
    ------
    Progress
        Its `result` is of the pictures so far.

    Raises
    ------
    ArgumentError
        For pictures without a label, or with one that is no class of the network.
    LayerError
        For layers and units that do not exist.
    """
    rows: dict[str, dict[str, list[int] | None]] = {}
    if isinstance(silence, Mapping):
        for label, units in silence.items():
            if not isinstance(units, Mapping):
                raise ArgumentError(
                    f"Expected what is silenced in {label!r} as a mapping of layers to units, got {units!r}. For "
                    f'example {{"conv5": [3, 17]}}.'
                )
            if not units:
                raise ArgumentError(
                    f"Expected what is silenced in {label!r} as a mapping of layers to units, got an empty one. The "
                    "whole network is the first row of every result."
                )
            rows[str(label)] = {net.layer(name).name: _units(net, name, which) for name, which in units.items()}
    else:
        for name in listed_layers(silence):
            layer = net.layer(name)
            rows.update({f"{layer.name}/{unit}": {layer.name: [unit]} for unit in range(layer.channels)})
    if not rows:
        raise ArgumentError("Expected something to silence, got nothing. Give a layer, or a mapping of rows.")
    if "nothing" in rows:
        raise ArgumentError("Expected labels of rows, got 'nothing', which is the whole network's. Choose another.")
    job = _AblationJob(net=net, batch_size=batch_size, workers=workers, silenced=rows)
    return begin(
        job, Images.of(images), Progress,
        store=store, executor=executor, shards=shards, resume=resume, progress=progress,
    )  # fmt: skip


ablation = completed(ablating, "ablation", Ablation, lambda steps: last(steps).result)


def _units(net: Network, name: str, which: Any) -> list[int] | None:
    if which is None:
        return None
    layer = net.layer(name)
    numbers = list(which) if isinstance(which, Iterable) and not isinstance(which, str) else [which]
    for number in numbers:
        whole = is_whole(number)
        if not whole or not 0 <= number < layer.channels:
            raise LayerError(f"Expected units of {layer.name}, 0 to {layer.channels - 1}, got {number!r}.")
    return [int(number) for number in numbers]


def _many(count: int, one: str, several: str | None = None) -> str:
    return f"{count:,} {one if count == 1 else several or one + 's'}"


def _share(sums: npt.NDArray[Any], counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    found: npt.NDArray[np.float64] = sums.sum(1) / counts.sum()
    return found


def _class(net: Network, image: int, label: str | None) -> int:
    if label is None:
        raise ArgumentError(
            f"Expected pictures with labels, got picture {image} without. Give a folder of class folders, or a data "
            f"set of (picture, label)."
        )
    try:
        return net.class_index(label)
    except ArgumentError as error:
        raise ArgumentError(f"{str(error).rstrip('.')}, as the label of picture {image}.") from None
