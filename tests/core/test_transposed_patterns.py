"""Patterns of transposed convolutions: against the definition, written out position by position, and against twins."""

from __future__ import annotations

import itertools
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from convscope_core.explain import attribute, methods
from convscope_core.explain.patterned import patternattribution
from convscope_core.network import Network
from convscope_core.patterns import Patterns, fit_patterns, signal_quality
from convscope_core.patterns.estimators import direction
from convscope_core.patterns.neurons import neurons_of

Array = npt.NDArray[np.float64]
ALL = ("positive", "negative", "all")


def pictures(count: int, shape: tuple[int, ...] = (3, 9, 9), seed: int = 0) -> list[Tensor]:
    """Inputs whose channels and neighbours covary, in network space."""
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(count, *shape))
    mixed += 0.7 * np.roll(mixed, 1, -1) + 0.5 * rng.normal(size=(count, 1, *[1] * (len(shape) - 1)))
    return list(torch.from_numpy(mixed.astype(np.float32)))


def units_first(module: Any, weight: Tensor) -> Tensor:
    """(inputs, outputs a group, *kernel) as (outputs, inputs a group, *kernel), group by group."""
    return torch.cat([part.transpose(0, 1) for part in weight.chunk(module.groups)])


def by_definition(module: Any, x: Array, size: tuple[int, ...], regime: str, denominator: str) -> Array:
    """Equation 8, neuron by neuron: positions of the output that read the same taps of the kernel are one neuron.

    `x` is (pictures, inputs, *positions); taps that lie beyond the map read zero.
    """
    w = units_first(module, module.weight.detach()).double().numpy()
    b = np.zeros(len(w)) if module.bias is None else module.bias.detach().double().numpy()
    kernel = w.shape[2:]
    positions: dict[tuple[Any, ...], list[tuple[int, ...]]] = defaultdict(list)
    for o in itertools.product(*map(range, size)):
        taps = []
        for k in itertools.product(*map(range, kernel)):
            where = [a + p - i * d for a, p, i, d in zip(o, module.padding, k, module.dilation, strict=True)]
            if all(at % s == 0 for at, s in zip(where, module.stride, strict=True)):
                taps.append(k)
        positions[tuple(taps)].append(o)
    found = np.zeros_like(w)
    for taps, outputs in positions.items():
        if not taps:
            continue
        samples = np.zeros((len(outputs), len(x), x.shape[1], len(taps)))
        for row, o in enumerate(outputs):
            for column, k in enumerate(taps):
                i = tuple(
                    (a + p - j * d) // s
                    for a, p, j, d, s in zip(o, module.padding, k, module.dilation, module.stride, strict=True)
                )
                if all(0 <= at < n for at, n in zip(i, x.shape[2:], strict=True)):
                    samples[row, :, :, column] = x[(slice(None), slice(None), *i)]
        for unit in range(len(w)):
            width = w.shape[1]
            first = unit * module.groups // len(w) * width
            inputs = samples[:, :, first : first + width].reshape(-1, width * len(taps))
            weights = np.stack([w[(unit, slice(None), *k)] for k in taps], -1).ravel()
            if denominator == "bias_neuron":
                inputs, weights = np.c_[inputs, np.ones(len(inputs))], np.r_[weights, b[unit]]
                y = z = inputs @ weights
            else:
                y = inputs @ weights
                z = y + b[unit]
            chosen = {"positive": z > 0, "negative": z <= 0, "all": np.ones(len(z), bool)}[regime]
            if not chosen.any():  # dead: the linear pattern stands in
                chosen[:] = True
            numerator = (inputs * y[:, None])[chosen].mean(0) - inputs[chosen].mean(0) * y.mean()
            below = weights @ numerator  # zero where all taps lie beyond the map at every position
            pattern = (numerator / (below or 1.0))[: width * len(taps)].reshape(width, len(taps))
            for column, k in enumerate(taps):
                found[(unit, slice(None), *k)] = pattern[:, column]
    return found


def assert_close(got: Any, expected: Any, tolerance: float) -> None:
    """Each unit within a share of its largest value."""
    got, expected = np.asarray(got, np.float64), np.asarray(expected, np.float64)
    assert got.shape == expected.shape
    for mine, theirs in zip(got, expected, strict=True):
        assert abs(mine - theirs).max() <= tolerance * max(abs(theirs).max(), 1e-30)


