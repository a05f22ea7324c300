"""Linear probes: how well a linear classifier tells the classes apart from what each layer passes on (table 7)."""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from convscope_core.arguments import require_between, require_choice, require_counts
from convscope_core.datasets import Images, natural
from convscope_core.errors import ArgumentError
from convscope_core.jobs import Job, Ledger, Progress, begin, completed, documented, last
from convscope_core.network import Layer, Network, listed_layers
from convscope_core.plots import axes, draws_figure
from convscope_core.saved_result import SavedResult, Values

__all__ = ["CLASSIFIERS", "Probes", "probe", "probing"]

#: What a probe may be.
CLASSIFIERS = ("svm", "softmax")


@dataclass(frozen=True, eq=False, repr=False)
class Probes(SavedResult):
    """How well the classes can be told apart linearly by what each layer passes on.

    Attributes
    ----------
    layers : tuple of str
    accuracy : float64 array (layers, splits)
        Of pictures that the probe was not fitted to, as the mean over classes of the share that is right: 0..1.
    fitted : float64 array (layers, splits)
        The same of those that it was fitted to.
    features : int64 array (layers,)
        Numbers that a probe sees of a picture: units times cells of the grid.
    classes : tuple of str
    images : int64 array (images,)
        The pictures' numbers.
    skipped : tuple of (int, str)
        Pictures that could not be read, with the reason.
    per_class, held_out, grid, classifier, penalty, seed
        As they were asked for.
    network, fingerprint : str
    """

    _form: ClassVar[str] = "convscope probes 1"
    _arrays: ClassVar[dict[str, Values]] = {
        "accuracy": Values("float64", "layers splits", 0, 1),
        "fitted": Values("float64", "layers splits", 0, 1),
        "features": Values("int64", "layers", 1),
        "images": Values("int64", "pictures", 0),
    }

    layers: tuple[str, ...]
    accuracy: npt.NDArray[np.float64]
    fitted: npt.NDArray[np.float64]
    features: npt.NDArray[np.int64]
    classes: tuple[str, ...]
    images: npt.NDArray[np.int64]
    skipped: tuple[tuple[int, str], ...]
    per_class: int
    held_out: int
    grid: int
    classifier: str
    penalty: float
    seed: int
    network: str
    fingerprint: str

    @property
    def chance(self) -> float:
        """Accuracy of guessing."""
        return 1 / len(self.classes)

    def __repr__(self) -> str:
        wide = max(5, *(len(name) for name in self.layers))
        lines = [
            f"Probes ({self.classifier}) of {self.network}: {len(self.classes)} classes, {self.per_class} pictures of "
            f"each to fit, {self.accuracy.shape[1]} splits; chance {self.chance:.1%}",
            f"  {'layer':<{wide}}  features    held out       fitted",
        ]
        spread = self.accuracy.std(1, ddof=1) if self.accuracy.shape[1] > 1 else np.full(len(self.layers), np.nan)
        for place, name in enumerate(self.layers):
            held_out = f"{self.accuracy[place].mean():>6.1%} ±{spread[place]:>5.1%}"
            lines.append(f"  {name:<{wide}}  {self.features[place]:>8}  {held_out}  {self.fitted[place].mean():>6.1%}")
        return "\n".join(lines)

    @draws_figure
    def plot(self) -> Any:
        """Draw the accuracy of every layer, with its spread over splits; chance as a dotted line."""
        figure, panel = axes((0.5 * len(self.layers) + 2, 3))
        spread = self.accuracy.std(1, ddof=1) if self.accuracy.shape[1] > 1 else None
        panel.errorbar(self.layers, self.accuracy.mean(1), spread, marker="o", capsize=3, label="held out")
        panel.plot(self.layers, self.fitted.mean(1), color="0.7", label="fitted")
        panel.axhline(self.chance, color="0.5", linestyle=":")
        panel.set_ylim(0, 1)
        panel.set_ylabel("mean accuracy of classes")
        panel.tick_params(axis="x", rotation=45)
        panel.legend(fontsize="small")
        return figure


class _Features:
    """What each layer passes on of pictures, in few numbers.

    Parameters
    ----------
    images : list of int
    labels : list of str
        The classes of these.
    values : dict of str to list of Tensor (features,)
    """

    def __init__(self, images: list[int], values: dict[str, list[Tensor]]) -> None:
        self.images = images
        self.values = values

    def merge(self, other: _Features) -> None:
        """Take in those of other pictures."""
        self.images += other.images
        for name, found in other.values.items():
            self.values.setdefault(name, []).extend(found)

    def copy(self) -> _Features:
        """Return independent ones of the same pictures."""
        return _Features(self.images[:], {name: found[:] for name, found in self.values.items()})

    def state_dict(self) -> dict[str, Tensor]:
        """Return the state as plain CPU tensors."""
        stacked = {f"layer/{name}": torch.stack(found) for name, found in self.values.items() if found}
        return {"images": torch.tensor(self.images, dtype=torch.int64), **stacked}

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> _Features:
        """Make features of their `state_dict`."""
        values = {name.removeprefix("layer/"): list(found) for name, found in state.items() if name != "images"}
        return cls(state["images"].tolist(), values)


