"""What an evolution measures of layers, as a table."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

from convscope_core.survey import inactive_word

__all__ = ["MEASURES", "EvolutionRow", "EvolutionTable"]


@dataclass(frozen=True)
class EvolutionRow:
    """A layer at a checkpoint.

    Attributes
    ----------
    layer, checkpoint : str
    step : int
    epoch : float
        NaN where it is not known.
    units : int
    staying, jaccard, cka, dead, dormant, weight_rms : float
        See the methods of `EvolutionResult`; NaN where there is none.
    """

    layer: str
    checkpoint: str
    step: int
    epoch: float
    units: int
    staying: float
    jaccard: float
    cka: float
    dead: float
    dormant: float
    weight_rms: float


MEASURES = ("staying", "jaccard", "cka", "dead", "dormant", "weight_rms")
"""What is measured of a layer at a checkpoint: methods of `EvolutionResult`."""


@dataclass(frozen=True, eq=False)
class EvolutionTable(Sequence[EvolutionRow]):
    """A row a layer and checkpoint: layers in execution order, checkpoints in that of training.

    Attributes
    ----------
    network : str
    tau : float
    images : int
        How many were surveyed at each checkpoint.
    rows : tuple of EvolutionRow
    """

    network: str
    tau: float
    images: int
    rows: tuple[EvolutionRow, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> Any:
        return self.rows[index]

    def __iter__(self) -> Iterator[EvolutionRow]:
        return iter(self.rows)

    def columns(self) -> dict[str, list[Any]]:
        """Return the table by columns, as ``pandas.DataFrame`` takes it."""
        return {field.name: [getattr(row, field.name) for row in self.rows] for field in fields(EvolutionRow)}

    def __repr__(self) -> str:
        wide = max([5, *(len(row.layer) for row in self.rows)])
        dead = inactive_word(self.images)
        label = max([10, *(len(row.checkpoint) for row in self.rows)])
        head = (
            f"{'layer':<{wide}}  {'checkpoint':<{label}}  units  staying  jaccard    cka {dead:>8}  dormant  weight rms"
        )
        lines = [
            f"{row.layer:<{wide}}  {row.checkpoint:<{label}}  {row.units:>5}  {_share(row.staying):>7}  "
            f"{_number(row.jaccard):>7}  {_number(row.cka):>5}  {_share(row.dead):>7}  {_share(row.dormant):>7}  "
            f"{_number(row.weight_rms, 4):>10}"
            for row in self.rows
        ]
        words = f"Evolution of {self.network}, dormant up to {self.tau:g} of the layer's mean"
        return "\n".join([words, head, *lines])

    def _repr_html_(self) -> str:
        names = ("layer", "checkpoint", "units", *MEASURES)
        titles = {"dead": inactive_word(self.images), "weight_rms": "weight rms"}
        head = "".join(f"<th>{titles.get(name, name)}</th>" for name in names)
        body = "".join(
            f"<tr><td style='text-align:left'>{html.escape(row.layer)}</td><td>{html.escape(row.checkpoint)}</td>"
            f"<td>{row.units:,}</td><td>{_share(row.staying)}</td><td>{_number(row.jaccard)}</td>"
            f"<td>{_number(row.cka)}</td><td>{_share(row.dead)}</td><td>{_share(row.dormant)}</td>"
            f"<td>{_number(row.weight_rms, 4)}</td></tr>"
            for row in self.rows
        )
        caption = f"<caption>{html.escape(self.network)}</caption>"
        return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _share(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.1%}"


def _number(value: float, digits: int = 2) -> str:
    return "–" if math.isnan(value) else f"{value:.{digits}f}"
