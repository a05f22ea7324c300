"""Occlusion maps: what the network says for every position of the occluder.

Zeiler & Fergus (2014, section 4.2 and fig. 7) slide a grey square over the picture and record, for every position,
the probability of the true class, the most probable class, and the activity of one map of the last convolutional
layer, summed over its positions. Neither size nor stride is in the paper's text: 50 pixels and 6 were measured in
the figure (30x30 positions on a picture of 224x224).

The values are exact: each comes from the picture with the occluder there, of which only what changes is computed
(`convscope_core.graph.regions`).
"""

from __future__ import annotations

import json
import math
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from tqdm.auto import tqdm

from convscope_core.errors import ArgumentError
from convscope_core.network import Network, Prediction
from convscope_core.occlusion import Fill, Occlusion, Size, extent_of, fill_name, whole_number

__all__ = ["OcclusionResult", "occluding_map", "occlusion_map"]

_FORMAT = "convscope occlusion map 1"

_ARRAYS = ("probability", "label", "activity", "positions", "picture")


@dataclass(frozen=True, eq=False, repr=False)
class OcclusionResult:
    """What a network says about a picture for every position of an occluder.

    Attributes
    ----------
    probability : float32 array (rows, columns)
        Of the class `target`, 0..1; NaN where not computed (yet).
    label : int64 array (rows, columns)
        Index of the most probable class; -1 where not computed.
    activity : float64 array (rows, columns)
        Sum of the map `channel` of `layer` over all its positions; NaN where not computed, or with no layer.
    positions : int64 array (rows, columns, 2)
        Top and left of the occluder in pixels of the network's input.
    clean : Prediction
        For the picture without occluder.
    clean_activity : float
        Of the picture without occluder; NaN with no layer.
    target : int
        Index of the class.
    layer : str or None
        Name of the layer.
    channel : int or None
        The map of that layer.
    size : (height, width)
        Of the occluder in pixels.
    stride : (down, across)
        Of the positions in pixels.
    fill, shape, seed
        Of the occluder; see `Occlusion`.
    picture : uint8 array (H, W, 3)
        The clean picture as the network sees it.
    network : str
        The network's name.
    fingerprint : str
        The network's fingerprint.
    """

    probability: npt.NDArray[np.float32]
    label: npt.NDArray[np.int64]
    activity: npt.NDArray[np.float64]
    positions: npt.NDArray[np.int64]
    clean: Prediction
    clean_activity: float
    target: int
    layer: str | None
    channel: int | None
    size: tuple[int, int]
    stride: tuple[int, int]
    fill: str
    shape: str
    seed: int
    picture: npt.NDArray[np.uint8]
    network: str
    fingerprint: str

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the classes that `label` and `target` count."""
        return self.clean.labels

    @property
    def computed(self) -> npt.NDArray[np.bool_]:
        """Bool (rows, columns): which positions are computed; all, unless the computation was stopped."""
        return self.label >= 0

    @property
    def complete(self) -> bool:
        """Whether all positions are computed."""
        return bool(self.computed.all())

    def __repr__(self) -> str:
        rows, columns = self.label.shape
        done = "" if self.complete else f", {int(self.computed.sum())} computed"
        lines = [
            f"OcclusionResult: {rows}x{columns} positions{done} of a {self.shape} of {self.size[0]}x{self.size[1]} "
            f"pixels, {self.fill}, on {self.network}"
        ]
        if self.computed.any():
            p = self.probability[self.computed]
            name = self.labels[self.target]
            lines.append(
                f"  probability of {name}: {p.min():.3f} to {p.max():.3f}, "
                f"{self.clean.probabilities[self.target]:.3f} without occluder"
            )
            lines.append("  most probable: " + ", ".join(f"{name} {n}" for name, n in self.counts()[:5]))
        if self.layer is not None:
            lines.append(f"  activity: channel {self.channel} of {self.layer}")
        return "\n".join(lines)

    def counts(self) -> list[tuple[str, int]]:
        """Return at how many positions each class is the most probable, most frequent first."""
        found, count = np.unique(self.label[self.computed], return_counts=True)
        order = np.argsort(-count, kind="stable")
        return [(self.labels[found[i]], int(count[i])) for i in order]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the result to a file of safetensors, settings and class names in its metadata."""
        settings = {
            "labels": self.labels,
            "clean_activity": None if math.isnan(self.clean_activity) else self.clean_activity,
            **{
                k: getattr(self, k)
                for k in ("target", "layer", "channel", "size", "stride", "fill", "shape", "seed", "network")
            },
            "fingerprint": self.fingerprint,
        }
        arrays = {k: np.ascontiguousarray(getattr(self, k)) for k in _ARRAYS}
        arrays["clean"] = np.ascontiguousarray(self.clean.probabilities)
        save_file(arrays, os.fspath(path), {"format": _FORMAT, "settings": json.dumps(settings)})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> OcclusionResult:
        """Read a result that `save` wrote.

        Raises
        ------
        ArgumentError
            If there is no such file, or it holds something else.
        """
        place = Path(path)
        if not place.is_file():
            raise ArgumentError(f"Expected the path of a saved occlusion map; there is no file {place}.")
        try:
            with safe_open(os.fspath(place), framework="np") as f:
                metadata = f.metadata() or {}
                arrays = {k: f.get_tensor(k) for k in f.keys()}  # noqa: SIM118  not a mapping
        except SafetensorError as e:
            raise ArgumentError(f"Expected a file that OcclusionResult.save wrote; {place.name} is none ({e}).") from e
        if metadata.get("format") != _FORMAT:
            raise ArgumentError(
                f"Expected a file that OcclusionResult.save wrote ({_FORMAT!r}); {place.name} holds "
                f"{metadata.get('format', 'other tensors')!r}."
            )
        s: dict[str, Any] = json.loads(metadata["settings"])
        clean = Prediction(arrays.pop("clean"), tuple(s.pop("labels")))
        activity = s.pop("clean_activity")
        size, stride = ((int(s[k][0]), int(s[k][1])) for k in ("size", "stride"))
        return cls(
            **arrays,
            **(s | {"size": size, "stride": stride}),
            clean=clean,
            clean_activity=math.nan if activity is None else activity,
        )

    def plot(self) -> Any:
        """Draw the panels of the paper's figure: the picture, activity, probability and most probable class.

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        ImportError
            Without matplotlib.
        """
        try:
            from matplotlib.colors import ListedColormap
            from matplotlib.figure import Figure
            from matplotlib.patches import Patch
        except ImportError as e:
            raise ImportError("Expected matplotlib for plot(); it is not installed. pip install matplotlib") from e
        import matplotlib

        figure = Figure(figsize=(13, 3.6), layout="constrained")
        panels = figure.subplots(1, 4)
        panels[0].imshow(self.picture)
        panels[0].set_title("picture")
        shown = [(self.probability, f"probability of {self.labels[self.target]}")]
        if self.layer is not None:
            shown.insert(0, (self.activity.astype(np.float32), f"activity of {self.layer}, {self.channel}"))
        # Each value is drawn where the occluder's centre is.
        height, width = self.size
        down, across = self.stride
        top, left = (height - down) / 2, (width - across) / 2
        rows, columns = self.label.shape
        extent = (left, left + columns * across, top + rows * down, top)
        for panel, (values, title) in zip(panels[1:], shown, strict=False):
            figure.colorbar(panel.imshow(values, extent=extent), ax=panel, shrink=0.8)
            panel.set_title(title)
        names = self.counts()
        kinds = np.unique(self.label[self.computed])
        order = {int(k): i for i, k in enumerate(kinds)}
        indices = np.vectorize(lambda k: order.get(int(k), -1), otypes=[np.int64])(self.label)
        colours = [matplotlib.colormaps["tab20"](i % 20) for i in range(max(len(kinds), 1))]
        panels[-1].imshow(
            np.ma.masked_less(indices, 0),
            cmap=ListedColormap(colours),
            extent=extent,
            vmin=-0.5,
            vmax=len(colours) - 0.5,
        )
        by_name = {self.labels[k]: colours[order[int(k)]] for k in kinds}
        handles = [Patch(color=by_name[name], label=f"{name} {n}") for name, n in names[:8]]
        panels[-1].legend(handles=handles, loc="upper left", bbox_to_anchor=(1, 1), fontsize="small")
        panels[-1].set_title("most probable")
        for panel in panels:
            panel.set_xlim(-0.5, self.picture.shape[1] - 0.5)
            panel.set_ylim(self.picture.shape[0] - 0.5, -0.5)
            panel.set_xticks([])
            panel.set_yticks([])
        if self.layer is None:
            panels[2].set_visible(False)
        return figure