class Up(nn.Module):
    """A transposed convolution between rectifiers, over maps of four channels with any number of axes."""

    def __init__(self, module: Any, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.a, self.up, self.shape = nn.Conv2d(3, 4, 3, stride=2), module, shape

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.up(torch.tanh(self.a(x)).reshape(-1, 4, *self.shape))).flatten(2).mean(2)


CASES: dict[str, tuple[type, dict[str, Any]]] = {
    "no stride": (nn.ConvTranspose2d, {"kernel_size": 3}),
    "doubling": (nn.ConvTranspose2d, {"kernel_size": 4, "stride": 2, "padding": 1}),
    "output padding": (nn.ConvTranspose2d, {"kernel_size": 3, "stride": 2, "padding": 1, "output_padding": 1}),
    "kernel below stride": (nn.ConvTranspose2d, {"kernel_size": 2, "stride": 3, "output_padding": 1}),
    "phases without taps": (nn.ConvTranspose2d, {"kernel_size": 3, "stride": 2, "dilation": 2, "bias": False}),
    "unlike axes": (
        nn.ConvTranspose2d,
        {"kernel_size": (3, 2), "stride": (2, 3), "padding": (1, 0), "output_padding": (0, 2)},
    ),
    "dilated": (nn.ConvTranspose2d, {"kernel_size": 3, "stride": (2, 1), "dilation": (3, 2), "padding": 2}),
    "grouped": (nn.ConvTranspose2d, {"kernel_size": 4, "stride": (1, 2), "groups": 2, "padding": (0, 1)}),
    "depthwise": (nn.ConvTranspose2d, {"kernel_size": 5, "stride": 3, "groups": 4}),
    "one axis": (nn.ConvTranspose1d, {"kernel_size": 3, "stride": 2, "padding": 1, "groups": 2}),
    "three axes": (nn.ConvTranspose3d, {"kernel_size": (2, 3, 2), "stride": (2, 1, 3), "padding": (0, 1, 0)}),
}


@pytest.mark.parametrize("name", CASES)
def test_patterns_are_those_of_the_definition(name: str) -> None:
    torch.manual_seed(0)
    kind, options = CASES[name]
    check(kind(4, 8, **options), ("paper", "bias_neuron"))


@st.composite
def transposed(draw: st.DrawFn) -> Any:
    """A transposed convolution of four channels whose output is not empty."""
    axes = draw(st.integers(1, 3))

    def each(low: int, high: int) -> tuple[int, ...]:
        return tuple(draw(st.lists(st.integers(low, high), min_size=axes, max_size=axes)))

    kernel, stride, dilation = each(1, 4), each(1, 3), each(1, 2)
    reach = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    padding = tuple(draw(st.integers(0, r // 2)) for r in reach)
    extra = tuple(draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True))
    kind = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)[axes - 1]
    groups, bias = draw(st.sampled_from([1, 2, 4])), draw(st.booleans())
    torch.manual_seed(draw(st.integers(0, 99)))
    return kind(4, 8, kernel, stride, padding, extra, groups, bias, dilation)


@settings(max_examples=12, deadline=None)
@given(transposed())
def test_patterns_of_any_transposed_convolution_are_those_of_the_definition(module: Any) -> None:
    check(module, ("paper",))


def check(module: Any, denominators: tuple[str, ...]) -> None:
    """Compare all patterns of a layer of four channels with the definition."""
    shape = {1: (16,), 2: (4, 4), 3: (4, 2, 2)}[module.weight.dim() - 2]
    net = Network(Up(module, shape).eval(), input_size=9, dtype=torch.float64)
    images = pictures(12)
    (neurons,) = neurons_of(net, "up")
    assert torch.equal(neurons.weight.float(), units_first(module, module.weight.detach()).float())
    assert torch.equal(neurons.stored(neurons.weight).float(), module.weight.detach().float())
    before = neurons.node.inputs[0]
    values = net.values(torch.stack(images).double(), [before, neurons.node])
    size = tuple(values[neurons.node].shape[2:])
    for denominator in denominators:
        patterns = fit_patterns(net, images, ALL, denominator, layers="up", batch_size=5, progress=False)
        for regime in ALL:
            expected = by_definition(module, values[before].numpy(), size, regime, denominator)
            assert_close(patterns.fitted("up", regime), expected, 1e-5)


# -- twins --


class Shuffled(nn.Module):
    """A transposed convolution whose kernel is m strides wide, or the convolution and pixel shuffle that equal it."""

    def __init__(self, stride: int, m: int, *, twin: bool) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.a, self.end = nn.Conv2d(3, 4, 3, stride=2), nn.Conv2d(5, 3, 3)
        self.up: nn.Module = nn.ConvTranspose2d(4, 5, stride * m, stride)
        if twin:
            conv = nn.Conv2d(4, 5 * stride**2, m, padding=m - 1)
            conv.weight.data = phased(units_first(self.up, self.up.weight.data), stride)
            conv.bias.data = self.up.bias.data.repeat_interleave(stride**2)
            self.up = nn.Sequential(conv, nn.PixelShuffle(stride))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.end(torch.relu(self.up(torch.relu(self.a(x)))))).mean((2, 3))


