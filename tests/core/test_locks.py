"""Locks that a fork leaves open: a child does not wait for a thread that it does not have."""

from __future__ import annotations

import os
import pickle
import signal
import threading
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from convscope_core.datasets import Images
from convscope_core.locks import Lock
from convscope_core.network import Network
from convscope_core.survey import survey

if not hasattr(os, "fork"):
    pytest.skip("there is no fork on this system", allow_module_level=True)


def in_child(work: Callable[[], bool], patience: int = 20) -> bool:
    """What a forked child finds; False if it has not ended after `patience` seconds."""
    if torch.cuda.is_initialized():
        pytest.skip("CUDA is of no use in a fork")
    child = os.fork()
    if child == 0:
        signal.alarm(patience)  # ends the child where it waits for ever
        os._exit(0 if work() else 1)
    return os.waitpid(child, 0)[1] == 0


def test_a_lock_that_another_thread_holds_is_open_in_a_child():
    lock, held, let_go = Lock(), threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            let_go.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(20)

    def enter() -> bool:
        with lock, lock:
            return True

    try:
        assert in_child(enter)
        assert thread.is_alive(), "the parent's lock was held meanwhile"
    finally:
        let_go.set()
        thread.join(20)


def test_the_thread_that_forks_keeps_its_lock():
    lock = Lock()

    def others_wait() -> bool:
        entered = threading.Event()

        def enter() -> None:
            with lock:
                entered.set()

        thread = threading.Thread(target=enter)
        thread.start()
        waited = not entered.wait(0.2)
        lock.__exit__()
        thread.join(20)
        return waited and entered.is_set()

    with lock:
        assert in_child(others_wait)


class Slow(torch.utils.data.Dataset):
    """Holds the data set's lock whenever an item is read, as a slow disk does."""

    def __init__(self) -> None:
        self.reading, self.go_on = threading.Event(), threading.Event()

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> np.ndarray:
        if threading.current_thread().name == "holds":
            self.reading.set()
            self.go_on.wait(60)
        return np.full((8, 8, 3), 10 * index, np.uint8)


class Busy(Slow):
    """Its lock is nearly always held."""

    def __getitem__(self, index: int) -> np.ndarray:
        if threading.current_thread().name == "reads":
            self.reading.set()
            self.go_on.wait(0.02)
        return super().__getitem__(index)


def test_a_child_computes_and_reads_while_a_thread_of_its_parent_does():
    net = Network(nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 2)).eval(), input_size=8)
    dataset = Slow()
    images = Images.of(dataset)
    x = net.prepare(np.zeros((8, 8, 3), np.uint8))
    truth = pickle.dumps(net.predict(x).probabilities)

    def hold() -> None:
        with net.lock:
            images[3]

    thread = threading.Thread(target=hold, name="holds")
    thread.start()
    try:
        assert dataset.reading.wait(20)
        assert in_child(lambda: pickle.dumps(net.predict(x).probabilities) == truth)
        assert in_child(lambda: images[5].image[0, 0, 0] == 50)
    finally:
        dataset.go_on.set()
        thread.join(20)


@pytest.mark.parametrize("busy", [True, False], ids=["while a thread computes", "afterwards"])
def test_a_child_of_a_process_that_computes_with_several_threads_computes(busy: bool):
    net = Network(
        nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 2)).eval(),
        input_size=64,
    )
    x, done, threads = torch.rand(1, 3, 64, 64), threading.Event(), torch.get_num_threads()

    def compute() -> None:
        while not done.is_set():
            net.predict(x)

    torch.set_num_threads(2)
    thread = threading.Thread(target=compute)
    try:
        truth = net.predict(x).probabilities
        if busy:
            thread.start()
        for _ in range(4):
            assert in_child(lambda: np.allclose(net.predict(x).probabilities, truth, atol=1e-5))
        if busy:
            pictures = [np.full((64, 64, 3), 10 * index, np.uint8) for index in range(8)]
            assert int(survey(net, pictures, workers=2, progress=False).seen.sum()) == 8
        assert torch.get_num_threads() == 2, "the parent goes on with all its threads"
    finally:
        done.set()
        if busy:
            thread.join(20)
        torch.set_num_threads(threads)


def test_processes_read_pictures_beside_a_thread_that_reads_them():
    net = Network(nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 2)).eval(), input_size=8)
    dataset, done = Busy(), threading.Event()
    images = Images.of(dataset)

    def read() -> None:
        while not done.is_set():
            images[3]

    thread = threading.Thread(target=read, name="reads")
    thread.start()
    try:
        assert dataset.reading.wait(20)
        assert int(survey(net, images, workers=2, progress=False).seen.sum()) == 8
    finally:
        done.set()
        thread.join(20)
