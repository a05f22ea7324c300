"""The effective receptive field: the part of what a unit can see that its value really hangs on.

A unit's receptive field is a box of pixels beyond which nothing can change its value. Within it the gradient of the
value is far from even: Luo et al. (2016) find it close to a Gaussian around the middle, whose width grows with the
square root of the depth where the box grows linearly. Here the field is measured for one unit and one picture, as the
smallest box that holds nearly all of the gradient's energy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from convscope_core.arguments import door
from convscope_core.datasets import Picture
from convscope_core.errors import ArgumentError
from convscope_core.explain.attribution import unit_index
from convscope_core.explain.projection import _pair
from convscope_core.graph.backward import GRADIENT
from convscope_core.graph.fields import FieldWalk, Units
from convscope_core.images import ImageLike
from convscope_core.network import Box, Network
from convscope_core.plots import axes, draws_figure

__all__ = ["EffectiveField", "effective_field", "smallest_box"]


@dataclass(frozen=True, eq=False, repr=False)
class EffectiveField:
    """Where in its receptive field the value of one unit hangs on the picture.

    Attributes
    ----------
    energy : float64 array (h, w)
        Squared gradient, summed over colours, as shares of their sum, inside `field`; zero where that leaves the
        picture, and everywhere where the gradient is zero.
    field : Box
        The receptive field, (top, left, bottom, right) in pixels of the network's input, half-open; may leave the
        picture. The whole picture where a gate (squeeze-and-excite) sees it.
    box : Box or None
        The smallest box that holds `share` of the energy, as `field`, inside the picture; of boxes of one area the
        first. None where the gradient is zero.
    share : float
        The share that was asked for.
    held : float
        The share of the energy in `box`; at least `share`. NaN where the gradient is zero.
    pixels : int
        The fewest pixels, wherever they are, that hold `share` of the energy.
    value : float
        The unit's value before the layer's activation.
    layer : str
    channel : int
    position : (row, column)
        Where the unit is in its map.
    network, fingerprint : str
        The network's name and fingerprint.
    """

    energy: npt.NDArray[np.float64]
    field: Box
    box: Box | None
    share: float
    held: float
    pixels: int
    value: float
    layer: str
    channel: int
    position: tuple[int, int]
    network: str
    fingerprint: str

    def __repr__(self) -> str:
        of = f"{self.layer}, channel {self.channel} at {self.position}, on {self.network}"
        if self.box is None:
            return f"EffectiveField of {of}: none, the gradient is zero"
        return (
            f"EffectiveField of {of}\n  {self.box.height}×{self.box.width} of {self.field.height}×{self.field.width} "
            f"pixels hold {self.held:.1%} of the gradient's energy; so do {self.pixels} pixels, wherever they are"
        )

    @draws_figure
    def plot(self) -> Any:
        """Draw the gradient's magnitude in the receptive field, and the box."""
        figure, panel = axes((3.6, 3.6))
        panel.imshow(np.sqrt(self.energy), cmap="inferno")
        panel.set_title(f"{self.layer}, {self.channel} at {self.position}")
        if self.box is not None:
            top, left = self.box.top - self.field.top - 0.5, self.box.left - self.field.left - 0.5
            bottom, right = top + self.box.height, left + self.box.width
            panel.plot([left, right, right, left, left], [top, top, bottom, bottom, top], color="tab:orange")
            panel.set_xlabel(f"{self.share:.0%} in {self.box.height}×{self.box.width} px")
        return figure


