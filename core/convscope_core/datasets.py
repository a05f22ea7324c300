"""Pictures to look at: folders, lists, torch data sets, and the photographs that come with scikit-image."""

from __future__ import annotations

import bisect
import hashlib
import importlib.util
import itertools
import operator
import os
import re
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from convscope_core.arguments import door
from convscope_core.contents import NO_FILE, Trace, digest_of, stamp_of
from convscope_core.crops import WHOLE, Box, Places, laid_out, require_layout
from convscope_core.errors import ArgumentError, ImageError, did_you_mean
from convscope_core.images import SUFFIXES, picture_size, read_image
from convscope_core.locks import Lock

__all__ = ["Images", "Picture", "WrittenLabel", "find_classes", "natural", "sample", "sample_images"]

# What `str.endswith` takes.
_SUFFIXES = tuple(sorted(SUFFIXES))


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture with its name, and what is known about it.

    Attributes
    ----------
    image : Any
        What `Network.prepare` takes: a path, bytes, a PIL image, an array or a tensor. A file is not read
        before it is needed.
    name : str
        For display. Within a folder, the path below it.
    label : str or None
        The class it is known to belong to.
    path : Path or None
        The file it comes from.
    """

    image: Any
    name: str
    label: str | None = None
    path: Path | None = None


class Images(Sequence[Picture]):
    """A sequence of pictures that are read when they are used; made by `Images.of`.

    Slices and sums are `Images` again. Positions in the sequence are how surveys name pictures.

    Attributes
    ----------
    traced : bool
        Whether who reads the pictures is to note what they were (`trace`).
    """

    def __init__(self, source: _Source, traced: bool = False) -> None:
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
                    return cls(_Files.below(path))
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
            return cls(_Given((_picture(path, 0),)))
        if isinstance(source, (np.ndarray, torch.Tensor)) and source.ndim == 4:
            source = list(source)
        if isinstance(source, (list, tuple)):
            if not source:
                raise ArgumentError("Expected at least one picture, got an empty list.")
            return cls(_Given(tuple(_picture(item, index) for index, item in enumerate(source))))
        if _is_picture(source):
            return cls(_Given((_picture(source, 0),)))
        if isinstance(source, torch.utils.data.IterableDataset):
            raise ArgumentError(
                "Expected a map-style data set, with a length and an index, got an IterableDataset, "
                "whose pictures cannot be found again. Collect the pictures in a list."
            )
        if hasattr(source, "__len__") and hasattr(source, "__getitem__") and not isinstance(source, Mapping):
            if len(source) == 0:
                raise ArgumentError(f"Expected at least one picture, got an empty {type(source).__name__}.")
            return cls(_Dataset(source))
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
            return Images(_Chosen(self._source, range(len(self))[index]))
        position = operator.index(index)
        if not -len(self) <= position < len(self):
            raise IndexError(f"Expected an index from 0 to {len(self) - 1}, got {position}.")
        return self._source[position % len(self)]

    def __iter__(self) -> Iterator[Picture]:
        return (self._source[index] for index in range(len(self)))

    def __add__(self, other: object) -> Images:
        """Append pictures: anything that `Images.of` takes."""
        return Images(_Chain(self._source, Images.of(other)._source))

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
        return Images(_Crops(self._source, np.concatenate(photographs), np.concatenate(boxes)))

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
        return self._source.root if isinstance(self._source, _Files) else None

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
        name, _, content = self._source.identities([index])[0].partition(_APART)
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
        return cls(_Files(folder, names))

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


def sample_images() -> Images:
    """Photographs that Python packages carry: colour first, then grey. Nothing is downloaded.

    The first three have clear ImageNet classes: ``chelsea`` (a tabby cat), ``coffee`` (an espresso) and
    ``rocket`` (a missile). Most are scikit-image's (CC0 or public domain, see `skimage.data`). ``china`` and ``flower``
    are scikit-learn's (CC BY 2.0, by danielbuechele and vultilion), ``grace_hopper`` is matplotlib's (public domain,
    US Navy), where these are installed. With `Images.crops` they make a survey of some two hundred pictures.

    Raises
    ------
    ImageError
        When scikit-image is not installed, or carries none of them.
    """
    if _data_folder("skimage", "data") is None:
        raise ImageError(
            "Expected scikit-image, which brings the sample pictures, got none: it is not installed. "
            'pip install "convscope[demo]"'
        )
    found = []
    for package, below, names in _SAMPLES:
        folder = _data_folder(package, below)
        paths = [] if folder is None else [folder / name for name in names]
        found += [Picture(path, path.stem, None, path) for path in paths if path.is_file()]
    if not found:
        raise ImageError(
            "Expected sample photographs in scikit-image, got a build without. "
            'Reinstall it: pip install --force-reinstall "convscope[demo]"'
        )
    return Images(_Given(tuple(found)))


def sample(name: str) -> Picture:
    """One of the `sample_images` by its name, such as ``"chelsea"``.

    Raises
    ------
    ImageError
        When there is no such picture, or scikit-image is not installed.
    """
    pictures = {picture.name: picture for picture in sample_images()}
    if name not in pictures:
        raise ImageError(
            f"Expected the name of a sample picture, got {name!r}.{did_you_mean(str(name), pictures)} "
            f"There are: {', '.join(pictures)}."
        )
    return pictures[name]


_SAMPLES = (
    # colour
    ("skimage", "data", ("chelsea.png", "coffee.png", "rocket.jpg", "astronaut.png", "motorcycle_left.png")),
    ("sklearn", "datasets/images", ("china.jpg", "flower.jpg")),
    ("matplotlib", "mpl-data/sample_data", ("grace_hopper.jpg",)),
    ("skimage", "data", ("hubble_deep_field.jpg", "retina.jpg", "ihc.png")),
    # grey
    ("skimage", "data", ("camera.png", "coins.png", "moon.png", "brick.png", "grass.png", "gravel.png",
                         "clock_motion.png")),
)  # fmt: skip
"""Package, folder in it, and the files of photographs there."""


def _data_folder(package: str, below: str) -> Path | None:
    """A folder in an installed package, which is not imported: that is slow, and loaders of data may download."""
    spec = importlib.util.find_spec(package)
    return (
        None if spec is None or not spec.submodule_search_locations else Path(spec.submodule_search_locations[0], below)
    )


class _Source(ABC):
    """Where the pictures of an `Images` come from."""

    origin: str

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int) -> Picture: ...

    @abstractmethod
    def key(self, index: int) -> Hashable:
        """Identify a picture without reading it, within this session."""

    def label(self, index: int) -> str | None:  # noqa: ARG002
        """The label that a picture was given with, if it was; not what follows from its `key`."""
        return None

    @abstractmethod
    def path(self, index: int) -> Path | None:
        """The file of a picture."""

    @abstractmethod
    def identities(self, indices: Sequence[int]) -> list[str]:
        """Identify pictures without opening them: name, label and content, with `_APART` between."""

    def stamp(self, index: int) -> tuple[int, int, int]:
        """Size and times of a picture's file."""
        path = self.path(index)
        return (NO_FILE, 0, 0) if path is None else stamp_of(path)

    def digest(self, index: int, picture: Picture | None = None) -> int:  # noqa: ARG002
        """Digest of a picture's content, 0 where its identity has it."""
        path = self.path(index)
        return 0 if path is None else digest_of(path)

    def decoded(self, index: int) -> bool:  # noqa: ARG002
        """Whether a picture has to be decoded to know its content."""
        return False

    @property
    def cropped(self) -> bool:
        """Whether any is a crop."""
        return False

    def place(self, index: int) -> tuple[Hashable, Box]:
        """The `key` of the photograph that a picture is of, and its place there."""
        return self.key(index), WHOLE

    def only(self, indices: Sequence[int]) -> _Source:
        """The pictures of `indices`, by themselves."""
        return _Chosen(self, indices)


