"""Pictures with a margin around them, from which moved pictures are cut: what is to be seen where the picture ends."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import PIL.Image
import torch
from torch import Tensor

from convscope_core.datasets import Picture
from convscope_core.errors import ArgumentError, ImageError
from convscope_core.images import read_image
from convscope_core.occlusion.fills import fill_name, fill_picture
from convscope_core.preprocessing import Preprocessing

__all__ = ["FILLS", "Frame", "checked_fill"]

FILLS = ("mean", "reflect", "edge", "wrap", "source")
"""What is seen beyond the picture: its mean colour; its mirror image; its outermost pixels; its other side; or what the
preprocessing cut off, as far as that goes, and then the mirror image. A colour is a fill, too."""

_STRAIGHT = 1.5 / 255
"""How far a ramp that was scaled and cropped may be from a ramp: one level and a half."""


def checked_fill(fill: Any) -> str:
    """Return a fill as a word: one of `FILLS`, "grey", or "#rrggbb".

    Raises
    ------
    ArgumentError
        When it is something else.
    """
    if isinstance(fill, str) and fill in FILLS:
        return fill
    expected = f"Expected fill as one of {', '.join(FILLS)}, or a colour, got {fill!r}."
    try:
        name = fill_name(fill)
    except ArgumentError:
        raise ArgumentError(expected) from None
    if name != "grey" and not name.startswith("#"):
        raise ArgumentError(expected)
    return name


class _Cut(NamedTuple):
    """Where along an axis the network's input lies in the picture: pixel i is centred at start + i * step."""

    start: float
    step: float


class Frame:
    """Prepares pictures as the network takes them, with a margin around.

    Parameters
    ----------
    preprocessing : Preprocessing
    fill : str
        See `checked_fill`.
    margin : int
        Pixels on each side.
    """

    def __init__(self, preprocessing: Preprocessing, fill: str, margin: int) -> None:
        self._preprocessing = preprocessing
        self.fill = fill
        self.margin = margin
        self._cuts: dict[tuple[int, int], tuple[_Cut, _Cut]] = {}

    def prepare(self, image: Any) -> Tensor:
        """Return a picture with its margin.

        Parameters
        ----------
        image : path, bytes, PIL image, array, tensor or Picture
            What `Network.prepare` takes.

        Returns
        -------
        Tensor (1, C, H + 2 margin, W + 2 margin)
            In network space, on the CPU. Its middle is what `Network.prepare` gives, to the bit.

        Raises
        ------
        ImageError
            As `Network.prepare` does; with the fill "source", for what has none, and where the preprocessing does more
            than scale and crop.
        """
        source = image.image if isinstance(image, Picture) else image
        if self.fill == "source" and self.margin:
            return self._with_source(source)
        return self._surrounded(self._preprocessing.prepare(source), (self.margin,) * 4)

    def _surrounded(self, x: Tensor, sides: tuple[int, int, int, int]) -> Tensor:
        """Add a margin: above, below, left, right."""
        top, bottom, left, right = sides
        height, width = x.shape[2:]
        if self.fill in FILLS and self.fill != "mean":
            rows = _places(height, top, bottom, self.fill)
            return x[:, :, rows][..., _places(width, left, right, self.fill)]
        colour = fill_picture(self._preprocessing.to_rgb(x), self.fill, 0)[..., :1, :1]
        around = self._preprocessing.to_network(colour).to(x.dtype)
        found = around.expand(-1, -1, top + height + bottom, left + width + right).clone()
        found[..., top : top + height, left : left + width] = x
        return found

    def _with_source(self, source: Any) -> Tensor:
        if isinstance(source, Tensor) and source.is_floating_point():
            raise ImageError(
                "Expected a picture for the fill 'source', got a float tensor, which is the network's input already "
                f"and shows nothing beyond. Give another fill: {', '.join(FILLS[:-1])}."
            )
        picture = read_image(source, self._preprocessing.mode)
        x = self._preprocessing.prepare(picture)
        cuts = self._where(picture.size)
        room = [_room(cut, size, x.shape[axis], self.margin) for cut, size, axis in zip(
            cuts, reversed(picture.size), (2, 3), strict=True
        )]  # fmt: skip
        (top, bottom), (left, right) = room
        vertical, horizontal = (
            _edges(cut, before, after, x.shape[axis], size)
            for cut, (before, after), axis, size in zip(cuts, room, (2, 3), reversed(picture.size), strict=True)
        )
        wide = (left + x.shape[3] + right, top + x.shape[2] + bottom)
        box = (horizontal[0], vertical[0], horizontal[1], vertical[1])
        shown = np.asarray(picture.resize(wide, PIL.Image.Resampling.BILINEAR, box))
        colours = torch.from_numpy(shown.copy()).to(torch.float32) / 255
        colours = colours[None] if colours.dim() == 2 else colours.permute(2, 0, 1)
        found = self._preprocessing.to_network(colours[None])
        found[..., top : top + x.shape[2], left : left + x.shape[3]] = x
        m = self.margin
        return self._surrounded(found, (m - top, m - bottom, m - left, m - right))

    def _where(self, size: tuple[int, int]) -> tuple[_Cut, _Cut]:
        """Find where the network's input lies in pictures of a size (width, height): by what becomes of ramps."""
        if size not in self._cuts:
            found = []
            for axis, length in enumerate(reversed(size)):
                ramp = _ramp(length, size[axis])
                levels = np.ascontiguousarray(ramp if axis == 0 else ramp.T)
                picture = PIL.Image.fromarray(levels).convert(self._preprocessing.mode)
                seen = self._preprocessing.to_rgb(self._preprocessing.prepare(picture))[0].double().mean(0)
                found.append(_fitted(seen.numpy() if axis == 0 else seen.numpy().T, length))
            self._cuts[size] = found[0], found[1]
        return self._cuts[size]


