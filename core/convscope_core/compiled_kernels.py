# mypy: ignore-errors
"""What `convscope_core.compiled` says, as Numba compiles it.

Rows of channels are read side by side with plain indices, in loops of their own that do little each: so LLVM makes
vector instructions of them.
"""

from __future__ import annotations

import numpy as np
from numba import config, njit

__all__ = ["compiles", "maps_right", "reduce_maps", "tile_inputs", "tile_results", "tiles_right"]

_CHANNELS = 128
"""Channels at once: what is kept of them stays in a core's first cache."""

_ROWS = 8
"""Positions at once: what is kept is read and written once for all of them. The code has them spelt out."""

_ADDED = 32
"""So many times _ROWS values are added in float32, those sums in float64."""

_TOGETHER = 1024
"""Numbers that go together to one of the 36 places of a tile, or come from there: those places are mostly as far apart
as a core's first cache is wide, and what is read and written singly crowds it."""


def compiles() -> bool:
    """Tell whether Numba does, or leaves functions to Python, as for debuggers and measures of coverage."""
    return not config.DISABLE_JIT


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _four(flat, p, apart, some):
    """Four rows of numbers, from `p` on and so far apart."""
    a, b, c = p + apart, p + 2 * apart, p + 3 * apart
    return flat[p : p + some], flat[a : a + some], flat[b : b + some], flat[c : c + some]


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _six(flat, p, apart, some):
    """Six of them."""
    a, b, c, d = _four(flat, p, apart, some)
    e, f = p + 4 * apart, p + 5 * apart
    return a, b, c, d, flat[e : e + some], flat[f : f + some]


@njit(nogil=True, cache=True, error_model="numpy")
def _in_digits(flat, start, step, positions):
    """The sum, the sum of magnitudes, and that of squared deviations from the mean, of one map; all in float64."""
    total, size, deviation = 0.0, 0.0, 0.0
    for p in range(positions):
        value = np.float64(flat[start + p * step])
        total += value
        size += abs(value)
    mean = total / positions
    for p in range(positions):
        deviation += (flat[start + p * step] - mean) ** 2
    return total, size, deviation


@njit(nogil=True, cache=True, error_model="numpy")
def reduce_maps(maps, width, ceiling, bounded, signed, cancelled, places, known, numbers, counts):
    """Write the statistics of maps (N, positions, C), float32, of which the channels of a position lie side by side."""
    count, positions, channels = maps.shape
    flat = maps.reshape(-1)
    peak, tile = np.empty(_CHANNELS, np.float32), np.empty(_CHANNELS, np.int32)
    total, square, size = (
        np.empty(_CHANNELS, np.float32),
        np.empty(_CHANNELS, np.float32),
        np.empty(_CHANNELS, np.float32),
    )
    totals, squares, sizes = np.empty(_CHANNELS), np.empty(_CHANNELS), np.empty(_CHANNELS)
    above, full = np.empty(_CHANNELS, np.int32), np.empty(_CHANNELS, np.int32)
    whole = positions // _ROWS * _ROWS
    for n in range(count):
        for c0 in range(0, channels, _CHANNELS):
            some = min(_CHANNELS, channels - c0)
            peak[:] = -np.inf
            tile[:] = 0
            total[:] = 0
            square[:] = 0
            size[:] = 0
            totals[:] = 0
            squares[:] = 0
            sizes[:] = 0
            above[:] = 0
            full[:] = 0
            waiting = 0
            for p in range(0, whole, _ROWS):
                at = (n * positions + p) * channels + c0
                r0, r1, r2, r3 = _four(flat, at, channels, some)
                r4, r5, r6, r7 = _four(flat, at + 4 * channels, channels, some)
                if not known:
                    for c in range(some):
                        a = r0[c] if r0[c] > r1[c] else r1[c]
                        b = r2[c] if r2[c] > r3[c] else r3[c]
                        d = r4[c] if r4[c] > r5[c] else r5[c]
                        e = r6[c] if r6[c] > r7[c] else r7[c]
                        a = a if a > b else b
                        d = d if d > e else e
                        a = a if a > d else d
                        before, where = peak[c], tile[c]
                        better = a > before
                        peak[c] = a if better else before
                        tile[c] = np.int32(p) if better else where
                for c in range(some):
                    above[c] += (
                        np.int32(r0[c] > 0) + np.int32(r1[c] > 0) + np.int32(r2[c] > 0) + np.int32(r3[c] > 0)
                        + np.int32(r4[c] > 0) + np.int32(r5[c] > 0) + np.int32(r6[c] > 0) + np.int32(r7[c] > 0)
                    )  # fmt: skip
                for c in range(some):
                    total[c] += ((r0[c] + r1[c]) + (r2[c] + r3[c])) + ((r4[c] + r5[c]) + (r6[c] + r7[c]))
                    square[c] += (
                        ((r0[c] * r0[c] + r1[c] * r1[c]) + (r2[c] * r2[c] + r3[c] * r3[c]))
                        + ((r4[c] * r4[c] + r5[c] * r5[c]) + (r6[c] * r6[c] + r7[c] * r7[c]))
                    )  # fmt: skip
                if signed:
                    for c in range(some):
                        size[c] += (
                            ((abs(r0[c]) + abs(r1[c])) + (abs(r2[c]) + abs(r3[c])))
                            + ((abs(r4[c]) + abs(r5[c])) + (abs(r6[c]) + abs(r7[c])))
                        )  # fmt: skip
                if bounded:
                    for c in range(some):
                        full[c] += (
                            np.int32(r0[c] >= ceiling) + np.int32(r1[c] >= ceiling) + np.int32(r2[c] >= ceiling)
                            + np.int32(r3[c] >= ceiling) + np.int32(r4[c] >= ceiling) + np.int32(r5[c] >= ceiling)
                            + np.int32(r6[c] >= ceiling) + np.int32(r7[c] >= ceiling)
                        )  # fmt: skip
                waiting += 1
                if waiting == _ADDED:
                    waiting = 0
                    for c in range(some):
                        totals[c] += total[c]
                        squares[c] += square[c]
                        sizes[c] += size[c]
                        total[c], square[c], size[c] = 0, 0, 0
            for p in range(whole, positions):
                at = (n * positions + p) * channels + c0
                row = flat[at : at + some]
                for c in range(some):
                    a = row[c]
                    before, where = peak[c], tile[c]
                    better = a > before
                    peak[c] = a if better else before
                    tile[c] = np.int32(p) if better else where
                    above[c] += np.int32(a > 0)
                for c in range(some):
                    a = row[c]
                    total[c] += a
                    square[c] += a * a
                    size[c] += abs(a)
                if bounded:
                    for c in range(some):
                        full[c] += np.int32(row[c] >= ceiling)
            start = n * positions * channels + c0
            for c in range(some):
                place = np.int64(tile[c])
                if known:
                    place = places[n, c0 + c]
                    if place < 0 or place >= positions:
                        raise IndexError("a place outside the map")
                    peak[c] = flat[start + place * channels + c]
                else:
                    last = min(place + _ROWS, positions) - 1
                    while place < last and flat[start + place * channels + c] != peak[c]:
                        place += 1
                summed, squared = totals[c] + total[c], squares[c] + square[c]
                sized = sizes[c] + size[c] if signed else summed
                deviation = squared - summed * summed / positions
                # The difference has lost its digits, or a sum its bounds.
                if not deviation > cancelled * squared and (squared != 0 or summed != 0):
                    summed, sized, deviation = _in_digits(flat, start + c, channels, positions)
                numbers[0, n, c0 + c] = peak[c]
                numbers[1, n, c0 + c] = summed / positions
                numbers[2, n, c0 + c] = sized / positions
                numbers[3, n, c0 + c] = deviation
                counts[0, n, c0 + c] = place // width
                counts[1, n, c0 + c] = place % width
                counts[2, n, c0 + c] = above[c]
                counts[3, n, c0 + c] = full[c]