@door
def effective_field(
    net: Network,
    image: ImageLike | Picture,
    layer: str,
    channel: int,
    position: str | tuple[int, int] = "max",
    share: float = 0.95,
) -> EffectiveField:
    """Measure the effective receptive field of a unit on a picture.

    It is the smallest box of pixels in which a share of the energy of the unit's gradient lies: of the squared
    derivatives of its value by the picture's pixels. The value is that before the layer's activation, whose derivative
    is not cut off where a rectifier is at zero or saturated; the activations of earlier layers count as they are. It is
    computed inside the receptive field only, exactly.

    Parameters
    ----------
    net : Network
    image : path, bytes, PIL image, array or tensor
        What `Network.prepare` takes. The field depends on it: rectifiers and pools let another part of the picture
        through on another.
    layer : str
        Name or alias of the layer.
    channel : int
    position : "max" or (row, column), default "max"
        The unit in the channel's map: that with the largest value (the first in row-major order), or a given one.
    share : float, default 0.95
        Above 0, at most 1. (Two standard deviations of a Gaussian, the bound of Luo et al., section 3.)

    Returns
    -------
    EffectiveField

    Raises
    ------
    ArgumentError
        When the position is outside the map, or `share` out of range.
    LayerError
        When there is no such layer or channel.
    ImageError
        When the picture cannot be read, or holds NaN.

    References
    ----------
    W. Luo, Y. Li, R. Urtasun, R. Zemel: Understanding the Effective Receptive Field in Deep Convolutional Neural
    Networks, NIPS 2016. There averaged over units and inputs; here of one.
    """
    wanted: Any = share
    if isinstance(wanted, bool) or not isinstance(wanted, (int, float, np.number)) or not 0 < wanted <= 1:
        raise ArgumentError(f"Expected share above 0 and at most 1, got {share!r}. The default is 0.95.")
    found, described = net.graph_layer(layer), net.layer(layer)
    unit_index(net, layer, channel)
    x = net.prepare(image)
    if isinstance(position, str):
        if position != "max":
            raise ArgumentError(f"Expected position as 'max' or (row, column), got {position!r}.")
        values = net.activations(x, found.name)[found.name][0, channel]
        row, column = divmod(int(values.argmax()), values.shape[1])
    else:
        row, column = _pair(position)
        unit_index(net, layer, channel, row, column)
    whole = Box(0, 0, *net.input_shape[1:])
    walk = FieldWalk(
        net.graph,
        GRADIENT,
        found.anchor,
        found.axes,
        lambda r, c: whole if described.gated else described.box(r, c),
        net.runner,
    )
    units = Units(*(torch.tensor([one]) for one in (0, channel, row, column)))
    with net.lock:
        (part,) = walk(x, units, "one")
    field = Box(*part.boxes[0].tolist())
    gradient = part.values[0, :, : max(field.height, 0), : max(field.width, 0)].double().cpu()
    # Squares of tiny gradients would be zero: only ratios matter.
    largest = float(gradient.abs().max()) if gradient.numel() else 0.0
    energy = (gradient / (largest or 1.0)).square().sum(0).numpy()
    total = energy.sum()
    energy = energy / total if total > 0 else energy
    inside = field.clipped(*net.input_shape[1:])
    top, left = inside.top - field.top, inside.left - field.left
    part_of = energy[top : top + inside.height, left : left + inside.width]
    box, held = smallest_box(part_of, float(share)) if total > 0 else (None, math.nan)
    descending = np.sort(energy, axis=None)[::-1].cumsum()
    return EffectiveField(
        energy=energy,
        field=field,
        box=None if box is None else Box(*(side + corner for side, corner in zip(box, 2 * inside[:2], strict=True))),
        share=float(share),
        held=held,
        pixels=0 if box is None else min(int(np.searchsorted(descending, _at_least(share))) + 1, energy.size),
        value=float(part.activations[0]),
        layer=described.name,
        channel=int(channel),
        position=(int(row), int(column)),
        network=net.name,
        fingerprint=net.fingerprint,
    )


def smallest_box(energy: npt.NDArray[np.float64], share: float) -> tuple[Box, float]:
    """Return the box of the smallest area that holds a share of the sum of an array, and what it holds.

    Exact: for every band of rows the narrowest columns are found, but for bands that cannot win any more.

    Parameters
    ----------
    energy : float64 array (h, w)
        Not negative; its sum is 1.
    share : float
        Above 0, at most 1.
    """
    height, width = energy.shape
    wanted = _at_least(share)
    above = np.vstack([np.zeros(width), energy.cumsum(0)])
    rows = above.sum(1)
    least = _narrowest(above[height] - above[0], wanted)[1]
    best, area = Box(0, 0, height, width), height * width
    for top in range(height):
        for bottom in range(int(np.searchsorted(rows, rows[top] + wanted)), height + 1):
            if (bottom - top) * least >= area:
                break
            left, wide = _narrowest(above[bottom] - above[top], wanted)
            if (bottom - top) * wide < area:
                best, area = Box(top, left, bottom, left + wide), (bottom - top) * wide
    return best, float(energy[best.top : best.bottom, best.left : best.right].sum())


def _narrowest(columns: npt.NDArray[np.float64], wanted: float) -> tuple[int, int]:
    """Return the first of the fewest neighbours whose sum is enough, and how many they are; all where none are."""
    before = np.concatenate([[0.0], columns.cumsum()])
    ends = np.searchsorted(before, before[:-1] + wanted)
    wide = np.where(ends < len(before), ends - np.arange(len(columns)), len(columns) + 1)
    left = int(wide.argmin())
    return (left, int(wide[left])) if wide[left] <= len(columns) else (0, len(columns))


def _at_least(share: float) -> float:
    """Return a share, less what sums lose to rounding."""
    return float(share) * (1 - 1e-12)