def phased(weight: Tensor, stride: int) -> Tensor:
    """(outputs, inputs, m s, m s) as kernels of each phase: (outputs s s, inputs, m, m), turned round."""
    m = weight.shape[2] // stride
    parts = weight.reshape(*weight.shape[:2], m, stride, m, stride).permute(0, 3, 5, 1, 2, 4)
    return parts.reshape(-1, weight.shape[1], m, m).flip(2, 3)


@pytest.mark.parametrize(("stride", "m"), [(2, 1), (2, 2), (3, 1), (3, 2)])
def test_a_convolution_with_pixel_shuffle_has_the_same_patterns_and_explanations(stride: int, m: int) -> None:
    nets = [Network(Shuffled(stride, m, twin=twin).eval(), input_size=9, dtype=torch.float64) for twin in (False, True)]
    images = pictures(30)
    mine, theirs = (fit_patterns(net, images, ALL, shards=3, batch_size=4, progress=False) for net in nets)
    for regime in ALL:
        up, conv = mine.fitted("up", regime), theirs.fitted("up.0", regime)
        assert up is not None
        assert_close(phased(up, stride), conv, 1e-5)
        fits = [next(f for f in p.reported(regime) if f.layer in ("up", "up.0")) for p in (mine, theirs)]
        for problem in ("dead", "thin", "vanishing", "negative"):
            units = {unit // stride**2 for unit in getattr(fits[1], problem)}
            assert getattr(fits[0], problem) == tuple(sorted(units))
        assert fits[0].fan_in == fits[1].fan_in
        assert fits[0].least == fits[1].least
        assert fits[0].samples == stride**2 * fits[1].samples
    for method in ("patternnet", "patternattribution"):
        for estimator in ("two_component", "linear", "filter", "identity"):
            a, b = (
                attribute(net, images[0], method, 1, patterns=p, estimator=estimator).values
                for net, p in zip(nets, (mine, theirs), strict=True)
            )
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * abs(b).max())


@pytest.mark.parametrize("groups", [1, 2])
def test_explanations_agree_with_autograd_through_replaced_layers(groups: int) -> None:
    """The exact forward values, the gradient of other kernels: out = op(x) + (op_k(x) - op_k(x).detach())."""
    torch.manual_seed(2)
    options: dict[str, Any] = {"stride": 2, "padding": 1, "output_padding": 1, "groups": groups}
    up, end = nn.ConvTranspose2d(4, 6, 3, **options), nn.Linear(6 * 64, 3)
    layers = nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), up, nn.ReLU(), nn.Flatten(), end
    net = Network(nn.Sequential(*layers).eval(), input_size=9)
    fitted = fit_patterns(net, pictures(60), progress=False)
    weights = {n.name: (n.stored(n.weight), n.stored(fitted[n.name]), n.bias) for n in neurons_of(net)}
    picture = pictures(1, seed=9)[0]
    for method, kernel in (("patternnet", lambda w, a: a), ("patternattribution", lambda w, a: w * a)):
        x = picture[None].clone().requires_grad_()

        def replaced(op: Any, name: str, x: Tensor, kernel: Any = kernel, **options: Any) -> Tensor:
            w, a, bias = weights[name]
            other = op(x, kernel(w, a), **options)
            return op(x, w, bias, **options).detach() + other - other.detach()

        h = torch.relu(replaced(torch.conv2d, "0", x, stride=2))
        h = torch.relu(replaced(torch.conv_transpose2d, "2", h, **options))
        logits = replaced(nn.functional.linear, "5", h.flatten(1))
        (logits[0, 1] * logits[0, 1].detach()).backward()
        got = attribute(net, picture, method, 1, patterns=fitted)
        assert x.grad is not None
        np.testing.assert_allclose(got.values, x.grad[0], rtol=1e-3, atol=1e-5 * float(x.grad.abs().max()))
        assert list(got.extended.values()) == ["conv_transpose"]
        assert "transposed convolution" in {m.name: m.extended for m in methods(net, patterns=fitted)}[method]


