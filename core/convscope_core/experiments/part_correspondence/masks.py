"""Which pixels a part covers in each picture, and places elsewhere that cover as many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from torch import Tensor

from convscope_core.arguments import require_counts
from convscope_core.datasets import Images
from convscope_core.errors import ArgumentError
from convscope_core.images import read_image
from convscope_core.network import Network

__all__ = ["Fitting", "Mask", "PartMasks", "checked_objects", "checked_parts", "random_places"]

Mask: TypeAlias = npt.NDArray[np.bool_]

PartMasks: TypeAlias = dict[str, dict[int, Mask]]
"""For each part, the mask (H, W) of the network's input in every picture that has it."""


class Fitting:
    """Brings masks of pictures' own pixels into those of the network's input.

    Parameters
    ----------
    net : Network
    images : Images
    """

    def __init__(self, net: Network, images: Images) -> None:
        self.shape = net.input_shape[1:]
        self.count = len(images)
        self._net = net
        self._images = images
        self._sizes: dict[int, tuple[int, int] | None] = {}

    def __call__(self, entry: Any, place: int, what: str) -> Mask:
        """Return the mask (H, W) of the network's input.

        Parameters
        ----------
        entry : bool array
            Of the picture's own pixels, or, where the picture has another size, of the network's input.
        place : int
            The picture.
        what : str
            What it covers, for messages.

        Raises
        ------
        ArgumentError
            When it is of another size or kind, or covers nothing.
        """
        values = _values(entry, what)
        if values.dtype != bool or values.ndim != 2:
            raise ArgumentError(
                f"Expected {what} as a bool array (height, width) or a point (row, column), got values of "
                f"{values.dtype} of shape {values.shape}. Of an array of numbers make one: values > 0."
            )
        if not values.any():
            raise ArgumentError(
                f"Expected a mask of {what} that covers a pixel, got an empty one. Give None where a picture has no "
                "such part."
            )
        own = self._own_size(place)
        if values.shape == own:
            mask = self._net.prepare_mask(values)
        elif values.shape == self.shape:
            mask = values
        else:
            sizes = f"{_by(own)}, or {_by(self.shape)} as the network takes it" if own else _by(self.shape)
            raise ArgumentError(f"Expected the mask of {what} of the picture's size, {sizes}, got {_by(values.shape)}.")
        if not mask.any():
            raise ArgumentError(
                f"Expected a mask of {what} that covers what the network gets of the picture, got one outside of that "
                "crop. Give None where the network cannot see the part."
            )
        return mask

    def _own_size(self, place: int) -> tuple[int, int] | None:
        """Height and width of a picture; None of a tensor, which is the network's input already."""
        if place not in self._sizes:
            image = self._images[place].image
            prepared = isinstance(image, Tensor) and image.is_floating_point()
            self._sizes[place] = None if prepared else read_image(image).size[::-1]
        return self._sizes[place]


def checked_parts(masks: Any, fitted: Fitting, size: int | None) -> PartMasks:
    """Bring masks and points into one form.

    Parameters
    ----------
    masks : sequence, or mapping of str to sequence
        As `corresponding` takes it.
    fitted : Fitting
    size : int or None
        Side of the square about a point.

    Raises
    ------
    ArgumentError
        When a part has fewer than two pictures, or a mask is empty, everything, of another size or of another kind.
    """
    if size is not None:
        require_counts(size=size)
        if size > min(fitted.shape):
            raise ArgumentError(f"Expected a size that fits into {_by(fitted.shape)}, got {size}.")
    parts = masks if isinstance(masks, Mapping) else {"part": masks}
    if not parts:
        raise ArgumentError("Expected masks of at least one part, got none.")
    found: PartMasks = {}
    for name, entries in parts.items():
        listed = _listed(entries, f"masks of {name!r}", fitted.count)
        found[str(name)] = {
            place: _mask(entry, place, f"{name!r} in picture {place}", fitted, size)
            for place, entry in enumerate(listed)
            if entry is not None
        }
        if len(found[str(name)]) < 2:
            raise ArgumentError(
                f"Expected {name!r} in at least two pictures, since its score compares pairs, got "
                f"{len(found[str(name)])}. Give more pictures with their masks."
            )
    return found


