"""How many threads a live frame is computed with."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from statistics import median_low

import torch

from convscope_core.threads import threads_here

__all__ = ["FrameThreads"]

#: Half of the threads are preferred while a frame does not take more than this many times as long.
LONGER = 4 / 3

#: The last frames that are compared, and after how many the other number is tried again: fewer than one of twenty.
KEPT, TURN = 5, 32


class FrameThreads:
    """All of torch's threads, or half of them where a frame takes hardly longer with those.

    A small network's frame gains little from more threads, which are taken from the page and the server that show it:
    on two cores efficientnet_lite0 came to fewer frames with two threads than with one. A large network's gains much.
    Which it is depends on the network, the occluder's size, the machine, and on what else runs there: both numbers are
    timed in turn, and the better one is used.

    Parameters
    ----------
    device : torch.device
        Where frames are computed; elsewhere than on the CPU there is nothing to choose.
    """

    def __init__(self, device: torch.device) -> None:
        self._on_cpu = device.type == "cpu"
        self._setting: Hashable = None
        self._count = 0
        self._times: dict[int, deque[float]] = {}

    @contextmanager
    def chosen(self, setting: Hashable) -> Iterator[int]:
        """Compute a frame with the better number of threads, in this thread; those of others are as they were.

        Parameters
        ----------
        setting : hashable
            What is computed, as far as it has an influence on the time.
        """
        most = torch.get_num_threads()
        if most == 1 or not self._on_cpu:
            yield most
            return
        number, times = self._next(setting, most)
        begun = time.perf_counter()
        with threads_here(number):
            yield number
        times.append(time.perf_counter() - begun)

    def _next(self, setting: Hashable, most: int) -> tuple[int, deque[float]]:
        """The number of threads of the next frame, and where the time is noted that it takes."""
        few, times = most // 2, self._times
        if setting != self._setting or times.keys() != {few, most}:
            self._setting, self._count = setting, 0
            self._times = times = {number: deque(maxlen=KEPT) for number in (few, most)}
        self._count += 1
        least = min((few, most), key=lambda number: len(times[number]))
        if len(times[least]) < 2:  # the first may have had more to do
            return least, times[least]
        slower = median_low(times[few]) > LONGER * median_low(times[most])
        better, other = (most, few) if slower else (few, most)
        number = other if self._count % TURN == 0 else better
        return number, times[number]
