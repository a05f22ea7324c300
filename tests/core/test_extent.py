"""The box that holds a share of the energy of a map."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convscope_core.errors import ArgumentError
from convscope_core.measures import energy_box


@given(
    seed=st.integers(0, 10_000),
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    share=st.floats(0.05, 1.0),
    scale=st.sampled_from([1e-200, 1.0, 1e200]),
)
def test_it_holds_the_share_and_no_side_could_be_cut_further(seed, size, share, scale) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((3, *size)) * rng.integers(0, 2, size)
    top, left, bottom, right = energy_box(values * scale, share)
    assert 0 <= top < bottom <= size[0]
    assert 0 <= left < right <= size[1]
    energy = (values**2).sum(0)
    if not energy.any():
        assert (top, left, bottom, right) == (0, 0, *size)
        return
    total = energy.sum()
    assert energy[top:bottom, left:right].sum() >= (share - 1e-9) * total
    lost = (1 - share) / 4 * total
    for beyond in (energy[: top + 1], energy[bottom - 1 :], energy[:, : left + 1], energy[:, right - 1 :]):
        assert beyond.sum() > lost * (1 - 1e-9)


def test_it_moves_with_what_is_in_the_map() -> None:
    values = np.zeros((20, 30))
    values[5:9, 7:12] = [[3.0, -2.0, 1.0, 1.0, 2.0]] * 4
    assert energy_box(values) == (5, 7, 9, 12)
    assert energy_box(np.roll(values, (4, -3), (0, 1))) == (9, 4, 13, 9)
    assert energy_box(np.zeros((2, 4, 5))) == (0, 0, 4, 5)


@pytest.mark.parametrize(("values", "share"), [(np.zeros(3), 0.9), (np.zeros((0, 3)), 0.9), (np.ones((2, 2)), 0)])
def test_what_makes_no_sense_is_refused(values: np.ndarray, share: float) -> None:
    with pytest.raises(ArgumentError, match=r"Expected a (map|share)"):
        energy_box(values, share)
