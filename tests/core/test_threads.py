"""Calls side by side: as if the caller had made them, whatever fails or interrupts; threads for one thread alone."""

from __future__ import annotations

import _thread
import contextvars
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from opcode import opmap
from types import CodeType, FrameType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from convscope_core import threads
from convscope_core.locks import Lock, made_once
from convscope_core.network import Network
from convscope_core.threads import parts_at_once, side_by_side, threads_here

CPU = torch.device("cpu")

pytestmark = pytest.mark.cpu_only("PyTorch's threads are the CPU's")


@pytest.fixture(autouse=True)
def _two() -> Iterator[None]:
    """Two of PyTorch's threads, before and after."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    here, everywhere = torch.get_num_threads(), in_new_thread(torch.get_num_threads)
    torch.set_num_threads(before)
    assert (here, everywhere) == (2, 2), "the numbers of threads are not what they were"


def in_new_thread(call: Callable[[], Any]) -> Any:
    """What a call gives in a thread that has not used torch."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(call()))
    thread.start()
    thread.join(60)
    return found[0]


def is_free(lock: Lock, patience: float = 20.0) -> bool:
    """Whether another thread can take a lock, within so many seconds."""
    entered = threading.Event()

    def enter() -> None:
        with lock:
            entered.set()

    thread = threading.Thread(target=enter, daemon=True)
    thread.start()
    thread.join(patience)
    return entered.is_set()


def test_calls_are_at_once_share_the_threads_and_enter_the_lock() -> None:
    lock, met = Lock(), threading.Barrier(2)

    def call(part: int) -> tuple[int, int, int]:
        met.wait(60)
        with lock, lock:
            met.wait(60)  # both are within
            return part, torch.get_num_threads(), threading.get_ident()

    for _ in range(3):
        (first, one, here), (second, other, there) = side_by_side(call, [1, 2], lock)
        assert (first, second, one, other) == (1, 2, 1, 1)
        assert here != there
        assert is_free(lock)


def test_others_wait_for_the_lock_meanwhile() -> None:
    lock = Lock()
    assert side_by_side(lambda _: is_free(lock, 0.1), [1, 2], lock) == [False, False]


def test_a_single_part_is_computed_here_with_all_threads() -> None:
    found = side_by_side(lambda part: (part, torch.get_num_threads(), threading.get_ident()), [7], Lock())
    assert found == [(7, 2, threading.get_ident())]
    assert side_by_side(abs, []) == []


def test_parts_of_a_part_are_computed_by_its_own_thread() -> None:
    def inner(_: int) -> tuple[int, int]:
        return threading.get_ident(), parts_at_once(100, CPU)

    for one, *others in side_by_side(lambda _: side_by_side(inner, [1, 2, 3]), [1, 2, 3]):
        assert all(other == one for other in others)
        assert one[1] == 1


@pytest.mark.parametrize(
    ("number", "pictures", "parts"),
    [(2, 0, 1), (2, 1, 1), (2, 3, 1), (2, 4, 2), (2, 99, 2), (1, 99, 1), (3, 99, 3), (3, 5, 2), (6, 99, 3), (8, 99, 4)],
)
def test_as_many_parts_as_share_the_threads_out(number: int, pictures: int, parts: int) -> None:
    with threads_here(number):
        assert parts_at_once(pictures, CPU) == parts
        assert parts_at_once(pictures, torch.device("cuda")) == 1


@given(
    inference=st.booleans(), gradients=st.booleans(), autocast=st.sampled_from([None, torch.bfloat16, torch.float16])
)
def test_calls_find_what_is_set_for_a_thread(inference: bool, gradients: bool, autocast: torch.dtype | None) -> None:
    word = contextvars.ContextVar("word", default="none")

    def found(_: int = 0) -> tuple[object, ...]:
        product = torch.ones(2, 2) @ torch.ones(2, 2)
        return (
            torch.is_inference_mode_enabled(), torch.is_grad_enabled(), product.is_inference(), product.dtype,
            torch.is_autocast_enabled("cpu"), word.get(),
        )  # fmt: skip

    usual = found()
    token = word.set("set")
    with (
        torch.inference_mode(inference),
        torch.set_grad_enabled(gradients),
        torch.autocast("cpu", autocast or torch.bfloat16, enabled=autocast is not None),
    ):
        here = found()
        assert side_by_side(found, [1, 2, 3]) == [here] * 3
    word.reset(token)
    # Helpers keep nothing of it.
    assert side_by_side(found, [1, 2, 3]) == [usual] * 3


