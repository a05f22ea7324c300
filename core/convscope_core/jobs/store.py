"""Results in one SQLite file, which survives its process at any moment and takes several writers.

What is in it is never believed unseen: its tables are exactly these, every row has a digest, the merged parts cover the
shards that are done and no others, and sizes are bounded before memory is taken. What goes wrong with the file is a
StoreError; that it is of something else is an ArgumentError.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import uuid
import zlib
from collections.abc import Callable, Generator, Iterator, Mapping, MutableMapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from convscope_core.arguments import require_path
from convscope_core.contents import TRACES
from convscope_core.datasets import Images
from convscope_core.errors import ArgumentError, StoreError
from convscope_core.jobs.job import Job
from convscope_core.jobs.parts import Packed, Part, Place, grow, in_memory, ordered, unpacked
from convscope_core.jobs.results import Record, Results, cut
from convscope_core.jobs.sameness import digest_of_identities, require_same_contents, require_same_identities
from convscope_core.preprocessing import Preprocessing
from convscope_core.saving import Damage, guarded, inflated, understood

__all__ = ["Store"]

_APPLICATION = 0x63767363
""""cvsc": tells our files from other SQLite files."""
_VERSION = 2
_PATIENCE = 120.0
"""Seconds to wait while another process writes."""

_SMALL = 2**29
"""Bytes of a part up to which it is kept once it is known, beside what of it lies in temporary files: those of the
largest surveys, which every step shows."""
_TEXT = 2**16
"""Bytes of what is written of one picture at most: its name, label and path, or why it could not be read."""

_TABLES = {
    "about": """CREATE TABLE about (
    id INTEGER PRIMARY KEY,
    text TEXT NOT NULL,       -- what the results are of, JSON
    shards INTEGER NOT NULL,  -- how many there are
    digest BLOB NOT NULL      -- of the columns so far
)""",
    "shards": """CREATE TABLE shards (
    id INTEGER PRIMARY KEY,
    again INTEGER NOT NULL,   -- 1 where pictures of other shards, which could not be read then, are tried again
    indices BLOB NOT NULL,    -- int64
    pictures BLOB NOT NULL,   -- JSON of the identities and, where they are known, the paths; zlib
    identity BLOB NOT NULL,   -- digest of the identities
    digest BLOB NOT NULL,     -- of the columns so far
    owner TEXT,               -- who works on it, or did
    failed INTEGER,           -- how many could not be read; NULL, with all that follows, until the shard is done
    record BLOB,              -- JSON of images, labels and reasons of failures; zlib
    traces BLOB,              -- what each image was when it was read
    done BLOB                 -- digest of id, failed, record and traces
)""",
    "nodes": """CREATE TABLE nodes (
    level INTEGER NOT NULL,
    position INTEGER NOT NULL,
    piece INTEGER NOT NULL,   -- SQLite takes no value beyond a gigabyte
    pieces INTEGER NOT NULL,
    part BLOB NOT NULL,       -- safetensors, zlib, cut into pieces
    digest BLOB NOT NULL,     -- of the columns so far
    PRIMARY KEY (level, position, piece)
) WITHOUT ROWID""",
}


class Store(Results):
    """The results of a job over some pictures, in a file.

    One transaction a shard: a process that is killed loses what it had not written, and nothing else. Several
    processes may work on one store; each takes shards that nobody has taken, and at the end those that were taken and
    not finished, whose owner may be dead. The file must lie where locks work: on a disk of the machine, not on every
    network file system. For several machines give an executor instead.

    Parameters
    ----------
    path : path
        The file; made when it does not exist.
    write : bool, default True
        Whether results will be added. False: the file has to exist, and may be read-only.

    Attributes
    ----------
    job : Job
        Whose results they are; to be set before parts are asked for.
    """

    at_hand = False
    traced = True
    job: Job[Any, Any]

    def __init__(self, path: str | Path, *, write: bool = True) -> None:
        self.path = require_path("store", path)
        self.kept = f"Shards that are done are kept in {str(self.path)!r}: the same call goes on from there."
        self.finished = set()
        self._owner = uuid.uuid4().hex
        self._process = os.getpid()
        self._opened: os.stat_result | None = None
        self._known: dict[Place, Part] = {}
        self._entered: dict[int, bytes] = {}
        self._key: tuple[str, ...] = ()
        self._news: list[Record] = []
        self._labels: set[str] = set()
        with self._guarded():
            if not self.path.parent.is_dir() or (self.path.exists() and not self.path.is_file()):
                raise ArgumentError(
                    f"Expected a file for the store, in a folder that exists, got {str(self.path)!r}. For example "
                    "store='photos.survey'."
                )
            if self.path.exists() and not self._begins_as_sqlite():
                raise StoreError(
                    f"Expected a store, got {str(self.path)!r}, which is another kind of file, or damaged where it "
                    "begins. Nothing was changed in it. Give another path."
                )
            mode = "rwc" if write else "rw"  # which is read-only by itself where the file is
            address = f"{self.path.absolute().as_uri()}?mode={mode}"
            # Used by one thread at a time, though not always by the one that opened it.
            self._file = sqlite3.connect(
                address, timeout=_PATIENCE, isolation_level=None, check_same_thread=False, uri=True
            )
        try:
            with self._guarded():
                self._file.execute("PRAGMA trusted_schema = OFF")
                self._file.execute("PRAGMA synchronous = FULL")
                # Some systems' libraries write zeros over what is deleted: as much again as what takes its place.
                self._file.execute("PRAGMA secure_delete = OFF")
            with self._transaction(write=write) as empty:
                if empty and write:
                    self._file.execute(f"PRAGMA application_id = {_APPLICATION}")
                    self._file.execute(f"PRAGMA user_version = {_VERSION}")
                    for statement in _TABLES.values():
                        self._file.execute(statement)
            with self._guarded():
                self._opened = self.path.stat()
        except BaseException:
            self._file.close()
            raise

    @classmethod
    def opened(
        cls,
        path: str | Path,
        job: Job[Any, Any],
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
        path, job
            See `Store`.
        about, images, indices, shards
            See `begin`.
        resume : bool, default True
            Whether a store that has results may be gone on from.

        Raises
        ------
        ArgumentError
            When it has results and may not, or it is of something else.
        StoreError
            When the file cannot be read or written, or is damaged.
        """
        store = cls(path)
        try:
            store.job = job
            if not resume and store._has_results():
                raise ArgumentError(
                    f"Expected a store that does not exist yet (resume=False), but {str(store.path)!r} has results. "
                    "Delete it, or go on from it with resume=True."
                )
            store.begin(about, images, indices, shards)
        except BaseException:
            store.close()
            raise
        return store

    # -- the file --

    def _begins_as_sqlite(self) -> bool:
        with self.path.open("rb") as file:
            begin = file.read(16)
        return begin in (b"", b"SQLite format 3\0")

    def _guarded(self) -> AbstractContextManager[None]:
        """Turn what goes wrong with the file into a StoreError."""
        safe = "Shards that were done are safe, unless the file itself is damaged."
        cure = "Nothing of it is used: restore a copy of the file, or begin again with another."
        return guarded(self.path, "a store", safe, cure, foreign=True)

    @contextmanager
    def _transaction(self, *, write: bool = True) -> Generator[bool, None, None]:
        """See one state of the file, and write all or nothing; yields whether it is new. Refuses files of others."""
        if os.getpid() != self._process:
            # SQLite's connections do not survive a fork: child and parent would undo each other's transactions.
            raise StoreError(
                f"Expected the process that opened the store {str(self.path)!r}, got one that was forked from it. The "
                "store is safe: make the same call again in this process."
            )
        with self._guarded(), self._in_its_place():
            self._file.execute("BEGIN IMMEDIATE" if write else "BEGIN")
            try:
                tables = dict(self._file.execute("SELECT name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'"))
                if tables:
                    self._require_ours(tables)
                    if not self._key:
                        self._about()
                yield not tables
                self._file.execute("COMMIT")
            except BaseException:
                if self._file.in_transaction:
                    self._file.execute("ROLLBACK")
                raise

    @contextmanager
    def _in_its_place(self) -> Generator[None, None, None]:
        """Tell a file that was taken away, which SQLite calls read-only or a broken disk, from those."""
        try:
            yield
        except sqlite3.Error as error:
            try:
                there = self._opened is None or os.path.samestat(self._opened, self.path.stat())
                came = "another file in its place"
            except OSError:
                there, came = False, "none there"
            if there:
                raise
            raise StoreError(
                f"Expected the store at {str(self.path)!r} to stay there while it is worked on, got {came}: it was "
                "deleted, moved or replaced, or its drive is away. Shards that were done are in that file alone. Bring "
                "it back and make the same call again, which without it begins anew."
            ) from error

    def _require_ours(self, tables: Mapping[str, str]) -> None:
        found, version = (self._file.execute(f"PRAGMA {p}").fetchone()[0] for p in ("application_id", "user_version"))
        if found != _APPLICATION:
            raise ArgumentError(f"Expected a store, got {str(self.path)!r}, the data base of another program.")
        if version != _VERSION:
            reason = ", which does not say how its pictures were prepared" if version == 1 else ""
            raise ArgumentError(
                f"Expected a store of version {_VERSION}, got version {version} in {str(self.path)!r}{reason}. Give "
                "another file to compute it again, or use the version of convscope that made it."
            )
        if tables != _TABLES:
            raise Damage("its tables are not those of a store")

    def close(self) -> None:
        """Close the file; in a forked child it is the parent's, and left alone."""
        if os.getpid() == self._process:
            self._file.close()

    # -- what it is about --

    @property
    def about(self) -> dict[str, Any]:
        """What the results are of; empty for a new store."""
        with self._transaction(write=False) as empty:
            return {} if empty else self._about()

    def _about(self) -> dict[str, Any]:
        rows = self._file.execute("SELECT text, shards, digest FROM about").fetchall()
        shards = self._file.execute("SELECT count(*) FROM shards").fetchone()[0]
        if not rows and not shards:
            return {}
        with understood("what it says it is of cannot be read"):
            if len(rows) != 1 or rows[0][2] != _digest(*rows[0][:2]):
                raise Damage("what it says it is of is not what was written")
            if rows[0][1] != shards:
                raise Damage(f"of {rows[0][1]} shards {shards} are there")
            found: dict[str, Any] = json.loads(rows[0][0])
            # Stores that were made before there were keys have none.
            self._key = (found["key?"],) if "key?" in found else ()
            return found

    def _digest(self, *values: Any) -> bytes:
        """Return the digest of some columns of a row of this store: those of another do not fit."""
        return _digest(*self._key, *values)

    def _has_results(self) -> bool:
        with self._transaction(write=False) as empty:
            return not empty and bool(self._file.execute("SELECT 1 FROM shards WHERE done IS NOT NULL").fetchone())

    def begin(
        self, about: Mapping[str, Any], images: Images, indices: Sequence[int], shards: int | None = None
    ) -> None:
        """Lay out the shards of a new store, or check that a store that exists is of the same things.

        Pictures that could not be read are laid out to be tried again: in their own shard where nothing of it could be
        read, else in new ones at the end.

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
        # What takes long, files that are asked how old they are, while others may write.
        checked = self.require_same(about, images, indices)
        with self._transaction():
            known = self._about()
            if known:
                self._require_same_settings(known, about)
            else:
                known = {**about, "key?": uuid.uuid4().hex}
                self._key = (known["key?"],)
            rows = self._shards()
            # Others may have laid out more meanwhile.
            done = self._require_same_pictures(rows, images, indices, checked)
            todo = [(part, 0) for part in cut(indices[done:], shards)]
            again: set[int] = set()
            for row in rows:
                if row.again:
                    again -= set(row.indices)
                if row.failed == len(row.indices):
                    self._file.execute(
                        "UPDATE shards SET owner = NULL, failed = NULL, record = NULL, traces = NULL, done = NULL "
                        "WHERE id = ?",
                        (row.number,),
                    )
                elif row.failed:
                    again |= {index for index, _ in self._record(row).skipped}
            todo += [(part, 1) for part in cut(sorted(again))]
            for number, (part, repeats) in enumerate(todo, len(rows)):
                self._insert(number, repeats, images, part)
            said = (json.dumps(known), len(rows) + len(todo))
            self._file.execute("INSERT OR REPLACE INTO about VALUES (0, ?, ?, ?)", (*said, _digest(*said)))

    def require_same(self, about: Mapping[str, Any], images: Images, indices: Sequence[int] | None = None) -> int:
        """Raise ArgumentError, which says what differs, unless the results are of this; an empty store is of anything.

        Parameters
        ----------
        about, images
            See `begin`.
        indices : sequence of int, optional
            See `begin`; by default those that the store has.

        Returns
        -------
        int
            How many shards there are.
        """
        read: list[tuple[npt.NDArray[np.int64], Any]] = []
        with self._transaction(write=False) as empty:
            known = {} if empty else self._about()
            if not known:
                return 0
            self._require_same_settings(known, about)
            rows = self._shards()
            self._require_same_pictures(rows, images, indices)
            for row in rows:
                if row.done is not None and row.failed < len(row.indices):
                    seen = self._record(row).images if row.failed else row.indices
                    read.append((np.asarray(seen, np.int64), np.frombuffer(row.traces, TRACES)))
        if read:
            each, traces = (np.concatenate(arrays) for arrays in zip(*read, strict=True))
            require_same_contents(f"the store {str(self.path)!r}", images, each, traces)
        return len(rows)

    def _require_same_settings(self, known: Mapping[str, Any], about: Mapping[str, Any]) -> None:
        for key in (*known, *about):
            mine, theirs = about.get(key), known.get(key)
            if key.endswith("?") or mine == theirs:
                continue
            if key == "preprocessing" and mine and theirs:
                words = Preprocessing.difference(theirs, mine)
                if words is None:
                    continue
                raise ArgumentError(
                    f"Expected the store {str(self.path)!r} to be of pictures that were prepared alike, got another "
                    f"preprocessing: {words}. Give another file, or the network with the preprocessing that the store "
                    "was made with."
                )
            raise ArgumentError(
                f"Expected the store {str(self.path)!r} to be of the same {key}: it is of {_short(theirs, mine)}, "
                f"asked for is {_short(mine, theirs)}. {self.job.cure(key)}"
            )

    def _require_same_pictures(
        self, rows: Sequence[_Shard], images: Images, indices: Sequence[int] | None, checked: int = 0
    ) -> int:
        """Compare numbers, names, labels and what is known of content, but of the first `checked` shards.

        Returns how many pictures the store has.
        """
        done = 0
        for row in rows:
            theirs, mine = row.indices, None
            if not row.again:
                mine = None if indices is None else indices[done : done + len(theirs)]
                done += len(theirs)
            if row.number < checked:
                continue
            if (theirs and max(theirs) >= len(images)) or (mine is not None and list(mine) != theirs):
                raise ArgumentError(
                    f"Expected the pictures that the store {str(self.path)!r} was made with, or those and more at the "
                    f"end, got {len(images)}, and in shard {row.number} others are asked for. Give those pictures, or "
                    "another file."
                )
            identities = images.identities(theirs)
            if digest_of_identities(identities) != row.identity:
                require_same_identities(f"the store {str(self.path)!r}", theirs, self._pictures(row)[0], identities)
                raise Damage(f"the names of shard {row.number} are not those that were written")
        return done

    def _shards(self) -> list[_Shard]:
        """Read all shards, in order and without gaps."""
        found = []
        with understood("its shards cannot be read"):
            for place, row in enumerate(self._file.execute(f"SELECT {_Shard.columns} FROM shards ORDER BY id")):
                shard = _Shard(self._digest, *row)
                if shard.number != place:
                    raise Damage(f"shard {place} is missing")
                found.append(shard)
        return found

    def _insert(self, number: int, again: int, images: Images, indices: Sequence[int]) -> None:
        identities = images.identities(indices)
        # Below a folder the name says where it is.
        files = [] if images.folder is not None else [images.path(index) for index in indices]
        paths = [None if path is None else str(path) for path in files] or None
        text = {"identities": identities, "paths": paths}
        made = (
            number, again, np.asarray(indices, np.int64).tobytes(), _json(text), digest_of_identities(identities),
        )  # fmt: skip
        self._file.execute(
            "INSERT INTO shards (id, again, indices, pictures, identity, digest) VALUES (?, ?, ?, ?, ?, ?)",
            (*made, self._digest(*made)),
        )

    def _pictures(self, shard: _Shard) -> tuple[list[str], list[str | None]]:
        """Return identity and, where it is known, path of each picture of a shard."""
        count = len(shard.indices)
        with understood(f"the pictures of shard {shard.number} cannot be read"):
            found = json.loads(inflated(shard.pictures, count * _TEXT + _TEXT))
            paths: list[str | None] = [None] * count if found["paths"] is None else found["paths"]
            if not len(found["identities"]) == len(paths) == count:
                raise Damage(f"shard {shard.number} has other pictures than numbers")
            return found["identities"], paths

    def files(self) -> Images:
        """Return the pictures as the files that they were.

        Raises
        ------
        ArgumentError
            When the store does not know their files.
        """
        names: dict[int, str] = {}
        paths: dict[int, str | None] = {}
        with self._transaction(write=False):
            folder = self._about().get("folder?")
            for row in self._shards():
                if not row.again:
                    identities, files = self._pictures(row)
                    names |= zip(row.indices, identities, strict=True)
                    paths |= zip(row.indices, files, strict=True)
            if names and max(names) > 64 * len(names) + 10**7:
                raise Damage("its pictures have numbers that no pictures have")
        if not names or (folder is None and any(path is None for path in paths.values())):
            raise ArgumentError(
                f"Expected the pictures of the store {str(self.path)!r} too, images=...: they were not files, so it "
                "does not know where they are."
            )
        # Numbers count in all pictures, of which the store may have a few.
        every = range(max(names) + 1)
        if folder is not None:
            return Images.found(Path(folder), [names.get(index, "") for index in every])
        return Images.of([paths.get(index) or "not in the store" for index in every])

    # -- shards --

    def take(self) -> int | None:
        """See `Results`."""
        with self._transaction():
            row = self._file.execute(
                # Those that nobody has; then those whose owner has not finished them.
                "SELECT id FROM shards WHERE done IS NULL AND owner IS NOT ? ORDER BY owner IS NOT NULL, id LIMIT 1",
                (self._owner,),
            ).fetchone()
            if row is not None:
                self._file.execute("UPDATE shards SET owner = ? WHERE id = ?", (self._owner, row[0]))
        return None if row is None else int(row[0])

    def give_back(self, shards: Sequence[int]) -> None:
        """See `Results`."""
        if not shards:
            return
        with self._transaction():
            self._file.executemany(
                "UPDATE shards SET owner = NULL WHERE id = ? AND owner = ? AND done IS NULL",
                [(shard, self._owner) for shard in shards],
            )

    def indices(self, shard: int) -> list[int]:
        """See `Results`."""
        with self._transaction(write=False):
            return self._shard(shard).indices

    def put(self, shard: int, part: Part, record: Record) -> None:
        """See `Results`."""
        made = (
            len(record.skipped), _json([record.images, record.labels, record.skipped]),
            np.array(record.traces, TRACES).tobytes(),
        )  # fmt: skip
        with self._transaction():
            if self._shard(shard).done is not None:
                return
            if record.images:
                self._refresh()
                grow(_Nodes(self), shard, part)
            self._file.execute(
                "UPDATE shards SET failed = ?, record = ?, traces = ?, done = ? WHERE id = ?",
                (*made, self._digest(shard, *made), shard),
            )

    def snapshot(self, parts: bool = True) -> tuple[tuple[Part, ...], list[Record]]:
        """See `Results`."""
        with self._transaction(write=False):
            self._refresh()
            merged = self._parts() if parts else ()
        news, self._news = self._news, []
        return merged, news

    def _refresh(self) -> None:
        """Read the records that are new."""
        with understood("its records cannot be read"):
            done: dict[int, bytes] = dict(self._file.execute("SELECT id, done FROM shards WHERE done IS NOT NULL"))
            for number, digest in sorted(done.items()):
                if self._entered.get(number) != digest:
                    record = self._record(self._shard(number))
                    self._labels.update(label for label in record.labels if label is not None)
                    self._entered[number] = digest
                    self._news.append(record)
            self.finished = set(done)

    def _parts(self) -> tuple[Part, ...]:
        """Read the merged parts, which have to be of the shards that are done and of no others."""
        with understood("its results cannot be read"):
            nodes = _Nodes(self)
            sizes = self._file.execute("SELECT id, length(indices) / 8, failed FROM shards WHERE done IS NOT NULL")
            wanted = {number for number, size, failed in sizes if failed != size}
            covered = sum(1 << level for level, _ in nodes)
            if covered != len(wanted) or any(
                not wanted.issuperset(range(position << level, (position + 1) << level)) for level, position in nodes
            ):
                raise Damage("its results are not those of the shards that are done")
            return ordered(nodes)

    def room(self) -> int:
        """Return how many bytes the state of a part of these results can have."""
        return self.job.room(self._count("1"), self._labels)

    def wait(self) -> None:
        """See `Results`."""

    @property
    def left(self) -> int:
        """Images in shards that are not done."""
        with self._transaction(write=False):
            return self._count("done IS NULL")

    def _count(self, where: str) -> int:
        """Count the pictures of shards."""
        with understood("its shards cannot be counted"):
            (size,) = self._file.execute(f"SELECT sum(length(indices)) FROM shards WHERE {where}").fetchone()
            return int(size or 0) // 8

    def _shard(self, number: int) -> _Shard:
        row = self._file.execute(f"SELECT {_Shard.columns} FROM shards WHERE id = ?", (number,)).fetchone()
        with understood(f"shard {number} cannot be read"):
            return _Shard(self._digest, *row)

    def _record(self, shard: _Shard) -> Record:
        """Read what became of a shard's pictures."""
        with understood(f"the record of shard {shard.number} cannot be read"):
            images, labels, skipped = json.loads(inflated(shard.record, len(shard.indices) * _TEXT + _TEXT))
            failed = [(index, reason) for index, reason in skipped]
            if sorted([*images, *(index for index, _ in failed)]) != sorted(shard.indices):
                raise Damage(f"the record of shard {shard.number} is not of its pictures")
            if not (len(labels) == len(images) == len(shard.indices) - shard.failed):
                raise Damage(f"the record of shard {shard.number} does not count its pictures")
            return Record(images, labels, failed)


