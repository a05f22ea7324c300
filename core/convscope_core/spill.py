"""Tensors too many for memory: in a file that has no name, mapped, so that the system reads what is asked for.

They are written once, block by block, and read like any others. They are never changed: what is written to a file that
is mapped ends the process where the disk is full, what is written to the file itself is an error that can be told.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Sequence
from weakref import WeakValueDictionary, finalize

import torch
from torch import Tensor

from convscope_core.errors import StoreError

__all__ = ["LARGE", "Spill", "let_go", "lies_in_file"]

LARGE = 2**26
"""Bytes up to which what belongs together stays in memory."""

_BLOCK = 2**24
"""Bytes of a tensor that are moved at once."""

_ALIGNED = 64
"""At multiples of so many bytes tensors begin."""


class _Map(mmap.mmap):
    """A file that is mapped."""

    address: int
    """Of its first byte."""


_mapped: WeakValueDictionary[int, _Map] = WeakValueDictionary()
"""The files that are mapped, by the address of each tensor's first byte."""


class Spill:
    """Room for tensors that are kept together: in memory where they are small, else in a temporary file.

    The file has no name, and goes with the last of the tensors, whatever ends the process. It is where temporary files
    are (``TMPDIR``), by default in ``/var/tmp``, as ``/tmp`` often is memory.

    Parameters
    ----------
    size : int
        Bytes that the tensors take at most.
    tensors : int, default 1
        How many they are at most.
    device : torch.device, optional
        Where they are asked for. Anything but a CPU keeps them in its own memory.

    Attributes
    ----------
    device : torch.device
    in_file : bool
    """

    def __init__(self, size: int, tensors: int = 1, device: torch.device | None = None) -> None:
        self.device = device or torch.device("cpu")
        self.in_file = size > LARGE and self.device.type == "cpu"
        self._end = 0
        if self.in_file:
            self._size = size + _ALIGNED * tensors
            self._folder = ""
            try:
                self._folder = _folder()
                self._file = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115  it lives with this
                finalize(self, self._file.close)  # the tensors have the map, which stays
                self._file.truncate(self._size)  # which takes no room yet
                self._map = _Map(self._file.fileno(), self._size)
            except OSError as error:
                raise self._refused(error) from error
            self._map.address = torch.frombuffer(self._map, dtype=torch.uint8).data_ptr()

    def empty(self, shape: Sequence[int], dtype: torch.dtype = torch.float64) -> Tensor:
        """Return a new tensor, to be filled by `write` before it is read."""
        if not self.in_file:
            return torch.empty(*shape, dtype=dtype, device=self.device)
        begin = -(-self._end // _ALIGNED) * _ALIGNED
        self._end = begin + torch.Size(shape).numel() * dtype.itemsize
        if self._end > self._size:
            raise AssertionError(f"room for {self._size} bytes, of which {self._end} are asked for")
        return self.at(begin, shape, dtype)

    def at(self, place: int, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Return a tensor of the bytes from a place in the file on, a multiple of the type's size.

        Its storage is its own, of its size: that is what is written where it is pickled.
        """
        count = torch.Size(shape).numel()
        if not count:
            return torch.empty(*shape, dtype=dtype)
        found = torch.frombuffer(self._map, dtype=dtype, count=count, offset=place)
        _mapped[found.data_ptr()] = self._map
        return found.reshape(tuple(shape))

    def write(self, into: Tensor, first: int, block: Tensor) -> None:
        """Fill a tensor of `empty`, or of what `bytes` is, from a place along its first axis on."""
        part = into[first : first + len(block)]
        if not self.in_file or not block.numel():
            part.copy_(block)
            return
        data = block.to("cpu", into.dtype).contiguous().reshape(-1).view(torch.uint8).numpy().data
        try:
            self._file.seek(part.data_ptr() - self._map.address)
            while len(data):
                data = data[self._file.write(data) :]
        except OSError as error:
            raise self._refused(error) from error

    def copied(self, tensor: Tensor) -> Tensor:
        """Return a tensor's like in here, which is written by blocks."""
        made = self.empty((tensor.numel(),), tensor.dtype)
        flat = tensor.flatten()
        step = max(1, _BLOCK // flat.element_size())
        for first in range(0, len(flat), step):
            self.write(made, first, flat[first : first + step])
            let_go(flat[first : first + step])
        return made.reshape(tensor.shape)

    def _refused(self, error: OSError) -> StoreError:
        where = f" in {self._folder!r}" if self._folder else ""
        return StoreError(
            f"Expected room for {self._size / 1e9:.1f} GB of intermediate results{where}, got an error: "
            f"{error.strerror or error}. Make room there, name a folder on another disk in the environment variable "
            "TMPDIR before Python starts, or work on fewer layers at a time (layers=). What a store has is safe."
        )


def lies_in_file(tensor: Tensor) -> bool:
    """Tell whether a tensor is one of a `Spill` in a file."""
    return tensor.device.type == "cpu" and tensor.untyped_storage().data_ptr() in _mapped


def let_go(*tensors: Tensor) -> None:
    """Take what was read of tensors in files out of memory; it is read again where it is asked for again."""
    for tensor in tensors:
        if tensor.numel() and lies_in_file(tensor):
            mapping = _mapped[tensor.untyped_storage().data_ptr()]
            begin = tensor.data_ptr() - mapping.address
            start = begin - begin % mmap.ALLOCATIONGRANULARITY
            if hasattr(mapping, "madvise"):  # which Windows has not, and need not have
                mapping.madvise(mmap.MADV_DONTNEED, start, begin + tensor.nbytes - start)


def _folder() -> str:
    if not any(os.environ.get(name) for name in ("TMPDIR", "TEMP", "TMP")) and os.access("/var/tmp", os.W_OK):
        return "/var/tmp"
    return tempfile.gettempdir()
