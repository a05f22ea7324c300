"""Locks that a fork leaves open.

``os.fork`` copies a lock as it is, but only the thread that forks: one that another thread held would stay locked in
the child for ever. That happens whenever processes are forked (the workers of a ``DataLoader``, a pool, a user's own)
while a widget's thread computes.
"""

from __future__ import annotations

import os
import threading
import weakref

__all__ = ["Lock"]


class Lock:
    """A re-entrant lock for ``with``; in a forked child it is open, but for the thread that forked while it held it."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        _made.add(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def _reset(self) -> None:
        if not self._lock._is_owned():  # type: ignore[attr-defined]  # `threading.Condition` asks the same
            self._lock = threading.RLock()


_made: weakref.WeakSet[Lock] = weakref.WeakSet()


def _reset_all() -> None:
    for lock in list(_made):
        lock._reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_all)