class _Given(_Source):
    """Pictures that were given one by one."""

    def __init__(self, pictures: tuple[Picture, ...]) -> None:
        self._pictures = pictures
        self.origin = "a list"

    def __len__(self) -> int:
        return len(self._pictures)

    def __getitem__(self, index: int) -> Picture:
        return self._pictures[index]

    def key(self, index: int) -> Hashable:
        picture = self._pictures[index]
        return picture.path or id(picture.image)

    def label(self, index: int) -> str | None:
        return self._pictures[index].label

    def path(self, index: int) -> Path | None:
        return self._pictures[index].path

    def identities(self, indices: Sequence[int]) -> list[str]:
        return [
            _identity(p.name, p.label, "" if self._is_file(index) else f"{digest_of(p.image):016x}")
            for index, p in ((index, self._pictures[index]) for index in indices)
        ]

    def stamp(self, index: int) -> tuple[int, int, int]:
        return super().stamp(index) if self._is_file(index) else (NO_FILE, 0, 0)

    def digest(self, index: int, picture: Picture | None = None) -> int:
        return super().digest(index, picture) if self._is_file(index) else 0

    def _is_file(self, index: int) -> bool:
        """Whether a picture is what its file holds; one that was opened by Pillow is."""
        image, path = self._pictures[index].image, self._pictures[index].path
        if isinstance(image, (str, os.PathLike)):
            return True
        return path is not None and isinstance(image, Image.Image) and getattr(image, "filename", None) == str(path)

    def only(self, indices: Sequence[int]) -> _Source:
        return _Given(tuple(self._pictures[index] for index in indices))


