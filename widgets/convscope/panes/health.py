"""The health of a network's layers."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import traitlets

from convscope._still import Strip
from convscope_core.survey import HealthTable, layer_health

from .survey import SurveyPane

__all__ = ["HealthPane"]

#: Layers that a still picture lists.
STILL = 20


class HealthPane(SurveyPane):
    """A row for each layer that was surveyed, with its shares of dead, rare, repeated and saturated units."""

    layer = traitlets.Unicode().tag(sync=True)
    """str: name of the chosen layer; empty for none."""

    _health = traitlets.List(traitlets.Dict()).tag(sync=True)

    @property
    def table(self) -> HealthTable:
        """HealthTable: the numbers behind the rows; ArgumentError before the first picture has been seen."""
        return layer_health(self._surveyed())

    @traitlets.validate("layer")
    def _known_layer(self, proposal: Any) -> str:
        return self.net.layer(proposal["value"]).name if proposal["value"] else ""

    def _strips(self) -> list[Strip]:
        texts = [
            f"{row['layer']}: {row['channels']} units, "
            + ", ".join(f"{row[name]:.0%} {name}" for name in ("dead", "rare") if row[name] is not None)
            for row in self._health[:STILL]
        ]
        return [*super()._strips(), *map(Strip, texts)]

    def _figures(self) -> Mapping[str, Callable[[], Any]]:
        return {"health": lambda: self.table.plot(), **super()._figures()}

    def _survey_news(self) -> Mapping[str, Any]:
        if self.survey is not None:
            rows = [dataclasses.asdict(row) for row in layer_health(self.survey)]
            self._health = [
                # JSON has no NaN.
                {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in row.items()}
                for row in rows
            ]
        return super()._survey_news()
