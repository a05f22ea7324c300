"""The sweep: an occluder at every position of a picture, from coarse to fine.

Neither size nor stride is in the text of Zeiler & Fergus (2014): 50 pixels and 6 were measured in figure 7 (30x30
positions on a picture of 224x224).

The values are exact: each comes from the picture with the occluder there, of which only what changes is computed
(`convscope_core.graph.regions`).
"""

from __future__ import annotations

import warnings
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from convscope_core.arguments import require_between, require_choice, require_counts
from convscope_core.errors import ArgumentError
from convscope_core.graph.regions import Regions
from convscope_core.jobs.forms import completed, documented, shown
from convscope_core.network import Network
from convscope_core.occlusion.box import Size, extent_of, whole_number
from convscope_core.occlusion.fills import Fill, fill_name
from convscope_core.occlusion.occluder import Occlusion
from convscope_core.occlusion.preview import Preview, first_order
from convscope_core.occlusion.result import NO_CLASS, OcclusionResult, no_channel
from convscope_core.occlusion.shapes import Shape, shape_name
from convscope_core.preprocessing import Preprocessing

__all__ = ["occluding_map", "occlusion_map"]

_PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}

#: At so many positions lower precision is compared with float32.
_COMPARED = 16


@documented
def occluding_map(
    net: Network,
    image: Any,
    size: Size = 50,
    stride: Size = 6,
    fill: Fill = "grey",
    target: int | str | None = None,
    layer: str | None = None,
    *,
    channel: int | None = None,
    maps: Sequence[tuple[str, int]] = (),
    shape: Shape = "square",
    seed: int = 0,
    keep_all: bool = False,
    preview: bool = False,
    start: OcclusionResult | None = None,
    budget: int | None = None,
    precision: str = "float32",
    seconds: float | None = None,
    progress: bool = False,
) -> Generator[OcclusionResult, None, None]:
    """Slide an occluder over a picture and record what the network predicts at every position.

    Positions are computed from coarse to fine: every 8th along each axis comes first, then every 4th, every 2nd, all.
    In `occlusion_map` an interrupt (Ctrl-C, the notebook's stop button) ends the computation with a warning and returns
    what there is, and so does an error in its middle, such as memory that runs out. With nothing computed yet, either
    is raised.

    Parameters
    ----------
    net, image
    size : int or (height, width), default 50
        Of the occluder, in pixels of the network's input.
    stride : int or (down, across), default 6
        Distance of neighbouring positions in pixels. The first is the upper left corner; the occluder is always
        wholly inside.
    fill : str, (red, green, blue) or a picture, default "grey"
        Of the occluder; see `Occlusion`.
    target : int or str, optional
        The class whose probability is recorded. Default: the most probable for the clean picture.
    layer : str, optional
        The layer of which one unit's activity is recorded, the sum of its feature map. Default: the last convolution
        with feature maps.
    channel : int, optional
        The unit. Default: that with the greatest activity for the clean picture. (The paper takes "the strongest
        response" and then shows sums; greatest sum and greatest value may be of different units.)
    maps : sequence of (layer, channel), default ()
        Further units to record, of any layers.
    shape : str, outline or bool array, default "square"
        Of the occluder; see `Occlusion`.
    seed : int, default 0
        Of the noise, where that is the fill.
    keep_all : bool, default False
        Whether to keep the probabilities of all classes and the activities of all units of the layer, for
        `OcclusionResult.follow`.
    preview : bool, default False
        Whether to estimate the map by the gradient first; see `Preview`. There is none where the fill depends on
        the place (``"inpaint"``), or an operation of the network has no derivative.
    start : OcclusionResult, optional
        A result of the same settings to go on from; what it holds is not computed again. Target, layer and channel
        are its own where they are left out here. Of pictures as fills only the name is compared.
    budget : int, optional
        Bytes that what is computed at once may take. Default: 128 MiB for a batch, of which a processor's threads
        compute up to four at once, on CUDA 2 GiB.
    precision : {"float32", "bfloat16", "float16"}, default "float32"
        In which numbers to compute what changes. The lower ones are faster on accelerators made for them, and
        inexact: `OcclusionResult.rounding` is by how much.
    seconds : float, optional
        About how long what is computed at once may take, for a caller with other things to do in between. Default: as
        long as batches of the size that memory allows.
    progress

    Yields
    ------
    OcclusionResult
        What there is after every batch, in arrays of its own, but for those of ``keep_all``; positions that are not
        computed yet are NaN, and -1 in `label`. The last is complete. With a preview, the first holds that only.

    Raises
    ------
    ArgumentError
        When an argument is not of these: by the call itself, before anything is computed.
    LayerError
        When there is no such layer.
    ImageError
        When the picture cannot be read, or holds NaN.
    ImportError
        When the fill is ``"inpaint"`` and OpenCV is not installed.

    References
    ----------
    M. D. Zeiler, R. Fergus: Visualizing and Understanding Convolutional Networks, ECCV 2014, section 4.2, fig. 7.
    """
    occlusion = Occlusion(net, image, fill, shape, seed)
    extent = extent_of(size, occlusion.size)
    occlusion.box_mask(extent)
    if start is not None:
        if start.fingerprint != net.fingerprint:
            raise ArgumentError(
                f"Expected start, a result of the same settings, got one of another network, {start.network}."
            )
        target = start.target if target is None else target
        layer = start.layer if layer is None else layer
    name = _default_layer(net) if layer is None else net.layer(layer).name
    if start is not None and channel is None and name == start.layer:
        channel = start.channel
    settings = _Settings(
        occlusion,
        extent,
        _steps(stride),
        None if target is None else net.class_index(target),
        name,
        _checked_channel(net, name, channel),
        _checked_maps(net, maps),
        keep_all,
        preview,
        start,
        budget,
        seconds,
        precision,
    )
    require_choice("precision", precision, _PRECISIONS)
    if budget is not None:
        require_counts(budget=budget)
    if seconds is not None:
        require_between("seconds", seconds, 0, closed=True)
    if start is not None:
        settings.check_start(start)
    steps = _computed(settings)
    return shown(steps, "occlusion", "position", _reached) if progress else steps


