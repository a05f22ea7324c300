"""The reverse walk: with no rules it is autograd's gradient; rules act where they should and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, Phase, assume, given, note, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from convscope_core.errors import ArgumentError
from convscope_core.graph import Graph, Runner, trace
from convscope_core.graph.backward import GRADIENT, HELD_GATE, LINEAR, SWITCHED, At, Rule, Table, Walk, _to_few_channels
from convscope_core.graph.layers import find_layers

from .test_geometry import SHAPE, Head, bodies, output_shape
from .test_graph_models import MODELS, build

#: Reused rectifiers, gates, layer norm; in the slow ones overlapping pools, functional rectifiers and concatenation,
#: which random networks have, too.
FAMILIES = [
    "mobilenet_v3_small", "convnext_tiny",
    *(
        pytest.param(x, marks=pytest.mark.slow)
        for x in (
            "googlenet", "resnet18", "densenet121", "shufflenet_v2_x0_5", "regnet_y_400mf", "inception_v3",
            "efficientnet_b0",
        )
    ),
]  # fmt: skip


def exactly(graph: Graph) -> Graph:
    """The graph in float64, so that two orders of summation agree to many digits."""
    return graph.with_tensors(lambda t: t.double() if t.is_floating_point() else t)


def traced(
    forward: Callable[[Any, Tensor], Tensor], shape: tuple[int, int, int] = (3, 12, 10)
) -> tuple[nn.Module, Graph]:
    """A small network whose forward a test gives: it has two convolutions, a batch norm and a rectifier in place."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(shape[0], 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
            self.bn = nn.BatchNorm2d(6)
            self.relu = nn.ReLU(inplace=True)
            self.se = nn.Conv2d(6, 6, 1)

        def forward(self, x: Tensor) -> Tensor:
            return forward(self, x)

    module = Net().eval()
    graph = trace(module, shape)
    return module.double(), exactly(graph)


def autograd(graph: Graph, x: Tensor, signal: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(Runner(graph)(x)[0], x, signal)
    return gradient


def relative(got: Tensor, expected: Tensor) -> float:
    assert got.shape == expected.shape
    return ((got - expected).abs().max() / expected.abs().max().clamp(min=1e-300)).item()


# -- no rules: the gradient --


@pytest.mark.parametrize("name", FAMILIES)
def test_architectures_have_the_gradient_of_autograd(name: str) -> None:
    module, side = build(name), MODELS[name]
    graph = exactly(trace(module, (3, side, side)))
    x = torch.randn(2, 3, side, side, dtype=torch.float64)
    signal = torch.randn(2, *graph.output.shape, dtype=torch.float64)
    # the module's own autograd knows nothing of the graph
    probe = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(module.double()(probe), probe, signal)
    walk = Walk(graph, GRADIENT, [graph.output])
    got = walk(walk.forward(x), {graph.output: signal})
    assert relative(got, expected) < 1e-6


@settings(
    max_examples=20, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.explicit, Phase.generate]
)
@given(body=bodies, rectify=st.booleans(), data=st.data())
def test_random_networks_have_the_gradient_of_autograd(body: nn.Module, rectify: bool, data: st.DataObject) -> None:
    shape = output_shape(body)
    assume(shape is not None)
    note(repr(body))
    module = Head(nn.Sequential(body, nn.ReLU()) if rectify else body).eval()
    graph = exactly(trace(module, SHAPE))
    x = torch.randn(3, *SHAPE, dtype=torch.float64)
    node = data.draw(st.sampled_from([n for n in graph.nodes[1:] if n.batched and n.kind != "size"]))
    walk = Walk(graph, GRADIENT, [node])
    tape = walk.forward(x)
    signal = torch.randn_like(tape.values[node])
    probe = x.clone().requires_grad_()
    _, values = Runner(graph)(probe, [node])
    (expected,) = torch.autograd.grad(values[node], probe, signal, allow_unused=True)
    got = walk(tape, {node: signal})
    assert (got - (torch.zeros_like(got) if expected is None else expected)).abs().max() <= 1e-9 * signal.abs().max()