class _Shard:
    """A row of the table of shards, found to be what was written."""

    columns = "id, again, indices, pictures, identity, digest, failed, record, traces, done"

    def __init__(
        self, digest_of: Callable[..., bytes], number: int, again: int, indices: bytes, pictures: bytes,
        identity: bytes, digest: bytes,
        failed: int, record: bytes, traces: bytes, done: bytes | None,
    ) -> None:  # fmt: skip
        if digest != digest_of(number, again, indices, pictures, identity):
            raise Damage(f"shard {number} is not what was written")
        if done is not None and done != digest_of(number, failed, record, traces):
            raise Damage(f"the record of shard {number} is not what was written")
        self.number = number
        self.again = again
        self.indices: list[int] = np.frombuffer(indices, np.int64).tolist()
        self.pictures = pictures
        self.identity = identity
        self.failed = failed
        self.record = record
        self.traces = traces
        self.done = done
        if done is not None and len(traces) != TRACES.itemsize * (len(self.indices) - failed):
            raise Damage(f"shard {number} does not say what its pictures were")
        if self.indices and min(self.indices) < 0:
            raise Damage(f"shard {number} has pictures that cannot be")


class _Nodes(MutableMapping[Place, Part]):
    """The merged parts in the file, for one transaction.

    A node never changes once it is written, so what is known is not read again.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._file = store._file
        self._known = store._known
        self._replaced: list[Place] = []
        with understood("its results cannot be read"):
            self._places: set[Place] = set(self._file.execute("SELECT DISTINCT level, position FROM nodes"))
            if any(not (0 <= level < 40 and 0 <= position < 2**40) for level, position in self._places):
                raise Damage("its results are of shards that cannot be")
        for place in self._known.keys() - self._places:
            del self._known[place]

    def __iter__(self) -> Iterator[Place]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, place: object) -> bool:
        return place in self._places  # which would be read by default

    def __getitem__(self, place: Place) -> Part:
        if place not in self._places:
            raise KeyError(place)
        if place not in self._known:
            with understood(f"the result at {place} cannot be read"):
                state = unpacked(self._rows(place), self._store.room())
                part: Part = self._store.job.restored(state)
            return self._remembered(place, part, in_memory(state))
        return self._known[place]

    def _rows(self, place: Place) -> Iterator[bytes]:
        """Read a part row by row."""
        found = self._file.execute(
            "SELECT piece, pieces, part, digest FROM nodes WHERE level = ? AND position = ? ORDER BY piece", place
        )
        number = count = 0
        for piece, count, part, digest in found:
            if piece != number or digest != self._store._digest(*place, piece, count, part):
                raise Damage(f"the result at {place} is not what was written")
            yield part
            number += 1
        if number != count:
            raise Damage(f"the result at {place} is not what was written")

    def __setitem__(self, place: Place, part: Part) -> None:
        packed = Packed(part)
        for piece, data in enumerate(packed):
            row = (*place, piece, packed.count, data)
            self._file.execute("INSERT INTO nodes VALUES (?, ?, ?, ?, ?, ?)", (*row, self._store._digest(*row)))
        self._places.add(place)
        self._remembered(place, part, packed.in_memory)
        # Only now: in pages that were freed before, SQLite would keep a copy of what was there, to be able to go back.
        self._file.executemany("DELETE FROM nodes WHERE level = ? AND position = ?", self._replaced)
        self._replaced.clear()

    def __delitem__(self, place: Place) -> None:
        """Take a part out, for another that is put in next."""
        self._replaced.append(place)
        self._places.remove(place)
        self._known.pop(place, None)

    def _remembered(self, place: Place, part: Part, size: int) -> Part:
        if size <= _SMALL:
            self._known[place] = part
        return part


def _digest(*values: Any) -> bytes:
    """Return 16 bytes by which the values of some columns are known."""
    found = hashlib.blake2b(digest_size=16)
    for value in values:
        data = value if isinstance(value, bytes) else repr(value).encode("utf-8", "surrogatepass")
        found.update(f"{type(value).__name__} {len(data)} ".encode())
        found.update(data)
    return found.digest()


def _json(value: Any) -> bytes:
    return zlib.compress(json.dumps(value).encode(), 1)


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
