"""Ticks of the charts' axes: where they are, and what is written there, set together so that neither strays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["key", "label_ticks", "round_ticks"]


def key(value: float) -> str:
    """A number as JavaScript writes it: what bqplot looks a tick's label up by."""
    value = float(value)
    if value == 0 or 1e-6 <= abs(value) < 1e21:
        return np.format_float_positional(value + 0.0, trim="-")
    return np.format_float_scientific(value, trim="-", exp_digits=1)


def label_ticks(axis: Any, labels: Mapping[float, str]) -> None:
    """Put ticks at values, each with its label.

    Parameters
    ----------
    axis : bqplot.Axis
        With a `tick_format`: without one bqplot guesses one from the ticks it has, which fails while they change.
    labels : mapping of float to str
        What is written at each value.
    """
    keyed = {key(value): label for value, label in labels.items()}
    if keyed == axis.tick_labels:
        return
    with axis.hold_sync():
        axis.tick_labels = keyed
        axis.tick_values = np.array(list(labels), dtype=float)
    # bqplot writes at new values a frame later, with the labels that it had when they came. Which of the two it takes
    # first is chance, and differs from kernel to kernel. A change of how many ticks there may be, which are more than
    # there are, has them written once more, with the labels of now.
    axis.num_ticks = len(keyed) + (3 if axis.num_ticks == len(keyed) + 2 else 2)


def round_ticks(low: float, high: float, most: int = 7) -> dict[float, str]:
    """Round numbers from `low` to `high`, at most about as many, each written with as many decimals as the step has.

    Parameters
    ----------
    low, high : float
        `low` is less than `high`.
    most : int, default 7
        Steps at most.

    Returns
    -------
    dict of float to str
        What is written at each value, ascending.
    """
    rough = (high - low) / most
    steps = [one * 10.0 ** np.floor(np.log10(rough)) for one in (1, 2, 5, 10)]
    wanted = next(index for index, step in enumerate(steps) if step >= 0.999 * rough)
    # Of a step that is longer than the range, no multiple may lie in it.
    step, places = next((step, found) for step in steps[wanted::-1] if len(found := _multiples(step, low, high)))
    decimals = int(max(0, -np.floor(np.log10(step) + 1e-9)))
    if decimals > 5 or step > 1e5:
        return {float(place * step): f"{place * step + 0.0:.3g}" for place in places}
    return {round(float(place * step), decimals) + 0.0: f"{place * step + 0.0:,.{decimals}f}" for place in places}


def _multiples(step: float, low: float, high: float) -> np.ndarray:
    """How often a step fits into its multiples from `low` to `high`."""
    return np.arange(np.ceil(low / step - 1e-9), np.floor(high / step + 1e-9) + 1)
