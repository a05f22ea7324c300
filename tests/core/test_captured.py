"""A pass that is taken down at the second batch of a shape, and repeated."""

from __future__ import annotations

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
