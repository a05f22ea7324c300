"""Randomised networks and the similarity of maps."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from convscope_core.errors import ArgumentError
from convscope_core.explain import attribute, randomised, similarity
from convscope_core.network import Network


class Net(nn.Module):
    """Four layers: conv with a batch norm that folds, conv, linear, linear; and a layer norm between."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 16, 3, stride=2, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(16, 24, 3, stride=2), nn.ReLU())
        self.norm = nn.LayerNorm(24)
        self.hidden = nn.Linear(24, 40)
        self.head = nn.Linear(40, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.second(self.first(x)).mean((2, 3))
        return self.head(torch.relu(self.hidden(self.norm(x))))


@pytest.fixture(scope="module")
def net() -> Network:
    torch.manual_seed(0)
    module = Net()
    for p in module.parameters():
        nn.init.normal_(p, 0.1, 0.5)
    return Network(module.eval(), input_size=32, name="four")


def changed(net: Network, other: Network) -> list[str]:
    """Names of the layers (and of the norm) whose weights differ."""
    pairs = zip(net.graph, other.graph, strict=True)
    return [
        a.module
        for a, b in pairs
        if isinstance(a.args.get("weight"), torch.Tensor) and not torch.equal(a["weight"], b["weight"])
    ]


@pytest.mark.parametrize(
    ("top", "expected"),
    [
        (0, ["head"]),
        (0.25, ["head"]),
        (0.5, ["hidden", "head"]),
        (0.75, ["second.0", "norm", "hidden", "head"]),
        (1, ["first.0", "second.0", "norm", "hidden", "head"]),
    ],
)
def test_the_upper_share_of_the_layers_is_drawn_anew(net: Network, top: float, expected: list[str]) -> None:
    fingerprint = net.graph.digest()
    other = randomised(net, top)
    assert changed(net, other) == expected
    assert net.graph.digest() == fingerprint == net.fingerprint
    assert other.fingerprint != fingerprint
    assert [layer.name for layer in other.layers] == [layer.name for layer in net.layers]
    assert f"{len([e for e in expected if e != 'norm'])} of 4 layers randomised" in other.name


def test_mean_and_deviation_of_each_weight_stay_and_nothing_else_does(net: Network) -> None:
    other = randomised(net, 1)
    for layer in ("first.0", "second.0", "hidden", "head"):
        old, new = net.weight(layer), other.weight(layer)
        assert old is not None
        assert new is not None
        n = old.numel()
        assert abs(new.mean() - old.mean()) < 5 * old.std() / math.sqrt(n)
        assert abs(new.std() / old.std() - 1) < 5 / math.sqrt(2 * n)
        together = torch.corrcoef(torch.stack([old.flatten(), new.flatten()]))[0, 1]
        assert abs(together) < 5 / math.sqrt(n)
    biases = [(a["bias"], b["bias"]) for a, b in zip(net.graph, other.graph, strict=True) if "bias" in a.args]
    assert len(biases) == 5
    assert not any(torch.equal(a, b) for a, b in biases)


def test_a_greater_share_leaves_the_layers_above_as_they_were(net: Network) -> None:
    half, whole = randomised(net, 0.5), randomised(net, 1)
    assert changed(half, whole) == ["first.0", "second.0", "norm"]
    assert changed(randomised(net, 0.5), half) == []
    assert changed(randomised(net, 0.5, seed=1), half) == ["hidden", "head"]


def test_it_is_a_network_of_its_own(net: Network) -> None:
    x = torch.randn(3, 32, 32)
    other = randomised(net, 0)
    np.testing.assert_array_equal(
        net.activations(x, "hidden")["hidden"].numpy(), other.activations(x, "hidden")["hidden"].numpy()
    )
    assert not np.allclose(net.predict(x).probabilities, other.predict(x).probabilities)
    weight = other.weight("head")
    hidden = net.activations(x, "hidden")["hidden"][0, :, 0, 0]
    bias = next(n["bias"] for n in other.graph if n.module == "head")
    logits, _ = other.forward(net.prepare(x))
    assert weight is not None
    np.testing.assert_allclose(logits[0].numpy(), (weight @ hidden + bias).numpy(), rtol=1e-4, atol=1e-5)
    # Of a linear top only which units are weighed how differs: both gradients are there, and differ.
    maps = [attribute(n, x, "gradient", 2).values for n in (net, other)]
    assert -1 < similarity(*maps) < 0.999


@pytest.mark.parametrize(
    ("options", "message"),
    [({"top": 1.5}, "from 0"), ({"top": -0.1}, "from 0"), ({"top": "all"}, "'all'"), ({"seed": -1}, "0 or more")],
)
def test_impossible_options_are_refused(net: Network, options: dict[str, object], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        randomised(net, **options)  # type: ignore[arg-type]


def test_a_network_without_layers_is_refused() -> None:
    bare = Network(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval(), input_size=(3, 8, 8))
    with pytest.raises(ArgumentError, match="has none"):
        randomised(bare)


class TestSimilarity:
    def test_is_spearmans_rank_correlation_with_ties(self) -> None:
        # Ranks of a: 1, 2.5, 2.5, 4; of b: 4, 1, 2, 3. Pearson of these by hand.
        a, b = np.array([[1.0, 2.0], [2.0, 3.0]]), np.array([[9.0, 1.0], [2.0, 4.0]])
        p, q = np.array([1, 2.5, 2.5, 4]), np.array([4, 1, 2, 3])
        assert similarity(a, b) == pytest.approx(np.corrcoef(p, q)[0, 1])

    def test_agrees_with_scipy(self) -> None:
        stats = pytest.importorskip("scipy.stats")
        rng = np.random.default_rng(3)
        a, b = rng.integers(-9, 9, (2, 40, 50)).astype(np.float32), rng.normal(size=(3, 40, 50))
        truth = stats.spearmanr(np.abs(a.sum(0)).ravel(), np.abs(b.sum(0)).ravel()).statistic
        assert similarity(a, b) == pytest.approx(truth, abs=1e-12)

    def test_only_the_order_of_magnitudes_counts(self) -> None:
        a = np.random.default_rng(0).normal(size=(3, 8, 9))
        heat = a.sum(0)
        assert similarity(a, a) == 1
        assert similarity(a, -5 * a) == 1
        assert similarity(heat, np.abs(heat) ** 3) == 1
        assert similarity(heat, 1 / np.abs(heat)) == -1
        assert similarity(a, heat) == 1

    def test_without_an_order_there_is_none(self) -> None:
        assert math.isnan(similarity(np.zeros((3, 4, 4)), np.random.default_rng(0).normal(size=(3, 4, 4))))

    def test_refuses_what_cannot_be_compared(self) -> None:
        a = np.ones((3, 4, 4))
        with pytest.raises(ArgumentError, match=r"\(4, 4\) and \(4, 5\)"):
            similarity(a, np.ones((3, 4, 5)))
        with pytest.raises(ArgumentError, match="finite"):
            similarity(a, a * np.inf)
        with pytest.raises(ArgumentError, match=r"\(4,\)"):
            similarity(np.ones(4), np.ones(4))
