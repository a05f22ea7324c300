"""Activation functions that are spelled out are one node; what only looks like one stays as it is."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable

import pytest
import torch
import torchvision
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import efficientnet
from torchvision.models.convnext import CNBlockConfig

from convscope_core.explain.attribution import attribute_tensor
from convscope_core.graph import Graph, Runner, trace
from convscope_core.graph.layers import find_layers
from convscope_core.network import Network

Spelling = Callable[[Tensor], Tensor]

CHANNELS = 4


class Net(nn.Module):
    """Two convolutions with a function of the first's maps in between."""

    def __init__(self, function: Callable[..., Tensor], *, norm: bool = False) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.a, self.b = nn.Conv2d(3, CHANNELS, 3), nn.Conv2d(CHANNELS, 3, 3)
        self.norm = nn.BatchNorm2d(CHANNELS) if norm else nn.Identity()
        self.other = nn.Conv2d(3, CHANNELS, 3)
        self.slopes = nn.Parameter(torch.rand(CHANNELS, 1, 1))
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        first = self.norm(self.a(x))
        more = (self.other(x), self.slopes)[: self.function.__code__.co_argcount - 1]  # type: ignore[attr-defined]
        return self.b(self.function(first, *more)).mean((2, 3))


def traced(function: Callable[..., Tensor], *, norm: bool = False) -> tuple[Net, Graph]:
    module = Net(function, norm=norm).eval()
    return module, trace(module, (3, 8, 8))


def between(graph: Graph) -> list[str]:
    """The kinds of operations after the first convolution and before the second."""
    return [n.kind for n in graph.nodes[2:] if n.kind not in ("conv", "mean")]


#: Spellings of comparisons, as masks that are one where the input is positive.
MASKS: list[Spelling] = [
    lambda x: x > 0,
    lambda x: ~(x <= 0),
    lambda x: (x > 0).float(),
    lambda x: x.gt(0).to(x.dtype),
    lambda x: torch.heaviside(x, torch.tensor(0.0)),
    lambda x: (torch.sign(x) + 1) / 2,
    lambda x: torch.where(x > 0, 1.0, 0.0),
]

#: Spellings of a rectifier, some of them of a mask.
RECTIFIERS: list[Callable[[Spelling], Spelling]] = [
    lambda m: lambda x: x * m(x),
    lambda m: lambda x: m(x) * x,
    lambda m: lambda x: torch.where(m(x) > 0.5, x, 0),
    lambda m: lambda x: torch.where(m(x) < 0.5, torch.zeros_like(x), x),
    lambda m: lambda x: x.masked_fill(m(x) == 0, 0.0),
    lambda m: lambda x: x - x * (1.0 - 1.0 * m(x)),
    lambda m: lambda x: (x + x.abs()) / 2,
    lambda m: lambda x: 0.5 * (x.abs() + x),
    lambda m: lambda x: torch.maximum(x, torch.zeros(())),
    lambda m: lambda x: torch.max(torch.zeros_like(x), x),
    lambda m: lambda x: -torch.minimum(-x, torch.zeros(())),
    lambda m: lambda x: x.clamp(min=0),
    lambda m: lambda x: torch.clip(x, 0.0, None),
    lambda m: lambda x: F.threshold(x, 0.0, 0.0),
    lambda m: lambda x: F.leaky_relu(x, 0.0),
    lambda m: lambda x: x - torch.clamp(x, max=0),
]

#: Spellings of the logistic function, and of others.
SIGMOIDS: list[Spelling] = [
    torch.sigmoid,
    lambda x: 1 / (1 + torch.exp(-x)),
    lambda x: (1 + torch.exp(-x)).reciprocal(),
    lambda x: 0.5 * (1 + torch.tanh(x / 2)),
]
HARD: list[Spelling] = [
    F.hardsigmoid,
    lambda x: F.relu6(x + 3) / 6,
    lambda x: (x + 3).clamp(0, 6) * (1 / 6),
    lambda x: torch.clamp(x / 6 + 0.5, 0, 1),
]
PRODUCTS: list[Callable[[Spelling], Spelling]] = [
    lambda f: lambda x: x * f(x),
    lambda f: lambda x: f(x) * x,
    lambda f: lambda x: torch.mul(x, f(x)),
    lambda f: lambda x: x.clone().mul_(f(x)),
]
SOFTPLUS: list[Spelling] = [
    F.softplus,
    lambda x: torch.log1p(torch.exp(-x.abs())) + x.clamp(min=0),
    lambda x: -F.logsigmoid(-x),
    lambda x: torch.logaddexp(x, torch.zeros(())),
]
GELUS: list[Spelling] = [
    lambda x: 0.5 * x * (1 + torch.erf(x / math.sqrt(2))),
    lambda x: x * (0.5 * (1 + torch.erf(x * 0.5**0.5))),
    lambda x: x * 0.5 * torch.erfc(-x / math.sqrt(2)),
    lambda x: x * torch.special.ndtr(x),
]
TANH_GELUS: list[Spelling] = [
    lambda x: 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * torch.pow(x, 3)))),
    lambda x: 0.5 * x * (1 + torch.tanh(0.7978845608 * x * (1 + 0.044715 * x * x))),
]


