"""Occlusion: what the network says when a part of the picture is covered.

Zeiler & Fergus (2014, fig. 7) slide a grey square of 50x50 pixels over a picture of 224x224, always wholly
inside, and watch the probability of the class. Here the occluder may be of any size, square or elliptic, and
show any of several fills. One mechanism serves all: a *fill picture* as large as the network's input, of
which the occluder shows its part.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any, SupportsIndex, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import ImageColor
from torch import Tensor

from convscope_core.errors import ArgumentError, did_you_mean
from convscope_core.graph.regions import Regions
from convscope_core.network import Network, Prediction

__all__ = ["FILLS", "SHAPES", "Fill", "Occlusion", "Size", "clip", "extent_of", "fill_name", "whole_number"]

FILLS = ("grey", "mean", "blur", "noise")
"""The fills with a name; besides, any colour is one."""

SHAPES = ("square", "ellipse")
"""What the occluder may look like."""

Size: TypeAlias = int | tuple[int, int]
"""Side, or (height, width), in pixels of the network's input."""

Fill: TypeAlias = str | Sequence[int]
"""One of `FILLS`, the name or "#rrggbb" of a colour, or (red, green, blue) in 0..255."""

_BLUR_SHARE = 10 / 224


class Occlusion:
    """A picture with an occluder that can be put anywhere.

    Parameters
    ----------
    net : Network
    image : path, bytes, PIL image, array or tensor
        What `Network.prepare` takes.
    fill : str or (red, green, blue), default "grey"
        What the occluder shows.

        - ``"grey"``: half of the range of every channel, 127.5 of 255. The grey of the paper's figure
        measures
          123 to 125.
        - ``"mean"``: the mean colour of this picture.
        - ``"blur"``: the picture itself through a Gaussian with a standard deviation of 10/224 of its shorter
        side
          (10 pixels at 224), reflected at the border. That is the strength with which Fong & Vedaldi (2017,
          "Interpretable explanations of black boxes by meaningful perturbation") blur evidence away: detail
          goes, colour and shading stay, so that the occluder's own border is no strong edge.
        - ``"noise"``: every pixel and channel uniformly random between black and white; fixed in the picture,
        so
          that an occluder that moves does not flicker.
        - a colour, such as ``"#1e90ff"``, ``"tomato"`` or ``(30, 144, 255)``; on a network that sees grey,
        its
          luminance. (``"gray"`` is the named colour, 128 of 255.)
    shape : {"square", "ellipse"}, default "square"
        ``"square"`` fills the box that position and size give; ``"ellipse"`` the pixels whose centres lie in
        the ellipse inscribed in it. No anti-aliasing: a pixel is covered or not.
    seed : int, default 0
        Of the noise.

    Raises
    ------
    ImageError
        When the picture cannot be read, or holds NaN.
    ArgumentError
        When fill, shape or seed are not of these.

    Attributes
    ----------
    net : Network
    fill, shape, seed
        As given.
    image : Tensor
        (1, C, H, W) float32, the clean picture as the network takes it.
    fill_image : Tensor
        (1, C, H, W) float32, the fill picture as the network takes it.
    """

    def __init__(self, net: Network, image: Any, fill: Fill = "grey", shape: str = "square", seed: int = 0) -> None:
        if shape not in SHAPES:
            raise ArgumentError(f"Expected shape to be one of {', '.join(map(repr, SHAPES))}, got {shape!r}.")
        self.net = net
        self.fill = fill
        self.shape = shape
        self.seed = whole_number(seed, "seed")
        self.image = net.prepare(image)
        self.fill_image = net.to_network(_fill(net.to_rgb(self.image), fill, self.seed))
        self._clean: Prediction | None = None
        self._regions: Regions | None = None

    def __repr__(self) -> str:
        height, width = self.size
        return f"<Occlusion of a picture of {height}x{width} for {self.net.name}: {self.shape}, {self.fill}>"

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the picture in pixels of the network's input, in which positions are given."""
        return self.image.shape[2], self.image.shape[3]

    @property
    def clean(self) -> Prediction:
        """The prediction for the picture without occluder; computed on first use."""
        if self._clean is None:
            self._clean = self.net.predict(self.image)
        return self._clean

    @property
    def picture(self) -> npt.NDArray[np.uint8]:
        """The clean picture as the network sees it, uint8 (H, W, 3)."""
        return self.net.picture(self.image.cpu())

    @property
    def fill_picture(self) -> npt.NDArray[np.uint8]:
        """What shows inside the occluder, wherever it is: uint8 (H, W, 3)."""
        return self.net.picture(self.fill_image.cpu())

    def replace(self, fill: Fill | None = None, shape: str | None = None, seed: int | None = None) -> Occlusion:
        """Return an occlusion of the same picture with another fill, shape or seed; None keeps what is.

        The clean picture and its prediction are shared, not computed again.
        """
        other = Occlusion(
            self.net,
            self.image,
            self.fill if fill is None else fill,
            self.shape if shape is None else shape,
            self.seed if seed is None else seed,
        )
        other._clean, other._regions = self._clean, self._regions
        return other

    def mask(self, position: tuple[int, int], size: Size = 50) -> npt.NDArray[np.bool_]:
        """The pixels that the occluder covers.

        Parameters
        ----------
        position : (top, left)
            Upper left corner of the occluder's box, in pixels of the network's input.
        size : int or (height, width), default 50
            Of the box. It must lie wholly inside the picture.

        Returns
        -------
        bool array (H, W)

        Raises
        ------
        ArgumentError
            When size or position are not whole numbers, or the box is empty or leaves the picture.
        """
        return self._mask(position, size).cpu().numpy()

    def occlude(self, position: tuple[int, int], size: Size = 50) -> Tensor:
        """The picture with the occluder, as the network takes it.

        Parameters
        ----------
        position, size
            As for `mask`.

        Returns
        -------
        Tensor
            (1, C, H, W) float32: bit for bit the fill where the mask is set, the clean picture elsewhere.

        Raises
        ------
        ArgumentError
            As for `mask`.
        """
        return torch.where(self._mask(position, size), self.fill_image, self.image)

    def patches(self, positions: Sequence[tuple[int, int]], size: Size = 50) -> Tensor:
        """What the occluder's box holds, at several positions.

        Parameters
        ----------
        positions : sequence of (top, left)
        size : int or (height, width), default 50

        Returns
        -------
        Tensor
            (N, C, height, width) float32: `occlude` at each position, cropped to the box.

        Raises
        ------
        ArgumentError
            As for `mask`.
        """
        boxes = [_box(p, size, self.size) for p in positions]
        height, width = extent_of(size, self.size)

        def crop(picture: Tensor) -> Tensor:
            return torch.cat([picture[:, :, t : t + height, l : l + width] for (t, l), _ in boxes])

        if self.shape == "square":
            return crop(self.fill_image)
        inside = self._mask((0, 0), size)[:height, :width]
        return torch.where(inside, crop(self.fill_image), crop(self.image))

    def predict(self, position: tuple[int, int], size: Size = 50) -> Prediction:
        """What the network says with the occluder there; parameters and errors as for `mask`.

        Exact up to rounding; what the occluder does not reach is not computed again. (Processor time of one
        position, on one thread, against the module's forward pass; medians, occluders of 16 and 50 pixels: 0.20 and
        0.25 for VGG-16, 0.51 and 0.53 for ResNet-18, 0.59 and 0.61 for EfficientNet-Lite0.)
        """
        patches = self.patches([position], size)
        with self.net.lock:
            if self._regions is None:
                self._regions = self.net.regions(self.image)
            output, _ = self._regions([position], patches)
            return Prediction(self.net.probabilities(output)[0].cpu().numpy(), self.net.labels)

    def clip(self, position: tuple[float, float], size: Size = 50) -> tuple[int, int]:
        """Move the occluder the shortest way into the picture; see the function `clip`."""
        return clip(position, size, self.size)

    def _mask(self, position: tuple[int, int], size: Size) -> Tensor:
        (top, left), (height, width) = _box(position, size, self.size)
        device = self.image.device
        rows = torch.arange(self.size[0], device=device)
        columns = torch.arange(self.size[1], device=device)
        if self.shape == "square":
            inside_rows = (rows >= top) & (rows < top + height)
            inside_columns = (columns >= left) & (columns < left + width)
            return inside_rows[:, None] & inside_columns[None, :]
        # In units of half a pixel everything is a whole number, so that no rounding decides about a pixel on
        # the edge: with v the offset of a pixel's centre from the ellipse's, (v_r / h)^2 + (v_c / w)^2 <= 1
        # times (h w)^2.
        v_rows = 2 * (rows - top) + 1 - height
        v_columns = 2 * (columns - left) + 1 - width
        return (v_rows * width)[:, None] ** 2 + (v_columns * height)[None, :] ** 2 <= (height * width) ** 2


