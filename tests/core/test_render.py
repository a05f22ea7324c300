"""Maps, crops and filters as eight-bit pictures: known values and error bounds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from convscope_core.errors import ArgumentError
from convscope_core.render import crop, filters_apart, filters_rgb, quantise, shrink

maps_of_any_scale = arrays.arrays(
    np.float32,
    st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 5)),
    elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
)


@given(maps_of_any_scale)
def test_quantised_maps_come_back_within_half_a_step(maps: np.ndarray) -> None:
    planes = quantise(maps)
    back = planes.dequantise().astype(np.float64)
    span = (planes.high.astype(np.float64) - planes.low)[:, None, None]
    rounding = np.abs(maps.astype(np.float64)).max(axis=(1, 2), keepdims=True) * 2.0**-23 + 2.0**-149
    assert (np.abs(back - maps) <= span / 510 * (1 + 1e-9) + rounding).all()


@given(maps_of_any_scale)
def test_the_ends_of_every_channel_come_back_exactly(maps: np.ndarray) -> None:
    planes = quantise(maps)
    np.testing.assert_array_equal(planes.low, maps.min(axis=(1, 2)))
    np.testing.assert_array_equal(planes.high, maps.max(axis=(1, 2)))
    back = planes.dequantise()
    np.testing.assert_array_equal(back.min(axis=(1, 2)), maps.min(axis=(1, 2)))
    np.testing.assert_array_equal(back.max(axis=(1, 2)), maps.max(axis=(1, 2)))


def test_quantise_known_values() -> None:
    maps = torch.tensor([[[0.0, 1.0, 2.0, 255.0]], [[-1.0, 0.0, 0.0, 1.0]], [[7.0, 7.0, 7.0, 7.0]]])
    planes = quantise(maps)
    assert planes.data.tolist() == [[[0, 1, 2, 255]], [[0, 128, 128, 255]], [[0, 0, 0, 0]]]
    assert planes.data.dtype == np.uint8
    assert (planes.low.tolist(), planes.high.tolist()) == ([0.0, -1.0, 7.0], [255.0, 1.0, 7.0])
    assert planes.dequantise()[2].tolist() == [[7.0, 7.0, 7.0, 7.0]]


def test_quantise_takes_half_precision_and_gradients() -> None:
    maps = torch.tensor([[[0.0, 1.0]]], dtype=torch.float16, requires_grad=True)
    assert quantise(maps).data.tolist() == [[[0, 255]]]


def test_shrink_averages_blocks() -> None:
    maps = torch.arange(16.0).reshape(1, 4, 4)
    assert shrink(maps, 2).tolist() == [[[2.5, 4.5], [10.5, 12.5]]]


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40))
def test_shrink_never_exceeds_the_side_and_keeps_constants_and_shape(height: int, width: int, side: int) -> None:
    small = shrink(torch.full((2, height, width), 3.0), side)
    assert max(small.shape[1:]) == min(side, max(height, width))
    torch.testing.assert_close(small, torch.full_like(small, 3.0))
    if max(height, width) > side:
        scale = side / max(height, width)
        assert abs(small.shape[1] - height * scale) <= 1
        assert abs(small.shape[2] - width * scale) <= 1


def test_shrink_keeps_the_mean_where_blocks_divide_evenly_and_leaves_small_maps_alone() -> None:
    maps = torch.rand(3, 12, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(shrink(maps, 6).mean((1, 2)), maps.mean((1, 2)))
    assert torch.equal(shrink(maps, 12), maps)


def picture(height: int = 6, width: int = 8) -> np.ndarray:
    return np.arange(height * width * 3, dtype=np.uint8).reshape(height, width, 3)


def test_crop_inside_is_the_slice() -> None:
    np.testing.assert_array_equal(crop(picture(), (1, 2, 4, 7)), picture()[1:4, 2:7])


@given(st.integers(-9, 9), st.integers(-9, 9), st.integers(1, 20), st.integers(1, 20), st.integers(0, 255))
def test_crop_is_grey_exactly_where_the_box_leaves_the_picture(
    top: int, left: int, height: int, width: int, pad: int
) -> None:
    image = picture()
    patch = crop(image, (top, left, top + height, left + width), pad=pad)
    assert patch.shape == (height, width, 3)
    for row in range(height):
        for column in range(width):
            r, c = top + row, left + column
            expected = image[r, c] if 0 <= r < 6 and 0 <= c < 8 else [pad] * 3
            assert patch[row, column].tolist() == list(expected)


def test_crop_does_not_share_memory_with_the_picture() -> None:
    image = picture()
    crop(image, (0, 0, 6, 8))[:] = 0
    np.testing.assert_array_equal(image, picture())


def test_crop_resizes_the_longer_side_by_area_down_and_bilinear_up() -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    image[:, 2:] = 200
    assert crop(image, (0, 0, 4, 4), side=2)[..., 0].tolist() == [[0, 200], [0, 200]]
    assert crop(image, (0, 1, 4, 3), side=2)[..., 0].tolist() == [[100], [100]]
    grown = crop(image, (0, 0, 4, 4), side=8)[..., 0]
    assert grown.shape == (8, 8)
    assert grown[0].tolist() == sorted(grown[0].tolist())
    assert 0 < grown[0, 4] < 200
    assert crop(image, (0, 0, 4, 4), side=4).tolist() == image.tolist()


def test_filters_share_one_scale_with_zero_at_mid_grey() -> None:
    weight = torch.zeros(3, 3, 1, 2)
    weight[0, 0, 0, 0] = 4.0
    weight[0, 1, 0, 1] = -4.0
    weight[1, 2, 0, 0] = 1.0
    shown = filters_rgb(weight)
    assert shown.shape == (3, 1, 2, 3)
    assert shown[0, 0].tolist() == [[255, 128, 128], [128, 1, 128]]
    assert shown[1, 0].tolist() == [[128, 128, 160], [128, 128, 128]]
    assert (shown[2] == 128).all()


def test_filters_of_grey_networks_and_dead_layers() -> None:
    shown = filters_rgb(torch.tensor([[[[1.0, -1.0]]]]))
    assert shown[0, 0].tolist() == [[255, 255, 255], [1, 1, 1]]
    assert (filters_rgb(torch.zeros(2, 3, 4, 4)) == 128).all()


@given(st.integers(0, 10_000), st.integers(1, 5))
def test_filters_apart_brought_to_one_scale_are_those_of_one_scale(seed: int, count: int) -> None:
    weight = (
        np.random.default_rng(seed).standard_normal((count, 3, 3, 3)) * 10.0 ** -np.arange(count)[:, None, None, None]
    )
    shown, strongest = filters_apart(weight)
    assert (np.abs(shown.astype(int) - 128).max(axis=(1, 2, 3)) == 127).all()
    np.testing.assert_allclose(strongest, np.abs(weight).max(axis=(1, 2, 3)), rtol=1e-6)
    together = 128 + (shown.astype(float) - 128) * (strongest / strongest.max())[:, None, None, None]
    assert np.abs(together - filters_rgb(weight)).max() <= 1 + 1e-5
    assert (filters_apart(torch.zeros(2, 3, 4, 4))[0] == 128).all()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: quantise(torch.zeros(2, 2)), r"\(C, h, w\), got \(2, 2\)"),
        (lambda: quantise(torch.zeros(1, 0, 2)), "at least one position"),
        (lambda: quantise(torch.tensor([[[0.0, float("nan")]]])), "NaN or infinite"),
        (lambda: quantise(torch.tensor([[[0.0, float("inf")]]])), "NaN or infinite"),
        (lambda: shrink(torch.zeros(1, 2, 2), 0), "at least 1 pixel.*got 0"),
        (lambda: shrink(torch.zeros(1, 2, 2), 1.5), "whole number, got 1.5"),
        (lambda: crop(picture().astype(np.float32), (0, 0, 1, 1)), "uint8.*float32"),
        (lambda: crop(picture()[..., 0], (0, 0, 1, 1)), r"\(H, W, 3\)"),
        (lambda: crop([[0]], (0, 0, 1, 1)), "got list"),
        (lambda: crop(picture(), (2, 0, 2, 1)), "bottom > top"),
        (lambda: crop(picture(), (0, 0, 1, 1), side=0), "got 0"),
        (lambda: crop(picture(), (0, 0, 1, 1), pad=256), "0 to 255.*256"),
        (lambda: filters_rgb(torch.zeros(4, 64, 3, 3)), r"\(4, 64, 3, 3\).*first layer"),
        (lambda: filters_rgb(torch.full((1, 3, 1, 1), float("nan"))), "finite weights"),
    ],
)
def test_bad_arguments_say_what_was_expected(call, words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        call()
