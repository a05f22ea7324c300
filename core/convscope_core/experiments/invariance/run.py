"""The pass over pictures: every transformation of each, the features of all layers, and what they are compared with."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from convscope_core.arguments import require_choice, require_counts
from convscope_core.datasets import Images
from convscope_core.errors import ArgumentError
from convscope_core.experiments.invariance.cells import Cells, axis_of, cells_of, equivariance_error
from convscope_core.experiments.invariance.classes import TARGETS, followed, truth_of
from convscope_core.experiments.invariance.frame import Frame, checked_fill
from convscope_core.experiments.invariance.pictures import Varied
from convscope_core.experiments.invariance.result import InvarianceResult
from convscope_core.experiments.invariance.rows import Row, Rows
from convscope_core.experiments.invariance.spread import Spread
from convscope_core.experiments.invariance.thumbnails import PLACES, SHOWN, SIDE, strip_of
from convscope_core.experiments.invariance.transforms import (
    SHIFTS,
    Transform,
    Transforms,
    checked_transforms,
    margin_of,
)
from convscope_core.jobs import Job, Ledger, Progress, begin, completed, documented, last
from convscope_core.network import Layer, Network, listed_layers

__all__ = ["chosen_layers", "invariance", "measuring_invariance"]


@dataclass(kw_only=True, eq=False, repr=False)
class _InvarianceJob(Job[Rows, InvarianceResult]):
    """What every transformation does to each picture."""

    kind = "invariance"

    transforms: tuple[Transform, ...]
    layers: tuple[str, ...]
    fill: str
    target: str
    seed: int
    forward: int

    def settings(self) -> dict[str, Any]:
        return {
            "transforms": [[name, list(values)] for name, values in self.transforms],
            "layers": list(self.layers),
            "fill": self.fill,
            "target": self.target,
            "seed": self.seed,
        }

    @cached_property
    def varied(self) -> Varied:
        """Makes the pictures."""
        return Varied(self.net, self.fill, margin_of(self.transforms, self.net.input_shape), self.seed)

    @cached_property
    def counts(self) -> list[int]:
        """How many values each transformation has."""
        return [len(values) for _, values in self.transforms]

    @cached_property
    def units(self) -> dict[str, slice]:
        """The place of each layer's units among those of all layers."""
        ends = np.cumsum([self.net.layer(name).channels for name in self.layers]).tolist()
        return {name: slice(a, b) for name, a, b in zip(self.layers, [0, *ends], ends, strict=False)}

    @cached_property
    def cells(self) -> dict[str, dict[int, tuple[int, Cells | None, Cells]]]:
        """For every layer and shift, by its place among all values: its place among shifts, and cells to compare."""
        size = self.net.input_shape[1:]
        found: dict[str, dict[int, tuple[int, Cells | None, Cells]]] = {}
        shifts = [
            (place, name == "shift_y", value)
            for place, (name, value) in enumerate((t.name, value) for t in self.transforms for value in t.values)
            if name in SHIFTS
        ]
        for layer_name in self.layers if shifts else ():
            layer = self.net.layer(layer_name)
            axes = axis_of(layer, True), axis_of(layer, False)
            of_layer = found[layer_name] = {}
            for number, (place, vertical, value) in enumerate(shifts):
                overlap = cells_of(axes, size, vertical, value, False)
                if overlap is not None:
                    of_layer[place] = number, cells_of(axes, size, vertical, value, True), overlap
        return found

    def preparing(self) -> Frame:
        return self.varied.frame

    def empty(self, device: torch.device) -> Rows:  # noqa: ARG002  it is small
        units = sum(self.net.layer(name).channels for name in self.layers)
        return Rows({}, Spread.empty(len(self.transforms), sum(self.counts), units))

    @classmethod
    def restored(cls, state: Mapping[str, Tensor]) -> Rows:
        return Rows.from_state(state)

    def room(self, images: int, labels: Any) -> int:
        values, layers = sum(self.counts), len(self.layers)
        thumbnails = len(self.transforms) * PLACES * SIDE * SIDE * 3 * SHOWN
        return super().room(images, labels) + thumbnails + images * (4096 + 64 * values * (layers + 1))

    def add(self, part: Rows, x: Tensor, images: Sequence[int], labels: Sequence[str | None]) -> None:
        for canvas, image, label in zip(x, images, labels, strict=True):
            self._add(part, canvas[None], image, label)

    def _add(self, part: Rows, canvas: Tensor, image: int, label: str | None) -> None:
        net, total = self.net, sum(self.counts)
        clean: dict[str, Tensor] = {}
        norm = np.zeros((len(self.layers), total))
        distance = np.zeros((len(self.layers), total))
        inside, overlap = (np.full((len(self.layers), self._shifts), np.nan, np.float32) for _ in range(2))
        units = np.zeros((total, self.units[self.layers[-1]].stop))
        clean_norm = np.zeros(len(self.layers))
        number = {name: place for place, name in enumerate(self.layers)}

        def keep(name: str, maps: Tensor) -> None:
            clean[name] = maps.clone()
            clean_norm[number[name]] = _finite(torch.linalg.vector_norm(maps), name)
            # Values that change nothing keep these.
            units[:, self.units[name]] = maps.mean((2, 3)).double().cpu().numpy()

        out: list[npt.NDArray[np.float32]] = []
        chosen: list[npt.NDArray[np.int64]] = []

        def answer(outputs: Tensor) -> None:
            p = net.probabilities(outputs).float().cpu()
            out.append(p.numpy())
            chosen.append(net.decided(p).numpy())
            if not np.isfinite(out[-1]).all():
                raise _not_finite("the classes, their probabilities")

        net.visit(self.varied.clean(canvas), self.layers, keep, answer)
        clean_p, clean_class = out.pop()[0], int(chosen.pop()[0])
        truth = truth_of(net, label)
        target = followed(self.target, truth, clean_p, image, label)
        norm[:] = clean_norm[:, None]
        probability = np.full(total, clean_p[target], np.float32)
        classes = np.full(total, clean_class, np.int64)

        for places, pictures in self._batches(canvas, image):
            # Bound now: the callback is used before the next batch.
            def compare(name: str, maps: Tensor, places: list[int] = places) -> None:
                layer, before = number[name], clean[name]
                norm[layer, places] = torch.linalg.vector_norm(maps, dim=(1, 2, 3)).double().cpu().numpy()
                difference = torch.linalg.vector_norm(maps - before, dim=(1, 2, 3)).double().cpu().numpy()
                if not np.isfinite(difference).all():
                    raise _not_finite(name)
                distance[layer, places] = difference
                units[places, self.units[name]] = maps.mean((2, 3)).double().cpu().numpy()
                for row, place in enumerate(places):
                    entry = self.cells.get(name, {}).get(place)
                    if entry is not None:
                        shift, within, shared = entry
                        overlap[layer, shift] = equivariance_error(before[0], maps[row], shared)
                        if within is not None:
                            inside[layer, shift] = equivariance_error(before[0], maps[row], within)

            net.visit(pictures, self.layers, compare, answer)
            p = out.pop()
            probability[places], classes[places] = p[:, target], chosen.pop()

        part.spread.add(units, self.counts)
        arrays: dict[str, Any] = {
            "targets": np.int64(target), "truths": np.int64(truth), "clean_classes": np.int64(clean_class),
            "clean_probability": clean_p[target], "clean_norm": clean_norm, "distance": distance, "norm": norm,
            "probability": probability, "classes": classes, "inside": inside, "overlap": overlap,
            "strip": strip_of(net, self.varied, canvas, self.transforms if image < SHOWN else (), image),
        }  # fmt: skip
        part.rows[image] = Row(**{name: torch.from_numpy(np.array(array)) for name, array in arrays.items()})

    @property
    def _shifts(self) -> int:
        return sum(len(values) for name, values in self.transforms if name in SHIFTS)

    def _batches(self, canvas: Tensor, image: int) -> Generator[tuple[list[int], Tensor], None, None]:
        """Yield transformed pictures with their places among all values; those that change nothing are left out."""
        start = 0
        held: list[tuple[int, Tensor]] = []
        for transform in self.transforms:
            for first in range(0, len(transform.changing), self.forward):
                places = transform.changing[first : first + self.forward]
                pictures = self.varied(canvas, transform.name, [transform.values[place] for place in places], image)
                held += zip([start + place for place in places], pictures, strict=True)
                while len(held) >= self.forward:
                    yield _batch(held[: self.forward])
                    del held[: self.forward]
            start += len(transform.values)
        if held:
            yield _batch(held)

    def result(self, part: Rows, images: Images, ledger: Ledger) -> InvarianceResult:  # noqa: ARG002
        numbers = np.array(sorted(part.rows), np.int64)
        fields: dict[str, Any] = {}
        for name in Row._fields:
            if name != "strip" and len(numbers):
                fields[name] = part.stacked(name)
        shown = [part.rows[image].strip.numpy() for image in numbers if len(part.rows[image].strip)]
        return InvarianceResult(
            transforms=self.transforms,
            layers=self.layers,
            units=tuple(self.net.layer(name).channels for name in self.layers),
            images=numbers,
            skipped=tuple((entry.image, entry.reason) for entry in ledger.skipped),
            over_transforms=part.spread.over_transforms(),
            over_pictures=part.spread.over_pictures(self.counts),
            strips=np.stack(shown) if shown else np.zeros((0, len(self.transforms), PLACES, SIDE, SIDE, 3), np.uint8),
            labels=self.net.labels,
            fill=self.fill,
            target=self.target,
            seed=self.seed,
            network=self.net.name,
            fingerprint=self.net.fingerprint,
            **fields,
        )


