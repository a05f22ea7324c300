"""PyTorch's threads on a CPU: their number for one thread of Python alone, and several calls side by side.

PyTorch shares each operation out among its threads, which wait for each other after every one. That pays where
operations are long. Where they are short and many, and some are done by one thread alone, threads of Python's that
compute a part of the work each, from beginning to end, wait for each other once. PyTorch lets others run Python while
it computes.
"""

from __future__ import annotations

import _thread
import atexit
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar, cast
from weakref import WeakSet

import torch

from convscope_core.locks import Lock

__all__ = ["Meanwhile", "parts_at_once", "side_by_side", "threads_here"]

P = TypeVar("P")
R = TypeVar("R")

#: Parts at once, at most. Python runs in one thread at a time, and is about a twentieth of what a part computes.
_MOST = 4

_A_WHILE = 1.0
"""Seconds after which one who waits looks by itself."""


@contextmanager
def threads_here(number: int) -> Iterator[None]:
    """Have PyTorch compute with so many threads where this thread of Python calls it; for others nothing changes."""
    before = torch.get_num_threads()
    if number == before:
        yield
        return
    _set_here(number)
    try:
        yield
    finally:
        _set_here(before)


def parts_at_once(pictures: int, device: torch.device, fewest: int = 2) -> int:
    """Return into how many parts to cut so many pictures for `side_by_side`: one where that would not pay.

    Parameters
    ----------
    pictures : int
    device : torch.device
        Elsewhere than on a CPU they stay together.
    fewest : int, default 2
        Pictures of a part, at least: for few all kernels are read for little work.
    """
    threads = torch.get_num_threads()
    most = min(threads, pictures // fewest, _MOST)
    if device.type != "cpu" or most < 2 or _own.helping:
        return 1
    # As many as leave the fewest threads over, where all have as many.
    return max(range(2, most + 1), key=lambda parts: (threads // parts * parts, parts))


def side_by_side(call: Callable[[P], R], parts: Sequence[P], lock: Lock | None = None) -> list[R]:
    """Call a function with each of several parts at once, in threads which share those of PyTorch.

    The calls find PyTorch's settings for a thread (of gradients, inference and autocast), and context variables, as
    they are here. A single part is computed here, and so are those of a call that is itself one of several.

    Parameters
    ----------
    call : callable
        Must not change what another call reads, nor wait for a lock that is held here, but for the given one.
    parts : sequence
    lock : Lock, optional
        Is held until all calls have ended; they may enter it.

    Returns
    -------
    list
        What it returned for each part, in order.

    Raises
    ------
    BaseException
        That of the first part of those whose calls failed; or an interrupt that came meanwhile. No call goes on.
    """
    if len(parts) < 2 or _own.helping:
        return [call(part) for part in parts]
    with nullcontext() if lock is None else lock:
        calls, helpers = _Calls(call, len(parts), lock), _helpers
        try:
            for index, part in enumerate(parts):
                helpers.call(partial(copy_context().run, calls, index, part, helpers.free))
        except RuntimeError:  # no thread can be started: there are too many, or the interpreter ends
            pass
        else:
            calls.wait()
        finally:
            try:
                calls.end()
            except BaseException:
                calls.end()  # an interrupt may come before the first step of that, too
                raise
        return calls.results() or [call(part) for part in parts]


class Meanwhile:
    """A call that another thread makes while this one does something else.

    It finds PyTorch's settings for a thread and context variables as they are here, and computes with one of PyTorch's
    threads: the others are computing.

    Parameters
    ----------
    call : callable
        Must not wait for a lock that is held here.
    """

    def __init__(self, call: Callable[[], object]) -> None:
        self._call = call
        self._calls = _Calls(self._called, 1, None, threads=1)
        self._begun = False
        self._thread: int | None = None
        self._process = os.getpid()

    def _called(self, _: None) -> None:
        self._thread = threading.get_ident()
        try:
            self._call()
        finally:
            self._thread = None

    def begin(self) -> None:
        """Have the call made; at once where no thread can be started."""
        helpers = _helpers
        _meanwhile.add(self)
        try:
            helpers.call(partial(copy_context().run, self._calls, 0, None, helpers.free))
        except RuntimeError:
            self._call()
        else:
            self._begun = True

    @property
    def here(self) -> bool:
        """Whether this is asked within the call."""
        return self._thread == threading.get_ident()

    @property
    def over(self) -> bool:
        """Whether there is nothing to wait for."""
        return not self._begun or not self._calls.waiting or os.getpid() != self._process

    def wait(self) -> None:
        """Wait for the call."""
        if not self.over:
            self._calls.wait()

    def end(self) -> BaseException | None:
        """Wait for the call, also if interrupts come meanwhile, and return its error."""
        if os.getpid() != self._process:  # a forked child has not its parent's threads
            return None
        try:
            self.wait()
        finally:
            try:
                self._calls.end()
            except BaseException:
                self._calls.end()  # an interrupt may come before the first step of that, too
                raise
        try:
            self._calls.results()
        except BaseException as error:
            return error
        return None


_meanwhile: WeakSet[Meanwhile] = WeakSet()


@atexit.register
def _end_all() -> None:
    """Wait before the interpreter ends, and with it the threads, in the middle of what they do."""
    for each in list(_meanwhile):
        each.wait()
        if os.getpid() == each._process:
            each._calls.end()


class _Calls(Generic[P, R]):
    """Calls of which each is as if the thread that made this had made it, and what they gave.

    An interrupt comes to that thread between any two steps of Python, also within a condition or a future, and would
    leave those locked for ever. So what has happened is in plain attributes, and a queue says that they have changed.
    Several threads may wait: one that needs no more news leaves them to the others, and should they be lost with an
    interrupt, each looks by itself after a while.
    """

    def __init__(self, call: Callable[[P], R], count: int, lock: Lock | None, threads: int | None = None) -> None:
        self._call, self._lock = call, lock
        self._threads = threads or max(1, torch.get_num_threads() // count)
        self._settings = _settings()
        self._outcomes: list[_Outcome[R] | None] = [None] * count
        self._inside: set[int] = set()
        self._ended = False
        self._changed: SimpleQueue[None] = SimpleQueue()

    def __call__(self, index: int, part: P, free: Callable[[], None]) -> None:
        self._inside.add(index)
        if not self._ended:
            self._outcomes[index] = self._outcome(part)
        free()  # before the thread that waits goes on, and has other calls
        self._inside.discard(index)
        self._changed.put(None)

    def _outcome(self, part: P) -> _Outcome[R]:
        _own.helping = True
        try:
            if torch.get_num_threads() != self._threads:  # it helps again soon, with as many
                _set_here(self._threads)
            with self._settings(), nullcontext() if self._lock is None else self._lock.lent():
                return _Outcome(self._call(part))
        except BaseException as e:
            return _Outcome(error=e)

    @property
    def waiting(self) -> bool:
        """Whether there are calls to wait for."""
        return None in self._outcomes

    def _until(self, over: Callable[[], bool]) -> None:
        while not over():
            with suppress(Empty):
                self._changed.get(timeout=_A_WHILE)
        self._changed.put(None)

    def wait(self) -> None:
        """Wait for all calls."""
        self._until(lambda: not self.waiting)

    def end(self) -> None:
        """Let no further call begin, and wait for those that have, also if interrupts come meanwhile."""
        interrupt: BaseException | None = None
        while True:
            try:
                self._ended = True
                self._until(lambda: not self._inside)
                break
            except BaseException as e:
                interrupt = e
        if interrupt is not None:
            raise interrupt

    def results(self) -> list[R]:
        """Return what the calls gave, or raise the first error; nothing if not all were made."""
        found = [outcome for outcome in self._outcomes if outcome is not None]
        errors = [outcome.error for outcome in found if outcome.error is not None]
        values = [cast(R, outcome.value) for outcome in found]
        try:
            if len(found) < len(self._outcomes):
                return []
            if errors:
                raise errors[0]
            return values
        finally:
            # Else an error would refer to itself, and keep the memory of what failed.
            errors.clear()
            found.clear()
            self._outcomes.clear()


@dataclass(frozen=True, eq=False)
class _Outcome(Generic[R]):
    value: R | None = None
    error: BaseException | None = None


def _settings() -> Callable[[], AbstractContextManager[Any]]:
    """Return what gives another thread PyTorch's settings of this one."""
    inference, gradients = torch.is_inference_mode_enabled(), torch.is_grad_enabled()
    autocast = torch.is_autocast_enabled("cpu")
    dtype, cached = torch.get_autocast_dtype("cpu"), torch.is_autocast_cache_enabled()

    def enter() -> AbstractContextManager[Any]:
        with ExitStack() as settings:
            settings.enter_context(torch.inference_mode(inference))  # sets that of gradients, too
            settings.enter_context(torch.set_grad_enabled(gradients))
            if autocast:
                settings.enter_context(torch.autocast("cpu", dtype, cache_enabled=cached))
            return settings.pop_all()

    return enter


class _Own(threading.local):
    """What belongs to one thread of Python."""

    #: Whether it computes calls of `side_by_side`.
    helping = False


_own = _Own()

#: What one thread sets for itself must not be what another finds.
_setting = Lock()


def _set_here(number: int) -> None:
    """Set the number of threads that PyTorch uses in this thread alone.

    `torch.set_num_threads` sets two: that of the thread which calls it, and the one that each other thread takes when
    it first uses PyTorch, and keeps. Threads that have not used it before read the second, and put it back.
    """
    with _setting:
        everywhere = _in_new_thread(torch.get_num_threads)
        torch.set_num_threads(number)
        _in_new_thread(lambda: torch.set_num_threads(everywhere))


def _in_new_thread(call: Callable[[], int | None]) -> int:
    found: list[int | None] = []
    thread = threading.Thread(target=lambda: found.append(call()))
    thread.start()
    thread.join()
    return found[0] or 0


class _Helpers:
    """Threads that wait for calls: as many as were ever needed at once.

    Executors of `concurrent.futures` have locks that an interrupt in their `submit` would leave locked for ever:
    nothing could be computed any more, nor the interpreter end. What these share is changed in single steps.
    """

    def __init__(self) -> None:
        self._calls: SimpleQueue[Callable[[], object]] = SimpleQueue()
        self._idle: SimpleQueue[None] = SimpleQueue()

    def call(self, call: Callable[[], object]) -> None:
        """Have a call made, which must not raise, and calls `free` when it has next to nothing left to do.

        Raises
        ------
        RuntimeError
            If another thread is needed, and cannot be started.
        """
        try:
            self._idle.get_nowait()
        except Empty:
            _thread.start_new_thread(self._help, ())
        self._calls.put(call)

    def free(self) -> None:
        """Say that there is a thread for another call."""
        self._idle.put(None)

    def _help(self) -> None:
        while True:
            self._calls.get()()


_helpers: _Helpers


def _begin() -> None:
    """Have helpers; a forked child has none of its parent's."""
    global _helpers
    _helpers = _Helpers()


_begin()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin)
