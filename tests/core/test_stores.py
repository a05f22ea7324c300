"""Stores under many hands, under damage, without room or permission; and what their results were made from.

`store_harness.py` does the same at any size; docs/reliability.md has its counts.
"""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
import pkgutil
import resource
import signal
import sqlite3
import tempfile
import zlib
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import torchvision.transforms as transforms
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn
from torch.utils.data import ConcatDataset, Dataset, Subset, TensorDataset
from torchvision.datasets import ImageFolder

import convscope_core
from convscope_core import threads
from convscope_core.datasets import Images, Picture
from convscope_core.errors import ArgumentError, ExecutorError, ImageError, StoreError
from convscope_core.images import read_image
from convscope_core.jobs import Job
from convscope_core.jobs import store as stores
from convscope_core.jobs.store import Store
from convscope_core.network import Network
from convscope_core.occlusion import OcclusionResult, occluding_map
from convscope_core.patterns import Patterns, fit_patterns
from convscope_core.preprocessing import Preprocessing
from convscope_core.survey import Survey, load_survey, survey, surveying

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def harnesses() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(HERE)
        import store_harness

        yield store_harness


@pytest.fixture(scope="module")
def harness(harnesses: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return harnesses.Harness(tmp_path_factory.mktemp("harness"))


@pytest.fixture(scope="module")
def net(harness: Any) -> Network:
    found: Network = harness.net
    return found


SLOW = pytest.mark.slow

UNUSED = {"about.id", "shards.owner", "shards.failed", "shards.record", "shards.traces"}
"""Whose claim it was, and what stands in rows of shards that are not done, matters to nobody."""

# ---- damage, killing, many hands


@pytest.mark.parametrize(("count", "seed"), [(99, 0), pytest.param(1998, 1, marks=SLOW)])
def test_damage_is_refused_or_changes_nothing(harnesses: ModuleType, harness: Any, count: int, seed: int) -> None:
    found = harnesses.damage(harness, count, seed)
    assert sum(found.values()) == count
    assert sum(number for (_, how), number in found.items() if how == "refused") > count / 3


def test_the_harness_tries_every_job_that_may_have_a_store(harnesses: ModuleType, harness: Any) -> None:
    """So that a new one is tried, too."""
    for module in pkgutil.walk_packages(convscope_core.__path__, "convscope_core."):
        importlib.import_module(module.name)
    known = {one.__name__ for one in subclasses(Job) if one.__module__.startswith("convscope_core.")}
    made = harnesses.jobs(harness.net, harness.pictures)
    assert {one.__name__ for one in made} == known - {"_DegradationJob"}, "which takes no store"


def subclasses(kind: type) -> set[type]:
    return {one for below in kind.__subclasses__() for one in (below, *subclasses(below))}


@pytest.mark.parametrize("count", [24, pytest.param(498, marks=SLOW)])
def test_so_it_is_with_the_stores_of_every_job(harnesses: ModuleType, harness: Any, tmp_path: Path, count: int) -> None:
    for job in harnesses.jobs(harness.net, harness.pictures).values():
        (tmp_path / job.kind).mkdir()
        other = harnesses.JobHarness(tmp_path / job.kind, job)
        found = harnesses.damage(other, count)
        assert sum(number for (_, how), number in found.items() if how == "refused") > count / 4
        rows = harnesses.rows(other, 5 if count > 24 else 60)
        assert {kind for (kind, how), _ in rows.items() if how == "same"} <= UNUSED


@pytest.mark.parametrize("step", [1999, pytest.param(13, marks=SLOW)])
def test_a_store_that_was_cut_off_is_refused(harnesses: ModuleType, harness: Any, step: int) -> None:
    found = harnesses.cuts(harness, step)
    assert found["same"] <= 4096 / step + 1, "but for what the last page does not use"
    assert found["refused"] > 10


def test_every_row_and_every_value_counts(harnesses: ModuleType, harness: Any, slow: bool) -> None:
    found = harnesses.rows(harness, 1 if slow else 12)
    assert {kind for (kind, how), _ in found.items() if how == "same"} <= UNUSED


@pytest.fixture(params=[False, pytest.param(True, marks=SLOW)], ids=["a sample", "all"])
def slow(request: pytest.FixtureRequest) -> bool:
    found: bool = request.param
    return found


@pytest.mark.parametrize("count", [8, pytest.param(80, marks=SLOW)])
def test_killed_at_any_moment_it_ends_with_the_same_bits(harnesses: ModuleType, harness: Any, count: int) -> None:
    found = harnesses.kill(harness, count)
    assert found["killed"] >= count
    assert found["ended with the same bits"] >= count / 4


@pytest.mark.parametrize("step", [83, pytest.param(5, marks=SLOW)])
def test_killed_before_any_statement_it_ends_with_the_same_bits(harnesses: ModuleType, harness: Any, step: int) -> None:
    found = harnesses.statements(harness, step)
    assert found["killed and ended with the same bits"] >= 4
    assert found["ran through"] == 1


@pytest.mark.parametrize("count", [2, pytest.param(20, marks=SLOW)])
def test_many_hands_count_the_same_pictures_at_every_step(harnesses: ModuleType, harness: Any, count: int) -> None:
    found = harnesses.hands(harness, count)
    assert found == {"wrote": 4 * count, "read": 2 * count, "ended with the same bits": count}


def test_a_step_shows_what_others_did_in_all_its_parts(harness: Any, harnesses: ModuleType) -> None:
    store = harness.fresh()
    first = surveying(harness.net, harness.pictures, store=store, **harness.options)
    next(first)
    second = surveying(harness.net, harness.pictures, store=store, **harness.options)
    for _ in range(8):  # two shards and more, of which the first is written
        assert harnesses.consistent(next(second).survey)
    step = next(first)  # with that of the other, and its own unfinished one
    assert step.survey.seen.sum() >= 5
    assert harnesses.consistent(step.survey)
    list(second)  # takes the unfinished shard in the end, and does it
    for step in first:  # whose own is done by now, and counts once
        assert harnesses.consistent(step.survey)
    assert harnesses.same(step.survey, harness.whole)


def test_a_forked_child_leaves_the_store_of_its_parent_alone(harness: Any, harnesses: ModuleType) -> None:
    store = harness.fresh()
    steps = harnesses.half_done(surveying(harness.net, harness.pictures, store=store, **harness.options))
    for written in list(threads._meanwhile):
        written.wait()
    before = store.read_bytes()
    # The claim of the parent's shard is in it, which ending its work in the child would take back.
    said = told(harnesses, lambda: None, steps.close, lambda: harness.survey(harness.fresh()))
    assert said == ["nothing", "nothing"]
    assert store.read_bytes() == before
    (said_of_steps,) = told(harnesses, lambda: None, lambda: list(steps))
    assert said_of_steps.startswith("StoreError Expected the process that opened the store")
    *_, last = steps
    assert harnesses.same(last.survey, harness.whole)


# ---- in somebody else's store


def forge(store: Path, table: str, where: str, **columns: Any) -> None:
    """Write values into a row, with digests that fit: somebody wrote them so."""
    with closing(sqlite3.connect(store)) as file, file:
        file.row_factory = sqlite3.Row
        row = {**file.execute(f"SELECT * FROM {table} WHERE {where}").fetchone(), **columns}
        key = json.loads(file.execute("SELECT text FROM about").fetchone()[0])["key?"]
        if table == "shards":
            made = [row[name] for name in ("id", "again", "indices", "pictures", "identity")]
            done = [row[name] for name in ("id", "failed", "record", "traces")]
            row |= {"digest": stores._digest(key, *made), "done": stores._digest(key, *done)}
        else:
            row["digest"] = stores._digest(key, *[value for name, value in row.items() if name not in ("id", "digest")])
        file.execute(f"DELETE FROM {table} WHERE {where}")
        file.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", tuple(row.values()))


@pytest.fixture
def forged(harness: Any) -> Path:
    store: Path = harness.fresh()
    store.write_bytes(harness.finished.read_bytes())
    return store


@pytest.fixture(scope="module")
def bomb() -> bytes:
    maker = zlib.compressobj(9)
    return b"".join([*(maker.compress(bytes(2**20)) for _ in range(600)), maker.flush()])


@pytest.mark.parametrize(
    ("table", "where", "column"),
    [("nodes", "level = 1", "part"), ("shards", "id = 1", "pictures"), ("shards", "id = 1", "record")],
)
def test_sizes_are_bounded_before_memory_is_taken(
    harness: Any, forged: Path, bomb: bytes, table: str, where: str, column: str
) -> None:
    forge(forged, table, where, **{column: bomb})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(StoreError, match=r"holds more than the [\d,]+ bytes that it can need"):
        harness.load(forged)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000, "kB"


@pytest.mark.parametrize("name", ["../../../etc/passwd", "/etc/passwd", "a/../../b.png", "cat/..", "a\0b"])
def test_names_stay_inside_the_folder(harness: Any, forged: Path, name: str) -> None:
    with closing(sqlite3.connect(forged)) as file:
        (data,) = file.execute("SELECT pictures FROM shards WHERE id = 0").fetchone()
    text = json.loads(zlib.decompress(data))
    text["identities"][1] = name
    identity = stores.digest_of_identities(text["identities"])
    forge(forged, "shards", "id = 0", pictures=zlib.compress(json.dumps(text).encode()), identity=identity)
    with pytest.raises(ArgumentError, match="leads out"):
        harness.load(forged)


def test_numbers_that_no_pictures_have_take_no_memory(harness: Any, forged: Path) -> None:
    with closing(sqlite3.connect(forged)) as file:
        indices, record = file.execute("SELECT indices, record FROM shards WHERE id = 6").fetchone()
    numbers = np.frombuffer(indices, np.int64)
    images, labels, failures = json.loads(zlib.decompress(record))
    far = (numbers + 10**12).tobytes()
    record = zlib.compress(json.dumps([[i + 10**12 for i in images], labels, failures]).encode())
    forge(forged, "shards", "id = 6", indices=far, record=record)
    with pytest.raises(StoreError, match="numbers that no pictures have"):
        harness.load(forged)


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TRIGGER t AFTER INSERT ON nodes BEGIN DELETE FROM nodes; END",
        "CREATE VIEW v AS SELECT 1",
        "CREATE INDEX i ON shards (owner)",
        "ALTER TABLE nodes ADD COLUMN more",
        "DROP TABLE nodes",
    ],
)
def test_other_tables_are_refused(harness: Any, forged: Path, statement: str) -> None:
    with closing(sqlite3.connect(forged)) as file, file:
        file.execute(statement)
    with pytest.raises(StoreError, match="tables are not those of a store"):
        harness.load(forged)


