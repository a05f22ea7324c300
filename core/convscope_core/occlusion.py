"""Occlusion: what the network says when a part of the picture is covered.

Zeiler & Fergus (2014, fig. 7) slide a grey square of 50x50 pixels over a picture of 224x224, always wholly
inside, and watch the probability of the class. Here the occluder may be of any size and form, and show any of
several fills. Most fills are a *fill picture* as large as the network's input, of which the occluder shows its
part; one, inpainting, depends on the place.
"""

from __future__ import annotations

import copy
import functools
import math
import operator
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, SupportsIndex, TypeAlias

import numpy as np
import numpy.typing as npt
import PIL.Image
import torch
import torch.nn.functional as F
from PIL import ImageColor
from torch import Tensor

from convscope_core.datasets import Picture
from convscope_core.errors import ArgumentError, did_you_mean
from convscope_core.graph.regions import Regions
from convscope_core.images import ImageLike
from convscope_core.network import Network, Prediction

__all__ = [
    "FILLS",
    "SHAPES",
    "Fill",
    "Occlusion",
    "Outline",
    "Shape",
    "Size",
    "box_mask",
    "checked_shape",
    "clip",
    "extent_of",
    "fill_name",
    "shape_name",
    "whole_number",
]

FILLS = ("grey", "mean", "blur", "noise", "inpaint")
"""The fills with a name; besides, any colour and any picture is one."""

SHAPES = ("square", "ellipse")
"""The shapes with a name; besides, any outline and any mask is one."""

Size: TypeAlias = int | tuple[int, int]
"""Side, or (height, width), in pixels of the network's input."""

Fill: TypeAlias = str | Sequence[int] | ImageLike | Picture
"""One of `FILLS`, the name or "#rrggbb" of a colour, (red, green, blue) in 0..255, or a picture."""

Shape: TypeAlias = str | Sequence[Sequence[float]] | npt.NDArray[Any]
"""One of `SHAPES`, an outline of (row, column) in 0..1 of the box, or a bool array (height, width)."""

Outline: TypeAlias = tuple[tuple[float, float], ...]
"""The form in which an outline is kept."""

_BLUR_SHARE = 10 / 224

#: Pixels that inpainting looks at around one that it fills.
_INPAINT_RADIUS = 3


