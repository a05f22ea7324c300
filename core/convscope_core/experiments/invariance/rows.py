"""What is kept of each picture, and of all of them: the part of the pass."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from convscope_core.experiments.invariance.spread import Spread

__all__ = ["Row", "Rows"]


class Row(NamedTuple):
    """What was measured of a picture. V values of all transformations, S of those that shift; L layers.

    Attributes
    ----------
    targets : int64 ()
        The class whose probability is followed.
    truths : int64 ()
        The picture's own class; -1 where it is not known.
    clean_classes : int64 ()
        See `Network.decided`.
    clean_probability : float32 ()
        Of the target.
    clean_norm : float64 (L,)
        Norm of the features of the picture as it is.
    distance, norm : float64 (L, V)
        Norm of what the features differ by, and their norm.
    probability : float32 (V,)
    classes : int64 (V,)
        Likewise.
    inside, overlap : float32 (L, S)
        See `cells.equivariance_error`; NaN where there is none.
    strip : uint8 (T, n, s, s, 3)
        Thumbnails, or of no transformation where the picture is none of the first.
    """

    targets: Tensor
    truths: Tensor
    clean_classes: Tensor
    clean_probability: Tensor
    clean_norm: Tensor
    distance: Tensor
    norm: Tensor
    probability: Tensor
    classes: Tensor
    inside: Tensor
    overlap: Tensor
    strip: Tensor


_STRIP = "strip/"


class Rows:
    """Rows of pictures by their numbers, and the spread of units over all of them.

    Parameters
    ----------
    rows : dict of int to Row
    spread : Spread
    """

    def __init__(self, rows: dict[int, Row], spread: Spread) -> None:
        self.rows = rows
        self.spread = spread

    def merge(self, other: Rows) -> None:
        """Take in other pictures."""
        self.rows = {**self.rows, **other.rows}
        self.spread.merge(other.spread)

    def copy(self) -> Rows:
        """Return independent ones: rows are never written to."""
        return Rows(dict(self.rows), self.spread.copy())

    def state_dict(self) -> dict[str, Tensor]:
        """Return the state as plain tensors."""
        found = {f"spread/{name}": tensor for name, tensor in self.spread.state_dict().items()}
        found["images"] = torch.tensor(list(self.rows), dtype=torch.int64)
        for name in Row._fields if self.rows else ():
            if name != "strip":
                found[f"row/{name}"] = torch.stack([getattr(row, name) for row in self.rows.values()])
        return found | {f"{_STRIP}{image}": row.strip for image, row in self.rows.items()}

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> Rows:
        """Make rows of their `state_dict`."""
        spread = Spread.from_state({n.removeprefix("spread/"): t for n, t in state.items() if n.startswith("spread/")})
        rows = {}
        for place, image in enumerate(state["images"].tolist()):
            named = {name: state[f"row/{name}"][place] for name in Row._fields if name != "strip"}
            rows[image] = Row(**named, strip=state[f"{_STRIP}{image}"])
        return cls(rows, spread)

    def stacked(self, name: str) -> npt.NDArray[np.generic]:
        """Return a field of all rows, by the pictures' numbers."""
        found: npt.NDArray[np.generic] = torch.stack(
            [getattr(self.rows[image], name) for image in sorted(self.rows)]
        ).numpy()
        return found
