"""The gradient is autograd's, in every layout and form of writing; what is listed as supported is."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convscope_core.errors import ArgumentError
from convscope_core.explain import attribute, methods
from convscope_core.explain.attribution import attribute_tensor
from convscope_core.graph.forward import ANY_LAYOUT
from convscope_core.network import Network

from .small_networks import FORMS, SHAPE, Small
from .test_graph_models import MODELS, build


def slope(module: nn.Module, x: Tensor, k: int, direction: Tensor) -> float:
    """The derivative of a score along a direction, by finite differences: no autograd has a part in it."""
    with torch.no_grad():
        ends = [module.double()(x.double() + sign * 1e-6 * direction)[0, k] for sign in (1, -1)]
    return float(ends[0] - ends[1]) / 2e-6


@pytest.mark.parametrize("form", FORMS)
def test_every_habit_has_its_gradient_and_the_methods_that_it_is_said_to_have(form: str) -> None:
    module = Small(FORMS[form]).eval()
    net = Network(module, input_size=SHAPE, dtype=torch.float64)
    x = torch.randn(1, *SHAPE)
    supported = [m.name for m in methods(net) if m.supported]
    assert {"gradient", "input_times_gradient", "smoothgrad", "integrated_gradients"} <= {*supported}
    for name in supported:
        few = {"smoothgrad": {"samples": 2}, "integrated_gradients": {"steps": 2}}.get(name, {})
        assert np.isfinite(attribute(net, x, name, 1, **few).values).all()
    got = attribute_tensor(net, x.double(), "gradient", 1).values
    for _ in range(3):
        direction = torch.randn_like(x).double()
        expected = slope(module, x, 1, direction)
        assert float((torch.from_numpy(got) * direction).sum()) == pytest.approx(expected, rel=1e-4, abs=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_what_is_supported_gives_finite_values_on_architectures(name: str) -> None:
    module, side = build(name), MODELS[name]
    net = Network(module, input_size=side)
    x = torch.rand(1, 3, side, side)
    for m in methods(net):
        if m.supported:
            assert np.isfinite(attribute(net, x, m.name).values).all()
    probe = x.double().requires_grad_()
    scores = module.double()(probe)[0]
    target = int(scores.argmax())  # SqueezeNet's scores are rectified: of most classes 0, and so their gradients
    (expected,) = torch.autograd.grad(scores[target], probe)
    got = attribute_tensor(Network(module, input_size=side, dtype=torch.float64), x.double(), "gradient", target)
    assert abs(got.values - expected[0].numpy()).max() < 1e-5 * float(expected.abs().max())


# -- layouts --

#: One operation of each kind whose derivative is trusted with any layout; and some that are not.
LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "conv": lambda x: F.conv2d(x, torch.ones(8, 8, 3, 3).to(x)),
    "linear": lambda x: F.linear(x, torch.ones(4, 6).to(x)),
    "batch_norm": lambda x: F.batch_norm(x, torch.zeros(8).to(x), 2 * torch.ones(8).to(x)),
    "add": lambda x: x + x.flip(1), "sub": lambda x: x - x.flip(1), "mul": lambda x: x * x.flip(1),
    "cat": lambda x: torch.cat([x, 2 * x], 1), "max_pool": lambda x: F.max_pool2d(x, 3, 2, 1),
    "avg_pool": lambda x: F.avg_pool2d(x, 3, 2, 1), "scale": lambda x: 2 * x, "shift": lambda x: x + 2,
    "relu": F.relu, "relu6": lambda x: F.relu6(4 * x), "silu": F.silu, "gelu": F.gelu, "hardswish": F.hardswish,
    "mish": F.mish, "leaky_relu": F.leaky_relu, "sigmoid": torch.sigmoid, "flatten": lambda x: x.flatten(1),
    "reshape": lambda x: x.reshape(len(x), 4, 12, 6), "permute": lambda x: x.permute(0, 2, 3, 1),
    "slice": lambda x: x[:, 1:5], "pad": lambda x: F.pad(x, (1, 0, 2, 1), mode="reflect"),
    "mean": lambda x: x.mean((2, 3)), "adaptive_avg_pool": lambda x: F.adaptive_avg_pool2d(x, 4),
    "adaptive_max_pool": lambda x: F.adaptive_max_pool2d(x, 4), "softmax": lambda x: x.softmax(1),
    "layer_norm": lambda x: F.layer_norm(x, (6, 6)),
}  # fmt: skip


@pytest.mark.parametrize("kind", sorted(ANY_LAYOUT))
def test_kinds_that_are_trusted_with_any_layout_can_be(kind: str) -> None:
    operation = LAYOUTS[kind]
    last = torch.channels_last

    def gradient(x: Tensor, signal: Tensor) -> Tensor:
        x = x.detach().clone().requires_grad_()
        return torch.autograd.grad(operation(x), x, signal)[0]

    for batch, x_last, signal_last in itertools.product((1, 2), (False, True), (False, True)):
        x = torch.randn(batch, 8, 6, 6)
        signal = torch.randn_like(operation(x)).contiguous()
        expected = gradient(x.double(), signal.double())
        x = x.to(memory_format=last) if x_last else x
        signal = signal.to(memory_format=last) if signal_last and signal.dim() == 4 else signal
        got = gradient(x, signal)
        assert (got - expected).abs().max() < 1e-5 * expected.abs().max()


@pytest.mark.parametrize("norm", ["instance", "group"])
def test_a_layout_that_pytorch_derives_wrongly_is_not_handed_to_it(norm: str) -> None:
    """PyTorch's derivative of an instance norm is wrong for one picture whose signal is channels-last."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.l = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, 2, padding=1), nn.Linear(8, 7)
            self.n = nn.InstanceNorm2d(8, affine=True) if norm == "instance" else nn.GroupNorm(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            return self.l(self.b(self.n(self.a(x)).relu()).relu().mean((2, 3)))

    module = Net().eval()
    net = Network(module, input_size=64)
    x = torch.randn(1, 3, 64, 64)
    probe = x.double().requires_grad_()
    (expected,) = torch.autograd.grad(module.double()(probe)[0, 2], probe)
    found = {m: attribute(net, x, m, 2, **o).values for m, o in (("gradient", {}), ("smoothgrad", {"noise": 0.0}))}
    for values in found.values():
        assert abs(values - expected[0].numpy()).max() < 1e-4 * float(expected.abs().max())
    (_, got) = net.gradients(x, lambda scores, _: [scores[0, 2]])[0]
    assert (got - expected).abs().max() < 1e-4 * expected.abs().max()


# -- no derivative --

_LIBRARY = torch.library.Library("convscope_tests", "DEF")
_LIBRARY.define("tripled(Tensor x) -> Tensor")
for _backend in ("CPU", "CUDA"):
    _LIBRARY.impl("tripled", lambda x: 3 * x, _backend)
_LIBRARY.impl("tripled", torch.empty_like, "Meta")


@torch.library.custom_op("convscope_tests::doubled", mutates_args=())
def _doubled(x: Tensor) -> Tensor:
    return 2 * x


@_doubled.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


@pytest.mark.parametrize("name", ["doubled", "tripled"])
def test_operations_without_derivative_are_refused_by_name(name: str) -> None:
    operation = getattr(torch.ops.convscope_tests, name)
    net = Network(Small(lambda n, x: operation(x)).eval(), input_size=SHAPE)
    reasons = {m.name: m.reason for m in methods(net)}
    for method in ("gradient", "input_times_gradient", "smoothgrad", "integrated_gradients"):
        assert f"convscope_tests.{name}" in reasons[method]
        assert "register_autograd" in reasons[method]
        with pytest.raises(ArgumentError, match=f"convscope_tests.{name}"):
            attribute(net, torch.randn(SHAPE), method)
    assert not reasons["grad_cam"]  # its layer comes after the operation
    layer = net.layers[-2].name
    assert np.isfinite(attribute(net, torch.randn(SHAPE), "gradient", layer=layer).values).all()


def test_a_rectifier_that_falls_below_zero_is_differentiated() -> None:
    """Its sign does not tell that of its input, so that PyTorch refuses to differentiate it once written in place."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.LeakyReLU(-0.2), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(64, 3))
    net = Network(module.eval(), input_size=8)
    x = torch.randn(1, 3, 8, 8, requires_grad=True)
    (expected,) = torch.autograd.grad(module(x)[0, 1], x)
    for found in (
        attribute_tensor(net, x.detach(), "gradient", 1).values,
        net.gradients(x.detach(), lambda scores, _: [scores[0, 1]])[0][1],
    ):
        np.testing.assert_allclose(np.asarray(found).reshape(3, 8, 8), expected[0], rtol=1e-4, atol=1e-6)
    assert np.isfinite(attribute_tensor(net, x.detach(), "integrated_gradients", 1).values).all()


@pytest.mark.parametrize("method", ["gradient", "input_times_gradient", "smoothgrad", "integrated_gradients"])
@pytest.mark.parametrize("step", [lambda x: (20 * x).to(torch.uint8).float(), lambda x: (x > 0).float()])
def test_behind_whole_numbers_the_gradient_is_zero(method: str, step: Callable[[Tensor], Tensor]) -> None:
    net = Network(Small(lambda n, x: step(x)).eval(), input_size=SHAPE)
    assert not attribute(net, torch.rand(SHAPE), method, 1).values.any()


def test_values_that_are_not_finite_are_named() -> None:
    net = Network(Small(lambda n, x: x**3).eval(), input_size=SHAPE)
    with pytest.raises(ArgumentError, match="whose values for this picture are finite"):
        attribute(net, 1e20 * torch.ones(SHAPE), "gradient", 1)
    net = Network(Small(lambda n, x: (x.amax(3, keepdim=True) - x).sqrt()).eval(), input_size=SHAPE)  # infinite there
    with pytest.raises(ArgumentError, match=r"NaN or infinity in \d+ of 432"):
        attribute(net, torch.randn(SHAPE), "gradient", 1)


def test_signals_that_leave_the_range_of_float32_come_back() -> None:
    """Seventy layers, each of which multiplies by about ten, and a last that takes it all back."""
    torch.manual_seed(0)
    layers: list[Any] = []
    for _ in range(70):
        conv = nn.Conv2d(3, 3, 1, bias=False)
        conv.weight.data = 10 * torch.eye(3)[:, :, None, None]
        layers += [conv, nn.ReLU()]
    last = nn.Linear(3, 2, bias=False)
    net = Network(nn.Sequential(*layers[:40], nn.AdaptiveAvgPool2d(1), nn.Flatten(), last).eval(), input_size=4)
    x = torch.rand(3, 4, 4)
    assert attribute(net, x, "gradient", 0).options.get("scale") is None
    long = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), last).eval()
    for m in long[:60:2]:  # the lower layers shrink: the scores are in range, the gradients of the middle are not
        m.weight.data /= 100
    net = Network(long, input_size=4)
    got = attribute(net, x, "gradient", 0).values
    assert np.isfinite(got).all()
    gain = 10.0 ** (70 - 60)
    expected = (last.weight[0].detach().double() * gain / 16)[:, None, None].expand(3, 4, 4)
    assert abs(got - expected.numpy()).max() < 1e-4 * float(expected.abs().max())
