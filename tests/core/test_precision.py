"""Full precision while somebody wants it, and torch's settings as they were afterwards."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from convscope_core.network import Network
from convscope_core.precision import _Settings, convolutions_round, full_precision

CUDA = torch.device("cuda")  # whose settings there are without one
NEWER = hasattr(getattr(torch.backends.cudnn, "conv", None), "fp32_precision")


def settings() -> list[Any]:
    """What torch says of itself; it refuses to say in the older way what was said in the newer."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    found: list[Any] = []
    for ask in (lambda: cudnn.allow_tf32, lambda: matmul.allow_tf32, torch.get_float32_matmul_precision):
        try:
            found.append(ask())
        except RuntimeError:
            found.append("mixed")
    return found + ([p.fp32_precision for p in (matmul, cudnn.conv, cudnn.rnn)] if NEWER else [])


@contextlib.contextmanager
def as_before() -> Iterator[None]:
    kept = _Settings()
    kept.take()
    try:
        yield
    finally:
        kept.give_back()


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    with as_before():
        yield


WAYS = {
    "convolutions": lambda: setattr(torch.backends.cudnn, "allow_tf32", True),
    "no convolutions": lambda: setattr(torch.backends.cudnn, "allow_tf32", False),
    "products": lambda: torch.set_float32_matmul_precision("high"),
    "coarse products": lambda: torch.set_float32_matmul_precision("medium"),
    "no products": lambda: torch.set_float32_matmul_precision("highest"),
}
if NEWER:
    WAYS["newer convolutions"] = lambda: setattr(torch.backends.cudnn.conv, "fp32_precision", "tf32")
    WAYS["newer products"] = lambda: setattr(torch.backends.cuda.matmul, "fp32_precision", "tf32")


@given(st.lists(st.sampled_from(sorted(WAYS)), max_size=4))
def test_settings_return_however_they_were_made(ways: list[str]) -> None:
    with as_before():
        for way in ways:
            WAYS[way]()
        before, rounded = settings(), convolutions_round()
        with full_precision(CUDA), full_precision(CUDA):
            assert settings()[:3] == [False, False, "highest"]
            assert not convolutions_round()
        assert settings() == before
        assert convolutions_round() == rounded


def test_the_last_of_several_threads_puts_them_back() -> None:
    torch.backends.cudnn.allow_tf32 = True
    before = settings()
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with full_precision(CUDA):
            entered.set()
            leave.wait(20)

    thread = threading.Thread(target=hold)
    with full_precision(CUDA):
        thread.start()
        assert entered.wait(20)
    assert not convolutions_round(), "the other one still wants it"
    leave.set()
    thread.join(20)
    assert settings() == before


def test_nothing_changes_for_other_devices_or_where_it_is_not_wanted() -> None:
    torch.backends.cudnn.allow_tf32 = True
    for device, wanted in ((torch.device("cpu"), True), (CUDA, False)):
        with full_precision(device, wanted):
            assert convolutions_round()


def test_a_network_computes_in_full_precision_unless_told_otherwise(device: torch.device) -> None:
    module = nn.Sequential(nn.Conv2d(3, 64, 3), nn.ReLU(), nn.Conv2d(64, 64, 3), nn.Flatten(), nn.Linear(9216, 3))
    x = torch.randn(2, 3, 16, 16)
    net, coarse = (Network(module.eval(), input_size=16, tf32=tf32) for tf32 in (False, True))
    exact = net.forward(x)[0]
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    assert torch.equal(net.forward(x)[0], exact)
    with torch.autocast(device.type, torch.bfloat16):
        assert torch.equal(net.forward(x)[0], exact)
    rounds = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
    assert torch.equal(coarse.forward(x)[0], exact) != rounds
    assert net.with_tensors(lambda t: t, "same").lock._full
    assert not coarse.silenced({"0": 1}).lock._full