def clip(position: tuple[float, float], size: Size, picture: tuple[int, int]) -> tuple[int, int]:
    """Move an occluder the shortest way so that it is wholly inside the picture, on whole pixels.

    Parameters
    ----------
    position : (top, left)
        Any finite numbers, in pixels.
    size : int or (height, width)
        Of the occluder; at least 1 and at most the picture's.
    picture : (height, width)

    Returns
    -------
    (top, left) : tuple of int

    Raises
    ------
    ArgumentError
        When the occluder is larger than the picture, or a number is not finite.
    """
    extent = extent_of(size, picture)
    top, left = _pair(position, "position", "(top, left)")
    try:
        finite = math.isfinite(top) and math.isfinite(left)
    except TypeError:
        finite = False
    if not finite:
        raise ArgumentError(f"Expected position (top, left) in finite numbers, got {position!r}.")
    return (
        min(max(round(top), 0), picture[0] - extent[0]),
        min(max(round(left), 0), picture[1] - extent[1]),
    )


def fill_name(fill: Fill) -> str:
    """Write a fill as one string: a name of `FILLS`, or "#rrggbb" for a colour however it was given.

    Raises
    ------
    ArgumentError
        When it is no fill.
    """
    if isinstance(fill, str) and fill in FILLS:
        return fill
    levels = _named(fill) if isinstance(fill, str) else _levels(fill)
    return "#{:02x}{:02x}{:02x}".format(*levels)


