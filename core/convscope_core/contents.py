"""What a picture was when it was read: the size and the times of its file, and a digest of its content.

A digest is BLAKE2b, 64 bits, of a file's bytes as they are, or of a decoded picture's values. It costs about a
millisecond a megabyte, where decoding a JPEG file costs 50: so it is taken of every picture that is read for a store,
and afterwards only where a file's times say that it may have changed.
"""

from __future__ import annotations

import hashlib
import os
import stat
from typing import Any, NamedTuple

import numpy as np
import PIL.Image
import torch

__all__ = ["MISSING", "NO_FILE", "TRACES", "Trace", "digest_of", "stamp_of"]

MISSING = -1
"""Size of a file that is not there, or cannot be asked."""

NO_FILE = -2
"""Size where a picture is no file."""

_BLOCK = 2**20


class Trace(NamedTuple):
    """What a picture was when it was read.

    Attributes
    ----------
    size : int
        Of its file in bytes; `MISSING` or `NO_FILE`.
    modified, changed : int
        When the file's content was last written, and when anything about it was, in ns; 0 without a file.
    digest : int
        Of its content, 64 bits; 0 where its identity says all.
    """

    size: int
    modified: int
    changed: int
    digest: int


TRACES = np.dtype([("size", "<i8"), ("modified", "<i8"), ("changed", "<i8"), ("digest", "<u8")])
"""How many of them are kept."""


def stamp_of(path: str | os.PathLike[str]) -> tuple[int, int, int]:
    """Return size and times of a file, which is not opened; see `Trace`."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return MISSING, 0, 0
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns


def digest_of(image: Any) -> int:
    """Return the digest of a picture: the bytes of a file or in memory, or decoded values with their type and shape.

    Raises
    ------
    OSError
        When a file cannot be read, or is none.
    """
    found = hashlib.blake2b(digest_size=8)
    if isinstance(image, (str, os.PathLike)):
        if not stat.S_ISREG(os.stat(image).st_mode):  # a pipe would be waited for
            raise OSError(f"{os.fspath(image)!r} is no file")
        with open(image, "rb") as file:
            while block := file.read(_BLOCK):
                found.update(block)
    elif isinstance(image, (bytes, bytearray, memoryview)):
        found.update(image)
    else:
        if isinstance(image, torch.Tensor):
            image = image.detach().cpu()
            image = (image.float() if image.dtype == torch.bfloat16 else image).numpy()
        mode = f"{image.mode}{image.getpalette()}" if isinstance(image, PIL.Image.Image) else ""
        array = np.ascontiguousarray(image)
        found.update(f"{mode}{array.dtype}{array.shape}".encode())
        found.update(array.reshape(-1).view(np.uint8).data)
    return int.from_bytes(found.digest(), "little")
