"""What became of each image of a job: seen, with which label, or skipped, and why."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from convscope_core.errors import ArgumentError
from convscope_core.jobs.results import Record

__all__ = ["Ledger", "Skipped"]


class Skipped(NamedTuple):
    """An image that could not be read.

    Attributes
    ----------
    image : int
        Index into all images.
    reason : str
    """

    image: int
    reason: str


class Ledger:
    """What became of each image: mergeable, and cheap to copy.

    Parameters
    ----------
    images : int
        How many there are.

    Attributes
    ----------
    seen : bool array (images,)
        Images that were read and counted; read-only.
    """

    def __init__(self, images: int) -> None:
        self.seen: npt.NDArray[np.bool_] = _frozen(np.zeros(images, np.bool_))
        self._codes: npt.NDArray[np.int32] = np.full(images, -1, np.int32)
        self._names: list[str] = []
        self._numbers: dict[str, int] = {}
        self._reasons: dict[int, str] = {}

    @property
    def count(self) -> int:
        """How many images were seen."""
        return int(self.seen.sum())

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """Images that could not be read, by index."""
        return tuple(Skipped(*entry) for entry in sorted(self._reasons.items()))

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels of the images seen, in alphabetical order."""
        return tuple(sorted(self._names))

    def label(self, image: int) -> str | None:
        """The label of an image that was seen; None if it had none."""
        code = int(self._codes[image])
        return None if code < 0 else self._names[code]

    def mark(self, images: Sequence[int], labels: Iterable[str | None]) -> None:
        """Record images that were seen, with their labels."""
        # New arrays, never written in place: what a copy of the ledger shows stays as it was.
        seen, codes = self.seen.copy(), self._codes.copy()
        for image, label in zip(images, labels, strict=True):
            seen[image] = True
            codes[image] = -1 if label is None else self._number(label)
            self._reasons.pop(image, None)
        self.seen, self._codes = _frozen(seen), codes

    def skip(self, image: int, reason: str) -> None:
        """Record an image that could not be read."""
        if not self.seen[image]:
            self._reasons[image] = reason

    def enter(self, records: Iterable[Record]) -> None:
        """Record what became of the images of shards."""
        entered = list(records)
        images = [image for record in entered for image in record.images]
        self.mark(images, [label for record in entered for label in record.labels])
        for image, reason in (entry for record in entered for entry in record.skipped):
            self.skip(image, reason)

    def merge(self, other: Ledger) -> None:
        """Take in what `other` has recorded about the first images of these; what either has seen is not skipped."""
        seen, codes = self.seen.copy(), self._codes.copy()
        theirs = np.flatnonzero(other.seen)
        seen[theirs] = True
        renumbered = np.array([self._number(name) for name in other._names] + [-1], np.int32)  # -1 stays -1
        codes[theirs] = renumbered[other._codes[theirs]]
        self.seen, self._codes = _frozen(seen), codes
        reasons = {**other._reasons, **self._reasons}
        self._reasons = {image: reason for image, reason in reasons.items() if not seen[image]}

    def grown(self, images: int) -> Ledger:
        """Return the ledger of a longer sequence that begins with these images."""
        other = Ledger(images)
        other.merge(self)
        return other

    def state(self) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
        """Return the state as arrays, and as what JSON holds."""
        arrays: dict[str, npt.NDArray[Any]] = {"seen": self.seen.astype(np.uint8), "codes": self._codes}
        return arrays, {"names": self._names, "reasons": sorted(self._reasons.items())}

    @classmethod
    def of_state(cls, arrays: Mapping[str, npt.NDArray[Any]], settings: Mapping[str, Any]) -> Ledger:
        """Restore a ledger from its `state`."""
        found = cls(len(arrays["seen"]))
        codes, names = arrays["codes"].astype(np.int32), [str(name) for name in settings["names"]]
        if codes.shape != found.seen.shape or codes.max(initial=-1) >= len(names):
            raise ArgumentError("Expected labels of the images seen, got others; the state is damaged.")
        found.seen, found._codes, found._names = _frozen(arrays["seen"].astype(np.bool_)), codes, names
        found._numbers = {name: number for number, name in enumerate(names)}
        found._reasons = {int(image): str(reason) for image, reason in settings["reasons"]}
        return found

    def copy(self) -> Ledger:
        """Return a ledger with the same state, independent of this one."""
        other = copy.copy(self)
        other._names, other._numbers = list(self._names), dict(self._numbers)
        other._reasons = dict(self._reasons)
        return other

    def _number(self, label: str) -> int:
        if label not in self._numbers:
            self._numbers[label] = len(self._names)
            self._names.append(label)
        return self._numbers[label]


def _frozen(array: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    array.flags.writeable = False
    return array
