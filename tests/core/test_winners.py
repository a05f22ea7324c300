"""Operations that pass one value of several on, and leaky rectifiers, under every method: against dense twins."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convscope_core.explain.attribution import attribute_tensor, methods
from convscope_core.explain.patterned import patternattribution, patternnet
from convscope_core.graph import Runner
from convscope_core.graph.backward import Walk
from convscope_core.network import Network

METHODS = ("gradient", "deconvnet", "guided_backprop", "lrp", "deep_taylor", "patternattribution")


class Net(nn.Module):
    def __init__(self, middle: Callable[[Tensor], Tensor], channels: int, *, end: Callable[..., Tensor] | None = None):
        super().__init__()
        torch.manual_seed(5)
        self.a, self.b = nn.Conv2d(3, 8, 3), nn.Conv2d(channels, 4, 3)
        self.middle, self.end = middle, end or (lambda x: x.mean((2, 3)))

    def forward(self, x: Tensor) -> Tensor:
        return self.end(self.b(self.middle(self.a(x))))


def network(middle: Callable[[Tensor], Tensor], channels: int = 4, **options: Callable[..., Tensor]) -> Network:
    net = Network(Net(middle, channels, **options).eval(), input_size=8)
    return net.with_tensors(lambda t: t.double() if t.is_floating_point() else t, "twin")


def options(method: str) -> dict[str, str]:
    return {"estimator": "filter"} if method == "patternattribution" else {}


PICTURE = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

WINNERS = [
    lambda x: torch.maximum(x[:, :4], x[:, 4:]),
    lambda x: torch.max(*x.chunk(2, 1)),
    lambda x: x.view(-1, 4, 2, 6, 6).amax(2),
    lambda x: x.view(-1, 2, 4, 6, 6).max(1)[0],
    lambda x: torch.stack(x.split(4, 1)).amax(0),
    lambda x: -torch.minimum(-x[:, :4], -x[:, 4:]),
    lambda x: -(-x.view(-1, 4, 2, 6, 6)).min(2).values,
    lambda x: -(-x.view(-1, 4, 2, 6, 6)).amin(2),
    lambda x: F.max_pool3d(x[:, None], (2, 1, 1))[:, 0],
]


@pytest.mark.parametrize("middle", WINNERS)
def test_of_several_values_the_winner_gets_all(middle: Callable[[Tensor], Tensor]) -> None:
    """As if the picture's winners had been picked by index: that operation only moves values."""
    net = network(lambda x: F.relu(middle(x)))
    anchor = next(n for n in net.graph if n.kind == "conv")
    maps = Runner(net.graph)(PICTURE, [anchor])[1][anchor]
    numbers = torch.arange(maps.numel(), dtype=torch.float64).view(maps.shape)
    ranked = maps.flatten().argsort()
    ranks = torch.empty_like(numbers.flatten())
    ranks[ranked] = numbers.flatten()
    won = ranked[middle(ranks.view(maps.shape)).long()]  # where in the maps each winner was

    def picked(x: Tensor) -> Tensor:
        return F.relu(x.flatten(1).index_select(1, won.flatten()).view(-1, *won.shape[1:]))

    twin = network(picked)
    for method, target in itertools.product(METHODS, (0, 1)):
        ours = attribute_tensor(net, PICTURE, method, target, **options(method))
        theirs = attribute_tensor(twin, PICTURE, method, target, **options(method))
        assert abs(ours.values).max() > 0
        assert abs(ours.values - theirs.values).max() <= 1e-6 * abs(theirs.values).max()


def test_ties_are_decided_as_in_the_gradient() -> None:
    def tied(x: Tensor) -> Tensor:
        return torch.cat([x[:, :4], x[:, :4]], 1)

    for middle in WINNERS:
        net = network(lambda x, m=middle: m(tied(x)))
        ours = attribute_tensor(net, PICTURE, "gradient", 0).values
        probe = PICTURE.clone().requires_grad_()
        module = Net(lambda x, m=middle: m(tied(x)), 4).double()
        (expected,) = torch.autograd.grad(module(probe)[0, 0], probe)
        assert abs(ours - expected[0].numpy()).max() <= 1e-6 * float(expected.abs().max())


