"""The one thread of an instrument: newest requests first, long work in slices between them.

Widget callbacks must return at once: all widgets of a notebook share one callback thread, and a slow callback would
freeze every slider beside ours. A callback therefore only leaves its request here. Requests have a slot per kind, and a
newer one takes the place of one that has not begun. A *job* (a survey, say) is a generator that yields often; the
thread takes one slice of it when no request waits, nor one has just come. Jobs of several kinds take turns.

A hand that drags asks with every picture of the page, and would wait for whatever began in between. So *a hand at work
goes first*: while its requests keep coming all others wait, and of jobs a slice is taken now and then. What takes long
is done in parts, between which a hand that sets out comes first.
"""

from __future__ import annotations

import atexit
import logging
import math
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

__all__ = ["Worker"]

logger = logging.getLogger("convscope")

#: An idle thread ends by itself after this many seconds; the next request starts another.
IDLE_SECONDS = 60.0

#: A job that lets the first requests go before begins after this many seconds even if none has come.
HEAD_START = 1.0

#: The next request is waited for so many seconds after one has come before a slice begins.
LINGER = 0.05

#: A hand is at work until none of its requests has come for so many seconds: the page may be late with one.
REST = 0.2

#: But jobs go on: a slice's turn comes so many seconds after the last one, or so many times what that took.
TURN = 0.5
SHARE = 8

#: The end of the interpreter waits this many seconds for what the threads are in the middle of.
PARTING_SECONDS = 20.0


class _Request(NamedTuple):
    """What waits in a slot; see `Worker.submit`."""

    run: Callable[[], object]
    superseded: Callable[[], None] | None
    hand: bool


