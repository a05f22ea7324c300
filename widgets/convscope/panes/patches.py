"""Patches of a survey's pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from convscope_core.datasets import Images
from convscope_core.network import Network
from convscope_core.render import crop
from convscope_core.survey import Exemplar
from convscope_core.wordnet import class_name

__all__ = ["Patches", "cleared_beyond", "inside"]

#: Pictures that are kept as pixels.
KEPT = 64


def inside(box: Sequence[int], size: Sequence[int]) -> list[float]:
    """Where in a patch the picture is, as shares of its height and width: top, left, bottom, right.

    Beyond it a patch at the border has nothing to show. A patch that is the whole picture has no beyond.
    """
    top, left, bottom, right = box
    (height, width), (tall, wide) = size, (bottom - top, right - left)
    if tall >= height and wide >= width:
        return [0.0, 0.0, 1.0, 1.0]
    rows, columns = (
        np.clip(one, 0, 1) for one in ([-top / tall, (height - top) / tall], [-left / wide, (width - left) / wide])
    )
    return [float(rows[0]), float(columns[0]), float(rows[1]), float(columns[1])]


def cleared_beyond(tile: np.ndarray, part: Sequence[float]) -> np.ndarray:
    """A patch, (side, side, 3), white, as figures are, where its picture ends; `part`: see `inside`."""
    side = len(tile)
    top, left, bottom, right = (round(side * share) for share in part)
    shown = np.full_like(tile, 255)
    shown[top:bottom, left:right] = tile[top:bottom, left:right]
    return shown


class Patches:
    """What exemplars show of their pictures, as a network sees these; the last few pictures are kept.

    Parameters
    ----------
    net : Network
    """

    def __init__(self, net: Network) -> None:
        self._net = net
        self._pictures: dict[int, np.ndarray] = {}

    def picture(self, images: Images, index: int) -> np.ndarray:
        """The whole of one of the pictures, uint8 (H, W, 3)."""
        pixels = self._pictures.get(index)
        if pixels is None:
            pixels = self._net.picture(images[index].image)
            while len(self._pictures) >= KEPT:
                self._pictures.pop(next(iter(self._pictures)))
            self._pictures[index] = pixels
        return pixels

    def patch(self, images: Images, exemplar: Exemplar, side: int) -> tuple[np.ndarray, bool]:
        """The patch of an exemplar, uint8 (side, side, 3), and whether it is the whole picture.

        It is where the receptive field is as large as the picture.
        """
        pixels = self.picture(images, exemplar.image)
        box = exemplar.box
        whole = (box.bottom - box.top) >= pixels.shape[0] and (box.right - box.left) >= pixels.shape[1]
        if whole:
            box = type(box)(0, 0, *pixels.shape[:2])
        if max(box.bottom - box.top, box.right - box.left) > side // 2:
            return crop(pixels, box, side=side), whole
        # A field of a few pixels is shown as the pixels that they are.
        few = Image.fromarray(crop(pixels, box))
        return np.asarray(few.resize((side, side), Image.Resampling.NEAREST)), whole

    def shown(self, images: Images, exemplars: Sequence[Exemplar], side: int) -> tuple[list[dict[str, Any]], bytes]:
        """Exemplars as the front end shows them, and their patches one after the other."""
        rows, patches = [], []
        for one in exemplars:
            patch, whole = self.patch(images, one, side)
            picture = images[one.image]
            patches.append(patch.tobytes())
            rows.append(
                {
                    "value": one.value,
                    "before": one.before_ceiling,
                    "image": one.image,
                    "name": picture.name,
                    "path": None if picture.path is None else str(picture.path.absolute()),
                    "label": None if picture.label is None else class_name(picture.label),
                    "row": one.row,
                    "column": one.column,
                    "box": [one.box.top, one.box.left, one.box.bottom, one.box.right],
                    "whole": whole,
                    "inside": inside(one.box, self._net.input_shape[1:]),
                }
            )
        return rows, b"".join(patches)

    def forget(self) -> None:
        """Drop the pictures that are kept."""
        self._pictures.clear()
