"""What Numba compiles for processors: that it does, against what it stands for, and what happens where it cannot."""

from __future__ import annotations

import logging
import os
import pickle
import sys
import threading
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode

from convscope_core import compiled
from convscope_core.graph.kernels import _matrices
from convscope_core.survey import reduction
from convscope_core.survey.reduction import ImageStatistics

pytestmark = pytest.mark.cpu_only("processors have kernels of their own")

LIKE = torch.zeros(1)


def test_it_is_of_use_where_numba_is_installed() -> None:
    numba = pytest.importorskip("numba")
    if numba.config.DISABLE_JIT:
        pytest.skip("NUMBA_DISABLE_JIT is set")
    assert compiled.of_use("maps", LIKE)
    assert compiled.of_use("tiles", LIKE)
    for other in (LIKE.double(), LIKE.half(), LIKE.to("meta")):
        assert not compiled.of_use("maps", other)
        assert not compiled.of_use("tiles", other)


@settings(max_examples=30, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 400), st.integers(1, 30), st.integers(1, 30)),
    signed=st.booleans(),
    bounded=st.booleans(),
    seed=st.integers(0, 99),
)
def test_many_channels_and_positions(shape: tuple[int, ...], signed: bool, bounded: bool, seed: int) -> None:
    if not compiled.of_use("maps", LIKE):
        pytest.skip("Numba does not work here")
    maps = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    maps = (maps if signed else maps.relu()).contiguous(memory_format=torch.channels_last)
    ceiling = 1.0 if bounded else None
    maps = maps.clamp(max=ceiling) if bounded else maps
    found = compiled.maps_reduced(maps, ceiling, signed, None)
    expected = reduction._at_once(maps.double(), ceiling, signed, None)
    places = expected.pop("places")
    expected |= {"rows": places // shape[3], "columns": places % shape[3]}
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        torch.testing.assert_close(found[name].double(), values.double(), rtol=1e-5, atol=1e-6, msg=name)


@pytest.mark.parametrize(
    "cut",
    [
        lambda x: x[:, :, :1, :1],
        lambda x: x[:, ::2, :1, :1],
        lambda x: x[::2, :, :1, :1],
        lambda x: x[:, :1, :1, :1].expand(-1, 7, -1, -1),
        lambda x: x[:1, :, :1, :1].expand(5, -1, -1, -1),
        lambda x: x[:, :, 0, 0].T[:, :, None, None],
        lambda x: x[:, 1:3],
        lambda x: x[:, ::2],
        lambda x: x[1:, :, 1:, 1:],
        lambda x: x[..., ::2],
        lambda x: x[:1, :, :, :1].expand(3, -1, -1, 4),
        lambda x: x[:0],
        lambda x: x[:0, :, :1, :1],
        lambda x: x.flip(3),
        lambda x: x.transpose(2, 3),
        lambda x: x.transpose(0, 1),
    ],
)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_views_of_any_kind_have_the_numbers_of_a_copy(cut: Any, layout: torch.memory_format) -> None:
    maps = torch.randn(4, 6, 5, 7, generator=torch.Generator().manual_seed(0)).contiguous(memory_format=layout)
    view = cut(maps)
    found = ImageStatistics.of(view, ceiling=1.0)
    expected = reduction._at_once(view.clone(memory_format=torch.contiguous_format), 1.0, True, None)
    for name, values in expected.items():
        mine = found.rows * view.shape[3] + found.columns if name == "places" else getattr(found, name)
        torch.testing.assert_close(mine, values, rtol=1e-5, atol=1e-5, msg=name)


def test_a_map_of_numbers_whose_squares_vanish_has_no_negative_spread() -> None:
    maps = torch.full((1, 2, 224, 224), 2.5e-23).contiguous(memory_format=torch.channels_last)
    assert (ImageStatistics.of(maps).deviations == 0).all()


@pytest.mark.parametrize("place", [-1, 35, 10**9])
def test_a_place_outside_the_map_is_not_read(place: int) -> None:
    if not compiled.of_use("maps", LIKE):
        pytest.skip("Numba does not work here")
    maps = torch.randn(2, 3, 5, 7).contiguous(memory_format=torch.channels_last)
    with pytest.raises(IndexError, match="outside"):
        compiled.maps_reduced(maps, None, True, torch.full((2, 3), place))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("ceiling", "saturated"), [(1e39, 0), (-1e39, 35)])
def test_a_ceiling_beyond_single_precision(ceiling: float, saturated: int) -> None:
    maps = torch.randn(2, 3, 5, 7).contiguous(memory_format=torch.channels_last)
    assert (ImageStatistics.of(maps, ceiling=ceiling).saturated == saturated).all()