def occlusion_map(
    net: Network,
    image: Any,
    size: Size = 50,
    stride: Size = 6,
    fill: Fill = "grey",
    target: int | str | None = None,
    layer: str | None = None,
    *,
    channel: int | None = None,
    shape: str = "square",
    seed: int = 0,
    progress: bool = True,
    budget: int | None = None,
) -> OcclusionResult:
    """Slide an occluder over a picture and record what the network says at every position.

    An interrupt (Ctrl-C, the notebook's stop button) ends the computation with a warning and returns what there
    is; positions are computed from coarse to fine.

    Parameters
    ----------
    net : Network
    image : path, bytes, PIL image, array or tensor
        What `Network.prepare` takes.
    size : int or (height, width), default 50
        Of the occluder, in pixels of the network's input.
    stride : int or (down, across), default 6
        Distance of neighbouring positions in pixels. The first is the upper left corner; the occluder is always
        wholly inside.
    fill, shape, seed
        Of the occluder; see `Occlusion`.
    target : int or str, optional
        The class whose probability is recorded. Default: the most probable for the clean picture.
    layer : str, optional
        The layer of which one map's activity is recorded. Default: the last convolution with a map.
    channel : int, optional
        The map. Default: that with the greatest sum for the clean picture. (The paper says "the strongest
        response" and then shows sums; greatest sum and greatest value may be of different maps.)
    progress : bool, default True
        Whether to show a progress bar.
    budget : int, optional
        Bytes that one batch may take. Default: 128 MiB, on CUDA 2 GiB.

    Returns
    -------
    OcclusionResult

    Raises
    ------
    ArgumentError
        When an argument is not of these: before anything is computed.
    LayerError
        When there is no such layer or channel.
    ImageError
        When the picture cannot be read, or holds NaN.

    References
    ----------
    M. D. Zeiler, R. Fergus: Visualizing and Understanding Convolutional Networks, ECCV 2014, section 4.2, fig. 7.
    """
    results = occluding_map(
        net, image, size, stride, fill, target, layer, channel=channel, shape=shape, seed=seed, budget=budget
    )
    result: OcclusionResult | None = None
    with tqdm(desc="occlusion", unit="position", disable=not progress) as bar:
        try:
            for result in results:
                bar.total = result.label.size
                bar.update(int(result.computed.sum()) - bar.n)
        except KeyboardInterrupt:
            if result is None:
                raise
            done = int(result.computed.sum())
            warnings.warn(f"interrupted: {done} of {result.label.size} positions are computed", stacklevel=2)
    assert result is not None
    return result


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
    shape: str = "square",
    seed: int = 0,
    budget: int | None = None,
) -> Iterator[OcclusionResult]:
    """Compute an occlusion map from coarse to fine, giving what there is after every batch.

    Every 8th position along each axis comes first, then every 4th, every 2nd, all. Whoever stops asking keeps the
    last result. Parameters and errors are those of `occlusion_map`; errors are raised by the call itself, not by
    the first step.

    Yields
    ------
    OcclusionResult
        Arrays of its own; positions that are not computed yet are NaN, and -1 in `label`. The last is complete.
    """
    occlusion = Occlusion(net, image, fill, shape, seed)
    extent = extent_of(size, occlusion.size)
    steps = _steps(stride)
    index = None if target is None else net.class_index(target)
    name = _default_layer(net) if layer is None else net.layer(layer).name
    chosen = _checked_channel(net, name, channel)
    return _computed(net, occlusion, extent, steps, index, name, chosen, budget)


