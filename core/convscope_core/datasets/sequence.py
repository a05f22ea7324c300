"""A sequence of pictures, whatever they come from."""

from __future__ import annotations

import operator
import os
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import torch

from convscope_core.arguments import door
from convscope_core.contents import Trace
from convscope_core.crops import WHOLE, Box, Places, laid_out, require_layout
from convscope_core.datasets._cropped import Crops
from convscope_core.datasets._sources import Chain, Chosen, Files, Given, Source
from convscope_core.datasets._torch_dataset import TorchDataset
from convscope_core.datasets.labels import APART, described
from convscope_core.datasets.picture import Picture, as_picture, is_picture
from convscope_core.errors import ArgumentError, ImageError
from convscope_core.images import picture_size

__all__ = ["Images"]


class Images(Sequence[Picture]):
    """A sequence of pictures that are read when they are used; made by `Images.of`.

    Slices and sums are `Images` again. Positions in the sequence are how surveys name pictures.

    Attributes
    ----------
    traced : bool
        Whether who reads the pictures is to note what they were (`trace`).
    """

    def __init__(self, source: Source, traced: bool = False) -> None:
        self._source = source
        self.traced = traced

    @classmethod
    def of(cls, source: Any) -> Images:
        """Make a sequence of pictures out of nearly anything that holds pictures.

        Parameters
        ----------
        source : path, picture, sequence, torch data set or Images
            - A folder: all pictures in it and below, by file name ending (`convscope_core.images.SUFFIXES`),
              in natural order (``2.jpg`` before ``10.jpg``); hidden files and folders are left out. A picture
              in a sub-folder has the name of the folder it lies in as its label, one directly in the folder
              has none.
            - One picture: a path, bytes, a PIL image, an array (H, W[, C]) or tensor (C, H, W), a `Picture`.
            - A list or tuple of pictures of any of these kinds; an array or tensor with one more dimension in
              front.
            - A generator or other iterator of pictures: it is read to its end at once, and what it gave is kept, since
              pictures have to be found again. Give files rather than decoded pictures where there are many.
            - A map-style torch data set of pictures or of (picture, label); its ``classes``, where it has
              them, turn numbers into labels. Float tensors, here as anywhere, are taken as normalised already:
              give a data set whose transform normalises as the network expects, or that has none.

        Returns
        -------
        Images
            Nothing is decoded yet, so a damaged file shows only when it is used.

        Raises
        ------
        ImageError
            When a file or folder does not exist, or a folder holds no picture.
        ArgumentError
            When the source is of another kind, or an empty list.
        """
        if isinstance(source, Images):
            return source
        if isinstance(source, (str, os.PathLike)):
            path = Path(source).expanduser()
            try:
                if path.is_dir():
                    return cls(Files.below(path))
                there = path.exists()
            except OSError as error:
                raise ImageError(
                    f"Expected a picture or a folder of pictures that may be read, got {str(path)!r}: "
                    f"{error.strerror or error} ({error.filename!r}). Change its permissions."
                ) from error
            if not there:
                raise ImageError(
                    f"Expected a picture or a folder of pictures, got {str(path)!r}, which does not exist. "
                    "Check the path."
                )
            return cls(Given((as_picture(path, 0),)))
        if isinstance(source, (np.ndarray, torch.Tensor)) and source.ndim == 4:
            source = list(source)
        if isinstance(source, (list, tuple)):
            if not source:
                raise ArgumentError("Expected at least one picture, got an empty list.")
            return cls(Given(tuple(as_picture(item, index) for index, item in enumerate(source))))
        if is_picture(source):
            return cls(Given((as_picture(source, 0),)))
        if isinstance(source, torch.utils.data.IterableDataset):
            raise ArgumentError(
                "Expected a map-style data set, with a length and an index, got an IterableDataset, "
                "whose pictures cannot be found again. Collect the pictures in a list."
            )
        if hasattr(source, "__len__") and hasattr(source, "__getitem__") and not isinstance(source, Mapping):
            if len(source) == 0:
                raise ArgumentError(f"Expected at least one picture, got an empty {type(source).__name__}.")
            return cls(TorchDataset(source))
        if isinstance(source, Iterator):
            return cls.of(list(source))
        hint = " Collect the pictures in a list first: list(...)." if isinstance(source, Iterable) else ""
        raise ArgumentError(
            "Expected a folder, a picture, a list of pictures or a torch data set of (picture, label), "
            f"got {type(source).__name__}.{hint}"
        )

    def __len__(self) -> int:
        return len(self._source)

    @overload
    def __getitem__(self, index: int) -> Picture: ...
    @overload
    def __getitem__(self, index: slice) -> Images: ...
    def __getitem__(self, index: int | slice) -> Picture | Images:
        if isinstance(index, slice):
            return Images(Chosen(self._source, range(len(self))[index]))
        position = operator.index(index)
        if not -len(self) <= position < len(self):
            raise IndexError(f"Expected an index from 0 to {len(self) - 1}, got {position}.")
        return self._source[position % len(self)]

    def __iter__(self) -> Iterator[Picture]:
        return (self._source[index] for index in range(len(self)))

    def __add__(self, other: object) -> Images:
        """Append pictures: anything that `Images.of` takes."""
        return Images(Chain(self._source, Images.of(other)._source))

    def __repr__(self) -> str:
        return f"Images({len(self)} from {self._source.origin})"

    def only(self, indices: Sequence[int], *, traced: bool = False) -> Images:
        """Return the pictures of `indices`, in this order, without what the others need: small to pickle."""
        return Images(self._source.only(indices), traced)

    # -- crops --

    @door
    def crops(self, sides: Sequence[float] = (1, 1 / 2), overlap: float = 0.5) -> Images:
        """Cut square crops at several scales out of each picture, as pictures of their own.

        With few photographs, a unit's strongest pictures are soon all of them. Crops give a survey many places and
        scales to choose from. Of crops that share pixels a survey shows the strongest only, for each unit.

        Parameters
        ----------
        sides : sequence of float, default (1, 1/2)
            Side of the crops as a share of the picture's shorter side, above 0 and at most 1.
        overlap : float, default 0.5
            Share of its side that a crop has in common with the next, at least; from 0 to below 1. The crops of each
            side cover the picture.

        Returns
        -------
        Images
            The crops of the first picture, largest first, from top to bottom and left to right, then those of the next.
            A crop has the label of its picture, and the picture's name with the rows and columns that it shows:
            ``chelsea [75:225, 0:150]``. A file that cannot be read is one picture, so that it is said when it is used.

        Raises
        ------
        ArgumentError
            When a side or the overlap is out of range, these are crops already, or a picture is a tensor of floats,
            which is no picture but what a network takes.

        Notes
        -----
        The sizes of all pictures are read at once: of files the first bytes, of a data set whole items.

        Examples
        --------
        >>> cs.survey(net, cs.sample_images().crops())
        """
        chosen = require_layout(sides, overlap)
        if self.cropped:
            raise ArgumentError(
                f"Expected whole pictures to cut crops from, got {self!r}. Cut the pictures themselves."
            )
        boxes, photographs = [], []
        for index, picture in enumerate(self):
            try:
                width, height = picture_size(picture.image)
                found = laid_out(height, width, chosen, overlap)
            except ImageError:
                if isinstance(picture.image, torch.Tensor) and picture.image.is_floating_point():
                    raise ArgumentError(
                        f"Expected pictures to cut crops from, got {picture.name!r}, a tensor of floats, which is what "
                        "a network takes. Give uint8 tensors, or a data set without the transform."
                    ) from None
                found = np.array([WHOLE], np.int32)
            boxes.append(found)
            photographs.append(np.full(len(found), index))
        return Images(Crops(self._source, np.concatenate(photographs), np.concatenate(boxes)))

    @property
    def cropped(self) -> bool:
        """Whether any of them is a crop of another picture (`crops`)."""
        return self._source.cropped

    @cached_property
    def places(self) -> Places:
        """Where in which photograph each picture lies. One that is no crop is a photograph."""
        found = [self._source.place(index) for index in range(len(self))]
        numbers: dict[Hashable, int] = {}
        return Places([numbers.setdefault(key, len(numbers)) for key, _ in found], [box for _, box in found])

    def crop(self, index: int) -> Box | None:
        """Top, left, bottom and right of a crop in its photograph, pixels; None of a picture that is no crop."""
        box = self._source.place(index)[1]
        return None if box == WHOLE else box

    @property
    def folder(self) -> Path | None:
        """The folder that the pictures were found in, or None."""
        return self._source.root if isinstance(self._source, Files) else None

    # -- what they are --

    def identity(self, index: int) -> tuple[str, str]:
        """Name a picture and its content, without opening it: the same in another session, and on another machine.

        Returns
        -------
        name : str
            A file's path below the folder that was given, or its file name; of a data set its kind and the item's
            place in it, behind any `torch.utils.data.Subset` and `ConcatDataset`; else the picture's name.
        content : str
            The label, and a digest of a picture in memory, or of a data set's ``identity`` and the place. Files, and
            items of data sets without an ``identity``, are known by their `trace`.
        """
        name, _, content = self._source.identities([index])[0].partition(APART)
        return name, content

    def identities(self, indices: Sequence[int]) -> list[str]:
        """Return name and content of pictures (`identity`) as one text each."""
        return self._source.identities(indices)

    def stamps(self, indices: Sequence[int]) -> npt.NDArray[np.int64]:
        """Return size and times of pictures' files, int64 (n, 3), see `Trace`; nothing is opened."""
        return np.array([self._source.stamp(index) for index in indices], np.int64).reshape(-1, 3)

    def trace(self, index: int, picture: Picture | None = None) -> Trace:
        """Note what a picture is now.

        Parameters
        ----------
        index : int
        picture : Picture, optional
            The picture itself, where it is at hand already.

        Raises
        ------
        OSError
            When its file cannot be read; whatever a data set raises.
        """
        stamp = self._source.stamp(index)
        return Trace(*stamp, self._source.digest(index, picture))

    def decoded(self, index: int) -> bool:
        """Whether a picture's content is known by decoding it alone: an item of a data set without ``identity``."""
        return self._source.decoded(index)

    def described(self, index: int) -> str:
        """A picture's identity in words."""
        return described(self._source.identities([index])[0])

    def path(self, index: int) -> Path | None:
        """The file that a picture comes from, or None; nothing is read."""
        return self._source.path(index)

    @classmethod
    def found(cls, folder: Path, names: Sequence[str]) -> Images:
        """The pictures of a folder whose names are known already: the folder is not looked into.

        Raises
        ------
        ArgumentError
            When a name leads out of the folder.
        """
        for name in names:
            out = os.path.isabs(name) or os.path.splitdrive(name)[0] or (".." in name and ".." in Path(name).parts)
            if out or "\0" in name:
                raise ArgumentError(f"Expected names of pictures below {str(folder)!r}, got {name!r}, which leads out.")
        return cls(Files(folder, names))

    def starts_with(self, other: Images) -> bool:
        """Return whether the first pictures of this sequence are those of `other`, in the same places.

        Files are the same when their paths are, other pictures when they are the same object; and all have the labels
        that they were given with. Nothing is read.
        """
        if len(other) > len(self):
            return False
        if self._source is other._source:
            return True
        return all(
            self._source.key(index) == other._source.key(index)
            and self._source.label(index) == other._source.label(index)
            for index in range(len(other))
        )