@pytest.mark.parametrize("step", compiled.STEPS)
def test_what_is_set_around_the_first_use_changes_nothing(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if not compiled.of_use(step, LIKE):
        pytest.skip("Numba does not work here")
    monkeypatch.setattr(compiled, "_kernels", {})
    with torch.device("meta"):
        assert compiled.of_use(step, LIKE)
    with FakeTensorMode():
        assert not compiled.of_use(step, torch.zeros(1))
    monkeypatch.setattr(compiled, "_kernels", {})
    with FakeTensorMode():
        assert compiled.of_use(step, LIKE)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("step", compiled.STEPS)
def test_a_child_that_is_forked_while_another_thread_compiles_does_without(
    step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernels = pytest.importorskip("convscope_core.compiled_kernels")
    begun, end = threading.Event(), threading.Event()

    def compiling() -> bool:
        begun.set()
        end.wait(60)
        return True

    monkeypatch.setattr(kernels, "compiles", compiling)
    monkeypatch.setattr(compiled, "_kernels", {})
    thread = threading.Thread(target=lambda: compiled.of_use(step, LIKE))
    thread.start()
    assert begun.wait(60)
    child = os.fork()
    if child == 0:  # pragma: no cover
        os._exit(any(compiled.of_use(each, LIKE) for each in compiled.STEPS))
    assert os.waitpid(child, 0)[1] == 0
    end.set()
    thread.join(60)
    assert not compiled._under_way


@pytest.mark.parametrize("scale", [1e18, 1e-18])
def test_squares_that_single_precision_cannot_hold(scale: float) -> None:
    maps = torch.rand(2, 5, 30, 30, generator=torch.Generator().manual_seed(0)) + 0.1
    maps[0, 0, 3, 4] = 3e20 / scale
    maps = (maps * scale).contiguous(memory_format=torch.channels_last)
    found = ImageStatistics.of(maps)
    assert not found.broken().any()
    flat = maps.double().flatten(2)
    torch.testing.assert_close(found.means.double(), flat.mean(2), rtol=1e-6, atol=0)
    deviations = (flat - flat.mean(2, keepdim=True)).square().sum(2).float()
    assert deviations.isinf().nonzero().tolist() == [[0, 0]]  # what single precision cannot hold is infinite
    torch.testing.assert_close(found.deviations, deviations, rtol=1e-4, atol=0)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("place", [(0, 0), (2, 3), (6, 6)])
def test_what_is_no_number_is_noticed_wherever_it_is(wrong: float, place: tuple[int, int]) -> None:
    maps = torch.randn(2, 3, 7, 7).contiguous(memory_format=torch.channels_last)
    maps[1, 2, place[0], place[1]] = wrong
    assert ImageStatistics.of(maps).broken().nonzero().tolist() == [[1, 2]]


@settings(max_examples=30, deadline=None)
@given(
    pictures=st.integers(1, 3),
    tiles=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    channels=st.integers(1, 300) | st.integers(1000, 1100),
    first=st.integers(0, 3),
    seed=st.integers(0, 99),
    data=st.data(),
)
def test_transforms_of_tiles_are_those_of_the_matrices(
    pictures: int, tiles: tuple[int, int], channels: int, first: int, seed: int, data: st.DataObject
) -> None:
    if not compiled.of_use("tiles", LIKE):
        pytest.skip("Numba does not work here")
    torch.manual_seed(seed)
    results, _, inputs = _matrices()
    ends = [sorted(data.draw(st.tuples(st.integers(0, n), st.integers(0, n)))) for n in tiles]
    rows, columns = (slice(*each) for each in ends)
    places = [(r, c) for r in range(tiles[0])[rows] for c in range(tiles[1])[columns]]
    x = torch.randn(pictures, channels, 4 * tiles[0] + 2, 4 * tiles[1] + 2).contiguous(
        memory_format=torch.channels_last
    )
    some = slice(first, first + pictures * len(places))
    out = torch.full((36, some.stop + 1, channels), 7.0)
    compiled.tile_inputs(x, (rows, columns), out, first)
    products = torch.randn(36, some.stop + 1, channels)
    bias = torch.randn(channels) if seed % 2 else None
    made = torch.full((pictures, 4 * tiles[0], 4 * tiles[1], channels), 7.0)
    compiled.tile_results(products, first, bias, (rows, columns), made)
    untouched = torch.ones(len(out[0]), dtype=torch.bool)
    untouched[some] = False
    assert (out[:, untouched] == 7).all()
    expected = torch.full_like(made, 7.0, dtype=torch.float64)
    if places:
        cut = torch.stack([x[:, :, 4 * r : 4 * r + 6, 4 * c : 4 * c + 6] for r, c in places], 1).double()
        wanted = torch.einsum("ia,jb,ntcab->ijntc", inputs, inputs, cut)
        torch.testing.assert_close(out[:, some].double(), wanted.reshape(36, -1, channels), rtol=1e-5, atol=1e-5)
        given_ = products[:, some].double().reshape(6, 6, pictures, len(places), channels)
        found = torch.einsum("ia,jb,abntk->ntijk", results, results, given_)
        for i, (r, c) in enumerate(places):
            expected[:, 4 * r : 4 * r + 4, 4 * c : 4 * c + 4] = found[:, i] + (0 if bias is None else bias)
    torch.testing.assert_close(made.double(), expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("step", compiled.STEPS)
@pytest.mark.parametrize("fault", ["gone", "not compiling", "wrong", "damaged"])
def test_where_it_cannot_it_is_not_of_use_and_the_log_says_why(
    step: str, fault: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def instead(*_: Any) -> None:
        if fault == "damaged":
            raise pickle.UnpicklingError("pickle data was truncated")

    name = "convscope_core.compiled_kernels"
    if fault == "gone":
        monkeypatch.setitem(sys.modules, name, None)
    else:
        kernels = pytest.importorskip(name)
        for kernel in ("reduce_maps", "tile_inputs", "tile_results"):
            monkeypatch.setattr(kernels, kernel, instead)
        monkeypatch.setattr(kernels, "compiles", lambda: fault != "not compiling")
    monkeypatch.setattr(compiled, "_kernels", {})
    with caplog.at_level(logging.INFO, logger=compiled.logger.name):
        assert not compiled.of_use(step, LIKE)
        assert not compiled.of_use(step, LIKE)
    (record,) = caplog.records
    level, reason = {
        "gone": (logging.INFO, name),
        "not compiling": (logging.INFO, "NUMBA_DISABLE_JIT is set"),
        "wrong": (logging.WARNING, "other numbers"),
        "damaged": (logging.WARNING, "truncated. Remove its files compiled_kernels*.nb*"),
    }[fault]
    assert record.levelno == level
    assert f"{step} are computed without Numba" in record.getMessage()
    assert reason in record.getMessage()
