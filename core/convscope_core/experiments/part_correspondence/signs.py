"""Which features go up and down when a place is masked, and how far two such changes agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from convscope_core.errors import ArgumentError
from convscope_core.network import Network

__all__ = ["Agreement", "SignScores", "change_signs", "score"]

_ROUNDING = 32
"""How many units in the last place of a layer's largest value are rounding. Where a change does not reach, batches of
one size agree to the bit on the processors tried; but in tiled convolutions (Winograd) it leaves traces of this size in
the tiles that it touches, beyond the reach of the kernel."""

_COLUMNS = 2**20
"""Entries that are taken at once: sums of so many signs are exact in float32, and memory stays small."""


def change_signs(
    net: Network, x: Tensor, filled: Tensor, masks: npt.NDArray[np.bool_], layers: Sequence[str], batch_size: int
) -> dict[str, Tensor]:
    """Find the signs of what masking changes in the features of a picture.

    Parameters
    ----------
    net : Network
    x, filled : tensor
        (1, C, H, W), the picture, and what masks show.
    masks : bool array (places, H, W)
    layers : sequence of str
    batch_size : int

    Returns
    -------
    dict of str to tensor
        int8 (places, entries), the signs of the clean features minus those of the masked picture.

    Raises
    ------
    ArgumentError
        When features are not finite.
    """
    batch = min(batch_size, len(masks))
    # Batches of one size, a picture always in the same row: what a mask does not reach is the same to the bit.
    _, clean = net.forward(x.expand(batch, -1, -1, -1).contiguous(), layers)
    slack = {}
    for name, whole in clean.items():
        largest = whole.abs().max()
        if not bool(torch.isfinite(largest)):
            raise ArgumentError(f"Expected finite features of {name}, got NaN or infinite ones. Check the weights.")
        slack[name] = largest * (_ROUNDING * torch.finfo(whole.dtype).eps)
    found: dict[str, list[Tensor]] = {name: [] for name in clean}
    for start in range(0, len(masks), batch):
        covered = torch.from_numpy(masks[start : start + batch]).to(x.device)[:, None]
        pictures = torch.where(covered, filled, x)
        padding = batch - len(pictures)
        _, values = net.forward(torch.cat([pictures, x.expand(padding, -1, -1, -1)]), layers)
        for name, masked in values.items():
            change = clean[name] - masked
            if not bool(torch.isfinite(change).all()):
                raise ArgumentError(
                    f"Expected finite features of {name}, got NaN or infinite ones of a masked picture. Check the fill."
                )
            signs = torch.where(change.abs() > slack[name], change.sign(), 0).to(torch.int8)
            found[name].append(signs[: batch - padding].flatten(1).cpu())
    return {name: torch.cat(signs) for name, signs in found.items()}


class Agreement:
    """How far the changes of one layer agree, for places in a growing number of pictures.

    Parameters
    ----------
    places : int
        In each picture; the first is the part's own.
    """

    def __init__(self, places: int) -> None:
        self.places = places
        self._signs: list[Tensor] = []
        # Sums of products of signs, and of their squares: entries that agree less those that differ, and their sum.
        self._product: npt.NDArray[np.float64] = np.zeros((0, 0))
        self._both: npt.NDArray[np.float64] = np.zeros((0, 0))

    def add(self, signs: Tensor) -> None:
        """Take in the signs (places, entries) of another picture."""
        old = len(self._product)
        self._signs.append(signs)
        product, both = (np.zeros((old + self.places,) * 2) for _ in range(2))
        product[:old, :old], both[:old, :old] = self._product, self._both
        for number, other in enumerate(self._signs):
            rows = slice(number * self.places, (number + 1) * self.places)
            for total, first, second in ((product, other, signs), (both, other.abs(), signs.abs())):
                total[rows, old:] = _products(first, second)
                total[old:, rows] = total[rows, old:].T
        self._product, self._both = product, both

    @property
    def pictures(self) -> int:
        """How many pictures there are."""
        return len(self._signs)

    @property
    def changed(self) -> npt.NDArray[np.float64]:
        """The share of entries that each place changes, (pictures, places)."""
        changed: npt.NDArray[np.float64] = self._both.diagonal() / self._signs[0].shape[1]
        return changed.reshape(self.pictures, self.places)

    def differing(self, both_changed: bool) -> npt.NDArray[np.float64]:
        """The share of entries whose signs differ.

        Parameters
        ----------
        both_changed : bool
            Of those alone that both places change; else of all, where a sign also differs from none.

        Returns
        -------
        float64 array (pictures, places, pictures, places)
            NaN where there is nothing to compare.
        """
        opposite = (self._both - self._product) / 2
        if both_changed:
            with np.errstate(invalid="ignore"):
                share = opposite / self._both
        else:
            changed = self._both.diagonal()
            share = (opposite + changed[:, None] + changed[None, :] - 2 * self._both) / self._signs[0].shape[1]
        found: npt.NDArray[np.float64] = share.reshape((self.pictures, self.places) * 2)
        return found


@dataclass(frozen=True, eq=False)
class SignScores:
    """Scores of parts at layers, each float64 (parts, layers): shares from 0 (all signs agree) to 1.

    Attributes
    ----------
    delta, spread
        The part's score, the mean over pairs of pictures, and the standard deviation over pairs (NaN of one pair).
    random, random_spread
        The same of random places, over all pairs of places in different pictures.
    low, high
        The band in which 95 % of the scores lie that have a random place in each picture.
    p
        How often a score is as low as the part's when in each picture it is drawn by lot which place is the part.
    """

    delta: npt.NDArray[np.float64]
    spread: npt.NDArray[np.float64]
    random: npt.NDArray[np.float64]
    random_spread: npt.NDArray[np.float64]
    low: npt.NDArray[np.float64]
    high: npt.NDArray[np.float64]
    p: npt.NDArray[np.float64]


def score(differing: npt.NDArray[np.float64], permutations: int, generator: np.random.Generator) -> Mapping[str, float]:
    """Score a part against random places.

    Parameters
    ----------
    differing : float64 array (pictures, places, pictures, places)
        See `Agreement.differing`; place 0 is the part's own.
    permutations : int
    generator : numpy.random.Generator

    Returns
    -------
    mapping of str to float
        By the names of `SignScores`.
    """
    pictures, places = differing.shape[:2]
    first, second = np.triu_indices(pictures, 1)
    own = differing[first, 0, second, 0]
    elsewhere = differing[first, 1:, second, 1:]
    delta = _mean(own[None])[0]

    def drawn(least: int) -> npt.NDArray[np.float64]:
        """Scores with a place in each picture that is drawn from number `least` on."""
        chosen = generator.integers(least, places, size=(permutations, pictures))
        blocks = np.array_split(chosen, -(-permutations * len(first) // _COLUMNS))
        return np.concatenate([_mean(differing[first, b[:, first], second, b[:, second]]) for b in blocks])

    null, band = drawn(0), drawn(1)
    low, high = np.nanquantile(band, (0.025, 0.975)) if np.isfinite(band).any() else (np.nan, np.nan)
    # The identity is one of the permutations (Phipson & Smyth 2010, "Permutation p-values should never be zero").
    as_low = 1 + np.count_nonzero(null <= delta + 1e-12)
    return {
        "delta": float(delta),
        "spread": _spread(own),
        "random": float(_mean(elsewhere.reshape(1, -1))[0]),
        "random_spread": _spread(elsewhere),
        "low": float(low),
        "high": float(high),
        "p": float(as_low / (permutations + 1)) if np.isfinite(delta) else float("nan"),
    }


def _mean(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Means of rows, of what is known of them."""
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        found: npt.NDArray[np.float64] = np.where(known, values, 0).sum(1) / known.sum(1)
    return found


def _spread(values: npt.NDArray[np.float64]) -> float:
    known = values[np.isfinite(values)]
    return float(known.std(ddof=1)) if len(known) > 1 else float("nan")


def _products(a: Tensor, b: Tensor) -> npt.NDArray[np.float64]:
    """Scalar products of the rows of two int8 matrices, exact."""
    total = torch.zeros(len(a), len(b), dtype=torch.float64)
    for start in range(0, a.shape[1], _COLUMNS):
        columns = slice(start, start + _COLUMNS)
        total += a[:, columns].float() @ b[:, columns].float().T
    found: npt.NDArray[np.float64] = total.numpy()
    return found
