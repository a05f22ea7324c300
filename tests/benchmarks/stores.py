"""What opening a store takes beside listing the files that it is of: prints docs/reliability.md's table.

    python tests/benchmarks/stores.py [--files 1300000] [--repeat 3]

Makes that many empty files in a thousand folders, as ImageNet's training set has, and a store of them all, to which
nothing but a count is added for each shard: so what is measured is what the pictures cost, not the network.

- list: `Images.of(folder)`, which looks into every folder and sorts the names.
- lay out: the store is made.
- open: a store is opened of which nothing is done: names and labels are compared.
- open, done: a finished one: every file is asked for its size and times, too, and every record is read.
- load: a finished one, without pictures being given: their names come from the store.
- stat: what asking every file takes of that.
- touched: a finished one whose files all have another time: 1024 of them are read.

Times are medians, in seconds, and shares of listing.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from machine import spread
from torch import Tensor

from convscope_core.contents import Trace
from convscope_core.datasets import Images
from convscope_core.jobs.results import Record
from convscope_core.jobs.store import Store


class Count:
    """A part that counts pictures."""

    def __init__(self, count: int = 0) -> None:
        self.count = count

    def merge(self, other: Count) -> None:
        self.count += other.count

    def copy(self) -> Count:
        return Count(self.count)

    def state_dict(self) -> dict[str, Tensor]:
        return {"count": torch.tensor(self.count)}


class Counting:
    """As much of a job as a store asks for."""

    kind = "count"

    @staticmethod
    def restored(state: Mapping[str, Tensor]) -> Count:
        return Count(int(state["count"]))

    @staticmethod
    def empty(device: torch.device) -> Count:
        return Count()

    @staticmethod
    def room(images: int, labels: Collection[str]) -> int:
        return 2**16


JOB: Any = Counting()


def files(root: Path, count: int) -> None:
    for folder in range(1000):
        place = root / f"n{folder:08d}"
        place.mkdir()
        for number in range(folder, count, 1000):
            os.close(os.open(f"{place}/n{folder:08d}_{number}.JPEG", os.O_CREAT | os.O_WRONLY))


def opened(path: Path, images: Images) -> Store:
    about = {"kind": "count", "folder?": str(images.folder)}
    return Store.opened(path, JOB, about, images, range(len(images)))


def finish(path: Path, images: Images) -> None:
    store = opened(path, images)
    digest = images.trace(0).digest  # all files are empty
    while (shard := store.take()) is not None:
        numbers = store.indices(shard)
        labels = [images[number].label for number in numbers]
        traces = [Trace(*stamp, digest) for stamp in images.stamps(numbers).tolist()]
        store.put(shard, Count(len(numbers)), Record(numbers, labels, [], traces))
    store.close()


def loaded(path: Path) -> int:
    store = Store(path, write=False)
    store.job = JOB
    images = store.files()
    store.require_same(store.about, images)
    parts: Any = store.snapshot()[0]
    store.close()
    return sum(part.count for part in parts)


def read(path: Path, images: Images) -> None:
    store = opened(path, images)
    store.snapshot()
    store.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1_300_000)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root, fresh, done = Path(scratch, "files"), Path(scratch, "fresh"), Path(scratch, "done")
        root.mkdir()
        files(root, options.files)
        images = Images.of(root)

        def lay_out() -> None:
            fresh.unlink(missing_ok=True)
            opened(fresh, images).close()

        def touched() -> None:
            read(done, images)

        finish(done, images)
        ways: dict[str, Callable[[], object]] = {
            "list": lambda: Images.of(root),
            "lay out": lay_out,
            "open": lambda: opened(fresh, images).close(),
            "open, done": lambda: read(done, images),
            "load": lambda: loaded(done),
            "stat": lambda: images.stamps(range(len(images))),
        }
        times: dict[str, list[float]] = {}
        for turn in range(options.repeat + 1):
            if turn == options.repeat:
                for index in range(len(images)):
                    os.utime(images.path(index) or "", (1, 1))
                ways = {"touched": touched}
            for way, run in ways.items():
                begun = time.perf_counter()
                run()
                times.setdefault(way, []).append(time.perf_counter() - begun)
        listing = statistics.median(times["list"])
        print(f"| {len(images):,} files | seconds | of listing |")
        print("|---|---|---|")
        for way, taken in times.items():
            print(f"| {way} | {spread(taken, 2)} | {statistics.median(taken) / listing:.2f} |")
        size = done.stat().st_size
        print(f"The store: {size / 1e6:.0f} MB, {size / len(images):.0f} bytes a picture.")


if __name__ == "__main__":
    main()
