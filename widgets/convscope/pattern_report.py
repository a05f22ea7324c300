"""What became of a fit of patterns, at a glance."""

from __future__ import annotations

import math
from typing import Any

import ipywidgets
import traitlets

from convscope_core.errors import ArgumentError
from convscope_core.network import Network
from convscope_core.patterns import LayerFit, Patterns, SignalQuality

from ._instrument import Instrument, bundle, require_network

__all__ = ["PatternReport"]

#: Units listed of each problem.
LISTED = 50


class PatternReport(Instrument):
    """For how many units of each layer a pattern was fitted, what is doubtful, and how good the estimators are.

    A row for each layer; a click, or Enter, chooses one and lists its doubtful units. Displaying it shows `box`: the
    table, and below it, where `quality` is given, the chart of the paper's figure 3.

    Parameters
    ----------
    net : Network
    patterns : Patterns
        From `fit_patterns`, of this network.
    quality : SignalQuality, optional
        From `signal_quality`.
    **traits
        Initial traits: `layer`, `only_problems`.

    Raises
    ------
    ArgumentError
        If the patterns, or the quality, are of another network or other weights, or there is no such layer among them.

    Examples
    --------
    >>> patterns = cs.fit_patterns(net, "train/", regime=("positive", "negative", "all"))
    >>> cs.PatternReport(net, patterns, cs.signal_quality(net, patterns, "val/"))
    """

    _name = "patterns"
    _esm = bundle(_name)

    layer = traitlets.Unicode().tag(sync=True)
    """str: name of the chosen layer; empty for none."""

    only_problems = traitlets.Bool(False).tag(sync=True)
    """bool: whether layers without problems are hidden."""

    _patterns = traitlets.Dict().tag(sync=True)

    def __init__(self, net: Network, patterns: Patterns, quality: SignalQuality | None = None, **traits: Any) -> None:
        require_network(net)
        if not isinstance(patterns, Patterns):
            raise ArgumentError(
                f"Expected patterns as fit_patterns or Patterns.load gives them; got {type(patterns).__name__}."
            )
        patterns.require(net)
        if quality is not None and quality.fingerprint != net.fingerprint:
            raise ArgumentError(
                f"Expected the signal quality of {net.name} with these weights; got that of {quality.network} "
                f"({quality.fingerprint[:8]}). signal_quality(net, patterns, images) measures it."
            )
        self.patterns = patterns
        self.quality = quality
        super().__init__(net, None, **traits)
        self._patterns = summary(patterns, quality)
        self.chart = None
        if quality is not None:
            # bqplot brings pandas along: not before it is needed.
            from .charts import quality_chart

            self.chart = quality_chart(quality)
            for mark in self.chart.marks:
                mark.display_legend = False  # the table has it
        self.box = ipywidgets.VBox([self] if self.chart is None else [self, self.chart], layout={"width": "100%"})

    @traitlets.validate("layer")
    def _known_layer(self, proposal: Any) -> str:
        name: str = proposal["value"]
        if name and name not in self.patterns:
            raise ArgumentError(
                f"Expected a layer that has patterns, got {name!r}. They are: {', '.join(self.patterns)}."
            )
        return name

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        return self.box._repr_mimebundle_(**kwargs)

    def close(self) -> None:
        """Close the report and the chart."""
        if hasattr(self, "box"):
            if self.chart is not None:
                self.chart.close()
            self.box.close()
        super().close()

    def _snapshot(self) -> list[tuple[str, dict[str, Any]]]:
        return []  # all of it is in the traits


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
