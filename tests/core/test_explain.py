"""Methods against published cases, Captum where it is right, and plain autograd under custom functions."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convscope_core.errors import ArgumentError, ImageError, LayerError, TraceError
from convscope_core.explain import Attribution, attribute, methods
from convscope_core.explain.deconvnet import deconvnet
from convscope_core.explain.guided_backprop import guided_backprop
from convscope_core.graph import trace
from convscope_core.graph.backward import GRADIENT, Table, Walk
from convscope_core.network import Network

from .test_backward import Deconv
from .test_graph_models import MODELS, build


@pytest.fixture(scope="module")
def cases(reference: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((reference / "unit_cases.json").read_text())
    return found


class Function(nn.Module):
    """A classifier from a function of (N, 1, 1, K) values, one score for each."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x).flatten(1)


def summed(net: Network, x: Tensor, method: str, **options: Any) -> list[float]:
    """The attribution of the sum of all scores, each on its own (the methods are not additive in general)."""
    found = [attribute(net, x, method, k, start="one", **options).values.ravel() for k in range(len(net.labels))]
    return np.sum(found, 0).tolist()


# -- numbers that others published --


def one_conv() -> Network:
    conv, fc = nn.Conv2d(1, 2, 3), nn.Linear(8, 4)
    conv.weight.data.fill_(1)
    conv.bias.data = torch.tensor([-50.0, -75.0])
    fc.weight.data = torch.tensor([1.0] * 5 + [-1.0] * 3).expand(4, 8).clone()
    fc.bias.data.zero_()
    return Network(nn.Sequential(conv, nn.ReLU(), nn.Flatten(), fc, nn.ReLU()).eval(), input_size=(1, 4, 4))


@pytest.mark.parametrize(("method", "key"), [("deconvnet", "deconv"), ("guided_backprop", "guided")])
def test_cases_of_captum(cases: dict[str, Any], method: str, key: str) -> None:
    net = one_conv()
    inputs = [torch.arange(16.0).view(1, 1, 4, 4), torch.arange(16.0).view(1, 1, 4, 4) + 1]
    for x, case in zip(inputs, cases["captum"][key], strict=True):
        got = attribute(net, x, method, 0, start="one").values[0]
        expected = case["expected"] if "expected" in case else case["expected_each"]
        np.testing.assert_allclose(got, expected)


def test_cases_of_xplique(cases: dict[str, Any]) -> None:
    first, second = cases["xplique"]["cases"]
    net = Network(Function(lambda x: 10 * F.relu(x)).eval(), input_size=(1, 1, 4))
    x = torch.tensor(first["x"], dtype=torch.float32).view(1, 1, 1, 4)
    assert summed(net, x, "gradient") == first["plain"]
    assert summed(net, x, "deconvnet") == first["deconv"]
    net = Network(Function(lambda x: -(F.relu(x) ** 2)).eval(), input_size=(1, 1, 4))
    assert summed(net, x, "gradient") == second["plain"]
    assert summed(net, x, "guided_backprop", extension="gradient") == second["guided"]
    with pytest.raises(ArgumentError, match=r"guided_backprop.*no rule for aten\.pow"):
        attribute(net, x, "guided_backprop", 0)


def test_rectifier_whose_input_has_a_second_consumer(cases: dict[str, Any]) -> None:
    trap = cases["skip_trap"]
    x = torch.tensor(trap["x"], dtype=torch.float32).view(1, 1, 1, 3)
    for sign, case in zip((2, -2), trap["cases"], strict=True):
        net = Network(Function(lambda x, s=sign: (lambda h: F.relu(h) + s * h)(x * 1.0)).eval(), input_size=(1, 1, 3))
        assert summed(net, x, "deconvnet") == case["deconv"]
        assert summed(net, x, "guided_backprop") == case["guided"]


