"""The door to every file of ours: what can go wrong with one is a `StoreError`, and nothing in it is believed unseen.

Reading: sizes are bounded before memory is taken, contents have a digest, and whatever goes wrong while a result is
made of a file's contents is damage of that file. Writing: beside the file, which the new one then takes the place of,
so that there is the old one or the new one, whatever happens. Files of results hold their arrays as safetensors, all
else as JSON in the metadata; stores (`convscope_core.jobs.store`) are SQLite.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import sqlite3
import stat
import uuid
import zlib
from collections.abc import Collection, Generator, Iterable, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from convscope_core.arguments import require_path
from convscope_core.errors import ArgumentError, ConvscopeError, StoreError

__all__ = [
    "Damage",
    "folder_for",
    "guarded",
    "inflated",
    "inflating",
    "opened_result",
    "reading_result",
    "replacing",
    "require_file",
    "save_result",
    "understood",
    "write_bytes",
    "write_text",
]


class Damage(Exception):  # noqa: N818  what happened, not what is raised to a user
    """The contents of a file are not as they were written: `guarded` makes a StoreError of it."""


_DAMAGE = (Damage, sqlite3.Error, zlib.error, SafetensorError, UnicodeDecodeError)
"""What a file alone leads to; the last where SQLite tells what it found in one."""

_UNFIT = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, AssertionError, RecursionError)
"""What contents that are not as they were written lead to where they are taken apart."""

_OS_ERROR = r"(?:os error|Os \{ code:) (\d+)"
"""The number of a system's error in the words of safetensors, and in those of the lowest version of it."""

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_TRIED = 2**24
"""Bytes that are written to see whether there is room, where SQLite says only that it could not write."""

_INFLATED = 2**24
"""Bytes that are inflated at once."""

_FED = 2**17
"""Compressed bytes that are read at once."""

_PROTECTED = {errno.EACCES, errno.EPERM, errno.EROFS}


@contextmanager
def guarded(path: Path, what: str, safe: str, cure: str, *, foreign: bool = False) -> Generator[None, None, None]:
    """Turn what goes wrong with a file into a StoreError.

    Parameters
    ----------
    path : Path
    what : str
        What the file is, such as "a file of Patterns.save".
    safe : str
        What is not lost, whatever happens, as a sentence.
    cure : str
        What to do about a damaged file, as a sentence.
    foreign : bool, default False
        Whether code that knows nothing of the file runs in it, too, whose errors are its own. What is read from the
        file is then to be `understood` by itself.

    Raises
    ------
    StoreError
        For an error of the operating system, of SQLite, of safetensors or zlib, for `Damage`, and, unless `foreign`,
        for whatever contents lead to that are not as they were written. Other errors of ours pass.
    """
    known: tuple[type[Exception], ...] = (OSError, *_DAMAGE, *(() if foreign else _UNFIT))
    try:
        yield
    except ConvscopeError:
        raise
    except known as error:
        raise StoreError(_told(error, path, what, safe, cure)) from error


def _told(error: Exception, path: Path, what: str, safe: str, cure: str) -> str:
    name, number = repr(str(path)), error.errno if isinstance(error, OSError) else None
    if isinstance(error, SafetensorError) and (found := re.search(_OS_ERROR, str(error))):
        number = int(found[1])
    # SQLite's codes are in the exception from Python 3.11 on only; its messages have been the same for ever.
    words = str(error) if isinstance(error, sqlite3.Error) else ""
    if "disk I/O" in words:  # so SQLite calls a quota that is used up, and a limit on the size of files
        number = _refusal(path)
    if number == errno.EFBIG:
        return (
            f"Expected room for {what} at {name}, got a full disk: its file may not become larger, by a limit on the "
            f"size of files (ulimit -f, or the file system's own). {safe} Raise the limit, or give a path on another "
            "disk."
        )
    if number in _FULL or "disk is full" in words:
        return f"Expected room for {what} at {name}, got a full disk. {safe} Make room, or give a path on another disk."
    if "locked" in words:
        return (
            f"Expected {what} at {name} that others let go of, got one that another process has kept locked. {safe} "
            "Wait for that process or end it, then make the same call again."
        )
    if number in _PROTECTED or "readonly" in words or "unable to open" in words:
        reason = words or os.strerror(number or 0)
        return (
            f"Expected {what} at {name} that may be read, and written where results are added, got none: {reason}. "
            f"{safe} Change the permissions of the file and its folder, or give another path."
        )
    if number is not None or "disk I/O" in words:
        return (
            f"Expected a disk that reads and writes {what} at {name}, got an error: {error}. {safe} Check the disk and "
            "the path, then make the same call again."
        )
    return f"Expected {what}, got {name}, which is damaged or another kind of file: {_detail(error)}. {safe} {cure}"