@pytest.mark.parametrize(
    "forward",
    [
        lambda n, x: torch.cat(n.a(x).chunk(3, 1)[::-1], 1).mean((2, 3)),
        lambda n, x: torch.cat(n.a(x).unbind(2), 1).flatten(1),
        lambda n, x: n.a(x).amax((2, 3)),
        lambda n, x: n.a(x).max(1)[0].flatten(1),
        lambda n, x: F.interpolate(n.a(x), scale_factor=2, mode="bilinear").mean((2, 3)),
        lambda n, x: F.pixel_shuffle(n.b(n.a(x))[:, :4], 2).flatten(1),
        lambda n, x: (1 - n.a(x) / (1 + n.a(x).abs())).mean((2, 3)),
        lambda n, x: (n.a(x) ** 2 * 3 - n.b(n.a(x)).exp()).mean((2, 3)),
        lambda n, x: F.adaptive_max_pool2d(n.a(x), (3, 4)).flatten(1),
        lambda n, x: torch.einsum("nchw,ndhw->ncd", n.a(x), n.a(x)).flatten(1),
        lambda n, x: F.local_response_norm(n.a(x), 3).mean((2, 3)),
        lambda n, x: (n.a(x) + n.a(x).mean((2, 3), keepdim=True)).flatten(1).softmax(1),
        lambda n, x: F.scaled_dot_product_attention(*[n.a(x).flatten(2)] * 3).mean(2),
    ],
)  # fmt: skip
def test_operations_have_the_gradient_of_autograd(forward: Callable[[Any, Tensor], Tensor]) -> None:
    _, graph = traced(forward)
    x = torch.randn(2, 3, 12, 10, dtype=torch.float64)
    signal = torch.randn(2, *graph.output.shape, dtype=torch.float64)
    walk = Walk(graph, GRADIENT, [graph.output])
    assert relative(walk(walk.forward(x), {graph.output: signal}), autograd(graph, x, signal)) < 1e-10


@pytest.mark.parametrize("kernel", [(7, 7), (11, 11), (3, 5), (2, 2), (1, 4)])
@pytest.mark.parametrize("stride", [2, 3, 4])
@pytest.mark.parametrize("padding", [(0, 0), (1, 0), (2, 3)])
@pytest.mark.parametrize("channels", [1, 3])
def test_strided_first_layers(kernel: tuple[int, int], stride: int, padding: tuple[int, int], channels: int) -> None:
    """Which are transposed in phases; also where the last pixels are read by no window."""
    conv = nn.Conv2d(channels, 5, kernel, stride, padding)
    x = torch.randn(2, channels, 17, 16, dtype=torch.float64, requires_grad=True)
    y = conv.double()(x)
    signal = torch.randn_like(y)
    (expected,) = torch.autograd.grad(y, x, signal)
    found = _to_few_channels(signal, conv.weight, stride, padding, x.shape[2:])
    assert relative(found.detach(), expected) < 1e-12


def test_gradient_at_a_layer_leaves_out_what_bypasses_it() -> None:
    module, graph = traced(lambda n, x: (n.relu(n.b(n.relu(n.a(x)))) + n.a(x)).mean((2, 3)))
    x = torch.randn(1, 3, 12, 10, dtype=torch.float64)
    layer = next(y for y in find_layers(graph) if y.anchor.kind == "conv").node
    walk = Walk(graph, GRADIENT, [graph.output], layer)
    got = walk(walk.forward(x), {graph.output: torch.ones(1, 6, dtype=torch.float64)})
    h = module.a(x).relu().detach().requires_grad_()
    (expected,) = torch.autograd.grad((module.b(h).relu() + module.a(x)).mean((2, 3)).sum(), h)
    assert relative(got, expected) < 1e-12


def test_many_signals_share_a_forward_pass() -> None:
    _, graph = traced(lambda n, x: F.max_pool2d(n.relu(n.b(n.relu(n.a(x)))), 3, 2).flatten(1))
    x = torch.randn(3, 3, 12, 10, dtype=torch.float64)
    walk = Walk(graph, GRADIENT, [graph.output])
    pictures = [2, 0, 0, 1, 2]
    signals = torch.randn(5, *graph.output.shape, dtype=torch.float64)
    together = walk(walk.forward(x), {graph.output: signals}, pictures)
    for i, picture in enumerate(pictures):
        alone = walk(walk.forward(x[picture : picture + 1]), {graph.output: signals[i : i + 1]})
        assert relative(together[i : i + 1], alone) < 1e-12
    one = walk(walk.forward(x[:1]), {graph.output: signals})
    assert relative(one[1:3], together[1:3]) < 1e-12


def test_signals_share_a_forward_pass_where_the_batch_is_not_an_axis_of_its_own() -> None:
    def windows(n: Any, x: Tensor) -> Tensor:  # as in Swin: pictures and windows in one axis
        h = n.a(x).reshape(-1, 6, 3, 4, 5, 2).permute(0, 2, 4, 1, 3, 5).reshape(-1, 6, 8)
        return (h.softmax(2) * h).reshape(-1, 15, 48).mean(1)

    _, graph = traced(windows)
    x = torch.randn(2, 3, 12, 10, dtype=torch.float64)
    signals = torch.randn(3, 48, dtype=torch.float64)
    walk = Walk(graph, GRADIENT, [graph.output])
    got = walk(walk.forward(x), {graph.output: signals}, [1, 1, 0])
    assert relative(got, autograd(graph, x[[1, 1, 0]], signals)) < 1e-12