def _box(position: object, size: object, picture: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Check a position and size against a picture."""
    extent = extent_of(size, picture)
    top, left = (whole_number(v, "position (top, left)") for v in _pair(position, "position", "(top, left)"))
    lowest, rightmost = picture[0] - extent[0], picture[1] - extent[1]
    if not (0 <= top <= lowest and 0 <= left <= rightmost):
        raise ArgumentError(
            f"Expected an occluder of {extent[0]}x{extent[1]} wholly inside the picture of "
            f"{picture[0]}x{picture[1]}: top from 0 to {lowest}, left from 0 to {rightmost}; "
            f"got {(top, left)}. Occlusion.clip moves it inside."
        )
    return (top, left), extent


def extent_of(size: object, picture: tuple[int, int]) -> tuple[int, int]:
    """Return height and width of an occluder, checked against those of the picture.

    Raises
    ------
    ArgumentError
        When it is not one or two whole numbers, or empty, or larger than the picture.
    """
    if isinstance(size, (tuple, list, np.ndarray, Tensor)) and np.ndim(size) > 0:
        pair = _pair(size, "size", "a side or (height, width)")
    else:
        pair = size, size
    height, width = (whole_number(v, "size, a side or (height, width),") for v in pair)
    if not (1 <= height <= picture[0] and 1 <= width <= picture[1]):
        raise ArgumentError(
            f"Expected an occluder of at least 1 pixel and at most the picture's {picture[0]}x{picture[1]}, "
            f"got {height}x{width}."
        )
    return height, width


def _pair(value: object, name: str, meaning: str) -> tuple[Any, Any]:
    if isinstance(value, (tuple, list, np.ndarray, Tensor)) and len(value) == 2:
        return value[0], value[1]
    raise ArgumentError(f"Expected {name} as {meaning}, got {value!r}.")


def whole_number(value: object, name: str) -> int:
    """Return a number as an int; an `ArgumentError` that begins with `name` if it is not a whole number."""
    if isinstance(value, SupportsIndex) and not isinstance(value, (bool, np.bool_)):
        try:
            return operator.index(value)
        except TypeError:  # an array or tensor that is no whole number
            pass
    raise ArgumentError(f"Expected {name} in whole numbers, got {value!r}.")


def _fill(rgb: Tensor, fill: Fill, seed: int) -> Tensor:
    """Make the fill picture for a picture (1, C, H, W) in 0..1, in 0..1."""
    if not isinstance(fill, str) or fill not in FILLS:
        return _colour(fill, rgb.shape[1]).to(rgb.device).reshape(1, -1, 1, 1).expand_as(rgb)
    if fill == "grey":
        return torch.full_like(rgb, 0.5)
    if fill == "mean":
        return rgb.mean(dim=(2, 3), keepdim=True).expand_as(rgb)
    if fill == "blur":
        return _blur(rgb, _BLUR_SHARE * min(rgb.shape[2:]))
    # On the CPU, so that the noise is the same on every device.
    return torch.rand(rgb.shape, generator=torch.Generator().manual_seed(seed)).to(rgb.device)


def _blur(rgb: Tensor, sigma: float) -> Tensor:
    """Convolve with a Gaussian, cut at three standard deviations, first along rows, then along columns."""
    channels = rgb.shape[1]
    for axis in (2, 3):
        # Reflection cannot reach further than the picture is long.
        radius = min(math.ceil(3 * sigma), rgb.shape[axis] - 1)
        offsets = torch.arange(-radius, radius + 1, dtype=torch.float64)
        weights = torch.exp(-0.5 * (offsets / sigma) ** 2)
        kernel = (weights / weights.sum()).to(rgb)
        rows_first = axis == 2
        padding = (0, 0, radius, radius) if rows_first else (radius, radius, 0, 0)
        kernel = kernel.reshape((1, 1, -1, 1) if rows_first else (1, 1, 1, -1)).expand(channels, -1, -1, -1)
        rgb = F.conv2d(F.pad(rgb, padding, mode="reflect"), kernel, groups=channels)
    return rgb


def _colour(fill: Fill, channels: int) -> Tensor:
    """Return a colour in 0..1, one number a channel."""
    if channels not in (1, 3):
        raise ArgumentError(
            f"Expected a fill without colour for a network of {channels} input channels, one of "
            f"{', '.join(FILLS)}; got {fill!r}."
        )
    red, green, blue = _named(fill) if isinstance(fill, str) else _levels(fill)
    if channels == 3:
        return torch.tensor([red, green, blue]) / 255
    # ITU-R 601, as Pillow turns colour into grey.
    return torch.tensor([(299 * red + 587 * green + 114 * blue) / 1000]) / 255


def _named(fill: str) -> tuple[int, int, int]:
    try:
        red, green, blue, *alpha = ImageColor.getrgb(fill)
    except ValueError:
        close = did_you_mean(fill, [*FILLS, *ImageColor.colormap])
        raise ArgumentError(f"{_EXPECTED_FILL}; got {fill!r}.{close}") from None
    if alpha not in ([], [255]):
        raise ArgumentError(f"Expected a colour without transparency as fill, got {fill!r}.")
    return red, green, blue


def _levels(fill: object) -> tuple[int, int, int]:
    if isinstance(fill, (tuple, list, np.ndarray, Tensor)) and len(fill) == 3:
        red, green, blue = (whole_number(level, "fill (red, green, blue)") for level in fill)
        if min(red, green, blue) >= 0 and max(red, green, blue) <= 255:
            return red, green, blue
    raise ArgumentError(f"{_EXPECTED_FILL}; got {fill!r}.")


_EXPECTED_FILL = (
    f"Expected as fill one of {', '.join(FILLS)}, the name of a colour, '#rrggbb' or (red, green, blue) from 0 to 255"
)
