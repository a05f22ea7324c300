"""Two networks on the same pictures, against computing each thing picture by picture."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from convscope_core.datasets import Images, Picture
from convscope_core.errors import ArgumentError, ImageError, LayerError, NetworkError, StoreError
from convscope_core.experiments import Comparison, compare, comparing
from convscope_core.explain import project
from convscope_core.measures import cka, gram
from convscope_core.network import Network

LABELS = ("cat", "dog", "fox", "owl")


def network(seed: int, size: int, labels: Any = LABELS, *, wide: int = 5, name: str = "") -> Network:
    torch.manual_seed(seed)
    module = nn.Sequential(
        nn.Conv2d(3, wide, 3, 2), nn.BatchNorm2d(wide), nn.ReLU(), nn.Conv2d(wide, 6, 3), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, len(labels)),
    ).eval()  # fmt: skip
    module[1].running_mean.normal_()
    with torch.no_grad():
        inner = module[:7](torch.rand(40, 3, 1, 1).expand(-1, -1, size, size))
        module[7].weight.div_(inner.std(0).clamp(min=0.1)).mul_(4)
        module[7].bias.copy_(-inner.mean(0) @ module[7].weight.T)
    return Network(module, input_size=size, labels=labels, name=name or f"net{seed}")


def pictures(count: int = 26) -> Images:
    """Of any size, some with a class that the networks know."""
    generator = np.random.default_rng(0)
    labels = [*LABELS, "bee", None] * 5
    speckled = [generator.integers(0, 2, (20, 20, 1)) * generator.integers(0, 256, 3) for _ in range(count)]
    return Images.of([Picture(one.astype(np.uint8), f"p{i}", labels[i]) for i, one in enumerate(speckled)])


IMAGES = pictures()


@pytest.fixture(scope="module")
def nets() -> tuple[Network, Network]:
    return network(0, 16), network(1, 20, wide=7)


@pytest.fixture(scope="module")
def found(nets: tuple[Network, Network]) -> Comparison:
    return compare(*nets, IMAGES, k=3, batch_size=5, progress=False)


def test_answers_are_those_of_predict(nets: tuple[Network, Network], found: Comparison) -> None:
    predictions = [[net.predict(picture) for picture in IMAGES] for net in nets]
    for side, answers in zip((found.a, found.b), predictions, strict=True):
        for row, one in enumerate(answers):
            # Of two classes as probable to the last digits either may come first.
            named = [one.probabilities[c] for c in side.answers.classes[row] if c >= 0]
            np.testing.assert_allclose(named, [p for _, p in one.top(5)], rtol=1e-5)
            np.testing.assert_allclose(side.answers.probabilities[row, :4], [p for _, p in one.top(5)], rtol=1e-4)
            label = IMAGES[row].label
            own = one.probabilities[LABELS.index(label)] if label in LABELS else np.nan
            np.testing.assert_allclose(side.answers.expected[row], own, rtol=1e-4)
    known = [row for row, picture in enumerate(IMAGES) if picture.label in LABELS]
    for which, answers in zip(("a", "b"), predictions, strict=True):
        for top in (1, 2, 5):
            right = {row: IMAGES[row].label in [label for label, _ in answers[row].top(top)] for row in known}
            told = found.right(which, top)
            assert found.accuracy(which, top) == pytest.approx(np.mean(list(told.values())))
            assert told.keys() == right.keys()
            for row in known:
                ranked = np.sort(answers[row].probabilities)[::-1]
                tied = top < len(ranked) and ranked[top - 1] - ranked[top] <= 1e-5 * ranked[top]
                assert told[row] == right[row] or tied
    same = [a.label == b.label for a, b in zip(*predictions, strict=True)]
    assert found.agreement == pytest.approx(np.mean(same))
    apart = found.disagreements()
    assert sorted(one.image for one in apart) == [row for row, alike in enumerate(same) if not alike]
    assert apart
    surest = [min(one.probability_a, one.probability_b) for one in apart]
    assert surest == sorted(surest, reverse=True)
    first = apart[0]
    assert (first.a, first.b) == tuple(p[first.image].label for p in predictions)
    assert first.label == IMAGES[first.image].label
    assert found.disagreements(1) == apart[:1]


def test_layers_and_units_are_compared_on_the_same_pictures(nets: tuple[Network, Network], found: Comparison) -> None:
    values = [
        {
            layer.name: torch.cat([net.activations(p, layer.name)[layer.name] for p in IMAGES]).double()
            for layer in layers
        }
        for net, layers in zip(nets, found.layers, strict=True)
    ]
    ids = np.arange(len(IMAGES))
    assert found.cka.shape == (3, 3)
    for i, a in enumerate(values[0].values()):
        for j, b in enumerate(values[1].values()):
            means = [x.mean((2, 3)).numpy() for x in (a, b)]
            assert found.cka[i, j] == pytest.approx(cka(gram(means[0], ids), gram(means[1], ids)), abs=1e-4)
    for layer_a, layer_b in (("3", "3"), ("0", "7")):
        peaks = [x[layer].amax((2, 3)).numpy() for x, layer in zip(values, (layer_a, layer_b), strict=True)]
        with np.errstate(invalid="ignore", divide="ignore"):
            expected = np.array([[np.corrcoef(p, q)[0, 1] for q in peaks[1].T] for p in peaks[0].T])
        np.testing.assert_allclose(found.correlations(layer_a, layer_b), np.nan_to_num(expected), atol=1e-4)
        for pair in found.matches(layer_a, layer_b):
            assert pair.correlation == pytest.approx(np.nanmax(expected[pair.a]), abs=1e-4)
            assert pair.mutual == (np.nanargmax(expected[:, pair.b]) == pair.a)
        ordered = [pair.correlation for pair in found.matches(layer_a, layer_b)]
        assert ordered == sorted(ordered, reverse=True)


def test_a_network_is_like_itself_and_units_find_themselves_in_another_order() -> None:
    net = network(0, 16)
    order = [3, 1, 4, 0, 2, 5]

    def shuffled(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.shape == (6, 5, 3, 3):
            return tensor[order]
        if tensor.shape == (6,):
            return tensor[order]
        return tensor[:, order] if tensor.shape == (4, 6) else tensor

    found = compare(net, net.with_tensors(shuffled, "shuffled"), IMAGES, progress=False)
    np.testing.assert_allclose(np.diag(found.cka), 1, atol=1e-5)
    assert found.agreement == 1
    assert found.disagreements() == []
    for pair in found.matches("3", "3"):
        assert order[pair.b] == pair.a
        assert pair.mutual
        assert pair.correlation == pytest.approx(1, abs=1e-5)


def test_where_two_classes_change_places_only_their_pictures_disagree() -> None:
    net = network(0, 16)
    swapped = net.with_tensors(lambda t: t[[1, 0, 2, 3]] if t.shape[0] == 4 else t, "swapped")
    found = compare(net, swapped, IMAGES, "7", "7", progress=False)
    said = [net.predict(p).label for p in IMAGES]
    expected = [i for i, label in enumerate(said) if label in ("cat", "dog")]
    assert 0 < len(expected) < len(IMAGES)
    assert sorted(one.image for one in found.disagreements()) == expected
    assert found.agreement == pytest.approx(1 - len(expected) / len(IMAGES))


def test_networks_that_answer_yes_or_no_are_right_and_disagree() -> None:
    a, b = (network(seed, 16, ("cat",)) for seed in (0, 1))
    found = compare(a, b, IMAGES, sample=8, progress=False)
    probabilities = [[float(net.predict(one).probabilities[0]) for one in IMAGES] for net in (a, b)]
    yes = [[p >= 0.5 for p in side] for side in probabilities]
    labelled = [n for n, one in enumerate(IMAGES) if one.label is not None]
    for which, said in zip("ab", yes, strict=True):
        assert 0 < sum(said) < len(said)
        right = np.mean([said[n] == (IMAGES[n].label == "cat") for n in labelled])
        assert found.accuracy(which) == pytest.approx(right)  # type: ignore[arg-type]
        truth = {n: said[n] == (IMAGES[n].label == "cat") for n in labelled}
        assert found.right(which) == truth  # type: ignore[arg-type]
    assert found.agreement == pytest.approx(np.mean([p == q for p, q in zip(*yes, strict=True)]))
    for one in found.disagreements():
        p, q = (side[one.image] for side in probabilities)
        assert (one.a, one.b) == (("cat", "not cat") if p >= 0.5 else ("not cat", "cat"))
        assert (one.probability_a, one.probability_b) == pytest.approx((max(p, 1 - p), max(q, 1 - q)), abs=1e-5)
    assert found.disagreements()


def test_costs_are_counted(nets: tuple[Network, Network], found: Comparison) -> None:
    # conv 7x7 and 5x5 places, linear
    assert found.a.cost.multiply_adds == 49 * 5 * 27 + 25 * 6 * 45 + 24
    assert found.a.cost.parameters == 5 * 27 + 5 + 6 * 45 + 6 + 24 + 4
    assert found.b.cost.multiply_adds == 81 * 7 * 27 + 49 * 6 * 63 + 24
    assert 0 < found.a.cost.seconds < 5
    rows = found.rows()
    assert rows["parameters"] == (found.a.cost.parameters, found.b.cost.parameters)
    assert f"agreement {found.agreement:.1%}; 4 classes in common" in repr(found)
    assert "<table>" in found._repr_html_()


def test_first_layers_share_a_scale(found: Comparison) -> None:
    weights = [side.network.weight("0").numpy() for side in (found.a, found.b)]
    drawn = found.first_layers()
    strongest = max(np.abs(w).max() for w in weights)
    for picture, weight in zip(drawn, weights, strict=True):
        shade = np.rint(128 + 127 * weight[0] / strongest)
        np.testing.assert_array_equal(picture[1:4, 1:4], shade.transpose(1, 2, 0))
    assert max(np.abs(picture.astype(int) - 128).max() for picture in drawn) == 127


def test_second_layers_are_projected(nets: tuple[Network, Network], found: Comparison) -> None:
    assert found.second_layer("b").name == "3"
    top = found.b.survey.arrays("3")
    for one in found.projections("b", units=range(6)):
        place = int(top.rows[one.channel, 0]), int(top.columns[one.channel, 0])
        expected = project(nets[1], IMAGES[int(top.images[one.channel, 0])], "3", one.channel, place)
        np.testing.assert_allclose(one.values, expected.values, rtol=1e-4, atol=1e-6)
    assert len(found.projections("a", "0", 2)) == 2
    assert found.projections("a", units=0 + 3)[0].network == "net0"
    pytest.importorskip("matplotlib")
    assert len(found.plot(units=4).axes) == 6  # with the scale's
    with pytest.raises(ArgumentError, match="'a' or 'b'"):
        found.projections("c")  # type: ignore[arg-type]


# ---- kept, interrupted


def assert_identical(a: Comparison, b: Comparison) -> None:
    for one, other in ((a.a, b.a), (a.b, b.b)):
        mine, theirs = one.survey.state()[0], other.survey.state()[0]
        for key, array in mine.items():
            np.testing.assert_array_equal(array, theirs[key], err_msg=key)
        for x, y in zip(one.answers, other.answers, strict=True):
            np.testing.assert_array_equal(x, y)


def test_interrupted_and_gone_on_with_it_is_the_same(nets: tuple[Network, Network], tmp_path: Path) -> None:
    options: dict[str, Any] = {"k": 3, "batch_size": 4, "shards": 3}
    whole = compare(*nets, IMAGES, progress=False, **options)
    for stop in (2, 5):
        steps = comparing(*nets, IMAGES, store=tmp_path / "x", **options)
        before = 0
        for _, step in zip(range(stop), steps, strict=False):
            assert before < step.done <= step.total == 52
            assert step.result is None
            before = step.done
        steps.close()
    assert_identical(compare(*nets, IMAGES, store=tmp_path / "x", progress=False, **options), whole)
    assert sorted(p.name for p in (tmp_path / "x").iterdir()) == ["a.comparison", "b.comparison"]
    with pytest.raises(ArgumentError, match=r"a\.comparison.*same fingerprint"):
        list(comparing(nets[1], nets[0], IMAGES, store=tmp_path / "x", **options))


def test_it_is_kept_and_read_again(nets: tuple[Network, Network], found: Comparison, tmp_path: Path) -> None:
    path = found.save(tmp_path / "x")
    again = Comparison.load(path, *nets, IMAGES)
    assert_identical(again, found)
    assert repr(again) == repr(found)
    np.testing.assert_array_equal(again.cka, found.cka)
    assert again.disagreements() == found.disagreements()
    with pytest.raises(ArgumentError, match=r"net0 with the weights .* got net1.*order"):
        Comparison.load(path, nets[1], nets[0], IMAGES)
    with pytest.raises(ArgumentError, match="the 26 pictures"):
        Comparison.load(path, *nets, IMAGES[:5])
    with pytest.raises(ArgumentError, match="picture 0"):
        Comparison.load(path, *nets, IMAGES.only(range(25, -1, -1)))
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(StoreError, match="damaged"):
        Comparison.load(path, *nets, IMAGES)


# ---- unusual, and refused


def test_classes_that_differ(nets: tuple[Network, Network]) -> None:
    other = network(2, 16, ("dog", "owl", "eel"))
    found = compare(nets[0], other, IMAGES, progress=False)
    assert found.common_labels == ("dog", "owl")
    answers = [[net.predict(p).label for p in IMAGES] for net in (nets[0], other)]
    assert found.agreement == pytest.approx(np.mean([a == b for a, b in zip(*answers, strict=True)]))
    none = compare(nets[0], network(2, 16, ("x", "y")), IMAGES, progress=False)
    assert np.isnan(none.agreement)
    assert np.isnan(none.accuracy("b"))
    assert none.right("b") == {}
    assert "no class in common" in repr(none)
    with pytest.raises(ArgumentError, match=r"net0 \(cat, dog, fox, ...\) and net2 \(x, y\).*same labels"):
        none.disagreements()
    assert np.isfinite(none.cka).any()


def test_pictures_that_one_of_them_cannot_read_are_left_out(nets: tuple[Network, Network]) -> None:
    # In network space, so that only the first takes it.
    odd = torch.zeros(3, 16, 16)
    mixed = Images.of([*IMAGES[:9], Picture(odd, "odd")])
    found = compare(*nets, mixed, progress=False)
    assert len(found.a.answers.images) == 10
    assert len(found.b.answers.images) == 9
    plain = compare(*nets, IMAGES[:9], progress=False)
    np.testing.assert_allclose(found.cka, plain.cka, atol=1e-5)
    assert found.agreement == plain.agreement
    with pytest.raises(ImageError, match=r"compare net1, the second network.*all failed"):
        compare(*nets, [odd, odd], progress=False)


def test_few_pictures(nets: tuple[Network, Network]) -> None:
    found = compare(*nets, IMAGES[:2], progress=False)
    assert 0 <= found.agreement <= 1
    for asked in (lambda: found.cka, lambda: found.correlations("0", "0"), lambda: found.matches("0", "0")):
        with pytest.raises(ArgumentError, match="at least 4 sampled pictures that both networks can read, got 2"):
            asked()
    assert "CKA" in [panel.get_title() for panel in found.plot().axes][-1]


def test_units_that_never_change_are_no_match() -> None:
    net = network(1, 20, wide=7)
    kept = torch.arange(7) == 6

    def held(tensor: torch.Tensor) -> torch.Tensor:
        """All units of the first convolution but one are the same on all pictures."""
        return tensor * kept[:, None, None, None] if tensor.shape == (7, 3, 3, 3) else tensor

    found = compare(net, net.with_tensors(held, "held"), IMAGES, "0", "0", progress=False)
    correlations = found.correlations("0", "0")[:, 6]
    assert correlations.min() < 0  # of which 0, that of a unit that never changes, is no better
    varied = np.flatnonzero(correlations)
    assert 1 < len(varied) < 7
    order = varied[np.argsort(-correlations[varied])]
    assert found.matches("0", "0") == [(a, 6, correlations[a], a == 6) for a in order]
    back = compare(found.b.network, net, IMAGES, "0", "0", progress=False).matches("0", "0")
    assert [(pair.a, pair.b, pair.mutual) for pair in back] == [(6, 6, True)]


@pytest.mark.parametrize(
    "asked",
    [
        lambda found: found.disagreements(-1),
        lambda found: found.matches("0", "0", -1),
        lambda found: found.matches("0", "0", 1.5),
        lambda found: found.accuracy("a", 1.5),
        lambda found: found.accuracy("a", 6),
        lambda found: found.accuracy("c"),
        lambda found: found.projections("a", units=-2),
        lambda found: found.projections("a", units="ab"),
        lambda found: found.projections("a", units=[0, 99]),
        lambda found: found.projections("a", units=[-1]),
        lambda found: found.projections("a", units=[0.5]),
        lambda found: found.projections("a", seed=-1),
    ],
)
def test_questions_that_have_no_answer_are_refused(found: Comparison, asked: Callable[[Comparison], Any]) -> None:
    with pytest.raises((ArgumentError, LayerError), match=r"Expected .*, got"):
        asked(found)


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"images": []}, ArgumentError, "at least one picture"),
        ({"layers_a": "9"}, LayerError, "got '9'"),
        ({"layers_b": []}, ArgumentError, "at least one layer"),
        ({"k": 0}, ArgumentError, "k to be a whole number"),
        ({"net_b": 3}, ArgumentError, "net_b as a Network, got 3"),
    ],
)
def test_other_arguments_are_refused(
    nets: tuple[Network, Network], arguments: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        comparing(**{"net_a": nets[0], "net_b": nets[1], "images": IMAGES, **arguments})


def test_activations_that_are_no_numbers_are_refused_with_their_network(nets: tuple[Network, Network]) -> None:
    broken = nets[1].with_tensors(lambda t: t * 1e38, "broken")
    with pytest.raises(NetworkError, match=r"compare broken, the second network.*NaN or infinite"):
        compare(nets[0], broken, IMAGES, progress=False)
    one = Network(nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(392, 2)).eval(), input_size=16)
    found = compare(nets[0], one, IMAGES[:4], progress=False)
    with pytest.raises(LayerError, match="second convolution"):
        found.second_layer("b")
