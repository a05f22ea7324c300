"""Pictures with their classes, as a training loop wants them: by number, in batches of pixels."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from convscope_core.arguments import plain_methods, require_counts
from convscope_core.datasets import Images, WrittenLabel, find_classes
from convscope_core.errors import ArgumentError, did_you_mean
from convscope_core.images import read_image
from convscope_core.models.mean_subtraction import squared

__all__ = ["LabelledPictures"]

_MEASURED = 5000
"""Pictures, evenly spaced, of which the mean colour is taken."""


@plain_methods
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
        occur, sorted: numbers by value, names as text, which is how torchvision's ``ImageFolder`` numbers folders
        ("a10" before "a2").
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
        Without pictures, and for pictures without a label or with one that is no class (also one-hot vectors, floats
        and numbers below 0 where no classes are given); which. For classes that are not names, each once.
    ImageError
        For what is no picture.
    """

    def __init__(self, source: Any, side: int, classes: Sequence[str] | None = None, cache: bool = True) -> None:
        require_counts(side=side)
        stated = classes is not None
        classes = None if classes is None else _class_names(classes)
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
        known = find_classes(source)
        if classes is None:
            classes = _ordered(names) if known is None else _class_names([str(name) for name in known])
        self.classes = tuple(classes)
        numbers = {name: number for number, name in enumerate(self.classes)}
        for index, name in enumerate(names):
            # outside the names that there are; a text may be one of them all the same
            nameless = isinstance(name, WrittenLabel) and (known is not None or not (stated or _counts(name)))
            if name not in numbers or nameless:
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
        if classes is not None and (classes := _class_names(classes)) != source.classes:
            raise ArgumentError(
                f"Expected pictures of the classes {', '.join(classes)}, got those of {', '.join(source.classes)}."
            )
        return source

    def __len__(self) -> int:
        return len(self._images)

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return pixels (N, 3, side, side) uint8 and labels (N,) int64 of pictures, on the CPU."""
        indices = indices.cpu()
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

    def digest(self) -> dict[str, str | None]:
        """Name the pictures and labels by hashes: the same in another process.

        Returns
        -------
        dict
            "pixels" is of all pixels, where they are in memory; "names" of what the pictures are called. Two with the
            same pixels are the same, whatever they are called; who has not read them can go by names alone.
        """
        begun = hashlib.blake2b(repr((self.classes, self.side, len(self))).encode(), digest_size=16)
        begun.update(self.labels.numpy().tobytes())
        names, pixels = begun.copy(), begun.copy()
        for index in range(len(self)):
            names.update(repr(self._images.identity(index)).encode())
        if self._pixels is not None:
            pixels.update(self._pixels.data)
        return {"pixels": None if self._pixels is None else pixels.hexdigest(), "names": names.hexdigest()}

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
        if isinstance(name, WrittenLabel) and not _counts(name):
            return ArgumentError(
                f"Expected labels that are names or numbers of classes, from 0, got {str(name)!r} of {which}. Give "
                f"each picture the number of its class (of a one-hot vector: label.argmax()), and leave out pictures "
                f"without."
            )
        few = ", ".join(self.classes[:5]) + (f" and {len(self.classes) - 5} more" if len(self.classes) > 5 else "")
        return ArgumentError(
            f"Expected labels of the {len(self.classes)} classes {few}, got {name!r} of {which}."
            f"{did_you_mean(name, self.classes)}"
        )


def _counts(label: WrittenLabel) -> bool:
    """Whether a label may be the number of a class."""
    return label.number is not None and label.number >= 0


def _ordered(labels: Sequence[str | None]) -> list[str]:
    """The classes that labels name: numbers by value, names as text, in the order of torchvision's ``ImageFolder``."""
    found = {label for label in labels if label is not None}
    written = [label for label in found if isinstance(label, WrittenLabel) and label.number is not None]
    if len(written) == len(found):
        return [str(label) for label in sorted(written, key=lambda label: label.number or 0)]
    return sorted(map(str, found))


def _class_names(classes: Any) -> tuple[str, ...]:
    """Return names of classes, each of which has to be there once."""
    names = () if isinstance(classes, str) or not isinstance(classes, Iterable) else tuple(classes)
    if not names or not all(isinstance(name, str) for name in names):
        raise ArgumentError(
            f"Expected classes as a list of names, in the order of the outputs, got {classes!r}. For numbers: "
            f"[str(number) for number in range(10)]."
        )
    for index, name in enumerate(names):
        if name in names[:index]:
            raise ArgumentError(f"Expected every class once, got {name!r} as {names.index(name)} and {index}.")
    return names
