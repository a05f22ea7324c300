"""Classes, samples, similar and repeated units: the mergeable parts, and what a survey answers from them."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from convscope_core.errors import ArgumentError, LayerError
from convscope_core.evolution.table import EvolutionTable
from convscope_core.jobs.ledger import Ledger
from convscope_core.network import Network
from convscope_core.survey import MINIMA, ClassProfile, HealthTable, Sample, Survey, inactive_word, layer_health, survey
from convscope_core.survey.reduction import ImageStatistics
from convscope_core.survey.statistics import Statistics

LABELS = ("ant", "bee", None)


@st.composite
def batches(draw: st.DrawFn) -> tuple[torch.Tensor, list[str | None], list[list[int]]]:
    """Activations of some images, their labels, and a way to cut the images into shards."""
    count = draw(st.integers(1, 12))
    seed = draw(st.integers(0, 1000))
    values = torch.randn(count, 3, 2, 2, generator=torch.Generator().manual_seed(seed))
    labels = [draw(st.sampled_from(LABELS)) for _ in range(count)]
    order = draw(st.permutations(range(count)))
    cuts = sorted(draw(st.lists(st.integers(0, count), max_size=3)))
    ends = [0, *cuts, count]
    return values, labels, [list(order[a:b]) for a, b in itertools.pairwise(ends)]


@settings(max_examples=60, deadline=None)
@given(case=batches(), swapped=st.booleans())
def test_class_means_of_any_split_are_those_of_all_images(case, swapped: bool) -> None:  # type: ignore[no-untyped-def]
    values, labels, shards = case
    merged = ClassProfile(3)
    for shard in shards:
        part = ClassProfile(3)
        part.update(values[shard], [labels[index] for index in shard])
        part = ClassProfile.from_state(part.state_dict())
        if swapped:
            part.merge(merged)
            merged = part
        else:
            merged.merge(part)
    means = values.double().mean((2, 3))
    known = sorted({label for label in labels if label is not None})
    assert merged.labels == tuple(known)
    for row, label in enumerate(known):
        mine = [index for index, one in enumerate(labels) if one == label]
        assert int(merged.counts[row]) == len(mine)
        assert torch.allclose(merged.means[row], means[mine].mean(0), atol=1e-6)
    labelled = [index for index, one in enumerate(labels) if one is not None]
    if labelled:
        assert torch.allclose(merged.spread, means[labelled].std(0, correction=0), atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(case=batches(), size=st.integers(1, 6))
def test_a_sample_of_any_split_is_the_same(case, size: int) -> None:  # type: ignore[no-untyped-def]
    values, _, shards = case
    whole, merged = Sample(3, size), Sample(3, size)
    whole.update(values, range(len(values)))
    for shard in shards:
        part = Sample(3, size)
        for index in shard:  # in batches of one
            part.update(values[[index]], [index])
        merged.merge(Sample.from_state(part.state_dict()))
    assert torch.equal(merged.images, whole.images)
    assert torch.equal(merged.peaks, whole.peaks)
    assert torch.equal(merged.means, whole.means)
    assert len(whole.images) == min(size, len(values))
    assert torch.equal(whole.peaks, values.amax((2, 3))[whole.images])
    torch.testing.assert_close(whole.means, values.mean((2, 3))[whole.images])


def test_every_image_has_the_same_chance_to_be_sampled() -> None:
    count, size = 2000, 500
    sample = Sample(1, size)
    sample.update(torch.zeros(count, 1, 1, 1), range(count))
    # Of each tenth of the images about a tenth of the sample: 50, standard deviation 5.8.
    tenths = torch.bincount(sample.images // (count // 10), minlength=10)
    assert tenths.sum() == size
    assert ((tenths - 50).abs() < 4 * 5.8).all()


def test_a_sample_has_to_be_of_the_same_size_to_merge() -> None:
    with pytest.raises(ArgumentError, match="size=3"):
        Sample(2, 3).merge(Sample(2, 4))
    with pytest.raises(ArgumentError, match="state of a sample"):
        Sample.from_state({"images": torch.zeros(2)})
    with pytest.raises(ArgumentError, match="state of a class profile"):
        ClassProfile.from_state({"sums": torch.zeros(2, 2)})
    with pytest.raises(ArgumentError, match="the same layers"):
        ClassProfile(2).merge(ClassProfile(3))


def test_copies_stay_as_they_are() -> None:
    profile, sample = ClassProfile(1), Sample(1, 4)
    profile.update(torch.ones(1, 1, 1, 1), ["ant"])
    sample.update(torch.ones(1, 1, 1, 1), [0])
    before, earlier = profile.copy(), sample.copy()
    profile.update(torch.ones(1, 1, 1, 1), ["bee"])
    sample.update(torch.ones(1, 1, 1, 1), [1])
    assert (before.labels, profile.labels) == (("ant",), ("ant", "bee"))
    assert (earlier.images.tolist(), sample.images.tolist()) == ([0], [0, 1])


@pytest.mark.parametrize(
    ("channels", "k", "images", "labels"), [(700, 9, 512, 300), (3000, 1, 40, 0), (1, 20, 2000, 3)]
)
def test_no_state_is_larger_than_the_room_for_it(channels: int, k: int, images: int, labels: int) -> None:
    """Nor much smaller: a file is believed as many bytes."""
    names = [f"label {number}" for number in range(labels)]
    statistics = Statistics(channels, k, sample=512)
    for start in range(0, images, 64):
        count = min(64, images - start)
        values = torch.randn(count, channels, 1, 1, generator=torch.Generator().manual_seed(start))
        given = [names[(start + n) % labels] if labels else None for n in range(count)]
        statistics.add(ImageStatistics.of(values), range(start, start + count), given)
    size = sum(tensor.nbytes for tensor in statistics.state_dict().values())
    room = Statistics.room(channels, k, min(512, images), names)
    assert size <= room <= 1.05 * size + 2**17


def test_a_ledger_merges_labels_that_were_numbered_differently() -> None:
    a, b = Ledger(4), Ledger(4)
    a.mark([0], ["cat"])
    b.mark([1, 3], ["dog", "cat"])
    b.skip(2, "damaged")
    a.merge(b)
    assert [a.label(index) for index in range(4)] == ["cat", "dog", None, "cat"]
    assert a.labels == ("cat", "dog")
    assert [one.image for one in a.skipped] == [2]


# ---- a survey whose answers are known


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Plain pictures: red, green and blue ones of different strength."""
    root = tmp_path_factory.mktemp("colours")
    for place, name in enumerate(("red", "green", "blue")):
        (root / name).mkdir()
        for step in range(10):
            colour = [8, 8, 8]
            colour[place] = 100 + 15 * step
            Image.new("RGB", (8, 8), tuple(colour)).save(root / name / f"{step}.png")
    return root


