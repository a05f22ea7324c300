"""A pass that is taken down at the second batch of a shape, and repeated."""

from __future__ import annotations

import contextlib

import pytest
import torch

from convscope_core.graph.captured import Repeated
from convscope_core.locks import Lock


def test_repeated_it_gives_what_the_call_gives_and_what_it_gave_stays(device: torch.device) -> None:
    weight = torch.randn(5, 7)
    calls = []

    def call(x: torch.Tensor) -> list[torch.Tensor]:
        calls.append(len(x))
        return [x @ weight, x.sum(1), torch.full((2,), 3.0)]

    repeated = Repeated(call, Lock())
    batches = [torch.randn(count, 5) for count in (4, 4, 3, 4, 3, 3, 4)]
    found = [repeated(x) for x in batches]
    # Once as it is, once to be taken down, for each shape.
    assert calls == ([4, 4, 3, 3] if device.type == "cuda" else [len(x) for x in batches])
    for x, got in zip(batches, found, strict=True):
        for one, expected in zip(got, call(x), strict=True):
            assert torch.equal(one, expected)


def test_what_waits_for_the_device_is_called_each_time() -> None:
    calls = []

    def call(x: torch.Tensor) -> list[torch.Tensor]:
        calls.append(float(x.sum()))
        return [x * calls[-1]]

    repeated = Repeated(call, Lock())
    for number in range(4):
        x = torch.full((2, 2), float(number))
        (got,) = repeated(x)
        assert torch.equal(got, x * 4 * number)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, None])
def test_after_a_pass_that_cannot_be_taken_down_all_is_as_before(device: torch.device, error: type | None) -> None:
    def call(x: torch.Tensor) -> list[torch.Tensor]:
        calls.append(len(x))
        large = x.repeat(copies, 1)
        if len(calls) == 2 and (error is KeyboardInterrupt or (error and x.is_cuda)):
            raise error("in the middle")
        if error is None:
            large.sum().item()  # waits for the device
        return [large.sum(0)]

    copies = 2**20 if device.type == "cuda" else 2  # there memory is looked at
    reserved = []
    for number in range(6):
        calls: list[int] = []
        repeated, x = Repeated(call, Lock()), torch.randn(2 + number, 5)
        repeated(x)
        with contextlib.nullcontext() if error is not KeyboardInterrupt else pytest.raises(KeyboardInterrupt):
            repeated(x)
        for _ in range(3):
            assert torch.equal(repeated(x)[0], x.repeat(copies, 1).sum(0))
        assert torch.nn.functional.dropout(torch.ones(1000, device=device)).unique().tolist() == [0, 2]
        assert torch.rand(3, device=device).unique().numel() == 3
        del repeated
        if device.type == "cuda":
            torch.cuda.empty_cache()
            reserved.append(torch.cuda.memory_reserved())
    assert max(reserved, default=0) <= min(reserved, default=0) + 2**25


def test_a_first_pass_that_was_interrupted_is_not_taken_for_one() -> None:
    calls = []

    def call(x: torch.Tensor) -> list[torch.Tensor]:
        calls.append(torch.cuda.is_current_stream_capturing() if x.is_cuda else False)
        if len(calls) == 1:
            raise KeyboardInterrupt
        return [x + 1]

    repeated, x = Repeated(call, Lock()), torch.zeros(2)
    with pytest.raises(KeyboardInterrupt):
        repeated(x)
    assert torch.equal(repeated(x)[0], x + 1)
    assert calls == [False, False]