@pytest.mark.parametrize("tf32", [False, True])
def test_a_networks_precision_holds_in_calls_that_its_lock_is_lent_to(tf32: bool) -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 3)).eval()
    net = Network(module, input_size=8, tf32=tf32)
    x = torch.rand(4, 3, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        expected, _ = net.forward(x)
        parts = side_by_side(lambda part: net.forward(part)[0], x.split(2), net.lock)
    assert [part.dtype for part in parts] == [expected.dtype] * 2
    torch.testing.assert_close(torch.cat(parts), expected)
    assert is_free(net.lock)


@pytest.mark.parametrize("failing", [{1}, {2}, {1, 2}])
def test_the_error_is_that_of_the_first_part(failing: set[int]) -> None:
    lock, ended, met = Lock(), [], threading.Barrier(3)

    def call(part: int) -> int:
        met.wait(60)
        if part in failing:
            raise ValueError(f"part {part}")
        ended.append(part)
        return part

    with pytest.raises(ValueError, match=f"part {min(failing)}") as caught:
        side_by_side(call, [0, 1, 2], lock)
    assert set(ended) == {0, 1, 2} - failing
    assert is_free(lock)
    assert caught.value.__context__ is None


def test_an_interrupt_waits_for_the_calls_however_often_it_comes() -> None:
    lock, handled, ended = Lock(), threading.Semaphore(0), []
    main = threading.main_thread().ident
    assert main == threading.get_ident()

    def interrupt(*_: object) -> None:
        handled.release()
        raise KeyboardInterrupt

    def call(part: int) -> None:
        if part == 1:
            for _ in range(3):
                # Again and again: one that comes just before a thread begins to wait does not wake it.
                while not handled.acquire(timeout=0.01):
                    signal.pthread_kill(main, signal.SIGINT)
        ended.append(part)

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            side_by_side(call, [0, 1], lock)
        assert sorted(ended) == [0, 1]
        assert is_free(lock)
    finally:
        signal.signal(signal.SIGINT, before)
    assert side_by_side(abs, [-1, -2], lock) == [1, 2]


class Interrupt:
    """A trace function that raises before one step, of those which were not tried yet.

    Python looks for interrupts at some steps, but never at a `NOP`: that stands where a `try` begins or ends, and
    belongs to neither side.
    """

    def __init__(self, tried: set[tuple[CodeType, int, int]]) -> None:
        self.tried, self.raised = tried, False
        self.times: Counter[tuple[CodeType, int]] = Counter()
        # Python 3.12 has steps traced only if some frame has asked for it before `sys.settrace`.
        sys._getframe().f_trace_opcodes = True

    def __call__(self, frame: FrameType, event: str, _: object) -> Interrupt:
        frame.f_trace_opcodes = True
        code, place = frame.f_code, frame.f_lasti
        if event == "opcode" and code.co_code[place] != opmap["NOP"]:
            self.times[code, place] += 1
            # Steps are told by where they are: how many come before depends on which threads are idle.
            step = (code, place, self.times[code, place])
            if step not in self.tried:
                self.tried.add(step)
                self.raised = True
                raise KeyboardInterrupt
        return self


@pytest.mark.parametrize("first", [False, True], ids=["later", "with the first calls"])
def test_an_interrupt_at_any_step_leaves_no_call_behind_and_helpers_for_the_next(
    first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    running: set[int] = set()

    def call(part: int) -> int:
        running.add(part)
        total = int(torch.ones(part).sum())
        running.discard(part)
        return total

    before = sys.gettrace()
    tried: set[tuple[CodeType, int, int]] = set()
    raised = True
    while raised:
        if first:
            monkeypatch.setattr(threads, "_helpers", threads._Helpers())
        interrupt = Interrupt(tried)
        sys.settrace(interrupt)
        try:
            side_by_side(call, [1, 2])
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(before)
        assert not running
        assert in_new_thread(lambda: side_by_side(call, [3, 4])) == [3, 4]
        raised = interrupt.raised
    assert len(tried) > 100


@pytest.mark.parametrize("started", [0, 1, 2])
def test_where_no_thread_can_be_started_calls_are_one_after_another(
    monkeypatch: pytest.MonkeyPatch, started: int
) -> None:
    start, begun = _thread.start_new_thread, []

    def refused(call: Callable[[], object], arguments: tuple[object, ...]) -> int:
        if len(begun) == started:
            raise RuntimeError("can't start new thread")
        begun.append(call)
        return start(call, arguments)

    monkeypatch.setattr(threads, "_helpers", threads._Helpers())
    lock, here, met = Lock(), threading.get_ident(), threading.Barrier(2)

    def call(part: int) -> tuple[int, int]:
        if started == 2:
            met.wait(60)
        return part, threading.get_ident()

    with monkeypatch.context() as patch:
        patch.setattr(_thread, "start_new_thread", refused)
        for _ in range(3):
            found = side_by_side(call, [1, 2], lock)
            assert [part for part, _ in found] == [1, 2]
            assert (here in {thread for _, thread in found}) == (started < 2)
            assert is_free(lock)
    assert is_free(lock)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
@pytest.mark.parametrize("during", [False, True])
def test_a_forked_child_has_helpers_of_its_own(during: bool) -> None:
    lock, met, go_on = Lock(), threading.Barrier(3), threading.Event()

    def hold(_: int) -> None:
        met.wait(60)
        go_on.wait(60)

    thread = threading.Thread(target=lambda: side_by_side(hold, [1, 2], lock))
    if during:
        thread.start()
        met.wait(60)
    else:
        side_by_side(abs, [1, 2], lock)
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # ends the child where it waits for ever
        both = threading.Barrier(2)

        def call(part: int) -> int:
            both.wait(10)
            with lock:
                return part

        os._exit(0 if side_by_side(call, [1, 2], lock) == [1, 2] and is_free(lock) else 1)
    try:
        assert os.waitpid(child, 0)[1] == 0
    finally:
        go_on.set()
        if during:
            thread.join(60)


@given(st.lists(st.sampled_from([1, 2, 3, 4]), min_size=1, max_size=4))
def test_threads_are_set_for_one_thread_alone_and_put_back(numbers: list[int]) -> None:
    def nest(left: list[int]) -> None:
        before = torch.get_num_threads()
        if left:
            with threads_here(left[0]):
                assert torch.get_num_threads() == left[0]
                assert in_new_thread(torch.get_num_threads) == 2
                nest(left[1:])
        assert torch.get_num_threads() == before

    nest(numbers)


def test_what_fails_leaves_the_threads_as_they_were() -> None:
    with pytest.raises(ValueError, match="no frame"), threads_here(1):
        raise ValueError("no frame")
    assert torch.get_num_threads() == 2


def test_what_a_person_sets_meanwhile_stays() -> None:
    with threads_here(1):
        in_new_thread(lambda: torch.set_num_threads(3))
    assert in_new_thread(torch.get_num_threads) == 3
    in_new_thread(lambda: torch.set_num_threads(2))


def test_parts_of_a_batch_give_what_the_batch_gives() -> None:
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.Flatten(), nn.Linear(256, 3)).eval()
    net = Network(module, input_size=12)
    x = torch.randn(11, 3, 12, 12)
    expected = net.forward(x)[0].numpy()
    for _ in range(4):
        found = side_by_side(lambda part: net.forward(part)[0].numpy(), x.chunk(parts_at_once(len(x), CPU)), net.lock)
        assert len(found) == 2
        np.testing.assert_allclose(np.concatenate(found), expected, rtol=1e-4, atol=1e-6)


def test_what_several_threads_ask_for_is_made_once() -> None:
    kept: dict[int, object] = {}
    lock, met, made = Lock(), threading.Barrier(4), []

    def make() -> object:
        made.append(object())
        return made[-1]

    def ask(_: int) -> list[object]:
        met.wait(60)
        return [made_once(kept, key, make, lock) for key in range(50)]

    first, *others = side_by_side(ask, range(4))
    assert len(made) == 50
    assert all(found == first for found in others)
