"""From sums to patterns: the direction in which a neuron's signal lies, with what is doubtful about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from convscope_core.arguments import argument_kind, plain_methods, require_choice
from convscope_core.errors import ArgumentError, did_you_mean
from convscope_core.network import Layer, Network
from convscope_core.patterns.neurons import EXTENDED, Neurons
from convscope_core.patterns.statistics import REGIMES, LayerSums, PatternSums
from convscope_core.preprocessing import Preprocessing
from convscope_core.saving import Damage, opened_result, save_result

__all__ = ["DENOMINATORS", "FitReport", "LayerFit", "Patterns", "pattern_of"]

DENOMINATORS = ("paper", "bias_neuron")

_VANISHING = 1e-6
"""Denominators below this share of their terms are differences of rounding errors."""

_CACHED = 4
"""Sets of weights, each as large as the patterns, that are kept for the next picture."""

_CACHED, _CHUNK = 2**17, 2**21
"""Weights of which patterns are computed at once: on a CPU from sums, and from samples or elsewhere."""

_FEW = 100
"""Samples below which a unit's pattern is called thin, by default."""


@dataclass(frozen=True)
class LayerFit:
    """What became of the units of one layer.

    Attributes
    ----------
    layer, kind : str
        The layer and what it is: "conv", "conv_transpose", "linear", "add" (a residual sum) or "pool" (an average
        pool).
    regime : str
        Of whose samples the pattern is: "positive", "negative" or "all".
    gate : str
        What decides on the regime: "rectifier", "activation" (another activation function, taken as a rectifier),
        "output" (the sign of a class score) or "none".
    units, fan_in : int
        Units, and inputs of each. A unit of a transposed convolution has a neuron for each phase of the stride: the
        inputs of the one with most. It is listed below if any of its neurons is meant; neurons without taps or without
        positions do not count.
    samples : int
        Positions of all pictures.
    least : int
        Samples in the regime of the neuron that has fewest, dead ones left out; 0 if all are dead.
    dead : tuple of int
        Units whose regime no sample was in. Their pattern is zero, or the linear one if that was fitted too.
    thin : tuple of int
        Units with few samples in their regime, so that the pattern is uncertain.
    vanishing : tuple of int
        Units whose denominator is nothing but rounding error: zero, or the linear pattern.
    negative : tuple of int
        Units whose denominator is negative, so that the pattern's sign is turned. It can be with a large positive bias
        and ``denominator="paper"``.
    """

    layer: str
    kind: str
    regime: str
    gate: str
    units: int
    fan_in: int
    samples: int
    least: int
    dead: tuple[int, ...]
    thin: tuple[int, ...]
    vanishing: tuple[int, ...]
    negative: tuple[int, ...]

    @property
    def fitted(self) -> int:
        """Units with a pattern of the regime."""
        return self.units - len({*self.dead, *self.vanishing})

    @property
    def extended(self) -> bool:
        """Whether the paper does not speak of this kind of neuron or gate."""
        return self.kind in EXTENDED or self.gate == "activation" or (self.gate == "none" and self.regime == "all")

    @property
    def problems(self) -> str:
        """What is doubtful, in words; empty where nothing is."""
        units = {name: getattr(self, name) for name in ("dead", "thin", "vanishing", "negative")}
        return ", ".join(f"{len(found)} {name}" for name, found in units.items() if found)


class FitReport(tuple[LayerFit, ...]):
    """What became of every layer, in a tuple that prints as a table."""

    __slots__ = ()

    def __repr__(self) -> str:
        heads = ("layer", "kind", "regime", "gate", "fitted", "samples", "problems")
        rows = [(r.layer, r.kind, r.regime, r.gate, f"{r.fitted}/{r.units}", str(r.samples), r.problems) for r in self]
        wide = [max(len(row[i]) for row in [heads, *rows]) for i in range(len(heads))]
        lines = []
        for row in [heads, *rows]:
            cells = [
                f"{v:>{w}}" if h in ("fitted", "samples") else f"{v:<{w}}"
                for v, w, h in zip(row, wide, heads, strict=True)
            ]
            lines.append("  ".join(cells).rstrip())
        return "\n".join(lines)