class Worker:
    """Runs requests and jobs on a thread of its own, which exists only while there is work.

    Parameters
    ----------
    name : str
        Name of the thread.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._ended = False
        self._begin()
        _workers.add(self)

    def _begin(self) -> None:
        """Be without a thread and without work, as made, or in a forked child: that has none of the threads.

        What they held and did would stay held and under way there for ever.
        """
        self._condition = threading.Condition()
        self._slots: dict[str, _Request] = {}
        self._jobs: dict[str, Iterator[object]] = {}
        self._running = False
        self._stopping = False
        self._thread: threading.Thread | None = None
        #: Whether a request has come, or somebody waits: until then patient jobs do not begin, up to a time.
        self._asked = False
        self._patience_ends = 0.0
        #: When the last request came, when the last of a hand, and when it is a slice's turn whatever comes.
        self._came = self._moved = self._turn = -math.inf

    @property
    def alive(self) -> bool:
        """Whether the thread exists now."""
        thread = self._thread
        return thread is not None and thread.is_alive()

    @property
    def hand_at_work(self) -> bool:
        """Whether a hand's requests keep coming: what it need not see now waits."""
        return time.monotonic() < self._moved + REST

    def submit(
        self, kind: str, run: Callable[[], object], superseded: Callable[[], None] | None = None, hand: bool = False
    ) -> None:
        """Leave a request; returns at once.

        Parameters
        ----------
        kind : str
            Slot of the request. One that waits in the same slot is dropped.
        run : callable
            Called on the thread. It handles its own errors; one that escapes is logged and the thread goes on. Where
            it returns an iterator there is more to do: each ``next`` of it does a part.
        superseded : callable, optional
            Called, instead of `run`, if a newer request takes the slot first.
        hand : bool, default False
            Whether a hand is at work, which follows what this answers: it goes before all others.
        """
        with self._condition:
            if self._ended:
                return
            dropped = self._slots.pop(kind, None)
            self._slots[kind] = _Request(run, superseded, hand)
            self._asked = True
            self._came = time.monotonic()
            if hand:
                if not self.hand_at_work:
                    self._turn = self._came + TURN
                self._moved = self._came
            self._wake()
        if dropped is not None and dropped.superseded is not None:
            dropped.superseded()

    def start(self, kind: str, job: Iterator[object], patient: bool = False) -> None:
        """Begin a job, in place of one of its kind. Each ``next(job)`` should take well under a second.

        Parameters
        ----------
        kind : str
        job : iterator
        patient : bool, default False
            Whether it lets the first requests go before: an instrument's first view asks a moment after it was made,
            and would wait for the slice that began in between. It begins at the latest after `HEAD_START` seconds.
        """
        with self._condition:
            previous: Iterator[object] | None = job
            if not self._ended:
                if patient and not self._asked:
                    self._patience_ends = time.monotonic() + HEAD_START
                previous = self._jobs.pop(kind, None)
                self._jobs[kind] = job
                self._wake()
        _close(previous)

    def cancel(self) -> None:
        """Drop all jobs; the slice under way is finished first. Requests are not touched."""
        with self._condition:
            jobs = list(self._jobs.values())
            self._jobs.clear()
        for job in jobs:
            _close(job)

    def stop(self, timeout: float | None = None) -> None:
        """End the thread and forget the requests. Jobs stay where they are and go on after the next request.

        Parameters
        ----------
        timeout : float, optional
            Seconds to wait for the request under way; by default this returns at once.
        """
        with self._condition:
            self._slots.clear()
            self._stopping = True
            thread = self._thread
            self._condition.notify_all()
        if timeout is not None and thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    def end(self) -> None:
        """Stop for good: jobs are dropped, and what is asked from now on is not done."""
        with self._condition:
            self._ended = True
        self.cancel()
        self.stop()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until no request waits or runs and no job is left; False if `timeout` seconds passed first."""
        with self._condition:
            self._asked = True
            self._condition.notify_all()
            return self._condition.wait_for(self._finished, timeout)

    def _finished(self) -> bool:
        """Whether nothing is left to do, with the lock held. What `stop` left goes on, as somebody waits for it."""
        if (self._slots or self._jobs) and self._thread is None:
            self._wake()
        return not self._slots and not self._running and not self._jobs

    def _wake(self) -> None:
        self._stopping = False
        if not self.alive:
            self._thread = threading.Thread(target=self._loop, name=self._name, daemon=True)
            self._thread.start()
        self._condition.notify_all()

    def _loop(self) -> None:
        while True:
            with self._condition:
                self._running = False
                self._condition.notify_all()
                due = self._await_work()
                if due is None:
                    # Cleared while the lock is held, so that a request that comes now starts a new thread.
                    self._thread = None
                    self._condition.notify_all()
                    return
                self._running = True
                request: _Request | None = None
                job: Iterator[object] | None = None
                if due == "request":
                    kind = min(self._slots, key=lambda one: not self._slots[one].hand)  # the first of a hand, or of all
                    request = self._slots.pop(kind)
                else:
                    kind = next(iter(self._jobs))
                    job = self._jobs[kind] = self._jobs.pop(kind)  # the others' turn comes first
            try:
                if request is not None:
                    self._part(request)
                elif job is not None:
                    self._slice(kind, job)
            except Exception:
                logger.exception("an instrument's worker caught an error that was not handled")
            # Nothing is held while the thread waits: neither a cancelled job nor what a request refers to.
            del request, job

    def _await_work(self) -> Literal["request", "job"] | None:
        """Wait for something to do, with the lock held; None if the thread should end instead."""
        patience = self._patience_ends - time.monotonic()
        if self._jobs and not self._asked and patience > 0:
            self._condition.wait_for(lambda: self._asked or self._stopping or not self._jobs, patience)
            self._asked = True
        while self._condition.wait_for(lambda: self._slots or self._jobs or self._stopping, IDLE_SECONDS):
            if self._stopping:
                return None
            now = time.monotonic()
            request, job = self._times(now)
            if min(request, job) <= now:
                return "job" if job <= now else "request"
            self._condition.wait(min(request, job) - now)
        return None

    def _times(self, now: float) -> tuple[float, float]:
        """When the next request and the next slice may begin, with the lock held."""
        rest = self._moved + REST
        request = job = math.inf
        if self._slots:
            request = now if any(one.hand for one in self._slots.values()) else rest
        if self._jobs and now < rest:
            job = min(self._turn, rest)
        elif self._jobs and not self._slots:
            job = min(self._came + LINGER, self._turn)
        return request, job

    def _part(self, request: _Request) -> None:
        parts = request.run()
        if not isinstance(parts, Iterator) or next(parts, parts) is parts:
            return
        with self._condition:
            if not self._stopping:  # it goes on before others, and no newer one takes its place
                self._slots = {f"parts {id(parts)}": _Request(lambda: parts, None, request.hand), **self._slots}

    def _slice(self, kind: str, job: Iterator[object]) -> None:
        begun = time.monotonic()
        try:
            next(job)
        except BaseException as error:
            with self._condition:
                if self._jobs.get(kind) is job:
                    del self._jobs[kind]
            if not isinstance(error, StopIteration):
                raise
        finally:
            ended = time.monotonic()
            self._turn = ended + max(TURN, SHARE * (ended - begun))


def _close(job: Iterator[object] | None) -> None:
    """Let a generator run its ``finally``; one that is executing at this moment ends with its slice."""
    close = getattr(job, "close", None)
    if close is not None:
        try:
            close()
        except ValueError:
            # "generator already executing": its thread sees that it is no longer the job and lets it go.
            logger.debug("a job was cancelled in the middle of a slice")


#: All that there are, for the end of the interpreter.
_workers: weakref.WeakSet[Worker] = weakref.WeakSet()


@atexit.register
def _part() -> None:
    """End all threads while the interpreter still stands.

    A thread that comes back from a computation of torch's into an interpreter that is ending is torn down in the middle
    of C++, which ends the process with "terminate called without an active exception".
    """
    workers = list(_workers)
    for worker in workers:
        worker.cancel()
        worker.stop()
    ends = time.monotonic() + PARTING_SECONDS
    for worker in workers:
        worker.stop(max(0.0, ends - time.monotonic()))


def _begin_child() -> None:
    for worker in list(_workers):
        worker._begin()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_child)