@njit(nogil=True, cache=True, error_model="numpy")
def _of_inputs(a, b, c, d, e, f):
    return (
        a - np.float32(1.5) * b - np.float32(2) * c + np.float32(1.5) * d + e,
        np.float32(0.5) * c - b + np.float32(2.5) * d + e,
        b - np.float32(2.5) * c + np.float32(0.5) * d + e,
        np.float32(2) * d - np.float32(2) * b - c + e,
        np.float32(0.5) * b - c - np.float32(0.5) * d + e,
        b - np.float32(1.5) * c - np.float32(2) * d + np.float32(1.5) * e + f,
    )


@njit(nogil=True, cache=True, error_model="numpy")
def _of_results(a, b, c, d, e, f):
    return (
        a + b + c + d + e,
        b - c + np.float32(0.5) * d - np.float32(2) * e,
        b + c + np.float32(0.25) * d + np.float32(4) * e,
        b - c + np.float32(0.125) * d - np.float32(8) * e + f,
    )


@njit(nogil=True, cache=True, error_model="numpy")
def _six_of_inputs(source, p, apart, target, q, between, some):
    """Transform six rows of `source`, from `p` on and so far apart, into six of `target`."""
    r0, r1, r2, r3, r4, r5 = _six(source, p, apart, some)
    w0, w1, w2, w3, w4, w5 = _six(target, q, between, some)
    for c in range(some):
        w0[c], w1[c], w2[c], w3[c], w4[c], w5[c] = _of_inputs(r0[c], r1[c], r2[c], r3[c], r4[c], r5[c])


@njit(nogil=True, cache=True, error_model="numpy")
def _four_of_results(source, p, apart, target, q, between, some, added):
    """Transform six rows of `source` into four of `target`, and add to each."""
    r0, r1, r2, r3, r4, r5 = _six(source, p, apart, some)
    w0, w1, w2, w3 = _four(target, q, between, some)
    for c in range(some):
        a, b, d, e = _of_results(r0[c], r1[c], r2[c], r3[c], r4[c], r5[c])
        w0[c], w1[c], w2[c], w3[c] = a + added[c], b + added[c], d + added[c], e + added[c]


