"""Harnesses that try to break stores: by damage, by killing, by many hands. The tests run them small; at any size:

    python tests/core/store_harness.py damage --count 20000     bytes, blocks, pages and lengths of a store, changed
    python tests/core/store_harness.py cuts                     a store cut off after every byte
    python tests/core/store_harness.py rows                     every row lost, every value of every row changed
    python tests/core/store_harness.py kill --count 200         processes ended by the system at random moments
    python tests/core/store_harness.py statements               processes killed before every statement of SQL
    python tests/core/store_harness.py hands --count 50         four processes on one store, and two that read it

Each prints what came of it, and ends with an error where a result differed, was lost, or ended in an error that is not
ours.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import fields
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import nn

from convscope_core.datasets import Images
from convscope_core.errors import ArgumentError, ConvscopeError
from convscope_core.experiments import ablation, compare, consistency, filter_health, invariance, probe
from convscope_core.jobs import Job, Ledger, Progress, begin, last, load
from convscope_core.jobs import store as stores
from convscope_core.network import Network
from convscope_core.patterns import fit_patterns
from convscope_core.survey import Survey, load_survey, survey, surveying

PICTURES = 22
SHARDS = 7
"""Not a power of two, so that there are merged parts of several levels."""

Read = Callable[[Path], Any]


def network() -> Network:
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(108, 2)
    return Network(nn.Sequential(*layers).eval(), input_size=8, name="small", labels=["cat", "dog"])


def pictures(folder: Path) -> Path:
    """A folder of pictures with labels, one of which cannot be read."""
    rng = np.random.default_rng(0)
    for number in range(PICTURES):
        place = folder / ("cat", "dog")[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(place / f"{number}.png")
    (folder / "cat" / "broken.png").write_bytes(b"no picture")
    return folder


def half_done(steps: Any) -> Any:
    """Go on until half of the pictures are computed: of their three shards the first is certain to be in the store.

    A shard is written while the next one is computed.
    """
    while next(steps).done < PICTURES // 2:
        pass
    return steps


class Harness:
    """A network, pictures, and the survey that has to come out whatever happens."""

    def __init__(self, folder: Path) -> None:
        self.net = network()
        self.folder = folder
        self.pictures = pictures(folder / "pictures")
        self.whole = survey(self.net, self.pictures, **self.options, progress=False)
        self.finished, self.half = folder / "finished", folder / "half"
        self.survey(self.finished)
        half_done(surveying(self.net, self.pictures, store=self.half, **self.options)).close()

    options: ClassVar[dict[str, int]] = {"k": 3, "sample": 5, "shards": SHARDS, "batch_size": 1}

    def survey(self, store: Path) -> Survey:
        return survey(self.net, self.pictures, store=store, **self.options, progress=False)

    def load(self, store: Path) -> Survey:
        return load_survey(store, self.net)

    def fresh(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self.folder)) / "x.survey"


def same(a: Any, b: Any) -> bool:
    """Whether every bit of every number is the same, and all that is known of the pictures."""
    if isinstance(a, Found):
        return (
            a.state.keys() == b.state.keys()
            and all(torch.equal(one.nan_to_num(), b.state[key].nan_to_num()) for key, one in a.state.items())
            and np.array_equal(a.seen, b.seen)
            and a[2:] == b[2:]
        )
    mine, theirs = a._statistics.state_dict(), b._statistics.state_dict()
    return (
        mine.keys() == theirs.keys()
        and all(torch.equal(tensor.nan_to_num(), theirs[key].nan_to_num()) for key, tensor in mine.items())
        and np.array_equal(a.seen, b.seen)
        and a.skipped == b.skipped
        and [a.label(int(i)) for i in np.flatnonzero(a.seen)] == [b.label(int(i)) for i in np.flatnonzero(b.seen)]
        and [picture.path for picture in a.images] == [picture.path for picture in b.images]
    )


def consistent(found: Any) -> bool:
    """Whether all parts of a survey count the same pictures; of other jobs nothing counts them twice."""
    if isinstance(found, Found):
        return True
    labels = found.classes(found.layers[0]).counts.sum()
    return int(found.seen.sum()) == found._statistics.health.images == int(labels)


# ---- every other job


class Found(NamedTuple):
    """All that a store holds of a job, to the bit."""

    state: dict[str, torch.Tensor]
    seen: np.ndarray[Any, Any]
    skipped: tuple[Any, ...]
    labels: list[str | None]
    paths: list[Path | None]


def of_job(job: Job[Any, Any]) -> Job[Any, Any]:
    """The same job, whose result is all that it holds."""

    class Watched(type(job)):  # type: ignore[misc]
        def result(self, part: Any, images: Images, ledger: Ledger) -> Found:
            labels = [ledger.label(int(index)) for index in np.flatnonzero(ledger.seen)]
            paths = [images.path(index) for index in range(len(images))]
            return Found(part.state_dict(), ledger.seen, ledger.skipped, labels, paths)

    return Watched(**{field.name: getattr(job, field.name) for field in fields(job)})


def jobs(net: Network, folder: Path) -> dict[type[Job[Any, Any]], Job[Any, Any]]:
    """One of every kind of job that may have a store, as its own function makes it."""
    made: dict[type[Job[Any, Any]], Job[Any, Any]] = {}
    begun = Job.__post_init__

    def noted(job: Job[Any, Any]) -> None:
        begun(job)
        made.setdefault(type(job), job)

    quiet: dict[str, Any] = {"progress": False}
    Job.__post_init__ = noted  # type: ignore[method-assign]
    try:
        fit_patterns(net, folder, ("positive", "all"), **quiet)
        ablation(net, folder, {"one": {"0": [0]}}, **quiet)
        probe(net, folder, per_class=3, held_out=2, splits=2, **quiet)
        invariance(net, folder, {"shift_x": [-1, 0, 1]}, ["0"], **quiet)
        consistency(net, folder, passes=2, reach=2, attempts=2, **quiet)
        compare(net, net, folder, k=2, sample=3, **quiet)
        filter_health(net, None, folder, **quiet)
        survey(net, folder, k=3, sample=5, **quiet)
    finally:
        Job.__post_init__ = begun  # type: ignore[method-assign]
    return made


class JobHarness(Harness):
    """The same for any job: all of its state has to come out, whatever happens."""

    def __init__(self, folder: Path, job: Job[Any, Any]) -> None:
        self.job = of_job(job)
        self.job.batch_size = 1
        self.net, self.folder, self.pictures = job.net, folder, pictures(folder / "pictures")
        self.whole = last(begin(self.job, Images.of(self.pictures), Progress, shards=SHARDS)).result
        self.finished, self.half = folder / "finished", folder / "half"
        self.survey(self.finished)
        half_done(begin(self.job, Images.of(self.pictures), Progress, store=self.half, shards=SHARDS)).close()

    def survey(self, store: Path) -> Any:
        return last(begin(self.job, Images.of(self.pictures), Progress, store=store, shards=SHARDS)).result

    def load(self, store: Path) -> Any:
        class Same(type(self.job)):  # type: ignore[misc]
            """Some jobs keep too little to be made of a store alone."""

            @classmethod
            def of_store(cls, net: Network, about: Any) -> Any:
                return self.job

        return load(Same, store, self.net)


class FailedError(Exception):
    """A store was not what it promises."""


def outcome(read: Read, store: Path, whole: Any, kind: str) -> str:
    """Read a store that was tampered with: "same" or "refused"; raises where it is another, or an error is not ours."""
    try:
        found = read(store)
    except ConvscopeError as error:
        if not str(error).startswith("Expected "):
            raise FailedError(f"{kind}: {error}") from error
        return "refused"
    except Exception as error:
        raise FailedError(f"{kind}: an error that is not ours") from error
    if not same(found, whole):
        raise FailedError(f"{kind}: a different result, and no word of it")
    return "same"


# ---- damage


def damages(data: bytes, rng: random.Random) -> Iterator[tuple[str, bytes]]:
    """Damage of every kind that a disk does, for ever."""
    page = 4096

    def flipped(count: int, first: int = 0, last: int | None = None) -> bytes:
        changed = bytearray(data)
        for _ in range(count):
            changed[rng.randrange(first, last or len(data))] ^= rng.randrange(1, 256)
        return bytes(changed)

    def block(size: int, fill: Callable[[int], bytes]) -> bytes:
        start = rng.randrange(0, len(data), size)
        return data[:start] + fill(size)[: len(data) - start] + data[start + size :]

    def swapped() -> bytes:
        pages = [data[start : start + page] for start in range(0, len(data), page)]
        one, other = rng.sample(range(len(pages)), 2)
        pages[one], pages[other] = pages[other], pages[one]
        return b"".join(pages)

    while True:
        yield "a byte", flipped(1)
        yield "a byte of the header", flipped(1, 0, 100)
        start = rng.randrange(0, len(data), page)
        yield "a byte where a page begins", flipped(1, start, min(start + 64, len(data)))
        yield "five bytes", flipped(5)
        yield "a block of zeros", block(512, bytes)
        yield "a block of noise", block(512, rng.randbytes)
        yield "a page of zeros", block(page, bytes)
        yield "two pages swapped", swapped()
        yield "cut off", data[: rng.randrange(len(data))]
        yield "more at the end", data + rng.randbytes(rng.randrange(1, page))


def damage(harness: Harness, count: int, seed: int = 0) -> Counter[tuple[str, str]]:
    """Damage a finished store and a half-finished one, load and go on."""
    found: Counter[tuple[str, str]] = Counter()
    rng = random.Random(seed)
    store = harness.fresh()
    half = harness.load(harness.half)
    ways: list[tuple[Path, Read, Any]] = [
        (harness.finished, harness.load, harness.whole),
        (harness.half, harness.load, half),
        (harness.half, harness.survey, harness.whole),
    ]
    for original, read, whole in ways:
        for number, (kind, data) in enumerate(damages(original.read_bytes(), rng)):
            if number >= count // len(ways):
                break
            store.write_bytes(data)
            found[kind, outcome(read, store, whole, kind)] += 1
            for beside in store.parent.iterdir():
                beside.unlink()
    return found


def cuts(harness: Harness, step: int = 1) -> Counter[str]:
    """Load a store that was cut off, after every `step` bytes."""
    found: Counter[str] = Counter()
    store, whole = harness.fresh(), harness.finished.read_bytes()
    for length in range(0, len(whole), step):
        store.write_bytes(whole[:length])
        found[outcome(harness.load, store, harness.whole, f"cut off after {length} bytes")] += 1
    return found


def rows(harness: Harness, step: int = 1) -> Counter[tuple[str, str]]:
    """Lose every row of a store, and change every value of every row, as wrong bits that keep the file whole do.

    Or every `step`-th of all that.
    """
    found: Counter[tuple[str, str]] = Counter()
    store = harness.fresh()
    half = harness.load(harness.half)
    for original, read, whole in (
        (harness.finished, harness.load, harness.whole),
        (harness.half, harness.load, half),
        (harness.half, harness.survey, harness.whole),
    ):
        for kind, statement, values in islice(tampering(original), 0, None, step):
            shutil.copy(original, store)
            try:
                with closing(sqlite3.connect(store)) as file, file:
                    file.execute(statement, values)
            except (sqlite3.IntegrityError, OverflowError):  # which no table can hold
                continue
            found[kind, outcome(read, store, whole, f"{kind} {values!r}")] += 1
    return found


def tampering(store: Path) -> Iterator[tuple[str, str, tuple[object, ...]]]:
    keys = {"about": ["id"], "shards": ["id"], "nodes": ["level", "position", "piece"]}
    file = sqlite3.connect(store)
    try:
        for table, key in keys.items():
            columns = [row[1] for row in file.execute(f"PRAGMA table_info({table})")]
            where = " AND ".join(f"{name} = ?" for name in key)
            for row in file.execute(f"SELECT * FROM {table}").fetchall():
                known = dict(zip(columns, row, strict=True))
                place = tuple(known[name] for name in key)
                yield f"a row of {table} lost", f"DELETE FROM {table} WHERE {where}", place
                for name, value in known.items():
                    for other in others(value):
                        yield (
                            f"{table}.{name}",
                            f"UPDATE OR REPLACE {table} SET {name} = ? WHERE {where}",
                            (other, *place),
                        )
    finally:
        file.close()


def others(value: object) -> list[object]:
    """Values that stand where another stood."""
    if isinstance(value, int):
        return [value + 1, value ^ 1, -value - 1, value + 2**40, "text"]
    if isinstance(value, bytes):
        middle = len(value) // 2
        flipped = value[:middle] + bytes([value[middle] ^ 16]) + value[middle + 1 :] if value else b"x"
        return [flipped, value[:-1], value + b"\0", b"", 7]
    if isinstance(value, str):
        return [value[::-1], value + " ", ""]
    return [0, b"x"]


# ---- killed


def forked(run: Callable[[], object]) -> int:
    """Run in another process, which leaves by the shortest way; returns its id."""
    if torch.cuda.is_initialized():
        import pytest

        pytest.skip("CUDA is of no use in a fork")
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        run()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def checked(harness: Harness, store: Path, before: int) -> int:
    """Look at a store whose process was killed; returns how many pictures are done in it, not fewer than before."""
    if not store.exists():
        return before
    file = sqlite3.connect(store)
    assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    file.close()
    try:
        found = harness.load(store)
    except ArgumentError as error:  # killed before it was laid out
        if "is empty" not in str(error):
            raise
        return before
    assert consistent(found)
    done = int(found.seen.sum()) + len(found.skipped)
    assert done >= before, "what was done is lost"
    return done


def kill(harness: Harness, count: int, seed: int = 0) -> Counter[str]:
    """Kill processes at random moments, go on with another, and compare."""
    found: Counter[str] = Counter()
    rng = random.Random(seed)
    begun = time.perf_counter()
    harness.survey(harness.fresh())
    takes = time.perf_counter() - begun
    while found["killed"] < count:
        store, done = harness.fresh(), 0
        for _ in range(4):
            moment = rng.uniform(1e-4, takes)
            child = forked(lambda store=store, moment=moment: _for(harness, store, moment))  # type: ignore[misc]
            _, status = os.waitpid(child, 0)
            found["killed" if os.WIFSIGNALED(status) else "was done before"] += 1
            done = checked(harness, store, done)
        assert same(harness.survey(store), harness.whole)
        found["ended with the same bits"] += 1
        shutil.rmtree(store.parent)
    return found


def _for(harness: Harness, store: Path, moment: float) -> None:
    """Survey, until the system ends this process: no code of Python's runs when its timer does."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, moment)
    harness.survey(store)
    signal.setitimer(signal.ITIMER_REAL, 0)


