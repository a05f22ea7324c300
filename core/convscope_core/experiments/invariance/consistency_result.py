"""What the protocols found, picture by picture, and the numbers that are published."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from convscope_core.plots import axes, draws_figure
from convscope_core.saved_result import SavedResult, Values

__all__ = ["ConsistencyResult", "Measured"]

Integers = npt.NDArray[np.int64]


class Measured(NamedTuple):
    """A number with its 95 % interval: 1.96 standard errors over pictures, NaN of one picture."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        if math.isnan(self.low):
            return f"{self.value:.4f}"
        return f"{self.value:.4f} ({self.low:.4f} to {self.high:.4f})"


@dataclass(frozen=True, eq=False, repr=False)
class ConsistencyResult(SavedResult):
    """How often the most probable class stays when pictures are shifted and turned a little.

    Attributes
    ----------
    images : int64 array (N,)
        The pictures' numbers.
    skipped : tuple of (int, str)
        Pictures that could not be read, with the reason.
    targets, truths, clean_classes : int64 array (N,)
        The class that is right in `worst`; those of the picture's label, and of the picture as it is. All classes are
        those that `Network.decided` gives: of a network of one class 0 for yes and -1 for no.
    pairs : int64 array (N, passes, 2)
        The most probable classes of the two crops of each pass.
    steps : int64 array (N, 9)
        Those along the diagonal, a pixel apart.
    changes : float32 array (N, 8)
        How far the probability of the class before each step changes.
    attempts : int64 array (N, attempts)
        The most probable classes of the picture turned and shifted at random.
    reach, degrees, pixels, group, fill, target, seed
        As they were asked for.
    network, fingerprint : str
    """

    _form: ClassVar[str] = "convscope consistency 1"
    _arrays: ClassVar[dict[str, Values]] = {
        "images": Values("int64", "pictures", 0),
        "targets": Values("int64", "pictures", -1),
        "truths": Values("int64", "pictures", -1),
        "clean_classes": Values("int64", "pictures", -1),
        "pairs": Values("int64", "pictures passes 2", -1),
        "steps": Values("int64", "pictures 9", -1),
        "changes": Values("float32", "pictures 8", 0, 1),
        "attempts": Values("int64", "pictures attempts", -1),
    }

    images: Integers
    skipped: tuple[tuple[int, str], ...]
    targets: Integers
    truths: Integers
    clean_classes: Integers
    pairs: Integers
    steps: Integers
    changes: npt.NDArray[np.float32]
    attempts: Integers
    reach: int
    degrees: float
    pixels: int
    group: int
    fill: str
    target: str
    seed: int
    network: str
    fingerprint: str

    @property
    def consistency(self) -> Measured:
        """Share of pairs of crops that have the same class: Zhang's shift consistency."""
        return _measured(self.pairs[..., 0] == self.pairs[..., 1])

    @property
    def top1_changes(self) -> Measured:
        """Share of steps of one pixel at which the class changes: Azulay & Weiss's P(top-1 change)."""
        return _measured(self.steps[:, 1:] != self.steps[:, :-1])

    @property
    def mean_change(self) -> Measured:
        """How far the probability of the class before the step changes: their mean absolute change."""
        return _measured(self.changes)

    @property
    def worst(self) -> Measured:
        """Share of pictures whose class is the target every time: Engstrom et al.'s worst of k."""
        return _measured((self.attempts == self.targets[:, None]).all(1, keepdims=True))

    @property
    def average(self) -> Measured:
        """Share of the times: what `worst` would be if one attempt were made of each picture."""
        return _measured(self.attempts == self.targets[:, None])

    def table(self) -> dict[str, Measured]:
        """Return all numbers by their names."""
        return {
            "shift consistency": self.consistency,
            "P(top-1 changes) at 1 px": self.top1_changes,
            "mean absolute change": self.mean_change,
            f"worst of {self.attempts.shape[1]}": self.worst,
            f"mean of {self.attempts.shape[1]}": self.average,
        }

    def __repr__(self) -> str:
        count, passes = self.pairs.shape[:2]
        what = {
            "shift consistency": f"{passes} pairs of crops, offsets 0 to {self.reach - 1} (Zhang 2019)",
            "P(top-1 changes) at 1 px": "8 steps along the diagonal (Azulay & Weiss 2019)",
            "mean absolute change": "of the class before the step",
            f"worst of {self.attempts.shape[1]}": f"±{self.degrees:g}°, ±{self.pixels} px (Engstrom et al. 2019), "
            f"{self.target} class",
            f"mean of {self.attempts.shape[1]}": "likewise",
        }
        head = f"Consistency of {self.network}: {count} picture{'s' * (count != 1)}, fill {self.fill}"
        lines = [f"  {name:<25} {number!s:<26} {what[name]}" for name, number in self.table().items()]
        return "\n".join([head, *lines])

    @draws_figure
    def plot(self) -> Any:
        """Draw the numbers with their intervals."""
        figure, panel = axes((5, 2.4))
        for place, number in enumerate(reversed(self.table().values())):
            panel.barh(place, number.value, color="0.7")
            if not math.isnan(number.low):
                panel.plot([number.low, number.high], [place, place], color="black")
            panel.text(number.value, place, f" {number.value:.3f}", va="center", fontsize=8)
        panel.set_yticks(range(len(self.table())), list(reversed(self.table())), fontsize=8)
        panel.set_xlim(0, 1.15)
        return figure


def _measured(rows: npt.NDArray[Any]) -> Measured:
    """Mean over pictures of the mean of each row."""
    means = rows.mean(1, dtype=np.float64)
    value = float(means.mean())
    if len(means) < 2:
        return Measured(value, math.nan, math.nan)
    error = 1.96 * float(means.std(ddof=1)) / math.sqrt(len(means))
    return Measured(value, max(value - error, 0.0), min(value + error, 1.0))
