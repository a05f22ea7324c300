"""How many threads live frames are computed with."""

from __future__ import annotations

import threading

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from convscope.panes.occluder import threads
from convscope.panes.occluder.threads import FrameThreads

CPU = torch.device("cpu")


class Machine:
    """A torch of so many threads, whose frames take a time by how many compute them."""

    def __init__(self, monkeypatch, most):
        self.now, self.everywhere, self.own = 0.0, most, threading.local()
        monkeypatch.setattr(threads.torch, "get_num_threads", lambda: self.number)
        monkeypatch.setattr(threads.torch, "set_num_threads", self.set)
        monkeypatch.setattr(threads.time, "perf_counter", lambda: self.now)

    @property
    def number(self):
        """Of this thread, which keeps what it finds at its first use of torch."""
        self.own.number = getattr(self.own, "number", self.everywhere)
        return self.own.number

    def set(self, number):
        self.own.number = self.everywhere = number

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


def in_new_thread(call):
    """What a call gives in a thread that has not used torch."""
    found = []
    thread = threading.Thread(target=lambda: found.append(call()))
    thread.start()
    thread.join()
    return found[0]


@pytest.fixture
def four():
    """Torch with four threads; as it was afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def test_a_frame_that_fails_leaves_the_threads_as_they_were(four):
    chooser, found = FrameThreads(CPU), []

    def fail():
        with chooser.chosen("any") as number:
            found.append((number, torch.get_num_threads()))
            raise ValueError("no frame")

    for _ in range(3):
        with pytest.raises(ValueError, match="no frame"):
            fail()
        assert torch.get_num_threads() == 4
    assert found[0] == (2, 2)


def test_who_begins_during_a_frame_has_all_threads(four):
    with FrameThreads(CPU).chosen("any") as number:
        assert (number, torch.get_num_threads()) == (2, 2)
        assert in_new_thread(torch.get_num_threads) == 4
        # Another instrument begins, too: "all" are not the half of the first.
        assert in_new_thread(lambda: FrameThreads(CPU).chosen("any").__enter__()) == 2
    assert torch.get_num_threads() == 4


def test_what_a_person_sets_during_a_frame_stays(four):
    with FrameThreads(CPU).chosen("any"):
        in_new_thread(lambda: torch.set_num_threads(3))
    assert in_new_thread(torch.get_num_threads) == 3


@given(st.lists(st.sampled_from([1, 2, 3, 4, 8]), min_size=1, max_size=12))
def test_the_number_may_change_between_frames(numbers):
    before, chooser = torch.get_num_threads(), FrameThreads(CPU)
    try:
        for most in numbers:
            torch.set_num_threads(most)
            with chooser.chosen("any") as number:
                assert number in {most, max(most // 2, 1)}
            assert torch.get_num_threads() == most == in_new_thread(torch.get_num_threads)
    finally:
        torch.set_num_threads(before)
