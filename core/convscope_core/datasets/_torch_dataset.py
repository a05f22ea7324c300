"""Torch data sets as sources of pictures."""

from __future__ import annotations

import bisect
import hashlib
import operator
import os
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from convscope_core.contents import NO_FILE, digest_of, stamp_of
from convscope_core.datasets._sources import Source
from convscope_core.datasets.labels import WrittenLabel, find_classes, identity
from convscope_core.datasets.picture import Picture, is_picture
from convscope_core.errors import ImageError
from convscope_core.locks import Lock

__all__ = ["TorchDataset"]


class TorchDataset(Source):
    """A map-style torch data set; what is known of its items comes from the data set that they lie in (`Item`)."""

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
        found = Item.of(self._dataset, index)
        label = None
        if isinstance(item, (tuple, list)) and len(item) == 2:
            item, label = item[0], found.named(item[1], self._dataset)
        if isinstance(item, Picture):
            return item
        if not is_picture(item):
            raise ImageError(
                f"Expected item {index} of {self.origin} to be a picture or (picture, label), "
                f"got {type(item).__name__}."
            )
        path = self.path(index)
        return Picture(item, path.name if path else f"{type(found.dataset).__name__} {found.index}", label, path)

    def key(self, index: int) -> Hashable:
        found = Item.of(self._dataset, index)
        return id(found.dataset), found.index

    def path(self, index: int) -> Path | None:
        file = Item.of(self._dataset, index).file
        return None if file is None else Path(file)

    def identities(self, indices: Sequence[int]) -> list[str]:
        found = (Item.of(self._dataset, index) for index in indices)
        return [identity(item.name, item.named(item.target, self._dataset), item.settings) for item in found]

    def stamp(self, index: int) -> tuple[int, int, int]:
        file = Item.of(self._dataset, index).file
        return (NO_FILE, 0, 0) if file is None else stamp_of(file)

    def digest(self, index: int, picture: Picture | None = None) -> int:
        if not self.decoded(index):
            return 0
        found, item = picture or self[index], Item.of(self._dataset, index)
        # A label that only decoding tells, such as that of a `target_transform`, is part of what was decoded.
        told = found.label == item.named(item.target, self._dataset)
        return digest_of(found.image) ^ (0 if told else digest_of(f"label {found.label}".encode()))

    def decoded(self, index: int) -> bool:
        return not Item.of(self._dataset, index).settings

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = Lock()


@dataclass(frozen=True)
class Item:
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
    def of(cls, dataset: Any, index: int) -> Item:
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