@dataclass(kw_only=True, eq=False, repr=False)
class _ProbeJob(Job[_Features, Probes]):
    """What is kept of each picture, and what is fitted to all of it."""

    kind = "probes"
    steps_hold_parts = False

    layers: tuple[str, ...]
    grid: int
    fit: Mapping[str, Any]

    def settings(self) -> dict[str, Any]:
        """Features depend on layers and grid alone: a store serves probes of every kind."""
        return {"layers": list(self.layers), "grid": self.grid}

    def room(self, images: int, labels: Collection[str]) -> int:  # noqa: ARG002
        features = sum(self.net.layer(name).channels for name in self.layers) * self.grid**2
        return images * (8 + 4 * features) + 2**20

    def empty(self, device: torch.device) -> _Features:  # noqa: ARG002  features are small
        return _Features([], {})

    @classmethod
    def restored(cls, state: Mapping[str, Tensor]) -> _Features:
        return _Features.from_state(state)

    def add(self, part: _Features, x: Tensor, images: Sequence[int], labels: Sequence[str | None]) -> None:
        for image, label in zip(images, labels, strict=True):
            if label is None:
                raise ArgumentError(
                    f"Expected pictures with labels, got picture {image} without. Give a folder of class folders, or a "
                    f"data set of (picture, label)."
                )
        found: dict[str, list[Tensor]] = {}

        def keep(name: str, maps: Tensor) -> None:
            pooled = _pooled(maps, self.grid).float().cpu()
            if not bool(torch.isfinite(pooled).all()):
                raise ArgumentError(
                    f"Expected finite activations, got NaN or infinite ones of {name}. Check the weights."
                )
            found[name] = list(pooled)

        self.net.visit(x, self.layers, keep)
        part.merge(_Features(list(images), found))

    def result(self, part: _Features, images: Images, ledger: Ledger) -> Probes:  # noqa: ARG002
        labels = [str(ledger.label(image)) for image in part.images]
        classes = tuple(sorted(set(labels), key=natural))
        numbers = np.array([classes.index(label) for label in labels])
        fit = dict(self.fit)
        splits = fit.pop("splits")
        drawn = [_split(numbers, classes, fit["per_class"], fit["held_out"], (fit["seed"], s)) for s in range(splits)]
        features = [torch.stack(part.values[name]).numpy().astype(np.float64) for name in self.layers]
        accuracy = np.empty((2, len(self.layers), splits))
        for layer, values in enumerate(features):
            for split, (fitted, held_out) in enumerate(drawn):
                accuracy[:, layer, split] = _fitted(values, numbers, fitted, held_out, fit)
        return Probes(
            layers=self.layers,
            accuracy=accuracy[0],
            fitted=accuracy[1],
            features=np.array([values.shape[1] for values in features]),
            classes=classes,
            images=np.array(part.images),
            skipped=tuple((entry.image, entry.reason) for entry in ledger.skipped),
            grid=self.grid,
            network=self.net.name,
            fingerprint=self.net.fingerprint,
            **fit,
        )


