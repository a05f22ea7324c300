"""Dormant units: those that are nearly inactive beside the others of their layer."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from convscope_core.arguments import is_number
from convscope_core.errors import ArgumentError

__all__ = ["TAU", "dormant", "require_tau"]

TAU = 0.025
"""Share of the layer's mean up to which a unit counts as dormant, by default."""


def dormant(magnitudes: npt.ArrayLike, tau: float = TAU) -> npt.NDArray[np.bool_]:
    """Find the units of a layer that are tau-dormant.

    Sokar, Agarwal, Castro & Evci (The Dormant Neuron Phenomenon in Deep Reinforcement Learning, ICML 2023, definition
    3.1): the mean magnitude of a unit's activation over pictures and places, divided by the mean of that over the units
    of its layer, is at most tau. Here the activation is that **after** the rectifier that directly follows the layer;
    whether to take it before or after is disputed.

    Parameters
    ----------
    magnitudes : float array (units,)
        Mean magnitude of each unit over pictures and places.
    tau : float, default 0.025
        0 or greater; 0 finds those that are inactive throughout. (The authors' code: 0 by default; 0.025 and 0.1 are
        usual.)

    Returns
    -------
    bool array (units,)
        All True where the whole layer is inactive. All False where `magnitudes` are not known (NaN).
    """
    require_tau(tau)
    values = np.asarray(magnitudes, np.float64)
    return np.asarray(values <= tau * values.mean())


def require_tau(tau: object) -> float:
    """Return tau; ArgumentError where it is not a number of 0 or greater."""
    if not is_number(tau) or not 0 <= tau < float("inf"):
        raise ArgumentError(f"Expected tau as a number of 0 or greater, got {tau!r}.")
    return float(tau)
