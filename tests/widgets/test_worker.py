"""The worker: newest request of a kind, jobs between requests, a thread only while there is work."""

from __future__ import annotations

import os
import signal
import threading
import time
from types import SimpleNamespace

import pytest

from convscope import _worker as module
from convscope._worker import Worker

TIMEOUT = 20


@pytest.fixture
def worker():
    worker = Worker("test")
    yield worker
    worker.cancel()
    worker.stop(TIMEOUT)


def blocked(worker: Worker) -> threading.Event:
    """Occupy the worker until the returned event is set."""
    begun, go_on = threading.Event(), threading.Event()

    def run() -> None:
        begun.set()
        go_on.wait(TIMEOUT)

    worker.submit("block", run)
    assert begun.wait(TIMEOUT)
    return go_on


class Clock:
    """The worker's clock, which a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(worker, monkeypatch):
    clock = Clock()
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=clock))
    return clock


class Hand:
    """Asks the worker, and notes with the others what runs."""

    def __init__(self, worker: Worker, order: list[str]) -> None:
        self.worker, self.order = worker, order

    def moves(self) -> None:
        """Ask, and return when it is answered."""
        answered = threading.Event()

        def run() -> None:
            self.order.append("move")
            answered.set()

        self.worker.submit("move", run, hand=True)
        assert answered.wait(TIMEOUT)


def test_only_the_newest_waiting_request_of_a_kind_runs(worker):
    go_on = blocked(worker)
    ran, dropped = [], []
    for number in range(100):
        worker.submit("move", lambda n=number: ran.append(n), lambda n=number: dropped.append(n))
    worker.submit("other", lambda: ran.append("other"))
    go_on.set()
    assert worker.wait(TIMEOUT)
    assert ran == [99, "other"]
    assert dropped == list(range(99))


def test_requests_run_between_the_slices_of_a_job(worker):
    order = []
    second, go_on = threading.Event(), threading.Event()

    def job():
        order.append("slice 1")
        yield
        second.set()
        go_on.wait(TIMEOUT)
        order.append("slice 2")
        yield
        order.append("slice 3")

    worker.start("work", job())
    assert second.wait(TIMEOUT)
    worker.submit("move", lambda: order.append("request"))
    go_on.set()
    assert worker.wait(TIMEOUT)
    assert order == ["slice 1", "slice 2", "request", "slice 3"]


def test_after_a_request_the_next_one_is_waited_for_before_a_slice_begins(worker):
    asked, begun, ended = [], [], []

    def job():
        for _ in range(4):
            begun.append(time.monotonic())
            asked.append(time.monotonic())
            worker.submit("move", lambda: None)
            ended.append(time.monotonic())
            yield

    worker.start("survey", job())
    assert worker.wait(TIMEOUT)
    assert len(begun) == 4
    for came, left, again in zip(asked, ended, begun[1:], strict=False):
        assert again >= min(came + module.LINGER, left + module.TURN)


def test_a_job_has_its_turn_though_requests_keep_coming(worker):
    finished, moved = threading.Event(), threading.Event()
    moves = []

    def job():
        for _ in range(3):
            yield
        finished.set()

    def move():
        moves.append(len(moves))
        moved.set()

    worker.submit("move", move)
    worker.start("survey", job())
    # A hand that goes on for as long as the job: each time the worker has nothing else to do, it asks again.
    while not finished.is_set():
        assert moved.wait(TIMEOUT)
        moved.clear()
        worker.submit("move", move)
    assert len(moves) > 3
    assert worker.wait(TIMEOUT)


def test_a_hand_at_work_goes_first_and_others_follow_when_it_rests(worker, clock):
    order: list[str] = []
    hand = Hand(worker, order)
    go_on = blocked(worker)
    for kind in ("unit", "grid", "unit"):
        worker.submit(kind, lambda kind=kind: order.append(kind))
    answered = threading.Event()
    worker.submit("move", lambda: (order.append("move"), answered.set()), hand=True)
    go_on.set()
    assert answered.wait(TIMEOUT)
    # It is slow, but at work: each time the worker finds the others waiting.
    for _ in range(3):
        clock.now += 0.9 * module.REST
        hand.moves()
    assert order == ["move"] * 4
    clock.now += module.REST
    assert worker.wait(TIMEOUT)
    assert order[4:] == ["grid", "unit"]
    assert not worker.hand_at_work


def test_what_is_done_in_parts_lets_a_hand_go_before_and_goes_on_before_others(worker, clock):
    order: list[str] = []
    begun, go_on = threading.Event(), threading.Event()

    def parts(name):
        for part in range(3):
            order.append(f"{name} {part}")
            begun.set()
            assert go_on.wait(TIMEOUT)
            yield

    worker.submit("projections", lambda: parts("old"))
    assert begun.wait(TIMEOUT)
    # Neither a newer one nor what else waits takes its place.
    worker.submit("projections", lambda: parts("new"))
    worker.submit("grid", lambda: order.append("grid"))
    answered = threading.Event()
    worker.submit("move", lambda: (order.append("move"), answered.set()), hand=True)
    go_on.set()
    assert answered.wait(TIMEOUT)
    assert order == ["old 0", "move"]
    clock.now += module.REST
    assert worker.wait(TIMEOUT)
    assert order[2:] == ["old 1", "old 2", "new 0", "new 1", "new 2", "grid"]


def test_a_job_has_its_turn_before_a_hand_at_work_and_rests_longer_the_longer_its_slices_are(worker, clock):
    order: list[str] = []
    hand = Hand(worker, order)
    took = iter([0.1 * module.TURN, module.TURN, 0.0])

    def job():
        for seconds in took:
            order.append("slice")
            clock.now += seconds
            worker.submit("another move", lambda: order.append("move"), hand=True)  # it does not stand still meanwhile
            yield

    def moves_for(seconds: float) -> list[str]:
        """A hand moves as often as ten times a second for so long; what ran meanwhile, moves left out."""
        del order[:]
        ends = clock.now + seconds
        while clock.now < ends:
            clock.now = min(clock.now + 0.5 * module.REST, ends)
            hand.moves()
        return [one for one in order if one != "move"]

    hand.moves()
    worker.start("survey", job())
    assert moves_for(0.99 * module.TURN) == []
    assert moves_for(0.02 * module.TURN) == ["slice"]
    assert order[:2] == ["slice", "move"]
    assert moves_for(0.99 * module.TURN) == []
    assert moves_for(0.02 * module.TURN) == ["slice"]
    assert moves_for((module.SHARE - 0.01) * module.TURN) == []
    assert moves_for(0.02 * module.TURN) == ["slice"]
    clock.now += module.REST
    assert worker.wait(TIMEOUT)


def test_a_job_goes_on_when_the_hand_rests_however_long_its_slice_took(worker, clock, monkeypatch):
    begun: list[float] = []
    moved: list[float] = []
    finished = threading.Event()
    really = worker._condition.wait

    def wait(timeout=None):  # time passes at once where a job waits for it
        if not worker._jobs or finished.is_set():
            return really(timeout)
        clock.now += timeout
        return False

    def job():
        begun.append(clock.now)
        clock.now += 10 * module.TURN
        worker.submit("move", lambda: None, hand=True)
        moved.append(clock.now)
        yield
        begun.append(clock.now)
        finished.set()

    monkeypatch.setattr(worker._condition, "wait", wait)
    worker.start("survey", job())
    assert finished.wait(TIMEOUT)
    assert begun[1] == pytest.approx(moved[0] + module.REST)


def test_jobs_of_several_kinds_take_turns_and_one_takes_the_place_of_its_kind(worker):
    go_on = blocked(worker)
    order = []

    def job(name):
        for number in range(2):
            order.append(f"{name} {number}")
            yield

    worker.start("survey", job("dropped"))
    worker.start("survey", job("survey"))
    worker.start("map", job("map"))
    go_on.set()
    assert worker.wait(TIMEOUT)
    assert order == ["survey 0", "map 0", "survey 1", "map 1"]


def test_a_cancelled_job_takes_no_further_slice_and_cleans_up(worker):
    first, go_on, closed = threading.Event(), threading.Event(), threading.Event()
    slices = []

    def job():
        try:
            while True:
                slices.append(1)
                first.set()
                go_on.wait(TIMEOUT)
                yield
        finally:
            closed.set()

    generator = job()
    worker.start("work", generator)
    assert first.wait(TIMEOUT)
    worker.cancel()
    go_on.set()
    assert worker.wait(TIMEOUT)
    assert slices == [1]
    del generator
    assert closed.wait(TIMEOUT)


def test_stop_ends_the_thread_and_a_later_request_resumes_the_job(worker):
    reached = [threading.Event() for _ in range(3)]
    go_on = threading.Event()

    def job():
        reached[0].set()
        go_on.wait(TIMEOUT)
        yield
        reached[1].set()
        yield
        reached[2].set()

    worker.start("work", job())
    assert reached[0].wait(TIMEOUT)
    worker.stop()
    go_on.set()
    worker.stop(TIMEOUT)
    assert not worker.alive
    assert not reached[1].is_set()
    worker.submit("wake", lambda: None)
    assert worker.wait(TIMEOUT)
    assert reached[2].is_set()


def test_stop_forgets_requests_that_wait(worker):
    go_on = blocked(worker)
    ran = []
    worker.submit("move", lambda: ran.append(1))
    worker.stop()
    go_on.set()
    worker.stop(TIMEOUT)
    assert not worker.alive
    assert ran == []


def test_an_error_in_a_request_or_a_job_leaves_the_worker_working(worker, caplog):
    def fail():
        raise RuntimeError("as planned")

    def job():
        raise RuntimeError("as planned, too")
        yield

    worker.submit("fail", fail)
    assert worker.wait(TIMEOUT)
    worker.start("work", job())
    assert worker.wait(TIMEOUT)
    ran = []
    worker.submit("move", lambda: ran.append(1))
    assert worker.wait(TIMEOUT)
    assert ran == [1]
    assert [record.exc_info[1].args[0] for record in caplog.records] == ["as planned", "as planned, too"]


def test_there_is_no_thread_before_there_is_work():
    assert not Worker("idle").alive


def begin_patiently(worker: Worker, order: list[str]) -> threading.Event:
    begun = threading.Event()

    def job():
        order.append("slice")
        begun.set()
        yield

    worker.start("work", job(), patient=True)
    return begun


def test_a_patient_job_lets_the_first_requests_go_before(worker, monkeypatch):
    monkeypatch.setattr(module, "HEAD_START", 10 * TIMEOUT)
    order: list[str] = []
    begun = begin_patiently(worker, order)
    worker.submit("first", lambda: order.append("request"))
    assert begun.wait(TIMEOUT)
    assert order == ["request", "slice"]


def test_a_patient_job_begins_for_who_waits_and_after_a_while_without_anybody(worker, monkeypatch):
    monkeypatch.setattr(module, "HEAD_START", 10 * TIMEOUT)
    begin_patiently(worker, order := [])
    assert worker.wait(TIMEOUT)
    assert order == ["slice"]
    alone = Worker("alone")
    monkeypatch.setattr(module, "HEAD_START", 0.01)
    assert begin_patiently(alone, []).wait(TIMEOUT)
    alone.stop(TIMEOUT)


def test_a_patient_job_that_is_cancelled_before_it_began_is_gone(worker, monkeypatch):
    monkeypatch.setattr(module, "HEAD_START", 10 * TIMEOUT)
    begin_patiently(worker, order := [])
    worker.cancel()
    assert worker.wait(TIMEOUT)
    assert order == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
def test_a_forked_child_waits_for_nothing_that_was_under_way(worker):
    go_on = blocked(worker)
    held, let_go = threading.Event(), threading.Event()

    def hold() -> None:
        with worker._condition:
            held.set()
            let_go.wait(TIMEOUT)

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(TIMEOUT)
    child = os.fork()
    if not child:
        signal.alarm(TIMEOUT)  # ends a child that hangs
        done: list[int] = []
        rested = worker.wait(5)
        worker.submit("more", lambda: done.append(1))
        code = 0 if rested and worker.wait(5) and done == [1] else 1
        worker.end()
        os._exit(code)
    _, status = os.waitpid(child, 0)
    let_go.set()
    holder.join()
    go_on.set()
    assert status == 0
    assert worker.wait(TIMEOUT)
