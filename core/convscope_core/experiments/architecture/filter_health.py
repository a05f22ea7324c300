"""The health of first-layer filters, and what strides fold: the numbers behind the first paper's figure 6.

Zeiler & Fergus (2014, sec. 4.1, fig. 6) chose their architecture by looking: one filter that dominates the first layer
where filters are not bounded, dead ones, a mix of very high and very low frequencies with few between (11 x 11 filters
at stride 4), aliasing in the second layer. They give no numbers; here are some.
"""

from __future__ import annotations

import html
import math
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from convscope_core.arguments import require_counts
from convscope_core.datasets import Images
from convscope_core.errors import ArgumentError, LayerError
from convscope_core.experiments.architecture.aliasing import Aliasing, AliasingJob
from convscope_core.jobs import Progress, begin, completed, documented, last
from convscope_core.measures import coverage, frequencies, orientation, radial_spectrum, root_mean_square
from convscope_core.network import Layer, Network
from convscope_core.plots import draws_figure, panels
from convscope_core.render import filters_rgb
from convscope_core.saved_result import Values, require_values, typed, types_of
from convscope_core.saving import Damage, opened_result, save_result
from convscope_core.survey import MINIMA, Survey
from convscope_core.survey.sample import mixed

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = [
    "DEAD",
    "DOMINANT",
    "DUPLICATE",
    "FilterHealth",
    "FilterProgress",
    "filter_health",
    "filter_tiles",
    "first_layer",
    "measuring_filters",
]

DOMINANT = 4.0
"""A filter dominates from so many times the median RMS on."""

DEAD = 1e-3
"""A filter is dead up to this share of the layer's largest activation, or RMS where activations are not known."""

DUPLICATE = 0.95
"""Filters repeat one another from this cosine on."""

_FORM = "convscope filter health 1"
_SETTINGS = ("network", "fingerprint", "layer", "dead_by", "images")
_ARRAYS = {
    "filters": Values("float32", "filters channels height width"),
    "rms": Values("float64", "filters", 0),
    "dominance": Values("float64", "filters", 0, unknown=True),
    "dominant": Values("bool", "filters"),
    "dead": Values("bool", "filters"),
    "duplicates": Values("int64", "filters", 0),
    "frequencies": Values("float64", "frequencies", 0, 0.5),
    "spectra": Values("float64", "filters frequencies", 0, 1.0001, unknown=True),
    "centroid": Values("float64", "filters", 0, unknown=True),
    "angle": Values("float64", "filters", unknown=True),
    "coherence": Values("float64", "filters", 0, 1.0001, unknown=True),
}