@pytest.fixture(scope="module")
def net() -> Network:
    """Six filters: red, green, blue, red again, never, and always the same."""
    conv = nn.Conv2d(3, 6, 1)
    with torch.no_grad():
        conv.weight.zero_()
        conv.bias.zero_()
        for channel, colour in enumerate((0, 1, 2, 0)):
            conv.weight[channel, colour] = 1.0 if channel < 3 else 2.0
            conv.bias[channel] = -0.2 if channel < 3 else -0.4
        conv.bias[4], conv.bias[5] = -1.0, 7.0
    layers = nn.Sequential(conv, nn.ReLU6(), nn.Flatten(), nn.Linear(6 * 64, 2))
    return Network(layers.eval(), input_size=8, name="colours")


@pytest.fixture(scope="module")
def found(net: Network, colours: Path) -> Survey:
    return survey(net, colours, "0", k=4, progress=False)


def test_units_for_a_class_are_those_that_respond_to_it(found: Survey) -> None:
    matches = found.units("red")
    assert [(one.layer, one.channel) for one in matches] == [("0", 0), ("0", 3)]
    means = np.array([max(0, (100 + 15 * step) / 255 - 0.2) for step in range(10)])
    assert matches[0].mean == pytest.approx(means.mean(), rel=1e-5)
    assert matches[0].others == 0
    every = np.concatenate([means, np.zeros(20)])
    assert matches[0].preference == pytest.approx(means.mean() / every.std(), rel=1e-4)
    assert [one.channel for one in found.units("green", "0", n=1)] == [1]
    assert [(one.label, one.mean > 0) for one in found.preferences("0", 2)] == [("blue", True)]
    assert found.preferences("0", 4) == []


