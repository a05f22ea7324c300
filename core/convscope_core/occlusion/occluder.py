"""The live occluder: a picture of which a part is covered, and what the network predicts for it.

Zeiler & Fergus (2014, fig. 7) slide a grey square of 50x50 pixels over a picture of 224x224, always wholly
inside, and watch the probability of the class. Here the occluder may be of any size and shape, and show any of
several fills.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from convscope_core.arguments import plain_methods
from convscope_core.errors import ArgumentError
from convscope_core.graph.regions import Regions
from convscope_core.network import Network, Prediction
from convscope_core.occlusion.box import Size, box_of, clip, extent_of, whole_number
from convscope_core.occlusion.fills import Fill, check_inpainting, fill_name, fill_picture, inpainted, picture_of
from convscope_core.occlusion.shapes import Outline, Shape, box_mask, checked_shape, shape_name

__all__ = ["Occlusion"]


@plain_methods
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
          123 to 125. "gray" is the same.
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
          of it. A word is taken as a name or a colour before it is taken as a file.
    shape : str, outline or bool array, default "square"
        Which pixels of the box that position and size give are covered; see `box_mask`.
    seed : int, default 0
        Seed of the noise.

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

    def box_mask(self, size: Size = 50) -> npt.NDArray[np.bool_]:
        """Which pixels of its box the occluder covers.

        Parameters
        ----------
        size : int or (height, width), default 50
            The box's size in pixels.

        Returns
        -------
        bool array (height, width)
            Read-only.

        Raises
        ------
        ArgumentError
            When size is not of whole numbers, the box is empty or larger than the picture, the shape covers no
            pixel of it, or it covers the whole picture and so leaves nothing to inpaint from.
        """
        extent = extent_of(size, self.size)
        inside = self._box_mask(extent)
        if self.fill_image is None and extent == self.size and inside.all():
            raise ArgumentError(
                f"Expected an occluder that leaves a part of the picture to inpaint from, got the "
                f"{shape_name(self.shape)} of {extent[0]}x{extent[1]}, which covers all of it. "
                "Make it smaller, or take another fill."
            )
        return inside

    def mask(self, position: tuple[int, int], size: Size = 50) -> npt.NDArray[np.bool_]:
        """The pixels that the occluder covers.

        Parameters
        ----------
        position : (top, left)
            Upper left corner of the occluder's box, in pixels of the network's input.
        size : int or (height, width), default 50
            The box's size in pixels. It must lie wholly inside the picture.

        Returns
        -------
        bool array (H, W)

        Raises
        ------
        ArgumentError
            When position is not of whole numbers, or the box leaves the picture; also as for `box_mask`.
        """
        (top, left), (height, width) = box_of(position, size, self.size)
        mask = np.zeros(self.size, bool)
        mask[top : top + height, left : left + width] = self.box_mask(size)
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
        (top, left), (height, width) = box_of(position, size, self.size)
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
        corners = [box_of(p, size, self.size)[0] for p in positions]
        height, width = extent = extent_of(size, self.size)
        inside = self.box_mask(size)

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
        """What the picture shows inside the occluder's box; parameters and errors as for `mask`.

        Returns
        -------
        uint8 array (height, width, 3)
            The fill where the occluder covers, the clean picture in the rest of the box.
        """
        return self.net.pixels(self.patches([position], size)[0])

    def predict(self, position: tuple[int, int], size: Size = 50) -> Prediction:
        """Return the prediction with the occluder there; parameters and errors as for `mask`.

        Exact up to rounding; what the occluder does not reach is not computed again. (Processor time of one
        position, on one thread, against the module's forward pass; medians, occluders of 16 and 50 pixels: 0.20 and
        0.25 for VGG-16, 0.51 and 0.53 for ResNet-18, 0.59 and 0.61 for EfficientNet-Lite0.)
        """
        patches = self.patches([position], size)
        with self.net.lock:
            if self._regions is None:
                self._regions = self.net.regions(self.image)
            output, _ = self._regions([position], patches)
            return self.net.prediction(output)

    def clip(self, position: tuple[float, float], size: Size = 50) -> tuple[int, int]:
        """Move the occluder the shortest way into the picture; see the function `clip`."""
        return clip(position, size, self.size)

    def _take_shape(self, shape: Shape) -> None:
        self.shape = checked_shape(shape)
        self._last: tuple[Any, npt.NDArray[np.uint8]] | None = None
        self._box_mask = functools.lru_cache(8)(functools.partial(box_mask, self.shape))

    def _take_fill(self, fill: Fill) -> None:
        self.fill = fill
        self._last = None
        picture = picture_of(fill)
        if picture is not None:
            self.fill_image = self.net.prepare(picture[0])
        elif isinstance(fill, str) and fill == "inpaint":
            check_inpainting(self.image.shape[1])
            self.fill_image = None
        else:
            self.fill_image = self.net.to_network(fill_picture(self.net.to_rgb(self.image), fill, self.seed))

    @functools.cached_property
    def _source(self) -> npt.NDArray[np.uint8]:
        """What inpainting works on, (H, W, 3), or (H, W, 1) of a network that sees grey."""
        return np.ascontiguousarray(self.picture[:, :, : self.image.shape[1]])

    def _inpainted(self, corner: tuple[int, int], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
        """Return the box (height, width, C) with what the occluder covers filled in."""
        key = (corner, size)
        if self._last is None or self._last[0] != key:
            # While the occluder moves, both its pixels and the prediction are asked for at the same place.
            self._last = key, inpainted(self._source, corner, self._box_mask(size))
        return self._last[1]
