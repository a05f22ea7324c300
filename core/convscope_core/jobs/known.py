"""What the pictures of a result were, by which they are known again: in a later call, session, or place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from convscope_core.contents import MISSING, TRACES, Trace
from convscope_core.datasets import Images
from convscope_core.errors import ArgumentError
from convscope_core.jobs.sameness import require_same_contents, require_same_identities, spread

__all__ = ["KnownPictures"]

_CURE = "Give those that were surveyed, in the same order, or make it again."


@dataclass(frozen=True, eq=False)
class KnownPictures:
    """What pictures were when they were surveyed, as a store of a survey keeps it.

    Attributes
    ----------
    identities : tuple of str
        Name, label and content of each, see `Images.identity`.
    traces : structured array (n,) of `TRACES`
        Of each what its file was. Items of data sets that have no ``identity`` are known by a few that are decoded.
    """

    identities: tuple[str, ...]
    traces: npt.NDArray[Any]

    @classmethod
    def of(cls, images: Images) -> KnownPictures:
        """Note what pictures are now: files are read, about a millisecond a megabyte, but not decoded."""
        count = len(images)
        decoded = [index for index in range(count) if images.decoded(index)]
        chosen = {decoded[place] for place in spread(len(decoded)).tolist()}
        traces = np.zeros(count, TRACES)
        for index in range(count):
            try:
                told = index in chosen or not images.decoded(index)
                found = images.trace(index) if told else Trace._make([*images.stamps([index])[0].tolist(), 0])
            except Exception:  # it cannot be read: the survey says so, and leaves it out
                found = Trace(MISSING, 0, 0, 0)
            traces[index] = found
        return cls(tuple(images.identities(range(count))), traces)

    def require_names(self, images: Images, made: str) -> None:
        """Raise ArgumentError unless pictures have these names, labels and contents, as far as names tell.

        Parameters
        ----------
        images : Images
        made : str
            What was made with them, for the message.
        """
        count = len(self.identities)
        if len(images) != count:
            raise ArgumentError(
                f"Expected the {count} pictures that {made} is of, the same images in the same places, got {images!r}. "
                f"{_CURE}"
            )
        require_same_identities(made, range(count), self.identities, images.identities(range(count)), _CURE)

    def require_contents(self, images: Images, made: str, seen: npt.NDArray[np.bool_]) -> None:
        """Raise ArgumentError, which names a picture, unless those that were read (`seen`) are what they were."""
        read = np.flatnonzero(seen & (self.traces["size"] != MISSING))
        require_same_contents(made, images, read, self.traces[read], _CURE)