def statements(harness: Harness, step: int = 1, processes: int = 1) -> Counter[str]:
    """Kill a process before its n-th statement of SQL, for every n, go on, and compare."""
    found: Counter[str] = Counter()
    for number in range(0, sys.maxsize, step):
        store = harness.fresh()
        for _ in range(processes):
            _, status = os.waitpid(forked(lambda store=store, number=number: _until(harness, store, number)), 0)  # type: ignore[misc]
        killed = os.WIFSIGNALED(status)
        assert killed or status == 0
        checked(harness, store, 0)
        assert same(harness.survey(store), harness.whole)
        shutil.rmtree(store.parent)
        found["killed and ended with the same bits" if killed else "ran through"] += 1
        if not killed:
            return found
    return found


def _until(harness: Harness, store: Path, last: int) -> None:
    left = last
    opened = sqlite3.connect

    def count(_: str) -> None:
        nonlocal left
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1

    def connect(*arguments: object, **options: object) -> sqlite3.Connection:
        file = opened(*arguments, **options)  # type: ignore[call-overload]
        file.set_trace_callback(count)
        return file

    stores.sqlite3.connect = connect  # type: ignore[attr-defined]
    harness.survey(store)


# ---- many hands


def hands(harness: Harness, count: int, writers: int = 4, readers: int = 2) -> Counter[str]:
    """Let several processes work on one store while others read it; every step counts the same pictures everywhere."""
    found: Counter[str] = Counter()
    for _ in range(count):
        store = harness.fresh()

        def write(store: Path = store) -> None:
            for step in surveying(harness.net, harness.pictures, store=store, **harness.options):
                assert consistent(step.survey)
            assert same(step.survey, harness.whole)

        def read(store: Path = store) -> None:
            for _ in range(20):
                if store.exists():
                    checked(harness, store, 0)

        children = [forked(write) for _ in range(writers)] + [forked(read) for _ in range(readers)]
        for number, child in enumerate(children):
            _, status = os.waitpid(child, 0)
            assert status == 0, "a process failed"
            found["wrote" if number < writers else "read"] += 1
        assert same(harness.load(store), harness.whole)
        found["ended with the same bits"] += 1
        shutil.rmtree(store.parent)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["damage", "cuts", "rows", "kill", "statements", "hands"])
    parser.add_argument("--of", default="survey", help="which job: 'patterns', 'invariance'...; 'all' for one by one")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        net, photographs = network(), pictures(Path(folder, "pictures"))
        makers: dict[str, Callable[[Path], Harness]] = {
            job.kind: lambda where, job=job: JobHarness(where, job) for job in jobs(net, photographs).values()
        }  # type: ignore[misc]
        makers["survey"] = Harness
        if options.of not in (*makers, "all"):
            parser.error(f"--of is one of {', '.join(makers)} or all")
        for kind in makers if options.of == "all" else [options.of]:
            where = Path(folder, kind)
            where.mkdir()
            tried(makers[kind](where), options.what, options.count, options.seed, kind)


def tried(harness: Harness, what: str, count: int, seed: int, kind: str) -> None:
    runs: dict[str, Callable[[], Counter[str] | Counter[tuple[str, str]]]] = {
        "damage": lambda: damage(harness, count, seed),
        "cuts": lambda: cuts(harness),
        "rows": lambda: rows(harness),
        "kill": lambda: kill(harness, count, seed),
        "statements": lambda: statements(harness),
        "hands": lambda: hands(harness, count),
    }
    for key, number in sorted(runs[what]().items(), key=str):
        print(f"{number:8,}  {kind}  {key if isinstance(key, str) else ': '.join(key)}", flush=True)


if __name__ == "__main__":
    main()