@dataclass(frozen=True, eq=False, repr=False)
class FilterHealth(Sequence[Aliasing]):
    """How healthy the filters of the first layer are, and what the strides of the network fold.

    As a sequence it is `aliasing`: a row a layer.

    Attributes
    ----------
    network, fingerprint : str
    layer : str
        The first layer.
    filters : float32 array (C, c, h, w)
        Its weights as it computes with them, batch norm folded in.
    rms : float64 array (C,)
        Root mean square of each filter's weights.
    dominance : float64 array (C,)
        RMS divided by the median over filters.
    dominant : bool array (C,)
        Dominance of `DOMINANT` (4) or more: such a filter leaves little grey for the others on one scale.
    dead : bool array (C,)
        By activations, where a survey of enough pictures was given (`MINIMA`): the largest over all pictures is at most
        `DEAD` (a thousandth) of the layer's largest. Else by weights: the RMS is at most that share of the largest.
    dead_by : {"activations", "weights"}
    duplicates : int64 array (C,)
        The first filter that each repeats: cosine of their weights of `DUPLICATE` (0.95) or more; its own index if
        there is none.
    frequencies : float64 array (16,)
        Cycles a pixel, 0 to 0.5.
    spectra : float64 array (C, 16)
        Power of each filter by frequency, adding up to 1 (see `convscope_core.measures.radial_spectrum`).
    centroid : float64 array (C,)
        Mean frequency of each filter, in cycles a pixel; NaN for one without weights.
    angle, coherence : float64 arrays (C,)
        Direction in which each filter varies, in degrees (see `convscope_core.measures.orientation`), and how much it
        keeps to it, 0 to 1.
    coverage : float
        How evenly the filters that are not dead cover the frequencies, 0 to 1.
    aliasing : tuple of Aliasing
        For each layer with maps; empty where no pictures were given.
    images : int
        How many pictures that is of.
    """

    network: str
    fingerprint: str
    layer: str
    filters: npt.NDArray[np.float32]
    rms: npt.NDArray[np.float64]
    dominance: npt.NDArray[np.float64]
    dominant: npt.NDArray[np.bool_]
    dead: npt.NDArray[np.bool_]
    dead_by: str
    duplicates: npt.NDArray[np.int64]
    frequencies: npt.NDArray[np.float64]
    spectra: npt.NDArray[np.float64]
    centroid: npt.NDArray[np.float64]
    angle: npt.NDArray[np.float64]
    coherence: npt.NDArray[np.float64]
    coverage: float
    aliasing: tuple[Aliasing, ...]
    images: int

    def __len__(self) -> int:
        return len(self.aliasing)

    def __getitem__(self, index: Any) -> Any:
        return self.aliasing[index]

    def __iter__(self) -> Iterator[Aliasing]:
        return iter(self.aliasing)

    @property
    def duplicated(self) -> npt.NDArray[np.bool_]:
        """Bool (C,): filters that repeat an earlier one."""
        return np.asarray(self.duplicates != np.arange(len(self.duplicates)))

    def columns(self) -> dict[str, list[Any]]:
        """Return the table of layers by columns, as ``pandas.DataFrame`` takes it."""
        names = ("layer", "kind", "stride", "folded", "next", "next_stride", "above")
        return {name: [getattr(row, name) for row in self.aliasing] for name in names}

    def __repr__(self) -> str:
        lines = [self._words(), ""] if self.aliasing else [self._words()]
        if self.aliasing:
            wide = max(5, *(len(row.layer) for row in self.aliasing))
            lines.append(f"{'layer':<{wide}}  stride  folded by it  above the next stride")
            for row in self.aliasing:
                after = "" if row.next is None else f"  ({row.next}, {_times(row.next_stride)})"
                own = _times(row.stride) if max(row.stride) > 1 else ""
                lines.append(f"{row.layer:<{wide}}  {own:<6}  {_share(row.folded):>12}  {_share(row.above):>6}{after}")
        return "\n".join(lines)

    def _words(self) -> str:
        count = len(self.rms)
        height, width = self.filters.shape[2:]
        found = [
            f"{int(flags.sum())} {name}"
            for name, flags in (("dead", self.dead), ("dominant", self.dominant), ("repeated", self.duplicated))
        ]
        pictures = f" over {self.images:,} images" if self.images else ""
        return (
            f"First layer of {self.network}, {self.layer}: {count} filters of {height}×{width}{pictures}\n"
            f"{', '.join(found)} (dead by {self.dead_by}); RMS {np.median(self.rms):.3g}, largest "
            f"{self.rms.max():.3g}; frequencies covered {_share(self.coverage, 0)}"
        )

    def _repr_html_(self) -> str:
        words = html.escape(self._words()).replace("\n", "<br>")
        if not self.aliasing:
            return f"<p>{words}</p>"
        body = "".join(
            f"<tr><td style='text-align:left'>{html.escape(row.layer)}</td><td>{_times(row.stride)}</td>"
            f"<td>{_share(row.folded)}</td><td>{html.escape(row.next or '')}</td><td>{_share(row.above)}</td></tr>"
            for row in self.aliasing
        )
        head = "<tr><th>layer</th><th>stride</th><th>folded by it</th><th>next stride</th><th>above it</th></tr>"
        return f"<p>{words}</p><table><thead>{head}</thead><tbody>{body}</tbody></table>"

    @draws_figure
    def plot(self) -> Any:
        """Draw the filters on one scale, the histogram of their RMS, their spectra, and what strides fold."""
        figure, every = panels(1, 4 if self.aliasing else 3, (3.3, 3.0))
        shown, histogram, spectra = every[:3]
        shown.imshow(sheet(self.filters), interpolation="nearest")
        shown.set_title(f"{self.layer}, one scale", fontsize=9)
        line = DOMINANT * float(np.median(self.rms))
        histogram.hist(self.rms, 24, range=(0.0, 1.05 * max(line, float(self.rms.max()), 1e-30)))
        histogram.axvline(line, color="0.5", linestyle=":")
        histogram.set_title("filter RMS (dotted: dominant from here on)", fontsize=9)
        alive = self.spectra[~self.dead]
        if len(alive):
            spectra.plot(self.frequencies, alive.T, color="C0", alpha=min(1.0, 6 / len(alive)), linewidth=0.8)
            spectra.plot(self.frequencies, alive.mean(0), color="C1", label="mean")
        spectra.set_title(f"power by cycles a pixel; coverage {_share(self.coverage, 0)}", fontsize=9)
        if self.aliasing:
            bars = every[3]
            names = [row.layer for row in self.aliasing]
            places = np.arange(len(names))
            bars.barh(places, np.nan_to_num([row.above for row in self.aliasing]), color="C0", label="above the next")
            bars.plot([row.folded for row in self.aliasing], places, "o", color="C1", label="folded by its own")
            bars.set_yticks(places, names, fontsize=6)
            bars.invert_yaxis()
            bars.set_title("share of a map's variation", fontsize=9)
            bars.legend(fontsize=7, frameon=False)
        for panel in every[1:]:
            panel.tick_params(labelsize=7)
            panel.xaxis.set_major_locator(_locator())
        for panel in every[1:3]:
            panel.yaxis.set_major_locator(_locator())
        return figure

    def save(self, path: str | Path) -> Path:
        """Write to a file (safetensors)."""
        arrays: dict[str, npt.NDArray[Any]] = {name: getattr(self, name) for name in _ARRAYS}
        rows = []
        for i, row in enumerate(self.aliasing):
            arrays[f"{i}.folded"], arrays[f"{i}.above"] = row.units_folded, row.units_above
            # JSON has no NaN: what is not there is None.
            shares = {name: None if np.isnan(v := getattr(row, name)) else v for name in ("folded", "above")}
            settings = {name: getattr(row, name) for name in ("layer", "kind", "stride", "next", "next_stride")}
            rows.append({**settings, **shares})
        about = {name: getattr(self, name) for name in _SETTINGS}
        return save_result(path, _FORM, arrays, {**about, "aliasing": rows})

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote.

        Raises
        ------
        ArgumentError
            If the file holds something else.
        StoreError
            If it cannot be read, or is damaged.
        """
        with opened_result(path, "FilterHealth.save", (_FORM,)) as (_, arrays, settings):
            rows = []
            for i, row in enumerate(settings.pop("aliasing")):
                found = {f"units_{name}": arrays.pop(f"{i}.{name}") for name in ("folded", "above")}
                require_values(found, dict.fromkeys(found, Values("float64", "units", 0, unknown=True)), {})
                for name in ("folded", "above"):
                    row[name] = math.nan if row[name] is None else row[name]
                hints = {name: hint for name, hint in types_of(Aliasing).items() if name not in found}
                known = {name: typed(row[name], hint, name, unknown=True) for name, hint in hints.items()}
                rows.append(Aliasing(**known, **found))
            require_values(arrays, _ARRAYS, {})
            if not (arrays["duplicates"] < len(arrays["rms"])).all():
                raise Damage("filters that repeat others that are not there")
            told = {name: typed(settings[name], types_of(cls)[name], name) for name in _SETTINGS}
            alive = arrays["spectra"][~arrays["dead"]]
            return cls(**arrays, coverage=coverage(alive), aliasing=tuple(rows), **told)


@dataclass(frozen=True, eq=False)
class FilterProgress:
    """How far a look at filters is.

    Attributes
    ----------
    done, total : int
        Pictures whose maps were measured, and to measure; 0 where there are none.
    """

    done: int
    total: int
    _net: Network
    _survey: Survey | None
    _step: Progress[tuple[Aliasing, ...]] | None

    @cached_property
    def result(self) -> FilterHealth | None:
        """What was found, at the last step; None before."""
        if self.done < self.total:
            return None
        return _found(self._net, self._survey, self._step)


@documented
def measuring_filters(
    net: Network,
    survey: Survey | None = None,
    images: Any = None,
    *,
    pictures: int = 64,
    batch_size: int = 8,
    workers: int = 0,
    progress: bool = False,
) -> Generator[FilterProgress, None, None]:
    """Look at the filters of the first layer, and at what the strides of the network fold.

    Parameters
    ----------
    net
    survey : Survey, optional
        Of this network: says which filters are dead, if it has seen enough pictures (`MINIMA`), and gives the pictures.
        Default: by the weights.
    images : Images, or what `Images.of` takes, optional
        Pictures to measure aliasing on. Default: those of the survey; without either it is not measured.
    pictures : int, default 64
        How many of them, at most: those of the smallest hashes of their numbers, as in a survey's sample.
    batch_size
        Layers with a stride are computed at every place, which takes stride² times as long.
    workers, progress

    Yields
    ------
    FilterProgress
        After every batch; at least one.

    Raises
    ------
    LayerError
        When the network has no convolution that looks at the picture.
    ArgumentError
        When the survey is of another network, or an argument is out of range.
    ImageError
        When the pictures do not exist, or not one can be read.

    References
    ----------
    M. D. Zeiler, R. Fergus: Visualizing and Understanding Convolutional Networks, ECCV 2014, section 4.1 and fig. 6
    (arXiv; fig. 5 of the proceedings). Aliasing: C. Vasconcelos et al.: Impact of Aliasing on Generalization in Deep
    Convolutional Networks, ICCV 2021.

    Examples
    --------
    >>> health = cs.filter_health(net, survey)
    >>> health.plot()
    >>> pandas.DataFrame(health.columns())
    """
    require_counts(pictures=pictures)
    layer = first_layer(net)
    if survey is not None:
        survey.require(net)
        _largest(survey, layer)
    source = Images.of(images) if images is not None else None if survey is None else survey.images
    if source is None:
        return _without_pictures(net, survey)
    chosen = sorted(sorted(range(len(source)), key=mixed)[:pictures])
    job = AliasingJob(net=net, batch_size=batch_size, workers=workers)
    return _steps(net, survey, begin(job, source, Progress, indices=chosen, progress=progress))


filter_health = completed(measuring_filters, "filter_health", FilterHealth, lambda steps: _whole(last(steps)))


def _whole(step: FilterProgress) -> FilterHealth:
    assert step.result is not None
    return step.result


def _without_pictures(net: Network, survey: Survey | None) -> Generator[FilterProgress, None, None]:
    yield FilterProgress(0, 0, net, survey, None)


def _steps(
    net: Network, survey: Survey | None, steps: Generator[Progress[tuple[Aliasing, ...]], None, None]
) -> Generator[FilterProgress, None, None]:
    with closing(steps):
        for step in steps:
            yield FilterProgress(step.done, step.total, net, survey, step)


def _found(net: Network, survey: Survey | None, step: Progress[tuple[Aliasing, ...]] | None) -> FilterHealth:
    layer = first_layer(net)
    weight = net.weight(layer.name)
    assert weight is not None
    filters = weight.cpu().float().numpy()
    few = survey is None or MINIMA["dead"].shortage(int(survey.seen.sum()), "Dead filters are") is not None
    largest = None if survey is None or few else _largest(survey, layer)
    rms = root_mean_square(filters)
    median = float(np.median(rms))
    dominance = rms / median if median > 0 else np.where(rms > 0, np.inf, 0.0)
    strength = rms if largest is None else largest
    dead = strength <= DEAD * max(float(strength.max()), 0.0)
    spectra = radial_spectrum(filters)
    total = spectra.sum(1)
    known = frequencies()
    turned = orientation(filters)
    return FilterHealth(
        network=net.name,
        fingerprint=net.fingerprint,
        layer=layer.name,
        filters=filters,
        rms=rms,
        dominance=dominance,
        dominant=dominance >= DOMINANT,
        dead=dead,
        dead_by="weights" if largest is None else "activations",
        duplicates=_duplicates(filters),
        frequencies=known,
        spectra=spectra,
        centroid=np.where(total > 0, spectra @ known, np.nan),
        angle=turned.angle,
        coherence=turned.coherence,
        coverage=coverage(spectra[~dead]),
        aliasing=() if step is None else step.result,
        images=0 if step is None else step.images,
    )


def first_layer(net: Network) -> Layer:
    """Return the convolution that looks at the picture; LayerError where there is none."""
    found = net.first_convolution
    if found is None:
        raise LayerError(
            f"Expected a network whose first layer is a convolution of the picture, got {net.name}. Its layers: "
            "net.layers."
        )
    return found


def filter_tiles(
    filters: npt.NDArray[np.float32], other: npt.NDArray[np.float32] | None = None
) -> npt.NDArray[np.uint8]:
    """Draw filters (C, c, h, w) on one scale, (C, h, w, 3); with `other`, on the scale of both."""
    count, channels = filters.shape[:2]
    shown = filters if channels in (1, 3) else filters.mean(1, keepdims=True)
    strongest = float(np.abs(shown).max(initial=0.0))
    if other is not None:
        against = other if other.shape[1] in (1, 3) else other.mean(1, keepdims=True)
        strongest = max(strongest, float(np.abs(against).max(initial=0.0)))
    # One more filter at the strongest value sets the scale.
    scale = np.full((1, *shown.shape[1:]), strongest, np.float32)
    return filters_rgb(np.concatenate([shown, scale]))[:count]


def sheet(filters: npt.NDArray[np.float32], other: npt.NDArray[np.float32] | None = None) -> npt.NDArray[np.uint8]:
    """Lay filters out in a square on one scale; with `other`, on the scale of both."""
    count, _, height, width = filters.shape
    tiles = filter_tiles(filters, other)
    across = int(np.ceil(np.sqrt(count)))
    down = -(-count // across)
    drawn = np.full((down * (height + 1) + 1, across * (width + 1) + 1, 3), 255, np.uint8)
    for place, tile in enumerate(tiles):
        top, left = 1 + place // across * (height + 1), 1 + place % across * (width + 1)
        drawn[top : top + height, left : left + width] = tile
    return drawn


def _largest(survey: Survey, layer: Layer) -> npt.NDArray[np.float64]:
    if layer.name not in [one.name for one in survey.layers]:
        raise ArgumentError(
            f"Expected a survey of the first layer, {layer.name!r}, among others, got one of "
            f"{survey.layers[0].name!r} to {survey.layers[-1].name!r}. Survey it, or give images=... alone."
        )
    return survey.health(layer).maximum.astype(np.float64)


def _duplicates(filters: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    flat = filters.reshape(len(filters), -1).astype(np.float64)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    unit = np.divide(flat, length, out=np.zeros_like(flat), where=length > 0)
    alike = unit @ unit.T >= DUPLICATE
    first = np.arange(len(filters), dtype=np.int64)
    for place in range(len(filters)):
        # Only firsts are compared with, so that a chain of slightly different filters is not one group.
        before = np.flatnonzero(alike[place, :place] & (first[:place] == np.arange(place)))
        if before.size:
            first[place] = before[0]
    return first


def _times(stride: tuple[int, int] | None) -> str:
    return "" if stride is None else str(stride[0]) if stride[0] == stride[1] else f"{stride[0]}×{stride[1]}"


def _share(value: float, digits: int = 1) -> str:
    return "–" if np.isnan(value) else f"{value:.{digits}%}"


def _locator() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(5)
