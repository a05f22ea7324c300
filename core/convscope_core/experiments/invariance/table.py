"""What was measured, as a table."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

from convscope_core.experiments.invariance.transforms import Transform

__all__ = ["InvarianceRow", "InvarianceTable"]


@dataclass(frozen=True)
class InvarianceRow:
    """A layer under a transformation, over all values that change the picture.

    Attributes
    ----------
    transform, layer : str
    distance : float
        Mean over pictures and values.
    largest, at : float
        The largest mean over pictures, and at which value.
    spread : float
        Median over units of `InvarianceResult.spread`.
    equivariance : float
        Mean of `InvarianceResult.equivariance`, cells inside; NaN where there is none.
    probability, kept : float
        Of the class that is followed, mean; and how often the most probable class is that of the picture as it is. The
        same for all layers.
    """

    transform: str
    layer: str
    distance: float
    largest: float
    at: float
    spread: float
    equivariance: float
    probability: float
    kept: float


@dataclass(frozen=True, eq=False)
class InvarianceTable(Sequence[InvarianceRow]):
    """A row a transformation and layer: layers in execution order.

    Attributes
    ----------
    network : str
    distance : str
    pictures : int
        Pictures.
    transforms : tuple of Transform
    rows : tuple of InvarianceRow
    """

    network: str
    distance: str
    pictures: int
    transforms: tuple[Transform, ...]
    rows: tuple[InvarianceRow, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> Any:
        return self.rows[index]

    def __iter__(self) -> Iterator[InvarianceRow]:
        return iter(self.rows)

    def columns(self) -> dict[str, list[Any]]:
        """Return the table by columns, as ``pandas.DataFrame`` takes it."""
        return {field.name: [getattr(row, field.name) for row in self.rows] for field in fields(InvarianceRow)}

    def text(self) -> str:
        """Return the table as text, a block a transformation."""
        wide = max(5, *(len(row.layer) for row in self.rows))
        lines = []
        for transform in self.transforms:
            rows = [row for row in self.rows if row.transform == transform.name]
            lines += [
                f"{self._title(transform)}: probability {_number(rows[0].probability)}, class kept {rows[0].kept:.1%}",
                f"  {'layer':<{wide}}  {self.distance + ' distance':>17}   largest  at{'':<8}  spread  equivariance",
            ]
            lines += [
                f"  {row.layer:<{wide}}  {_number(row.distance):>17}  {_number(row.largest):>8}  "
                f"{'–' if math.isnan(row.at) else transform.text(row.at):<10}  {_number(row.spread):>6}  "
                f"{_number(row.equivariance):>12}".rstrip()
                for row in rows
            ]
        return "\n".join(lines)

    @staticmethod
    def _title(transform: Transform) -> str:
        low, high = transform.values[0], transform.values[-1]
        ends = transform.text(high) if low == high else f"{low:g} to {transform.text(high)}"
        return f"{transform.kind.words} {ends}"

    def __repr__(self) -> str:
        return f"Invariance of {self.network}, {self.pictures} pictures\n{self.text()}"

    def _repr_html_(self) -> str:
        titles = {transform.name: self._title(transform) for transform in self.transforms}
        names = ("transformation", "layer", f"{self.distance} distance", "largest", "at", "spread", "equivariance",
                 "probability", "class kept")  # fmt: skip
        head = "".join(f"<th>{name}</th>" for name in names)
        body = "".join(
            f"<tr><td style='text-align:left'>{html.escape(titles[row.transform])}</td>"
            f"<td style='text-align:left'>{html.escape(row.layer)}</td><td>{_number(row.distance)}</td>"
            f"<td>{_number(row.largest)}</td><td>{'–' if math.isnan(row.at) else f'{row.at:g}'}</td>"
            f"<td>{_number(row.spread)}</td><td>{_number(row.equivariance)}</td><td>{_number(row.probability)}</td>"
            f"<td>{'–' if math.isnan(row.kept) else f'{row.kept:.1%}'}</td></tr>"
            for row in self.rows
        )
        caption = f"<caption>{html.escape(self.network)}, {self.pictures} pictures</caption>"
        return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _number(value: float) -> str:
    if math.isnan(value):
        return "–"
    return f"{value:.3f}" if value < 100 else f"{value:.4g}"
