"""Pictures read ahead of the network: in order, each once, whatever they are, and however it ends."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from convscope_core.datasets import Images
from convscope_core.jobs.loading import loaded

PICTURES = [np.full((2, 3, 3), value, np.uint8) for value in range(9)]


class Prepared:
    """Makes of a picture what a test wants of its value."""

    def __init__(self, make: Callable[[int], Tensor]) -> None:
        self.make = make

    def prepare(self, image: Any, /) -> Tensor:
        return self.make(int(np.asarray(image).flat[0]))


def tensor(value: int) -> Tensor:
    return torch.full((1, 3, 2, 3), float(value))


def unlike_arrays() -> dict[str, Callable[[int], Tensor]]:
    def conjugated(value: int) -> Tensor:
        return torch.complex(tensor(0), -tensor(value)).conj()

    return {
        "requires_grad": lambda value: tensor(value).requires_grad_(),
        "negative": lambda value: conjugated(value).imag,
        "conjugated": conjugated,
        "steps": lambda value: tensor(value).transpose(2, 3).contiguous().transpose(2, 3),
        "expanded": lambda value: torch.tensor(float(value)).expand(1, 3, 2, 3),
    }


@pytest.mark.parametrize("kind", unlike_arrays())
def test_tensors_of_any_kind_are_put_together(kind: str) -> None:
    make = unlike_arrays()[kind]
    batches = list(loaded(Prepared(make), Images.of(PICTURES), range(9), 4, 0))
    for batch in batches:
        assert batch.x is not None
        assert torch.equal(batch.x, torch.cat([make(number) for number in batch.numbers]).detach())
    assert [number for batch in batches for number in batch.numbers] == list(range(9))


@given(bad=st.sets(st.integers(0, 8)), count=st.integers(0, 9), size=st.integers(1, 12), seen=st.integers(0, 10))
def test_what_cannot_be_read_is_left_out_with_its_reason_wherever_it_ends(
    bad: set[int], count: int, size: int, seen: int
) -> None:
    def make(value: int) -> Tensor:
        if value in bad:
            raise ValueError(f"damaged {value}")
        return tensor(value)

    before = set(threading.enumerate())
    indices = [100 + place for place in range(count)]
    run = loaded(Prepared(make), Images.of(PICTURES)[:count], indices, size, 0)
    for first in range(0, count, size)[:seen]:
        batch = next(run)
        good = [place for place in range(first, min(first + size, count)) if place not in bad]
        assert batch.numbers == [indices[place] for place in good]
        assert (batch.x is None) == (not good)
        if batch.x is not None:
            assert torch.equal(batch.x, torch.cat([tensor(place) for place in good]))
        lost = [(indices[place], f"ValueError: damaged {place}") for place in range(min(first + size, count))]
        assert batch.record.skipped == [one for one, place in zip(lost, range(count), strict=False) if place in bad]
    if seen * size >= count:
        assert next(run, None) is None
    run.close()
    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, MemoryError])
def test_what_ends_the_work_ends_its_threads(error: type[BaseException]) -> None:
    def make(value: int) -> Tensor:
        if value == 5:
            raise error
        return tensor(value)

    before = set(threading.enumerate())
    run = loaded(Prepared(make), Images.of(PICTURES), range(9), 2, 0)
    assert [next(run).numbers for _ in range(2)] == [[0, 1], [2, 3]]
    with pytest.raises(error):
        next(run)
    assert set(threading.enumerate()) <= before