class _Files(_Source):
    """The files of a folder. A million paths are kept as text; a `Picture` is made when asked for."""

    def __init__(self, root: Path, names: Sequence[str]) -> None:
        self.root = root
        self._names = names
        self.origin = f"{str(root)!r}"

    @classmethod
    def below(cls, root: Path) -> _Files:
        names: list[str] = []
        seen: set[str] = set()
        # Data sets are often folders of links to folders, so links are followed, each real folder once.
        for folder, children, files in os.walk(root, onerror=_raised, followlinks=True):
            real = os.path.realpath(folder)
            if real in seen:
                children.clear()
                continue
            seen.add(real)
            children[:] = [child for child in children if not child.startswith(".")]
            below = Path(folder).relative_to(root)
            names += [
                (below / file).as_posix()
                for file in files
                if file.lower().endswith(_SUFFIXES) and not file.startswith(".")
            ]
        if not names:
            raise ImageError(
                f"Expected pictures in the folder {str(root)!r} or below, got no file that ends in "
                f"{', '.join(_SUFFIXES)}."
            )
        return cls(root, sorted(names, key=natural))

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> Picture:
        name = self._names[index]
        path = self.root / name
        label = path.parent.name if "/" in name else None
        return Picture(path, name, label, path)

    def key(self, index: int) -> Hashable:
        return self.path(index)

    def path(self, index: int) -> Path:
        return self.root / self._names[index]

    def identities(self, indices: Sequence[int]) -> list[str]:
        # Names alone: labels follow from them.
        return [self._names[index] for index in indices]

    def stamp(self, index: int) -> tuple[int, int, int]:
        return stamp_of(f"{self.root}{os.sep}{self._names[index]}")  # a Path takes longer than the system's answer

    def only(self, indices: Sequence[int]) -> _Source:
        return _Files(self.root, [self._names[index] for index in indices])


def _raised(error: OSError) -> None:
    """A folder that may not be looked into is not left out and forgotten."""
    raise error