def test_signals_from_several_places_add() -> None:
    _, graph = traced(lambda n, x: n.relu(n.b(n.relu(n.a(x)))).mean((2, 3)))
    x = torch.randn(1, 3, 12, 10, dtype=torch.float64)
    first, last = next(y.node for y in find_layers(graph)), graph.output
    walk = Walk(graph, GRADIENT, [first, last])
    tape = walk.forward(x)
    a, b = torch.randn_like(tape.values[first]), torch.randn_like(tape.values[last])
    alone = [walk(tape, {first: a}), walk(tape, {last: b})]
    assert relative(walk(tape, {first: a, last: b}), alone[0] + alone[1]) < 1e-12


def test_the_walk_works_inside_inference_mode_and_leaves_no_graph() -> None:
    _, graph = traced(lambda n, x: F.silu(n.a(x)).mean((2, 3)))
    with torch.inference_mode():
        x = torch.randn(1, 3, 12, 10, dtype=torch.float64)
        walk = Walk(graph, GRADIENT, [graph.output])
        got = walk(walk.forward(x), {graph.output: torch.ones(1, 6, dtype=torch.float64)})
    assert not got.requires_grad
    assert relative(got, autograd(graph, x.clone(), torch.ones(1, 6, dtype=torch.float64))) < 1e-12


# -- rules --


class Deconv(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, signal: Tensor) -> Tensor:
        return signal.clamp(min=0)


def rectified(signal: Tensor, at: At) -> Tensor:
    return signal.clamp(min=0)


DECONV = Table("deconv", {"relu": Rule(rectified), "mul": HELD_GATE}, LINEAR | SWITCHED)

HABITS: dict[str, Callable[[Any, Tensor, Callable[[Tensor], Tensor]], Tensor]] = {
    "functional": lambda n, x, act: act(n.b(act(n.a(x)))).mean((2, 3)),
    "two consumers": lambda n, x, act: (lambda h: act(h) - 2 * h)(n.a(x)).mean((2, 3)),
    "residual": lambda n, x, act: (lambda h: act(n.b(act(h)) + h))(n.a(x)).mean((2, 3)),
    "overlapping pools": lambda n, x, act: F.max_pool2d(act(n.a(x)), 3, 2, 1, ceil_mode=True).flatten(1),
    "pool with stride 1": lambda n, x, act: F.max_pool2d(act(n.a(x)), 3, 1, 1).flatten(1),
    "average under padding": lambda n, x, act: F.avg_pool2d(act(n.a(x)), 3, 2, 1, True, False).flatten(1),
    "stride": lambda n, x, act: act(F.conv2d(act(n.a(x)), n.b.weight, n.b.bias, 3)).flatten(1),
    "concatenated": lambda n, x, act: torch.cat([act(n.a(x)), n.bn(n.a(x))], 1).mean((2, 3)),
    "norm in between": lambda n, x, act: act(n.bn(act(n.bn(n.a(x)) + 1))).mean((2, 3)),
    "gate": lambda n, x, act: (lambda h: h * n.se(h.mean((2, 3), True)).sigmoid().detach())(act(n.a(x))).mean((2, 3)),
}


@pytest.mark.parametrize("habit", HABITS)
def test_rules_do_what_custom_functions_do_in_autograd(habit: str) -> None:
    forward = HABITS[habit]
    module, graph = traced(lambda n, x: forward(n, x, F.relu))
    x = torch.randn(2, 3, 12, 10, dtype=torch.float64)
    signal = torch.randn(2, *graph.output.shape, dtype=torch.float64)
    probe = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(forward(module, probe, Deconv.apply), probe, signal)
    walk = Walk(graph, DECONV, [graph.output])
    assert relative(walk(walk.forward(x), {graph.output: signal}), expected) < 1e-6


@pytest.mark.parametrize(
    "spelled",
    [
        lambda n, h: n.relu(h), lambda n, h: F.relu(h), lambda n, h: h.relu_(), lambda n, h: h.clamp(min=0),
        lambda n, h: F.threshold(h, 0, 0), lambda n, h: h.clamp_min_(0.0),
    ],
)  # fmt: skip
def test_every_spelling_of_a_rectifier_is_one(spelled: Callable[[Any, Tensor], Tensor]) -> None:
    module, graph = traced(lambda n, x: spelled(n, n.b(spelled(n, n.a(x)))).mean((2, 3)))
    x = torch.randn(1, 3, 12, 10, dtype=torch.float64)
    probe = x.clone().requires_grad_()
    out = Deconv.apply(module.b(Deconv.apply(module.a(probe)))).mean((2, 3))
    signal = torch.randn(1, 6, dtype=torch.float64)
    walk = Walk(graph, DECONV, [graph.output])
    got = walk(walk.forward(x), {graph.output: signal})
    assert relative(got, torch.autograd.grad(out, probe, signal)[0]) < 1e-10


