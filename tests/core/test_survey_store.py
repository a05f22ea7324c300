"""Surveys that are kept: killed, shared, resumed, spread over processes and machines, and always the same."""

from __future__ import annotations

import io
import multiprocessing
import os
import random
import signal
import sqlite3
import subprocess
import sys
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from convscope_core.errors import ArgumentError, ExecutorError, ImageError, NetworkError, StoreError
from convscope_core.network import Network
from convscope_core.patterns import fit_patterns, fitting_patterns
from convscope_core.survey import Survey, load_survey, survey, surveying

SIZE = 16
COUNT = 40

# What another process needs to make the same survey; run with the folder, the store and the number of shards.
SCRIPT = """
import sys
import torch
from torch import nn
from convscope_core.network import Network
from convscope_core.survey import surveying
torch.set_num_threads(1)
torch.manual_seed(0)
module = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU6(), nn.Conv2d(5, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(576, 3))
folder, store, shards, device = sys.argv[1:]
net = Network(module.eval(), input_size=16, device=device)
print("ready", flush=True)
for step in surveying(net, folder, store=store, shards=int(shards), batch_size=1, k=3):
    pass
print("done", flush=True)
"""


@pytest.fixture(scope="module")
def net() -> Network:
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 5, 3), nn.ReLU6(), nn.Conv2d(5, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(576, 3)
    return Network(nn.Sequential(*layers).eval(), input_size=SIZE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(0)
    for number in range(COUNT):
        place = root / ("cat", "dog", "fox")[number % 3]
        place.mkdir(exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (SIZE, SIZE, 3), np.uint8)).save(place / f"{number}.png")
    (root / "cat" / "damaged.png").write_bytes(b"no picture")
    return root


@pytest.fixture(scope="module")
def whole(net: Network, folder: Path) -> Survey:
    """Without a store, in the shards and batches of the others."""
    return survey(net, folder, k=3, shards=8, batch_size=1, progress=False)


def assert_identical(a: Survey, b: Survey) -> None:
    """Every bit of every number."""
    assert [x.name for x in a.layers] == [x.name for x in b.layers]
    mine, theirs = a._statistics.state_dict(), b._statistics.state_dict()
    assert mine.keys() == theirs.keys()
    for key, tensor in mine.items():
        assert tensor.dtype == theirs[key].dtype
        assert torch.equal(tensor.nan_to_num(), theirs[key].nan_to_num()), key
    assert np.array_equal(a.seen, b.seen)
    assert a.skipped == b.skipped
    assert [a.label(image) for image in np.flatnonzero(a.seen)] == [b.label(i) for i in np.flatnonzero(b.seen)]


def run(net: Network, images: object, store: Path, **options: object) -> Survey:
    settings = {"k": 3, "shards": 8, "batch_size": 1, "progress": False, **options}
    return survey(net, images, store=store, **settings)  # type: ignore[arg-type]


# ---- interrupted and resumed


def test_with_a_store_the_survey_is_the_same(net: Network, folder: Path, whole: Survey, tmp_path: Path) -> None:
    made = run(net, folder, tmp_path / "x.survey")
    assert_identical(made, whole)
    assert [one.reason.split(",")[0] for one in made.skipped] == [one.reason.split(",")[0] for one in whole.skipped]
    assert len(made.skipped) == 1
    assert made.labels == ("cat", "dog", "fox")


def test_in_a_finished_store_only_what_could_not_be_read_is_tried_again(
    net: Network, folder: Path, whole: Survey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(net, folder, tmp_path / "x.survey")
    monkeypatch.setattr(net, "visit", lambda *_: pytest.fail("computed again"))
    for _ in range(3):  # in a shard of its own, and then always in that one
        (step,) = surveying(net, folder, k=3, store=tmp_path / "x.survey", shards=8)
        assert (step.done, step.total) == (1, 1)
        assert_identical(step.survey, whole)
    with sqlite3.connect(tmp_path / "x.survey") as file:
        assert file.execute("SELECT count(*) FROM shards").fetchone() == (9,)
    file.close()
    assert_identical(load_survey(tmp_path / "x.survey", net), whole)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(stops=st.lists(st.integers(1, 30), max_size=5))
def test_stopped_anywhere_and_resumed_it_is_the_same(
    net: Network, folder: Path, whole: Survey, tmp_path_factory: pytest.TempPathFactory, stops: list[int]
) -> None:
    store = tmp_path_factory.mktemp("store") / "x.survey"
    finished = 0
    for steps in stops:
        going = surveying(net, folder, k=3, shards=8, batch_size=1, store=store)
        for _, step in zip(range(steps), going, strict=False):
            latest = step
        going.close()
        # At most the shard under way is lost: a shard is a sixth of an eighth of the images at most.
        now = int(load_survey(store, net).seen.sum()) + len(load_survey(store, net).skipped)
        assert now >= finished
        assert now >= int(latest.survey.seen.sum()) + len(latest.survey.skipped) - 6
        finished = now
    assert_identical(run(net, folder, store), whole)


@pytest.mark.slow  # each process imports torch; test_stores.py kills forked ones
def test_killed_at_random_moments_it_loses_at_most_the_unfinished_shards(
    net: Network, folder: Path, whole: Survey, tmp_path: Path
) -> None:
    store = tmp_path / "x.survey"
    chance = random.Random(0)
    seen = 0
    for _ in range(6):
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(folder), str(store), "8", str(net.device)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            process.wait(timeout=chance.uniform(0.0, 0.12))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        if store.is_file() and store.stat().st_size:
            file = sqlite3.connect(store)
            assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            file.close()
            try:
                now = int(load_survey(store, net).seen.sum())
            except ArgumentError:  # killed before it was laid out
                now = 0
            assert now >= seen
            seen = now
    assert_identical(run(net, folder, store), whole)


def test_two_writers_do_each_their_share(net: Network, folder: Path, whole: Survey, tmp_path: Path) -> None:
    store = tmp_path / "x.survey"
    command = [sys.executable, "-c", SCRIPT, str(folder), str(store), "8", str(net.device)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for process in processes:
        out, _ = process.communicate(timeout=120)
        assert (process.returncode, out) == (0, "ready\ndone\n")
    assert_identical(load_survey(store, net), whole)


def test_a_shard_that_another_has_taken_is_left_for_the_end(net: Network, folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "x.survey"
    first = surveying(net, folder, k=3, shards=8, batch_size=1, store=store)
    next(first)  # has taken the first shard
    second = surveying(net, folder, k=3, shards=8, batch_size=1, store=store)
    begun = int(np.flatnonzero(next(second).survey.seen)[0])
    assert begun > 0
    *_, last = second
    assert last.survey.seen.sum() == COUNT
    *_, other = first  # finds its own shard done by the other, which does not count twice
    assert_identical(other.survey, last.survey)


def test_added_pictures_become_new_shards(net: Network, tmp_path: Path) -> None:
    pictures = list(torch.randn(20, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1)))
    store = tmp_path / "x.survey"
    run(net, pictures[:12], store, shards=3)
    grown = run(net, pictures, store, shards=2)
    whole = survey(net, pictures, k=3, batch_size=1, progress=False)
    for layer in whole.layers:
        assert np.array_equal(grown.arrays(layer).values, whole.arrays(layer).values)
        assert np.array_equal(grown.arrays(layer).images, whole.arrays(layer).images)
        assert np.allclose(grown.health(layer).mean, whole.health(layer).mean, rtol=1e-12)
    assert grown.seen.all()


# ---- refused


def test_another_network_is_refused_by_name(net: Network, folder: Path, tmp_path: Path) -> None:
    run(net, folder, tmp_path / "x.survey")
    other = net.with_tensors(lambda tensor: tensor * 1.5, "other")
    with pytest.raises(ArgumentError, match=f"same fingerprint.*{net.fingerprint[:8]}.*{other.fingerprint[:8]}"):
        run(other, folder, tmp_path / "x.survey")
    with pytest.raises(ArgumentError, match=f"weights .*{other.fingerprint[:8]}.*{net.fingerprint[:8]}"):
        load_survey(tmp_path / "x.survey", other)


def test_other_settings_are_refused_by_name(net: Network, folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "x.survey"
    run(net, folder, store, layers=["0", "2"])
    with pytest.raises(ArgumentError, match=r"same k: it is of 3, asked for is 4"):
        run(net, folder, store, layers=["0", "2"], k=4)
    with pytest.raises(ArgumentError, match=r"same layers: it is of 2, asked for is 3 \(5\)"):
        run(net, folder, store)
    with pytest.raises(ArgumentError, match="same sample"):
        run(net, folder, store, layers=["0", "2"], sample=4)
    with pytest.raises(ArgumentError, match="resume=False"):
        run(net, folder, store, layers=["0", "2"], resume=False)


def test_other_pictures_are_refused_by_name(net: Network, tmp_path: Path) -> None:
    pictures = list(torch.randn(6, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1)))
    store = tmp_path / "x.survey"
    run(net, pictures, store)
    with pytest.raises(ArgumentError, match="those and more at the end, got 5"):
        run(net, pictures[:5], store)
    changed = [*pictures[:4], pictures[4] + 1, pictures[5]]
    with pytest.raises(ArgumentError, match="picture 4 'picture 4' has another content"):
        run(net, changed, store)
    assert run(net, pictures, store).seen.all()  # nothing was lost by asking


def test_a_changed_file_is_refused_by_name(net: Network, tmp_path: Path) -> None:
    for number in range(3):
        Image.new("RGB", (SIZE, SIZE), (number, 0, 0)).save(tmp_path / f"{number}.bmp")
    store = tmp_path / "x.survey"
    run(net, tmp_path, store)
    Image.new("RGB", (SIZE, SIZE + 1)).save(tmp_path / "1.bmp")
    with pytest.raises(ArgumentError, match=r"picture 1 was '1.bmp' \(\d+ bytes\) and is '1.bmp' \(\d+ bytes\)"):
        run(net, tmp_path, store)


def test_a_file_of_another_kind_is_left_alone(net: Network, folder: Path, tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("not a data base, " * 100)
    with pytest.raises(StoreError, match="another kind of file"):
        run(net, folder, text)
    assert text.read_text().startswith("not a")
    foreign = tmp_path / "foreign"
    with sqlite3.connect(foreign) as file:
        file.execute("CREATE TABLE shards (x)")
    file.close()
    with pytest.raises(ArgumentError, match="another program"):
        run(net, folder, foreign)
    with pytest.raises(ArgumentError, match="in a folder that exists"):
        run(net, folder, tmp_path / "nowhere" / "x.survey")
    with pytest.raises(ArgumentError, match="does not exist"):
        load_survey(tmp_path / "nothing", net)


def test_a_store_and_a_survey_to_start_from_exclude_each_other(
    net: Network, folder: Path, whole: Survey, tmp_path: Path
) -> None:
    with pytest.raises(ArgumentError, match="got both"):
        run(net, folder, tmp_path / "x.survey", start=whole)


def test_pictures_that_are_no_files_have_to_be_given_again(net: Network, tmp_path: Path) -> None:
    pictures = list(torch.randn(5, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1)))
    made = run(net, pictures, tmp_path / "x.survey")
    with pytest.raises(ArgumentError, match="images="):
        load_survey(tmp_path / "x.survey", net)
    assert_identical(load_survey(tmp_path / "x.survey", net, pictures), made)


def test_files_of_a_list_are_found_again(net: Network, folder: Path, tmp_path: Path) -> None:
    files = sorted(folder.rglob("*.png"))[:5]
    made = run(net, files, tmp_path / "x.survey")
    found = load_survey(tmp_path / "x.survey", net)
    assert_identical(found, made)
    assert [picture.path for picture in found.images] == files


def test_an_error_in_the_middle_keeps_what_was_done(net: Network, tmp_path: Path) -> None:
    pictures = list(torch.randn(12, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1)))
    store = tmp_path / "x.survey"
    calls = 0
    in_pieces = net.in_pieces

    def failing(*arguments: object) -> object:
        nonlocal calls
        calls += 1
        if calls > 7:
            raise RuntimeError("out of memory")
        return in_pieces(*arguments)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(net, "in_pieces", failing)
        with pytest.raises(RuntimeError, match="out of memory"):
            run(net, pictures, store, shards=4)
    assert load_survey(store, net, pictures).seen.sum() == 6
    assert run(net, pictures, store).seen.all()


def test_pictures_in_memory_that_cannot_be_read_are_left_out_as_without_a_store(net: Network, tmp_path: Path) -> None:
    rng, written = np.random.default_rng(0), io.BytesIO()
    Image.fromarray(rng.integers(0, 255, (90, 90, 3), np.uint8)).save(written, "JPEG")
    data = written.getvalue()
    pictures = [Image.open(io.BytesIO(data[: len(data) // 2] if i == 2 else data)) for i in range(5)]
    whole = survey(net, pictures, batch_size=2, progress=False)
    assert [one.image for one in whole.skipped] == [2]
    for _ in range(2):
        made = run(net, pictures, tmp_path / "x.survey")
        assert [one.image for one in made.skipped] == [2]
        assert made.seen.sum() == 4


# ---- elsewhere


@pytest.fixture(scope="module")
def pool() -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        yield pool


def test_in_a_pool_of_processes_it_is_the_same(
    net: Network, folder: Path, whole: Survey, tmp_path: Path, pool: ProcessPoolExecutor
) -> None:
    assert_identical(survey(net, folder, k=3, shards=8, batch_size=1, executor=pool, progress=False), whole)
    stored = run(net, folder, tmp_path / "x.survey", executor=pool)
    assert_identical(stored, whole)


def test_cancelled_in_a_pool_it_keeps_the_shards_that_are_done(
    net: Network, folder: Path, whole: Survey, tmp_path: Path, pool: ProcessPoolExecutor
) -> None:
    store = tmp_path / "x.survey"
    going = surveying(net, folder, k=3, shards=8, batch_size=1, store=store, executor=pool)
    first = next(going)
    going.close()
    assert load_survey(store, net).seen.sum() >= first.survey.seen.sum() > 0
    assert_identical(run(net, folder, store), whole)


def test_workers_that_load_pictures_change_nothing(net: Network, folder: Path, whole: Survey) -> None:
    made = survey(net, folder, k=3, shards=2, batch_size=3, workers=1, progress=False)
    for layer in whole.layers:
        assert np.array_equal(made.arrays(layer).images, whole.arrays(layer).images)
        assert np.allclose(made.arrays(layer).values, whole.arrays(layer).values, rtol=1e-6)
    assert [one.image for one in made.skipped] == [one.image for one in whole.skipped]
    assert made.labels == whole.labels


class Unreliable(Executor):
    """Runs tasks at once, but some of them fail as those of a dying worker do."""

    def __init__(self, failing: set[int]) -> None:
        self.calls = 0
        self.failing = failing

    def submit(self, function, /, *arguments, **options):  # type: ignore[no-untyped-def]
        self.calls += 1
        future: Future[object] = Future()
        if self.calls in self.failing:
            future.set_exception(BrokenExecutor("a worker died"))
            return future
        try:
            future.set_result(function(*arguments, **options))
        except Exception as error:
            future.set_exception(error)
        return future


def test_a_shard_whose_worker_dies_is_computed_again(net: Network, folder: Path, whole: Survey) -> None:
    executor = Unreliable({2, 5, 6})
    assert_identical(survey(net, folder, k=3, shards=8, batch_size=1, executor=executor, progress=False), whole)
    assert executor.calls == 8 + 3


def test_a_shard_that_fails_again_and_again_ends_the_survey(net: Network, folder: Path) -> None:
    with pytest.raises(ExecutorError, match=r"BrokenExecutor: a worker died\. .* give a store to keep it"):
        survey(net, folder, k=3, shards=8, executor=Unreliable(set(range(100))), progress=False)


class Breaking(Unreliable):
    """Has done all shards, but for one whose worker died, before anybody asks."""

    def __init__(self, broken: int) -> None:
        super().__init__({broken})

    def submit(self, function, /, *arguments, **options):  # type: ignore[no-untyped-def]
        if self.calls == 8:
            raise BrokenExecutor("no more work is taken")
        return super().submit(function, *arguments, **options)


@pytest.mark.parametrize("broken", [1, 4, 8])
def test_what_is_done_behind_a_shard_that_broke_the_executor_is_kept(
    net: Network, folder: Path, whole: Survey, tmp_path: Path, broken: int
) -> None:
    options: dict[str, Any] = {"store": tmp_path / "s", "k": 3, "shards": 8, "batch_size": 1, "progress": False}
    with pytest.raises(ExecutorError, match="no more work is taken"):
        survey(net, folder, executor=Breaking(broken), **options)
    rest = Unreliable(set())
    assert_identical(survey(net, folder, executor=rest, **options), whole)
    assert rest.calls == 2, "the one that broke, and the picture that cannot be read"


def test_what_is_done_when_the_work_is_stopped_is_kept(
    net: Network, folder: Path, whole: Survey, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"store": tmp_path / "s", "k": 3, "shards": 8, "batch_size": 1}
    steps = surveying(net, folder, executor=Unreliable(set()), **options)
    next(steps)
    steps.close()
    rest = Unreliable(set())
    assert_identical(survey(net, folder, executor=rest, progress=False, **options), whole)
    assert rest.calls == 1, "the picture that cannot be read"


def test_an_error_of_the_network_is_not_tried_again(net: Network, folder: Path) -> None:
    net = net.with_tensors(lambda tensor: tensor * torch.nan, "broken")
    executor = Unreliable(set())
    with pytest.raises(NetworkError, match="layer '0', channel 0, for image"):
        survey(net, folder, shards=2, executor=executor, progress=False)
    assert executor.calls <= 2


def test_what_cannot_be_sent_is_said_before_any_work(folder: Path) -> None:
    module = nn.Sequential(nn.Conv2d(3, 2, 1), nn.Flatten(), nn.Linear(512, 2)).eval()

    def local(picture):  # type: ignore[no-untyped-def]
        return torch.from_numpy(np.asarray(picture.resize((SIZE, SIZE)), np.float32) / 255).permute(2, 0, 1)

    net = Network(module, preprocess=local, input_size=SIZE)
    with pytest.raises(ArgumentError, match="preprocess function must be importable"):
        survey(net, folder, executor=Unreliable(set()), progress=False)
    with pytest.raises(ArgumentError, match="interface of concurrent"):
        survey(net, folder, executor=3, progress=False)


def test_when_no_picture_can_be_read_elsewhere_the_error_says_why(
    net: Network, tmp_path: Path, pool: ProcessPoolExecutor
) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "b.png").write_bytes(b"")
    with pytest.raises(ImageError, match="2 that all failed"):
        survey(net, tmp_path, executor=pool, progress=False)


@pytest.fixture(scope="module")
def cluster():  # type: ignore[no-untyped-def]
    distributed = pytest.importorskip("distributed", reason="the extra 'cluster' is not installed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        client.run(torch.set_num_threads, 1)
        yield client


def a_worker(cluster) -> int:  # type: ignore[no-untyped-def]
    """The process of a worker; not asked for, since one that was just killed and is not back yet does not answer."""
    cluster.wait_for_workers(2)
    found: int = next(iter(cluster.cluster.workers.values())).pid
    return found


def test_on_a_dask_cluster_it_is_the_same(net: Network, folder: Path, whole: Survey, tmp_path: Path, cluster) -> None:  # type: ignore[no-untyped-def]
    assert_identical(run(net, folder, tmp_path / "x.survey", executor=cluster), whole)
    made = survey(net, folder, k=3, shards=8, batch_size=1, executor=cluster.get_executor(), progress=False)
    assert_identical(made, whole)


def test_a_fit_whose_dask_worker_is_killed_ends_with_the_same_bits(
    net: Network, folder: Path, tmp_path: Path, cluster
) -> None:  # type: ignore[no-untyped-def]
    victim = a_worker(cluster)
    going = fitting_patterns(net, folder, store=tmp_path / "x.fit", shards=COUNT, batch_size=1, executor=cluster)
    next(going)
    os.kill(victim, signal.SIGKILL)
    *_, last = going
    whole = fit_patterns(net, folder, shards=COUNT, batch_size=1, progress=False)
    assert last.patterns.images == COUNT
    assert all(torch.equal(last.patterns[layer], whole[layer]) for layer in whole)


@pytest.mark.slow
def test_a_dask_worker_killed_in_the_middle_costs_time_but_no_results(
    net: Network, folder: Path, whole: Survey, tmp_path: Path, cluster
) -> None:  # type: ignore[no-untyped-def]
    store = tmp_path / "x.survey"
    victim = a_worker(cluster)
    going = surveying(net, folder, k=3, shards=COUNT, batch_size=1, store=store, executor=cluster)
    done = [next(going).done]
    os.kill(victim, signal.SIGKILL)
    done += [step.done for step in going]
    assert done[-1] == COUNT + 1
    assert done == sorted(done)
    assert_identical(load_survey(store, net), survey(net, folder, k=3, shards=COUNT, batch_size=1, progress=False))
