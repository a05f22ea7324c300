"""Pictures with their classes, as a training loop wants them: by number, in batches of pixels."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from convscope_core.datasets import Images, find_classes, natural
from convscope_core.errors import ArgumentError, did_you_mean
from convscope_core.images import read_image
from convscope_core.models.mean_subtraction import squared

__all__ = ["LabelledPictures"]

_MEASURED = 5000
"""Pictures, evenly spaced, of which the mean colour is taken."""


class LabelledPictures:
    """Pictures scaled to squares of one size, with the number of the class of each.

    Parameters
    ----------
    source : anything that `Images.of` takes
        Whose pictures have labels: a folder of class folders, a torch data set of (picture, label).
    side : int
        In pixels; of what is longer the middle is kept.
    classes : sequence of str, optional
        Names of the classes in the order of their numbers. Default: the data set's `classes`, else the labels that
        occur, sorted.
    cache : bool, default True
        Keep all pixels in memory (3 bytes each: 4,000 pictures of 128 pixels take 200 MB). False: read the pictures
        whenever they are needed.

    Attributes
    ----------
    classes : tuple of str
    labels : Tensor (N,) int64
        On the CPU.

    Raises
    ------
    ArgumentError
        Without pictures, and for pictures without a label or with one that is no class; which.
    ImageError
        For what is no picture.
    """

    def __init__(self, source: Any, side: int, classes: Sequence[str] | None = None, cache: bool = True) -> None:
        self._images = Images.of(source)
        self.side = side
        self._pixels: npt.NDArray[np.uint8] | None = None
        names: list[str | None]
        if cache:
            self._pixels = np.empty((len(self._images), 3, side, side), np.uint8)
            names = [None] * len(self._images)
            for index, (pixels, name) in enumerate(self._read(range(len(self._images)))):
                self._pixels[index], names[index] = pixels, name
        else:
            names = [picture.label for picture in self._images]
        if classes is None:
            known = find_classes(source)
            found = {name for name in names if name is not None}
            classes = sorted(found, key=natural) if known is None else [str(name) for name in known]
        self.classes = tuple(classes)
        numbers = {name: number for number, name in enumerate(self.classes)}
        for index, name in enumerate(names):
            if name not in numbers:
                raise self._unknown(index, name)
        self.labels = torch.tensor([numbers[name] for name in names if name is not None])

    @classmethod
    def of(cls, source: Any, side: int, classes: Sequence[str] | None = None, cache: bool = True) -> LabelledPictures:
        """Return pictures that are labelled pictures already, or make them of anything else.

        Raises
        ------
        ArgumentError
            If they have another size or other classes.
        """
        if not isinstance(source, LabelledPictures):
            return cls(source, side, classes, cache)
        if source.side != side:
            raise ArgumentError(f"Expected pictures of {side} pixels, got LabelledPictures of {source.side}.")
        if classes is not None and tuple(classes) != source.classes:
            raise ArgumentError(
                f"Expected pictures of the classes {', '.join(classes)}, got those of {', '.join(source.classes)}."
            )
        return source

    def __len__(self) -> int:
        return len(self._images)

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return pixels (N, 3, side, side) uint8 and labels (N,) int64 of pictures, on the CPU."""
        if self._pixels is not None:
            pixels = torch.from_numpy(self._pixels[indices.numpy()])
        else:
            pixels = torch.stack([torch.from_numpy(found) for found, _ in self._read(indices.tolist())])
        return pixels, self.labels[indices]

    def colours(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return mean and standard deviation of red, green and blue, between 0 and 1; of at most 5,000 pictures."""
        chosen = torch.linspace(0, len(self) - 1, min(len(self), _MEASURED)).long()
        total, squares, count = torch.zeros(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64), 0
        for part in torch.split(chosen, 64):
            pixels = self.batch(part)[0].double().transpose(0, 1).flatten(1) / 255
            total, squares, count = total + pixels.sum(1), squares + pixels.square().sum(1), count + pixels.shape[1]
        mean = total / count
        deviation = (squares / count - mean.square()).clamp_min(1e-12).sqrt()
        return tuple(round(v, 6) for v in mean.tolist()), tuple(round(v, 6) for v in deviation.tolist())

    def digest(self) -> str:
        """Name the pictures and labels by a hash: the same in another process."""
        found = hashlib.blake2b(repr((self.classes, self.side, len(self))).encode(), digest_size=16)
        found.update(self.labels.numpy().tobytes())
        if self._pixels is not None:
            found.update(self._pixels.data)
        else:
            for index in range(len(self)):
                found.update(repr(self._images.identity(index)).encode())
        return found.hexdigest()

    def _read(self, indices: Sequence[int]) -> Iterator[tuple[npt.NDArray[np.uint8], str | None]]:
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1), thread_name_prefix="convscope-reading") as pool:
            yield from pool.map(self._one, indices)

    def _one(self, index: int) -> tuple[npt.NDArray[np.uint8], str | None]:
        picture = self._images[index]
        return squared(read_image(picture.image), self.side).numpy(), picture.label

    def _unknown(self, index: int, name: str | None) -> ArgumentError:
        which = f"picture {index} ({self._images[index].name})"
        if name is None:
            return ArgumentError(
                f"Expected pictures with labels, got {which} without. Give a folder of class folders, or a data set of "
                f"(picture, label)."
            )
        few = ", ".join(self.classes[:5]) + (f" and {len(self.classes) - 5} more" if len(self.classes) > 5 else "")
        return ArgumentError(
            f"Expected labels of the {len(self.classes)} classes {few}, got {name!r} of {which}."
            f"{did_you_mean(name, self.classes)}"
        )
