"""Results in one SQLite file, which survives its process at any moment and takes several writers."""

from __future__ import annotations

import json
import sqlite3
import uuid
import zlib
from collections.abc import Callable, Generator, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from convscope_core.datasets import Images
from convscope_core.errors import ArgumentError
from convscope_core.jobs.parts import Part, Place, grow, ordered, packed, unpacked
from convscope_core.jobs.results import Record, Results, cut

__all__ = ["Store"]

_APPLICATION = 0x63767363
""""cvsc": tells our files from other SQLite files."""
_VERSION = 1
_PATIENCE = 120.0
"""Seconds to wait while another process writes."""

_PIECE = 2**28
"""Bytes of a part in one row."""
_SMALL = 2**26
"""Parts of up to so many bytes are kept in memory once they are known."""

_SCHEMA = """
CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE shards (
    id INTEGER PRIMARY KEY,
    indices BLOB NOT NULL,  -- int64, zlib
    pictures BLOB NOT NULL, -- JSON list of [name, content, path], zlib
    owner TEXT,             -- who works on it, or did
    record BLOB             -- JSON of a Record, zlib; NULL until the shard is done
);
CREATE TABLE nodes (
    level INTEGER NOT NULL,
    position INTEGER NOT NULL,
    piece INTEGER NOT NULL, -- SQLite takes no value beyond a gigabyte
    part BLOB NOT NULL,     -- safetensors, zlib, cut into pieces
    PRIMARY KEY (level, position, piece)
) WITHOUT ROWID;
"""


