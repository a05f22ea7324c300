"""The traits that may be given as keyword arguments, for type checkers: `Occluder(net, image, sise=50)` is found.

What a trait takes is said by the trait; a test compares both. A class a pane, as panes derive from one another; one for
an instrument where it has more, or where its constructor names some of a pane's traits itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, TypeAlias, TypedDict

from convscope_core.occlusion import Fill, Shape

__all__ = [
    "CompareOptions",
    "CorrespondenceOptions",
    "EvolutionOptions",
    "ExplorerOptions",
    "FilterGridOptions",
    "GalleryOptions",
    "HealthOptions",
    "InvarianceOptions",
    "OccluderOptions",
    "OcclusionMapOptions",
    "PatternOptions",
    "UnitOptions",
]

Pair: TypeAlias = tuple[int, int]
Names: TypeAlias = list[str] | tuple[str, ...]
Scale: TypeAlias = Literal["unit", "layer"]


class OccluderOptions(TypedDict, total=False):
    """Of `Occluder`."""

    picture: int
    position: Pair
    show_trail: bool


class OcclusionMapOptions(OccluderOptions, total=False):
    """Of `OcclusionMap`."""

    opacity: float


class Occlusion(OccluderOptions, total=False):
    """Of instruments with an occluder that do not name these in their constructor."""

    target: int | str | None
    size: int | Pair
    shape: Shape
    fill: Fill


class Projecting(TypedDict, total=False):
    """Of instruments with projections of units."""

    method: Literal["deconvnet", "guided_backprop", "gradient"]


class Selecting(Projecting, total=False):
    """Of those with a unit that is chosen."""

    selected: int | None


class Unit(TypedDict, total=False):
    """Of instruments that show a unit's patches."""

    contrast: Literal["tile", "group"]
    crop: Literal["field", "effective"]


class Grid(TypedDict, total=False):
    """Of instruments with the tiles of a layer."""

    colormap: Literal["inferno", "viridis", "magma", "gray"]
    scale: Scale
    weights_scale: Scale
    order: Literal["strongest", "mean", "index", "best", "rare", "class"]
    show: Literal["all", "alive", "dead", "rare", "repeated"]
    label: str
    lens: Literal["activation", "patch", "projection", "weights"]


class UnitOptions(Projecting, Unit, total=False):
    """Of `UnitPanel`, whose `channel` is what others call `selected`."""


class FilterGridOptions(Selecting, Grid, total=False):
    """Of `FilterGrid`."""

    picture: int


class ExplorerOptions(Occlusion, Selecting, Unit, Grid, total=False):
    """Of `Explorer`."""

    silenced: Mapping[str, int | Iterable[int] | None]
    show_history: bool


class HealthOptions(TypedDict, total=False):
    """Of `HealthView`."""

    layer: str
    selected: int | None


class PatternOptions(HealthOptions, total=False):
    """Of `PatternReport`."""

    only_problems: bool


class GalleryOptions(TypedDict, total=False):
    """Of `Gallery`."""

    colours: Literal["red-blue", "purple-green"]
    extended: Names
    opacity: float
    scale_by: Literal["method", "group", "map"]
    seed: int
    targets: list[int | str | None] | tuple[int | str | None, ...]
    top: float


class EvolutionOptions(Selecting, Unit, total=False):
    """Of `Evolution`."""

    checkpoint: int | None
    curve: Literal["staying", "jaccard", "cka", "inactive", "weight_rms", "energy"]
    order: Literal["strongest", "jumps", "settling", "index"]
    rows: int
    show: Literal["both", "projection", "crop"]
    spread: Literal["tile", "row", "layer"]


class InvarianceOptions(TypedDict, total=False):
    """Of `Invariance`."""

    distance: Literal["raw", "relative", "cosine"]
    picture: int
    shown: Names
    transform: str
    value: float


class CorrespondenceOptions(TypedDict, total=False):
    """Of `Correspondence`."""

    entries: Literal["all", "changed"]
    part: str
    points: list[Pair | None] | tuple[Pair | None, ...]
    shown: str
    size: int


class CompareOptions(Occlusion, total=False):
    """Of `Compare`."""

    layer_a: str
    layer_b: str
    pair_order: Literal["mutual", "alike", "unlike"]
    pair_show: Literal["patch", "projection"]
    pairs: int
    target_b: int | str | None
