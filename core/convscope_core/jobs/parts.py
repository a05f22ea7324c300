"""Mergeable results of pieces of work: merged in one order, and written to bytes.

The parts of all shards are merged as the leaves of a binary tree, so that the whole has the same bits whoever computed
which shard when, and whatever was interrupted between; and so that at any moment only a handful of merged parts exist,
however many shards are done.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any, Protocol, TypeVar

import safetensors.torch
from torch import Tensor

from convscope_core.saving import inflated

__all__ = ["P", "Part", "Place", "folded", "grow", "ordered", "packed", "unpacked"]

_TRIAL = 2**20
"""Bytes that are compressed to see whether it pays..."""

_WORTHWHILE = 1.25
"""...which it does by this factor."""

Place = tuple[int, int]
"""Level and position of a node in the tree: it covers the shards from position * 2^level on, 2^level of them."""


class Part(Protocol):
    """A mergeable accumulator."""

    def merge(self, other: Any, /) -> None:
        """Take in all that `other` has seen."""

    def copy(self) -> Any:
        """Return an independent one with the same state."""

    def state_dict(self) -> dict[str, Tensor]:
        """Return the state as plain CPU tensors."""


P = TypeVar("P", bound=Part)


def grow(nodes: MutableMapping[Place, Part], shard: int, part: Part) -> None:
    """Add a leaf to the tree, and merge upwards while both halves are there."""
    level, position = 0, shard
    while (level, position ^ 1) in nodes:
        other = nodes.pop((level, position ^ 1))
        left, right = (other, part) if position % 2 else (part, other)
        part = left.copy()
        # What the merged part replaces may be gone while it is made.
        del other, left
        part.merge(right)
        level, position = level + 1, position // 2
    nodes[level, position] = part


def ordered(nodes: Mapping[Place, Part]) -> tuple[Part, ...]:
    """Return the parts of the nodes in the order of the shards that they cover."""
    return tuple(nodes[place] for place in sorted(nodes, key=lambda place: place[1] << place[0]))


def folded(parts: Sequence[P]) -> P:
    """Merge parts, of which there is at least one, from left to right; they stay as they are."""
    whole: P = parts[0].copy()
    for part in parts[1:]:
        whole.merge(part)
    return whole


def packed(part: Part) -> bytes:
    """Write a part as compressed safetensors."""
    data = safetensors.torch.save({key: tensor.contiguous() for key, tensor in part.state_dict().items()})
    # The lowest level: counts are mostly zeros, and the digits of the rest do not compress at any. Sums of the size of
    # the weights are nothing but digits: those are stored as they are.
    trial = zlib.compress(data[:_TRIAL], 1)
    return zlib.compress(data, 1 if len(trial) * _WORTHWHILE < min(len(data), _TRIAL) else 0)


def unpacked(data: bytes, most: int = sys.maxsize - 1) -> dict[str, Tensor]:
    """Read the state of a part, of at most so many bytes; raises what `saving.guarded` takes for damage."""
    return safetensors.torch.load(inflated(data, most))