class _Dataset(_Source):
    """A map-style torch data set; what is known of its items comes from the data set that they lie in (`_Item`)."""

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset
        self._lock = Lock()
        self.origin = f"a {type(dataset).__name__}"

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> Picture:
        # Data sets are written for loaders that work in processes, so few are safe in several threads.
        with self._lock:
            item = self._dataset[index]
        found = _Item.of(self._dataset, index)
        label = None
        if isinstance(item, (tuple, list)) and len(item) == 2:
            item, label = item[0], found.named(item[1], self._dataset)
        if isinstance(item, Picture):
            return item
        if not _is_picture(item):
            raise ImageError(
                f"Expected item {index} of {self.origin} to be a picture or (picture, label), "
                f"got {type(item).__name__}."
            )
        path = self.path(index)
        return Picture(item, path.name if path else f"{type(found.dataset).__name__} {found.index}", label, path)

    def key(self, index: int) -> Hashable:
        found = _Item.of(self._dataset, index)
        return id(found.dataset), found.index

    def path(self, index: int) -> Path | None:
        file = _Item.of(self._dataset, index).file
        return None if file is None else Path(file)

    def identities(self, indices: Sequence[int]) -> list[str]:
        found = (_Item.of(self._dataset, index) for index in indices)
        return [_identity(item.name, item.named(item.target, self._dataset), item.settings) for item in found]

    def stamp(self, index: int) -> tuple[int, int, int]:
        file = _Item.of(self._dataset, index).file
        return (NO_FILE, 0, 0) if file is None else stamp_of(file)

    def digest(self, index: int, picture: Picture | None = None) -> int:
        if not self.decoded(index):
            return 0
        found, item = picture or self[index], _Item.of(self._dataset, index)
        # A label that only decoding tells, such as that of a `target_transform`, is part of what was decoded.
        told = found.label == item.named(item.target, self._dataset)
        return digest_of(found.image) ^ (0 if told else digest_of(f"label {found.label}".encode()))

    def decoded(self, index: int) -> bool:
        return not _Item.of(self._dataset, index).settings

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = Lock()


class _Chosen(_Source):
    """Chosen pictures of another source."""

    def __init__(self, source: _Source, indices: Sequence[int]) -> None:
        self._chosen_from = source
        self._indices = indices
        self.origin = source.origin

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Picture:
        return self._chosen_from[self._indices[index]]

    def key(self, index: int) -> Hashable:
        return self._chosen_from.key(self._indices[index])

    def label(self, index: int) -> str | None:
        return self._chosen_from.label(self._indices[index])

    def path(self, index: int) -> Path | None:
        return self._chosen_from.path(self._indices[index])

    def identities(self, indices: Sequence[int]) -> list[str]:
        return self._chosen_from.identities([self._indices[index] for index in indices])

    def stamp(self, index: int) -> tuple[int, int, int]:
        return self._chosen_from.stamp(self._indices[index])

    def digest(self, index: int, picture: Picture | None = None) -> int:
        return self._chosen_from.digest(self._indices[index], picture)

    def decoded(self, index: int) -> bool:
        return self._chosen_from.decoded(self._indices[index])

    @property
    def cropped(self) -> bool:
        return self._chosen_from.cropped

    def place(self, index: int) -> tuple[Hashable, Box]:
        return self._chosen_from.place(self._indices[index])

    def only(self, indices: Sequence[int]) -> _Source:
        return self._chosen_from.only([self._indices[index] for index in indices])


class _Chain(_Source):
    """The pictures of several sources, one after the other."""

    def __init__(self, *sources: _Source) -> None:
        # A chain of chains is laid flat, so that pictures added one by one do not nest.
        self._parts: list[_Source] = []
        for source in sources:
            self._parts += source._parts if isinstance(source, _Chain) else [source]
        self._ends = list(itertools.accumulate(len(part) for part in self._parts))
        self.origin = f"{self._parts[0].origin} and {len(self._parts) - 1} more"

    def __len__(self) -> int:
        return self._ends[-1]

    def _locate(self, index: int) -> tuple[_Source, int]:
        place = bisect.bisect_right(self._ends, index)
        return self._parts[place], index - (self._ends[place - 1] if place else 0)

    def __getitem__(self, index: int) -> Picture:
        part, within = self._locate(index)
        return part[within]

    def key(self, index: int) -> Hashable:
        part, within = self._locate(index)
        return part.key(within)

    def label(self, index: int) -> str | None:
        part, within = self._locate(index)
        return part.label(within)

    def path(self, index: int) -> Path | None:
        part, within = self._locate(index)
        return part.path(within)

    def identities(self, indices: Sequence[int]) -> list[str]:
        return [part.identities([within])[0] for part, within in map(self._locate, indices)]

    def stamp(self, index: int) -> tuple[int, int, int]:
        part, within = self._locate(index)
        return part.stamp(within)

    def digest(self, index: int, picture: Picture | None = None) -> int:
        part, within = self._locate(index)
        return part.digest(within, picture)

    def decoded(self, index: int) -> bool:
        part, within = self._locate(index)
        return part.decoded(within)

    @property
    def cropped(self) -> bool:
        return any(part.cropped for part in self._parts)

    def place(self, index: int) -> tuple[Hashable, Box]:
        part, within = self._locate(index)
        return part.place(within)


