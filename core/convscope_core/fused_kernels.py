# mypy: ignore-errors
"""The kernels of `convscope_core.fused`, in Triton. Imported only where that is installed."""

import triton
import triton.language as tl

__all__ = ["reduce_maps", "take_windows", "tile_inputs", "tile_results"]


@triton.jit(do_not_specialize=["height", "width", "have_height", "have_width"])
def take_windows(
    out, clean, changed, tops, lefts, need_rows, need_columns, have_rows, have_columns,
    height, width, channels, have_height, have_width, clean_row, clean_column, clean_channel,
    changed_picture, changed_row, changed_column, changed_channel,
    HAS_CLEAN: tl.constexpr, HAS_CHANGED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Windows (pictures, height, width, channels) of a clean map, with what changed in place."""
    picture = tl.program_id(1)
    e = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    numel = height * width * channels
    c = e % channels
    column = (e // channels) % width
    row = e // (channels * width)
    top, left = tl.load(tops + picture), tl.load(lefts + picture)
    row_there = tl.load(need_rows + top) + row
    column_there = tl.load(need_columns + left) + column
    inside = e < 0
    if HAS_CHANGED:
        r = row_there - tl.load(have_rows + top)
        k = column_there - tl.load(have_columns + left)
        inside = (e < numel) & (r >= 0) & (r < have_height) & (k >= 0) & (k < have_width)
        start = changed + picture.to(tl.int64) * changed_picture
        found = tl.load(start + r * changed_row + k * changed_column + c * changed_channel, mask=inside)
    if HAS_CLEAN:
        at = row_there * clean_row + column_there * clean_column + c * clean_channel
        around = tl.load(clean + at, mask=(e < numel) & (inside == 0))
        found = tl.where(inside, found, around) if HAS_CHANGED else around
    tl.store(out + picture.to(tl.int64) * numel + e, found, mask=e < numel)


@triton.jit
def _of_inputs(a, b, c, d, e, f):
    return (
        a - 1.5 * b - 2.0 * c + 1.5 * d + e,
        0.5 * c - b + 2.5 * d + e,
        b - 2.5 * c + 0.5 * d + e,
        2.0 * d - 2.0 * b - c + e,
        0.5 * b - c - 0.5 * d + e,
        b - 1.5 * c - 2.0 * d + 1.5 * e + f,
    )


@triton.jit
def _of_results(a, b, c, d, e, f):
    return a + b + c + d + e, b - c + 0.5 * d - 2.0 * e, b + c + 0.25 * d + 4.0 * e, b - c + 0.125 * d - 8.0 * e + f


@triton.jit
def _six_loads(start, step, mask):
    return (
        tl.load(start, mask=mask),
        tl.load(start + step, mask=mask),
        tl.load(start + 2 * step, mask=mask),
        tl.load(start + 3 * step, mask=mask),
        tl.load(start + 4 * step, mask=mask),
        tl.load(start + 5 * step, mask=mask),
    )


@triton.jit
def _six_stores(start, step, a, b, c, d, e, f, mask):
    tl.store(start, a, mask=mask)
    tl.store(start + step, b, mask=mask)
    tl.store(start + 2 * step, c, mask=mask)
    tl.store(start + 3 * step, d, mask=mask)
    tl.store(start + 4 * step, e, mask=mask)
    tl.store(start + 5 * step, f, mask=mask)


@triton.jit(do_not_specialize=["down", "across"])
def tile_inputs(x, out, down, across, channels, numel, picture, row, column, BLOCK: tl.constexpr):
    """(36, tiles, channels): what the results of each tile are computed from, transformed in both directions."""
    e = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = e < numel
    c, tile = e % channels, e // channels
    at = x + (tile // (down * across)).to(tl.int64) * picture + c
    at += (tile // across % down) * 4 * row + (tile % across) * 4 * column
    a0, b0, c0, d0, e0, f0 = _of_inputs(*_six_loads(at, row, mask))
    a1, b1, c1, d1, e1, f1 = _of_inputs(*_six_loads(at + column, row, mask))
    a2, b2, c2, d2, e2, f2 = _of_inputs(*_six_loads(at + 2 * column, row, mask))
    a3, b3, c3, d3, e3, f3 = _of_inputs(*_six_loads(at + 3 * column, row, mask))
    a4, b4, c4, d4, e4, f4 = _of_inputs(*_six_loads(at + 4 * column, row, mask))
    a5, b5, c5, d5, e5, f5 = _of_inputs(*_six_loads(at + 5 * column, row, mask))
    into = out + e
    a, b, c, d, g, f = _of_inputs(a0, a1, a2, a3, a4, a5)
    _six_stores(into, numel, a, b, c, d, g, f, mask)
    a, b, c, d, g, f = _of_inputs(b0, b1, b2, b3, b4, b5)
    _six_stores(into + 6 * numel, numel, a, b, c, d, g, f, mask)
    a, b, c, d, g, f = _of_inputs(c0, c1, c2, c3, c4, c5)
    _six_stores(into + 12 * numel, numel, a, b, c, d, g, f, mask)
    a, b, c, d, g, f = _of_inputs(d0, d1, d2, d3, d4, d5)
    _six_stores(into + 18 * numel, numel, a, b, c, d, g, f, mask)
    a, b, c, d, g, f = _of_inputs(e0, e1, e2, e3, e4, e5)
    _six_stores(into + 24 * numel, numel, a, b, c, d, g, f, mask)
    a, b, c, d, g, f = _of_inputs(f0, f1, f2, f3, f4, f5)
    _six_stores(into + 30 * numel, numel, a, b, c, d, g, f, mask)


@triton.jit
def _four_stores(start, step, a, b, c, d, mask):
    tl.store(start, a, mask=mask)
    tl.store(start + step, b, mask=mask)
    tl.store(start + 2 * step, c, mask=mask)
    tl.store(start + 3 * step, d, mask=mask)


@triton.jit(do_not_specialize=["down", "across"])
def tile_results(products, bias, out, down, across, channels, numel, HAS_BIAS: tl.constexpr, BLOCK: tl.constexpr):
    """(pictures, 4 down, 4 across, channels) of products (36, tiles, channels)."""
    e = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = e < numel
    k, tile = e % channels, e // channels
    at = products + e
    a0, b0, c0, d0 = _of_results(*_six_loads(at, 6 * numel, mask))
    a1, b1, c1, d1 = _of_results(*_six_loads(at + numel, 6 * numel, mask))
    a2, b2, c2, d2 = _of_results(*_six_loads(at + 2 * numel, 6 * numel, mask))
    a3, b3, c3, d3 = _of_results(*_six_loads(at + 3 * numel, 6 * numel, mask))
    a4, b4, c4, d4 = _of_results(*_six_loads(at + 4 * numel, 6 * numel, mask))
    a5, b5, c5, d5 = _of_results(*_six_loads(at + 5 * numel, 6 * numel, mask))
    added = 0.0
    if HAS_BIAS:
        added = tl.load(bias + k, mask=mask)
    row = 4 * across * channels
    into = out + (tile // (down * across)).to(tl.int64) * (4 * down * row) + k
    into += (tile // across % down) * 4 * row + (tile % across) * 4 * channels
    a, b, c, d = _of_results(a0, a1, a2, a3, a4, a5)
    _four_stores(into, channels, a + added, b + added, c + added, d + added, mask)
    a, b, c, d = _of_results(b0, b1, b2, b3, b4, b5)
    _four_stores(into + row, channels, a + added, b + added, c + added, d + added, mask)
    a, b, c, d = _of_results(c0, c1, c2, c3, c4, c5)
    _four_stores(into + 2 * row, channels, a + added, b + added, c + added, d + added, mask)
    a, b, c, d = _of_results(d0, d1, d2, d3, d4, d5)
    _four_stores(into + 3 * row, channels, a + added, b + added, c + added, d + added, mask)


@triton.jit
def _added(a, b, c, d, e, f, g, h, i, j):
    return a + f, b + g, c + h, d + i, e + j


@triton.jit
def _first_of_largest(a, i, b, j):
    take = (a > b) | ((a == b) & (i < j))
    return tl.where(take, a, b), tl.where(take, i, j)


@triton.jit(do_not_specialize=["count", "positions", "width", "ceiling"])
def reduce_maps(
    maps, numbers, counts, count, positions, width, ceiling,
    HAS_CEILING: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The statistics of each of `count` maps of so many positions, a few maps to a program."""
    m = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    there = (m < count)[:, None]
    lane = tl.arange(0, BLOCK)[None, :]
    start = maps + m.to(tl.int64)[:, None] * positions
    mask = there & (lane < positions)
    x = tl.load(start + lane, mask=mask, other=0.0)
    # Each lane for itself, put together at the end: to do that after each block takes longer than to read the maps.
    # What a lane sums are differences from its first value: their squares lose no digits to the mean of the map, and no
    # more to a first value that lies far off than a lane has values.
    origin = x
    total = tl.zeros((ROWS, BLOCK), tl.float32)
    squares = tl.zeros((ROWS, BLOCK), tl.float32)
    size = tl.abs(x)
    above = (x > 0).to(tl.int32)
    full = ((x >= ceiling) & mask).to(tl.int32) if HAS_CEILING else tl.zeros((ROWS, BLOCK), tl.int32)
    peak = tl.where(mask, x, float("-inf"))
    place = tl.zeros((ROWS, BLOCK), tl.int32) + lane
    for first in range(BLOCK, positions, BLOCK):
        at = first + lane
        mask = there & (at < positions)
        x = tl.load(start + at, mask=mask, other=0.0)
        off = tl.where(mask, x - origin, 0.0)
        total += off
        squares += off * off
        size += tl.abs(x)
        above += (x > 0).to(tl.int32)
        if HAS_CEILING:
            full += ((x >= ceiling) & mask).to(tl.int32)
        better = mask & (x > peak)
        peak = tl.where(better, x, peak)
        place = tl.where(better, at, place)
    each = tl.maximum((positions - lane + (BLOCK - 1)) // BLOCK, 0)
    own = total / tl.maximum(each, 1)
    squares -= total * own
    # The means of lanes beside each other, from a value of the map, for the same reason.
    beside = origin - tl.load(start, mask=there, other=0.0) + own
    sums, besides, sizes, aboves, fulls = tl.reduce(
        (total + each * origin, each * beside, size, above, full), 1, _added
    )
    mean = sums / positions
    gap = beside - (besides / positions)[:, None]
    deviation = tl.sum(tl.maximum(squares, 0.0) + each * gap * gap, 1)
    highest, place = tl.reduce((peak, place), 1, _first_of_largest)
    m_there = m < count
    numbers += m
    tl.store(numbers, highest, mask=m_there)
    tl.store(numbers + count, mean, mask=m_there)
    tl.store(numbers + 2 * count, sizes / positions, mask=m_there)
    tl.store(numbers + 3 * count, deviation, mask=m_there)
    counts += m
    tl.store(counts, (place // width).to(tl.int64), mask=m_there)
    tl.store(counts + count, (place % width).to(tl.int64), mask=m_there)
    tl.store(counts + 2 * count, aboves.to(tl.int64), mask=m_there)
    tl.store(counts + 3 * count, fulls.to(tl.int64), mask=m_there)