def _reached(result: OcclusionResult) -> tuple[int, int]:
    return int(result.computed.sum()), result.label.size


def _whole(steps: Iterator[OcclusionResult]) -> OcclusionResult:
    """Return the last result; of a computation that is stopped, with a warning, if it has any position."""
    result: OcclusionResult | None = None
    try:
        for result in steps:  # noqa: B007  kept when the next fails
            pass
    except (KeyboardInterrupt, Exception) as e:
        if result is None or not result.computed.any():
            raise
        done = "{} of {} positions are computed".format(*_reached(result))
        if isinstance(e, KeyboardInterrupt):
            warnings.warn(f"interrupted: {done}", stacklevel=3)
        else:
            warnings.warn(f"stopped by {type(e).__name__}: {e}; {done}", RuntimeWarning, stacklevel=3)
    assert result is not None
    return result


occlusion_map = completed(occluding_map, "occlusion_map", OcclusionResult, _whole)


@dataclass(frozen=True, eq=False)
class _Settings:
    """What to compute, checked."""

    occlusion: Occlusion
    size: tuple[int, int]
    stride: tuple[int, int]
    target: int | None
    layer: str | None
    channel: int | None
    maps: tuple[tuple[str, int], ...]
    keep_all: bool
    preview: bool
    start: OcclusionResult | None
    budget: int | None
    seconds: float | None
    precision: str

    @property
    def layers(self) -> list[str]:
        return list(dict.fromkeys([*([] if self.layer is None else [self.layer]), *(name for name, _ in self.maps)]))

    def recorded(self, channel: int | None) -> tuple[tuple[str, int], ...]:
        """Return the units to record, each once, given that of the layer."""
        first = [] if self.layer is None or channel is None else [(self.layer, channel)]
        return tuple(dict.fromkeys([*first, *self.maps]))

    def check_start(self, start: OcclusionResult) -> None:
        """Refuse a result of other settings to go on from."""
        o = self.occlusion
        pairs: dict[str, tuple[object, object]] = {
            "size": (self.size, start.size),
            "stride": (self.stride, start.stride),
            "fill": (fill_name(o.fill), start.fill),
            "seed": (o.seed, start.seed),
            "target": (self.target, start.target),
            "precision": (self.precision, start.precision),
            "maps": (self.recorded(self.channel), start.maps),
        }
        other = [name for name, (mine, its) in pairs.items() if mine != its]
        if not np.array_equal(o.picture, start.picture):
            other.insert(0, "picture")
        if shape_name(o.shape) != shape_name(start.shape) or not np.array_equal(
            np.asarray(o.shape), np.asarray(start.shape)
        ):
            other.append("shape")
        # What preprocessing does to values is not to be seen in the picture, but in what the network makes of it.
        near = 1e-4 if self.precision == "float32" else 0.05
        if not np.allclose(o.clean.probabilities, start.clean.probabilities, rtol=0, atol=near, equal_nan=True):
            other.append("preprocessing, with which it predicts something else without occluder")
        elif start.preprocessing is not None and (
            words := Preprocessing.difference(start.preprocessing, o.net.preprocessing.identity)
        ):
            other.append(f"preprocessing ({words})")
        if other:
            raise ArgumentError(
                f"Expected start, a result of the same settings, got one of another {', '.join(other)}."
            )
        if self.keep_all and start.all_probabilities is None:
            raise ArgumentError(
                "Expected start, a result of the same settings, got one without keep_all. Leave out start or keep_all."
            )