@st.composite
def spellings(draw: st.DrawFn) -> tuple[Spelling, Spelling, str]:
    """A function as it might be written by hand, the function itself, and what it is called."""
    kind = draw(st.sampled_from(["relu", "leaky_relu", "silu", "hardswish", "mish", "gelu", "tanh gelu", "swish"]))
    if kind == "relu":
        return draw(st.sampled_from(RECTIFIERS))(draw(st.sampled_from(MASKS))), F.relu, "relu"
    product = draw(st.sampled_from(PRODUCTS))
    if kind == "leaky_relu":
        s = draw(st.sampled_from([0.01, 0.125, 0.3]))
        made = [
            lambda x: torch.where(x > 0, x, s * x),
            lambda x: torch.maximum(x, s * x),
            lambda x: F.relu(x) - s * F.relu(-x),
            lambda x: x * ((x > 0) * (1 - s) + s),
            lambda x: (1 + s) / 2 * x + (1 - s) / 2 * x.abs(),
        ]
        return draw(st.sampled_from(made)), lambda x: F.leaky_relu(x, s), "leaky_relu"
    if kind == "silu":
        whole: list[Spelling] = [product(draw(st.sampled_from(SIGMOIDS))), lambda x: x / (1 + torch.exp(-x))]
        return draw(st.sampled_from(whole)), F.silu, "silu"
    if kind == "hardswish":
        whole = [
            product(draw(st.sampled_from(HARD))),
            lambda x: x * F.relu6(x + 3) / 6,
            lambda x: x / 6 * F.relu6(3 + x),
        ]
        return draw(st.sampled_from(whole)), F.hardswish, "hardswish"
    if kind == "mish":
        softplus = draw(st.sampled_from(SOFTPLUS))
        return product(lambda x: torch.tanh(softplus(x))), F.mish, "mish"
    if kind == "gelu":
        return draw(st.sampled_from(GELUS)), F.gelu, "gelu"
    if kind == "tanh gelu":
        return draw(st.sampled_from(TANH_GELUS)), lambda x: F.gelu(x, approximate="tanh"), "gelu"
    b = draw(st.sampled_from([1.702, 0.5, 3]))
    return product(lambda x: torch.sigmoid(b * x)), lambda x: x * torch.sigmoid(b * x), "activation"


@settings(
    max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.explicit, Phase.generate]
)
@given(spelling=spellings(), norm=st.booleans())
def test_spellings_are_the_function(spelling: tuple[Spelling, Spelling, str], norm: bool) -> None:
    written, function, kind = spelling
    module, graph = traced(lambda x: written(x), norm=norm)
    assert between(graph) == [kind]
    first = find_layers(graph)[0]
    assert first.activation == kind  # a unit's activation is taken after it
    other = copy.deepcopy(module)
    other.function = lambda x: function(x)
    x = torch.randn(2, 3, 8, 8) * 3
    found, _ = Runner(graph)(x)
    assert torch.allclose(found, other(x), rtol=1e-4, atol=1e-5)
    again, _ = Runner(pickle.loads(pickle.dumps(graph)))(x)
    assert torch.equal(again, found)


def test_a_slope_a_channel_is_a_prelu_and_a_rate_a_channel_an_activation() -> None:
    x = torch.randn(2, 3, 8, 8)
    for function, kind in (
        (lambda x, y, s: torch.where(x > 0, x, s * x), "prelu"),
        (lambda x, y, s: F.relu(x) - s * F.relu(-x), "prelu"),
        (lambda x, y, s: x * torch.sigmoid(s * x), "activation"),
    ):
        module, graph = traced(function)
        assert between(graph) == [kind]
        assert torch.allclose(Runner(graph)(x)[0], module(x), rtol=1e-4, atol=1e-5)
        exact = graph.with_tensors(lambda t: t.double())
        probe = x.double().requires_grad_()
        (expected,) = torch.autograd.grad(module.double()(probe)[:, 0].sum(), probe)
        probe = x.double().requires_grad_()
        (found,) = torch.autograd.grad(Runner(exact)(probe)[0][:, 0].sum(), probe)
        assert (found - expected).abs().max() < 1e-6 * expected.abs().max()


