"""Crops of pictures as pictures of their own."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from convscope_core.crops import WHOLE, Box
from convscope_core.datasets._sources import Source
from convscope_core.datasets.labels import APART
from convscope_core.datasets.picture import Picture
from convscope_core.images import read_image
from convscope_core.locks import Lock

__all__ = ["Crops"]


class Crops(Source):
    """Crops of the pictures of another source; whole where a picture's size is not known."""

    def __init__(self, photographs: Source, of: npt.NDArray[np.int64], boxes: npt.NDArray[np.int32]) -> None:
        self._photographs = photographs
        self._of = of
        self._boxes = boxes
        self._lock = Lock()
        self._read: OrderedDict[int, Image.Image] = OrderedDict()
        self.origin = f"crops of {photographs.origin}"

    @property
    def cropped(self) -> bool:
        return True

    def __len__(self) -> int:
        return len(self._of)

    def _box(self, index: int) -> Box:
        top, left, bottom, right = self._boxes[index].tolist()
        return top, left, bottom, right

    def place(self, index: int) -> tuple[Hashable, Box]:
        return self._photographs.key(int(self._of[index])), self._box(index)

    def _named(self, name: str, index: int) -> str:
        top, left, bottom, right = box = self._box(index)
        return name if box == WHOLE else f"{name} [{top}:{bottom}, {left}:{right}]"

    def __getitem__(self, index: int) -> Picture:
        photograph = self._photographs[int(self._of[index])]
        box = top, left, bottom, right = self._box(index)
        if box == WHOLE:
            return photograph
        image = self._decoded(int(self._of[index]), photograph).crop((left, top, right, bottom))
        return Picture(image, self._named(photograph.name, index), photograph.label)

    def _decoded(self, number: int, photograph: Picture) -> Image.Image:
        """A photograph, of which many crops may be asked for, one after the other."""
        with self._lock:
            found = self._read.pop(number, None)
            if found is None:
                found = read_image(photograph.image)
                while self._read and sum(map(_pixels, self._read.values())) + _pixels(found) > _REMEMBERED:
                    self._read.popitem(last=False)
            self._read[number] = found
            return found

    def key(self, index: int) -> Hashable:
        return self.place(index)

    def label(self, index: int) -> str | None:
        return self._photographs.label(int(self._of[index]))

    def path(self, index: int) -> Path | None:  # noqa: ARG002
        return None  # what is at the photograph's is another picture

    def identities(self, indices: Sequence[int]) -> list[str]:
        found = self._photographs.identities([int(self._of[index]) for index in indices])
        named = []
        for index, identity in zip(indices, found, strict=True):
            name, *more = identity.split(APART)
            named.append(APART.join([self._named(name, index), *more]))
        return named

    def stamp(self, index: int) -> tuple[int, int, int]:
        return self._photographs.stamp(int(self._of[index]))

    def digest(self, index: int, picture: Picture | None = None) -> int:  # noqa: ARG002
        return self._photographs.digest(int(self._of[index]))

    def decoded(self, index: int) -> bool:
        return self._photographs.decoded(int(self._of[index]))

    def only(self, indices: Sequence[int]) -> Source:
        chosen = np.asarray(indices, np.int64)
        used, of = np.unique(self._of[chosen], return_inverse=True)
        return Crops(self._photographs.only(used.tolist()), of, self._boxes[chosen])

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_lock", "_read")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock, self._read = Lock(), OrderedDict()


_REMEMBERED = 2**24
"""Pixels of decoded photographs that are kept for their other crops."""


def _pixels(image: Image.Image) -> int:
    return image.width * image.height
