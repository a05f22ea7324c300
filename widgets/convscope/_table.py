"""The numbers of a chart as a table in HTML, for who cannot point at it: opened by keys, read by a screen reader."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

__all__ = ["numbered", "table"]

#: Keys in it are for it, and no shortcuts of JupyterLab's, which looks for its attribute on what has the focus itself.
TABLE = """<details style="font-size: 12px"><summary data-lm-suppress-shortcuts="true">chart as a table</summary>
<div tabindex="0" data-lm-suppress-shortcuts="true" role="group" aria-label="The numbers of the chart"
style="max-height: 240px; overflow: auto">
<table><caption style="text-align: left">{caption}</caption><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>
</div></details>"""


def table(caption: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table that is folded away.

    Parameters
    ----------
    caption : str
        What is in it.
    columns : sequence of str
        Names; the first is of what names the rows.
    rows : sequence of sequence of str
        The name of each row first.
    """
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in columns)
    lines = (
        f'<tr><th scope="row">{html.escape(name)}</th>{"".join(f"<td>{html.escape(one)}</td>" for one in values)}</tr>'
        for name, *values in rows
    )
    return TABLE.format(caption=html.escape(caption), head=head, rows="".join(lines))


def numbered(value: float, low: float = math.nan, high: float = math.nan) -> str:
    """A number with the ends of its band, where it has one; a dash where there is none."""
    if not math.isfinite(value):
        return "–"
    band = f" ({low:.3f} to {high:.3f})" if math.isfinite(low) and math.isfinite(high) else ""
    return f"{value:.3f}{band}"
