"""What a fork leaves usable: locks are open in the child, and it computes with one thread.

``os.fork`` copies a lock as it is, but only the thread that forks: one that another thread held would stay locked in
the child for ever. That happens whenever processes are forked (the workers of a ``DataLoader``, a pool, a user's own)
while a widget's thread computes.

PyTorch's threads are GNU OpenMP's, of which the child has none, though the library believes that they are there: a
child that computes with several waits for them for ever, if the thread that forked ever did so. It computes with one,
as in the workers of a ``DataLoader``.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

__all__ = ["Lock", "made_once"]

K = TypeVar("K")
V = TypeVar("V")


class Lock:
    """A re-entrant lock for ``with``; in a forked child it is open, but for the thread that forked while it held it."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._guests: set[int] = set()
        _made.add(self)

    def __enter__(self) -> None:
        if threading.get_ident() in self._guests:
            return
        self._lock.acquire()
        try:
            self._begin()
        except BaseException:
            self._lock.release()
            raise

    def __exit__(self, *_: object) -> None:
        if threading.get_ident() in self._guests:
            return
        try:
            self._end()
        finally:
            self._lock.release()

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Let this thread in and out as it likes: another one holds the lock, and waits for what this one does."""
        self._guests.add(threading.get_ident())
        try:
            yield
        finally:
            self._guests.discard(threading.get_ident())

    def _begin(self) -> None:
        """What is done whenever a thread has come in, but for those that it is lent to."""

    def _end(self) -> None:
        """What is done before it goes out."""

    def _reset(self) -> None:
        self._guests &= {threading.get_ident()}
        if not self._lock._is_owned():  # type: ignore[attr-defined]  # `threading.Condition` asks the same
            self._lock = threading.RLock()


def made_once(kept: dict[K, V], key: K, make: Callable[[], V], lock: Lock) -> V:
    """Return what is kept under a key; it is made under a lock, once, when somebody first asks for it."""
    if key not in kept:
        with lock:
            if key not in kept:
                kept[key] = make()
    return kept[key]


_made: weakref.WeakSet[Lock] = weakref.WeakSet()


def _begin_child() -> None:
    for lock in list(_made):
        lock._reset()
    if torch.get_num_threads() > 1:
        torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_child)