# -- what follows --


def test_each_neuron_detects_its_pattern_and_hands_on_what_it_gets() -> None:
    torch.manual_seed(0)
    up = nn.ConvTranspose2d(3, 4, 2, 2, bias=False)
    net = Network(nn.Sequential(up, nn.Flatten(), nn.Linear(4 * 36, 2, bias=False)).eval(), input_size=3)
    patterns = fit_patterns(net, pictures(300, (3, 3, 3)), "all", progress=False)
    (neurons,) = neurons_of(net, "0")
    np.testing.assert_allclose(neurons.within(patterns["0"] * neurons.weight), np.ones((4, 4)), rtol=1e-5)
    for estimator in ("filter", "random"):
        np.testing.assert_allclose(
            neurons.within(direction(neurons, estimator).double() * neurons.weight), 1, rtol=1e-5
        )
    got = attribute(net, pictures(1, (3, 3, 3))[0], "patternattribution", 1, patterns=patterns, estimator="linear")
    assert got.values.sum(dtype=np.float64) == pytest.approx(got.score, rel=1e-4)


def test_a_unit_is_listed_if_one_of_its_neurons_has_no_pattern(tmp_path: Path) -> None:
    torch.manual_seed(0)
    up = nn.ConvTranspose2d(3, 4, 2, 3)  # five of nine phases have no taps
    up.bias.data.zero_()
    up.bias.data[1] = -100
    up.weight.data[:, 2, 0, 1] = 0
    net = Network(nn.Sequential(up, nn.ReLU(), nn.Flatten(), nn.Linear(4 * 64, 2)).eval(), input_size=3)
    images = pictures(40, (3, 3, 3))
    alone = fit_patterns(net, images, layers="0", progress=False)
    (fit,) = alone.report
    assert (fit.kind, fit.units, fit.fan_in, fit.samples, fit.extended) == ("conv_transpose", 4, 3, 40 * 64, True)
    assert (fit.dead, fit.vanishing, fit.thin, fit.fitted) == ((1, 2), (), (), 2)
    assert not alone["0"][1].any()
    assert not alone["0"][2, :, 0, 1].any()
    assert alone["0"][2, :, 0, 0].any()
    both = fit_patterns(net, images, ("positive", "all"), layers="0", progress=False)
    assert both["0"][1].all(), "where it never is active, the linear pattern stands in"
    assert both.reported("all")[0].vanishing == (2,)
    assert both.reported("all")[0].fitted == 3
    assert fit_patterns(net, images, layers="0", few=10_000, progress=False).report[0].thin == (0, 2, 3)
    back = Patterns.load(both.save(tmp_path / "up.patterns"))
    assert back.report == both.report
    assert torch.equal(back["0"], both["0"])


@pytest.mark.parametrize(
    ("options", "reads"),
    [
        ({"kernel_size": 2, "stride": 2}, False),
        ({"kernel_size": 3, "stride": 2}, True),
        ({"kernel_size": 3, "stride": 2, "padding": 1}, False),
        ({"kernel_size": 3, "stride": 2, "padding": 1, "output_padding": 1}, True),
        ({"kernel_size": 2, "stride": 3, "output_padding": 1}, False),
        ({"kernel_size": 4, "stride": 2, "padding": 1}, True),
        ({"kernel_size": 2, "stride": 2, "dilation": 2}, True),
    ],
)
def test_padding_is_named_where_outputs_read_beyond_the_map(options: dict[str, Any], reads: bool) -> None:
    module = nn.ConvTranspose2d(3, 2, **options)
    net = Network(nn.Sequential(module, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval(), input_size=4)
    (neurons,) = neurons_of(net, "0")
    with torch.no_grad():  # how many taps each output reads, with and without the neighbours of a larger map
        module.weight.fill_(1.0), module.bias.zero_()
        inside = module(torch.ones(1, 3, 4, 4))
        larger = module(torch.ones(1, 3, 16, 16))
        first = 6 * module.stride[0]
        beyond = not torch.equal(inside, larger[..., first : first + inside.shape[2], first : first + inside.shape[3]])
    assert beyond == reads
    rule = patternattribution(net, estimator="filter").special[neurons.node]
    assert ("padding" in rule.loses(neurons.node)) == reads


def test_signal_quality_measures_it_by_default() -> None:
    net = Network(Up(nn.ConvTranspose2d(4, 8, 2, 2), (4, 4)).eval(), input_size=9)
    assert signal_quality(net, None, pictures(8), progress=False).layers == ("a", "up")