def test_overlapping_windows_add() -> None:
    graph = exactly(trace(nn.Sequential(nn.MaxPool2d(3, 2), nn.Flatten()).eval(), (1, 5, 5)))
    x = torch.zeros(1, 1, 5, 5, dtype=torch.float64)
    x[0, 0, 2, 2] = 1
    walk = Walk(graph, DECONV, [graph.output])
    got = walk(walk.forward(x), {graph.output: torch.ones(1, 4, dtype=torch.float64)})
    assert got[0, 0, 2, 2] == 4
    assert got.sum() == 4


def test_what_no_rule_covers_is_refused_by_name_before_anything_is_computed() -> None:
    _, graph = traced(lambda n, x: F.silu(n.a(x)).mean((2, 3)))
    with pytest.raises(ArgumentError, match=r"deconv.*no rule for silu.*extension='rectify'"):
        Walk(graph, DECONV, [graph.output])


@pytest.mark.parametrize(
    ("forward", "reason"),
    [
        (lambda n, x: (n.a(x) * n.b(n.a(x))).mean((2, 3)), "a product of two maps"),
        (lambda n, x: (lambda h: h * h.sigmoid())(n.a(x)).mean((2, 3)), "no rule for silu"),  # SiLU by hand
        (lambda n, x: (lambda h: h * h)(n.a(x)).mean((2, 3)), "a product of two maps"),
        (lambda n, x: n.a(x).exp().mean((2, 3)), "aten.exp"),
        (lambda n, x: n.a(x).flatten(1).softmax(1), "softmax"),
        (lambda n, x: F.leaky_relu(n.a(x)).mean((2, 3)), "leaky_relu"),
        (lambda n, x: F.local_response_norm(n.a(x), 3).mean((2, 3)), "local_response_norm"),
    ],
)  # fmt: skip
def test_nonlinear_operations_need_a_statement(forward: Callable[[Any, Tensor], Tensor], reason: str) -> None:
    _, graph = traced(forward)
    with pytest.raises(ArgumentError, match=reason):
        Walk(graph, DECONV, [graph.output])
    assert Walk(graph, DECONV.extended("gradient"), [graph.output]).extended


def test_what_computes_a_held_gate_needs_no_rule() -> None:
    _, graph = traced(lambda n, x: (lambda h: h * F.silu(n.se(h.mean((2, 3), True))).sigmoid())(n.a(x)).mean((2, 3)))
    assert not Walk(graph, DECONV, [graph.output]).extended


def test_extensions_are_what_they_say_and_are_listed() -> None:
    module, graph = traced(lambda n, x: n.b(F.silu(n.a(x))).mean((2, 3)))
    x = torch.randn(1, 3, 12, 10, dtype=torch.float64)
    signal = torch.randn(1, 6, dtype=torch.float64)

    def adjoint(conv: nn.Conv2d, s: Tensor) -> Tensor:
        return F.conv_transpose2d(s, conv.weight, padding=1)

    top = adjoint(module.b, signal[:, :, None, None].expand(1, 6, 12, 10) / 120)
    h = module.a(x).detach().requires_grad_()
    (slope,) = torch.autograd.grad(F.silu(h).sum(), h)
    expected = {"rectify": top.clamp(min=0), "pass": top, "gradient": top * slope}
    for extension, at_silu in expected.items():
        walk = Walk(graph, DECONV.extended(extension), [graph.output])
        assert [n.kind for n in walk.extended] == ["silu"]
        got = walk(walk.forward(x), {graph.output: signal})
        assert relative(got, adjoint(module.a, at_silu).detach()) < 1e-10
    with pytest.raises(ArgumentError, match="rectify"):
        DECONV.extended("rectified")


def test_a_target_before_the_layer_is_refused() -> None:
    _, graph = traced(lambda n, x: n.b(n.a(x)).mean((2, 3)))
    first, second = [y.node for y in find_layers(graph)][:2]
    with pytest.raises(ArgumentError, match="depends on"):
        Walk(graph, GRADIENT, [first], second)


def test_signals_must_be_told_which_picture_they_belong_to() -> None:
    _, graph = traced(lambda n, x: n.a(x).mean((2, 3)))
    walk = Walk(graph, GRADIENT, [graph.output])
    tape = walk.forward(torch.randn(2, 3, 12, 10, dtype=torch.float64))
    with pytest.raises(ArgumentError, match="which picture"):
        walk(tape, {graph.output: torch.ones(3, 6, dtype=torch.float64)})