class Store(Results):
    """The results of a job over some pictures, in a file.

    One transaction a shard, in write-ahead mode: a process that is killed loses what it had not finished, and nothing
    else. Several processes may work on one store; each takes shards that nobody has taken, and at the end those that
    were taken and not finished, whose owner may be dead. The file must lie on a disk of the machine: SQLite's
    write-ahead log does not work over network file systems. For several machines give an executor instead.

    Parameters
    ----------
    path : path
        The file; made when it does not exist.
    restore : callable
        From the state of a part to the part.
    """

    at_hand = False

    def __init__(self, path: str | Path, restore: Callable[[Mapping[str, Tensor]], Part]) -> None:
        self.path = Path(path).expanduser()
        self._restore = restore
        self._owner = uuid.uuid4().hex
        self._known: dict[Place, Part] = {}
        if self.path.is_dir() or not self.path.parent.is_dir():
            raise ArgumentError(
                f"Expected a file for the store, in a folder that exists, got {str(self.path)!r}. For example "
                "store='photos.survey'."
            )
        try:
            # Used by one thread at a time, though not always by the one that opened it.
            self._file = sqlite3.connect(self.path, _PATIENCE, isolation_level=None, check_same_thread=False)
            with self._transaction() as empty:
                if empty:
                    for statement in _SCHEMA.split(";\n"):
                        self._file.execute(statement)
                    self._file.execute(f"PRAGMA application_id = {_APPLICATION}")
                    self._file.execute(f"PRAGMA user_version = {_VERSION}")
            self._file.execute("PRAGMA journal_mode = WAL")
            self._file.execute("PRAGMA synchronous = FULL")
        except sqlite3.OperationalError as error:
            raise ArgumentError(
                f"Expected a file that can be read and written, got {str(self.path)!r}: {error}."
            ) from error
        except sqlite3.DatabaseError as error:
            raise ArgumentError(f"Expected a store, got {str(self.path)!r}, which is another kind of file.") from error

    @classmethod
    def opened(
        cls,
        path: str | Path,
        restore: Callable[[Mapping[str, Tensor]], Part],
        about: Mapping[str, Any],
        images: Images,
        indices: Sequence[int],
        shards: int | None = None,
        *,
        resume: bool = True,
    ) -> Store:
        """Open the store of a job, or make it.

        Parameters
        ----------
        path, restore
            See `Store`.
        about, images, indices, shards
            See `begin`.
        resume : bool, default True
            Whether a store that has results may be gone on from.

        Raises
        ------
        ArgumentError
            When it has results and may not, or it is of something else.
        """
        store = cls(path, restore)
        try:
            if not resume and next(store.records(), None) is not None:
                raise ArgumentError(
                    f"Expected a store that does not exist yet (resume=False), but {str(store.path)!r} has results. "
                    "Delete it, or go on from it with resume=True."
                )
            store.begin(about, images, indices, shards)
        except BaseException:
            store.close()
            raise
        return store

    @contextmanager
    def _transaction(self) -> Generator[bool, None, None]:
        """Write all or nothing; yields whether the file is new. Refuses files of others."""
        self._file.execute("BEGIN IMMEDIATE")
        try:
            found, version = (
                self._file.execute(f"PRAGMA {p}").fetchone()[0] for p in ("application_id", "user_version")
            )
            tables = self._file.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            if tables and found != _APPLICATION:
                raise ArgumentError(f"Expected a store, got {str(self.path)!r}, the data base of another program.")
            if tables and version != _VERSION:
                raise ArgumentError(
                    f"Expected a store of version {_VERSION}, got version {version} in {str(self.path)!r}. Make a new "
                    "one, or use the version of convscope that made it."
                )
            yield not tables
        except BaseException:
            self._file.execute("ROLLBACK")
            raise
        self._file.execute("COMMIT")

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    # -- what it is about --

    @property
    def about(self) -> dict[str, Any]:
        """What the results are of; empty for a new store."""
        return {key: json.loads(value) for key, value in self._file.execute("SELECT key, value FROM about")}

    def begin(
        self, about: Mapping[str, Any], images: Images, indices: Sequence[int], shards: int | None = None
    ) -> None:
        """Lay out the shards of a new store, or check that a store that exists is of the same things.

        Parameters
        ----------
        about : mapping of str to JSON value
            What has to be the same: the network, its layers, the settings. Keys that end with "?" are for information.
        images : Images
            All pictures.
        indices : sequence of int
            Those to work on. More than the store has become shards of their own, if they begin with the store's.
        shards : int, optional
            See `convscope_core.jobs.results.cut`.

        Raises
        ------
        ArgumentError
            When the store is of something else; the message says what differs.
        """
        with self._transaction():
            known = self.about
            for key, value in about.items():
                if known and not key.endswith("?") and known.get(key) != value:
                    raise ArgumentError(
                        f"Expected the store {str(self.path)!r} to be of the same {key}: it is of "
                        f"{_short(known.get(key), value)}, asked for is {_short(value, known.get(key))}. Give another "
                        "file, or what the store was made with."
                    )
            if not known:
                rows = [(key, json.dumps(value)) for key, value in about.items()]
                self._file.executemany("INSERT INTO about VALUES (?, ?)", rows)
            done = 0
            for shard, row in enumerate(
                self._file.execute("SELECT indices, pictures FROM shards ORDER BY id").fetchall()
            ):
                done += self._check(shard, row, images, indices[done:])
            start = self._file.execute("SELECT count(*) FROM shards").fetchone()[0]
            for number, part in enumerate(cut(indices[done:], shards), start):
                pictures = [_described(images, index) for index in part]
                self._file.execute(
                    "INSERT INTO shards (id, indices, pictures) VALUES (?, ?, ?)",
                    (number, zlib.compress(np.asarray(part, np.int64).tobytes()), _json(pictures)),
                )

    def _check(self, shard: int, row: tuple[bytes, bytes], images: Images, indices: Sequence[int]) -> int:
        theirs, pictures = _numbers(row[0]), _from_json(row[1])
        if len(indices) < len(theirs) or [int(index) for index in indices[: len(theirs)]] != theirs:
            raise ArgumentError(
                f"Expected the pictures that the store {str(self.path)!r} was made with, or those and more at the end; "
                f"there are {len(images)} now, and in shard {shard} others are asked for."
            )
        for index, (name, content, _) in zip(theirs, pictures, strict=True):
            mine, size = images.identity(index)
            if mine != name or (content != size and "missing" not in (content, size)):
                was, now = (
                    f"{n!r}" + (f" ({c} bytes)" if c.isdigit() else "") for n, c in ((name, content), (mine, size))
                )
                raise ArgumentError(
                    f"Expected the pictures that the store {str(self.path)!r} was made with: picture {index} was {was} "
                    f"and is {now}. Give those pictures, or another file."
                )
        return len(theirs)

    def pictures(self) -> list[tuple[int, str, str | None]]:
        """Return the number, the name and, where it is known, the path of every picture of the store."""
        found = []
        for indices, pictures in self._file.execute("SELECT indices, pictures FROM shards ORDER BY id"):
            found += [
                (i, name, path) for i, (name, _, path) in zip(_numbers(indices), _from_json(pictures), strict=True)
            ]
        return found

    def images(self) -> Images:
        """Return the pictures as the files that they were.

        Raises
        ------
        ArgumentError
            When the store does not know their files.
        """
        files = {index: (name, file) for index, name, file in self.pictures()}
        folder = self.about.get("folder?")
        if not files or (folder is None and any(file is None for _, file in files.values())):
            raise ArgumentError(
                f"Expected the pictures of the store {str(self.path)!r} too, images=...: they were not files, so it "
                "does not know where they are."
            )
        # Numbers count in all pictures, of which the store may have a few.
        last = max(files) + 1
        if folder is not None:
            return Images.found(Path(folder), [files.get(index, ("", None))[0] for index in range(last)])
        return Images.of([files.get(index, ("", ""))[1] or "not in the store" for index in range(last)])

    # -- shards --

    def take(self) -> int | None:
        """See `Results`."""
        with self._transaction():
            row = self._file.execute(
                # Those that nobody has; then those whose owner has not finished them.
                "SELECT id FROM shards WHERE record IS NULL AND owner IS NOT ? ORDER BY owner IS NOT NULL, id LIMIT 1",
                (self._owner,),
            ).fetchone()
            if row is not None:
                self._file.execute("UPDATE shards SET owner = ? WHERE id = ?", (self._owner, row[0]))
        return None if row is None else int(row[0])

    def give_back(self, shards: Sequence[int]) -> None:
        """See `Results`."""
        with self._transaction():
            self._file.executemany(
                "UPDATE shards SET owner = NULL WHERE id = ? AND owner = ? AND record IS NULL",
                [(shard, self._owner) for shard in shards],
            )

    def indices(self, shard: int) -> list[int]:
        """See `Results`."""
        return _numbers(self._file.execute("SELECT indices FROM shards WHERE id = ?", (shard,)).fetchone()[0])

    def put(self, shard: int, part: Part, record: Record) -> None:
        """See `Results`."""
        with self._transaction():
            row = self._file.execute("SELECT record IS NULL FROM shards WHERE id = ?", (shard,)).fetchone()
            if row is None or not row[0]:
                return
            grow(_Nodes(self._file, self._restore, self._known), shard, part)
            self._file.execute(
                "UPDATE shards SET record = ? WHERE id = ?",
                (_json((record.images, record.labels, record.skipped)), shard),
            )

    def parts(self) -> tuple[Part, ...]:
        """See `Results`."""
        return ordered(_Nodes(self._file, self._restore, self._known))

    @property
    def left(self) -> int:
        """Images in shards that are not done."""
        rows = self._file.execute("SELECT indices FROM shards WHERE record IS NULL")
        return sum(len(_numbers(row[0])) for row in rows)

    def records(self) -> Iterator[Record]:
        """The records of the shards that are done."""
        for (data,) in self._file.execute("SELECT record FROM shards WHERE record IS NOT NULL ORDER BY id").fetchall():
            images, labels, skipped = _from_json(data)
            yield Record(images, labels, [(index, reason) for index, reason in skipped])