def pattern_of(
    neurons: Neurons, sums: LayerSums, regime: str, denominator: str = "paper", few: int = _FEW
) -> tuple[Tensor, LayerFit]:
    """Return the patterns of a layer (Kindermans et al. 2018, eq. 8; for all samples eq. 4).

    a = (E_r[x y] - E_r[x] E[y]) / (w^T E_r[x y] - w^T E_r[x] E[y]), where E[y] is over all samples and E_r over those
    of the regime. With all samples it is cov[x, y] / var[y]. Of a transposed convolution each phase of the stride is a
    neuron of its own, with samples, means and a denominator of its own.

    Parameters
    ----------
    neurons : Neurons
    sums : LayerSums
    regime : {"positive", "negative", "all"}
    denominator : {"paper", "bias_neuron"}
        The paper's, for which w^T a = 1 but which can vanish or be negative where a bias is large; or with the bias as
        an input neuron that is constantly one, for which it is positive, w^T a + b a_b = 1, and a_b is not kept.
    few : int
        Units with fewer samples are listed as thin.

    Returns
    -------
    Tensor (outputs, inputs a group, *kernel)
        float32.
    LayerFit
    """
    return _patterns_of(neurons, sums, (regime,), denominator, few)[regime]


def _patterns_of(
    neurons: Neurons, sums: LayerSums, regimes: Sequence[str], denominator: str, few: int
) -> dict[str, tuple[Tensor, LayerFit]]:
    """Return what `pattern_of` does, for several regimes."""
    shape, device = neurons.weight.shape, sums.tensors["n"].device
    # Where a regime tells nothing of a unit, the pattern of all samples stands in.
    every = dict.fromkeys((*(("all",) if sums.whole else ()), *regimes))
    tensors = {regime: torch.empty(shape, device=device) for regime in regimes}
    found: dict[str, list[_Units]] = {regime: [] for regime in regimes}
    # Some units at a time: what is in float64, and as large as their weights, stays in the cache.
    step = max(1, (_CACHED if device.type == "cpu" and not sums.rows else _CHUNK) // max(1, shape[1:].numel()))
    for first in range(0, shape[0], step):
        units = slice(first, first + step)
        instead: Tensor | None = None
        for regime, of in sums.each(every, units).items():
            pattern, about = _units(neurons, sums, units, of, denominator)
            if not bool(about.good.all()):
                pattern = torch.where(neurons.over(about.good), pattern, 0.0 if instead is None else instead)
            if regime == "all":
                instead = pattern
            if regime in tensors:
                tensors[regime][units] = pattern
                found[regime].append(about)
        sums.let_go(units)
    made = {}
    for regime, blocks in found.items():
        about = _Units(*map(torch.cat, zip(*blocks, strict=True)))
        masks = {
            "dead": about.dead,
            "thin": about.good & (about.n < few),
            "vanishing": about.vanishing,
            "negative": about.good & about.negative,
        }
        live = about.good | about.vanishing
        fit = LayerFit(
            layer=neurons.name,
            kind=neurons.kind,
            regime=regime,
            gate=neurons.gate,
            units=neurons.outputs,
            fan_in=neurons.fan_in,
            samples=sums.count,
            least=int(about.n[live].min()) if bool(live.any()) else 0,
            **{name: tuple(mask.any(1).nonzero().flatten().tolist()) for name, mask in masks.items()},
        )
        made[regime] = tensors[regime].cpu(), fit
    return made


class _Units(NamedTuple):
    """What is known of the neurons of units: float64 or bool, (outputs, phases).

    Attributes
    ----------
    n : Tensor
        Samples of the regime.
    dead, vanishing, good : Tensor
        Whether there is no such sample, a denominator that is only rounding error, or a pattern. None of them where
        there is no neuron.
    negative : Tensor
        Whether the denominator is negative.
    """

    n: Tensor
    dead: Tensor
    vanishing: Tensor
    good: Tensor
    negative: Tensor


def _units(
    neurons: Neurons, sums: LayerSums, units: slice, of: tuple[Tensor, Tensor, Tensor], denominator: str
) -> tuple[Tensor, _Units]:
    """Return the patterns of units by their sums in a regime, and what is known of them."""
    n, x, xu = of
    w, b = neurons.weight[units].to(x), neurons.bias[units].to(x)[:, None]
    samples = sums.tensors["n"]
    # u = y + b - shift, so that y = u + d.
    d = sums.tensors["shift"][units, None] - b
    mean = sums.tensors["u"][units] / samples.clamp(min=1)
    number = n.clamp(min=1)
    # E_r[y] and E_r[y u], as w^T x = y.
    first = neurons.within(x * w) / number
    second = neurons.within(xu * w) / number
    below = second - first * mean
    scale = (second + d * first).abs() + (first * (mean + d)).abs()
    if denominator == "bias_neuron":
        below = below + b * (first - d - mean)
    taps = neurons.phase.bincount(minlength=neurons.phases).to(n.device)
    exists = (taps > 0) & (samples > 0)
    dead = exists & (n == 0)
    vanishing = exists & ~dead & ~(below.abs() > _VANISHING * scale)
    good = exists & ~dead & ~vanishing
    pattern = torch.addcmul(xu, x, neurons.over(-mean))
    pattern /= neurons.over(torch.where(good, below * number, 1.0))
    return pattern, _Units(n, dead, vanishing, good, below < 0)


@plain_methods
@argument_kind("Make them with fit_patterns(net, images), or open them with Patterns.load.")
class Patterns(Mapping[str, Tensor]):
    """The patterns of a network's neurons: for each layer a tensor of its weight's shape, units first.

    ``patterns["features.0"]`` is the pattern of the regime that was asked for. A residual sum has (channels, 2): the
    share of each operand; an average pool ``(channels, 1, *kernel)``; a transposed convolution ``(units, inputs a
    group, *kernel)``, in which the taps of each phase of the stride are a pattern. Pass it on as ``patterns=`` to
    ``attribute(net, image, "patternnet")``.

    Attributes
    ----------
    network : str
        The network's name.
    fingerprint : str
        The network's fingerprint: patterns belong to weights.
    preprocessing : dict
        What was done to pictures before (`Preprocessing.identity`): patterns belong to inputs.
    regimes : tuple of str
        The regimes that were fitted; the first is the main one.
    denominator : str
        See `fit_patterns`.
    images : int
        Pictures that they were fitted on.
    report : FitReport
        What became of each layer; prints as a table.
    """

    def __init__(
        self,
        network: str,
        fingerprint: str,
        preprocessing: Mapping[str, Any],
        regimes: Sequence[str],
        denominator: str,
        images: int,
        fits: Mapping[tuple[str, str], LayerFit],
        tensors: Mapping[tuple[str, str], Tensor],
    ) -> None:
        self.network = network
        self.fingerprint = fingerprint
        self.preprocessing = preprocessing
        self.regimes = tuple(regimes)
        self.denominator = denominator
        self.images = images
        self._fits = dict(fits)
        self._tensors = dict(tensors)
        self._layers = tuple(dict.fromkeys(layer for layer, _ in tensors))
        self._cache: dict[Any, dict[str, Tensor]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_cache": {}}

    @classmethod
    def of(
        cls,
        net: Network,
        neurons: Sequence[Neurons],
        sums: PatternSums,
        regimes: Sequence[str] = ("positive",),
        denominator: str = "paper",
        few: int = _FEW,
    ) -> Patterns:
        """Compute the patterns from sums over pictures."""
        fits, tensors = {}, {}
        for layer, found in zip(neurons, sums.layers, strict=True):
            made = _patterns_of(layer, found, regimes_of(layer, regimes), denominator, few)
            for regime, (pattern, fit) in made.items():
                tensors[layer.name, regime], fits[layer.name, regime] = pattern, fit
        prepared = net.preprocessing.identity
        return cls(net.name, net.fingerprint, prepared, regimes, denominator, sums.images, fits, tensors)

    def __repr__(self) -> str:
        doubtful = sum(1 for fit in self.report if fit.problems)
        found = f"units of {doubtful} layers have problems" if doubtful else "all units fitted"
        what = f"{len(self)} layers, {', '.join(self.regimes)}, {self.images} pictures"
        return f"<Patterns of {self.network}: {what}, {found}>"

    def __len__(self) -> int:
        return len(self._layers)

    def __iter__(self) -> Iterator[str]:
        return iter(self._layers)

    def __getitem__(self, layer: str | Layer) -> Tensor:
        name = layer.name if isinstance(layer, Layer) else layer
        if name not in self._layers:
            raise KeyError(f"Expected a layer with patterns, got {name!r}.{did_you_mean(str(name), self._layers)}")
        return self._tensors[name, self.regime(name)]

    def regime(self, layer: str) -> str:
        """Return the regime of a layer's own pattern: the main one, or "all" where no rectifier follows."""
        return next(regime for name, regime in self._tensors if name == layer)

    def fitted(self, layer: str, regime: str) -> Tensor | None:
        """Return a layer's patterns of a regime; None where they were not fitted."""
        return self._tensors.get((layer, regime))

    @property
    def report(self) -> FitReport:
        """What became of each layer, in the regime of its own pattern."""
        return FitReport(self._fits[name, self.regime(name)] for name in self._layers)

    def reported(self, regime: str) -> FitReport:
        """What became of each layer that was fitted in a regime."""
        return FitReport(fit for (_, r), fit in self._fits.items() if r == regime)

    def cache(self, key: Any) -> dict[str, Tensor]:
        """Return a place for what was computed from these patterns; of several keys the last few are kept."""
        found = self._cache.pop(key, {})
        while len(self._cache) >= _CACHED:
            self._cache.pop(next(iter(self._cache)))
        self._cache[key] = found
        return found

    def require(self, net: Network) -> None:
        """Raise an ArgumentError unless these are patterns of this network, with these weights and preprocessing.

        Or of those that it had before layers of it were randomised for a control.
        """
        if net.redrawn is not None:
            net = net.redrawn.origin
        if self.fingerprint != net.fingerprint:
            raise ArgumentError(
                f"Expected patterns of {net.name} with these weights (fingerprint {net.fingerprint[:8]}), got those of "
                f"{self.network} ({self.fingerprint[:8]}). Patterns belong to weights: fit_patterns(net, images) makes "
                "those of this network."
            )
        if words := Preprocessing.difference(self.preprocessing, net.preprocessing.identity):
            raise ArgumentError(
                f"Expected patterns of pictures that were prepared as {net.name} prepares them, got another "
                f"preprocessing: {words}. fit_patterns(net, images) makes those of this network."
            )

    def save(self, path: str | Path) -> Path:
        """Write the patterns as safetensors, with the report and the network's fingerprint.

        Parameters
        ----------
        path : path
            The file. What is there is overwritten, once the new file is whole.

        Returns
        -------
        Path

        Raises
        ------
        ArgumentError
            When that is no path of a file, or its folder does not exist.
        StoreError
            When it cannot be written.
        """
        settings = {
            "network": self.network,
            "fingerprint": self.fingerprint,
            "preprocessing": self.preprocessing,
            "regimes": self.regimes,
            "denominator": self.denominator,
            "images": self.images,
            "fits": [asdict(fit) for fit in self._fits.values()],
        }
        arrays = {f"{regime}/{layer}": tensor.numpy() for (layer, regime), tensor in self._tensors.items()}
        return save_result(path, _FORMAT, arrays, settings)

    @classmethod
    def load(cls, path: str | Path) -> Patterns:
        """Read patterns that were saved.

        Raises
        ------
        ArgumentError
            When there is no such file, or it holds something else.
        StoreError
            When it cannot be read, or is damaged.
        """
        with opened_result(path, "Patterns.save", (_FORMAT,)) as (_, arrays, s):
            fits: dict[tuple[str, str], LayerFit] = {}
            tensors: dict[tuple[str, str], Tensor] = {}
            for row in s["fits"]:
                fit = LayerFit(**{name: _tuple(value) for name, value in row.items()})
                array = arrays.pop(f"{fit.regime}/{fit.layer}")
                if array.dtype != "float32" or array.ndim < 2 or len(array) != fit.units:
                    raise Damage(f"patterns of {fit.layer} as {array.dtype} {array.shape} for {fit.units} units")
                if not np.isfinite(array).all():
                    raise Damage(f"patterns of {fit.layer} that are not finite")
                _require_whole(fit)
                fits[fit.layer, fit.regime], tensors[fit.layer, fit.regime] = fit, torch.from_numpy(array)
            if arrays or not fits:
                raise Damage(f"{len(fits)} layers with patterns, and {len(arrays)} tensors of none")
            require_choice("denominator", s["denominator"], DENOMINATORS)
            names = (s["network"], s["fingerprint"])
            if type(s["images"]) is not int or s["images"] < 2 or not all(isinstance(name, str) for name in names):
                raise Damage("settings of another type")
            prepared = s["preprocessing"]
            Preprocessing.difference(prepared, prepared)  # raises where it is none
            return cls(*names, prepared, require_regimes(s["regimes"]), s["denominator"], s["images"], fits, tensors)


def _require_whole(fit: LayerFit) -> None:
    """Raise Damage unless what a file held of a layer can be."""
    counts = (fit.units, fit.fan_in, fit.samples, fit.least)
    lists = (fit.dead, fit.thin, fit.vanishing, fit.negative)
    if not (
        all(isinstance(text, str) for text in (fit.layer, fit.kind, fit.gate))
        and fit.regime in REGIMES
        and all(type(count) is int and count >= 0 for count in counts)
        and all(isinstance(units, tuple) for units in lists)
        and all(type(unit) is int and 0 <= unit < fit.units for units in lists for unit in units)
    ):
        raise Damage(f"a report of {fit.layer!r} that no fit has")


_FORMAT = "convscope patterns 2"


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def regimes_of(neurons: Neurons, regimes: Sequence[str]) -> tuple[str, ...]:
    """Return the regimes in which a layer is fitted, its own first.

    Where no rectifier follows, as before a residual sum, outputs of either sign are passed on, so the layer's own
    pattern is that of all samples (own decision; the paper's networks have no such layer).
    """
    if neurons.gate == "none":
        return ("all", *(r for r in regimes if r != "all" and len(regimes) > 1))
    return tuple(regimes)


def require_regimes(regime: str | Sequence[str]) -> tuple[str, ...]:
    """Return regimes as a tuple, each once; ArgumentError unless each is one of `REGIMES`."""
    given = (regime,) if isinstance(regime, str) else tuple(regime)
    for one in given:
        if one not in REGIMES:
            raise ArgumentError(
                f"Expected regime as one or several of {', '.join(map(repr, REGIMES))}, got {one!r}."
                f"{did_you_mean(str(one), REGIMES)}"
            )
    if not given:
        raise ArgumentError(f"Expected regime as one or several of {', '.join(map(repr, REGIMES))}, got none.")
    return tuple(dict.fromkeys(given))
