"""The criterion in closed form against a regression written out unit by unit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from convscope_core.errors import ArgumentError
from convscope_core.network import Network
from convscope_core.patterns import Patterns, SignalQuality, fit_patterns, signal_quality
from convscope_core.patterns.estimators import direction
from convscope_core.patterns.neurons import Neurons, neurons_of

ALL = ("positive", "negative", "all")
ESTIMATORS = ("random", "filter", "linear", "two_component")


def pictures(count: int, seed: int = 0) -> list[Tensor]:
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(count, 3, 6, 6)) + rng.normal(size=(count, 3, 1, 1)) + 0.3
    return list(torch.from_numpy(mixed.astype(np.float32)))


@pytest.fixture(scope="module")
def net() -> Network:
    """A window as large as the picture, so that there is one sample a picture and chance has no say; grouped."""
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 12, 6, groups=3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 10), nn.ReLU(), nn.Linear(10, 4)
    return Network(nn.Sequential(*layers).eval(), input_size=6)


@pytest.fixture(scope="module")
def patterns(net: Network) -> Patterns:
    return fit_patterns(net, pictures(200, seed=1), ALL, progress=False)


def by_regression(
    net: Network,
    n: Neurons,
    unit: int,
    patterns: Patterns,
    estimator: str,
    images: list[Tensor],
    target: str,
    regime: str,
) -> float:
    x = net.values(torch.stack(images), [n.node.inputs[0]])[n.node.inputs[0]].double()
    group = unit * n.groups // n.outputs
    width = n.weight.shape[1]
    rows = x[:, group * width : (group + 1) * width].flatten(1).numpy()
    w, b = n.weight[unit].double().flatten().numpy(), float(n.bias[unit])
    y = rows @ w
    on = y + b > 0

    def vector(which: str) -> Any:
        found = patterns.fitted(n.name, which) if which in ALL else direction(n, which)
        assert found is not None
        return found[unit].double().flatten().numpy()

    if estimator == "two_component":
        signal = np.where(on[:, None], np.outer(y, vector("positive")), np.outer(y, vector("negative")))
    else:
        signal = np.outer(y, vector("all" if estimator == "linear" else estimator))
    d = rows - signal
    t = np.where(on, y + b, 0) if target == "relu" else y
    fit, test = np.arange(len(y)) % 2 == 0, np.arange(len(y)) % 2 == 1
    if regime == "positive":
        fit, test = fit & on, test & on
    shade = 1e-3 * rows[fit].var(0).mean()
    centred = d[fit] - d[fit].mean(0)
    covariance = centred.T @ centred / fit.sum() + shade * np.eye(d.shape[1])
    v = np.linalg.solve(covariance, centred.T @ (t[fit] - t[fit].mean()) / fit.sum())
    return 1 - max(0.0, float(np.corrcoef(d[test] @ v, t[test])[0, 1]))


@pytest.mark.parametrize("count", [60, 400])
@pytest.mark.parametrize(("target", "regime"), [("pre", "all"), ("relu", "all"), ("pre", "positive")])
def test_the_closed_form_is_the_regression(
    net: Network, patterns: Patterns, target: str, regime: str, count: int
) -> None:
    """With fewer samples than inputs, and with more."""
    images = pictures(count)
    found = signal_quality(
        net, patterns, images, target=target, regime=regime, samples=count // 2, progress=False, units=6
    )
    assert found.estimators == ESTIMATORS
    for n in neurons_of(net):
        assert len(found.units[n.name]) == min(6, n.outputs)
        for estimator in ESTIMATORS:
            for place, unit in enumerate(found.units[n.name]):
                expected = by_regression(net, n, int(unit), patterns, estimator, images, target, regime)
                got = found.rho[n.name, estimator][place]
                assert got == pytest.approx(expected, abs=1e-4)


def test_the_linear_estimator_leaves_nothing_and_a_random_one_nearly_all() -> None:
    """Where x = s + d with a distractor: known by the model, not by the code."""
    rng = np.random.default_rng(0)
    y, e = rng.uniform(-1, 1, 4000), rng.normal(size=(4000, 4))
    x = np.concatenate([y[:, None], np.zeros((4000, 3))], 1) + e @ rng.normal(size=(4, 4))
    w = np.linalg.pinv(np.eye(4))[:2] + 0.3
    layer = nn.Linear(4, 2)
    layer.weight.data, layer.bias.data = torch.from_numpy(w).float(), torch.zeros(2)
    net = Network(nn.Sequential(nn.Flatten(), layer).eval(), input_size=(1, 1, 4))
    images = list(torch.from_numpy(x.astype(np.float32)).reshape(-1, 1, 1, 4))
    patterns = fit_patterns(net, images[:2000], "all", progress=False)
    found = signal_quality(net, patterns, images[2000:], samples=1000, progress=False)
    assert found.mean("1", "linear") > 0.9
    assert found.mean("1", "random") < 0.1
    assert "linear" in repr(found)


def test_positions_are_drawn_with_a_seed() -> None:
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 5, 3, stride=2, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 2)
    net = Network(nn.Sequential(*layers).eval(), input_size=6)
    images = pictures(40)
    runs = [signal_quality(net, None, images, seed=seed, progress=False) for seed in (3, 3, 4)]
    assert runs[0].estimators == ("random", "filter")
    np.testing.assert_array_equal(runs[0].rho["0", "filter"], runs[1].rho["0", "filter"])
    assert not np.array_equal(runs[0].rho["0", "filter"], runs[2].rho["0", "filter"])
    assert 0 <= runs[0].mean("0", "filter") <= 1


def test_units_that_do_not_vary_have_no_quality_and_a_batch_norm_s_sign_counts() -> None:
    class Normed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm, self.end = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2)
            self.norm.weight.data = torch.tensor([1.0, -1.0, 1.0, 1.0])
            self.conv.weight.data[2] = 0

        def forward(self, x: Tensor) -> Tensor:
            return self.end(torch.relu(self.norm(torch.max_pool2d(self.conv(x), 2))).mean((2, 3)))

    net = Network(Normed().eval(), input_size=6)
    images = pictures(60)
    patterns = fit_patterns(net, images, ALL, progress=False)
    found = signal_quality(net, patterns, pictures(60, seed=2), layers="conv", progress=False)
    for estimator in found.estimators:
        assert np.isnan(found.rho["conv", estimator][2])
        assert np.isfinite(found.rho["conv", estimator][[0, 1, 3]]).all()


def test_units_whose_inputs_never_vary_have_no_quality() -> None:
    torch.manual_seed(0)
    first, second = nn.Conv2d(3, 4, 6), nn.Conv2d(4, 4, 1, groups=4)
    first.bias.data[1] = -100
    net = Network(nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), nn.Flatten()).eval(), input_size=6)
    patterns = fit_patterns(net, pictures(40), ALL, progress=False)
    found = signal_quality(net, patterns, pictures(40, seed=2), layers="2", progress=False)
    for estimator in found.estimators:
        assert np.isnan(found.rho["2", estimator][1])
        assert np.isfinite(found.rho["2", estimator][0])


def test_bad_input_is_refused(net: Network, patterns: Patterns) -> None:
    images = pictures(8)
    for changed, message in (
        ({"target": "post"}, "target"), ({"regime": "negative"}, "regime"), ({"ridge": 0.0}, "ridge"),
        ({"estimators": ["identity"]}, "estimators"), ({"units": 0}, "units"), ({"layers": "9"}, "9"),
    ):  # fmt: skip
        with pytest.raises((ArgumentError, LookupError), match=message):
            signal_quality(net, patterns, images, progress=False, **changed)
    with pytest.raises(ArgumentError, match="four pictures"):
        signal_quality(net, patterns, images[:3], progress=False)
    alone = fit_patterns(net, images, progress=False)
    with pytest.raises(ArgumentError, match="'negative'"):
        signal_quality(net, alone, images, estimators=["two_component"], progress=False)


def test_it_draws_itself() -> None:
    pytest.importorskip("matplotlib")
    rho = {("a", "random"): np.array([0.1, np.nan]), ("b", "random"): np.array([np.nan, np.nan])}
    found = SignalQuality(rho, {"a": np.arange(2), "b": np.arange(2)}, ("random",), "pre", "all", 4, "net", "0")
    line = found.plot().axes[0].lines[0]
    np.testing.assert_allclose(line.get_ydata(), [0.1, np.nan])