def _computed(settings: _Settings) -> Generator[OcclusionResult, None, None]:
    occlusion, size, layer, start = settings.occlusion, settings.size, settings.layer, settings.start
    net = occlusion.net
    regions = net.regions(
        occlusion.image, settings.layers, budget=settings.budget, dtype=_PRECISIONS[settings.precision]
    )
    clean = net.prediction(regions.output)
    target = clean.index if settings.target is None else settings.target
    found = {name: net.graph_layer(name) for name in settings.layers}
    sums = {name: _sums(regions.values[g.node][0], g.axes[0]) for name, g in found.items()}
    channel = int(sums[layer].argmax()) if layer is not None and settings.channel is None else settings.channel
    maps = settings.recorded(channel)
    tops, lefts = (np.arange(0, n - s + 1, d) for n, s, d in zip(occlusion.size, size, settings.stride, strict=True))
    positions = np.stack(np.meshgrid(tops, lefts, indexing="ij"), -1)
    shape = positions.shape[:2]
    probability = np.full(shape, np.nan, np.float32)
    label = np.full(shape, -1, np.int64)
    activities = np.full((len(maps), *shape), np.nan)
    all_probabilities = np.full((*shape, len(net.labels)), np.nan, np.float32) if settings.keep_all else None
    all_activities: npt.NDArray[np.float32] | None = None
    if settings.keep_all and layer is not None:
        all_activities = np.full((*shape, len(sums[layer])), np.nan, np.float32)
    estimate: Preview | None = None
    if start is not None:
        done, estimate = start.computed, start.preview
        probability[done], label[done], activities[:, done] = (
            start.probability[done], start.label[done], start.activities[:, done],
        )  # fmt: skip
        for mine, its in ((all_probabilities, start.all_probabilities), (all_activities, start.all_activities)):
            if mine is not None and its is not None:
                mine[done] = its[done]
    fresh = estimate is None and settings.preview
    if fresh:
        estimate = first_order(occlusion, size, settings.stride, target, layer, channel)
    constant: dict[str, Any] = {
        "positions": positions, "clean": clean, "target": target, "layer": layer, "channel": channel, "maps": maps,
        "clean_activities": np.array([sums[name][c] for name, c in maps], np.float64), "size": size,
        "stride": settings.stride, "fill": fill_name(occlusion.fill), "shape": occlusion.shape, "seed": occlusion.seed,
        "picture": occlusion.picture, "network": net.name, "fingerprint": net.fingerprint,
        "preprocessing": net.preprocessing.identity,
        "all_probabilities": all_probabilities, "all_activities": all_activities,
        "clean_all_activities": None if all_activities is None else sums[cast(str, layer)], "preview": estimate,
        "precision": settings.precision, "rounding": _rounding(settings, regions, target, positions),
    }  # fmt: skip

    def now() -> OcclusionResult:
        return OcclusionResult(
            probability=probability.copy(), label=label.copy(), activities=activities.copy(), **constant
        )

    if (fresh and estimate is not None) or now().complete:
        yield now()
    computed = now().computed
    for level in _coarse_to_fine(*shape):
        cells = [cell for cell in level if not computed[cell]]
        if not cells:
            continue
        places = [(int(tops[r]), int(lefts[c])) for r, c in cells]
        batches = regions.sweep(
            places,
            size,
            lambda chunk: occlusion.patches(chunk, size),
            [g.node for g in found.values()],
            settings.seconds,
        )
        while True:
            with net.lock:  # between batches others may ask the network something
                batch = next(batches, None)
            if batch is None:
                break
            indices, output, changed = batch
            rows, columns = np.array([cells[i] for i in indices]).T
            p = net.probabilities(output)
            probability[rows, columns] = p[:, target].cpu().numpy()
            if all_probabilities is not None:
                all_probabilities[rows, columns] = p.cpu().numpy()
            for m, (name, c) in enumerate(maps):
                totals = changed[found[name].node].totals(c, found[name].axes[0] + 1)
                activities[m, rows, columns] = totals.cpu().numpy()
            if all_activities is not None:
                g = found[cast(str, layer)]
                all_activities[rows, columns] = changed[g.node].totals(None, g.axes[0] + 1).cpu().numpy()
            # Of numbers that are none, none is the greatest, whatever argmax says.
            label[rows, columns] = torch.where(p.isnan().any(1), NO_CLASS, p.argmax(1)).cpu().numpy()
            yield now()