@pytest.mark.parametrize(
    ("name", "method"),
    [("Gradient", "gradient"), ("Deconvnet", "deconvnet"), ("GuidedBackprop", "guided_backprop"),
     ("InputTimesGradient", "input_times_gradient")],
)  # fmt: skip
@pytest.mark.parametrize("layer", ["Conv2D", "Conv2D_relu", "Dense", "Dense_relu", "AveragePooling2D", "MaxPooling2D"])
def test_single_layers_of_innvestigate(reference: Path, name: str, method: str, layer: str) -> None:
    data = np.load(reference / "innvestigate" / f"layer_ref_{name}.npz")
    x = torch.from_numpy(data["input"]).permute(0, 3, 1, 2).contiguous()
    body: list[nn.Module]
    if layer.startswith("Conv2D"):
        kernel = torch.from_numpy(data[f"{layer}.weights.0"]).permute(3, 2, 0, 1).contiguous()
        body = [nn.Conv2d(3, kernel.shape[0], 3)]
    elif layer.startswith("Dense"):
        kernel = torch.from_numpy(data[f"{layer}.weights.0"]).t()[:, :, None, None].contiguous()
        body = [nn.Conv2d(3, kernel.shape[0], 1)]
    else:
        body = [nn.AvgPool2d(2) if layer == "AveragePooling2D" else nn.MaxPool2d(2)]
    if isinstance(body[0], nn.Conv2d):
        body[0].weight.data = kernel
        body[0].bias.data = torch.from_numpy(data[f"{layer}.weights.1"])
    if layer.endswith("relu"):
        body.append(nn.ReLU())
    module = nn.Sequential(*body)
    turned = Function(lambda x: x.permute(0, 2, 3, 1))
    net = Network(nn.Sequential(module, turned).eval(), input_size=(3, 10, 10))
    for picture, output, expected in zip(x, data[f"{layer}.output"], data[f"{layer}.attribution"], strict=True):
        got = attribute(net, picture, method, int(output.argmax()))
        assert got.score == pytest.approx(output.max(), rel=1e-5)
        np.testing.assert_allclose(got.values.transpose(1, 2, 0), expected, rtol=1e-5, atol=1e-5 * abs(expected).max())


@pytest.mark.parametrize("which", ["max", "index"])
@pytest.mark.parametrize(
    ("key", "method"),
    [("gradient", "gradient"), ("deconvnet", "deconvnet"), ("guided_backprop", "guided_backprop"),
     ("input_t_gradient", "input_times_gradient")],
)  # fmt: skip
def test_network_of_innvestigate(reference: Path, key: str, method: str, which: str) -> None:
    data = np.load(reference / "innvestigate" / "mlp.npz")
    layers: list[nn.Module] = [nn.Flatten()]
    for name in json.loads(str(data["meta"]))["layers"]:
        weight = torch.from_numpy(data[f"w.{name}"])
        layers += [nn.Linear(weight.shape[1], weight.shape[0]), nn.ReLU()]
        layers[-2].weight.data, layers[-2].bias.data = weight, torch.from_numpy(data[f"b.{name}"])
    net = Network(nn.Sequential(*layers[:-1]).eval(), input_size=(1, 1, 20))
    target = None if which == "max" else json.loads(str(data["meta"]))["index_neuron"]
    for x, logits, expected in zip(data["X_eval"], data["logits_eval"], data[f"{key}.{which}"], strict=True):
        # There the walk starts from the score whatever its sign.
        start = {"start": "value"} if method in ("deconvnet", "guided_backprop") else {}
        got = attribute(net, torch.from_numpy(x).view(1, 1, 20), method, target, **start)
        assert got.score == pytest.approx(logits.max() if target is None else logits[target], rel=1e-5)
        np.testing.assert_allclose(got.values.ravel(), expected, rtol=1e-5, atol=1e-5 * abs(expected).max())


# -- Captum, where it is right --


@pytest.mark.parametrize("name", ["squeezenet1_0", "resnet18"])
def test_deconvnet_and_guided_backprop_are_those_of_captum(name: str) -> None:
    """ResNet's rectifiers read sums that nothing else reads, and all are modules, though used twice and in place."""
    from captum.attr import Deconvolution, GuidedBackprop

    module, side = build(name), MODELS[name]
    for m in module.modules():  # Captum's hooks need a module for each use
        for child, r in m.named_children():
            if isinstance(r, nn.ReLU):
                setattr(m, child, nn.ReLU())
    if name == "resnet18":
        for block in [b for layer in (module.layer1, module.layer2, module.layer3, module.layer4) for b in layer]:
            block.after = nn.ReLU()
            block.forward = lambda x, b=block: b.after(
                b.bn2(b.conv2(b.relu(b.bn1(b.conv1(x))))) + (x if b.downsample is None else b.downsample(x))
            )
    net = Network(build(name), input_size=side)
    x = torch.randn(1, 3, side, side)
    for method, theirs in (("deconvnet", Deconvolution), ("guided_backprop", GuidedBackprop)):
        got = attribute(net, x, method, 3, start="one").values
        expected = theirs(module).attribute(x.clone().requires_grad_(), target=3)[0].detach().numpy()
        assert abs(got - expected).max() < 1e-4 * abs(expected).max()


