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

import torch

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


def _begin_child() -> None:
    for lock in list(_made):
        lock._reset()
    if torch.get_num_threads() > 1:
        torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_child)
