"""Top-k and health accumulators against brute force, and the laws of merging."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, fields
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from convscope_core import compiled
from convscope_core.errors import ArgumentError
from convscope_core.survey import Health, TopK, by_position, histogram_edges, reduction
from convscope_core.survey import top as top_k
from convscope_core.survey.health import histogram_bins
from convscope_core.survey.reduction import ImageStatistics, Peaks


@dataclass
class Case:
    """Activations of some images, and a way to split them into shards and batches."""

    values: torch.Tensor  # (images, channels, h, w)
    order: list[int]
    cuts: list[int]
    k: int

    @property
    def batches(self) -> list[list[int]]:
        ends = [*sorted(self.cuts), len(self.order)]
        return [self.order[a:b] for a, b in zip([0, *ends], ends, strict=False)]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Few distinct values, so that ties within maps and between images are the rule; negative ones and zeros
    among them."""
    images, channels = draw(st.integers(1, 9)), draw(st.integers(1, 3))
    height, width = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    size = images * channels * height * width
    levels = st.sampled_from([-3.0, -0.5, -0.0, 0.0, 1e-6, 0.25, 2.0, 1e4])
    numbers = draw(st.lists(levels, min_size=size, max_size=size))
    return Case(
        values=torch.tensor(numbers).reshape(images, channels, height, width),
        order=draw(st.permutations(range(images))),
        cuts=draw(st.lists(st.integers(0, images), max_size=3)),
        k=draw(st.integers(1, 12)),
    )


def brute_force_top(values: torch.Tensor, k: int) -> list[list[tuple[float, int, int, int]]]:
    """For each channel, the k best (value, image, row, column), by sorting Python tuples."""
    images, channels, height, width = values.shape
    answer = []
    for channel in range(channels):
        best_of_images = []
        for image in range(images):
            cells = [(-float(values[image, channel, r, c]), r, c) for r in range(height) for c in range(width)]
            value, row, column = min(cells)
            best_of_images.append((value, image, row, column))
        answer.append([(-value, *rest) for value, *rest in sorted(best_of_images)[:k]])
    return answer


def listed(top: TopK) -> list[list[tuple[float, int, int, int]]]:
    entries = zip(top.values.tolist(), top.images.tolist(), top.rows.tolist(), top.columns.tolist(), strict=True)
    return [[entry for entry in zip(*channel, strict=True) if entry[1] >= 0] for channel in entries]


def top_of(case: Case, images: list[int]) -> TopK:
    top = TopK(case.values.shape[1], case.k)
    top.update(case.values[images], images)
    return top


def health_of(case: Case, images: list[int]) -> Health:
    health = Health(case.values.shape[1])
    health.update(case.values[images])
    return health


def same_top(a: TopK, b: TopK) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@given(cases())
def test_top_k_equals_brute_force_for_every_split_and_order(case: Case) -> None:
    top = TopK(case.values.shape[1], case.k)
    for batch in case.batches:
        top.update(case.values[batch], torch.tensor(batch, dtype=torch.int64))
    assert listed(top) == brute_force_top(case.values, case.k)


@given(cases())
def test_distinct_batches_may_wait_to_be_sorted_and_copies_do_not_see_it(case: Case) -> None:
    top, begun = TopK(case.values.shape[1], case.k), 0
    for batch in case.batches:
        before = top.copy()
        top.add(reduction.ImageStatistics.of(case.values[batch]), batch, distinct=True)
        assert sum(image >= 0 for image in before.images[0].tolist()) == min(begun, case.k)
        begun += len(batch)
    assert listed(top) == brute_force_top(case.values, case.k)


