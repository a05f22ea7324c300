"""How healthy the layers of a network are: dead, rarely active, duplicated and saturated units, layer by layer."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from convscope_core.arguments import door
from convscope_core.plots import panels
from convscope_core.survey.minima import MINIMA, inactive_word
from convscope_core.survey.result import Survey

__all__ = ["HealthRow", "HealthTable", "layer_health"]


@dataclass(frozen=True)
class HealthRow:
    """The health of one layer.

    Attributes
    ----------
    layer, kind : str
    channels : int
    dead : float
        Share of the units, 0 to 1, that no image activates; printed as "inactive" where too few were seen (`MINIMA`).
    rare : float
        Share of the units that less than one image in a hundred activates, the dead ones not among them; NaN where too
        few images were seen to tell (`MINIMA`).
    duplicated : float
        Share of the units that repeat an earlier one of the layer (see `Survey.duplicates`); NaN where too few images
        were sampled to tell (`MINIMA`).
    active : float
        Mean share of the positions at which a unit is greater than zero.
    saturated : float
        Mean share of the positions at the upper bound of a bounded activation; NaN where there is no bound.
    """

    layer: str
    kind: str
    channels: int
    dead: float
    rare: float
    duplicated: float
    active: float
    saturated: float


@dataclass(frozen=True, eq=False)
class HealthTable(Sequence[HealthRow]):
    """The health of every surveyed layer, in execution order; prints, shows itself in a notebook, and plots.

    Attributes
    ----------
    network : str
    images : int
        How many were surveyed.
    rows : tuple of HealthRow
    """

    network: str
    images: int
    rows: tuple[HealthRow, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> Any:
        return self.rows[index]

    def __iter__(self) -> Iterator[HealthRow]:
        return iter(self.rows)

    def columns(self) -> dict[str, list[Any]]:
        """Return the table by columns, as ``pandas.DataFrame`` takes it."""
        return {field.name: [getattr(row, field.name) for row in self.rows] for field in fields(HealthRow)}

    def __repr__(self) -> str:
        wide = max([5, *(len(row.layer) for row in self.rows)])
        head = (
            f"{'layer':<{wide}}  kind   channels {inactive_word(self.images):>8}   rare  duplicated  active  saturated"
        )
        lines = [
            f"{row.layer:<{wide}}  {row.kind:<6} {row.channels:>8}  {row.dead:>7.1%}  {_share(row.rare):>5}  "
            f"{_share(row.duplicated):>10}  {row.active:>6.1%}  {_share(row.saturated):>9}"
            for row in self.rows
        ]
        return "\n".join([f"Health of {self.network} over {self.images:,} images", head, *lines])

    def _repr_html_(self) -> str:
        names = ("layer", "kind", "channels", "dead", "rare", "duplicated", "active", "saturated")
        head = "".join(f"<th>{inactive_word(self.images) if name == 'dead' else name}</th>" for name in names)
        body = "".join(
            f"<tr><td style='text-align:left'>{html.escape(row.layer)}</td><td>{row.kind}</td><td>{row.channels:,}</td>"
            + "".join(f"<td>{_share(getattr(row, name))}</td>" for name in names[3:])
            + "</tr>"
            for row in self.rows
        )
        caption = f"<caption>{html.escape(self.network)}: {self.images:,} images</caption>"
        return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def plot(self) -> Any:
        """Draw the shares of dead, rarely active and duplicated units, layer by layer; returns the figure."""
        figure, (axes,) = panels(1, 1, (max(4.0, 0.16 * len(self.rows)), 3.2))
        places = np.arange(len(self.rows))
        for name, label in {"dead": inactive_word(self.images), "rare": "rare", "duplicated": "duplicated"}.items():
            axes.plot(places, [getattr(row, name) for row in self.rows], marker=".", label=label)
        axes.set_xticks(places, [row.layer for row in self.rows], rotation=90, fontsize=6)
        axes.set_ylabel("share of units")
        axes.set_yticks(np.linspace(0, 1, 5), [f"{share:.0%}" for share in np.linspace(0, 1, 5)])
        axes.set_ylim(-0.02, 1.02)
        axes.legend(frameon=False)
        axes.set_title(f"{self.network}: {self.images:,} image{'s' * (self.images != 1)}", fontsize=9)
        return figure


@door
def layer_health(survey: Survey) -> HealthTable:
    """Sum up the health of every layer of a survey.

    Parameters
    ----------
    survey : Survey

    Returns
    -------
    HealthTable

    Examples
    --------
    >>> pandas.DataFrame(cs.layer_health(survey).columns())
    """
    rows = []
    for layer in survey.layers:
        health = survey.health(layer)
        repeats = survey.duplicates(layer) != np.arange(layer.channels)
        bounded = health.saturated[~np.isnan(health.saturated)]
        rows.append(
            HealthRow(
                layer=layer.name,
                kind=layer.kind,
                channels=layer.channels,
                dead=float(health.dead.mean()),
                rare=float(health.rare.mean()) if health.images >= MINIMA["rare"].images else float("nan"),
                duplicated=float(repeats.mean()) if survey.shortage("repeated") is None else float("nan"),
                active=float(np.mean(health.active_positions)),
                saturated=float(bounded.mean()) if bounded.size else float("nan"),
            )
        )
    return HealthTable(survey.network, int(survey.seen.sum()), tuple(rows))


def _share(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.1%}"
