"""Occlusion maps: what the network says for every position of the occluder.

Zeiler & Fergus (2014, section 4.2 and fig. 7) slide a grey square over the picture and record, for every position,
the probability of the true class, the most probable class, and the activity of one map of the last convolutional
layer, summed over its positions. Neither size nor stride is in the paper's text: 50 pixels and 6 were measured in
the figure (30x30 positions on a picture of 224x224).

The values are exact: each comes from the picture with the occluder there, of which only what changes is computed
(`convscope_core.graph.regions`).
"""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from torch import Tensor
from tqdm.auto import tqdm

from convscope_core.errors import ArgumentError
from convscope_core.graph.regions import Regions
from convscope_core.network import Network, Prediction, class_index
from convscope_core.occlusion import (
    Fill,
    Occlusion,
    Outline,
    Shape,
    Size,
    extent_of,
    fill_name,
    shape_name,
    whole_number,
)
from convscope_core.plots import panels

__all__ = ["OcclusionResult", "Preview", "occluding_map", "occlusion_map"]

logger = logging.getLogger(__name__)

_FORMAT = "convscope occlusion map 2"
_FORMAT_1 = "convscope occlusion map 1"

_PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}

#: At so many positions lower precision is compared with float32.
_COMPARED = 16

_ARRAYS = ("probability", "label", "activities", "clean_activities", "positions", "picture")


@dataclass(frozen=True, eq=False)
class Preview:
    """What the gradient foretells of an occlusion map: first order in the change that the occluder makes.

    One backward pass instead of a forward pass a position. For an occluder that changes much it is no more than a
    guess at where to look: the network is not linear. (EfficientNet-Lite0, one photograph of a cat, an occluder of
    50x50: the correlation with the exact probabilities is 0.3 to 0.5 for grey, mean and blur, and none for another
    picture as fill.)

    For the class, what is taken as linear is the log-odds log p - log(1 - p), of which the logistic function then
    makes a probability. The probability itself would leave 0..1; and where the network is sure of its class it is
    flat, so that its gradient foretells next to nothing of any occluder.

    Attributes
    ----------
    probability : float32 array (rows, columns)
        Of the class `target`, 0..1.
    activity : float64 array (rows, columns)
        Of the map `channel` of `layer`, summed; NaN with no layer.
    """

    probability: npt.NDArray[np.float32]
    activity: npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False, repr=False)
