"""How far units vary over transformations, and over pictures: mergeable, without keeping what was seen."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

__all__ = ["Spread"]

Floats = npt.NDArray[np.float64]


class Spread:
    """Standard deviations of units over the values of a transformation and over pictures.

    Over pictures by Welford's method, merged by that of Chan, Golub & LeVeque (1983).

    Parameters
    ----------
    within : float64 array (transforms, units)
        Sum over pictures of the deviation over the transformation's values.
    mean, squares : float64 array (values, units)
        For each value of each transformation the mean over pictures, and the sum of squared distances from it.
    count : int
        Pictures.
    """

    def __init__(self, within: Floats, mean: Floats, squares: Floats, count: int = 0) -> None:
        self.within = within
        self.mean = mean
        self.squares = squares
        self.count = count

    @classmethod
    def empty(cls, transforms: int, values: int, units: int) -> Spread:
        """Return that of no picture."""
        return cls(np.zeros((transforms, units)), np.zeros((values, units)), np.zeros((values, units)))

    def add(self, units: Floats, counts: list[int]) -> None:
        """Take in a picture.

        Parameters
        ----------
        units : float64 array (values, units)
            Activations of the picture for every value of every transformation.
        counts : list of int
            How many values each transformation has.
        """
        self.count += 1
        change = units - self.mean
        self.mean = self.mean + change / self.count
        self.squares = self.squares + change * (units - self.mean)
        parts = np.split(units, np.cumsum(counts)[:-1])
        deviations = [part.std(0, ddof=1) if len(part) > 1 else np.full(units.shape[1], np.nan) for part in parts]
        self.within = self.within + np.stack(deviations)

    def merge(self, other: Spread) -> None:
        """Take in other pictures."""
        if not other.count:
            return
        whole = self.count + other.count
        change = other.mean - self.mean
        self.squares = self.squares + other.squares + change**2 * (self.count * other.count / whole)
        self.mean = self.mean + change * (other.count / whole)
        self.within = self.within + other.within
        self.count = whole

    def copy(self) -> Spread:
        """Return an independent one: arrays are never written to."""
        return Spread(self.within, self.mean, self.squares, self.count)

    def over_transforms(self) -> Floats:
        """Mean over pictures of the standard deviation over a transformation's values, (transforms, units)."""
        found: Floats = self.within / self.count if self.count else np.full_like(self.within, np.nan)
        return found

    def over_pictures(self, counts: list[int]) -> Floats:
        """Mean over a transformation's values of the standard deviation over pictures, (transforms, units).

        NaN with fewer than two pictures.
        """
        if self.count < 2:
            return np.full_like(self.within, np.nan)
        deviation = np.sqrt(self.squares / (self.count - 1))
        return np.stack([part.mean(0) for part in np.split(deviation, np.cumsum(counts)[:-1])])

    def state_dict(self) -> dict[str, Tensor]:
        """Return the state as plain tensors."""
        arrays = {"within": self.within, "mean": self.mean, "squares": self.squares}
        found = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
        return {**found, "count": torch.tensor(self.count)}

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> Spread:
        """Make one of its `state_dict`."""
        within, mean, squares = (state[name].numpy() for name in ("within", "mean", "squares"))
        return cls(within, mean, squares, int(state["count"]))