# -- plain autograd under custom functions, where it is not --


class _Guided(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return g.clamp(min=0) * (ctx.saved_tensors[0] > 0)


@pytest.mark.parametrize(
    "name", ["googlenet", *(pytest.param(n, marks=pytest.mark.slow) for n in ("densenet121", "inception_v3"))]
)
def test_functional_rectifiers_count(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """DenseNet's last rectifier, and all of GoogLeNet's and Inception's, are functions, which Captum does not see."""
    module, side = build(name), MODELS[name]
    graph = trace(module, (3, side, side)).with_tensors(lambda t: t.double() if t.is_floating_point() else t)
    module.double()
    x = torch.randn(1, 3, side, side, dtype=torch.float64)
    signal = torch.zeros(1, 1000, dtype=torch.float64)
    signal[0, 5] = 1

    def back(table: Table) -> Tensor:
        walk = Walk(graph, table, [graph.output])
        return walk(walk.forward(x), {graph.output: signal})

    plain = back(GRADIENT)
    for table, function in ((deconvnet(None), Deconv), (guided_backprop(None), _Guided)):
        got = back(table)
        with monkeypatch.context() as patched:
            patched.setattr(F, "relu", lambda h, inplace=False, f=function: f.apply(h))
            probe = x.clone().requires_grad_()
            (expected,) = torch.autograd.grad(module(probe), probe, signal)
        assert (got - expected).abs().max() < 1e-6 * expected.abs().max()
        assert (got - plain).abs().max() > 0.01 * plain.abs().max()


# -- laws --


def small(*, norm: bool = False, pool: bool = True) -> nn.Module:
    layers: list[nn.Module] = [nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU()]
    if pool:
        layers.append(nn.MaxPool2d(3, 2))
    if norm:
        layers.append(nn.LocalResponseNorm(5))
    layers += [nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(8, 6, 3), nn.ReLU(), nn.Flatten()]
    body = nn.Sequential(*layers)
    features = body(torch.zeros(1, 3, 32, 32)).shape[1]
    return nn.Sequential(*layers, nn.Linear(features, 4)).eval()


def test_without_rectifier_and_response_norm_the_deconvnet_is_the_gradient() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.MaxPool2d(3, 2), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.LazyLinear(3))
    module(torch.zeros(1, 3, 20, 20))
    net = Network(module.eval(), input_size=20)
    x = torch.randn(3, 20, 20)
    deconv, gradient = (attribute(net, x, m, 0, start="one").values for m in ("deconvnet", "gradient"))
    np.testing.assert_allclose(deconv, gradient, atol=1e-7)


def test_the_ingredients_of_the_deconvnet_can_be_taken_out() -> None:
    net = Network(small(norm=True), input_size=32)
    x = torch.randn(3, 32, 32)

    def deconv(**options: Any) -> Any:
        return attribute(net, x, "deconvnet", 1, start="one", **options).values

    def same(a: Any, b: Any) -> bool:
        return bool(np.allclose(a, b, atol=1e-6 * abs(b).max()))

    gradient, guided = (attribute(net, x, m, 1, start="one").values for m in ("gradient", "guided_backprop"))
    assert same(deconv(rectify=False, forward_mask=True, response_norm="gradient"), gradient)
    assert same(deconv(forward_mask=True, response_norm="gradient"), guided)
    assert not same(deconv(), guided)
    assert not same(deconv(), deconv(switches=False))
    assert not same(deconv(), deconv(response_norm="gradient"))
    # without switches nothing but filters is left: the picture does not matter
    other = attribute(net, torch.randn(3, 32, 32), "deconvnet", 1, start="one", switches=False).values
    assert same(other, deconv(switches=False))


def test_without_switches_values_go_to_the_centres_of_their_windows() -> None:
    net = Network(nn.Sequential(nn.MaxPool2d(3, 2, 1), nn.Flatten()).eval(), input_size=(1, 6, 6))
    x = torch.randn(1, 6, 6)
    found = [np.argwhere(attribute(net, x, "deconvnet", k, start="one", switches=False).values[0]) for k in range(9)]
    assert [f.tolist() for f in found] == [[[r, c]] for r in (0, 2, 4) for c in (0, 2, 4)]


def test_projection_is_positively_homogeneous_and_not_additive() -> None:
    net = Network(small(), input_size=32)
    x = torch.randn(3, 32, 32)
    layer = net.layers[2].name
    one = attribute(net, x, "deconvnet", (layer, 2, 1, 1), start="one").values
    value = attribute(net, x, "deconvnet", (layer, 2, 1, 1))
    np.testing.assert_allclose(value.values, value.score * one, rtol=1e-4, atol=1e-7)


def test_in_place_and_reused_rectifiers_give_what_ordinary_ones_give() -> None:
    torch.manual_seed(1)
    plain = small()
    torch.manual_seed(1)
    other = small()
    shared = nn.ReLU(inplace=True)
    for i, m in enumerate(other):
        if isinstance(m, nn.ReLU):
            other[i] = shared
    other.eval()
    x = torch.randn(3, 32, 32)
    for method in ("deconvnet", "guided_backprop", "gradient"):
        a, b = (attribute(Network(m, input_size=32), x, method, 2).values for m in (plain, other))
        np.testing.assert_array_equal(a, b)


def test_the_module_is_as_it_was() -> None:
    module = small()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    net = Network(module, input_size=32, snapshot=False)
    attribute(net, torch.randn(3, 32, 32), "guided_backprop")
    with pytest.raises(ArgumentError):
        attribute(net, torch.randn(3, 32, 32), "guided_backprop", 99)
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in module.parameters())
    assert not any(m.training or m._forward_hooks or m._backward_hooks for m in module.modules())