def test_purity_is_of_the_top_images(found: Survey) -> None:
    purity = found.purity("0")
    assert purity.label[:5] == ("red", "green", "blue", "red", None)
    assert purity.share[:4].tolist() == [1, 1, 1, 1]
    assert np.isnan(purity.share[4])
    # Always the same: the first four images in order, all blue.
    assert (purity.label[5], purity.share[5]) == ("blue", 1)


def test_weaker_examples_are_spread_over_what_activates_the_unit(found: Survey) -> None:
    top = {one.image for one in found.top("0", 0)}
    weaker = found.quantiles("0", 0, n=3)
    assert not top & {one.image for one in weaker}
    assert [found.label(one.image) for one in weaker] == ["red"] * 3
    values = [one.value for one in weaker]
    assert values == sorted(values, reverse=True)
    # Six red ones are left: the first, one in the middle and the last of them.
    assert values == pytest.approx([(100 + 15 * step) / 255 - 0.2 for step in (5, 3, 0)], abs=1e-6)
    assert [one.quantile for one in weaker] == sorted((one.quantile for one in weaker), reverse=True)
    assert weaker[-1].quantile == pytest.approx(20 / 30)
    assert found.quantiles("0", 4) == []


def test_similar_and_repeated_units_are_those_active_on_the_same_images(found: Survey) -> None:
    (first, *rest) = found.similar("0", 0)
    assert (first.layer, first.channel) == ("0", 3)
    assert first.correlation == pytest.approx(1)
    assert rest == []  # green and blue are active when red is not; the others never vary
    assert found.duplicates("0").tolist() == [0, 1, 2, 0, 4, 5]
    assert found.duplicates("0", above=1.1).tolist() == [0, 1, 2, 3, 4, 5]


def test_health_is_summed_up_by_layer(found: Survey) -> None:
    (row,) = layer_health(found)
    assert (row.layer, row.channels) == ("0", 6)
    assert row.dead == pytest.approx(1 / 6)
    assert row.duplicated == pytest.approx(1 / 6)
    assert row.active == pytest.approx((4 * 1 / 3 + 1) / 6)
    # One channel of six is always at the six of ReLU6.
    assert row.saturated == pytest.approx(1 / 6)
    table = layer_health(found)
    assert table.columns()["dead"] == [row.dead]
    assert "16.7%" in repr(table)
    assert "dead" not in repr(table) + table._repr_html_()  # of thirty pictures
    assert "<td>16.7%</td>" in table._repr_html_()
    assert len(table.plot().axes) == 1


def test_halves_of_a_layer_are_by_mean_magnitude_and_make_it_up(net: Network, colours: Path, found: Survey) -> None:
    for layer in found.layers:
        strongest, weakest = (found.half(layer, which) for which in ("strongest", "weakest"))
        assert sorted(strongest + weakest) == list(range(layer.channels))
        assert len(strongest) - len(weakest) == layer.channels % 2
        means = np.mean(
            [net.activations(one.image, layer)[layer.name].abs().mean((0, 2, 3)).numpy() for one in found.images], 0
        )
        if weakest:
            assert means[strongest].min() >= means[weakest].max() - 1e-6
    with pytest.raises(ArgumentError, match=r"got 'strong'\. Close matches: strongest"):
        found.half(found.layers[0], "strong")
    with pytest.raises(LayerError):
        found.half("nowhere", "weakest")


