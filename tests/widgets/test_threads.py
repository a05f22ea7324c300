"""How many threads live frames are computed with."""

from __future__ import annotations

import threading

import pytest
import torch

from convscope.panes.occluder import threads
from convscope.panes.occluder.threads import FrameThreads

CPU = torch.device("cpu")


class Machine:
    """A torch of so many threads, whose frames take a time by how many compute them."""

    def __init__(self, monkeypatch, most):
        self.now, self.number = 0.0, most
        monkeypatch.setattr(threads.torch, "get_num_threads", lambda: self.number)
        monkeypatch.setattr(threads.torch, "set_num_threads", lambda number: setattr(self, "number", number))
        monkeypatch.setattr(threads.time, "perf_counter", lambda: self.now)

    def frames(self, chooser, times, count=200, setting="any"):
        """How many of the frames each number of threads computed."""
        used = dict.fromkeys(times, 0)
        for _ in range(count):
            with chooser.chosen(setting):
                used[self.number] += 1
                self.now += times[self.number]
        return used


@pytest.mark.parametrize(
    ("times", "better"),
    [({1: 9.0, 2: 8.0}, 1), ({1: 18.0, 2: 10.0}, 2), ({2: 9.0, 4: 13.0}, 2), ({2: 20.0, 5: 10.0}, 5)],
)
def test_half_of_the_threads_where_they_take_hardly_longer(monkeypatch, times, better):
    machine = Machine(monkeypatch, max(times))
    used = machine.frames(FrameThreads(CPU), times)
    assert used[better] > 0.9 * 200
    assert sum(used.values()) == 200
    assert machine.number == max(times)


def test_what_is_better_may_change(monkeypatch):
    machine, chooser = Machine(monkeypatch, 2), FrameThreads(CPU)
    machine.frames(chooser, {1: 15.0, 2: 10.0})
    machine.frames(chooser, {1: 15.0, 2: 20.0}, count=400)  # something else runs on the other core
    assert machine.frames(chooser, {1: 15.0, 2: 20.0})[1] > 180
    # Of a larger occluder nothing is known yet.
    assert machine.frames(chooser, {1: 50.0, 2: 30.0}, setting="larger")[2] > 180


def test_one_slow_frame_decides_nothing(monkeypatch):
    machine, chooser = Machine(monkeypatch, 2), FrameThreads(CPU)
    machine.frames(chooser, {1: 900.0, 2: 900.0}, count=1)  # the clean picture's activations are computed first
    assert machine.frames(chooser, {1: 10.0, 2: 9.0})[1] > 180


def test_elsewhere_than_on_the_cpu_nothing_is_chosen(monkeypatch):
    machine = Machine(monkeypatch, 2)
    assert machine.frames(FrameThreads(torch.device("cuda")), {1: 1.0, 2: 9.0})[1] == 0


def test_others_have_the_threads_that_they_had():
    found = []

    def work():
        torch.set_num_threads(2)
        chooser = FrameThreads(CPU)
        for _ in range(3):
            with pytest.raises(ValueError, match="no frame"):
                fail(chooser)
            found.append(torch.get_num_threads())

    def fail(chooser):
        with chooser.chosen("any") as number:
            found.append((number, torch.get_num_threads()))
            raise ValueError("no frame")

    before = torch.get_num_threads()
    try:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert found == [(1, 1), 2] * 3
        assert torch.get_num_threads() == before
    finally:
        torch.set_num_threads(before)