class OcclusionResult:
    """What a network says about a picture for every position of an occluder.

    Attributes
    ----------
    probability : float32 array (rows, columns)
        Of the class `target`, 0..1; NaN where not computed (yet).
    label : int64 array (rows, columns)
        Index of the most probable class; -1 where not computed.
    activities : float64 array (M, rows, columns)
        Sum of each of `maps` over all its positions; NaN where not computed.
    positions : int64 array (rows, columns, 2)
        Top and left of the occluder in pixels of the network's input.
    clean : Prediction
        For the picture without occluder.
    clean_activities : float64 array (M,)
        Of the picture without occluder.
    target : int
        Index of the class.
    layer : str or None
        Name of the layer; None if the network has none with maps and none was asked for.
    channel : int or None
        The map of that layer.
    maps : tuple of (layer, channel)
        The maps that are recorded: first that of `layer` and `channel`, if there is a layer, then those asked for.
    size : (height, width)
        Of the occluder in pixels.
    stride : (down, across)
        Of the positions in pixels.
    fill : str
        Of the occluder, by its name; see `convscope_core.occlusion.fill_name`.
    shape : str, tuple of (row, column) or bool array
        Of the occluder; see `Occlusion`.
    seed : int
        Of the noise.
    picture : uint8 array (H, W, 3)
        The clean picture as the network sees it.
    network : str
        The network's name.
    fingerprint : str
        The network's fingerprint.
    all_probabilities : float32 array (rows, columns, K) or None
        Of every class, if ``keep_all`` was asked for; NaN where not computed. This array and the next are shared by
        all results of one computation and go on filling while it runs: copies a batch would cost more than the
        batch. What this result holds of them is where `computed` is set.
    all_activities : float32 array (rows, columns, channels) or None
        Sum of every map of `layer`; None without ``keep_all`` or a layer.
    clean_all_activities : float64 array (channels,) or None
        Of the picture without occluder.
    precision : str
        In which numbers it was computed: "float32", "bfloat16" or "float16".
    rounding : float
        By how much the target's probability differs at most from the one computed in float32, at up to 16 positions
        that were computed both ways; 0 for "float32".
    preview : Preview or None
        What the gradient foretells, if ``preview`` was asked for and there is one. Not saved to files.
    """

    probability: npt.NDArray[np.float32]
    label: npt.NDArray[np.int64]
    activities: npt.NDArray[np.float64]
    positions: npt.NDArray[np.int64]
    clean: Prediction
    clean_activities: npt.NDArray[np.float64]
    target: int
    layer: str | None
    channel: int | None
    maps: tuple[tuple[str, int], ...]
    size: tuple[int, int]
    stride: tuple[int, int]
    fill: str
    shape: str | Outline | npt.NDArray[np.bool_]
    seed: int
    picture: npt.NDArray[np.uint8]
    network: str
    fingerprint: str
    all_probabilities: npt.NDArray[np.float32] | None = None
    all_activities: npt.NDArray[np.float32] | None = None
    clean_all_activities: npt.NDArray[np.float64] | None = None
    precision: str = "float32"
    rounding: float = 0.0
    preview: Preview | None = None

    @property
    def activity(self) -> npt.NDArray[np.float64]:
        """Float64 (rows, columns): the sum of the map `channel` of `layer`, the first of `activities`.

        NaN where not computed, or with no layer.
        """
        return np.full(self.label.shape, np.nan) if self.layer is None else self.activities[0]

    @property
    def clean_activity(self) -> float:
        """The sum of that map for the picture without occluder; NaN with no layer."""
        return math.nan if self.layer is None else float(self.clean_activities[0])

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
            f"OcclusionResult: {rows}x{columns} positions{done} of a {shape_name(self.shape)} of "
            f"{self.size[0]}x{self.size[1]} pixels, {self.fill}, on {self.network}"
        ]
        if self.computed.any():
            p = self.probability[self.computed]
            name = self.labels[self.target]
            lines.append(
                f"  probability of {name}: {p.min():.3f} to {p.max():.3f}, "
                f"{self.clean.probabilities[self.target]:.3f} without occluder"
            )
            lines.append("  most probable: " + ", ".join(f"{name} {n}" for name, n in self.counts()[:5]))
        if self.precision != "float32":
            lines.append(f"  computed in {self.precision}: probabilities off by up to {self.rounding:.1g}")
        if self.maps:
            more = f" and {len(self.maps) - 5} more" if len(self.maps) > 5 else ""
            lines.append("  activity: " + ", ".join(f"channel {c} of {name}" for name, c in self.maps[:5]) + more)
        return "\n".join(lines)

    def counts(self) -> list[tuple[str, int]]:
        """Return at how many positions each class is the most probable, most frequent first."""
        found, count = np.unique(self.label[self.computed], return_counts=True)
        order = np.argsort(-count, kind="stable")
        return [(self.labels[found[i]], int(count[i])) for i in order]

    def follow(self, target: int | str | None = None, channel: int | None = None) -> OcclusionResult:
        """Return the same map for another class, or another channel of the layer, without computing.

        Parameters
        ----------
        target : int or str, optional
            The class, by index or label. Default: as it is.
        channel : int, optional
            The channel of `layer`, which takes the place of the first of `maps`. Default: as it is.

        Returns
        -------
        OcclusionResult
            Without the preview, which foretold another map. Activities that are not of `maps` have the precision of
            float32.

        Raises
        ------
        ArgumentError
            When there is no such class or channel, or it was not kept: ``keep_all=True`` keeps all.
        """
        index = self.target if target is None else class_index(target, self.labels, self.network)
        changes: dict[str, Any] = {}
        if index != self.target:
            if self.all_probabilities is None:
                raise self._not_kept(f"class {self.labels[index]!r}")
            probability = np.where(self.computed, self.all_probabilities[..., index], np.float32(np.nan))
            changes |= {"target": index, "probability": probability.astype(np.float32, copy=False)}
        if channel is not None and channel != self.channel:
            changes |= self._other_channel(channel)
        return dataclasses.replace(self, **changes, preview=None) if changes else self

    def _other_channel(self, channel: int) -> dict[str, Any]:
        wanted = whole_number(channel, "channel")
        if self.layer is None:
            raise ArgumentError(f"Expected a map with a layer, to follow its channel {channel!r}; this one has none.")
        if self.clean_all_activities is not None and not 0 <= wanted < len(self.clean_all_activities):
            raise _no_channel(self.layer, len(self.clean_all_activities), channel)
        asked = (self.layer, wanted)
        if asked in self.maps:
            order = [self.maps.index(asked), *(i for i, m in enumerate(self.maps) if m != asked)]
            return {
                "channel": wanted,
                "maps": tuple(self.maps[i] for i in order),
                "activities": self.activities[order],
                "clean_activities": self.clean_activities[order],
            }
        if self.all_activities is None or self.clean_all_activities is None:
            raise self._not_kept(f"channel {wanted} of {self.layer}")
        activity = np.where(self.computed, self.all_activities[..., wanted].astype(np.float64), np.nan)
        return {
            "channel": wanted,
            "maps": (asked, *self.maps[1:]),
            "activities": np.concatenate([activity[None], self.activities[1:]]),
            "clean_activities": np.concatenate(
                [self.clean_all_activities[wanted : wanted + 1], self.clean_activities[1:]]
            ),
        }

    def _not_kept(self, what: str) -> ArgumentError:
        return ArgumentError(
            f"Expected a class or channel that was kept; {what} was not. Compute the map with keep_all=True to follow "
            f"any of them, or with this target or channel."
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the result to a file of safetensors, settings and class names in its metadata; no preview."""
        settings: dict[str, Any] = {
            "labels": self.labels,
            **{k: getattr(self, k) for k in ("target", "layer", "channel", "maps", "size", "stride", "fill", "seed")},
            **{k: getattr(self, k) for k in ("network", "fingerprint", "precision", "rounding")},
        }
        arrays = {k: getattr(self, k) for k in _ARRAYS} | {"clean": self.clean.probabilities}
        for k in ("all_probabilities", "all_activities"):
            values = getattr(self, k)
            if values is not None:  # what a computation that goes on has added since is no part of this result
                arrays[k] = np.where(self.computed[..., None], values, np.float32(np.nan))
        if self.clean_all_activities is not None:
            arrays["clean_all_activities"] = self.clean_all_activities
        if isinstance(self.shape, str):
            settings["shape"] = self.shape
        elif isinstance(self.shape, tuple):
            arrays["outline"] = np.array(self.shape, np.float64)
        else:
            arrays["mask"], settings["mask"] = np.packbits(self.shape), self.shape.shape
        contiguous = {k: np.ascontiguousarray(v) for k, v in arrays.items()}
        save_file(contiguous, os.fspath(path), {"format": _FORMAT, "settings": json.dumps(settings)})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> OcclusionResult:
        """Read a result that `save` wrote, of this version or an earlier one.

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
        if metadata.get("format") not in (_FORMAT, _FORMAT_1):
            raise ArgumentError(
                f"Expected a file that OcclusionResult.save wrote ({_FORMAT!r}); {place.name} holds "
                f"{metadata.get('format', 'other tensors')!r}."
            )
        s: dict[str, Any] = json.loads(metadata["settings"])
        if metadata["format"] == _FORMAT_1:  # at most one map
            there = s["layer"] is not None
            s["maps"] = [(s["layer"], s["channel"])] if there else []
            arrays["activities"] = arrays.pop("activity")[None][: int(there)]
            arrays["clean_activities"] = np.array([s.pop("clean_activity")][: int(there)], np.float64)
        clean = Prediction(arrays.pop("clean"), tuple(s.pop("labels")))
        shape: str | Outline | npt.NDArray[np.bool_]
        if "outline" in arrays:
            shape = tuple((float(row), float(column)) for row, column in arrays.pop("outline"))
        elif "mask" in arrays:
            height, width = s.pop("mask")
            bits = np.unpackbits(arrays.pop("mask"), count=height * width)
            shape = bits.astype(bool).reshape(height, width)
        else:
            shape = s.pop("shape")
        pairs = {k: (int(s[k][0]), int(s[k][1])) for k in ("size", "stride")}
        maps = tuple((str(name), int(channel)) for name, channel in s.pop("maps"))
        return cls(**arrays, **(s | pairs), maps=maps, shape=shape, clean=clean)

    def plot(self) -> Any:
        """Draw the panels of the paper's figure: the picture, each map, the probability and the most probable class.

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        ImportError
            Without matplotlib.
        """
        shown = [
            (values.astype(np.float32), f"activity of {name}, {channel}")
            for values, (name, channel) in zip(self.activities, self.maps, strict=True)
        ]
        shown.append((self.probability, f"probability of {self.labels[self.target]}"))
        count = len(shown) + 2
        across = min(count, 4)
        figure, every = panels(math.ceil(count / across), across, (3.25, 3.6))
        import matplotlib
        from matplotlib.colors import ListedColormap
        from matplotlib.patches import Patch

        for unused in every[count:]:
            unused.set_visible(False)
        photo, *values_in, last = every[:count]
        photo.imshow(self.picture)
        photo.set_title("picture")
        # Each value is drawn where the occluder's centre is.
        height, width = self.size
        top, left = (height - self.stride[0]) / 2, (width - self.stride[1]) / 2
        rows, columns = self.label.shape
        extent = (left, left + columns * self.stride[1], top + rows * self.stride[0], top)
        for panel, (values, title) in zip(values_in, shown, strict=True):
            figure.colorbar(panel.imshow(values, extent=extent), ax=panel, shrink=0.8)
            panel.set_title(title)
        names = self.counts()
        kinds = np.unique(self.label[self.computed])
        order = {int(k): i for i, k in enumerate(kinds)}
        indices = np.vectorize(lambda k: order.get(int(k), -1), otypes=[np.int64])(self.label)
        colours = [matplotlib.colormaps["tab20"](i % 20) for i in range(max(len(kinds), 1))]
        last.imshow(
            np.ma.masked_less(indices, 0),
            cmap=ListedColormap(colours),
            extent=extent,
            vmin=-0.5,
            vmax=len(colours) - 0.5,
        )
        by_name = {self.labels[k]: colours[order[int(k)]] for k in kinds}
        handles = [Patch(color=by_name[name], label=f"{name} {n}") for name, n in names[:8]]
        last.legend(handles=handles, loc="upper left", bbox_to_anchor=(1, 1), fontsize="small")
        last.set_title("most probable")
        for panel in every[:count]:
            panel.set_xlim(-0.5, self.picture.shape[1] - 0.5)
            panel.set_ylim(self.picture.shape[0] - 0.5, -0.5)
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
    maps: Sequence[tuple[str, int]] = (),
    shape: Shape = "square",
    seed: int = 0,
    keep_all: bool = False,
    preview: bool = False,
    start: OcclusionResult | None = None,
    progress: bool = True,
    budget: int | None = None,
    precision: str = "float32",
) -> OcclusionResult:
    """Slide an occluder over a picture and record what the network says at every position.

    An interrupt (Ctrl-C, the notebook's stop button) ends the computation with a warning and returns what there
    is, and so does an error in its middle, such as memory that runs out; positions are computed from coarse to
    fine. With nothing computed yet, either is raised.

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
    maps : sequence of (layer, channel), default ()
        Further maps to record, of any layers.
    keep_all : bool, default False
        Whether to keep the probabilities of all classes and the sums of all maps of the layer, for
        `OcclusionResult.follow`.
    preview : bool, default False
        Whether to foretell the map by the gradient first; see `Preview`. There is none where the fill depends on
        the place (``"inpaint"``), or an operation of the network has no derivative.
    start : OcclusionResult, optional
        A result of the same settings to go on from; what it holds is not computed again. Target, layer and channel
        are its own where they are left out here. Of pictures as fills only the name is compared.
    progress : bool, default True
        Whether to show a progress bar.
    budget : int, optional
        Bytes that one batch may take. Default: 128 MiB, on CUDA 2 GiB.
    precision : {"float32", "bfloat16", "float16"}, default "float32"
        In which numbers to compute what changes. The lower ones are quicker on accelerators made for them, and
        inexact: `OcclusionResult.rounding` says by how much.

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
    ImportError
        When the fill is ``"inpaint"`` and OpenCV is not installed.

    References
    ----------
    M. D. Zeiler, R. Fergus: Visualizing and Understanding Convolutional Networks, ECCV 2014, section 4.2, fig. 7.
    """
    results = occluding_map(
        net, image, size, stride, fill, target, layer, channel=channel, maps=maps, shape=shape, seed=seed,
        keep_all=keep_all, preview=preview, start=start, budget=budget, precision=precision,
    )  # fmt: skip
    result: OcclusionResult | None = None
    with tqdm(desc="occlusion", unit="position", disable=not progress) as bar:
        try:
            for result in results:
                bar.total = result.label.size
                bar.update(int(result.computed.sum()) - bar.n)
        except (KeyboardInterrupt, Exception) as e:
            if result is None or not result.computed.any():
                raise
            done = f"{int(result.computed.sum())} of {result.label.size} positions are computed"
            if isinstance(e, KeyboardInterrupt):
                warnings.warn(f"interrupted: {done}", stacklevel=2)
            else:
                warnings.warn(f"stopped by {type(e).__name__}: {e}; {done}", RuntimeWarning, stacklevel=2)
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
    maps: Sequence[tuple[str, int]] = (),
    shape: Shape = "square",
    seed: int = 0,
    keep_all: bool = False,
    preview: bool = False,
    start: OcclusionResult | None = None,
    budget: int | None = None,
    precision: str = "float32",
    seconds: float | None = None,
) -> Iterator[OcclusionResult]:
    """Compute an occlusion map from coarse to fine, giving what there is after every batch.

    Every 8th position along each axis comes first, then every 4th, every 2nd, all. Whoever stops asking keeps the
    last result. Parameters and errors are those of `occlusion_map`; errors are raised by the call itself, not by
    the first step.

    Parameters
    ----------
    seconds : float, optional
        About how long a batch may take, for whoever has other things to do in between. Default: as long as batches
        of the size that memory allows.

    Yields
    ------
    OcclusionResult
        Arrays of its own, but for those of ``keep_all``; positions that are not computed yet are NaN, and -1 in
        `label`. The last is complete. With a preview, the first holds that only.
    """
    occlusion = Occlusion(net, image, fill, shape, seed)
    extent = extent_of(size, occlusion.size)
    occlusion.form(extent)
    if start is not None:
        if start.fingerprint != net.fingerprint:
            raise ArgumentError(
                f"Expected start, a result of the same settings; it is of another network, {start.network}."
            )
        target = start.target if target is None else target
        layer = start.layer if layer is None else layer
    name = _default_layer(net) if layer is None else net.layer(layer).name
    if start is not None and channel is None and name == start.layer:
        channel = start.channel
    asked = _Asked(
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
    if precision not in _PRECISIONS:
        raise ArgumentError(f"Expected precision as one of {', '.join(map(repr, _PRECISIONS))}; got {precision!r}.")
    if start is not None:
        asked.check_start(start)
    return _computed(asked)


@dataclass(frozen=True, eq=False)
class _Asked:
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
        """Return the maps to record, each once, given the channel of the layer."""
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
        if other:
            raise ArgumentError(f"Expected start, a result of the same settings; it is of another {', '.join(other)}.")
        if self.keep_all and start.all_probabilities is None:
            raise ArgumentError(
                "Expected start, a result of the same settings; it was computed without keep_all. Leave out start or "
                "keep_all."
            )


def _computed(asked: _Asked) -> Iterator[OcclusionResult]:
    occlusion, size, layer, start = asked.occlusion, asked.size, asked.layer, asked.start
    net = occlusion.net
    regions = net.regions(occlusion.image, asked.layers, budget=asked.budget, dtype=_PRECISIONS[asked.precision])
    clean = Prediction(net.probabilities(regions.output)[0].cpu().numpy(), net.labels)
    target = clean.index if asked.target is None else asked.target
    found = {name: net.graph_layer(name) for name in asked.layers}
    sums = {name: _sums(regions.values[g.node][0], g.axes[0]) for name, g in found.items()}
    channel = int(sums[layer].argmax()) if layer is not None and asked.channel is None else asked.channel
    maps = asked.recorded(channel)
    tops, lefts = (np.arange(0, n - s + 1, d) for n, s, d in zip(occlusion.size, size, asked.stride, strict=True))
    positions = np.stack(np.meshgrid(tops, lefts, indexing="ij"), -1)
    shape = positions.shape[:2]
    probability = np.full(shape, np.nan, np.float32)
    label = np.full(shape, -1, np.int64)
    activities = np.full((len(maps), *shape), np.nan)
    all_probabilities = np.full((*shape, len(net.labels)), np.nan, np.float32) if asked.keep_all else None
    all_activities: npt.NDArray[np.float32] | None = None
    if asked.keep_all and layer is not None:
        all_activities = np.full((*shape, len(sums[layer])), np.nan, np.float32)
    foretold: Preview | None = None
    if start is not None:
        done, foretold = start.computed, start.preview
        probability[done], label[done], activities[:, done] = (
            start.probability[done], start.label[done], start.activities[:, done],
        )  # fmt: skip
        for mine, its in ((all_probabilities, start.all_probabilities), (all_activities, start.all_activities)):
            if mine is not None and its is not None:
                mine[done] = its[done]
    fresh = foretold is None and asked.preview
    if fresh:
        foretold = _preview(asked, target, channel)
    constant: dict[str, Any] = {
        "positions": positions, "clean": clean, "target": target, "layer": layer, "channel": channel, "maps": maps,
        "clean_activities": np.array([sums[name][c] for name, c in maps], np.float64), "size": size,
        "stride": asked.stride, "fill": fill_name(occlusion.fill), "shape": occlusion.shape, "seed": occlusion.seed,
        "picture": occlusion.picture, "network": net.name, "fingerprint": net.fingerprint,
        "all_probabilities": all_probabilities, "all_activities": all_activities,
        "clean_all_activities": None if all_activities is None else sums[cast(str, layer)], "preview": foretold,
        "precision": asked.precision, "rounding": _rounding(asked, regions, target, positions),
    }  # fmt: skip

    def now() -> OcclusionResult:
        return OcclusionResult(
            probability=probability.copy(), label=label.copy(), activities=activities.copy(), **constant
        )

    if (fresh and foretold is not None) or (label >= 0).all():
        yield now()
    for level in _coarse_to_fine(*shape):
        cells = [cell for cell in level if label[cell] < 0]
        if not cells:
            continue
        places = [(int(tops[r]), int(lefts[c])) for r, c in cells]
        batches = regions.sweep(
            places,
            size,
            lambda chunk: occlusion.patches(chunk, size),
            [g.node for g in found.values()],
            asked.seconds,
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
            label[rows, columns] = p.argmax(1).cpu().numpy()
            yield now()


def _rounding(asked: _Asked, regions: Regions, target: int, positions: npt.NDArray[np.int64]) -> float:
    """Return the greatest difference from float32 of the target's probability, at evenly spread positions."""
    if asked.precision == "float32":
        return 0.0
    every = positions.reshape(-1, 2)
    chosen = np.linspace(0, len(every) - 1, min(_COMPARED, len(every))).round().astype(int)
    places = [(int(top), int(left)) for top, left in every[chosen]]
    patches = asked.occlusion.patches(places, asked.size)
    net = asked.occlusion.net
    exact = net.regions(asked.occlusion.image)
    with net.lock:
        found = [net.probabilities(walk(places, patches)[0])[:, target].cpu() for walk in (exact, regions)]
    return float((found[0] - found[1]).abs().max())


def _sums(value: Tensor, axis: int) -> npt.NDArray[np.float64]:
    """Return the sum of each channel of a layer's value (without batch), given their axis."""
    sums: npt.NDArray[np.float64] = value.movedim(axis, 0).double().reshape(value.shape[axis], -1).sum(1).cpu().numpy()
    return sums


def _preview(asked: _Asked, target: int, channel: int | None) -> Preview | None:
    occlusion, layer = asked.occlusion, asked.layer
    if occlusion.fill_image is None:  # what it shows is no one picture whose difference could be summed
        return None

    def numbers(logits: Tensor, values: dict[str, Tensor]) -> list[Tensor]:
        # Out of logits: of a probability that rounds to 1 the log-odds would be infinite.
        others = torch.cat([logits[:, :target], logits[:, target + 1 :]], 1)
        log_odds = logits[0, target] - others.logsumexp(1)[0]
        return [log_odds] if layer is None else [log_odds, values[layer][0, channel].double().sum()]

    try:
        computed = occlusion.net.gradients(occlusion.image, numbers, [] if layer is None else [layer])
    except RuntimeError as e:  # no derivative, or no memory for it
        logger.info("no preview of the occlusion map: %s", e)
        return None
    change = (occlusion.fill_image - occlusion.image).cpu().double()
    mask = torch.tensor(occlusion.form(asked.size), dtype=torch.float64)[None, None]
    found = []
    for value, gradient in computed:
        share = (gradient.cpu().double() * change).sum(1, keepdim=True)
        # For every position at once: the sum of what each pixel under the mask contributes.
        found.append(value + torch.nn.functional.conv2d(share, mask, stride=asked.stride)[0, 0])
    probability = found[0].sigmoid().float().numpy()
    activity = np.full(probability.shape, np.nan) if layer is None else found[1].numpy()
    return Preview(probability, activity)


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
        raise _no_channel(layer, count, channel)
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
            raise _no_channel(name, count, pair[1])
        checked.append((name, index))
    return tuple(checked)


def _no_channel(layer: str, count: int, channel: object) -> ArgumentError:
    return ArgumentError(f"Expected a channel of {layer} from 0 to {count - 1}, got {channel!r}.")
