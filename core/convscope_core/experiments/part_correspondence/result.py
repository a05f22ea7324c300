"""The result: scores of parts at layers, beside those of random places."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from convscope_core.experiments.part_correspondence.signs import SignScores
from convscope_core.plots import curves, draws_figure
from convscope_core.saved_result import SavedResult, Values

__all__ = ["CorrespondenceResult"]


@dataclass(frozen=True, eq=False, repr=False)
class CorrespondenceResult(SavedResult):
    """How alike masking the same part acts on features, in one picture and another.

    Lower is more alike. What a score is worth is seen beside that of random places of the same area, and in `p`.

    Attributes
    ----------
    parts, layers : tuple of str
    all_entries : SignScores
        The share of differing signs among all entries of a layer, as in the paper. Entries that neither mask changes
        agree, so its level follows from how many are changed.
    changed_entries : SignScores
        The share among the entries that both masks change.
    changed, random_changed : float64 array (parts, layers)
        The mean share of entries that masking the part changes, and that masking a random place does.
    pictures : tuple of tuple of int
        For each part, the numbers of the pictures that have it.
    places, permutations, seed : int
    fill : str
        In words.
    network, fingerprint : str
    """

    _form: ClassVar[str] = "convscope correspondence 1"
    _arrays: ClassVar[dict[str, Values]] = {
        name: Values("float64", "parts layers", 0, math.inf if name.endswith("spread") else 1, unknown=True)
        for name in (
            *(f"{which}.{field.name}" for which in ("all_entries", "changed_entries") for field in fields(SignScores)),
            "changed",
            "random_changed",
        )
    }

    parts: tuple[str, ...]
    layers: tuple[str, ...]
    all_entries: SignScores
    changed_entries: SignScores
    changed: npt.NDArray[np.float64]
    random_changed: npt.NDArray[np.float64]
    pictures: tuple[tuple[int, ...], ...]
    places: int
    permutations: int
    seed: int
    fill: str
    network: str
    fingerprint: str

    def _sizes(self) -> Mapping[str, int]:
        return {"parts": len(self.pictures)}

    @property
    def delta(self) -> npt.NDArray[np.float64]:
        """The paper's score, (parts, layers)."""
        return self.all_entries.delta

    @property
    def random(self) -> npt.NDArray[np.float64]:
        """The paper's score of random places of the same area, (parts, layers)."""
        return self.all_entries.random

    @property
    def p(self) -> npt.NDArray[np.float64]:
        """How often the score of places drawn by lot is as low as the part's, (parts, layers), above 0 to 1."""
        return self.all_entries.p

    def table(self) -> dict[str, list[Any]]:
        """The scores by columns, a row for each part and layer, as ``pandas.DataFrame`` takes it."""
        rows = [(i, j) for i in range(len(self.parts)) for j in range(len(self.layers))]
        columns: dict[str, list[Any]] = {
            "part": [self.parts[i] for i, _ in rows],
            "layer": [self.layers[j] for _, j in rows],
            "pictures": [len(self.pictures[i]) for i, _ in rows],
            "changed": [float(self.changed[at]) for at in rows],
            "random changed": [float(self.random_changed[at]) for at in rows],
        }
        for prefix, scores in (("", self.all_entries), ("changed entries ", self.changed_entries)):
            for field in fields(SignScores):
                values = getattr(scores, field.name)
                columns[prefix + field.name.replace("_", " ")] = [float(values[at]) for at in rows]
        return columns

    def __repr__(self) -> str:
        wide = max(6, *map(len, self.parts))
        counts = sorted({len(pictures) for pictures in self.pictures})
        many = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        head = (
            f"Correspondence in {self.network}: {many} pictures, {self.fill}, against {self.places} random places a "
            "picture; share of signs that differ, mean ± sd over pairs"
        )
        lines = [head]
        for j, layer in enumerate(self.layers):
            lines += [
                "",
                f"{layer}",
                f"  {'part':<{wide}}  {'all entries':<13}  {'random':<13}  {'p':<6}   {'both changed':<13}  "
                f"{'random':<13}  {'p':<6}",
            ]
            for i, part in enumerate(self.parts):
                cells = []
                for scores in (self.all_entries, self.changed_entries):
                    cells += [
                        f"{scores.delta[i, j]:.3f} ± {scores.spread[i, j]:.3f}",
                        f"{scores.random[i, j]:.3f} ± {scores.random_spread[i, j]:.3f}",
                        f"{scores.p[i, j]:<6.2g}",
                    ]
                lines.append(f"  {part:<{wide}}  {'  '.join(cells[:3])}   {'  '.join(cells[3:])}".rstrip())
        return "\n".join(lines)

    @draws_figure
    def plot(self) -> Any:
        """Draw the parts' scores as dots, each on the band of its random places, layer by layer."""
        figure, two = curves(2, (1.2 + 0.9 * len(self.layers), 3.4))
        step = 0.8 / len(self.parts)
        for panel, scores, title in zip(
            two, (self.all_entries, self.changed_entries), ("of all entries", "of those both change"), strict=True
        ):
            for i, part in enumerate(self.parts):
                at = np.arange(len(self.layers)) + (i - (len(self.parts) - 1) / 2) * step
                panel.bar(at, scores.high[i] - scores.low[i], 0.7 * step, scores.low[i], color="0.82")
                panel.hlines(scores.random[i], at - 0.35 * step, at + 0.35 * step, color="0.5", linewidth=1)
                panel.plot(at, scores.delta[i], "o", markersize=5, label=part)
            panel.set_xticks(range(len(self.layers)), self.layers)
            panel.set_title(title, fontsize=9)
            panel.set_ylim(bottom=0)
        two[0].set_ylabel("share of signs that differ")
        figure.legend(*two[0].get_legend_handles_labels(), fontsize=8, loc="outside right", title="grey: random")
        return figure
