"""Whether pictures are those that a store's results are of."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from convscope_core.contents import MISSING
from convscope_core.datasets import Images, described
from convscope_core.errors import ArgumentError

__all__ = ["digest_of_identities", "require_same_contents", "require_same_identities", "spread"]

_READ = 1024
"""Files with other times that are read at most, to see whether their content is the same: beyond, a random choice."""

_DECODED = 8
"""Items of data sets that are decoded, to see whether they are the same."""

_CURE = "Give the pictures that it was made with, another file for the store, or delete the store."


def digest_of_identities(identities: Sequence[str]) -> bytes:
    """Return 16 bytes by which a list of identities is known."""
    return hashlib.blake2b("\0".join(identities).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def require_same_identities(
    made: str, indices: Sequence[int], theirs: Sequence[str], mine: Sequence[str], cure: str = _CURE
) -> None:
    """Raise ArgumentError that names the first picture that has another name, label or content than it had.

    Parameters
    ----------
    made : str
        What was made with the pictures, for the message: "the store 'x.survey'".
    indices : sequence of int
    theirs, mine : sequence of str
        `Images.identities` of then and of now.
    cure : str
        What to do, as a sentence.
    """
    for index, was, now in zip(indices, theirs, mine, strict=True):
        if was != now:
            here, there = described(now), described(was)
            changed = f"was {there} and is {here}" if here != there else f"{there} has another content"
            raise _changed(made, index, changed, cure)


def require_same_contents(
    made: str, images: Images, indices: npt.NDArray[np.int64], traces: Any, cure: str = _CURE
) -> None:
    """Raise ArgumentError unless pictures that were read for a result have the content that they had then.

    Every file is asked for its size and times, which costs about two microseconds each on a disk of the machine. Those
    with another time are read, up to 1024 of them; of items of data sets, which only decoding tells, eight are decoded.
    Files that are not there now are no difference.

    Parameters
    ----------
    made : str
        What was made with the pictures, for the message: "the store 'x.survey'".
    images : Images
        All pictures.
    indices : int64 array (n,)
        Those that were read.
    traces : structured array (n,) of `TRACES`
        What they were.
    cure : str
        What to do, as a sentence.
    """
    stamps = images.stamps(indices.tolist())
    there = stamps[:, 0] != MISSING
    other = there & (stamps[:, 0] != traces["size"])
    for place in np.flatnonzero(other & (traces["size"] != MISSING))[:1].tolist():
        was, now = (_sized(size) for size in (int(traces["size"][place]), int(stamps[place, 0])))
        name = images.described(int(indices[place]))
        raise _changed(made, int(indices[place]), f"was {name}{was} and is {name}{now}", cure)
    moved = there & ((stamps[:, 1] != traces["modified"]) | (stamps[:, 2] != traces["changed"]))
    # What a data set makes of a file, which may be as it was, is not to be seen in the file.
    decoded = np.fromiter((images.decoded(index) for index in indices.tolist()), np.bool_, len(indices))
    known = ~decoded | (traces["digest"] != 0)
    suspects = np.flatnonzero(moved & known)
    if len(suspects) > _READ:
        suspects = np.random.default_rng().choice(suspects, _READ, replace=False)
    # Also where a data set names a file that is not there: what is there for it may lie in an archive or on a network.
    opaque = np.flatnonzero(decoded & known)
    if len(opaque):
        opaque = opaque[spread(len(opaque))]
    for place in np.unique(np.concatenate([suspects, opaque])).tolist():
        index = int(indices[place])
        try:
            digest = images.trace(index).digest
        except Exception:  # it cannot be read now: a data set may raise anything
            continue
        if digest != traces["digest"][place]:
            name = images.described(index)
            hint = " or label now. If the data set draws at random, leave that out." if decoded[place] else " now."
            raise _changed(made, index, f"{name} has another content{hint}", cure)


def spread(count: int) -> npt.NDArray[np.int64]:
    """Return which of so many items of data sets are decoded, to see whether all are the same."""
    return np.unique(np.linspace(0, count - 1, _DECODED).astype(np.int64)) if count else np.empty(0, np.int64)


def _changed(made: str, index: int, how: str, cure: str) -> ArgumentError:
    return ArgumentError(
        f"Expected the pictures that {made} was made with, got others: picture {index} {how.rstrip('.')}. {cure}"
    )


def _sized(size: int) -> str:
    return f" ({size} bytes)" if size >= 0 else ""