def _rounding(settings: _Settings, regions: Regions, target: int, positions: npt.NDArray[np.int64]) -> float:
    """Return the greatest difference from float32 of the target's probability, at evenly spread positions."""
    if settings.precision == "float32":
        return 0.0
    every = positions.reshape(-1, 2)
    chosen = np.linspace(0, len(every) - 1, min(_COMPARED, len(every))).round().astype(int)
    places = [(int(top), int(left)) for top, left in every[chosen]]
    patches = settings.occlusion.patches(places, settings.size)
    net = settings.occlusion.net
    exact = net.regions(settings.occlusion.image)
    with net.lock:
        found = [net.probabilities(walk(places, patches)[0])[:, target].cpu() for walk in (exact, regions)]
    return float((found[0] - found[1]).abs().max())


def _sums(value: Tensor, axis: int) -> npt.NDArray[np.float64]:
    """Return the sum of each channel of a layer's value (without batch), given their axis."""
    sums: npt.NDArray[np.float64] = value.movedim(axis, 0).double().reshape(value.shape[axis], -1).sum(1).cpu().numpy()
    return sums


def _coarse_to_fine(rows: int, columns: int) -> Iterator[list[tuple[int, int]]]:
    """Yield the cells of a grid: every 8th along each axis, then the rest of every 4th, and so on; none empty."""
    seen: set[tuple[int, int]] = set()
    for step in (8, 4, 2, 1):
        cells = [(r, c) for r in range(0, rows, step) for c in range(0, columns, step) if (r, c) not in seen]
        seen.update(cells)
        if cells:
            yield cells


def _steps(stride: object) -> tuple[int, int]:
    pair = stride if isinstance(stride, (tuple, list)) and len(stride) == 2 else (stride, stride)
    down, across = (whole_number(v, "stride, one step or (down, across),") for v in pair)
    if min(down, across) < 1:
        raise ArgumentError(f"Expected a stride of at least 1 pixel, got {stride!r}.")
    return down, across


def _default_layer(net: Network) -> str | None:
    """Return the last convolution with feature maps (those of squeeze-and-excite gates have none)."""
    return next((x.name for x in reversed(net.layers) if x.kind == "conv" and x.size != (1, 1)), None)


def _checked_channel(net: Network, layer: str | None, channel: int | None) -> int | None:
    if channel is None:
        return None
    if layer is None:
        raise ArgumentError(
            f"Expected a layer with the channel {channel!r}, got none: {net.name} has no convolution with feature maps."
        )
    count = net.layer(layer).channels
    index = whole_number(channel, "channel")
    if not 0 <= index < count:
        raise no_channel(layer, count, channel)
    return index


def _checked_maps(net: Network, maps: object) -> tuple[tuple[str, int], ...]:
    expected = "Expected maps as a sequence of (layer, channel)"
    if isinstance(maps, str) or not isinstance(maps, Sequence):
        raise ArgumentError(f"{expected}, got {maps!r}.")
    checked = []
    for pair in maps:
        if isinstance(pair, str) or not isinstance(pair, Sequence) or len(pair) != 2:
            raise ArgumentError(f"{expected}, got {pair!r} among them.")
        name = net.layer(pair[0]).name
        count = net.layer(name).channels
        index = whole_number(pair[1], "the channel of maps (layer, channel)")
        if not 0 <= index < count:
            raise no_channel(name, count, pair[1])
        checked.append((name, index))
    return tuple(checked)
