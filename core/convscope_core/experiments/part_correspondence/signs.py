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

__all__ = ["Scoring", "SignScores", "change_signs", "changed", "differing"]

_ROUNDING = 32
"""How many units in the last place of a layer's largest value are rounding. Where a change does not reach, batches of
one size agree to the bit on the processors tried; but in tiled convolutions (Winograd) it leaves traces of this size in
the tiles that it touches, beyond the reach of the kernel."""

_COLUMNS = 2**20
"""Entries that are multiplied at once: sums of so many signs are exact in float32."""


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


def differing(a: Tensor, b: Tensor) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Find how many signs differ, for each of some places in a picture and each of some in another.

    Parameters
    ----------
    a, b : tensor
        int8 (places, entries), as `change_signs` gives them.

    Returns
    -------
    every : float64 array (places of a, places of b)
        The share of all entries; a sign also differs from none.
    both : float64 array (places of a, places of b)
        The share among the entries that both change; NaN where there are none.
    """
    # Sums of products of signs: entries that agree less those that are opposite, and the two together.
    product, together = _products(a, b), _products(a.abs(), b.abs())
    opposite = (together - product) / 2
    with np.errstate(invalid="ignore"):
        both = opposite / together
    changed_a, changed_b = ((signs != 0).sum(1).double().cpu().numpy() for signs in (a, b))
    every = (opposite + changed_a[:, None] + changed_b[None, :] - 2 * together) / a.shape[1]
    return every, both


def changed(signs: Tensor) -> npt.NDArray[np.float64]:
    """The share of entries that each place changes, float64 (places,)."""
    found: npt.NDArray[np.float64] = (signs != 0).double().mean(1).cpu().numpy()
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


class Scoring:
    """Scores a part against random places, for a growing number of pictures.

    What a picture adds is added to sums, one for each draw, so that the scores so far cost no more than the last ones.

    Parameters
    ----------
    permutations : int
    """

    def __init__(self, permutations: int) -> None:
        self._own = _Sums((1,))
        self._elsewhere = _Sums((1,))
        self._null = _Sums((permutations,))
        self._band = _Sums((permutations,))

    def add(
        self,
        block: npt.NDArray[np.float64],
        null: npt.NDArray[np.int64],
        band: npt.NDArray[np.int64],
    ) -> None:
        """Take in a picture.

        Parameters
        ----------
        block : float64 array (pictures before, places, places)
            The share of signs that differ between the places of each picture before and of this one; place 0 is the
            part's own.
        null, band : int64 array (pictures before + 1, permutations)
            The place that each draw has in each picture, the last being this one: any, and any but the part's own.
        """
        for before, shares in enumerate(block):
            self._own.add(shares[:1, 0])
            self._elsewhere.add(shares[1:, 1:].reshape(-1, 1), axis=0)
            for sums, chosen in ((self._null, null), (self._band, band)):
                sums.add(shares[chosen[before], chosen[-1]])

    def scores(self) -> Mapping[str, float]:
        """The scores so far, by the names of `SignScores`."""
        delta, band = self._own.mean[0], self._band.mean
        low, high = np.nanquantile(band, (0.025, 0.975)) if np.isfinite(band).any() else (np.nan, np.nan)
        # The identity is one of the permutations (Phipson & Smyth 2010, "Permutation p-values should never be zero").
        as_low = 1 + np.count_nonzero(self._null.mean <= delta + 1e-12)
        return {
            "delta": float(delta),
            "spread": float(self._own.spread[0]),
            "random": float(self._elsewhere.mean[0]),
            "random_spread": float(self._elsewhere.spread[0]),
            "low": float(low),
            "high": float(high),
            "p": float(as_low / (len(band) + 1)) if np.isfinite(delta) else float("nan"),
        }


class _Sums:
    """Running means and standard deviations of what is known: NaN are left out."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._count = np.zeros(shape)
        self._sum = np.zeros(shape)
        self._squares = np.zeros(shape)

    def add(self, values: npt.NDArray[np.float64], axis: int | None = None) -> None:
        """Add values of this shape, or with an axis more, along which they are summed."""
        known = np.isfinite(values)
        kept = np.where(known, values, 0)
        for total, more in ((self._count, known), (self._sum, kept), (self._squares, kept * kept)):
            total += more if axis is None else more.sum(axis)

    @property
    def mean(self) -> npt.NDArray[np.float64]:
        with np.errstate(invalid="ignore"):
            found: npt.NDArray[np.float64] = self._sum / self._count
        return found

    @property
    def spread(self) -> npt.NDArray[np.float64]:
        """Standard deviations with one degree of freedom less; NaN of fewer than two."""
        with np.errstate(invalid="ignore", divide="ignore"):
            variance = np.maximum(self._squares / self._count - self.mean**2, 0) * self._count / (self._count - 1)
        found: npt.NDArray[np.float64] = np.sqrt(np.where(self._count > 1, variance, np.nan))
        return found


def _products(a: Tensor, b: Tensor) -> npt.NDArray[np.float64]:
    """Scalar products of the rows of two int8 matrices, exact."""
    total = torch.zeros(len(a), len(b), dtype=torch.float64, device=a.device)
    for start in range(0, a.shape[1], _COLUMNS):
        columns = slice(start, start + _COLUMNS)
        total += a[:, columns].float() @ b[:, columns].float().T
    found: npt.NDArray[np.float64] = total.cpu().numpy()
    return found