class _Crops(_Source):
    """Crops of the pictures of another source; whole where a picture's size is not known."""

    def __init__(self, photographs: _Source, of: npt.NDArray[np.int64], boxes: npt.NDArray[np.int32]) -> None:
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
            name, *more = identity.split(_APART)
            named.append(_APART.join([self._named(name, index), *more]))
        return named

    def stamp(self, index: int) -> tuple[int, int, int]:
        return self._photographs.stamp(int(self._of[index]))

    def digest(self, index: int, picture: Picture | None = None) -> int:  # noqa: ARG002
        return self._photographs.digest(int(self._of[index]))

    def decoded(self, index: int) -> bool:
        return self._photographs.decoded(int(self._of[index]))

    def only(self, indices: Sequence[int]) -> _Source:
        chosen = np.asarray(indices, np.int64)
        used, of = np.unique(self._of[chosen], return_inverse=True)
        return _Crops(self._photographs.only(used.tolist()), of, self._boxes[chosen])

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_lock", "_read")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock, self._read = Lock(), OrderedDict()


_REMEMBERED = 2**24
"""Pixels of decoded photographs that are kept for their other crops."""


def _pixels(image: Image.Image) -> int:
    return image.width * image.height


class WrittenLabel(str):
    """A label that its data set keeps as a number without a name, or as anything else (one-hot, a float), as text.

    It is text like any other to look at; who learns from labels has to tell 10 from "10", and a class from neither.

    Attributes
    ----------
    number : int or None
        The number that it is; None for anything else.
    """

    number: int | None

    def __new__(cls, label: object) -> WrittenLabel:
        """Write a label as text."""
        made = super().__new__(cls, label)
        made.number = label if isinstance(label, int) else None
        return made


_APART = "\x1f"
"""Between name, label and content in an identity."""


def _identity(name: str, label: str | None, content: str) -> str:
    return f"{name}{_APART}{'' if label is None else label}{_APART}{content}"


def described(identity: str) -> str:
    """Write an identity in words: 'name' labelled 'label'."""
    name, *more = identity.split(_APART)
    return f"{name!r}" + (f" labelled {more[0]!r}" if more and more[0] else "")


