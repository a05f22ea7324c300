"""A shard is written while the next one is computed: whatever happens, nothing is lost or counted twice."""

from __future__ import annotations

import gc
import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from queue import SimpleQueue
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from convscope_core import threads
from convscope_core.errors import StoreError
from convscope_core.jobs import load
from convscope_core.jobs.store import Store
from convscope_core.network import Network
from convscope_core.threads import Meanwhile

HERE = Path(__file__).parent
COUNT = 24

SOON = 30.0
"""Seconds after which what never comes is not waited for."""


@pytest.fixture(scope="module")
def net() -> Network:
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Conv2d(5, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)
    return Network(nn.Sequential(*layers).eval(), input_size=10)


@pytest.fixture(scope="module")
def pictures() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).random((COUNT, 3, 10, 10), np.float32))


@pytest.fixture(scope="module")
def mean_maps() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(HERE)
        import mean_maps

        yield mean_maps


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Nothing is written in another thread before this is set."""
    go, put, here = threading.Event(), Store.put, threading.get_ident()

    def late(self: Store, *arguments: Any) -> None:
        assert threading.get_ident() == here or go.wait(SOON), "what is computed waits for what is written"
        put(self, *arguments)

    monkeypatch.setattr(Store, "put", late)
    return go


def begun(mean_maps: ModuleType, net: Network, pictures: Any, store: Path, shards: int = 6) -> Any:
    return mean_maps.averaging(net, pictures, "2", store, shards=shards, batch_size=2)


def done(mean_maps: ModuleType, net: Network, pictures: Any, store: Path) -> int:
    """How many pictures are done in a store."""
    steps = begun(mean_maps, net, pictures, store)
    left: int = next(steps).total
    steps.close()
    return COUNT - left


def test_the_next_shard_is_computed_meanwhile_and_steps_are_of_all_pictures_so_far(
    net: Network, pictures: torch.Tensor, mean_maps: ModuleType, tmp_path: Path, held: threading.Event
) -> None:
    steps = begun(mean_maps, net, pictures, tmp_path / "x")
    found = [next(steps) for _ in range(3)]  # the first shard of four is written, and half of the second computed
    held.set()
    found += steps
    assert [step.done for step in found] == list(range(2, COUNT + 1, 2))
    for step in found:
        assert step.images == step.done
        expected = mean_maps.average(net, pictures[: step.done], "2", batch_size=2, progress=False)
        torch.testing.assert_close(step.result, expected, rtol=1e-6, atol=1e-8)
    whole = mean_maps.average(net, pictures, "2", shards=6, batch_size=2, progress=False)
    assert torch.equal(found[-1].result, whole)
    assert torch.equal(load(mean_maps.MeanMaps, tmp_path / "x", net, pictures), whole)


@pytest.mark.parametrize("count", [2, 3])
def test_what_is_written_when_it_is_closed_is_kept(
    net: Network, pictures: torch.Tensor, mean_maps: ModuleType, tmp_path: Path, held: threading.Event, count: int
) -> None:
    steps = begun(mean_maps, net, pictures, tmp_path / "x")
    for _ in range(count):
        next(steps)
    timer = threading.Timer(0.1, held.set)
    timer.start()
    steps.close()
    timer.join()
    with sqlite3.connect(tmp_path / "x") as file:
        assert file.execute("SELECT id FROM shards WHERE done IS NULL AND owner IS NOT NULL").fetchall() == []
    assert done(mean_maps, net, pictures, tmp_path / "x") == 4


@pytest.mark.parametrize("how", ["goes on", "is closed"])
def test_a_shard_that_could_not_be_written_is_told_and_computed_again(
    net: Network,
    pictures: torch.Tensor,
    mean_maps: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
) -> None:
    put = Store.put

    def full(self: Store, shard: int, *arguments: Any) -> None:
        if shard == 1:
            raise StoreError("Expected room, got none.")
        put(self, shard, *arguments)

    steps = begun(mean_maps, net, pictures, tmp_path / "x")
    with monkeypatch.context() as patch:
        patch.setattr(Store, "put", full)
        for _ in range(4):
            next(steps)
        with pytest.raises(StoreError, match="got none"):
            list(steps) if how == "goes on" else steps.close()
    assert done(mean_maps, net, pictures, tmp_path / "x") in (4, 8), "the first, and with luck the third"
    whole = mean_maps.average(net, pictures, "2", shards=6, batch_size=2, progress=False)
    assert torch.equal(list(begun(mean_maps, net, pictures, tmp_path / "x"))[-1].result, whole)


def test_an_error_of_the_network_keeps_what_is_written(
    net: Network, pictures: torch.Tensor, mean_maps: ModuleType, tmp_path: Path, held: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    steps = begun(mean_maps, net, pictures, tmp_path / "x")
    for _ in range(2):
        next(steps)

    def interrupted(*_: object) -> None:
        held.set()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(mean_maps.MeanMaps, "add", interrupted)
        with pytest.raises(KeyboardInterrupt):
            next(steps)
    assert done(mean_maps, net, pictures, tmp_path / "x") == 4


@pytest.mark.parametrize("count", [2, 3])
def test_what_becomes_garbage_in_the_thread_that_writes_is_closed_there(
    net: Network,
    pictures: torch.Tensor,
    mean_maps: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    count: int,
) -> None:
    put, closed, go, here = Store.put, threading.Event(), threading.Event(), threading.get_ident()
    close = Store.close

    def collected(self: Store, *arguments: Any) -> None:
        if threading.get_ident() != here:
            assert go.wait(SOON)
            gc.collect()
        put(self, *arguments)

    def noted(self: Store) -> None:
        close(self)
        if threading.get_ident() != here:
            closed.set()

    monkeypatch.setattr(Store, "put", collected)
    monkeypatch.setattr(Store, "close", noted)
    gc.disable()
    try:
        cycle: list[Any] = [begun(mean_maps, net, pictures, tmp_path / "x")]
        cycle.append(cycle)
        for _ in range(count):
            next(cycle[0])
        del cycle
        go.set()
        assert closed.wait(SOON)
    finally:
        gc.enable()
    assert done(mean_maps, net, pictures, tmp_path / "x") == 4


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child_does_not_wait_for_a_thread_of_its_parent(
    net: Network, pictures: torch.Tensor, mean_maps: ModuleType, tmp_path: Path, held: threading.Event
) -> None:
    if torch.cuda.is_initialized():
        pytest.skip("CUDA is of no use in a fork")
    steps = begun(mean_maps, net, pictures, tmp_path / "x")
    for _ in range(2):
        next(steps)
    child = os.fork()
    if not child:
        steps.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    held.set()
    assert next(steps).done == 6
    steps.close()
    assert done(mean_maps, net, pictures, tmp_path / "x") == 4


SCRIPT = """
import sys, threading, time
sys.path.insert(0, sys.argv[1])
import torch
from mean_maps import averaging
from convscope_core.network import Network
from convscope_core.jobs.store import Store
put, ends = Store.put, threading.Event()
def late(self, *arguments):
    ends.wait()
    put(self, *arguments)