@settings(deadline=None)
@given(st.integers(0, 99), st.integers(1, 40), st.integers(1, 50), st.sampled_from([1, 2, 1024]))
def test_batches_that_are_sorted_together_are_those_of_brute_force(seed: int, size: int, k: int, block: int) -> None:
    """More images than wait, in the beginning new to every channel, later to few; negative values and ties."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(top_k, "_SORTED", block)  # channels at once
        _sorted_together_as_by_brute_force(seed, size, k)


def _sorted_together_as_by_brute_force(seed: int, size: int, k: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randint(-20, 21, (150, 3, 1, 1), generator=generator) / 8
    values[:, 0] -= torch.arange(150).reshape(-1, 1, 1) / 4
    values[:, 2] *= -0.0
    top, health = TopK(3, k), Health(3)
    for batch in torch.randperm(150, generator=generator).split(size):
        statistics = reduction.ImageStatistics.of(values[batch])
        top.add(statistics, batch, distinct=True)
        health.add(statistics)
    assert listed(top) == brute_force_top(values, k)
    for channel, counts in enumerate(health.histogram):
        bins = np.searchsorted(histogram_edges().numpy(), values[:, channel, 0, 0].numpy(), side="right")
        np.testing.assert_array_equal(counts, np.bincount(bins, minlength=115))


@given(cases())
def test_merged_shards_equal_brute_force(case: Case) -> None:
    top = TopK(case.values.shape[1], case.k)
    for batch in case.batches:
        top.merge(top_of(case, batch))
    assert listed(top) == brute_force_top(case.values, case.k)


@given(cases())
def test_places_beyond_the_number_of_images_stay_empty(case: Case) -> None:
    top = top_of(case, case.order)
    filled = min(case.k, len(case.order))
    assert (top.images[:, :filled] >= 0).all()
    assert (top.images[:, filled:] == -1).all()
    assert (top.rows[:, filled:] == -1).all()
    assert (top.columns[:, filled:] == -1).all()
    assert (top.values[:, filled:] == -torch.inf).all()


@given(cases(), st.data())
def test_merge_is_commutative_associative_and_idempotent_also_where_shards_overlap(
    case: Case, data: st.DataObject
) -> None:
    some_images = st.lists(st.sampled_from(case.order), unique=True)
    a, b, c = (top_of(case, data.draw(some_images)) for _ in range(3))

    def merged(*parts: TopK) -> TopK:
        total = parts[0].copy()
        for part in parts[1:]:
            total.merge(part)
        return total

    assert same_top(merged(a, b), merged(b, a))
    assert same_top(merged(merged(a, b), c), merged(a, merged(b, c)))
    assert same_top(merged(a, a), a)


@given(cases(), st.data())
def test_an_image_given_twice_with_other_activations_counts_with_the_larger(case: Case, data: st.DataObject) -> None:
    # The same picture computed in another batch may differ in the last bits, so two entries of an image need
    # not be equal.
    again = case.values[data.draw(st.permutations(range(len(case.order))))]
    top = TopK(case.values.shape[1], case.k)
    everyone = list(range(len(case.order)))
    for values in data.draw(st.permutations([case.values, again])):
        top.update(values, everyone)
    # Side by side in one wide map, the larger wins; a tie goes to the earlier position in a map, so compare
    # values and images only.
    wide = brute_force_top(torch.cat([case.values, again], dim=3), case.k)
    assert [[entry[:2] for entry in channel] for channel in listed(top)] == [
        [e[:2] for e in channel] for channel in wide
    ]
    for channel, entries in enumerate(listed(top)):
        for value, image, row, column in entries:
            assert value in (case.values[image, channel, row, column], again[image, channel, row, column])


def test_one_image_twice_in_one_batch_takes_one_place() -> None:
    top = TopK(1, 3)
    top.update(torch.tensor([1.0, 5.0, 5.0, 2.0]).reshape(4, 1, 1, 1), [7, 7, 7, 3])
    assert listed(top) == [[(5.0, 7, 0, 0), (2.0, 3, 0, 0)]]


def test_among_equal_activations_the_first_position_in_row_major_order_is_taken() -> None:
    values = torch.zeros(1, 1, 3, 4)
    values[0, 0, 1, 3] = values[0, 0, 2, 0] = 1.0
    for layout in (torch.contiguous_format, torch.channels_last):
        top = TopK(1, 1)
        top.update(values.contiguous(memory_format=layout), [0])
        assert listed(top) == [[(1.0, 0, 1, 3)]]


def test_the_memory_layout_of_the_activations_does_not_matter() -> None:
    values = torch.randn(5, 6, 7, 8, generator=torch.Generator().manual_seed(0))
    tops, healths = [], []
    for layout in (torch.contiguous_format, torch.channels_last):
        tops.append(TopK(6, 3))
        tops[-1].update(values.contiguous(memory_format=layout), range(5))
        healths.append(Health(6))
        healths[-1].update(values.contiguous(memory_format=layout))
    assert same_top(*tops)
    torch.testing.assert_close(healths[0].mean, healths[1].mean, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(healths[0].variance, healths[1].variance, rtol=1e-6, atol=1e-7)


def _at_once(maps: torch.Tensor, ceiling: float | None, floor: float | None, before: Peaks | None) -> SimpleNamespace:
    found = reduction._at_once(maps, ceiling, floor is None or floor < 0, before)
    places, width = found["places"], maps.shape[3]
    return SimpleNamespace(**found, rows=places // width, columns=places % width)


def _by_position(maps: torch.Tensor, *bounds: Any) -> ImageStatistics:
    return ImageStatistics.of(maps.contiguous(memory_format=torch.channels_last), *bounds)


def _without_numba(maps: torch.Tensor, *bounds: Any) -> ImageStatistics:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled, "_kernels", {"maps": None})
        return _by_position(maps, *bounds)


def _in_python(maps: torch.Tensor, *bounds: Any) -> ImageStatistics:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(by_position, "_made", [by_position._reduced])
        return _without_numba(maps, *bounds)


WAYS = {
    "by map": lambda maps, *bounds: ImageStatistics.of(maps.contiguous(), *bounds),
    "compiled": _by_position,
    "by position": _without_numba,
    "by position in Python": lambda maps, *bounds: _in_python(maps, *bounds),
    "at once": lambda maps, ceiling=None, floor=None, before=None: _at_once(maps, ceiling, floor, before),
}
"""By memory layout on a CPU, without Numba, without TorchScript, and as on an accelerator."""


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(1, 9), st.integers(1, 9)),
    cached=st.sampled_from([1, 8, 100, 2**20]),
    kind=st.sampled_from(["rectified", "negative", "few", "far"]),
    seed=st.integers(0, 10_000),
)
@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_reduce_equals_brute_force(
    way: str, shape: tuple[int, ...], cached: int, kind: str, seed: int
) -> None:
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    values = {
        "rectified": values.relu(),
        "negative": values - 10,
        "few": values.round(),  # equal values are frequent
        "far": values + 1000,  # little spread around a large mean
    }[kind]
    ceiling = float(values.max())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reduction, "_CACHED_MAPS", cached)
        patch.setattr(reduction, "_CACHED_LINES", cached)
        found = WAYS[way](values, ceiling, float(values.min()))
    flat = values.double().flatten(2)
    places = torch.from_numpy(flat.numpy().argmax(axis=2))
    assert torch.equal(found.peaks.double(), flat.amax(2))
    assert torch.equal(found.rows * shape[3] + found.columns, places)
    assert torch.equal(found.active, (flat > 0).sum(2))
    assert torch.equal(found.saturated, (flat == ceiling).sum(2))
    torch.testing.assert_close(found.means.double(), flat.mean(2), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(found.magnitudes.double(), flat.abs().mean(2), rtol=1e-6, atol=1e-6)
    deviations = flat.var(2, correction=0) * flat.shape[2]
    # The spread around 1000 is known to float32's digits of 1000.
    torch.testing.assert_close(found.deviations.double(), deviations, rtol=1e-4, atol=1e-2 if kind == "far" else 1e-5)


LAYOUTS = {
    "by map": torch.Tensor.contiguous,
    "compiled": lambda maps: maps.contiguous(memory_format=torch.channels_last),
    "by position": lambda maps: maps.contiguous(memory_format=torch.channels_last),
    "by position in Python": lambda maps: maps.contiguous(memory_format=torch.channels_last),
    "at once": lambda maps: maps.transpose(2, 3).contiguous().transpose(2, 3),
}
"""Of the maps before the activation."""


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(1, 9), st.integers(1, 9)),
    cached=st.sampled_from([1, 8, 100, 2**20]),
    bounds=st.tuples(st.sampled_from([None, -9.0, -1.0, 0.0, 1.0]), st.sampled_from([-0.5, 0.5, 2.0, 9.0])),
    rounded=st.booleans(),
    seed=st.integers(0, 10_000),
)
@pytest.mark.parametrize("way", WAYS)
def test_what_a_ceiling_cuts_off_is_found_before_it(
    way: str, shape: tuple[int, ...], cached: int, bounds: tuple[float | None, float], rounded: bool, seed: int
) -> None:
    given_ = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    given_ = (given_.mul(2) if not rounded else given_.mul(2).round()).masked_fill(given_ > 2, 50.0)  # some are equal
    low, high = bounds[0], max(bounds[1], (bounds[0] or 0.0) + 0.5 if bounds[0] is not None else bounds[1])
    uncut = given_ if low is None else given_.clamp(min=low)
    values = uncut.clamp(max=high)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reduction, "_CACHED_MAPS", cached)
        patch.setattr(reduction, "_CACHED_LINES", cached)
        before = Peaks.of(LAYOUTS[way](given_)).after(lambda x: x if low is None else x.clamp(min=low))
        found, plain = (WAYS[way](values, high, low, *more) for more in ([before], []))
    places = uncut.flatten(2).numpy().argmax(axis=2)  # the first of the largest
    assert torch.equal(before.values, uncut.amax((2, 3)))
    assert np.array_equal(before.places, places)
    assert np.array_equal(found.rows * shape[3] + found.columns, places)
    assert torch.equal(found.peaks, values.amax((2, 3)))
    for name in ("means", "magnitudes", "deviations", "active", "saturated"):
        assert torch.equal(getattr(found, name), getattr(plain, name)), name


@pytest.mark.cpu_only("maps are reduced by position on a CPU")
def test_without_python_the_bits_are_those_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(by_position, "_made", [])
    if by_position._reduction() is by_position._reduced:
        pytest.skip("TorchScript does not run it here")
    maps = torch.randn(3, 40, 9, 7, generator=torch.Generator().manual_seed(0)) + 1
    for values, ceiling, floor in ((maps, None, None), (maps.clamp(0, 2), 2.0, 0.0), (maps + 1e4, None, 0.0)):
        a, b = (WAYS[way](values, ceiling, floor) for way in ("by position", "by position in Python"))
        assert all(torch.equal(getattr(a, field.name), getattr(b, field.name)) for field in fields(a))


@pytest.mark.cpu_only("maps are reduced by position on a CPU")
@pytest.mark.parametrize("wrong", ["gone", "other numbers"])
def test_where_torchscript_does_not_work_it_is_done_in_python(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def script(function: Any) -> Any:
        if wrong == "gone":
            raise RuntimeError
        return lambda *given: [found + 1 for found in function(*given)]

    monkeypatch.setattr(by_position, "_made", [])
    monkeypatch.setattr(torch.jit, "script", script)
    maps = torch.randn(2, 3, 4, 5)
    assert torch.equal(WAYS["by position"](maps).peaks, maps.amax((2, 3)))
    assert by_position._made == [by_position._reduced]


@pytest.mark.parametrize("way", WAYS)
def test_large_maps_keep_their_digits(way: str) -> None:
    # Half a million positions: a float32 sum that adds one by one would have lost all but three digits.
    values = 0.1 + 0.01 * torch.rand(1, 2, 700, 800, generator=torch.Generator().manual_seed(0))
    values[0, 1, 650, 7] = values[0, 1, 699, 799] = 1.0
    found = WAYS[way](values)
    flat = values.double().flatten(2)
    torch.testing.assert_close(found.means.double(), flat.mean(2), rtol=1e-6, atol=0)
    deviations = flat.var(2, correction=0) * flat.shape[2]
    torch.testing.assert_close(found.deviations.double(), deviations, rtol=1e-4, atol=0)
    assert (found.rows[0, 1], found.columns[0, 1]) == (650, 7)


def test_half_precision_is_widened_without_loss() -> None:
    values = torch.randn(4, 2, 3, 3, generator=torch.Generator().manual_seed(0)).half()
    half, single = TopK(2, 2), TopK(2, 2)
    half.update(values, range(4))
    single.update(values.float(), range(4))
    assert same_top(half, single)


@given(cases())
def test_health_equals_brute_force_for_every_split_and_order(case: Case) -> None:
    health = Health(case.values.shape[1])
    for batch in case.batches:
        health.update(case.values[batch])

    per_channel = case.values.transpose(0, 1).flatten(1).double().numpy()
    maxima = case.values.amax(dim=(2, 3)).T.numpy()
    assert health.images == len(case.values)
    assert health.positions.tolist() == [per_channel.shape[1]] * len(per_channel)
    np.testing.assert_array_equal(health.active_images, (maxima > 0).sum(1))
    np.testing.assert_array_equal(health.active_positions, (per_channel > 0).sum(1))
    np.testing.assert_array_equal(health.maximum, maxima.max(1))
    scale = np.abs(per_channel).max() + 1e-30
    np.testing.assert_allclose(health.mean, per_channel.mean(1), rtol=1e-6, atol=1e-6 * scale)
    np.testing.assert_allclose(health.variance, per_channel.var(1), rtol=1e-5, atol=1e-6 * scale**2)
    inner = histogram_edges().numpy()
    edges = np.concatenate([[-np.inf], inner, [np.inf]])
    expected = [[((a <= row) & (row < b)).sum() for a, b in itertools.pairwise(edges)] for row in maxima]
    np.testing.assert_array_equal(health.histogram, expected)


@given(cases())
def test_health_of_merged_shards_is_that_of_all_images(case: Case) -> None:
    whole, parts = health_of(case, case.order), [health_of(case, batch) for batch in case.batches]
    forwards, backwards = Health(case.values.shape[1]), Health(case.values.shape[1])
    for part in parts:
        forwards.merge(part)
    for part in reversed(parts):
        backwards.merge(part)
    for merged in (forwards, backwards):
        for key, value in merged.state_dict().items():
            torch.testing.assert_close(value, whole.state_dict()[key], rtol=1e-12, atol=1e-12)


@given(cases())
def test_merging_two_healths_is_commutative_to_the_last_bit(case: Case) -> None:
    half = len(case.order) // 2
    a, b = health_of(case, case.order[:half]), health_of(case, case.order[half:])
    ab, ba = a.copy(), b.copy()
    ab.merge(b)
    ba.merge(a)
    assert all(torch.equal(ab.state_dict()[key], ba.state_dict()[key]) for key in ab.state_dict())


def test_variance_survives_a_mean_much_larger_than_the_spread() -> None:
    # Sums of squares would lose everything here: mean^2 / variance is 1e8, float32 has 7 digits.
    values = 1000.0 + 0.1 * torch.randn(64, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    health = Health(1)
    for batch in values.split(8):
        health.update(batch)
    assert health.variance.item() == pytest.approx(values.double().var(correction=0).item(), rel=1e-3)
    assert health.mean.item() == pytest.approx(values.double().mean().item(), rel=1e-9, abs=1e-4)


def test_an_empty_health_has_no_mean_and_no_variance() -> None:
    health = Health(2)
    health.update(torch.zeros(0, 2, 3, 3))
    assert health.images == 0
    assert health.mean.isnan().all()
    assert health.variance.isnan().all()
    assert (health.maximum == -torch.inf).all()


def test_histogram_bins_are_symmetric_half_octaves_around_zero() -> None:
    edges = histogram_edges()
    assert (edges.diff() > 0).all()
    torch.testing.assert_close(edges, -edges.flip(0), rtol=0, atol=0)
    positive = edges[edges > 0].double()
    torch.testing.assert_close(
        positive[1:] / positive[:-1], torch.full((56,), 2**0.5, dtype=torch.float64), rtol=1e-6, atol=0
    )
    assert (positive[0], positive[-1]) == (2.0**-14, 2.0**14)


@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=50))
def test_bins_are_those_of_the_edges(values: list[float]) -> None:
    edges = histogram_edges()
    beside = torch.stack([edges, edges.nextafter(torch.tensor(torch.inf)), edges.nextafter(torch.tensor(-torch.inf))])
    for one in (torch.tensor(values), beside, torch.tensor([0.0, -0.0, torch.inf, -torch.inf])):
        np.testing.assert_array_equal(histogram_bins(one), np.searchsorted(edges.numpy(), one.numpy(), side="right"))


@given(cases())
def test_state_survives_a_round_trip_and_goes_on(case: Case) -> None:
    half = len(case.order) // 2
    first, second = case.order[:half], case.order[half:]
    top = TopK.from_state(top_of(case, first).state_dict())
    top.update(case.values[second], second)
    assert listed(top) == brute_force_top(case.values, case.k)

    health = Health.from_state(health_of(case, first).state_dict())
    health.update(case.values[second])
    continued = health_of(case, first)
    continued.update(case.values[second])
    assert all(torch.equal(health.state_dict()[key], value) for key, value in continued.state_dict().items())


def test_state_is_plain_tensors_that_load_without_pickle(tmp_path) -> None:
    from safetensors.torch import load_file, save_file

    top, health = TopK(2, 3), Health(2)
    values = torch.randn(5, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    top.update(values, range(5))
    health.update(values)
    save_file(top.state_dict(), tmp_path / "top.safetensors")
    save_file(health.state_dict(), tmp_path / "health.safetensors")
    assert same_top(TopK.from_state(load_file(tmp_path / "top.safetensors")), top)
    assert torch.equal(Health.from_state(load_file(tmp_path / "health.safetensors")).mean, health.mean)


def test_a_copy_stays_as_it_was() -> None:
    values = torch.randn(6, 2, 2, 2, generator=torch.Generator().manual_seed(0))
    top, health = TopK(2, 3), Health(2)
    top.update(values[:3], range(3))
    health.update(values[:3])
    top_before, health_before = top.copy(), health.copy()
    states = [{k: v.clone() for k, v in a.state_dict().items()} for a in (top_before, health_before)]
    top.update(values[3:] + 5, range(3, 6))
    health.update(values[3:] + 5)
    for accumulator, state in zip((top_before, health_before), states, strict=True):
        assert all(torch.equal(accumulator.state_dict()[key], value) for key, value in state.items())
    assert top.images.min() >= 3
    assert health.images == 6


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("image", [0, 1])
def test_values_without_an_order_are_refused_with_the_layer_and_channel_named(bad: float, image: int) -> None:
    values = torch.zeros(2, 3, 2, 2)
    values[image, 1, 1, 0] = bad
    for update in (
        lambda: TopK(3, 2, name="features.7").update(values, [0, 1]),
        lambda: Health(3, name="features.7").update(values),
    ):
        with pytest.raises(ArgumentError, match=r"features\.7, channel 1\b"):
            update()


def test_statistics_of_two_layers_joined_are_those_of_each() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(4, 2, 5, 5, generator=generator), torch.randn(4, 3, 1, 1, generator=generator)
    joined_top, joined_health = TopK(5, 2), Health(5)
    joined = ImageStatistics.join([ImageStatistics.of(a), ImageStatistics.of(b)])
    joined_top.add(joined, range(4))
    joined_health.add(joined)
    assert listed(joined_top) == brute_force_top(a, 2) + brute_force_top(b, 2)
    assert joined_health.positions.tolist() == [100, 100, 4, 4, 4]
    np.testing.assert_allclose(
        joined_health.variance[:2], a.transpose(0, 1).flatten(1).double().var(1, correction=0), rtol=1e-5
    )


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: TopK(0, 1), "channels.*at least 1, got 0"),
        (lambda: TopK(1, 0), "k to be .*got 0"),
        (lambda: TopK(1, 2.0), "k to be .*got 2.0"),
        (lambda: Health(True), "channels"),
        (lambda: TopK(2, 1).update(torch.zeros(1, 3, 2, 2), [0]), "2 channels.*got 3"),
        (lambda: Health(2).update(torch.zeros(1, 3, 2, 2)), "2 channels.*got 3"),
        (lambda: TopK(2, 1).update(torch.zeros(2, 2), [0, 1]), r"\(N, C, h, w\).*\(2, 2\)"),
        (lambda: TopK(2, 1).update(torch.zeros(1, 2, 2, 2, dtype=torch.int32), [0]), "floating point"),
        (lambda: TopK(2, 1).update(torch.zeros(1, 2, 0, 2), [0]), "1 to 16777216 positions"),
        (lambda: TopK(2, 1).update(torch.zeros(2, 2, 1, 1), [0]), "one image index for each of the 2"),
        (lambda: TopK(2, 1).update(torch.zeros(1, 2, 1, 1), [-1]), "0 or greater, got -1"),
        (lambda: TopK(2, 1).merge(TopK(2, 2)), "k=2"),
        (lambda: Health(2).merge(Health(3)), "channels=3"),
        (lambda: TopK.from_state({"values": torch.zeros(1, 1)}), "images, rows, columns is missing"),
        (
            lambda: TopK.from_state(
                {k: torch.zeros(1, 2) for k in ("images", "rows", "columns")} | {"values": torch.zeros(1, 1)}
            ),
            "damaged",
        ),
        (lambda: Health.from_state({"positions": torch.zeros(2)}), "missing"),
        (lambda: Health.from_state(Health(2).state_dict() | {"mean": torch.zeros(3)}), "mean.*damaged"),
    ],
)
def test_bad_arguments_say_what_was_expected(call, words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        call()


@pytest.mark.slow
@settings(deadline=None, max_examples=5)
@given(st.integers(0, 2**31))
def test_many_channels_and_images(seed: int) -> None:
    values = torch.randn(200, 50, 3, 3, generator=torch.Generator().manual_seed(seed)).mul(4).round()
    top = TopK(50, 9)
    for batch in torch.randperm(200, generator=torch.Generator().manual_seed(seed)).split(23):
        top.update(values[batch], batch)
    assert listed(top) == brute_force_top(values, 9)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), k=st.integers(1, 3), channels=st.integers(1, 12))
def test_distinct_images_one_by_one_give_the_top_of_all(seed: int, k: int, channels: int) -> None:
    # Whole numbers, so that equal activations are frequent; in any order, so that a later batch may win a tie.
    generator = torch.Generator().manual_seed(seed)
    values = torch.randint(0, 4, (12, channels, 2, 2), generator=generator).float()
    order = torch.randperm(12, generator=generator)
    whole, one_by_one = TopK(channels, k), TopK(channels, k)
    whole.update(values, range(12))
    for part in order.split(2):
        one_by_one.add(ImageStatistics.of(values[part]), part, distinct=True)
    for name in ("values", "images", "rows", "columns"):
        assert torch.equal(getattr(one_by_one, name), getattr(whole, name)), name


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_ceiling_is_counted_in_every_layout(layout: torch.memory_format) -> None:
    values = torch.randint(0, 8, (3, 4, 5, 6), generator=torch.Generator().manual_seed(0)).float().clamp(max=6)
    found = ImageStatistics.of(values.contiguous(memory_format=layout), 6.0)
    assert torch.equal(found.saturated, (values == 6).sum((2, 3)))
    free = ImageStatistics.of(values)
    assert not free.bounded.any()
    health = Health(8)
    health.add(ImageStatistics.join([found, free]))
    assert health.saturated[:4] == pytest.approx((values == 6).double().mean((0, 2, 3)))
    assert health.saturated[4:].isnan().all()
    again = Health.from_state(health.state_dict())
    again.merge(health)
    assert torch.equal(again.saturated[:4], health.saturated[:4])


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_broken_maps_are_marked(layout: torch.memory_format) -> None:
    values = torch.zeros(2, 3, 4, 4)
    values[1, 2, 0, 3] = torch.inf
    values[0, 1, 3, 3] = torch.nan
    values[0, 2] = -torch.inf
    found = ImageStatistics.of(values.contiguous(memory_format=layout))
    assert found.broken().nonzero().tolist() == [[0, 1], [0, 2], [1, 2]]
    # Nothing points out of a map, should anybody look before the refusal.
    assert int(found.rows.max()) < 4
    assert int(found.columns.max()) < 4