@documented
def probing(
    net: Network,
    images: Any,
    layers: str | Layer | Iterable[str | Layer] | None = None,
    *,
    per_class: int = 30,
    held_out: int = 50,
    splits: int = 5,
    classifier: str = "svm",
    penalty: float = 1.0,
    grid: int = 3,
    store: Any = None,
    executor: Any = None,
    shards: int | None = None,
    resume: bool = True,
    batch_size: int = 8,
    workers: int = 0,
    seed: int = 0,
    progress: bool = False,
) -> Generator[Progress[Probes], None, None]:
    """Measure how well a linear classifier tells the classes apart from what each layer passes on.

    As Zeiler and Fergus (2013), section 5.3 and table 7, do: the network stays as it is, and a linear support vector
    machine or a soft-max is fitted to a few pictures of each class. Where they give it all values of a layer, here maps
    are averaged over the cells of a grid. Each feature is standardised by the pictures that are fitted to, and divided
    by the root of how many there are, so that `penalty` means the same for layers of any size.

    Parameters
    ----------
    net
    images
        With labels; of classes that the network was trained on, or of any others.
    layers
        Default: all with weights.
    per_class : int, default 30
        Pictures of each class to fit to, drawn for each split. The paper has 15 to 60.
    held_out : int, default 50
        How many of the others, at most, to measure with.
    splits : int, default 5
        Draws.
    classifier : {"svm", "softmax"}, default "svm"
        scikit-learn's LinearSVC or LogisticRegression.
    penalty : float, default 1.0
        C of scikit-learn: larger fits closer.
    grid : int, default 3
        Cells along each side of a map; maps that have no more rows and columns are taken whole.
    store
        Keeps the features: other probes of the same layers and grid take no pass over the pictures.
    executor, shards, resume, batch_size, workers, seed, progress

    Yields
    ------
    Progress
        Its `result` is the probes of all pictures so far, fitted when it is asked for.

    Raises
    ------
    ImportError
        Without scikit-learn.
    ArgumentError
        For pictures without labels, fewer than two classes, classes with no more pictures than are fitted to.
    """
    _sklearn()
    require_counts(per_class=per_class, held_out=held_out, splits=splits, grid=grid)
    require_counts(0, seed=seed)
    require_choice("classifier", classifier, CLASSIFIERS)
    require_between("penalty", penalty, 0)
    if layers is None:
        names = [layer.name for layer in net.layers if layer.kind in ("conv", "conv_transpose", "linear")]
    else:
        names = [net.layer(name).name for name in listed_layers(layers)]
    if not names:
        raise ArgumentError("Expected at least one layer, got none. All names: [layer.name for layer in net.layers].")
    fit = {"per_class": per_class, "held_out": held_out, "classifier": classifier, "penalty": float(penalty)}
    job = _ProbeJob(
        net=net,
        batch_size=batch_size,
        workers=workers,
        layers=tuple(dict.fromkeys(names)),
        grid=grid,
        fit={**fit, "splits": splits, "seed": seed},
    )
    return begin(
        job, Images.of(images), Progress,
        store=store, executor=executor, shards=shards, resume=resume, progress=progress,
    )  # fmt: skip


probe = completed(probing, "probe", Probes, lambda steps: last(steps).result)


def _pooled(maps: Tensor, grid: int) -> Tensor:
    """Average maps (N, C, h, w) over the cells of a grid: (N, features)."""
    rows, columns = (min(grid, side) for side in maps.shape[2:])
    return F.adaptive_avg_pool2d(maps, (rows, columns)).flatten(1)


def _split(
    numbers: npt.NDArray[np.int64], classes: Sequence[str], per_class: int, held_out: int, seed: tuple[int, int]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Draw pictures of each class to fit to, and others to measure with."""
    if len(classes) < 2:
        came = f"{classes[0]} alone" if classes else "none yet"
        raise ArgumentError(f"Expected pictures of two classes or more, got {came}.")
    generator = np.random.default_rng(seed)
    fitted, measured = [], []
    for number, name in enumerate(classes):
        mine = np.flatnonzero(numbers == number)
        if len(mine) <= per_class:
            raise ArgumentError(
                f"Expected more than {per_class} pictures of each class, to fit to {per_class} and measure with the "
                f"others, got {len(mine)} of {name}. Give more pictures, or a smaller per_class."
            )
        mine = generator.permutation(mine)
        fitted.append(mine[:per_class])
        measured.append(mine[per_class : per_class + held_out])
    return np.concatenate(fitted), np.concatenate(measured)


def _fitted(
    values: npt.NDArray[np.float64],
    numbers: npt.NDArray[np.int64],
    fitted: npt.NDArray[np.int64],
    held_out: npt.NDArray[np.int64],
    fit: Mapping[str, Any],
) -> tuple[float, float]:
    """Fit a probe, and return the mean accuracy of classes, held out and fitted."""
    mean, spread = values[fitted].mean(0), values[fitted].std(0)
    x = (values - mean) / np.where(spread > 0, spread, 1) / np.sqrt(values.shape[1])
    linear_model, svm = _sklearn()
    if fit["classifier"] == "svm":
        model = svm.LinearSVC(C=fit["penalty"], dual="auto", random_state=fit["seed"], max_iter=10_000)
    else:
        model = linear_model.LogisticRegression(C=fit["penalty"], max_iter=10_000)
    model.fit(x[fitted], numbers[fitted])
    return _mean_accuracy(model.predict(x[held_out]), numbers[held_out]), _mean_accuracy(
        model.predict(x[fitted]), numbers[fitted]
    )


def _mean_accuracy(found: npt.NDArray[np.int64], truth: npt.NDArray[np.int64]) -> float:
    return float(np.mean([(found[truth == number] == number).mean() for number in np.unique(truth)]))


def _sklearn() -> tuple[Any, Any]:
    try:
        from sklearn import linear_model, svm
    except ImportError as e:
        raise ImportError(
            "Expected scikit-learn, to fit linear probes, got none: it is not installed. "
            'pip install "convscope[probes]"'
        ) from e
    return linear_model, svm