@pytest.mark.parametrize("table", ["about", "shards", "nodes"])
@pytest.mark.parametrize("rows", ["one", "all"])
def test_rows_of_another_store_are_refused(harness: Any, forged: Path, table: str, rows: str) -> None:
    """Of the same pictures, settings and shapes, but other weights: what a digest of the row alone does not see."""
    other = harness.fresh()
    weights = harness.net.with_tensors(lambda tensor: tensor * 1.5, "another")
    survey(weights, harness.pictures, store=other, **harness.options, progress=False)
    where = "1" if rows == "all" else "rowid = (SELECT max(rowid) FROM other.shards)"
    where = "level = 2" if (table, rows) == ("nodes", "one") else "1" if table == "about" else where
    with closing(sqlite3.connect(forged)) as file:
        file.execute("ATTACH ? AS other", (str(other),))
        with file:
            assert file.execute(f"REPLACE INTO main.{table} SELECT * FROM other.{table} WHERE {where}").rowcount > 0
    for read in (harness.load, harness.survey):
        with pytest.raises((StoreError, ArgumentError), match=r"^Expected "):
            read(forged)
    # Somebody who wants the other's results gets nothing of the mixture either.
    with pytest.raises((StoreError, ArgumentError), match=r"^Expected "):
        load_survey(forged, weights)


