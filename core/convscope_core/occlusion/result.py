"""Occlusion maps: what a network predicts for every position of an occluder, as a result that can be kept.

Zeiler & Fergus (2014, section 4.2 and fig. 7) slide a grey square over the picture and record, for every position,
the probability of the true class, the most probable class, and the activity of one feature map of the last
convolutional layer, summed over its positions.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from convscope_core.arguments import argument_kind, plain_methods
from convscope_core.errors import ArgumentError
from convscope_core.network import Prediction, class_index
from convscope_core.occlusion.box import whole_number
from convscope_core.occlusion.preview import Preview
from convscope_core.occlusion.shapes import Outline, checked_shape, shape_name
from convscope_core.plots import draws_figure, panels
from convscope_core.preprocessing import Preprocessing
from convscope_core.saving import Damage, opened_result, save_result

__all__ = ["NO_CLASS", "OcclusionResult", "no_channel"]

_NOT_COMPUTED, NO_CLASS = -1, -2
"""What stands for the most probable class where nothing is computed, and where the network returns NaN."""

_FORMAT = "convscope occlusion map 2"
_FORMAT_1 = "convscope occlusion map 1"

_ARRAYS = ("probability", "label", "activities", "clean_activities", "positions", "picture")


@plain_methods
@argument_kind("Make one with occlusion_map(net, image), or open one with OcclusionResult.load.")
@dataclass(frozen=True, eq=False, repr=False)
class OcclusionResult:
    """What a network predicts for a picture, for every position of an occluder.

    Attributes
    ----------
    probability : float32 array (rows, columns)
        Probability of the class `target`, 0..1; NaN where not computed (yet), and where the network returns NaN.
    label : int64 array (rows, columns)
        Index of the most probable class; -1 where not computed, -2 where the network returns NaN: it has none there.
    activities : float64 array (M, rows, columns)
        Sum of the feature map of each of `maps` over all its positions; NaN where not computed.
    positions : int64 array (rows, columns, 2)
        Top and left of the occluder in pixels of the network's input.
    clean : Prediction
        The prediction for the picture without occluder.
    clean_activities : float64 array (M,)
        The same sums for the picture without occluder.
    target : int
        Index of the class.
    layer : str or None
        Name of the layer; None if the network has none with feature maps and none was asked for.
    channel : int or None
        The unit of that layer, that is, its channel.
    maps : tuple of (layer, channel)
        The units whose activity is recorded: first `channel` of `layer`, if there is a layer, then those asked for.
    size : (height, width)
        The occluder's size in pixels.
    stride : (down, across)
        Distance between positions in pixels.
    fill : str
        What the occluder shows, by its name; see `convscope_core.occlusion.fill_name`.
    shape : str, tuple of (row, column) or bool array
        The occluder's shape; see `Occlusion`.
    seed : int
        Seed of the noise.
    picture : uint8 array (H, W, 3)
        The clean picture as the network sees it.
    network : str
        The network's name.
    fingerprint : str
        The network's fingerprint.
    preprocessing : mapping or None
        How the picture was prepared, see `convscope_core.preprocessing.Preprocessing.identity`; None in files of
        earlier versions.
    all_probabilities : float32 array (rows, columns, K) or None
        Of every class, if ``keep_all`` was asked for; NaN where not computed. This array and the next are shared by
        all results of one computation and go on filling while it runs: copies a batch would cost more than the
        batch. What this result holds of them is where `computed` is set.
    all_activities : float32 array (rows, columns, channels) or None
        Of every unit of `layer`; None without ``keep_all`` or a layer.
    clean_all_activities : float64 array (channels,) or None
        Of the picture without occluder.
    precision : str
        In which numbers it was computed: "float32", "bfloat16" or "float16".
    rounding : float
        By how much the target's probability differs at most from the one computed in float32, at up to 16 positions
        that were computed both ways; 0 for "float32".
    preview : Preview or None
        The estimate by the gradient, if there is one. Not saved to files.
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
    preprocessing: Mapping[str, Any] | None = None

    @property
    def activity(self) -> npt.NDArray[np.float64]:
        """Float64 (rows, columns): the activity of the unit `channel` of `layer`, the first of `activities`.

        NaN where not computed, or with no layer.
        """
        return np.full(self.label.shape, np.nan) if self.layer is None else self.activities[0]

    @property
    def clean_activity(self) -> float:
        """The activity of that unit for the picture without occluder; NaN with no layer."""
        return math.nan if self.layer is None else float(self.clean_activities[0])

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the classes that `label` and `target` count."""
        return self.clean.labels

    @property
    def computed(self) -> npt.NDArray[np.bool_]:
        """Bool (rows, columns): which positions are computed; all, unless the computation was stopped."""
        done: npt.NDArray[np.bool_] = self.label != _NOT_COMPUTED
        return done

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
        name = self.labels[self.target]
        if unknown := int((self.label == NO_CLASS).sum()):
            lines.append(f"  the network returns NaN at {unknown} of them")
        if (p := self.probability[self.label >= 0]).size:
            lines.append(
                f"  probability of {name}: {p.min():.3f} to {p.max():.3f}, "
                f"{self.clean.probabilities[self.target]:.3f} without occluder"
            )
            lines.append("  most probable: " + ", ".join(f"{name} {n}" for name, n in self.counts()[:5]))
        if self.precision != "float32":
            lines.append(f"  computed in {self.precision}: probabilities off by up to {self.rounding:.1g}")
        if self.maps:
            more = f" and {len(self.maps) - 5} more" if len(self.maps) > 5 else ""
            lines.append("  activity: " + ", ".join(f"unit {c} of {name}" for name, c in self.maps[:5]) + more)
        return "\n".join(lines)

    def counts(self) -> list[tuple[str, int]]:
        """Return at how many positions each class is the most probable, most frequent first.

        Where the network returns NaN there is none.
        """
        found, count = np.unique(self.label[self.label >= 0], return_counts=True)
        order = np.argsort(-count, kind="stable")
        return [(self.labels[found[i]], int(count[i])) for i in order]

    def follow(self, target: int | str | None = None, channel: int | None = None) -> OcclusionResult:
        """Return the same map for another class, or another unit of the layer, without computing.

        Parameters
        ----------
        target : int or str, optional
            The class, by index or label. Default: as it is.
        channel : int, optional
            The unit of `layer`, which takes the place of the first of `maps`. Default: as it is.

        Returns
        -------
        OcclusionResult
            Without the preview, which is of another map. Activities that are not of `maps` have the precision of
            float32.

        Raises
        ------
        ArgumentError
            When there is no such class or unit, or it was not kept: ``keep_all=True`` keeps all.
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
            raise ArgumentError(f"Expected a map with a layer, to follow its unit {channel!r}, got one without.")
        if self.clean_all_activities is not None and not 0 <= wanted < len(self.clean_all_activities):
            raise no_channel(self.layer, len(self.clean_all_activities), channel)
        unit = (self.layer, wanted)
        if unit in self.maps:
            order = [self.maps.index(unit), *(i for i, m in enumerate(self.maps) if m != unit)]
            return {
                "channel": wanted,
                "maps": tuple(self.maps[i] for i in order),
                "activities": self.activities[order],
                "clean_activities": self.clean_activities[order],
            }
        if self.all_activities is None or self.clean_all_activities is None:
            raise self._not_kept(f"unit {wanted} of {self.layer}")
        activity = np.where(self.computed, self.all_activities[..., wanted].astype(np.float64), np.nan)
        return {
            "channel": wanted,
            "maps": (unit, *self.maps[1:]),
            "activities": np.concatenate([activity[None], self.activities[1:]]),
            "clean_activities": np.concatenate(
                [self.clean_all_activities[wanted : wanted + 1], self.clean_activities[1:]]
            ),
        }

    def _not_kept(self, what: str) -> ArgumentError:
        return ArgumentError(
            f"Expected a class or unit that was kept, got {what}, which was not. Compute the map with keep_all=True to "
            f"follow any of them, or with this target or channel."
        )

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the result to a file of safetensors, settings and class names in its metadata; no preview.

        All or nothing: what was there before stays until the new file is whole.

        Raises
        ------
        ArgumentError
            If that is no path of a file, or its folder does not exist.
        StoreError
            If it cannot be written.
        """
        settings: dict[str, Any] = {
            "labels": self.labels,
            "independent": self.clean.independent,
            **{k: getattr(self, k) for k in ("target", "layer", "channel", "maps", "size", "stride", "fill", "seed")},
            **{k: getattr(self, k) for k in ("network", "fingerprint", "preprocessing", "precision", "rounding")},
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
        return save_result(path, _FORMAT, arrays, settings)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> OcclusionResult:
        """Read a result that `save` wrote, of this version or an earlier one.

        Raises
        ------
        ArgumentError
            If there is no such file, or it holds something else.
        StoreError
            If it cannot be read, or is damaged.
        """
        with opened_result(path, "OcclusionResult.save", (_FORMAT, _FORMAT_1)) as (form, arrays, s):
            if form == _FORMAT_1:  # at most one map
                there = s["layer"] is not None
                s["maps"] = [(s["layer"], s["channel"])] if there else []
                arrays["activities"] = arrays.pop("activity")[None][: int(there)]
                arrays["clean_activities"] = np.array([s.pop("clean_activity")][: int(there)], np.float64)
            clean = Prediction(arrays.pop("clean"), tuple(s.pop("labels")), s.pop("independent", False))
            shape: str | Outline | npt.NDArray[np.bool_]
            if "outline" in arrays:
                shape = tuple((float(row), float(column)) for row, column in arrays.pop("outline"))
            elif "mask" in arrays:
                height, width = s.pop("mask")
                bits = arrays.pop("mask")
                if bits.dtype != np.uint8 or bits.shape != ((height * width + 7) // 8,) or min(height, width) < 1:
                    raise Damage(f"a mask of {height}x{width} in {bits.nbytes} bytes")
                shape = np.unpackbits(bits, count=height * width).astype(bool).reshape(height, width)
            else:
                shape = s.pop("shape")
            pairs = {k: (int(s[k][0]), int(s[k][1])) for k in ("size", "stride")}
            maps = tuple((str(name), int(channel)) for name, channel in s.pop("maps"))
            result = cls(**arrays, **(s | pairs), maps=maps, shape=checked_shape(shape), clean=clean)
            result._require_whole()
            # Earlier versions wrote class 0 where the network returns NaN.
            result.label[result.computed & np.isnan(result.probability)] = NO_CLASS
            return result

    def _require_whole(self) -> None:
        """Raise Damage unless what a file held fits together."""
        rows, columns = self.label.shape
        labels, maps = len(self.labels), len(self.maps)
        height, width, _ = self.picture.shape
        shapes: dict[str, tuple[str, tuple[int, ...]]] = {
            "probability": ("float32", (rows, columns)),
            "label": ("int64", (rows, columns)),
            "activities": ("float64", (maps, rows, columns)),
            "clean_activities": ("float64", (maps,)),
            "positions": ("int64", (rows, columns, 2)),
            "picture": ("uint8", (height, width, 3)),
        }
        if self.all_probabilities is not None:
            shapes["all_probabilities"] = "float32", (rows, columns, labels)
        if (self.all_activities is None) != (self.clean_all_activities is None):
            raise Damage("activities of all units of the layer, but not with and without occluder")
        if self.clean_all_activities is not None:
            (channels,) = self.clean_all_activities.shape
            shapes["all_activities"] = "float32", (rows, columns, channels)
            shapes["clean_all_activities"] = "float64", (channels,)
        for name, (dtype, shape) in shapes.items():
            found = getattr(self, name)
            if found.dtype != dtype or found.shape != shape:
                raise Damage(f"{name} of {found.dtype} {found.shape} where {dtype} {shape} fits the rest")
        named = (*self.labels, self.network, self.fingerprint, self.fill, self.precision)
        clean, p = self.clean.probabilities, self.probability
        sound = {
            "labels and names": all(isinstance(name, str) for name in named),
            "clean": clean.shape == (labels,) and bool(((clean >= 0) & (clean <= 1) | np.isnan(clean)).all()),
            "probability": bool(((p >= 0) & (p <= 1) | np.isnan(p)).all()),
            "label": bool(((self.label >= NO_CLASS) & (self.label < labels)).all()),
            "target": type(self.target) is int and 0 <= self.target < labels,
            "layer": (self.layer is None and not maps) or (isinstance(self.layer, str) and maps > 0),
            "channel": self.layer is None or self.maps[0] == (self.layer, self.channel),
            "size and stride": min(*self.size, *self.stride) >= 1,
            "seed": type(self.seed) is int,
            "rounding": self.rounding >= 0,
        }
        if self.preprocessing is not None:
            Preprocessing.difference(self.preprocessing, self.preprocessing)  # raises where it is none
        if unsound := [name for name, good in sound.items() if not good]:
            raise Damage(f"values that no result has: {', '.join(unsound)}")

    @draws_figure
    def plot(self) -> Any:
        """Draw the panels of the paper's figure: the picture, each map, the probability and the most probable class.

        Of a computation that was stopped what there is, and beneath it how many of how many positions that are.
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
        kinds = np.unique(self.label[self.label >= 0])
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
        if not self.complete:
            figure.supxlabel(
                f"unfinished: {int(self.computed.sum()):,} of {self.label.size:,} positions are computed",
                fontsize="small",
            )
        return figure


def no_channel(layer: str, count: int, channel: object) -> ArgumentError:
    """Return the error for a unit that a layer of `count` units does not have."""
    return ArgumentError(f"Expected channel, a unit of {layer} from 0 to {count - 1}, got {channel!r}.")