class _Nodes(MutableMapping[Place, Part]):
    """The merged parts in the file. A node never changes once it is written, so what is known is not read again."""

    def __init__(
        self,
        file: sqlite3.Connection,
        restore: Callable[[Mapping[str, Tensor]], Part],
        known: dict[Place, Part],
    ) -> None:
        self._file = file
        self._restore = restore
        self._known = known

    def __iter__(self) -> Iterator[Place]:
        places = set(self._file.execute("SELECT DISTINCT level, position FROM nodes"))
        for place in self._known.keys() - places:
            del self._known[place]
        return iter(places)

    def __len__(self) -> int:
        return len(set(self))

    def __contains__(self, place: object) -> bool:
        return place in set(self)

    def __getitem__(self, place: Place) -> Part:
        if place not in self._known:
            pieces = self._file.execute(
                "SELECT part FROM nodes WHERE level = ? AND position = ? ORDER BY piece", place
            ).fetchall()
            if not pieces:
                raise KeyError(place)
            data = b"".join(piece for (piece,) in pieces)
            return self._remembered(place, self._restore(unpacked(data)), len(data))
        return self._known[place]

    def __setitem__(self, place: Place, part: Part) -> None:
        data = packed(part)
        self._file.executemany(
            "INSERT INTO nodes VALUES (?, ?, ?, ?)",
            (
                (*place, number, data[start : start + _PIECE])
                for number, start in enumerate(range(0, len(data), _PIECE))
            ),
        )
        self._remembered(place, part, len(data))

    def __delitem__(self, place: Place) -> None:
        self._file.execute("DELETE FROM nodes WHERE level = ? AND position = ?", place)
        self._known.pop(place, None)

    def _remembered(self, place: Place, part: Part, size: int) -> Part:
        if size <= _SMALL:
            self._known[place] = part
        return part


def _described(images: Images, index: int) -> tuple[str, str, str | None]:
    name, content = images.identity(index)
    # Below a folder the name says where it is.
    path = None if images.folder is not None else images.path(index)
    return name, content, None if path is None else str(path)


def _json(value: Any) -> bytes:
    return zlib.compress(json.dumps(value).encode())


def _from_json(data: bytes) -> Any:
    return json.loads(zlib.decompress(data))


def _numbers(data: bytes) -> list[int]:
    numbers: list[int] = np.frombuffer(zlib.decompress(data), np.int64).tolist()
    return numbers


def _short(value: Any, other: Any) -> str:
    """A value for an error message: of long lists only what the other has not."""
    if isinstance(value, list) and isinstance(other, list):
        own = [item for item in value if item not in other]
        return (
            f"{len(value)} ({', '.join(map(str, own[:5]))}{', ...' if len(own) > 5 else ''})"
            if own
            else str(len(value))
        )
    text = str(value)
    return text if len(text) <= 24 else f"{text[:8]}..."