def _refusal(path: Path) -> int | None:
    """Return the number of the error that a file meets which begins where this one ends; None where there is none."""
    beside = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        end = path.stat().st_size
        with beside.open("xb") as file:
            file.seek(end)  # which takes no room
            file.write(bytes(_TRIED))
    except OSError as error:
        return error.errno
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
    return None


def _detail(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if isinstance(error, (LookupError, AssertionError)) else str(error)


@contextmanager
def understood(what: str) -> Generator[None, None, None]:
    """Turn whatever goes wrong while contents of a file are taken apart into Damage: they are not as they were written.

    Parameters
    ----------
    what : str
        What is taken apart, for the message.
    """
    try:
        yield
    except StoreError:
        raise
    except (ConvscopeError, zlib.error, SafetensorError, *_UNFIT) as error:
        raise Damage(f"{what} ({_detail(error)})") from error


def require_file(path: Path, what: str) -> None:
    """Raise ArgumentError unless there is a file, StoreError where nobody may look; `what` says what it should be."""
    with guarded(path, what, "Nothing was changed in it.", "Give another path."):
        if not path.is_file():
            came = "does not exist" if not path.exists() else "is no file"
            raise ArgumentError(f"Expected {what}, got {str(path)!r}, which {came}. Check the path.")


def inflated(data: bytes, most: int) -> bytes:
    """Return what zlib compressed, of which there may be `most` bytes; Damage where there are more, or fewer came."""
    return b"".join(inflating([data], most))


def inflating(data: Iterable[bytes], most: int) -> Generator[bytes, None, None]:
    """Do what `inflated` does, with what comes piece by piece.

    A few bytes can stand for gigabytes: those are never made.
    """
    reader, left = zlib.decompressobj(), most
    for piece in (each[start : start + _FED] for each in data for start in range(0, len(each), _FED)):
        # Of a piece that is longer than what is made of it, the rest is copied again and again.
        tail, full = piece, True
        while tail or full:
            size = min(left + 1, _INFLATED)
            found = reader.decompress(tail, size)
            left -= len(found)
            if left < 0:
                raise Damage(f"it holds more than the {most:,} bytes that it can need")
            if found:
                yield found
            tail, full = reader.unconsumed_tail, len(found) == size
        if reader.unused_data:
            break
    if not reader.eof or reader.unused_data:
        raise Damage("its compressed data are incomplete")


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Generator[Path, None, None]:
    """Give a place beside a file to write to, which takes the file's place when all is written.

    Yields
    ------
    Path
        In the same folder; removed again when something fails.

    Raises
    ------
    ArgumentError
        When that is no path of a file, or its folder does not exist.
    StoreError
        When it cannot be written; what was there before is as it was.
    """
    given = require_path("the file to write", path)
    target = Path(os.path.realpath(given))  # a link stays one
    beside = target.with_name(f".{uuid.uuid4().hex}.part")
    with guarded(target, "a file to write", "What was there before is as it was.", "Write it again."):
        if not target.parent.is_dir() or (target.exists() and not target.is_file()):
            raise ArgumentError(
                f"Expected a file to write, in a folder that exists, got {str(given)!r}. Make the folder, or give "
                "another."
            )
        try:
            if target.exists() and not os.access(target, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(target))
            with beside.open("xb") as file:
                mode = os.fstat(file.fileno()).st_mode
            yield beside
            with beside.open("rb+") as file:
                os.fsync(file.fileno())
            # Libraries may have put a file of theirs there, which nobody else may read.
            beside.chmod(stat.S_IMODE(target.stat().st_mode if target.exists() else mode))
            os.replace(beside, target)
        finally:
            beside.unlink(missing_ok=True)


def folder_for(what: str, path: str | os.PathLike[str]) -> Path:
    """Return a folder, made where it is not there.

    Parameters
    ----------
    what : str
        What it is for, for messages: "stores, one a checkpoint".
    path : path
        In a folder that exists.

    Raises
    ------
    ArgumentError
        When it is a file, or the folder that it should be in is not there.
    StoreError
        When it cannot be made.
    """
    folder = require_path(f"the folder for {what}", path)
    if folder.exists() and not folder.is_dir():
        raise ArgumentError(f"Expected a folder for {what}, got {str(folder)!r}, which is a file. Give another path.")
    if not folder.parent.is_dir():
        raise ArgumentError(
            f"Expected a folder for {what} in one that exists, got {str(folder)!r}. Make {str(folder.parent)!r} first."
        )
    with guarded(folder, f"a folder for {what}", "Nothing was written.", "Give another path."):
        folder.mkdir(exist_ok=True)
    return folder


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write text as UTF-8; all or nothing, see `replacing`.

    What UTF-8 cannot say becomes a question mark: bytes of file names that are none, half of a pair of surrogates.
    """
    with replacing(path) as beside:
        beside.write_text(text, "utf-8", "replace")


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write bytes; all or nothing, see `replacing`."""
    with replacing(path) as beside:
        beside.write_bytes(data)


def save_result(
    path: str | os.PathLike[str], form: str, arrays: Mapping[str, npt.NDArray[Any]], settings: Mapping[str, Any]
) -> Path:
    """Write arrays and settings to a file; all or nothing, see `replacing`.

    Parameters
    ----------
    path : path
    form : str
        What the file is, and in which version.
    arrays : mapping of str to array
    settings : mapping of str to anything that JSON holds

    Returns
    -------
    Path

    Raises
    ------
    ArgumentError
        When that is no path of a file, or its folder does not exist.
    StoreError
        When it cannot be written; what was there before is as it was.
    """
    whole = {name: np.asarray(array, order="C") for name, array in arrays.items()}  # of no axes, too
    text = json.dumps(settings)
    with replacing(path) as beside:
        save_file(whole, beside, {"format": form, "settings": text, "digest": _digest(form, text, whole)})
    return Path(path).expanduser()


@contextmanager
def opened_result(
    path: str | os.PathLike[str], writer: str, forms: Collection[str]
) -> Generator[tuple[str, dict[str, Any], dict[str, Any]], None, None]:
    """Give what `save_result` wrote; what goes wrong while a result is made of it is damage of the file.

    Parameters
    ----------
    path : path
    writer : str
        What writes such files, for the messages.
    forms : collection of str
        What the file may be.

    Yields
    ------
    form : str
    arrays : dict of str to array
    settings : dict

    Raises
    ------
    ArgumentError
        When there is no such file, or it holds something else.
    StoreError
        When it cannot be read, or is damaged.
    """
    source = require_path("the file to read", path)
    require_file(source, f"a file of {writer}")
    with reading_result(source, writer):
        with safe_open(source, framework="np") as file:
            metadata = file.metadata() or {}
            form = metadata.get("format", "other tensors")
            if form not in forms:
                raise ArgumentError(
                    f"Expected a file of {writer}, got {str(source)!r}, which holds {form}. Give a file that this "
                    f"version's {writer} wrote."
                )
            with understood("its arrays cannot be read"):
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a mapping
        with understood("its contents do not fit together"):
            text = metadata["settings"]
            # Files from before there was a digest have none; one under another name is not such a file.
            if strange := sorted(set(metadata) - {"format", "settings", "digest"}):
                raise Damage(f"its metadata hold {strange[0]!r}, which none of ours do")
            if "digest" in metadata and metadata["digest"] != _digest(form, text, arrays):
                raise Damage("its contents are not those that were written")
            yield form, arrays, json.loads(text)


@contextmanager
def reading_result(path: str | os.PathLike[str], writer: str) -> Generator[None, None, None]:
    """Take what goes wrong with a file of results as damage of it, unless it is an error of ours.

    For what is made of its contents and of other things, too, once `opened_result` has given them.
    """
    safe, cure = "Nothing was changed in it.", "Save the result again, or copy the file again."
    with guarded(Path(path), f"a file of {writer}", safe, cure):
        yield


def _digest(form: str, settings: str, arrays: Mapping[str, npt.NDArray[Any]]) -> str:
    found = hashlib.blake2b(f"{form}\0{settings}".encode(), digest_size=16)
    for name, array in sorted(arrays.items()):
        found.update(f"\0{name}\0{array.dtype.str}{array.shape}".encode())
        found.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return found.hexdigest()
