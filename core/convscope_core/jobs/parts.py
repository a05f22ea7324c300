"""Mergeable results of pieces of work: merged in one order, and written to bytes.

The parts of all shards are merged as the leaves of a binary tree, so that the whole has the same bits whoever computed
which shard when, and whatever was interrupted between; and so that at any moment only a handful of merged parts exist,
however many shards are done.
"""

from __future__ import annotations

import json
import math
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from itertools import chain, islice
from typing import Any, Final, Protocol, TypeVar

import safetensors.torch
import torch
from torch import Tensor

from convscope_core import spill
from convscope_core.saving import Damage, inflating, understood
from convscope_core.spill import Spill, let_go, lies_in_file

__all__ = ["P", "Packed", "Part", "Place", "folded", "grow", "in_memory", "ordered", "unpacked"]

_ROW: Final = 2**22
"""Bytes of a part that are handed on at once, before they are compressed: SQLite takes longer ones more slowly."""

_PIECE, _TRIAL = 2**20, 2**14
"""Bytes that are compressed or not as one, and of those the ones that are compressed to see whether it pays..."""

_WORTHWHILE = 8.0
"""...which it does by this factor: what shrinks by less is written faster than compressed."""

_NARROW = (torch.int8, torch.int16, torch.int32)
_WIDE = "#int64"
"""How the names end of what is written in fewer bytes than it has: whole numbers, which mostly are small."""

_HEAD = b"\x78\x01"
"""How zlib's format begins."""

_BLOCK = 2**16 - 1
"""Bytes that may stand in that format at once as they are."""

_HEAD_MOST = 10**8
"""Bytes in which safetensors may say what there is: its own limit."""

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


def in_memory(state: Mapping[str, Tensor]) -> int:
    """Return how many bytes of a part's state do not lie in temporary files: see `spill`."""
    return sum(tensor.nbytes for tensor in state.values() if not lies_in_file(tensor))


