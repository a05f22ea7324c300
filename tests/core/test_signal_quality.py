"""The criterion in closed form against a regression written out unit by unit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from convscope_core.errors import ArgumentError
from convscope_core.network import Network
from convscope_core.patterns import Patterns, SignalQuality, fit_patterns, signal_quality
from convscope_core.patterns.estimators import direction
from convscope_core.patterns.neurons import Neurons, neurons_of
from convscope_core.patterns.quality import _patches, _phases

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


@pytest.mark.parametrize(
    ("stride", "kernel", "groups"), [((2, 2), (3, 3), 1), ((2, 3), (4, 5), 3), ((1, 2), (2, 1), 1)]
)
def test_a_transposed_convolution_is_a_layer_for_each_phase(
    stride: tuple[int, int], kernel: tuple[int, int], groups: int
) -> None:
    """Whose neurons are those of convolutions with every stride-th tap turned round; of the unit, their mean."""
    torch.manual_seed(0)
    layer = nn.ConvTranspose2d(3, 6, kernel, stride, groups=groups)
    net = Network(nn.Sequential(layer, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval(), input_size=5)
    images = [x[:, :5, :5] for x in pictures(60)]
    patterns = fit_patterns(net, [x[:, :5, :5] for x in pictures(200, seed=1)], "all", progress=False)
    # So many positions, drawn with repetition, that there is little difference to all of them.
    found = signal_quality(net, patterns, images, layers="0", samples=12000, progress=False)
    n = next(n for n in neurons_of(net) if n.name == "0")
    width, each = 3 // groups, 6 // groups
    for estimator in ("filter", "linear"):
        u = (patterns.fitted("0", "all") if estimator == "linear" else direction(n, estimator)).double()
        for unit in range(6):
            phases = []
            for top in range(stride[0]):
                for left in range(stride[1]):
                    taps = slice(top, None, stride[0]), slice(left, None, stride[1])
                    w, a = (t[unit][:, taps[0], taps[1]].flip(1, 2).double() for t in (n.weight, u))
                    if not w.numel():
                        continue
                    inside = torch.stack(images)[:, unit // each * width :][:, :width].double()
                    height, across = (w.shape[1] - 1, w.shape[2] - 1)
                    size = net.graph["conv_transpose2d"].shape[1:]
                    count = len(range(top, size[0], stride[0])), len(range(left, size[1], stride[1]))
                    wide = torch.nn.functional.pad(inside, (across, across, height, height))
                    rows = wide.unfold(2, w.shape[1], 1).unfold(3, w.shape[2], 1)[:, :, : count[0], : count[1]]
                    rows = rows.permute(0, 2, 3, 1, 4, 5).flatten(3)
                    fit, test = (part.flatten(0, 2).numpy() for part in (rows[::2], rows[1::2]))
                    phases.append(_quality(fit, test, w.flatten().numpy(), a.flatten().numpy()))
            assert found.rho["0", estimator][unit] == pytest.approx(np.mean(phases), abs=0.03)


def _quality(fit: Any, test: Any, w: Any, a: Any) -> float:
    y = fit @ w
    d = fit - np.outer(y, a)
    centred = d - d.mean(0)
    covariance = centred.T @ centred / len(d) + 1e-3 * fit.var(0).mean() * np.eye(len(w))
    v = np.linalg.solve(covariance, centred.T @ (y - y.mean()) / len(d))
    z = test @ w
    return 1 - max(0.0, float(np.corrcoef((test - np.outer(z, a)) @ v, z)[0, 1]))


@settings(max_examples=25)
@given(
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)), kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    padding=st.integers(0, 1), dilation=st.integers(1, 2), extra=st.integers(0, 1), transposed=st.booleans(),
)  # fmt: skip
def test_what_is_sampled_is_what_a_neuron_reads(
    stride: tuple[int, int], kernel: tuple[int, int], padding: int, dilation: int, extra: int, transposed: bool
) -> None:
    """Times the weights of its phase it is one of the layer's outputs there."""
    torch.manual_seed(0)
    kind: Any = nn.ConvTranspose2d if transposed else nn.Conv2d
    assume(not extra or (transposed and extra < max(*stride, dilation)))
    options = {"output_padding": extra} if extra else {}
    layer = kind(2, 4, kernel, stride, padding, dilation=dilation, groups=2, **options)
    x = torch.randn(2, 2, 6, 7)
    try:
        with torch.no_grad():
            y = layer(x)
    except RuntimeError:
        assume(False)
    assume(min(y.shape) > 0)
    net = Network(nn.Sequential(layer, nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval(), input_size=(2, 6, 7))
    (n, *_) = neurons_of(net)
    for phase, (rows, columns) in enumerate(_phases(n)):
        found = _patches(n, phase, (rows, columns), x, y.shape[2:], 9, torch.Generator().manual_seed(1))
        if found is None:
            continue
        outputs = n.by_phase(y)[phase] if transposed else y
        for picture, part in enumerate(found.split(9)):
            for group in (0, 1):
                w = n.weight[2 * group : 2 * group + 2, :, rows][..., columns].flatten(1)
                got = part[:, group : group + 1].flatten(1) @ w.T + n.bias[2 * group : 2 * group + 2]
                there = outputs[picture, 2 * group : 2 * group + 2].flatten(1).T
                assert float((got[:, None] - there).abs().amax(2).amin(1).max()) < 1e-5