def test_a_global_maximum_is_a_pool() -> None:
    net = network(lambda x: x[:, :4], end=lambda x: x.amax((2, 3)))
    assert [layer.kind for layer in net.layers] == ["conv", "conv", "pool"]


# -- leaky rectifiers --

SLOPES = [0.1, 0.3, 0.02, 0.5, 0.9, 0.2, 0.7, 0.0]
LEAKY = {
    "leaky_relu": (lambda x: F.leaky_relu(x, 0.2), [0.2] * 8),
    "prelu": (lambda x: F.prelu(x, torch.tensor(SLOPES, dtype=x.dtype)), SLOPES),
    "by hand": (lambda x: torch.where(x > 0, x, 0.2 * x), [0.2] * 8),
    "rrelu": (lambda x: F.rrelu(x, 0.1, 0.3), [0.2] * 8),
}


class _Leaky(torch.autograd.Function):
    """The signal methods' leaky rectifier, with each factor written out."""

    @staticmethod
    def forward(ctx, x, slopes, by_signal, by_value):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(x, slopes)
        ctx.by = by_signal, by_value
        return torch.where(x > 0, x, slopes * x)

    @staticmethod
    def backward(ctx, signal):  # type: ignore[no-untyped-def]
        x, slopes = ctx.saved_tensors
        by_signal, by_value = ctx.by
        if by_signal:
            signal = torch.where(signal > 0, signal, slopes * signal)
        return torch.where(x > 0, signal, slopes * signal) if by_value else signal, None, None, None


@pytest.mark.parametrize("name", LEAKY)
def test_leaky_rectifiers_weaken_what_rectifiers_drop(name: str) -> None:
    middle, slopes = LEAKY[name]
    net = network(middle, 8)
    wide = torch.tensor(slopes, dtype=torch.float64).view(-1, 1, 1)
    for method, settings, by_signal, by_value in (
        ("deconvnet", {}, True, False),
        ("deconvnet", {"forward_mask": True}, True, True),
        ("deconvnet", {"rectify": False}, False, False),
        ("guided_backprop", {}, True, True),
        ("gradient", {}, False, True),
    ):
        found = attribute_tensor(net, PICTURE, method, 1, **settings)
        module = Net(lambda x, a=by_signal, b=by_value: _Leaky.apply(x, wide, a, b), 8).double()
        probe = PICTURE.clone().requires_grad_()
        score = module(probe)[0, 1]
        # An amount starts from the score, or from one if that is negative.
        start = 1.0 if method == "gradient" or float(score.detach()) < 0 else float(score.detach())
        (expected,) = torch.autograd.grad(score, probe, torch.tensor(start, dtype=torch.float64))
        assert np.allclose(found.values, expected[0].numpy(), rtol=1e-5, atol=1e-7)
        assert bool(found.extended) == (method != "gradient")


def test_a_slope_of_nothing_is_the_rectifier_and_methods_name_what_they_extend() -> None:
    near, plain = network(lambda x: F.leaky_relu(x, 1e-9), 8), network(F.relu, 8)
    for method in METHODS:
        a, b = (attribute_tensor(net, PICTURE, method, 0, **options(method)).values for net in (near, plain))
        if method not in ("lrp", "deep_taylor"):  # these pass relevance, whatever the slope
            assert abs(a - b).max() <= 1e-5 * abs(b).max()
    told = {m.name: m.extended for m in methods(network(lambda x: F.leaky_relu(x), 8))}
    assert told["deconvnet"] == "leaky rectifiers weaken what rectifiers drop (1)"
    assert told["deep_taylor"] == "leaky rectifiers let relevance pass (1)"
    assert "deconvnet" in repr(methods(network(F.relu, 8)))
    assert not {m.name: m.extended for m in methods(network(F.relu, 8))}["deconvnet"]