@dataclass(frozen=True)
class _Item:
    """An item of a data set, found behind any `Subset` and `ConcatDataset`.

    Attributes
    ----------
    dataset : data set
        The one that it lies in.
    index : int
        Its place there.
    way : str
        Which parts of concatenations lead to it.
    """

    dataset: Any
    index: int
    way: str

    @classmethod
    def of(cls, dataset: Any, index: int) -> _Item:
        way = ""
        while isinstance(dataset, (torch.utils.data.Subset, torch.utils.data.ConcatDataset)):
            if isinstance(dataset, torch.utils.data.Subset):
                dataset, index = dataset.dataset, int(dataset.indices[index])
            else:
                part = bisect.bisect_right(dataset.cumulative_sizes, index)
                index -= dataset.cumulative_sizes[part - 1] if part else 0
                dataset, way = dataset.datasets[part], f"{way}{part}/"
            index = index + len(dataset) if index < 0 else index
        return cls(dataset, index, way)

    @property
    def _sample(self) -> tuple[Any, Any] | None:
        """(file, target) in a folder data set of torchvision."""
        samples = getattr(self.dataset, "samples", None)
        if isinstance(samples, list) and len(samples) == len(self.dataset):
            sample = samples[self.index]
            if isinstance(sample, tuple) and len(sample) == 2:
                return sample
        return None

    @property
    def file(self) -> str | None:
        """The file behind it."""
        file = (self._sample or (None, None))[0]
        return os.fspath(file) if isinstance(file, (str, os.PathLike)) else None

    @property
    def name(self) -> str:
        """The last folder and name of its file, or the data set's kind and its place there."""
        if self.file is None:
            return f"{self.way}{type(self.dataset).__name__} {self.index}"
        folder, name = os.path.split(self.file)
        return f"{self.way}{os.path.basename(folder)}/{name}"

    @property
    def settings(self) -> str:
        """What a computed picture depends on, of a data set that states it as its ``identity``; empty otherwise."""
        identity = getattr(self.dataset, "identity", None)
        if not isinstance(identity, str):
            return ""
        return hashlib.blake2b(f"{identity}, {self.index}".encode(), digest_size=8).hexdigest()

    @property
    def target(self) -> Any:
        """The label as the data set keeps it, where it can be known without decoding; else None."""
        if self._sample is not None:
            return self._sample[1]
        if isinstance(self.dataset, torch.utils.data.TensorDataset):
            targets = self.dataset.tensors[1] if len(self.dataset.tensors) == 2 else None
        else:  # as torchvision's data sets call them
            named = (getattr(self.dataset, name, None) for name in ("targets", "labels", "_labels"))
            targets = next((one for one in named if one is not None), None)
        sized = isinstance(targets, (list, tuple, np.ndarray, torch.Tensor)) and len(targets) == len(self.dataset)
        return targets[self.index] if sized and targets is not None else None

    def named(self, label: Any, outer: Any) -> str | None:
        """A label as text: the name of the class where the data set, or the one around it, has names."""
        if label is None or isinstance(label, str):
            return label
        try:
            number = operator.index(label)
        except TypeError:
            return WrittenLabel(label)
        classes = find_classes(self.dataset) or find_classes(outer)
        return str(classes[number]) if classes is not None and 0 <= number < len(classes) else WrittenLabel(number)


def _is_picture(item: Any) -> bool:
    if isinstance(item, (np.ndarray, torch.Tensor)):
        return item.ndim in (2, 3, 4)
    return isinstance(item, (Picture, str, os.PathLike, bytes, bytearray, memoryview, Image.Image))


def _picture(item: Any, index: int) -> Picture:
    """Wrap one picture of a list."""
    if isinstance(item, Picture):
        return item
    if not _is_picture(item):
        kind = f"shape {tuple(item.shape)}" if hasattr(item, "shape") else type(item).__name__
        raise ArgumentError(
            "Expected a list of paths, bytes, PIL images, arrays (H, W[, C]) or tensors (C, H, W), "
            f"got {kind} in place {index}. For pictures with labels make each a Picture(image, name, label)."
        )
    if isinstance(item, (str, os.PathLike)):
        path = Path(item).expanduser()
        return Picture(path, path.name, None, path)
    file = getattr(item, "filename", None)
    path_of_image = Path(file) if isinstance(file, str) and file else None
    return Picture(item, path_of_image.name if path_of_image else f"picture {index}", None, path_of_image)


def natural(name: str) -> list[tuple[str, int]]:
    """Sort key in which numbers count by value; the plain name decides between equals."""
    parts = re.split(r"(\d+)", name.casefold())
    return [
        *((text, int(number or 0)) for text, number in zip(parts[::2], [*parts[1::2], ""], strict=True)),
        (name, 0),
    ]


def find_classes(dataset: Any) -> Sequence[Any] | None:
    """Class names of a data set in the order of its numbers, also through `torch.utils.data.Subset`; None without."""
    while dataset is not None:
        classes = getattr(dataset, "classes", None)
        if isinstance(classes, (list, tuple)):
            return classes
        dataset = getattr(dataset, "dataset", None)
    return None