def _computed(
    net: Network,
    occlusion: Occlusion,
    size: tuple[int, int],
    stride: tuple[int, int],
    target: int | None,
    layer: str | None,
    channel: int | None,
    budget: int | None,
) -> Iterator[OcclusionResult]:
    regions = net.regions(occlusion.image, [] if layer is None else [layer], budget=budget)
    clean = Prediction(net.probabilities(regions.output)[0].cpu().numpy(), net.labels)
    if target is None:
        target = clean.index
    clean_activity = math.nan
    found = None if layer is None else net.graph_layer(layer)
    if found is not None:
        sums = regions.values[found.node][0].double()
        others = tuple(a for a in range(sums.dim()) if a != found.axes[0])
        sums = sums.sum(others) if others else sums
        if channel is None:
            channel = int(sums.argmax())
        clean_activity = float(sums[channel])
    height, width = occlusion.size
    tops, lefts = (np.arange(0, n - s + 1, d) for n, s, d in zip((height, width), size, stride, strict=True))
    positions = np.stack(np.meshgrid(tops, lefts, indexing="ij"), -1)
    shape = positions.shape[:2]
    probability = np.full(shape, np.nan, np.float32)
    label = np.full(shape, -1, np.int64)
    activity = np.full(shape, np.nan, np.float64)
    constant = {
        "positions": positions, "clean": clean, "clean_activity": clean_activity, "target": target, "layer": layer,
        "channel": channel, "size": size, "stride": stride, "fill": fill_name(occlusion.fill),
        "shape": occlusion.shape, "seed": occlusion.seed, "picture": occlusion.picture, "network": net.name,
        "fingerprint": net.fingerprint,
    }  # fmt: skip
    for cells in _coarse_to_fine(*shape):
        places = [(int(tops[r]), int(lefts[c])) for r, c in cells]
        batches = regions.sweep(
            places, size, lambda chunk: occlusion.patches(chunk, size), [] if found is None else [found.node]
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
            label[rows, columns] = p.argmax(1).cpu().numpy()
            if found is not None:
                totals = changed[found.node].totals(cast(int, channel), found.axes[0] + 1)
                activity[rows, columns] = totals.cpu().numpy()
            yield OcclusionResult(
                probability=probability.copy(), label=label.copy(), activity=activity.copy(), **cast(Any, constant)
            )


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
    """Return the last convolution with a map (those of squeeze-and-excite gates have none)."""
    return next((x.name for x in reversed(net.layers) if x.kind == "conv" and x.size != (1, 1)), None)


def _checked_channel(net: Network, layer: str | None, channel: int | None) -> int | None:
    if channel is None:
        return None
    if layer is None:
        raise ArgumentError(f"Expected a layer with the channel {channel!r}: {net.name} has no convolution with a map.")
    count = net.layer(layer).channels
    index = whole_number(channel, "channel")
    if not 0 <= index < count:
        raise ArgumentError(f"Expected a channel of {layer} from 0 to {count - 1}, got {channel!r}.")
    return index