@pytest.mark.parametrize(
    "function",
    [
        lambda x, y: x * torch.sigmoid(y),
        lambda x, y: torch.where(x > 0, y, 0),
        lambda x, y: torch.where(x > 0, x, y),
        lambda x, y: torch.maximum(x, y),
        lambda x, y: x.masked_fill(y < 0, 0),
        lambda x, y: x * (y > 0),
        lambda x: torch.maximum(x, torch.tensor(0.1)),
        lambda x: x.clamp_min(1e-12),
        lambda x: torch.where(x > 0.1, x, 0),
        lambda x: torch.where(x < 0, x, 0),
        lambda x: torch.where(x > 1000, 0, x.clamp(min=0)),
        lambda x: x.masked_fill(x > 0, 0),
        lambda x: x * (x < 0),
        lambda x: x.abs(),
        lambda x: x * torch.sign(x),
        lambda x: x * x,
        lambda x: x * torch.linspace(0, 1, 6),
        lambda x: x * torch.sigmoid(x + torch.linspace(0, 1, 6)),
        lambda x: x * torch.sigmoid(x.mean(1, keepdim=True)),
        lambda x: x * torch.sigmoid(x.roll(1, -1)),
        lambda x: (x + x.flip(-1).abs()) / 2,
    ],
)
def test_near_misses_are_no_rectifiers_and_no_swish(function: Callable[..., Tensor]) -> None:
    module, graph = traced(function)
    known = {"relu", "relu6", "leaky_relu", "prelu", "silu", "gelu", "mish", "hardswish"}
    assert between(graph)[-1] not in known
    x = torch.randn(2, 3, 8, 8)
    assert torch.allclose(Runner(graph)(x)[0], module(x), rtol=1e-4, atol=1e-5)
    if function.__code__.co_argcount == 2:
        assert "activation" not in between(graph)


def test_what_is_used_elsewhere_stays() -> None:
    _, graph = traced(lambda x: x * (s := torch.sigmoid(x)) + s.mean((2, 3), keepdim=True))
    assert sorted(between(graph)) == ["add", "sigmoid", "silu"]


def test_residual_sums_and_scaled_rectifiers_are_left_alone() -> None:
    _, graph = traced(lambda x: x + F.relu(x))
    assert between(graph) == ["relu", "add"]
    _, graph = traced(lambda x: 2 * F.relu(x) + 1)
    assert between(graph) == ["relu", "scale", "shift"]
    _, graph = traced(lambda x: F.relu6(F.relu(x)))
    assert between(graph) == ["relu", "relu6"]


def test_methods_treat_a_spelled_rectifier_as_the_module_form() -> None:
    x = torch.rand(1, 3, 8, 8)
    plain = Network(Net(lambda x: F.relu(x)).eval(), input_size=8)
    written = Network(Net(lambda x: torch.where(x > 0, x, 0)).eval(), input_size=8)
    for method in ("deconvnet", "guided_backprop", "lrp", "deep_taylor"):
        a, b = (attribute_tensor(net, x, method, 0) for net in (plain, written))
        assert abs(a.values - b.values).max() <= 1e-6 * abs(a.values).max()
        assert not b.extended


class _Written(nn.Module):
    """An activation as it is written out in many published networks."""

    def __init__(self, function: Spelling) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


WRITTEN: dict[type[nn.Module], Spelling] = {
    nn.SiLU: lambda x: x * torch.sigmoid(x),
    nn.Hardswish: lambda x: x * F.relu6(x + 3) / 6,
    nn.Hardsigmoid: lambda x: F.relu6(x + 3) / 6,
    nn.GELU: lambda x: 0.5 * x * (1 + torch.erf(x / math.sqrt(2))),
    nn.ReLU: lambda x: torch.where(x > 0, x, 0),
}


def written_out(module: nn.Module) -> nn.Module:
    """Return a copy of a network with its activations written out."""
    module = copy.deepcopy(module)
    for parent in [*module.modules()]:
        for name, child in [*parent.named_children()]:
            for kind, function in WRITTEN.items():
                if isinstance(child, kind):
                    setattr(parent, name, _Written(function).eval())
    return module


@pytest.mark.parametrize(
    "name", [pytest.param("efficientnet_b0", marks=pytest.mark.slow), "mobilenet_v3_small", "convnext_tiny"]
)
def test_networks_with_activations_written_out_are_the_published_ones(name: str) -> None:
    torch.manual_seed(0)
    if name == "convnext_tiny":
        blocks = [CNBlockConfig(8, 16, 1), CNBlockConfig(16, 24, 1), CNBlockConfig(24, None, 1)]
        module: nn.Module = torchvision.models.ConvNeXt(blocks, num_classes=5)
    elif name == "efficientnet_b0":
        settings_, last = efficientnet._efficientnet_conf("efficientnet_b0", width_mult=0.25, depth_mult=0.3)
        module = torchvision.models.EfficientNet(settings_, 0.0, num_classes=5, last_channel=last)
    else:
        module = torchvision.models.mobilenet_v3_small(num_classes=5, width_mult=0.5)
    for m in module.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.momentum = None
    module.train()
    with torch.no_grad():
        module(torch.randn(4, 3, 64, 64))
    module.eval()
    plain, other = Network(module, input_size=64), Network(written_out(module), input_size=64)
    assert [n.kind for n in plain.graph] == [n.kind for n in other.graph]
    assert [(x.name, x.activation) for x in plain.layers] == [(x.name, x.activation) for x in other.layers]
    x = torch.randn(1, 3, 64, 64)
    for method in ("gradient", "lrp"):
        a, b = (attribute_tensor(net, x, method, 0) for net in (plain, other))
        assert abs(a.values - b.values).max() <= 1e-3 * abs(a.values).max()
        assert a.extended == b.extended
