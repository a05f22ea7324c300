"""The health of a network's layers."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import traitlets

from convscope._instrument import Answer, Content, Request
from convscope._still import Strip
from convscope._wire import Whole
from convscope_core.network import Network
from convscope_core.survey import HealthTable, inactive_word, layer_health

from .survey import SurveyPane

__all__ = ["HealthPane", "checked_unit"]

#: Layers that a still picture lists.
STILL = 20
#: Units listed of each kind.
LISTED = 100


def checked_unit(net: Network, layer: str, unit: int | None) -> int | None:
    """A unit of a layer, or none."""
    if unit is None:
        return None
    count = net.layer(layer).channels if layer else 0
    if not 0 <= unit < count:
        raise traitlets.TraitError(f"Expected selected, a unit of {layer or 'no layer'} below {count}, got {unit}.")
    return unit


class HealthPane(SurveyPane):
    """A row for each layer that was surveyed, with its shares of dead, rare, repeated and saturated units."""

    layer = traitlets.Unicode().tag(sync=True)
    """str: name of the chosen layer; empty for none."""

    selected = Whole(None, allow_none=True).tag(sync=True)
    """int or None: the unit of that layer that is chosen beneath the table; None for none."""

    _health = traitlets.List(traitlets.Dict()).tag(sync=True)

    @property
    def table(self) -> HealthTable:
        """HealthTable: the numbers behind the rows; ArgumentError before the first picture has been seen."""
        return layer_health(self._surveyed())

    @traitlets.validate("layer")
    def _known_layer(self, proposal: Any) -> str:
        return self.net.layer(proposal["value"]).name if proposal["value"] else ""

    @traitlets.validate("selected")
    def _known_unit(self, proposal: Any) -> int | None:
        return checked_unit(self.net, self.layer, proposal["value"])

    def _answer_units(self, content: Content) -> Answer:
        """The units of a layer that its row counts, the first of many."""
        survey, name = self._surveyed(), self.net.layer(content["layer"]).name
        health, first = survey.health(name), survey.duplicates(name)
        rare = survey.shortage("rare") is None
        found = {
            "dead": np.flatnonzero(health.dead),
            "rare": np.flatnonzero(health.rare) if rare else np.zeros(0, int),
            "duplicated": np.flatnonzero(first != np.arange(len(first))),
        }
        units = {kind: one[:LISTED].tolist() for kind, one in found.items()}
        units["duplicated"] = [[unit, int(first[unit])] for unit in units["duplicated"]]
        return {"layer": name, "counts": {kind: len(one) for kind, one in found.items()}, **units}, []

    def _snapshot(self) -> list[Request]:
        return [*super()._snapshot(), *([("units", {"layer": self.layer})] if self.survey and self.layer else [])]

    def _strips(self) -> list[Strip]:
        survey = self.survey
        names = {"dead": inactive_word(0 if survey is None else int(survey.seen.sum())), "rare": "rare"}
        texts = [
            f"{row['layer']}: {row['channels']} units, "
            + ", ".join(f"{row[name]:.0%} {word}" for name, word in names.items() if row[name] is not None)
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
