"""Measures that experiments share, each beside a slow twin that is written as its source has it."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from convscope_core.errors import ArgumentError
from convscope_core.measures import (
    cka,
    cka_matrix,
    coverage,
    dormant,
    energy_above,
    energy_profile,
    gram,
    jaccard,
    orientation,
    patch_components,
    radial_spectrum,
    root_mean_square,
)
from convscope_core.network import Network
from convscope_core.survey import survey


def features(n: int, units: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, units))


def slow_cka(x: np.ndarray, y: np.ndarray) -> float:
    """Nguyen, Raghu & Kornblith 2021, eq. 3: sums over indices, of whole fractions: nothing is rounded but the last."""

    def gram_matrix(rows: np.ndarray) -> list[list[Fraction]]:
        exact = [[Fraction(float(v)) for v in row] for row in rows]
        return [[sum((a * b for a, b in zip(p, q, strict=True)), Fraction(0)) for q in exact] for p in exact]

    def hsic(k: list[list[Fraction]], l: list[list[Fraction]]) -> Fraction:
        n = len(k)
        trace = sum(k[i][j] * l[j][i] for i in range(n) for j in range(n) if i != j)
        rows_k = [sum(k[i][j] for j in range(n) if j != i) for i in range(n)]
        rows_l = [sum(l[i][j] for j in range(n) if j != i) for i in range(n)]
        both = sum(a * b for a, b in zip(rows_k, rows_l, strict=True))
        found = trace + Fraction(sum(rows_k) * sum(rows_l)) / ((n - 1) * (n - 2)) - Fraction(2 * both) / (n - 2)
        return found / (n * (n - 3))

    k, l = gram_matrix(x), gram_matrix(y)
    return float(hsic(k, l)) / math.sqrt(float(hsic(k, k)) * float(hsic(l, l)))


# ---- CKA


@settings(max_examples=30)
@given(
    n=st.integers(4, 12), p=st.integers(1, 6), q=st.integers(1, 6), seed=st.integers(0, 10**6),
    offset=st.sampled_from([0.0, 3.0, -100.0, 1e4]), dtype=st.sampled_from([np.float32, np.float64]),
)  # fmt: skip
def test_cka_equals_its_definition(n: int, p: int, q: int, seed: int, offset: float, dtype: type) -> None:
    x = (features(n, p, seed) + offset).astype(dtype)
    y = (features(n, q, seed + 1) + x[:, :1] * (seed % 2)).astype(dtype)
    ids = np.arange(n) * 3
    # In floating point the definition itself would lose its digits beside an offset.
    assert cka(gram(x, ids), gram(y, ids)) == pytest.approx(slow_cka(x, y), abs=1e-9)


def test_cka_is_1_where_pictures_are_ordered_alike() -> None:
    x, ids = features(40, 6, 0), np.arange(40)
    rotation = np.linalg.qr(features(6, 6, 1))[0]
    for y in (x, 7.5 * x, x @ rotation, x + 11, 1e-20 * x, 1e20 * x, np.concatenate([x, x], 1), x[:, ::-1] * -1):
        assert cka(gram(x, ids), gram(y, ids)) == pytest.approx(1, abs=1e-12)
    assert cka(gram(x, ids), gram(x * [9, 1, 1, 1, 1, 1], ids)) < 0.9


@pytest.mark.parametrize("units", [5, 400, 3000])
def test_cka_is_about_0_where_nothing_is_shared_whatever_the_width(units: int) -> None:
    """The biased estimate is .37 here for 400 units and .79 for 3000."""
    x, ids = features(300, units, 0), np.arange(300)
    for y in (features(300, units, 1), x[np.random.default_rng(2).permutation(300)]):
        assert abs(cka(gram(x, ids), gram(y, ids))) < 0.03


def test_cka_of_layers_that_tell_nothing_is_not_a_number() -> None:
    ids = np.arange(10)
    x = gram(features(10, 3, 0), ids)
    for silent in (np.zeros((10, 4)), np.full((10, 4), 0.1, np.float32), np.full((10, 1), 1e-30)):
        assert np.isnan(cka(x, gram(silent, ids)))
        assert np.isnan(cka(gram(silent, ids), gram(silent, ids)))
    # One picture is unlike the others, which are all alike: the unbiased estimate of that is 0 of 0.
    assert np.isnan(cka(x, gram(np.eye(10)[:, :1], ids)))
    assert np.isfinite(cka(x, gram((np.arange(10) < 2)[:, None], ids)))


def test_a_matrix_of_layers_is_its_entries() -> None:
    ids = np.arange(20)
    a = [gram(features(20, p, p), ids) for p in (2, 5, 9)]
    b = [gram(features(20, p, p), ids) for p in (5, 30)] + [gram(np.ones((20, 2)), ids)]
    matrix = cka_matrix(a, b)
    assert matrix.shape == (3, 3)
    for i, one in enumerate(a):
        for j, other in enumerate(b):
            np.testing.assert_allclose(matrix[i, j], cka(one, other), atol=1e-14)
    assert matrix[1, 0] == pytest.approx(1)


def test_features_of_other_pictures_are_refused() -> None:
    x = features(8, 3, 0)
    one = gram(x, np.arange(8))
    for ids, says in (
        (np.arange(8) + 1, "picture 0 and picture 1 in place 0"),
        (np.arange(8)[::-1], "the same in another order"),
    ):
        with pytest.raises(ArgumentError, match=f"same pictures in the same order, got {says}"):
            cka(one, gram(x, ids))
    with pytest.raises(ArgumentError, match="got 8 and 7"):
        cka_matrix([one], [one, gram(x[:7], np.arange(7))])
    for bad, ids, says in (
        (x[:3], np.arange(3), "at least 4 pictures, got 3"),
        (x, np.array([0, 1, 2, 3, 4, 5, 6, 6]), "each picture once"),
        (np.where(x > 1, np.nan, x), np.arange(8), "finite"),
        (x[0], np.arange(3), r"got shapes \(3,\)"),
        (x, np.arange(5), r"got shapes \(8, 3\) and \(5,\)"),
    ):
        with pytest.raises(ArgumentError, match=says):
            gram(bad, ids)
    with pytest.raises(ArgumentError, match="at least one layer"):
        cka_matrix([], [one])


# ---- dormant units


def test_dormant_units_of_a_network_that_has_some() -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 10, 3)
    with torch.no_grad():
        conv.weight[2] = 0
        conv.bias[2] = -1  # dead
        conv.weight[5] *= 1e-3
        conv.bias[5] = 1e-3  # nearly silent
        conv.weight[7] *= 40  # raises the layer's mean
    net = Network(nn.Sequential(conv, nn.ReLU(), nn.Flatten(), nn.Linear(1000, 2)).eval(), input_size=12)
    health = survey(net, list(torch.randn(6, 3, 12, 12)), "0", progress=False).health("0")
    assert np.flatnonzero(dormant(health.magnitude, 0)).tolist() == [2]
    assert np.flatnonzero(dormant(health.magnitude)).tolist() == [2, 5]
    assert np.flatnonzero(health.dead).tolist() == [2]
    assert set(np.flatnonzero(dormant(health.magnitude, 0.4))) >= {2, 5}
    assert not dormant(health.magnitude, 0.4)[7]


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=20), st.floats(0, 2))
def test_dormant_is_a_share_of_the_mean(values: list[float], tau: float) -> None:
    mean = sum(values) / len(values)
    expected = [value <= tau * mean for value in values]
    found = dormant(values, tau).tolist()
    near = [abs(value - tau * mean) <= 1e-9 * (mean + 1) for value in values]
    assert all(a == b or close for a, b, close in zip(found, expected, near, strict=True))
    if max(values) == 0:
        assert all(found)


def test_what_is_not_known_is_not_dormant() -> None:
    assert not dormant([np.nan, np.nan]).any()
    for tau in (-0.1, np.nan, np.inf, True, "0.1"):
        with pytest.raises(ArgumentError, match="tau as a number of 0 or greater"):
            dormant([1.0], tau)  # type: ignore[arg-type]


# ---- sets, weights


@given(st.lists(st.tuples(st.sets(st.integers(0, 9), max_size=4), st.sets(st.integers(0, 9), max_size=4)), max_size=6))
def test_jaccard_equals_that_of_sets(pairs: list[tuple[set[int], set[int]]]) -> None:
    a, b = (
        np.array([[*pair[side], *[-1] * (4 - len(pair[side]))] for pair in pairs], int).reshape(-1, 4)
        for side in (0, 1)
    )
    expected = [len(x & y) / len(x | y) if x | y else np.nan for x, y in pairs]
    np.testing.assert_allclose(jaccard(a, b), expected)


def test_jaccard_refuses_other_numbers_of_sets() -> None:
    with pytest.raises(ArgumentError, match="as many sets"):
        jaccard(np.zeros((2, 3)), np.zeros((3, 3)))


def test_root_mean_square_is_that_of_each_filter() -> None:
    weight = features(5, 27, 0).reshape(5, 3, 3, 3)
    expected = [np.sqrt(np.mean([v**2 for v in one.ravel()])) for one in weight]
    np.testing.assert_allclose(root_mean_square(weight), expected)
    with pytest.raises(ArgumentError, match="weights of filters"):
        root_mean_square(weight[0, 0, 0])


def test_components_are_those_of_the_patches_covariance() -> None:
    patches = features(200, 12, 0).reshape(200, 3, 2, 2) * np.arange(1, 13).reshape(3, 2, 2)
    components, variances = patch_components(patches)
    flat = patches.reshape(200, -1)
    covariance = np.cov(flat.T, bias=True)
    np.testing.assert_allclose(components @ np.diag(variances) @ components.T, covariance, atol=1e-9)
    np.testing.assert_allclose((flat @ components).var(0), variances)
    assert np.all(np.diff(variances) <= 0)
    assert np.all(np.take_along_axis(components, np.abs(components).argmax(0)[None], 0) > 0)
    for bad in (patches[:1], patches[0], np.where(patches > 1, np.inf, patches)):
        with pytest.raises(ArgumentError, match="at least two patches"):
            patch_components(bad)


def test_energy_lies_where_the_change_is() -> None:
    components, _ = patch_components(features(50, 12, 0).reshape(50, 3, 2, 2))
    initial = features(4, 12, 1).reshape(4, 3, 2, 2)
    change = np.zeros((4, 12))
    change[0] = 3 * components[:, 2]
    change[1] = -4 * components[:, 2] + 1 * components[:, 7]
    profile = energy_profile(initial + change.reshape(4, 3, 2, 2), components, initial)
    np.testing.assert_allclose(profile[[2, 7]], [1, 1 / 5], atol=1e-12)
    np.testing.assert_allclose(np.delete(profile, [2, 7]), 0, atol=1e-12)
    assert not energy_profile(initial, components, initial).any()
    with pytest.raises(ArgumentError, match="same shape"):
        energy_profile(initial, components, initial[:2])


# ---- frequencies


def waves(count: int, frequency: float, angle: float, side: int = 33) -> np.ndarray:
    """Waves (count, 1, side, side), in cycles a pixel and degrees from the horizontal, counterclockwise."""
    y, x = np.mgrid[:side, :side]
    along = x * np.cos(np.radians(angle)) - y * np.sin(np.radians(angle))
    return np.stack([np.cos(2 * np.pi * frequency * along + phase) for phase in range(count)])[:, None]


@pytest.mark.parametrize("frequency", [0.07, 0.18, 0.32, 0.45])
@pytest.mark.parametrize("angle", [0, 30, 90, 135, 170])
def test_a_wave_is_found_at_its_frequency_and_direction(frequency: float, angle: float) -> None:
    wave = waves(3, frequency, angle)
    spectrum = radial_spectrum(wave)
    np.testing.assert_allclose(spectrum.sum(1), 1)
    ring = min(int(frequency * 32), 15)
    assert (spectrum[:, max(0, ring - 1) : ring + 2].sum(1) > 0.8).all()
    found = orientation(wave)
    assert (np.abs((found.angle - angle + 90) % 180 - 90) < 3).all()
    assert (found.coherence > 0.8).all()


def test_the_radial_spectrum_equals_a_sum_over_every_frequency() -> None:
    w = features(2, 18, 0).reshape(2, 2, 3, 3)
    sums, counts = np.zeros((2, 16)), np.zeros(16)
    for u in range(64):
        for v in range(64):
            fy, fx = (u if u < 32 else u - 64) / 64, (v if v < 32 else v - 64) / 64
            ring = min(int(np.hypot(fy, fx) * 32), 15)
            wave = np.exp(-2j * np.pi * (u * np.arange(3)[:, None] + v * np.arange(3)[None]) / 64)
            counts[ring] += 1
            sums[:, ring] += (np.abs((w * wave).sum((2, 3))) ** 2).sum(1)
    expected = sums / counts
    np.testing.assert_allclose(radial_spectrum(w), expected / expected.sum(1, keepdims=True), rtol=1e-9)


def test_a_point_is_flat_and_nothing_has_no_spectrum() -> None:
    point = np.zeros((2, 3, 7, 7))
    point[0, :, 3, 3] = 2
    np.testing.assert_allclose(radial_spectrum(point), [[1 / 16] * 16, [0] * 16], atol=1e-12)
    assert coverage(radial_spectrum(point)) == pytest.approx(1)
    assert np.isnan(coverage(radial_spectrum(point[1:])))
    flat = orientation(np.ones((1, 3, 7, 7)))
    assert np.isnan(flat.angle[0])
    assert flat.coherence[0] == 0
    spot = np.exp(-np.hypot(*np.mgrid[-3:4, -3:4]))[None, None]
    assert orientation(spot).coherence[0] < 0.01


def test_coverage_falls_where_filters_leave_gaps() -> None:
    every = np.concatenate([waves(1, f, 20) for f in (0.05, 0.15, 0.25, 0.35, 0.45)])
    ends = np.concatenate([waves(1, f, 20) for f in (0.02, 0.05, 0.45, 0.47, 0.49)])
    assert coverage(radial_spectrum(ends)) < coverage(radial_spectrum(every)) <= 1
    one = np.zeros((1, 16))
    one[0, 3] = 1
    assert coverage(one) == pytest.approx(1 / 16)


@pytest.mark.parametrize("stride", [2, 3, 4])
def test_a_tone_below_the_nyquist_rate_passes_and_one_above_aliases(stride: int) -> None:
    size, n = 48, np.arange(48) + 0.5
    for k in range(1, size):
        tone = np.cos(np.pi * k * n / size)  # k / (2 * 48) cycles a place
        maps = torch.from_numpy(np.tile(tone, (1, 1, 40, 1))).float()
        above, total = energy_above(maps + 5, (1, stride))
        share = float(above / total)
        assert share == pytest.approx(float(k >= size / stride), abs=1e-4)
        assert float(energy_above(maps, (stride, 1))[0] / total) == pytest.approx(0, abs=1e-4)


@settings(max_examples=20)
@given(
    h=st.integers(1, 9), w=st.integers(1, 9), rows=st.integers(1, 4), columns=st.integers(1, 4), seed=st.integers(0, 99)
)
def test_energy_above_equals_the_transform_as_it_is_defined(h: int, w: int, rows: int, columns: int, seed: int) -> None:
    x = np.random.default_rng(seed).standard_normal((h, w))
    above = total = 0.0
    for k in range(h):
        for l in range(w):
            scale = np.sqrt((1 if k == 0 else 2) / h) * np.sqrt((1 if l == 0 else 2) / w)
            c = scale * sum(
                x[i, j] * np.cos(np.pi * k * (i + 0.5) / h) * np.cos(np.pi * l * (j + 0.5) / w)
                for i in range(h) for j in range(w)
            )  # fmt: skip
            if (k, l) != (0, 0):
                total += c**2
                above += c**2 * (k / (2 * h) >= 1 / (2 * rows) or l / (2 * w) >= 1 / (2 * columns))
    found = energy_above(torch.from_numpy(x)[None, None], (rows, columns))
    assert float(found[1]) == pytest.approx(total, abs=1e-4)
    assert float(found[0]) == pytest.approx(above, abs=1e-4)
