"""Where the pictures of a sequence come from: a list, a folder, parts and sums of others."""

from __future__ import annotations

import bisect
import itertools
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from convscope_core.contents import NO_FILE, digest_of, stamp_of
from convscope_core.crops import WHOLE, Box
from convscope_core.datasets.labels import identity
from convscope_core.datasets.picture import Picture
from convscope_core.errors import ImageError
from convscope_core.images import SUFFIXES

__all__ = ["Chain", "Chosen", "Files", "Given", "Source", "natural"]

_SUFFIXES = tuple(sorted(SUFFIXES))

_MANY = 32
"""Pictures in memory from which on digests of them are made in several threads."""


_UNREADABLE = "unreadable"


class Source(ABC):
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
        """Identify pictures without opening them: name, label and content, with `APART` between."""

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

    def only(self, indices: Sequence[int]) -> Source:
        """The pictures of `indices`, by themselves."""
        return Chosen(self, indices)


def _content(image: Any) -> str:
    """Return a digest of a picture in memory; of one that cannot be read, which is left out later, that it cannot."""
    try:
        return f"{digest_of(image):016x}"
    except MemoryError:
        raise
    except Exception:  # PIL raises what it likes
        return _UNREADABLE


class Given(Source):
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
        pictures = [self._pictures[index] for index in indices]
        files = list(map(self._is_file, indices))
        contents = self._contents([p.image for p, is_file in zip(pictures, files, strict=True) if not is_file])
        return [
            identity(p.name, p.label, "" if is_file else contents[id(p.image)])
            for p, is_file in zip(pictures, files, strict=True)
        ]

    @staticmethod
    def _contents(given: Sequence[Any]) -> dict[int, str]:
        """Return, by their `id`, what tells the content of pictures in memory: each is looked at once."""
        images = {id(image): image for image in given}
        # A digest of many decoded pictures takes one thread longer than a GPU takes to look at them. PIL may read
        # its pictures only now, and several of one file, which threads must not do.
        apart = {key: image for key, image in images.items() if isinstance(image, (torch.Tensor, np.ndarray))}
        if len(apart) < _MANY:
            apart = {}
        found = {key: _content(image) for key, image in images.items() if key not in apart}
        if apart:
            with ThreadPoolExecutor(min(16, os.cpu_count() or 1), thread_name_prefix="convscope-digest") as pool:
                found |= zip(apart, pool.map(_content, apart.values()), strict=True)
        return found

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

    def only(self, indices: Sequence[int]) -> Source:
        return Given(tuple(self._pictures[index] for index in indices))


class Files(Source):
    """The files of a folder. A million paths are kept as text; a `Picture` is made when asked for."""

    def __init__(self, root: Path, names: Sequence[str]) -> None:
        self.root = root
        self._names = names
        self.origin = f"{str(root)!r}"

    @classmethod
    def below(cls, root: Path) -> Files:
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

    def only(self, indices: Sequence[int]) -> Source:
        return Files(self.root, [self._names[index] for index in indices])


def _raised(error: OSError) -> None:
    """A folder that may not be looked into is not left out and forgotten."""
    raise error


class Chosen(Source):
    """Chosen pictures of another source."""

    def __init__(self, source: Source, indices: Sequence[int]) -> None:
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

    def only(self, indices: Sequence[int]) -> Source:
        return self._chosen_from.only([self._indices[index] for index in indices])


class Chain(Source):
    """The pictures of several sources, one after the other."""

    def __init__(self, *sources: Source) -> None:
        # A chain of chains is laid flat, so that pictures added one by one do not nest.
        self._parts: list[Source] = []
        for source in sources:
            self._parts += source._parts if isinstance(source, Chain) else [source]
        self._ends = list(itertools.accumulate(len(part) for part in self._parts))
        self.origin = f"{self._parts[0].origin} and {len(self._parts) - 1} more"

    def __len__(self) -> int:
        return self._ends[-1]

    def _locate(self, index: int) -> tuple[Source, int]:
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
        found: list[str] = []
        for part, places in itertools.groupby(map(self._locate, indices), key=itemgetter(0)):
            found += part.identities([within for _, within in places])
        return found

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


def natural(name: str) -> list[tuple[str, int]]:
    """Sort key in which numbers count by value; the plain name decides between equals."""
    parts = re.split(r"(\d+)", name.casefold())
    return [
        *((text, int(number or 0)) for text, number in zip(parts[::2], [*parts[1::2], ""], strict=True)),
        (name, 0),
    ]