def test_a_soft_max_at_the_end_is_left_out() -> None:
    torch.manual_seed(1)
    module = small()
    x = torch.randn(3, 32, 32)
    plain = attribute(Network(module, input_size=32), x, "gradient")
    soft = attribute(Network(nn.Sequential(module, nn.Softmax(1)).eval(), input_size=32), x, "gradient")
    np.testing.assert_array_equal(plain.values, soft.values)
    assert soft.score == plain.score


# -- targets, layers, results --


@pytest.fixture(scope="module")
def net() -> Network:
    torch.manual_seed(0)
    return Network(small(), input_size=32, labels=["ant", "bee", "cat", "dog"], name="small")


def test_targets(net: Network) -> None:
    x = torch.randn(3, 32, 32)
    best = attribute(net, x, "gradient")
    assert best.label == net.predict(x).label
    assert best.target == net.predict(x).index
    np.testing.assert_array_equal(attribute(net, x, "gradient", best.label).values, best.values)
    layer = net.layers[2]
    maps = net.activations(x, layer.name)[layer.name][0, 5]
    channel = attribute(net, x, "gradient", (layer.aliases[0], 5))
    assert channel.target == (layer.name, 5)
    assert channel.score == pytest.approx(maps.sum().item(), rel=1e-5)
    units = [attribute(net, x, "gradient", (layer.name, 5, r, c)) for r in range(7) for c in range(7)]
    assert [u.score for u in units] == pytest.approx(maps.flatten().tolist(), rel=1e-5)
    np.testing.assert_allclose(sum(u.values for u in units), channel.values, atol=1e-5)


def test_attribution_at_a_layer(net: Network) -> None:
    x = torch.randn(3, 32, 32)
    layer = net.layers[2]
    got = attribute(net, x, "input_times_gradient", 1, layer=layer.name)
    assert got.values.shape == (layer.channels, *layer.size)
    assert got.layer == layer.name
    vector = attribute(net, x, "gradient", 1, layer=net.layers[-1].name)
    assert vector.values.ravel().tolist() == [0, 1, 0, 0]