def _batch(held: list[tuple[int, Tensor]]) -> tuple[list[int], Tensor]:
    return [place for place, _ in held], torch.stack([picture for _, picture in held])


def _finite(number: Tensor, layer: str) -> float:
    found = float(number)
    if not math.isfinite(found):
        raise _not_finite(layer)
    return found


def _not_finite(layer: str) -> ArgumentError:
    return ArgumentError(f"Expected finite features of {layer}, got NaN or infinite ones. Check the weights.")


@documented
def measuring_invariance(
    net: Network,
    images: Any,
    transforms: Transforms = None,
    layers: str | Layer | Iterable[str | Layer] | None = None,
    *,
    fill: Any = "mean",
    target: str = "predicted",
    store: str | Path | None = None,
    executor: Any = None,
    shards: int | None = None,
    resume: bool = True,
    batch_size: int = 8,
    workers: int = 0,
    seed: int = 0,
    progress: bool = False,
) -> Generator[Progress[InvarianceResult], None, None]:
    """Measure how far features and class follow when pictures are moved or changed.

    As Zeiler & Fergus (2013), figure 5, do for translation, scale and rotation: the distance between the features of
    the transformed picture and of the picture as it is, layer by layer, and the probability of a class. Beside them,
    how much units vary over a transformation and over pictures, and how far maps move with the picture. One forward
    pass a transformed picture serves all layers; a value that leaves the picture as it is costs none, and its distance
    is exactly 0. Definitions and sources: `InvarianceResult`.

    Parameters
    ----------
    net
    images
        Those that cannot be read are skipped and listed.
    transforms : str, iterable of str, or mapping of str to iterable of float, optional
        "shift_y" (down) and "shift_x" (right), in pixels of the network's input; "scale", a factor that enlarges above
        1; "rotation" in degrees, counter-clockwise; "blur", the standard deviation in pixels; "brightness" and
        "contrast", factors; "hue" in degrees; "noise", the standard deviation of colours between 0 and 1; "jpeg", the
        quality, where 100 stands for the picture that was not compressed. A mapping gives their values. Default: the
        paper's, vertical translation by up to 60 of 224 pixels, scale 1 to 1.8, rotation 0 to 350 degrees.
    layers : str, Layer or several of them, optional
        Default: all with weights.
    fill : str or colour, default "mean"
        What is seen beyond the picture where pixels move: its "mean" colour; its mirror image, "reflect"; its outermost
        pixels, "edge"; its other side, "wrap"; or what the preprocessing cut off, "source", as far as that goes, then
        the mirror image. Or a colour, as for `occlusion_map`.
    target : {"predicted", "true"}, default "predicted"
        The class whose probability is followed: the most probable one for the picture as it is, or the picture's label.
    store, executor, shards, resume, batch_size, workers
    seed
        Of noise.
    progress

    Yields
    ------
    Progress
        After every picture; its `result` is of those so far. Closing the generator cancels.

    Raises
    ------
    ArgumentError
        When a transformation is not known, has no values or some out of range; when an argument is out of range; while
        running, when labels are asked for and a picture has none, or features are not finite.
    LayerError
        When a layer does not exist.
    ImageError
        When the pictures do not exist, or not one could be read.

    References
    ----------
    M. D. Zeiler, R. Fergus: Visualizing and Understanding Convolutional Networks, arXiv:1311.2901 (2013), section 4.1
    and figure 5.

    Examples
    --------
    >>> found = cs.invariance(net, "photos/", {"rotation": range(0, 360, 30)}, ["conv1", "fc7"])
    >>> found.plot()
    """
    require_counts(batch_size=batch_size)
    require_counts(0, seed=seed)
    require_choice("target", target, TARGETS)
    chosen = checked_transforms(transforms, net.input_shape)
    job = _InvarianceJob(
        net=net,
        batch_size=1,
        workers=workers,
        transforms=chosen,
        layers=chosen_layers(net, layers),
        fill=checked_fill(fill),
        target=target,
        seed=seed,
        forward=batch_size,
    )
    return begin(
        job, Images.of(images), Progress,
        store=store, executor=executor, shards=shards, resume=resume, progress=progress,
    )  # fmt: skip


invariance = completed(measuring_invariance, "invariance", InvarianceResult, lambda steps: last(steps).result)


def chosen_layers(net: Network, layers: str | Layer | Iterable[str | Layer] | None) -> tuple[str, ...]:
    """Return layers by their own names, in execution order; those with weights by default.

    Raises
    ------
    ArgumentError, LayerError
        When there is none, or one does not exist.
    """
    if layers is None:
        found = {layer.name for layer in net.layers if layer.kind in ("conv", "conv_transpose", "linear")}
    else:
        found = {net.layer(name).name for name in listed_layers(layers)}
    if not found:
        raise ArgumentError("Expected at least one layer, got none. All names: [layer.name for layer in net.layers].")
    return tuple(layer.name for layer in net.layers if layer.name in found)