def test_stores_that_were_made_before_rows_had_a_key_go_on(harness: Any, harnesses: ModuleType) -> None:
    store = harness.fresh()
    store.write_bytes(harness.half.read_bytes())
    with closing(sqlite3.connect(store)) as file, file:
        ((text, count),) = file.execute("SELECT text, shards FROM about").fetchall()
        about = {name: value for name, value in json.loads(text).items() if name != "key?"}
        said = (json.dumps(about), count)
        file.execute("UPDATE about SET text = ?, digest = ?", (said[0], stores._digest(*said)))
        for row in file.execute("SELECT id, again, indices, pictures, identity FROM shards").fetchall():
            file.execute("UPDATE shards SET digest = ? WHERE id = ?", (stores._digest(*row), row[0]))
        done = "SELECT id, failed, record, traces FROM shards WHERE done IS NOT NULL"
        for row in file.execute(done).fetchall():
            file.execute("UPDATE shards SET done = ? WHERE id = ?", (stores._digest(*row), row[0]))
        for row in file.execute("SELECT level, position, piece, pieces, part FROM nodes").fetchall():
            place = (stores._digest(*row), *row[:3])
            file.execute("UPDATE nodes SET digest = ? WHERE level = ? AND position = ? AND piece = ?", place)
    harness.load(store)
    assert harnesses.same(harness.survey(store), harness.whole)


# ---- out of reach


def test_a_full_disk_keeps_what_was_done(harness: Any, harnesses: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    store = harness.fresh()
    made = Store.__init__

    def small(self: Store, *arguments: Any, **options: Any) -> None:
        made(self, *arguments, **options)
        self._file.execute("PRAGMA max_page_count = 7")

    with monkeypatch.context() as patch:
        patch.setattr(Store, "__init__", small)
        with pytest.raises(StoreError, match=r"got a full disk\. Shards that were done are safe.* Make room"):
            harness.survey(store)
    assert harnesses.checked(harness, store, 0) > 0
    assert harnesses.same(harness.survey(store), harness.whole)


def told(harnesses: ModuleType, prepare: Callable[[], object], *calls: Callable[[], object]) -> list[str]:
    """Make calls in another process, and return what each says: its error, or nothing."""
    with tempfile.TemporaryFile("w+") as said:

        def run() -> None:
            prepare()
            for call in calls:
                try:
                    call()
                    print("nothing", file=said)
                except Exception as error:
                    print(type(error).__name__, str(error).replace("\n", " "), file=said)
            said.flush()

        _, status = os.waitpid(harnesses.forked(run), 0)
        assert status == 0
        said.seek(0)
        return said.read().splitlines()


def test_a_disk_that_takes_no_more_keeps_what_was_done(harness: Any, harnesses: ModuleType) -> None:
    store = harness.fresh()

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (26_000, 26_000))

    said = told(harnesses, limit, *[lambda: harness.survey(store)] * 2)
    assert [line.startswith("StoreError Expected ") for line in said] == [True, True], said
    assert all("got a full disk: its file may not become larger" in line for line in said), said
    assert all("Shards that were done are safe" in line for line in said)
    assert sorted(os.listdir(store.parent)) == [store.name], "what was tried is gone"
    assert harnesses.checked(harness, store, 0) > 0
    assert harnesses.same(harness.survey(store), harness.whole)


