"""Linear probes: what they see of each layer, how pictures are divided, and what can be told from that."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from convscope_core.errors import ArgumentError, ImageError, LayerError
from convscope_core.experiments import Probes, probe, probing
from convscope_core.experiments.layer_probes import _pooled, _split
from convscope_core.network import Network

pytest.importorskip("sklearn")


class Labelled(torch.utils.data.Dataset[tuple[Any, int]]):
    """Prepared pictures; class 0 is brighter on the left, class 1 on the right, class 2 nowhere."""

    classes = ("left", "right", "none")

    def __init__(self, count: int = 60, noise: float = 0.3) -> None:
        torch.manual_seed(4)
        self.labels = [i % 3 for i in range(count)]
        self.x = noise * torch.randn(count, 1, 8, 8)
        for one, label in zip(self.x, self.labels, strict=True):
            one[:, :, :4] += label == 0
            one[:, :, 4:] += label == 1

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.x[index], self.labels[index]


@pytest.fixture(scope="module")
def net() -> Network:
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 5, 1), nn.ReLU(), nn.Conv2d(5, 4, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    return Network(nn.Sequential(*layers, nn.Linear(4, 3)).eval(), input_size=8)


def test_a_probe_sees_means_over_the_cells_of_a_grid() -> None:
    maps = torch.rand(2, 3, 6, 4)
    found = _pooled(maps, 2).reshape(2, 3, 2, 2)
    for row in range(2):
        for column in range(2):
            cell = maps[:, :, 3 * row : 3 * row + 3, 2 * column : 2 * column + 2]
            torch.testing.assert_close(found[:, :, row, column], cell.mean((2, 3)))
    assert torch.equal(_pooled(maps, 9), maps.flatten(1))
    assert _pooled(torch.rand(2, 3, 1, 1), 4).shape == (2, 3)


def test_it_is_scikit_learns_classifier_on_features_by_hand(net: Network) -> None:
    from sklearn.linear_model import LogisticRegression

    data = Labelled()
    found = probe(
        net, data, "2", per_class=8, splits=3, classifier="softmax", penalty=2.0, grid=2, seed=5, progress=False
    )
    features = np.stack(
        [[float(m[4 * r : 4 * r + 4, 4 * c : 4 * c + 4].mean()) for m in net.activations(x, "2")["2"][0] for r in (0, 1)
          for c in (0, 1)] for x in data.x]
    )  # fmt: skip
    assert found.features.tolist() == [16]
    order = [data.classes.index(name) for name in found.classes]
    numbers = np.array([order.index(label) for label in data.labels])
    for split in range(3):
        fitted, held_out = _split(numbers, found.classes, 8, 50, (5, split))
        spread = features[fitted].std(0)
        x = (features - features[fitted].mean(0)) / np.where(spread > 0, spread, 1) / 4
        model = LogisticRegression(C=2.0, max_iter=10_000).fit(x[fitted], numbers[fitted])
        each = [(model.predict(x[held_out]) == numbers[held_out])[numbers[held_out] == c].mean() for c in range(3)]
        assert found.accuracy[0, split] == pytest.approx(np.mean(each))


def test_pictures_are_divided_by_class_without_overlap() -> None:
    numbers = np.array([0] * 9 + [1] * 20 + [2] * 6)
    seen = set()
    for split in range(6):
        fitted, held_out = _split(numbers, ["a", "b", "c"], 5, 10, (0, split))
        assert np.bincount(numbers[fitted]).tolist() == [5, 5, 5]
        assert np.bincount(numbers[held_out]).tolist() == [4, 10, 1]
        assert set(fitted).isdisjoint(held_out)
        seen.add(tuple(sorted(fitted)))
    assert len(seen) == 6


def test_what_can_be_told_is_told_and_noise_is_not(net: Network) -> None:
    # position is in maps but not in the means over them that the last layer gets
    found = probe(net, Labelled(), per_class=10, progress=False)
    assert found.layers == ("0", "2", "6")
    assert found.classes == ("left", "none", "right")
    assert found.accuracy[0].mean() > 0.95
    assert found.accuracy[2].mean() < 0.8
    shuffled = Labelled()
    shuffled.labels = np.random.default_rng(0).permutation(shuffled.labels).tolist()
    noise = probe(net, shuffled, "0", per_class=10, splits=8, progress=False)
    assert abs(noise.accuracy.mean() - noise.chance) < 0.1
    assert noise.fitted.mean() > noise.accuracy.mean() + 0.2


def test_both_kinds_are_seeded_and_a_store_serves_them_all(net: Network, tmp_path: Path) -> None:
    store = tmp_path / "features.sqlite"
    first = probe(net, Labelled(), per_class=10, store=store, progress=False)
    again = list(probing(net, Labelled(), per_class=10, store=store, classifier="softmax"))
    assert [step.total for step in again] == [0]
    softmax = again[-1].result
    assert softmax.classifier == "softmax"
    plain = probe(net, Labelled(), per_class=10, progress=False)
    np.testing.assert_array_equal(plain.accuracy, first.accuracy)
    other = probe(net, Labelled(), per_class=10, seed=1, progress=False)
    assert not np.array_equal(other.accuracy, first.accuracy)


def test_probes_print_are_drawn_and_kept(net: Network, tmp_path: Path) -> None:
    found = probe(net, Labelled(), per_class=10, progress=False)
    assert "chance 33.3%" in repr(found)
    assert len(repr(found).splitlines()) == 5
    read = Probes.load(found.save(tmp_path / "probes.safetensors"))
    assert repr(read) == repr(found)
    assert read.classes == found.classes
    np.testing.assert_array_equal(read.accuracy, found.accuracy)
    assert repr(probe(net, Labelled(), per_class=10, splits=1, progress=False))
    pytest.importorskip("matplotlib")
    (panel,) = found.plot().axes
    np.testing.assert_allclose(panel.lines[0].get_ydata(), found.accuracy.mean(1))


def test_what_cannot_be_probed(net: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ArgumentError, match=r"more than 30 pictures of each class, .* got 20 of left"):
        probe(net, Labelled(), progress=False)
    with pytest.raises(ArgumentError, match="pictures with labels, got picture 0 without"):
        probe(net, [torch.rand(1, 8, 8)], progress=False)
    one = Labelled()
    one.labels = [0] * len(one)
    with pytest.raises(ArgumentError, match="two classes or more, got left alone"):
        probe(net, one, progress=False)
    with pytest.raises(ArgumentError, match="two classes or more, got none yet"):
        _split(np.array([], np.int64), (), 1, 1, (0, 0))
    with pytest.raises(LayerError, match="got 'conv9'"):
        probe(net, Labelled(), "conv9", progress=False)
    with pytest.raises(ArgumentError, match="at least one layer"):
        probe(net, Labelled(), [], progress=False)
    with pytest.raises(ArgumentError, match="classifier as one of 'svm', 'softmax'"):
        probe(net, Labelled(), classifier="forest", progress=False)
    with pytest.raises(ArgumentError, match="penalty to be a number above 0"):
        probe(net, Labelled(), penalty=0, progress=False)
    with pytest.raises(ImageError, match="all failed"):
        probe(net, [b"junk"], progress=False)
    for name in ("sklearn", "sklearn.linear_model"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"Expected scikit-learn.*convscope\[probes\]"):
        probe(net, Labelled())