def test_a_result_carries_what_it_takes_to_make_it_again_and_shows_itself(net: Network) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    a = attribute(net, torch.randn(3, 32, 32), "deconvnet", "cat", switches=False)
    assert isinstance(a, Attribution)
    assert (a.method, a.group, a.target, a.label) == ("deconvnet", "signal", 2, "cat")
    assert a.options["switches"] is False
    assert a.fingerprint == net.fingerprint
    assert a.values.dtype == np.float32
    assert "deconvnet (signal) for cat" in repr(a)
    assert "switches=False" in repr(a)
    assert isinstance(a.plot(), matplotlib.figure.Figure)
    assert isinstance(attribute(net, torch.randn(3, 32, 32), "gradient").plot(), matplotlib.figure.Figure)


def test_methods_are_listed_with_what_a_network_supports(net: Network) -> None:
    found = {m.name: m for m in methods(net)}
    without = {name for name, m in found.items() if not m.supported}
    assert without == {"patternnet", "patternattribution"}, "these need patterns"
    assert all(m.supported == (not m.reason) for m in found.values())
    assert [m.group for m in methods(net)] == sorted(
        [m.group for m in methods(net)], key=["function", "signal", "attribution"].index
    )


@pytest.mark.parametrize("activation", [nn.SiLU(), nn.GELU(), nn.Hardswish()])
def test_the_deconvnet_refuses_what_it_is_not_defined_for(activation: nn.Module) -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), activation, nn.Flatten(), nn.Linear(144, 2)).eval()
    net = Network(module, input_size=8)
    kind = type(activation).__name__.lower()
    info = {m.name: m for m in methods(net)}
    assert info["gradient"].supported
    assert not info["deconvnet"].supported
    assert kind in info["deconvnet"].reason
    assert "✗ deconvnet" in repr(methods(net))
    x = torch.randn(3, 8, 8)
    with pytest.raises(ArgumentError, match=f"{kind} \\(1\\).*gradient.*extension='rectify'"):
        attribute(net, x, "deconvnet")
    extended = attribute(net, x, "deconvnet", extension="rectify")
    assert extended.extended == {"1": kind}
    assert "beyond the published method" in repr(extended)
    assert not attribute(net, x, "gradient").extended


def test_bad_input_is_told_what_is_possible(net: Network) -> None:
    x = torch.randn(3, 32, 32)
    layer = net.layers[2].name
    for arguments, options, error, message in [
        (("deconvent",), {}, ArgumentError, "deconvnet"),
        (("deconvnet",), {"swiches": False}, ArgumentError, "switches"),
        (("deconvnet",), {"switches": 1}, ArgumentError, "True or False"),
        (("deconvnet",), {"start": "two"}, ArgumentError, "'one', 'value'"),
        (("deconvnet",), {"extension": "any"}, ArgumentError, "'rectify', 'pass', 'gradient'"),
        (("gradient", 4), {}, ArgumentError, "0 to 3"),
        (("gradient", "cow"), {}, ArgumentError, "by label"),
        (("gradient", ("nowhere", 0)), {}, LayerError, "name of a layer"),
        (("gradient", (layer, 8)), {}, LayerError, "0 to 7"),
        (("gradient", (layer, 0, 7, 0)), {}, ArgumentError, "7×7"),
        (("gradient", (layer, 0, 0)), {}, ArgumentError, r"\(layer, channel, row, column\)"),
        (("gradient", (layer, 0.5)), {}, ArgumentError, "whole number"),
        (("gradient", 0, "nowhere"), {}, LayerError, "name of a layer"),
        (("gradient", (net.layers[0].name, 0), layer), {}, ArgumentError, "depends on"),
    ]:
        with pytest.raises(error, match=message):
            attribute(net, x, *arguments, **options)
    with pytest.raises(ImageError, match="NaN"):
        attribute(net, x * float("nan"), "gradient")


def test_half_precision_pictures_are_computed_in_full(net: Network) -> None:
    x = torch.randn(3, 32, 32).half()
    np.testing.assert_array_equal(attribute(net, x, "gradient").values, attribute(net, x.float(), "gradient").values)


def test_modules_in_train_mode_are_refused() -> None:
    with pytest.raises(TraceError, match="eval"):
        Network(small().train(), input_size=32)