@njit(nogil=True, cache=True, error_model="numpy")
def _moved(source, p, apart, target, q, between, length):
    """Copy what lies at the 36 places of some tiles."""
    for k in range(36):
        row = source[p + k * apart : p + k * apart + length]
        into = target[q + k * between : q + k * between + length]
        for c in range(length):
            into[c] = row[c]


@njit(nogil=True, cache=True, error_model="numpy")
def tile_inputs(x, top, bottom, left, right, out, first):
    """Transform tiles of these rows and columns, of x (N, H, W, C), into `out` (36, tiles, C) from `first` on."""
    count, height, width, channels = x.shape
    flat, into = x.reshape(-1), out.reshape(-1)
    step = out.shape[1] * channels
    most = max(1, _TOGETHER // channels)
    apart = min(most, right - left) * channels + 16
    half, whole = np.empty(36 * _CHANNELS, np.float32), np.empty(36 * apart, np.float32)
    at = first * channels
    for n in range(count):
        for tile_row in range(top, bottom):
            for start in range(left, right, most):
                stop = min(start + most, right)
                for tile_column in range(start, stop):
                    corner = ((n * height + 4 * tile_row) * width + 4 * tile_column) * channels
                    here = (tile_column - start) * channels
                    for c0 in range(0, channels, _CHANNELS):
                        some = min(_CHANNELS, channels - c0)
                        for j in range(6):
                            p = corner + j * channels + c0
                            _six_of_inputs(flat, p, width * channels, half, j * _CHANNELS, 6 * _CHANNELS, some)
                        for i in range(6):
                            q = i * 6 * apart + here + c0
                            _six_of_inputs(half, i * 6 * _CHANNELS, _CHANNELS, whole, q, apart, some)
                length = (stop - start) * channels
                _moved(whole, 0, apart, into, at, step, length)
                at += length


@njit(nogil=True, cache=True, error_model="numpy")
def tile_results(products, first, bias, top, bottom, left, right, out):
    """Write what products (36, tiles, K) from `first` on give in tiles of these ranges, into `out` (N, H, W, K)."""
    count, height, width, channels = out.shape
    flat, into = products.reshape(-1), out.reshape(-1)
    step = products.shape[1] * channels
    most = max(1, _TOGETHER // channels)
    apart = min(most, right - left) * channels + 16
    half, whole = np.empty(24 * _CHANNELS, np.float32), np.empty(36 * apart, np.float32)
    nothing = np.zeros(_CHANNELS, np.float32)
    at = first * channels
    for n in range(count):
        for tile_row in range(top, bottom):
            for start in range(left, right, most):
                stop = min(start + most, right)
                length = (stop - start) * channels
                _moved(flat, at, step, whole, 0, apart, length)
                at += length
                for tile_column in range(start, stop):
                    corner = ((n * height + 4 * tile_row) * width + 4 * tile_column) * channels
                    here = (tile_column - start) * channels
                    for c0 in range(0, channels, _CHANNELS):
                        some = min(_CHANNELS, channels - c0)
                        added = bias[c0 : c0 + some]
                        for j in range(6):
                            p = j * apart + here + c0
                            _four_of_results(whole, p, 6 * apart, half, j * _CHANNELS, 6 * _CHANNELS, some, nothing)
                        for i in range(4):
                            q = corner + i * width * channels + c0
                            _four_of_results(half, i * 6 * _CHANNELS, _CHANNELS, into, q, channels, some, added)


def maps_right():
    """Tell whether maps of few numbers are reduced rightly."""
    maps = np.arange(96, dtype=np.float32).reshape(2, 16, 3)
    numbers, counts = np.zeros((4, 2, 3), np.float32), np.zeros((4, 2, 3), np.int64)
    reduce_maps(maps, 4, np.float32(9), True, True, 0.01, np.empty((0, 0), np.int64), False, numbers, counts)
    expected = np.stack([maps.max(1), maps.mean(1), maps.mean(1), maps.var(1) * 16])
    places = np.stack([np.full((2, 3), 3)] * 2)
    found = np.stack([(maps > 0).sum(1), (maps >= 9).sum(1)])
    return bool(np.allclose(numbers, expected) and (counts[:2] == places).all() and (counts[2:] == found).all())


def tiles_right():
    """Tell whether a tile of ones is transformed rightly, and a single product."""
    tiles, results = np.zeros((36, 1, 1), np.float32), np.zeros((1, 4, 4, 1), np.float32)
    tile_inputs(np.ones((1, 6, 6, 1), np.float32), 0, 1, 0, 1, tiles, 0)
    product = np.zeros((36, 1, 1), np.float32)
    product[14] = 1
    tile_results(product, 0, np.ones(1, np.float32), 0, 1, 0, 1, results)
    inputs, signs = np.array([0, 3, 0, 0, 0, 0]), np.array([1, -1, 1, -1])
    return bool(
        (tiles.reshape(6, 6) == np.outer(inputs, inputs)).all()
        and (results.reshape(4, 4) == 1 + np.outer(signs, signs)).all()
    )