Store.put = late
threading._register_atexit(ends.set)  # what comes before the interpreter's own
layers = torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten(), torch.nn.Linear(256, 2)
net = Network(torch.nn.Sequential(*layers).eval(), input_size=10)
steps = averaging(net, torch.rand(24, 3, 10, 10), "0", sys.argv[2], shards=6, batch_size=2)
next(steps), next(steps)
"""


def test_the_interpreter_ends_when_a_shard_is_written(tmp_path: Path) -> None:
    store = tmp_path / "x"
    subprocess.run([sys.executable, "-c", SCRIPT, str(HERE), str(store)], check=True, timeout=4 * SOON)
    file = Store(store, write=False)
    assert file.left == COUNT - 4
    file.close()


def test_a_call_meanwhile_has_the_settings_of_here_and_one_thread() -> None:
    found: list[Any] = []
    with torch.inference_mode():
        call = Meanwhile(lambda: found.append((torch.is_inference_mode_enabled(), torch.get_num_threads())))
        call.begin()
        assert call.end() is None
    assert found == [(True, 1)]
    assert call.over


def test_several_threads_may_wait_for_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting, goes_on = threading.Semaphore(0), threading.Event()

    class Queue(SimpleQueue):
        def get(self, *, timeout: float) -> None:
            waiting.release()
            super().get(timeout=timeout)

    monkeypatch.setattr(threads, "SimpleQueue", Queue)
    monkeypatch.setattr(threads, "_A_WHILE", 100 * SOON)
    call = Meanwhile(goes_on.wait)
    call.begin()
    each = [threading.Thread(target=way) for way in (call.wait, call.end, call.wait)]
    for thread in each:
        thread.start()
    for _ in each:
        assert waiting.acquire(timeout=SOON)
    goes_on.set()
    for thread in each:
        thread.join(SOON)
        assert not thread.is_alive()


def test_without_another_thread_it_is_made_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("convscope_core.threads._Helpers.call", none)
    found: list[int] = []
    call = Meanwhile(lambda: found.append(threading.get_ident()))
    call.begin()
    assert found == [threading.get_ident()]
    assert call.end() is None