def test_a_locked_store_says_so(harness: Any, monkeypatch: pytest.MonkeyPatch, forged: Path) -> None:
    monkeypatch.setattr(stores, "_PATIENCE", 0.01)
    with closing(sqlite3.connect(forged, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        for read in (harness.load, harness.survey):
            with pytest.raises(StoreError, match=r"another process has kept locked\. .* make the same call again"):
                read(forged)
        other.execute("ROLLBACK")
    harness.load(forged)


@pytest.mark.parametrize("how", ["moved", "replaced", "with its folder"])
def test_a_store_that_was_taken_away_says_so_and_goes_on_when_it_is_back(
    harness: Any, harnesses: ModuleType, forged: Path, how: str
) -> None:
    store, away = harness.fresh(), harness.folder / f"away {how}"
    steps = harnesses.half_done(surveying(harness.net, harness.pictures, store=store, **harness.options))
    (store.parent if how == "with its folder" else store).rename(away)
    if how == "replaced":
        store.write_bytes(forged.read_bytes())
    came = "another file in its place" if how == "replaced" else "none there"
    with pytest.raises(StoreError, match=rf"to stay there .* got {came}: .* Bring it back"):
        list(steps)
    if how == "replaced":
        assert store.read_bytes() == forged.read_bytes()
        store.unlink()
    away.rename(store.parent if how == "with its folder" else store)
    assert harnesses.checked(harness, store, 0) > 0
    assert harnesses.same(harness.survey(store), harness.whole)


def nobody() -> None:
    if os.getuid() == 0:  # who may write everywhere
        os.setgid(65534)
        os.setuid(65534)


def test_a_store_that_cannot_be_written_can_be_loaded(harness: Any, harnesses: ModuleType) -> None:
    with tempfile.TemporaryDirectory() as root:
        os.chmod(root, 0o755)
        folder, pictures = Path(root, "folder"), harnesses.pictures(Path(root, "pictures"))
        folder.mkdir()
        survey(harness.net, pictures, store=folder / "x.survey", **harness.options, progress=False)
        (folder / "x.survey").chmod(0o444)
        folder.chmod(0o555)
        before = (folder / "x.survey").read_bytes()
        said = told(
            harnesses, nobody,
            lambda: harness.load(folder / "x.survey"),
            lambda: go(harness.net, pictures, folder / "x.survey", **harness.options),
            lambda: go(harness.net, pictures, folder / "new"),
        )  # fmt: skip
        assert said[0] == "nothing"
        for line in said[1:]:
            assert line.startswith("StoreError Expected a store at "), line
            assert "may be read, and written where results are added" in line
        assert os.listdir(folder) == ["x.survey"]
        assert (folder / "x.survey").read_bytes() == before


def test_what_nobody_may_look_at_is_named(harness: Any, harnesses: ModuleType) -> None:
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root, "folder")
        folder.mkdir()
        harness.survey(folder / "x.survey")
        patterns = fit_patterns(harness.net, torch.rand(2, 3, 8, 8), progress=False)
        Image.new("RGB", (8, 8)).save(folder / "x.png")
        os.chmod(root, 0o700 if os.getuid() == 0 else 0o000)
        said = told(
            harnesses, nobody,
            lambda: harness.load(folder / "x.survey"),
            lambda: go(harness.net, torch.rand(2, 3, 8, 8), folder / "x.survey"),
            lambda: Patterns.load(folder / "x"),
            lambda: patterns.save(folder / "x"),
            lambda: read_image(folder / "x.png"),
            lambda: Images.of(root),
        )  # fmt: skip
        os.chmod(root, 0o700)
        assert [line.split()[0] for line in said] == ["StoreError"] * 4 + ["ImageError"] * 2, said
        assert all("Permission denied" in line for line in said)


@pytest.mark.parametrize("store", [5, True, b"x", "", "a\0b", 1.5, ["x"]])
def test_a_store_is_named_by_a_path(harness: Any, store: Any) -> None:
    for call in (lambda: harness.survey(store), lambda: harness.load(store)):
        with pytest.raises(ArgumentError, match="Expected store as the path of a file, got "):
            call()


def test_what_is_no_file_is_refused_at_once(harness: Any, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(ArgumentError, match="Expected a file for the store"):
            harness.survey(path)
        with pytest.raises(ArgumentError, match="is no file"):
            harness.load(path)


# ---- what results were made from: preprocessing


def prepared(
    mean: float = 0.5, std: float = 0.5, size: int = 8, how: Any = transforms.InterpolationMode.BILINEAR
) -> Any:
    steps = transforms.Resize((size, size), how), transforms.CenterCrop(8), transforms.ToTensor()
    return transforms.Compose([*steps, transforms.Normalize([mean] * 3, [std] * 3)])


def networks(*preprocess: Any) -> list[Network]:
    found = []
    for one in preprocess:
        torch.manual_seed(0)
        layers = nn.Conv2d(3, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(108, 2)
        found.append(Network(nn.Sequential(*layers).eval(), input_size=8, preprocess=one))
    return found


class ByHand:
    """The same as `prepared`, written by hand, and described by a name in memory."""

    def __call__(self, picture: Image.Image) -> torch.Tensor:
        pixels = np.asarray(picture.resize((8, 8), Image.Resampling.BILINEAR), np.float32) / 255
        return torch.from_numpy((pixels - 0.5) / 0.5).permute(2, 0, 1)


@settings(max_examples=25)
@given(
    mean=st.floats(0, 0.9),
    std=st.floats(0.05, 1),
    size=st.integers(8, 10),
    how=st.sampled_from(["nearest", "bilinear", "bicubic"]),
)
def test_preprocessings_differ_where_their_values_do(mean: float, std: float, size: int, how: str) -> None:
    way = transforms.InterpolationMode(how)
    one, other = (Preprocessing(made, (3, 8, 8)) for made in (prepared(), prepared(mean, std, size, way)))
    picture = Image.fromarray(np.random.default_rng(1).integers(0, 256, (21, 30, 3), np.uint8))
    gap = float((one.prepare(picture) - other.prepare(picture)).abs().max())
    words = Preprocessing.difference(one.identity, other.identity)
    if gap > 1e-3:
        assert words is not None
    if gap == 0:
        assert words is None
    assert Preprocessing.difference(one.identity, json.loads(json.dumps(one.identity))) is None


def test_another_preprocessing_is_refused_wherever_results_go_on(harness: Any, tmp_path: Path) -> None:
    right, wrong, same = networks(prepared(), prepared(0.1, 0.05), ByHand())
    assert right.fingerprint == wrong.fingerprint
    store, fit = tmp_path / "x.survey", tmp_path / "x.fit"
    made = survey(wrong, harness.pictures, store=store, progress=False)
    half = surveying(wrong, harness.pictures, store=tmp_path / "half", shards=4, batch_size=1)
    for _ in range(8):
        next(half)
    half.close()
    fit_patterns(wrong, harness.pictures, store=fit, progress=False)
    for call in (
        lambda: survey(right, harness.pictures, store=store, progress=False),
        lambda: survey(right, harness.pictures, store=tmp_path / "half", progress=False),
        lambda: load_survey(store, right),
        lambda: survey(right, harness.pictures, start=made, progress=False),
        lambda: fit_patterns(right, harness.pictures, store=fit, progress=False),
        lambda: made.merge(survey(right, harness.pictures, progress=False)),
        lambda: made.require(right),
    ):
        with pytest.raises(ArgumentError, match=r"prepared .*got .*mean=\[0.1, 0.1, 0.1\].*of the range of values"):
            call()
    made = survey(right, harness.pictures, store=tmp_path / "right", progress=False)
    again = survey(same, harness.pictures, store=tmp_path / "right", progress=False)
    assert np.array_equal(made.arrays("0").values, again.arrays("0").values)


def shrunk(picture: Image.Image) -> torch.Tensor:
    return transforms.functional.to_tensor(picture.resize((8, 8)))


@pytest.mark.parametrize(
    "chosen",
    [
        lambda picture: picture.height > picture.width,
        lambda picture: picture.width < 8,
        lambda picture: picture.width > 500,
        lambda picture: picture.width > picture.height,
    ],
    ids=["upright", "small", "large", "oblong"],
)
def test_so_is_one_that_differs_for_pictures_of_some_sizes(chosen: Callable[[Image.Image], bool], harness: Any) -> None:
    turned = networks(shrunk, lambda picture: shrunk(picture.rotate(180) if chosen(picture) else picture))
    store = harness.fresh()
    survey(turned[0], harness.pictures, store=store, progress=False)
    with pytest.raises(ArgumentError, match=r"prepared alike, got another preprocessing.*of the range of values"):
        survey(turned[1], harness.pictures, store=store, progress=False)


def test_what_a_preprocessing_was_set_to_since_is_seen(harness: Any) -> None:
    steps = prepared()
    (net,) = networks(steps)
    store = harness.fresh()
    survey(net, harness.pictures, store=store, progress=False)
    steps.transforms[-1].mean = [0.1] * 3
    with pytest.raises(ArgumentError, match="prepared alike, got another preprocessing"):
        survey(net, harness.pictures, store=store, progress=False)


def test_stores_that_know_of_one_picture_how_they_were_prepared_go_on(harness: Any) -> None:
    one, other = (made.preprocessing.identity for made in networks(prepared(), prepared(0.1)))
    earlier = {name: value for name, value in one.items() if name != "others"}
    assert Preprocessing.difference(earlier, one) is None
    assert Preprocessing.difference(one, earlier) is None
    assert Preprocessing.difference(earlier, other) is not None


def test_an_occlusion_map_whose_predictions_tell_nothing_knows_its_preprocessing(harness: Any, tmp_path: Path) -> None:
    """With a thousand classes nobody learnt, all probabilities are a thousandth, whatever is shown."""

    def untrained(preprocess: Any) -> Network:
        torch.manual_seed(0)
        layers = nn.Conv2d(3, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(108, 1000)
        return Network(nn.Sequential(*layers).eval(), input_size=8, preprocess=preprocess)

    right, wrong = untrained(prepared()), untrained(prepared(0.52))
    picture = next(harness.pictures.rglob("0.png"))
    first = next(occluding_map(wrong, picture, 4, 2))
    for start in (first, OcclusionResult.load(first.save(tmp_path / "map"))):
        assert np.allclose(start.clean.probabilities, right.predict(picture).probabilities, atol=1e-4)
        with pytest.raises(ArgumentError, match=r"one of another preprocessing \(.*of the range of values"):
            occluding_map(right, picture, 4, 2, target=start.target, channel=start.channel, start=start)
        assert list(occluding_map(wrong, picture, 4, 2, start=start))[-1].complete


def test_an_occlusion_map_goes_on_with_its_own_preprocessing(harness: Any) -> None:
    right, wrong = networks(prepared(), prepared(0.1, 0.05))
    picture = next(harness.pictures.rglob("0.png"))
    first = next(occluding_map(wrong, picture, 4, 2))
    with pytest.raises(ArgumentError, match="of another preprocessing, with which it predicts something else"):
        occluding_map(right, picture, 4, 2, target=first.target, channel=first.channel, start=first)
    assert list(occluding_map(wrong, picture, 4, 2, start=first))[-1].complete


def test_patterns_are_refused_for_another_preprocessing(harness: Any, tmp_path: Path) -> None:
    right, wrong = networks(prepared(), prepared(0.1, 0.05))
    patterns = fit_patterns(wrong, harness.pictures, progress=False)
    patterns = Patterns.load(patterns.save(tmp_path / "x.patterns"))
    patterns.require(wrong)
    with pytest.raises(ArgumentError, match="prepared as"):
        patterns.require(right)


# ---- what results were made from: pictures


def files(folder: Path, count: int = 6) -> Path:
    folder.mkdir(exist_ok=True)
    for number in range(count):
        noise = np.random.default_rng(number).integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(noise).save(folder / f"{number}.bmp")
    return folder


def go(net: Network, images: Any, store: Path, **options: Any) -> Survey:
    return survey(net, images, store=store, progress=False, **{"shards": 3, "batch_size": 1, **options})


def test_a_file_with_other_content_of_the_same_size_is_refused(net: Network, tmp_path: Path) -> None:
    folder = files(tmp_path / "p")
    go(net, folder, tmp_path / "s")
    changed = bytearray((folder / "2.bmp").read_bytes())
    changed[100] ^= 1
    was = os.stat(folder / "2.bmp")
    (folder / "2.bmp").write_bytes(changed)
    for call in (lambda: go(net, folder, tmp_path / "s"), lambda: load_survey(tmp_path / "s", net)):
        with pytest.raises(ArgumentError, match=r"picture 2 '2.bmp' has another content now\. Give .* delete"):
            call()
        os.utime(folder / "2.bmp", ns=(was.st_atime_ns, was.st_mtime_ns))  # which does not hide it


def test_files_that_were_copied_or_touched_are_the_same(net: Network, tmp_path: Path) -> None:
    folder = files(tmp_path / "p")
    made = go(net, folder, tmp_path / "s")
    for file in folder.iterdir():
        data = file.read_bytes()
        file.unlink()
        file.write_bytes(data)
        os.utime(file, (1, 1))
    assert np.array_equal(go(net, folder, tmp_path / "s").arrays("0").values, made.arrays("0").values)


def test_of_many_files_with_other_times_a_random_choice_is_read(
    net: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them when they are few: the bound is on what opening a store may take."""
    from convscope_core.jobs import sameness

    folder = files(tmp_path / "p", 12)
    go(net, folder, tmp_path / "s")
    for file in folder.iterdir():
        os.utime(file, (1, 1))
    read: list[int] = []
    trace = Images.trace
    monkeypatch.setattr(sameness, "_READ", 5)
    monkeypatch.setattr(Images, "trace", lambda self, index: (read.append(index), trace(self, index))[1])
    load_survey(tmp_path / "s", net)
    assert len(set(read)) == 5


def test_items_of_data_sets_are_known_behind_subsets(net: Network, tmp_path: Path) -> None:
    d = TensorDataset(torch.cat([torch.rand(6, 3, 8, 8), 3 + torch.rand(6, 3, 8, 8)]), torch.arange(12))
    store = tmp_path / "s"
    go(net, Subset(d, range(6)), store)
    with pytest.raises(ArgumentError, match="picture 0 was 'TensorDataset 0' labelled '0' and is 'TensorDataset 6'"):
        go(net, Subset(d, range(6, 12)), store)
    whole = go(net, d, store)  # begins with the half
    assert whole.seen.sum() == 12
    again = go(net, Subset(Subset(d, range(11, -1, -1)), range(11, -1, -1)), store)
    assert np.array_equal(whole.arrays("0").values, again.arrays("0").values)


def test_other_items_labels_and_transforms_are_refused(net: Network, tmp_path: Path) -> None:
    x, y = torch.rand(6, 3, 8, 8), torch.arange(6)
    store = tmp_path / "s"
    go(net, TensorDataset(x, y), store)
    with pytest.raises(ArgumentError, match=r"picture 3 was 'TensorDataset 3' labelled '3' and is .* labelled '5'"):
        go(net, TensorDataset(x, torch.where(y == 3, 5, y)), store)
    with pytest.raises(ArgumentError, match="picture 0 'TensorDataset 0' labelled '0' has another content or label"):
        go(net, TensorDataset(x + 1, y), store)
    with pytest.raises(ArgumentError, match="at the end, got 5"):
        go(net, TensorDataset(x[:5], y[:5]), store)
    with pytest.raises(ArgumentError, match=r"was 'TensorDataset 0'.* and is '0/TensorDataset 0'"):
        go(net, ConcatDataset([TensorDataset(x, y)]), store)


class Labelled(Dataset[Any]):
    """A data set that says what its pictures depend on, or not, and may draw at random."""

    classes = ("cat", "dog")

    def __init__(self, seed: int, targets: list[int], random: bool = False, known: bool = False) -> None:
        self.seed, self.targets, self.random = seed, targets, random
        if known:
            self.identity = f"Labelled {seed}"
        self.decoded: list[int] = []

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> Any:
        self.decoded.append(index)
        rng = np.random.default_rng([index, self.seed] if not self.random else None)
        return Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)), self.targets[index]


def test_data_sets_are_decoded_a_little_or_not_at_all(net: Network, tmp_path: Path) -> None:
    targets = [0, 1] * 20
    for known, decoded in ((False, 8), (True, 0)):
        store = tmp_path / f"s{known}"
        go(net, Labelled(0, targets, known=known), store)
        again = Labelled(0, targets, known=known)
        go(net, again, store)
        assert len(again.decoded) == decoded
        with pytest.raises(ArgumentError, match=r"picture 0 'Labelled 0' labelled 'cat' has another content"):
            go(net, Labelled(1, targets, known=known), store)
        with pytest.raises(ArgumentError, match="was 'Labelled 2' labelled 'cat' and is 'Labelled 2' labelled 'dog'"):
            go(net, Labelled(0, [0, 1, 1, *targets[3:]], known=known), store)
    go(net, Labelled(0, targets, random=True), tmp_path / "random")
    with pytest.raises(ArgumentError, match=r"If the data set draws at random, leave that out\. Give"):
        go(net, Labelled(0, targets, random=True), tmp_path / "random")


class Unsaid(Dataset[Any]):
    """Labels that only decoding tells."""

    def __init__(self, shift: int) -> None:
        self.shift = shift

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> Any:
        return Image.new("RGB", (8, 8), (index, 0, 0)), (index + self.shift) % 3


def test_what_a_data_set_makes_of_its_files_and_labels_is_known(net: Network, tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    files(tmp_path / "p" / "a", 4)
    files(tmp_path / "p" / "b", 3)
    touched = [tmp_path / "p" / "a" / f"{number}.bmp" for number in range(4)]
    made = {
        "plain": lambda: ImageFolder(tmp_path / "p"),
        "labels": lambda: ImageFolder(tmp_path / "p", target_transform=lambda target: 1 - target),
        "pictures": lambda: ImageFolder(tmp_path / "p", transform=lambda image: image.transpose(0)),
        "unsaid": lambda: Unsaid(0),
        "other": lambda: Unsaid(1),
        "later": lambda: ConcatDataset([Unsaid(0), ImageFolder(tmp_path / "p")]),
        "later labels": lambda: ConcatDataset(
            [Unsaid(0), ImageFolder(tmp_path / "p", target_transform=lambda target: 1 - target)]
        ),
    }
    for was in made:
        go(net, made[was](), tmp_path / was)
        for now in made:
            if was == now:
                for file in touched:
                    os.utime(file, (1, 1))
                go(net, made[now](), tmp_path / was)
            else:
                with pytest.raises(ArgumentError, match="the pictures that the store"):
                    go(net, made[now](), tmp_path / was)


class Elsewhere(Dataset[Any]):
    """Pictures that a data set names as files, which are not there: in an archive, on a network."""

    def __init__(self, seed: int, named: tuple[Any, Any] = ("archive://pictures/1", 0)) -> None:
        self.seed, self.samples = seed, [named] * 12

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> Any:
        rng = np.random.default_rng([self.seed, index])
        return Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)), 0


@pytest.mark.parametrize("named", [("archive://pictures/1", 0), ("cat", "pictures/1.png"), ({"file": 1}, 0)])
def test_what_a_data_set_names_as_a_file_need_not_be_one(named: Any, net: Network, tmp_path: Path) -> None:
    go(net, Elsewhere(0, named), tmp_path / "s")
    go(net, Elsewhere(0, named), tmp_path / "s")
    with pytest.raises(ArgumentError, match="has another content or label now"):
        go(net, Elsewhere(1, named), tmp_path / "s")


@pytest.mark.parametrize("name", ["targets", "labels", "_labels"])
def test_one_other_label_of_many_is_found_wherever_a_data_set_keeps_them(
    name: str, net: Network, tmp_path: Path
) -> None:
    def made(changed: int) -> Unsaid:
        found = Unsaid(0)
        setattr(found, name, [7 if index == changed else index % 3 for index in range(12)])
        return found

    go(net, made(99), tmp_path / "s")
    for changed in range(12):
        with pytest.raises(ArgumentError, match=f"picture {changed} was .* and is 'Unsaid {changed}' labelled '7'"):
            go(net, made(changed), tmp_path / "s")


@pytest.mark.parametrize("of", ["arrays", "files"])
def test_labels_of_lists_belong_to_what_a_survey_in_memory_is_of(of: str, net: Network, tmp_path: Path) -> None:
    folder = files(tmp_path / "p", 6)
    known = [folder / f"{number}.bmp" if of == "files" else np.full((8, 8, 3), number, np.uint8) for number in range(6)]

    def labelled(label: str, count: int) -> Images:
        paths = [one if isinstance(one, Path) else None for one in known[:count]]
        return Images.of([Picture(*pair, label, path) for *pair, path in zip(known, "abcdef", paths, strict=False)])

    begun = survey(net, labelled("cat", 4), progress=False)
    assert survey(net, labelled("cat", 6), start=begun, progress=False).seen.all()
    rest = survey(net, labelled("dog", 6), indices=[4, 5], progress=False)
    for call in (
        lambda: survey(net, labelled("dog", 6), start=begun, progress=False),
        lambda: survey(net, labelled("dog", 6)[::1], start=begun, progress=False),
        lambda: survey(net, labelled("dog", 5) + labelled("dog", 1), start=begun, progress=False),
        lambda: begun.merge(rest),
        lambda: rest.merge(begun),
    ):
        with pytest.raises(ArgumentError, match="images"):
            call()


def test_labels_of_lists_belong_to_what_a_store_is_of(net: Network, tmp_path: Path) -> None:
    x = np.zeros((8, 8, 3), np.uint8)
    go(net, [Picture(x, "a", "cat"), Picture(x, "b", "cat")], tmp_path / "s", shards=1)
    with pytest.raises(ArgumentError, match="picture 1 was 'b' labelled 'cat' and is 'b' labelled 'dog'"):
        go(net, [Picture(x, "a", "cat"), Picture(x, "b", "dog")], tmp_path / "s", shards=1)
    with pytest.raises(ArgumentError, match="picture 1 'b' labelled 'cat' has another content"):
        go(net, [Picture(x, "a", "cat"), Picture(x + 1, "b", "cat")], tmp_path / "s", shards=1)


def test_a_picture_that_was_changed_in_memory_is_not_its_file(net: Network, tmp_path: Path) -> None:
    folder = files(tmp_path / "p", 2)
    x = np.zeros((8, 8, 3), np.uint8)
    given = [Picture(x + n, "same", None, folder / "0.bmp") for n in range(2)]
    go(net, given[:1], tmp_path / "s", shards=1)
    with pytest.raises(ArgumentError, match="another content"):
        go(net, given[1:], tmp_path / "s", shards=1)
    opened = [Image.open(folder / f"{n}.bmp") for n in range(2)]
    go(net, opened, tmp_path / "opened", shards=1)
    go(net, [Image.open(folder / f"{n}.bmp") for n in range(2)], tmp_path / "opened", shards=1)


# ---- what could not be read


def test_a_drive_that_was_away_is_looked_at_again(net: Network, harnesses: ModuleType, tmp_path: Path) -> None:
    """Shards of which nothing could be read are done in their places: to the same bits as if nothing had happened."""
    folder = files(tmp_path / "p", 12)
    paths = [folder / f"{number}.bmp" for number in range(12)]
    whole = survey(net, paths, shards=3, batch_size=1, progress=False)
    folder.rename(tmp_path / "away")
    with pytest.raises(ImageError, match="12 that all failed"):
        go(net, paths, tmp_path / "s")
    folder.mkdir()
    for number in range(6):
        (tmp_path / "away" / f"{number}.bmp").rename(folder / f"{number}.bmp")
    half = go(net, paths, tmp_path / "s")
    assert [entry.image for entry in half.skipped] == list(range(6, 12))
    for number in range(6, 12):
        (tmp_path / "away" / f"{number}.bmp").rename(folder / f"{number}.bmp")
    steps = list(surveying(net, paths, store=tmp_path / "s", shards=3, batch_size=1))
    assert steps[-1].total == 6
    assert np.array_equal(steps[-1].survey.arrays("0").values, whole.arrays("0").values)
    assert not steps[-1].skipped
    assert harnesses.consistent(steps[-1].survey) or not steps[-1].survey.labels
    assert not list(surveying(net, paths, store=tmp_path / "s"))[-1].total


@settings(max_examples=12)
@given(away=st.lists(st.sets(st.integers(0, 8), max_size=8), max_size=4))
def test_whatever_fails_for_a_while_is_there_in_the_end(
    net: Network, tmp_path_factory: pytest.TempPathFactory, away: list[set[int]]
) -> None:
    root = tmp_path_factory.mktemp("passing")
    folder, store = files(root / "p", 9), root / "s"
    paths = [folder / f"{number}.bmp" for number in range(9)]
    done: set[int] = set()
    for missing in [*away, set()]:
        for number in missing:
            paths[number].rename(root / f"{number}")
        step = list(surveying(net, paths, store=store, shards=3, batch_size=1))[-1]
        done |= set(range(9)) - missing
        assert set(np.flatnonzero(step.survey.seen)) == done
        assert {entry.image for entry in step.skipped} == set(range(9)) - done
        assert step.survey._statistics.health.images == len(done)
        for number in missing:
            (root / f"{number}").rename(paths[number])
    whole = survey(net, paths, batch_size=1, progress=False)
    assert np.array_equal(step.survey.arrays("0").values, whole.arrays("0").values)
    assert np.array_equal(step.survey.arrays("0").images, whole.arrays("0").images)
    np.testing.assert_allclose(step.survey.health("0").mean, whole.health("0").mean, rtol=1e-12)


# ---- processes that die


class Deadly(Dataset[Any]):
    """A data set one of whose eight pictures kills the process that reads it, until it is told not to."""

    def __init__(self, flag: Path, deadly: int = 2) -> None:
        self.flag = flag
        self.deadly = deadly

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> torch.Tensor:
        if index == self.deadly and self.flag.exists() and multiprocessing.parent_process() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return torch.full((3, 8, 8), index / 8)


def test_a_process_that_reads_pictures_and_dies_is_named(net: Network, tmp_path: Path) -> None:
    (tmp_path / "flag").touch()
    pictures = Deadly(tmp_path / "flag")
    with pytest.raises(ExecutorError, match=r"read pictures \(workers\) to live, got one that died: .*workers=0"):
        go(net, pictures, tmp_path / "s", shards=4, workers=1, batch_size=1)
    (tmp_path / "flag").unlink()
    assert go(net, pictures, tmp_path / "s", workers=1).seen.all()


def test_a_pool_that_broke_or_was_shut_down_says_how_to_go_on(
    net: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(HERE.parent.parent)  # a spawned process imports this module as pytest has named it
    store, spawn = tmp_path / "s", multiprocessing.get_context("spawn")
    (tmp_path / "flag").touch()
    pictures = Deadly(tmp_path / "flag", deadly=7)
    broke = r"BrokenProcessPool.*new executor.* are kept in .* the same call goes"
    with ProcessPoolExecutor(1, mp_context=spawn) as pool, pytest.raises(ExecutorError, match=broke):
        survey(net, pictures, store=store, shards=4, batch_size=1, executor=pool, progress=False)
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        pass
    with pytest.raises(ExecutorError, match="cannot schedule new futures after shutdown"):
        survey(net, pictures, store=store, executor=pool, progress=False)
    assert load_survey(store, net, pictures).seen.sum() == 6, "the shards before the one that killed its process"
    (tmp_path / "flag").unlink()
    assert survey(net, pictures, store=store, progress=False).seen.all()