def _places(length: int, before: int, after: int, fill: str) -> Tensor:
    """Return which place of an axis is seen at each place from `before` pixels before it to `after` behind."""
    at = torch.arange(-before, length + after)
    if fill == "edge":
        return at.clamp(0, length - 1)
    if fill == "wrap":
        return at % length
    if length == 1:
        return torch.zeros_like(at)
    folded = at % (2 * length - 2)  # the outermost pixel is not repeated
    return torch.where(folded < length, folded, 2 * length - 2 - folded)


def _ramp(length: int, across: int) -> npt.NDArray[np.uint8]:
    """Return a ramp from black to white along the first axis, whose steps are elsewhere all the time along the second.

    So that the mean over the second is the ramp that 256 levels cannot show, also after resizing.
    """
    offsets = np.arange(across) * min(8 / across, 0.5) % 1
    found: npt.NDArray[np.uint8] = (np.linspace(0, 255, length)[:, None] + offsets).astype(np.uint8)
    return found


def _fitted(seen: npt.NDArray[np.float64], length: int) -> _Cut:
    """Fit a line to what is seen, along the first axis, of a ramp from 0 to 1 over `length` pixels."""
    profile = seen.mean(1)
    inside = (profile > 1 / max(length, 255)) & (profile < 1 - 1 / max(length, 255))  # not where the ramp ends
    places = np.flatnonzero(inside)
    if len(places) >= 2:
        step, start = np.polyfit(places, profile[places], 1)
        line = start + step * places
        if step > 0 and np.abs(seen[places] - line[:, None]).max() <= _STRAIGHT + step:
            return _Cut(float(start) * (length - 1), float(step) * (length - 1))
    raise ImageError(
        "Expected preprocessing that scales and crops, for the fill 'source', got one that does more, so that it is "
        f"not known what lies beyond its crop. Give another fill: {', '.join(FILLS[:-1])}."
    )


def _room(cut: _Cut, size: int, length: int, most: int) -> tuple[int, int]:
    """Return how many whole pixels of the input's size the picture has before and behind the input's."""
    first, last = cut.start + 0.5 - cut.step / 2, cut.start + 0.5 + cut.step * (length - 0.5)
    slack = 0.05
    return (
        min(max(int(first / cut.step + slack), 0), most),
        min(max(int((size - last) / cut.step + slack), 0), most),
    )


def _edges(cut: _Cut, before: int, after: int, length: int, size: int) -> tuple[float, float]:
    """Return from where to where, in the picture's pixels, the input with so much more around it lies."""
    first = cut.start + 0.5 - cut.step * (before + 0.5)
    last = cut.start + 0.5 + cut.step * (length + after - 0.5)
    return max(first, 0.0), min(last, float(size))
