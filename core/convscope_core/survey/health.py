"""How active each channel is, mergeable."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from convscope_core.errors import ArgumentError
from convscope_core.survey.accumulator import Accumulator, marked, require_keys
from convscope_core.survey.reduction import ImageStatistics

__all__ = ["Health", "histogram_bins", "histogram_edges"]

_OCTAVES = 14
_STEPS_PER_OCTAVE = 2

_ROOT = 0x3504F3
"""The bits of the square root of two, as float32, below the exponent."""

_WAITING = 128
"""Images that wait until they are counted in the histogram together: their maxima take half of the memory that it does,
which is new each time."""


def histogram_edges() -> Tensor:
    """Edges of the bins in which `Health` counts the maxima of the images.

    The bins are fixed, so that no pass over the data is needed to place them and histograms of any two
    surveys add up exactly; and logarithmic, so that they fit activations of any scale: half-octaves of the
    magnitude from 2^-14 to 2^14 on either side of zero, one bin around zero between them (a dead channel's
    maxima), and an open bin at each end.

    Returns
    -------
    Tensor
        (114,) float32, ascending. Bin b of the 115 holds ``edges[b - 1] <= value < edges[b]``.
    """
    steps = torch.arange(-_OCTAVES * _STEPS_PER_OCTAVE, _OCTAVES * _STEPS_PER_OCTAVE + 1, dtype=torch.float64)
    magnitude = torch.exp2(steps / _STEPS_PER_OCTAVE).float()
    return torch.cat([-magnitude.flip(0), magnitude])


def histogram_bins(values: Tensor) -> Tensor:
    """Return the bin of each float32 value, int32: how many of `histogram_edges` are not greater.

    Read off the bits, as edges are half-octaves; a search takes six times as long.
    """
    bits = (values + 0.0).view(torch.int32)  # of two zeros one
    sign = bits >> 31
    # An edge is as far from zero as a negative value that it is not greater than, or farther.
    magnitude = (bits & 0x7FFFFFFF) + sign
    # Twice the exponent, and one more from the square root of two on.
    steps = (magnitude >> 23) + ((magnitude + (2**23 - _ROOT)) >> 23)
    edges = 2 * _OCTAVES * _STEPS_PER_OCTAVE + 1
    beyond = (steps - (127 - _OCTAVES) * _STEPS_PER_OCTAVE + 1).clamp(0, edges)
    return edges + beyond * (sign | 1)


class Health(Accumulator):
    """How active each channel is: how often it is active, how strongly, and how that is spread.

    "Active" means greater than zero. Every image counts as often as it is given: unlike `TopK`, this cannot
    recognise an image it has seen before.

    Counts are exact integers; mean and variance are carried in float64 and merged by the formula of Chan,
    Golub and LeVeque ("Updating formulae and a pairwise algorithm for computing sample variances", 1979),
    which loses no precision where the mean is large against the spread.

    Parameters
    ----------
    before_ceiling : bool, default False
        Whether the histogram is of maxima before the ceiling of the activation function, as in `TopK`. All else is of
        the activations.
    channels, device, name
        See `Accumulator`.
    """

    def __init__(
        self,
        channels: int,
        *,
        before_ceiling: bool = False,
        device: torch.device | str = "cpu",
        name: str = "this layer",
    ) -> None:
        super().__init__(channels, device=device, name=name)
        self.before_ceiling = before_ceiling
        self._state = {
            "images": torch.zeros((), dtype=torch.int64, device=self.device),
            "positions": torch.zeros(channels, dtype=torch.int64, device=self.device),
            "active_images": torch.zeros(channels, dtype=torch.int64, device=self.device),
            "active_positions": torch.zeros(channels, dtype=torch.int64, device=self.device),
            "saturated_positions": torch.zeros(channels, dtype=torch.int64, device=self.device),
            "bounded_positions": torch.zeros(channels, dtype=torch.int64, device=self.device),
            "maximum": torch.full((channels,), -torch.inf, dtype=torch.float32, device=self.device),
            "mean": torch.zeros(channels, dtype=torch.float64, device=self.device),
            "magnitude": torch.zeros(channels, dtype=torch.float64, device=self.device),
            "deviation": torch.zeros(channels, dtype=torch.float64, device=self.device),
            "histogram": torch.zeros((channels, len(histogram_edges()) + 1), dtype=torch.int64, device=self.device),
        }
        self._waiting: tuple[Tensor, ...] = ()

    def __repr__(self) -> str:
        return f"Health(channels={self.channels}, images={self.images})"

    @property
    def images(self) -> int:
        """Number of images seen."""
        return int(self._state["images"])

    @property
    def positions(self) -> Tensor:
        """(channels,) int64, number of positions seen, over all images."""
        return self._state["positions"]

    @property
    def active_images(self) -> Tensor:
        """(channels,) int64, images with at least one activation greater than zero."""
        return self._state["active_images"]

    @property
    def active_positions(self) -> Tensor:
        """(channels,) int64, activations greater than zero."""
        return self._state["active_positions"]

    @property
    def saturated(self) -> Tensor:
        """(channels,) float64, share of activations at the upper bound of a bounded activation; NaN without a bound."""
        return self._state["saturated_positions"].double() / self._state["bounded_positions"]

    @property
    def maximum(self) -> Tensor:
        """(channels,) float32, the largest activation; -inf before the first image."""
        return self._state["maximum"]

    @property
    def mean(self) -> Tensor:
        """(channels,) float64, mean over all positions of all images; NaN before the first image."""
        return torch.where(self.positions > 0, self._state["mean"], torch.nan)

    @property
    def magnitude(self) -> Tensor:
        """(channels,) float64, mean magnitude over all positions of all images; NaN before the first image."""
        return torch.where(self.positions > 0, self._state["magnitude"], torch.nan)

    @property
    def variance(self) -> Tensor:
        """(channels,) float64, variance over all positions of all images; NaN before the first image."""
        return self._state["deviation"] / self.positions

    @property
    def histogram(self) -> Tensor:
        """(channels, 115) int64, images by their largest activation, on the bins of `histogram_edges`.

        One count an image: the top activations are the right end of this distribution.
        """
        self._settle()
        return self._state["histogram"]

    def update(self, values: Tensor) -> None:
        """Take in a batch.

        Parameters
        ----------
        values : Tensor
            (N, channels, h, w) floating point activations.

        Raises
        ------
        ArgumentError
            When the shape does not fit or an activation is NaN or infinite.
        """
        self.add(ImageStatistics.of(values).checked(self.name))

    def add(self, statistics: ImageStatistics) -> None:
        """Take in a batch that is reduced already and known to be finite (see `ImageStatistics.checked`)."""
        self._require_batch(statistics)
        count = len(statistics.peaks)
        if count == 0:
            return
        peaks, active = statistics.peaks.to(self.device), statistics.active.to(self.device)
        means, positions = statistics.means.to(self.device).double(), statistics.positions.to(self.device)
        mean = means.mean(dim=0)
        within = statistics.deviations.to(self.device).double().sum(dim=0)
        between = (means - mean).square().sum(dim=0) * positions
        maxima = statistics.before_ceiling.to(self.device) if self.before_ceiling else peaks
        self._combine(
            {
                # Filled in there: to bring a number there makes an accelerator wait.
                "images": torch.full((), count, device=self.device),
                "positions": positions * count,
                "active_images": (peaks > 0).sum(dim=0),
                "active_positions": active.sum(dim=0),
                "saturated_positions": statistics.saturated.to(self.device).sum(dim=0),
                "bounded_positions": positions * count * statistics.bounded.to(self.device),
                "maximum": peaks.amax(dim=0),
                "mean": mean,
                "magnitude": statistics.magnitudes.to(self.device).double().mean(dim=0),
                "deviation": within + between,
            },
            histogram=self._state["histogram"],
        )
        self._waiting = (*self._waiting, maxima)
        if sum(map(len, self._waiting)) >= _WAITING:
            self._settle()

    def _settle(self) -> None:
        """Count the maxima that wait in the histogram: a new one each time, far larger than the maxima of a batch."""
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, ()
        bins = histogram_bins(torch.cat(waiting)).T.long()
        histogram = self._state["histogram"].scatter_add(1, bins, torch.ones_like(bins))
        self._state = {**self._state, "histogram": histogram}

    def merge(self, other: Health) -> None:
        """Take in all that `other` has seen.

        Raises
        ------
        ArgumentError
            When the number of channels, or what the histogram is of, differ.
        """
        self._require_like(other, "before_ceiling")
        other._settle()
        theirs = {key: tensor.to(self.device) for key, tensor in other._state.items()}
        self._combine(theirs, histogram=self.histogram + theirs.pop("histogram"))

    def _combine(self, other: Mapping[str, Tensor], histogram: Tensor) -> None:
        mine = self._state
        total = mine["positions"] + other["positions"]
        # Weights rather than counts divided in place: 0 / 0 for two empty sides becomes 0, and swapping the
        # sides changes no bit.
        weight_mine = mine["positions"] / total.clamp(min=1).double()
        weight_other = other["positions"] / total.clamp(min=1).double()
        difference = other["mean"] - mine["mean"]
        counts = (
            "images",
            "positions",
            "active_images",
            "active_positions",
            "saturated_positions",
            "bounded_positions",
        )
        combined = {key: mine[key] + other[key] for key in counts}
        combined["maximum"] = torch.maximum(mine["maximum"], other["maximum"])
        for key in ("mean", "magnitude"):
            combined[key] = mine[key] * weight_mine + other[key] * weight_other
        spread = difference.square() * (weight_mine * weight_other) * total
        combined["deviation"] = mine["deviation"] + other["deviation"] + spread
        combined["histogram"] = histogram
        # New tensors every time, never written in place: a copy of the accumulator stays as it was.
        self._state = combined

    def state_dict(self) -> dict[str, Tensor]:
        """Return the state as plain CPU tensors ("deviation": sum of squared deviations from the mean)."""
        self._settle()
        return {key: tensor.cpu() for key, tensor in self._state.items()} | marked(self.before_ceiling)

    @classmethod
    def from_state(
        cls, state: Mapping[str, Tensor], *, device: torch.device | str = "cpu", name: str = "this layer"
    ) -> Health:
        """See `Accumulator`."""
        require_keys(state, ("positions",))
        before = "before_ceiling" in state
        health = cls(state["positions"].numel(), before_ceiling=before, device=device, name=name)
        require_keys(state, health._state)
        for key, empty in health._state.items():
            if state[key].shape != empty.shape:
                raise ArgumentError(
                    f"Expected {key!r} of shape {tuple(empty.shape)}, got {tuple(state[key].shape)}. "
                    "The state is damaged."
                )
        health._state = {
            key: state[key].to(device=health.device, dtype=empty.dtype) for key, empty in health._state.items()
        }
        return health