# -- patterns --


@pytest.mark.parametrize("method", ["patternnet", "patternattribution"])
def test_a_change_of_sign_is_a_neuron_with_one_input_and_up_sampling_spreads(method: str) -> None:
    for middle, twin in (
        (lambda x: F.relu(-x), lambda x: F.relu(x * torch.full((), -1.0, dtype=x.dtype))),
        (lambda x: F.relu(1 - x), lambda x: F.relu(x * torch.full((), -1.0, dtype=x.dtype) + 1)),
    ):
        a, b = (attribute_tensor(network(f, 8), PICTURE, method, 0, estimator="filter") for f in (middle, twin))
        assert abs(a.values).max() > 0
        assert abs(a.values - b.values).max() <= 1e-6 * abs(b.values).max()
        assert "aten.neg" in a.extended.values() or "aten.rsub" in a.extended.values()
    for size in ("nearest", "bilinear", "bicubic", "nearest-exact"):
        up = attribute_tensor(
            network(lambda x, m=size: F.interpolate(F.relu(x), size=(9, 9), mode=m), 8), PICTURE, method, 0,
            estimator="filter",
        )  # fmt: skip
        assert abs(up.values).max() > 0
        if method == "patternattribution":  # each neuron hands on what it gets; of what is up-sampled, weights sum to 1
            lost = network(lambda x, m=size: F.interpolate(x, size=(9, 9), mode=m), 8)
            found = attribute_tensor(lost, PICTURE, method, 0, estimator="filter")
            assert found.values.sum() == pytest.approx(found.score, rel=1e-6)


class Up(nn.Module):
    def __init__(self, **options: Any) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.a, self.up = nn.Conv2d(3, 8, 3), nn.ConvTranspose2d(8, 4, **options)

    def forward(self, x: Tensor) -> Tensor:
        return self.up(self.a(x)).mean((2, 3))


@pytest.mark.parametrize(
    ("kernel", "stride", "dilation", "groups"),
    [(3, 1, 1, 1), (3, 2, 1, 1), (4, 2, 1, 2), (4, 3, 2, 1), (2, (1, 2), 1, 4)],
)
def test_the_filter_estimator_of_a_transposed_convolution_is_the_filter_of_each_phase(
    kernel: int, stride: Any, dilation: int, groups: int
) -> None:
    """Of each neuron far from the border w^T a = 1: it would detect what it gets back, and all is handed on."""
    module = Up(kernel_size=kernel, stride=stride, dilation=dilation, groups=groups).eval()
    net = Network(module, input_size=12).with_tensors(lambda t: t.double() if t.is_floating_point() else t, "up")
    (node,) = [n for n in net.graph if n.kind == "conv_transpose"]
    rows, columns = node.shape[1:]
    for row, column in ((rows // 2, columns // 2), (rows // 2 + 1, columns // 2), (rows // 2 - 1, columns // 2 + 1)):
        signal = torch.zeros(1, *node.shape, dtype=torch.float64)
        signal[0, 1, row, column] = 1
        for table in (patternnet(net, estimator="filter"), patternattribution(net, estimator="filter")):
            walk = Walk(net.graph, table, [node], node["input"])
            back = walk(walk.forward(torch.rand(1, 3, 12, 12, dtype=torch.float64)), {node: signal})
            assert node in walk.extended
            again = module.up.double()(back) - module.up.bias[:, None, None]
            got = float((again[0, 1, row, column] if table.name == "patternnet" else back.sum()).detach())
            reached = bool(back.any())  # with a stride beyond the kernel, some outputs read nothing
            assert got == pytest.approx(1.0 if reached else 0.0)