class Occlusion:
    """A picture with an occluder that can be put anywhere.

    Parameters
    ----------
    net : Network
    image : path, bytes, PIL image, array or tensor
        What `Network.prepare` takes.
    fill : str, (red, green, blue) or a picture, default "grey"
        What the occluder shows.

        - ``"grey"``: half of the range of every channel, 127.5 of 255. The grey of the paper's figure measures
          123 to 125.
        - ``"mean"``: the mean colour of this picture.
        - ``"blur"``: the picture itself through a Gaussian with a standard deviation of 10/224 of its shorter
          side (10 pixels at 224), reflected at the border. That is the strength with which Fong & Vedaldi
          (2017, "Interpretable explanations of black boxes by meaningful perturbation") blur evidence away:
          detail goes, colour and shading stay, so that the occluder's own border is no strong edge.
        - ``"noise"``: every pixel and channel uniformly random between black and white; fixed in the picture,
          so that an occluder that moves does not flicker.
        - ``"inpaint"``: what is covered is filled in from its surroundings, so that the occluder shows no edge
          of its own: the method of Telea (2004, "An image inpainting technique based on the fast marching
          method") with a radius of 3 pixels, on the picture as the network sees it in 8 bits. Needs OpenCV
          (``pip install convscope[inpaint]``) and a network that sees colours or grey. Its time grows with
          the pixels covered: about 1 ms for 16x16, 4 ms for 50x50, 15 ms for 100x100 on one core.
        - a colour, such as ``"#1e90ff"``, ``"tomato"`` or ``(30, 144, 255)``; on a network that sees grey, its
          luminance. (``"gray"`` is the named colour, 128 of 255.)
        - another picture: a path, bytes, a PIL image, an array or tensor of at least 2 dimensions, or a
          `convscope_core.datasets.Picture`. It is prepared as the picture is, and the occluder shows its part
          of it. Of a word, names and colours go before files.
    shape : str, outline or bool array, default "square"
        Which pixels of the box that position and size give are covered; see `box_mask`.
    seed : int, default 0
        Of the noise.

    Raises
    ------
    ImageError
        When the picture, or that of the fill, cannot be read, or holds NaN.
    ArgumentError
        When fill, shape or seed are not of these, or the fill needs colours that the network does not see.
    ImportError
        When the fill is ``"inpaint"`` and OpenCV is not installed.

    Attributes
    ----------
    net : Network
    fill, seed
        As given.
    shape : str, tuple of (row, column) or bool array
        As given; an outline as a tuple of tuples of float.
    image : Tensor
        (1, C, H, W) float32, the clean picture as the network takes it.
    fill_image : Tensor or None
        (1, C, H, W) float32, the fill picture as the network takes it. None for ``"inpaint"``, which shows
        something else at every place.
    """

    net: Network
    fill: Fill
    shape: str | Outline | npt.NDArray[np.bool_]
    seed: int
    image: Tensor
    fill_image: Tensor | None

    def __init__(self, net: Network, image: Any, fill: Fill = "grey", shape: Shape = "square", seed: int = 0) -> None:
        self.net = net
        self.seed = whole_number(seed, "seed")
        self._take_shape(shape)
        self.image = net.prepare(image)
        self._take_fill(fill)
        self._clean: Prediction | None = None
        self._regions: Regions | None = None

    def __repr__(self) -> str:
        height, width = self.size
        return (
            f"<Occlusion of a picture of {height}x{width} for {self.net.name}: {shape_name(self.shape)}, "
            f"{fill_name(self.fill)}>"
        )

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
        return self.net.pixels(self.image[0])

    @property
    def fill_picture(self) -> npt.NDArray[np.uint8] | None:
        """What shows inside the occluder, wherever it is: uint8 (H, W, 3). None where that depends on the place."""
        return None if self.fill_image is None else self.net.pixels(self.fill_image[0])

    def replace(self, fill: Fill | None = None, shape: Shape | None = None, seed: int | None = None) -> Occlusion:
        """Return an occlusion of the same picture with another fill, shape or seed; None keeps what is.

        The clean picture and its prediction are shared, not computed again.
        """
        other = copy.copy(self)
        if shape is not None:
            other._take_shape(shape)
        if seed is not None:
            other.seed = whole_number(seed, "seed")
        if fill is not None or (seed is not None and isinstance(self.fill, str) and self.fill == "noise"):
            other._take_fill(self.fill if fill is None else fill)
        return other

    def form(self, size: Size = 50) -> npt.NDArray[np.bool_]:
        """Which pixels of its box the occluder covers.

        Parameters
        ----------
        size : int or (height, width), default 50
            Of the box.

        Returns
        -------
        bool array (height, width)
            Not to be written to.

        Raises
        ------
        ArgumentError
            When size is not of whole numbers, the box is empty or larger than the picture, the shape covers no
            pixel of it, or it covers the whole picture and so leaves nothing to inpaint from.
        """
        extent = extent_of(size, self.size)
        inside = self._form(extent)
        if self.fill_image is None and extent == self.size and inside.all():
            raise ArgumentError(
                "Expected an occluder that leaves some of the picture, to inpaint from; "
                f"{shape_name(self.shape)} of {extent[0]}x{extent[1]} covers all of it. Make it smaller, or take "
                f"another fill."
            )
        return inside

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
            When position is not of whole numbers, or the box leaves the picture; also as for `form`.
        """
        (top, left), (height, width) = _box(position, size, self.size)
        mask = np.zeros(self.size, bool)
        mask[top : top + height, left : left + width] = self.form(size)
        return mask

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
        (top, left), (height, width) = _box(position, size, self.size)
        occluded = self.image.clone()
        occluded[:, :, top : top + height, left : left + width] = self.patches([position], size)
        return occluded

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
        corners = [_box(p, size, self.size)[0] for p in positions]
        height, width = extent = extent_of(size, self.size)
        inside = self.form(size)

        def crop(picture: Tensor) -> Tensor:
            return torch.cat([picture[:, :, t : t + height, l : l + width] for t, l in corners])

        if self.fill_image is not None:
            filled = crop(self.fill_image)
        else:
            levels = np.stack([self._inpainted(corner, extent) for corner in corners])
            rgb = torch.from_numpy(levels).to(self.image.device).permute(0, 3, 1, 2).to(torch.float32) / 255
            filled = self.net.to_network(rgb).contiguous()
        if inside.all():
            return filled
        return torch.where(torch.tensor(inside, device=filled.device), filled, crop(self.image))

    def pixels(self, position: tuple[int, int], size: Size = 50) -> npt.NDArray[np.uint8]:
        """What the picture shows inside the occluder's box, with the occluder there.

        Parameters
        ----------
        position, size
            As for `mask`.

        Returns
        -------
        uint8 array (height, width, 3)
            The fill where the occluder covers, the clean picture in the rest of the box.

        Raises
        ------
        ArgumentError
            As for `mask`.
        """
        return self.net.pixels(self.patches([position], size)[0])

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

    def _take_shape(self, shape: Shape) -> None:
        self.shape = checked_shape(shape)
        self._last: tuple[Any, npt.NDArray[np.uint8]] | None = None
        self._form = functools.lru_cache(8)(functools.partial(box_mask, self.shape))

    def _take_fill(self, fill: Fill) -> None:
        self.fill = fill
        self._last = None
        picture = _picture_of(fill)
        if picture is not None:
            self.fill_image = self.net.prepare(picture[0])
        elif isinstance(fill, str) and fill == "inpaint":
            _check_inpainting(self.image.shape[1])
            self.fill_image = None
        else:
            self.fill_image = self.net.to_network(_fill(self.net.to_rgb(self.image), fill, self.seed))

    @functools.cached_property
    def _source(self) -> npt.NDArray[np.uint8]:
        """What inpainting works on, (H, W, 3), or (H, W, 1) of a network that sees grey."""
        return np.ascontiguousarray(self.picture[:, :, : self.image.shape[1]])

    def _inpainted(self, corner: tuple[int, int], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
        """Return the box (height, width, C) with what the occluder covers filled in.

        A pixel is filled from those within the radius, along the gradients of their distances to the mask, which
        takes one pixel more. So a crop with that margin gives what the whole picture would, to the bit.
        """
        import cv2

        key = (corner, size)
        last = self._last
        if last is not None and last[0] == key:
            return last[1]
        bounds = []
        for start, length, limit in zip(corner, size, self.size, strict=True):
            first = max(start - _INPAINT_RADIUS - 1, 0)
            bounds.append((first, min(start + length + _INPAINT_RADIUS + 1, limit), start - first))
        (top, bottom, row), (left, right, column) = bounds
        around = np.ascontiguousarray(self._source[top:bottom, left:right])
        mask = np.zeros(around.shape[:2], np.uint8)
        mask[row : row + size[0], column : column + size[1]] = self._form(size)
        found = np.asarray(cv2.inpaint(around, mask, _INPAINT_RADIUS, cv2.INPAINT_TELEA), np.uint8)
        box = found.reshape(around.shape)[row : row + size[0], column : column + size[1]]
        # Whoever moves the occluder asks for what it shows and for what the network says, at the same place.
        self._last = key, box
        return box


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


def fill_name(fill: object) -> str:
    """Write a fill as one string.

    Returns
    -------
    str
        A name of `FILLS`; "#rrggbb" for a colour however it was given; "picture", or "picture NAME" with the name
        of its file, for another picture.

    Raises
    ------
    ArgumentError
        When it is no fill.
    """
    if isinstance(fill, str) and fill in FILLS:
        return fill
    picture = _picture_of(fill)
    if picture is not None:
        return f"picture {picture[1]}".rstrip()
    levels = _named(fill) if isinstance(fill, str) else _levels(fill)
    return "#{:02x}{:02x}{:02x}".format(*levels)


def checked_shape(shape: object) -> str | Outline | npt.NDArray[np.bool_]:
    """Return a shape in the form in which it is kept.

    Returns
    -------
    str, tuple of (row, column) or bool array (height, width)
        A name of `SHAPES`, an outline as a tuple of pairs of float, or a copy of a mask, not to be written to.

    Raises
    ------
    ArgumentError
        When it is none of these, a point of an outline is outside 0..1, or a mask covers nothing.
    """
    if isinstance(shape, str):
        if shape in SHAPES:
            return shape
        raise ArgumentError(f"{_EXPECTED_SHAPE}; got {shape!r}.{did_you_mean(shape, SHAPES)}")
    try:
        values: npt.NDArray[Any] = np.asarray(shape.cpu() if isinstance(shape, Tensor) else shape)
    except (TypeError, ValueError):  # rows of several lengths
        values = np.empty(0, object)
    if values.dtype == bool and values.ndim == 2:
        if not values.any():
            raise ArgumentError(f"Expected a mask that covers a pixel; got one of {_by(values.shape)} without any.")
        mask: npt.NDArray[np.bool_] = values.copy()
        mask.flags.writeable = False
        return mask
    if values.dtype.kind in "iuf" and values.ndim == 2 and values.shape[1] == 2 and len(values) >= 3:
        if not ((values >= 0) & (values <= 1)).all():
            raise ArgumentError(
                "Expected the points (row, column) of an outline from 0 to 1, in units of the occluder's box; got "
                f"{values.min():g} to {values.max():g}."
            )
        return tuple((float(row), float(column)) for row, column in values)
    came = f"values of {values.dtype} of shape {values.shape}" if values.dtype != object else f"{shape!r}"
    raise ArgumentError(f"{_EXPECTED_SHAPE}; got {came}.")


def shape_name(shape: object) -> str:
    """Write a shape as words: "square", "ellipse", "outline of N points" or "mask of HxW".

    Raises
    ------
    ArgumentError
        As of `checked_shape`.
    """
    known = checked_shape(shape)
    if isinstance(known, str):
        return known
    return f"outline of {len(known)} points" if isinstance(known, tuple) else f"mask of {_by(known.shape)}"


def box_mask(shape: Shape, size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Which pixels of its box an occluder covers. No anti-aliasing: a pixel is covered or not.

    Parameters
    ----------
    shape : str, outline or bool array
        - ``"square"``: all of the box.
        - ``"ellipse"``: the pixels whose centres lie in the ellipse inscribed in the box, or on it.
        - An outline, at least 3 points (row, column) in units of the box, 0..1 from its upper left corner: the
          pixels whose centres lie inside the closed polygon by the even-odd rule. With (y, x) the centre of a
          pixel, ((row + 0.5) / height, (column + 0.5) / width), an edge from a point (r1, c1) to the next,
          (r2, c2), counts when ``(r1 > y) != (r2 > y) and x < (c2 - c1) * (y - r1) / (r2 - r1) + c1``, in float64
          and in this order; a pixel is inside when the number of edges that count, that from the last point to
          the first with them, is odd.
        - A bool array, a mask of the box: nearest neighbour where the box has another size, so that row i of h
          is row ``(2 * i + 1) * H // (2 * h)`` of the mask's H; columns likewise.
    size : (height, width)
        Of the box in pixels, each at least 1.

    Returns
    -------
    bool array (height, width)
        Not to be written to.

    Raises
    ------
    ArgumentError
        When it is no shape, or covers no pixel at this size.
    """
    known = checked_shape(shape)
    height, width = (whole_number(v, "size (height, width)") for v in size)
    if min(height, width) < 1:
        raise ArgumentError(f"Expected a box of at least 1 pixel, got {height}x{width}.")
    if isinstance(known, tuple):
        mask = _polygon(known, height, width)
    elif not isinstance(known, str):
        rows, columns = (
            (2 * np.arange(n) + 1) * have // (2 * n) for n, have in zip((height, width), known.shape, strict=True)
        )
        mask = known[rows[:, None], columns]
    elif known == "square":
        mask = np.ones((height, width), bool)
    else:
        # In units of half a pixel everything is a whole number, so that no rounding decides about a pixel on the
        # edge: with v the offset of a pixel's centre from the ellipse's, (v_r / h)^2 + (v_c / w)^2 <= 1 times
        # (h w)^2.
        v_rows = 2 * np.arange(height) + 1 - height
        v_columns = 2 * np.arange(width) + 1 - width
        mask = (v_rows * width)[:, None] ** 2 + (v_columns * height)[None, :] ** 2 <= (height * width) ** 2
    if not mask.any():
        raise ArgumentError(
            f"Expected a shape that covers the centre of a pixel; at {height}x{width} the {shape_name(known)} covers "
            f"none. Make the occluder larger, or the shape wider."
        )
    mask.flags.writeable = False
    return mask


