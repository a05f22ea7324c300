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
import torch
from torch import Tensor

from convscope_core.saving import Damage, inflated

__all__ = ["P", "Part", "Place", "folded", "grow", "ordered", "packed", "unpacked"]

_PIECE, _TRIAL = 2**20, 2**14
"""Bytes that are compressed or not as one, and of those the ones that are compressed to see whether it pays..."""

_WORTHWHILE = 2.0
"""...which it does by this factor: digits, which shrink by a third, are written faster than they are compressed."""

_NARROW = (torch.int8, torch.int16, torch.int32)
_WIDE = "#int64"
"""How the names end of what is written in fewer bytes than it has: whole numbers, which mostly are small."""

_HEAD = b"\x78\x01"
"""How zlib's format begins."""

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
    return _deflated(safetensors.torch.save(dict(_narrowed(*item) for item in part.state_dict().items())))


def _narrowed(name: str, tensor: Tensor) -> tuple[str, Tensor]:
    """Return a tensor in the fewest bytes for its numbers, and its name, which says so."""
    if tensor.dtype == torch.int64 and tensor.numel():
        low, high = (int(each) for each in tensor.aminmax())
        for dtype in _NARROW:
            if torch.iinfo(dtype).min <= low and high <= torch.iinfo(dtype).max:
                return name + _WIDE, tensor.to(dtype).contiguous()
    return name, tensor.contiguous()


def _deflated(data: bytes) -> bytes:
    """Compress bytes so that `zlib.decompress` reads them: piece by piece those that shrink, the others as they are.

    Counts are mostly zeros, and sums and activations nothing but digits.
    """
    view = memoryview(data)
    found = [_HEAD]
    for start in range(0, len(data), _PIECE):
        piece = view[start : start + _PIECE]
        trial = piece[:_TRIAL]
        pays = len(zlib.compress(trial, 1)) * _WORTHWHILE < len(trial)
        writer = zlib.compressobj(1 if pays else 0, wbits=-zlib.MAX_WBITS)
        # To the end of a byte, after which the next piece may follow.
        found += [writer.compress(piece), writer.flush(zlib.Z_SYNC_FLUSH)]
    end = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return b"".join([*found, end.flush(), zlib.adler32(data).to_bytes(4, "big")])


def unpacked(data: bytes, most: int = sys.maxsize - 1) -> dict[str, Tensor]:
    """Read the state of a part, of at most so many bytes; raises what `saving.guarded` takes for damage."""
    found = safetensors.torch.load(inflated(data, most))
    wide = {name: tensor for name, tensor in found.items() if name.endswith(_WIDE)}
    if sum((8 if name in wide else tensor.element_size()) * tensor.numel() for name, tensor in found.items()) > most:
        raise Damage(f"it holds more than the {most:,} bytes that it can need")
    return {name.removesuffix(_WIDE): tensor.long() if name in wide else tensor for name, tensor in found.items()}
