"""The quality of signal estimators: how much a linear function of the distractor still tells of the output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from convscope_core.plots import axes

__all__ = ["SignalQuality"]


@dataclass(frozen=True, eq=False, repr=False)
class SignalQuality:
    """The criterion rho of Kindermans et al. (2018, eq. 1) for units of every layer.

    1 where nothing linear about the output is left in what the estimator calls distractor, 0 where all is.

    Attributes
    ----------
    rho : mapping of (str, str) to float64 array (units,)
        By layer and estimator, in the order of `units`; NaN for a unit that has no signal direction (dead) or an output
        that does not vary.
    units : mapping of str to int64 array
        The units of each layer that were measured.
    estimators : tuple of str
        "random", "filter" (S_w), "linear" (S_a), "two_component" (S_a+-).
    target, regime : str
        See `signal_quality`.
    images : int
        Pictures: half of them to fit v, half to measure.
    network, fingerprint : str
    """

    rho: Mapping[tuple[str, str], npt.NDArray[np.float64]]
    units: Mapping[str, npt.NDArray[np.int64]]
    estimators: tuple[str, ...]
    target: str
    regime: str
    images: int
    network: str
    fingerprint: str

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers, in execution order."""
        return tuple(self.units)

    def mean(self, layer: str, estimator: str) -> float:
        """Return the mean over a layer's units, those that have none left out; NaN where none has."""
        found = self.rho[layer, estimator]
        return float(np.nanmean(found)) if np.isfinite(found).any() else float("nan")

    def __repr__(self) -> str:
        wide = max(map(len, self.layers), default=5)
        lines = [
            f"Signal quality of {self.network}, {self.images} pictures, target {self.target}, regime {self.regime}",
            f"{'layer':<{wide}}  " + "  ".join(f"{name:>13}" for name in self.estimators),
        ]
        for layer in self.layers:
            values = "  ".join(f"{self.mean(layer, name):>13.3f}" for name in self.estimators)
            lines.append(f"{layer:<{wide}}  {values}")
        return "\n".join(lines)

    def plot(self) -> Any:
        """Draw the mean quality of each estimator per layer, as in the paper's figure 3.

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        ImportError
            Without matplotlib.
        """
        figure, panel = axes((max(4.0, 0.35 * len(self.layers) + 2), 3.2))
        for name in self.estimators:
            panel.plot([self.mean(layer, name) for layer in self.layers], marker="o", markersize=3, label=name)
        panel.set_xticks(range(len(self.layers)), self.layers, rotation=90, fontsize=7)
        panel.set_ylabel("quality ρ")
        panel.set_ylim(-0.02, 1.02)
        panel.legend(fontsize=8)
        return figure