def _polygon(outline: Outline, height: int, width: int) -> npt.NDArray[np.bool_]:
    y, x = (np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width
    inside = np.zeros((height, width), bool)
    for (r1, c1), (r2, c2) in zip(outline, (*outline[1:], outline[0]), strict=True):
        rows = (r1 > y) != (r2 > y)
        if rows.any():  # so r1 and r2 differ
            crossing = (c2 - c1) * (y[rows] - r1) / (r2 - r1) + c1
            inside[rows] ^= x < crossing[:, None]
    return inside


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _picture_of(fill: object) -> tuple[ImageLike, str] | None:
    """Return the picture that a fill is, and the name of its file or ""; None if it is a word or a colour."""
    if isinstance(fill, Picture):
        return fill.image, fill.path.name if fill.path is not None else fill.name
    if isinstance(fill, str):
        if fill in FILLS or _is_colour(fill) or not os.path.exists(os.path.expanduser(fill)):
            return None
        return fill, Path(fill).name
    if isinstance(fill, os.PathLike):
        return fill, Path(fill).name
    if isinstance(fill, PIL.Image.Image):
        return fill, Path(getattr(fill, "filename", "") or "").name
    if isinstance(fill, (bytes, bytearray, memoryview)):
        return bytes(fill), ""
    if isinstance(fill, (np.ndarray, Tensor)) and fill.ndim >= 2:
        return fill, ""
    return None


def _check_inpainting(channels: int) -> None:
    if channels not in (1, 3):
        raise ArgumentError(
            f"Expected a fill other than 'inpaint' for a network of {channels} input channels: it works on colours "
            f"or grey. One of {', '.join(_COLOURLESS)}."
        )
    try:
        import cv2  # noqa: F401  imported where it is used; slow, so not before it is needed
    except ImportError as e:
        raise ImportError(
            "Expected OpenCV for the fill 'inpaint'; it is not installed. pip install convscope[inpaint]"
        ) from e


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
            f"{', '.join(_COLOURLESS)}; got {fill!r}."
        )
    red, green, blue = _named(fill) if isinstance(fill, str) else _levels(fill)
    if channels == 3:
        return torch.tensor([red, green, blue]) / 255
    # ITU-R 601, as Pillow turns colour into grey.
    return torch.tensor([(299 * red + 587 * green + 114 * blue) / 1000]) / 255


def _is_colour(word: str) -> bool:
    try:
        ImageColor.getrgb(word)
    except ValueError:
        return False
    return True


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
    if isinstance(fill, (tuple, list, np.ndarray, Tensor)) and np.ndim(fill) == 1 and len(fill) == 3:
        red, green, blue = (whole_number(level, "fill (red, green, blue)") for level in fill)
        if min(red, green, blue) >= 0 and max(red, green, blue) <= 255:
            return red, green, blue
    raise ArgumentError(f"{_EXPECTED_FILL}; got {fill!r}.")


#: Fills that need no channels of colour.
_COLOURLESS = tuple(f for f in FILLS if f != "inpaint")

_EXPECTED_FILL = (
    f"Expected as fill one of {', '.join(FILLS)}, the name of a colour, '#rrggbb', (red, green, blue) from 0 to 255, "
    f"or a picture (the path of a file that exists, bytes, a PIL image, an array or tensor of 2 dimensions or more)"
)

_EXPECTED_SHAPE = (
    "Expected shape to be 'square', 'ellipse', an outline (at least 3 points (row, column) from 0 to 1 of the box) or "
    "a mask (a bool array (height, width))"
)