def checked_objects(objects: Any, fitted: Fitting) -> list[Mask]:
    """Bring the masks of objects into one form: everywhere, where there is none."""
    everywhere = np.ones(fitted.shape, bool)
    entries = [None] * fitted.count if objects is None else _listed(objects, "objects", fitted.count)
    return [
        everywhere if entry is None else fitted(entry, place, f"the object in picture {place}")
        for place, entry in enumerate(entries)
    ]


def random_places(mask: Mask, on: Mask, count: int, generator: np.random.Generator, what: str) -> npt.NDArray[np.bool_]:
    """The same mask at random places.

    Parameters
    ----------
    mask, on : bool array (H, W)
        What is moved, and where the middle of its box may come to lie. It stays in the picture as a whole, so that
        its area stays the same.
    count : int
        How many, drawn with replacement.
    generator : numpy.random.Generator
    what : str
        What is moved, for the message.

    Returns
    -------
    bool array (count, H, W)

    Raises
    ------
    ArgumentError
        When there is no such place.
    """
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    cut = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    height, width = cut.shape
    free = mask.shape[0] - height + 1, mask.shape[1] - width + 1
    middles = on[height // 2 : height // 2 + free[0], width // 2 : width // 2 + free[1]]
    tops, lefts = np.nonzero(middles)
    if not len(tops):
        raise ArgumentError(
            f"Expected a place for the mask of {what} ({height}x{width}) on its object, got none where it lies within "
            "the picture. Give a smaller mask, or no objects."
        )
    found = np.zeros((count, *mask.shape), bool)
    for one, place in zip(found, generator.integers(len(tops), size=count), strict=True):
        one[tops[place] : tops[place] + height, lefts[place] : lefts[place] + width] = cut
    return found


def _listed(entries: Any, what: str, count: int) -> list[Any]:
    if isinstance(entries, (str, Mapping)) or not isinstance(entries, (Sequence, np.ndarray, Tensor)):
        raise ArgumentError(f"Expected {what} as a list with an entry for each picture, got {type(entries).__name__}.")
    listed = list(entries)
    if len(listed) != count:
        raise ArgumentError(
            f"Expected {what} for {count} pictures, got {len(listed)}. Give None for a picture that has none."
        )
    return listed


def _mask(entry: Any, place: int, what: str, fitted: Fitting, size: int | None) -> Mask:
    values = _values(entry, what)
    if values.shape == (2,) and values.dtype.kind in "iuf":
        return _square(values.tolist(), what, fitted.shape, size)
    mask = fitted(entry, place, what)
    if mask.all():
        raise ArgumentError(f"Expected a mask of {what} that leaves something to see, got one that covers everything.")
    return mask


def _values(entry: Any, what: str) -> npt.NDArray[Any]:
    try:
        return np.asarray(entry.cpu() if isinstance(entry, Tensor) else entry)
    except ValueError as e:
        raise ArgumentError(
            f"Expected {what} as a bool array (height, width) or a point (row, column), got rows of different lengths."
        ) from e


def _square(point: list[float], what: str, shape: tuple[int, int], size: int | None) -> Mask:
    if size is None:
        raise ArgumentError(f"Expected a size of the squares about points, got a point for {what} and no size.")
    if not all(0 <= at < length for at, length in zip(point, shape, strict=True)):
        raise ArgumentError(f"Expected a point for {what} inside {_by(shape)}, got {tuple(point)}.")
    # At a border the square is moved inward, so that all have one area.
    top, left = (min(max(int(at) - size // 2, 0), length - size) for at, length in zip(point, shape, strict=True))
    mask = np.zeros(shape, bool)
    mask[top : top + size, left : left + size] = True
    return mask


def _by(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