def test_a_layer_without_an_upper_bound_has_no_saturation(net: Network, colours: Path) -> None:
    made = survey(net, colours, progress=False)
    assert np.isnan(made.health("3").saturated).all()
    assert made.health("0").saturated.tolist() == [0, 0, 0, 0, 0, 1]
    assert net.ceiling("0") == 6
    assert net.ceiling("3") is None


def test_rare_units_are_active_now_and_then(net: Network, colours: Path) -> None:
    picture = torch.zeros(3, 8, 8)
    bright = picture.clone()
    bright[1] = 1
    made = survey(net, [bright, *[picture] * 149], "0", progress=False)
    assert made.health("0").rare.tolist() == [False, True, False, False, False, False]
    assert made.health("0").dead.tolist() == [True, False, True, True, True, False]


def test_too_few_images_are_said_not_computed(net: Network, colours: Path, found: Survey) -> None:
    few = survey(net, colours, "0", indices=[0, 1, 2, 10, 11, 12, 20], progress=False)
    assert (few.comparable, few.preferences("0", 0)) == ((), [])
    assert few.similar("0", 0) == []
    assert np.isnan([layer_health(few)[0].rare, layer_health(few)[0].duplicated]).all()
    assert layer_health(found)[0].duplicated == (found.duplicates("0") != np.arange(6)).mean()
    with pytest.raises(ArgumentError, match=r"Expected at least 5 pictures of a class .*'red'.*, got 1: by chance"):
        few.units("red")
    # One more than the least is enough, one less is not.
    for what, minimum in MINIMA.items():
        assert minimum.shortage(minimum.images, what) is None
        with pytest.raises(ArgumentError, match=f"got {minimum.images - 1}"):
            minimum.require(minimum.images - 1, what)
        minimum.require(minimum.images, what)
    kinds = ("preference", "similar", "repeated", "rare")
    assert [few.shortage(what) is None for what in kinds] == [False] * 4
    assert [found.shortage(what) is None for what in kinds] == [True, True, True, False]
    assert found.comparable == ("blue", "green", "red")
    assert found.preferences("0", 2)[0].images == found.units("blue")[0].images == 10


@given(images=st.integers(0, 300))
def test_no_table_calls_units_dead_from_too_few_images(images: int) -> None:
    word = inactive_word(images)
    assert (word == "dead") == (MINIMA["dead"].shortage(images, "Dead units are") is None)
    health = HealthTable("net", images, ())
    evolution = EvolutionTable("net", 0.1, images, ())
    for text in (repr(health), health._repr_html_(), repr(evolution), evolution._repr_html_()):
        assert [one for one in ("dead", "inactive") if one in text] == [word]


def test_without_labels_or_classes_the_search_says_what_to_do(net: Network, found: Survey) -> None:
    plain = survey(net, torch.rand(3, 3, 8, 8), "0", progress=False)
    with pytest.raises(ArgumentError, match="one sub-folder a class"):
        plain.units("red")
    with pytest.raises(ArgumentError, match=r"got 'rad'\. Close matches: red"):
        found.units("rad")
    with pytest.raises(ArgumentError, match=rf"such as '{found.labels[0]}' .*the name of its folder"):
        found.units("tabby")
    with pytest.raises(LayerError):
        found.similar("nowhere", 0)
    with pytest.raises(ArgumentError, match="channel of '0' from 0 to 5"):
        found.quantiles("0", 6)


def test_answers_survive_merging_and_storing(net: Network, colours: Path, found: Survey, tmp_path: Path) -> None:
    halves = [survey(net, colours, "0", k=4, indices=part, progress=False) for part in (range(11), range(11, 30))]
    merged = halves[0].merge(halves[1])
    assert merged.labels == found.labels
    assert [one[:2] for one in merged.units("red")] == [one[:2] for one in found.units("red")]
    assert np.array_equal(merged.duplicates("0"), found.duplicates("0"))
    assert merged.quantiles("0", 0) == found.quantiles("0", 0)
