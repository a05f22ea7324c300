"""Results of which a shard is written while the next one is computed."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from functools import partial

from convscope_core.errors import StoreError
from convscope_core.jobs.parts import Part
from convscope_core.jobs.results import Pending, Record, Results
from convscope_core.threads import Meanwhile

__all__ = ["WriteBehind"]


class WriteBehind(Results):
    """Results of which a shard is written in another thread, while this one computes the next.

    One shard at a time is written, and nothing else is asked of the results meanwhile: the shard to compute next is
    claimed before, and a snapshot is of before, with what is written in `pending`. With no next shard there is nothing
    to compute, and `put` writes. What goes wrong with a shard is raised by whatever is called next.

    Parameters
    ----------
    results : Results
        Where `put` takes long, and snapshots cost something.
    """

    at_hand = False

    def __init__(self, results: Results) -> None:
        self._results = results
        self.traced, self.kept = results.traced, results.kept
        self.finished = set()
        self._writing: Meanwhile | None = None
        self._error: BaseException | None = None
        self._closed = False
        self._next: tuple[int, list[int]] | None = None
        self._parts: tuple[Part, ...] | None = None
        self._news: list[Record] = []

    def take(self) -> int | None:
        """See `Results`."""
        if self._next is None:
            self.wait()
            shard = self._results.take()
            if shard is None:
                return None
            self._next = shard, self._results.indices(shard)
        return self._next[0]

    def indices(self, shard: int) -> list[int]:
        """See `Results`."""
        if self._next is None or self._next[0] != shard:
            self.wait()
            return self._results.indices(shard)
        (_, indices), self._next = self._next, None
        return indices

    def put(self, shard: int, part: Part, record: Record) -> None:
        """See `Results`."""
        self.wait()
        if self.pending:
            self._look(self._parts is not None)
        # Another process may have claimed this very shard meanwhile.
        while (following := self.take()) == shard:
            self._next = None
        if following is None:
            self._results.put(shard, part, record)
            return
        self._writing = writing = Meanwhile(partial(self._write, shard, part, record))
        if shard not in self.finished:
            self.pending = (Pending(part, record),)
        writing.begin()

    def _write(self, shard: int, part: Part, record: Record) -> None:
        try:
            self._results.put(shard, part, record)
        except BaseException:
            with contextlib.suppress(StoreError):
                self._results.give_back([shard])
            raise
        finally:
            if self._closed:
                self._results.close()

    def _end(self) -> None:
        """Wait for the shard that is written, and keep what went wrong."""
        if self._writing is None:
            return
        try:
            self._error = self._writing.end() or self._error
        finally:
            self._writing = None  # also after an interrupt, which comes when that is over

    def wait(self) -> None:
        """See `Results`."""
        self._end()
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def give_back(self, shards: Sequence[int]) -> None:
        """See `Results`."""
        if self._writing is not None and self._writing.here:
            return  # as in `close`: in the middle of a write; who finds them taken takes them at the end
        self._end()
        self._results.give_back(shards)

    def snapshot(self, parts: bool = True) -> tuple[tuple[Part, ...], list[Record]]:
        """See `Results`."""
        if self._writing is not None and not self._writing.over and (self._parts is not None or not parts):
            merged = self._parts if parts else ()
        else:
            self.wait()
            merged = self._look(parts)
        news, self._news = self._news, []
        return merged or (), news

    def _look(self, parts: bool) -> tuple[Part, ...]:
        """See what there is now."""
        merged, news = self._results.snapshot(parts)
        self.finished, self.pending = self._results.finished, ()
        self._parts = merged if parts else None
        self._news += news
        return merged

    @property
    def left(self) -> int:
        """See `Results`."""
        self.wait()
        return self._results.left

    def close(self) -> None:
        """See `Results`."""
        if self._writing is not None and self._writing.here:
            self._closed = True  # the thread that writes came upon this as garbage: it closes them when it has written
            return
        try:
            self._end()
            if self._next is not None:
                with contextlib.suppress(StoreError):
                    self._results.give_back([self._next[0]])
        finally:
            self._results.close()
        if self._error is not None and sys.exc_info()[0] in (None, GeneratorExit):  # else there is an error already
            raise self._error
