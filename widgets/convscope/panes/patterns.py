"""What became of a fit of patterns."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import traitlets

from convscope._instrument import Instrument
from convscope._still import Strip
from convscope._wire import Whole
from convscope_core.errors import ArgumentError
from convscope_core.network import Network
from convscope_core.patterns import LayerFit, Patterns, SignalQuality

from .health import checked_unit

__all__ = ["PatternsPane"]

#: Layers that a still picture lists.
STILL = 20
#: Units listed of each problem.
LISTED = 50


class PatternsPane(Instrument):
    """A row for each layer that was fitted, with its doubtful units and the quality of the estimators."""

    layer = traitlets.Unicode().tag(sync=True)
    """str: name of the chosen layer; empty for none."""

    only_problems = traitlets.Bool(False).tag(sync=True)
    """bool: whether layers without problems are hidden."""

    selected = Whole(None, allow_none=True).tag(sync=True)
    """int or None: the unit of that layer that is chosen beneath the table; None for none."""

    _patterns = traitlets.Dict().tag(sync=True)

    def __init__(
        self, net: Network, *, patterns: Patterns, quality: SignalQuality | None = None, **options: Any
    ) -> None:
        if not isinstance(patterns, Patterns):
            raise ArgumentError(
                f"Expected patterns as fit_patterns or Patterns.load gives them, got {type(patterns).__name__}."
            )
        patterns.require(net)
        if quality is not None and quality.fingerprint != net.fingerprint:
            raise ArgumentError(
                f"Expected the signal quality of {net.name} with these weights, got that of {quality.network} "
                f"({quality.fingerprint[:8]}). signal_quality(net, patterns, images) measures it."
            )
        self.patterns = patterns
        self.quality = quality
        self._patterns = summary(patterns, quality)
        super().__init__(net, **options)

    @traitlets.validate("selected")
    def _known_unit(self, proposal: Any) -> int | None:
        return checked_unit(self.net, self.layer, proposal["value"])

    def _strips(self) -> list[Strip]:
        fits = self.patterns.report[:STILL]
        return [*super()._strips(), *(Strip(f"{fit.layer}: {fit.fitted} of {fit.units} units fitted") for fit in fits)]

    def _figures(self) -> Mapping[str, Callable[[], Any]]:
        return {**({} if self.quality is None else {"quality": self.quality.plot}), **super()._figures()}

    @traitlets.validate("layer")
    def _known_layer(self, proposal: Any) -> str:
        name: str = proposal["value"]
        if name and name not in self.patterns:
            raise ArgumentError(
                f"Expected a layer that has patterns, got {name!r}. They are: {', '.join(self.patterns)}."
            )
        return name


def summary(patterns: Patterns, quality: SignalQuality | None) -> dict[str, Any]:
    """What the front end shows."""
    return {
        "network": patterns.network,
        "images": patterns.images,
        "regimes": list(patterns.regimes),
        "denominator": patterns.denominator,
        "estimators": [] if quality is None else list(quality.estimators),
        "rows": [_row(fit, quality) for fit in patterns.report],
    }


def _row(fit: LayerFit, quality: SignalQuality | None) -> dict[str, Any]:
    problems = {name: getattr(fit, name) for name in ("dead", "thin", "vanishing", "negative")}
    measured: dict[str, float | None] = {}
    if quality is not None and fit.layer in quality.units:
        means = {name: quality.mean(fit.layer, name) for name in quality.estimators}
        # JSON has no NaN.
        measured = {name: None if math.isnan(value) else value for name, value in means.items()}
    return {
        **{
            name: getattr(fit, name)
            for name in ("layer", "kind", "regime", "gate", "extended", "units", "fitted", "samples")
        },
        "problems": [
            {"name": name, "count": len(units), "units": list(units[:LISTED])}
            for name, units in problems.items()
            if units
        ],
        "quality": measured,
    }