class Packed:
    """A part as compressed safetensors, made row by row: parts may be larger than memory.

    Parameters
    ----------
    part : Part

    Attributes
    ----------
    size : int
        Bytes before they are compressed.
    count : int
        Rows.
    in_memory : int
        Bytes of the part's state that do not lie in temporary files.
    """

    def __init__(self, part: Part) -> None:
        whole = part.state_dict()
        self.in_memory = in_memory(whole)
        state = dict(_narrowed(*item) for item in whole.items())
        # As safetensors has them: the widest first, so that each begins at a multiple of its size.
        self._state = dict(sorted(state.items(), key=lambda item: (-item[1].element_size(), item[0])))
        head, end = {}, 0
        for name, tensor in self._state.items():
            begin, end = end, end + tensor.nbytes
            head[name] = {"dtype": _TYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
        text = json.dumps(head).encode()
        text += b" " * (-len(text) % 8)
        self._head = len(text).to_bytes(8, "little") + text
        self.size = len(self._head) + end
        self.count = -(-self.size // _ROW)

    def __iter__(self) -> Iterator[bytes]:
        """Give rows of about 4 MB, which joined are what zlib reads."""
        pieces = _deflated(self._written())
        for _ in range(self.count - 1):
            yield b"".join(islice(pieces, _ROW // _PIECE))
        yield b"".join(pieces)

    def _written(self) -> Iterator[memoryview]:
        yield memoryview(self._head)
        for tensor in self._state.values():
            data = tensor.reshape(-1).view(torch.uint8)
            for start in range(0, len(data), _ROW):
                yield data[start : start + _ROW].numpy().data
                let_go(data[start : start + _ROW])


_TYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
    torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip
"""What safetensors calls the types of numbers."""


def _narrowed(name: str, tensor: Tensor) -> tuple[str, Tensor]:
    """Return a tensor in the fewest bytes for its numbers, and its name, which says so."""
    if tensor.dtype == torch.int64 and tensor.numel():
        low, high = (int(each) for each in tensor.aminmax())
        for dtype in _NARROW:
            if torch.iinfo(dtype).min <= low and high <= torch.iinfo(dtype).max:
                return name + _WIDE, tensor.to(dtype).contiguous()
    return name, tensor.contiguous()


def _deflated(data: Iterable[memoryview]) -> Iterator[bytes]:
    """Compress bytes so that `zlib.decompress` reads them: piece by piece those that shrink, the others as they are.

    Counts are mostly zeros, and sums and activations nothing but digits. Gives pieces, each of `_PIECE` bytes; the last
    may be shorter, and what ends the format is with it.
    """
    lead, total = _HEAD, zlib.adler32(b"")
    last = b""
    for piece in _pieces(data):
        if last:
            yield last
        total = zlib.adler32(piece, total)
        trial = piece[:_TRIAL]
        if len(zlib.compress(trial, 1)) * _WORTHWHILE < len(trial):
            writer = zlib.compressobj(1, wbits=-zlib.MAX_WBITS)
            # To the end of a byte, after which the next piece may follow.
            last = b"".join([lead, writer.compress(piece), writer.flush(zlib.Z_SYNC_FLUSH)])
        else:
            last = b"".join([lead, *_as_it_is(piece)])
        lead = b""
    end = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    yield b"".join([lead, last, end.flush(), total.to_bytes(4, "big")])


def _as_it_is(data: bytes | memoryview) -> Iterator[bytes | memoryview]:
    """Give what stands for bytes in zlib's format that are not compressed, which zlib takes longer for."""
    for start in range(0, len(data), _BLOCK):
        block = data[start : start + _BLOCK]
        yield b"\0" + len(block).to_bytes(2, "little") + (_BLOCK - len(block)).to_bytes(2, "little")
        yield block


def _pieces(data: Iterable[memoryview]) -> Iterator[bytes | memoryview]:
    """Cut what comes in any lengths into pieces of one length."""
    rest = bytearray()
    for more in data:
        start = 0
        if rest:
            start = min(len(more), _PIECE - len(rest))
            rest += more[:start]
            if len(rest) == _PIECE:
                yield bytes(rest)
                rest = bytearray()
        while len(more) - start >= _PIECE:
            yield more[start : start + _PIECE]
            start += _PIECE
        rest += more[start:]
    if rest:
        yield bytes(rest)


def unpacked(rows: Iterable[bytes], most: int = sys.maxsize - 1) -> dict[str, Tensor]:
    """Read the state of a part, of at most so many bytes; raises what `saving.guarded` takes for damage.

    One that is large lies in a file: see `spill`.
    """
    found = _read(inflating(rows, most), most)
    wide = {name: tensor for name, tensor in found.items() if name.endswith(_WIDE)}
    if sum((8 if name in wide else tensor.element_size()) * tensor.numel() for name, tensor in found.items()) > most:
        raise Damage(f"it holds more than the {most:,} bytes that it can need")
    return {name.removesuffix(_WIDE): tensor.long() if name in wide else tensor for name, tensor in found.items()}


def _read(data: Iterator[bytes], most: int) -> dict[str, Tensor]:
    """Read what safetensors wrote."""
    begun, length = bytearray(), 0
    for more in data:
        begun += more
        length = int.from_bytes(begun[:8], "little")
        if len(begun) > spill.LARGE and (len(begun) >= 8 + length or length > _HEAD_MOST):
            break
    else:
        return safetensors.torch.load(bytes(begun))
    if length > _HEAD_MOST:
        raise Damage("it says that it has more tensors than it can")
    with understood("what it holds is not told"):
        head = json.loads(begun[8 : 8 + length])
        head.pop("__metadata__", None)
        types = {name: dtype for dtype, name in _TYPES.items()}
        places = {
            name: (types[each["dtype"]], tuple(each["shape"]), *each["data_offsets"]) for name, each in head.items()
        }
        size = 0
        for dtype, shape, begin, end in sorted(places.values(), key=lambda place: place[2:]):
            if begin != size or end - begin != dtype.itemsize * math.prod(shape) or min(shape, default=0) < 0:
                raise Damage("its tensors do not lie where they can")
            if {*map(type, (begin, end, *shape))} != {int} or math.prod(each or 1 for each in shape) >= 2**60:
                raise Damage("its tensors have shapes that none can have")
            size = end
        if size > most:
            raise Damage(f"it holds more than the {most:,} bytes that it can need")
    file = Spill(size)
    whole, place = file.empty((size,), torch.uint8), 0
    for more in filter(len, chain((bytes(begun[8 + length :]),), data)):
        if place + len(more) > size:
            raise Damage("it holds more than it says")
        file.write(whole, place, torch.frombuffer(bytearray(more), dtype=torch.uint8))
        place += len(more)
    if place != size:
        raise Damage("it holds less than it says")
    return {
        # Others may have written numbers where none begins.
        name: whole[begin:end].clone().view(dtype).reshape(shape)
        if begin % dtype.itemsize
        else file.at(begin, shape, dtype)
        for name, (dtype, shape, begin, end) in places.items()
    }
