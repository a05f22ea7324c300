"""LRP and deep Taylor decomposition against contributions written out one by one; Captum's methods behind our call."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from convscope_core.errors import ArgumentError, LayerError
from convscope_core.explain import attribute, methods, project
from convscope_core.explain.lrp import PRESETS
from convscope_core.network import Network

from .test_graph_models import build

SHAPE = (3, 9, 8)
EPSILON = 0.05


def body(*, bias: bool = True, pad: int = 1) -> nn.Sequential:
    torch.manual_seed(2)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, pad, bias=bias), nn.ReLU(), nn.Conv2d(4, 5, 3, 1, pad, bias=bias), nn.ReLU(),
        nn.Flatten(), nn.LazyLinear(6, bias=bias), nn.ReLU(), nn.Linear(6, 3, bias=bias),
    ).eval()  # fmt: skip


def ready(module: nn.Module) -> Network:
    module(torch.zeros(1, *SHAPE))
    return Network(module, input_size=SHAPE)


def matrices(module: nn.Sequential, x: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Input, weight matrix (inputs × outputs) and bias of each layer with weights, all in float64."""
    found = []
    value = x[None].double()
    for m in module.double():
        if isinstance(m, (nn.Conv2d, nn.Linear)):
            zero = m(torch.zeros_like(value))
            w = torch.autograd.functional.jacobian(m, torch.zeros_like(value))
            found.append((value.flatten(), w.reshape(zero.numel(), -1).T, zero.detach().flatten()))
        value = m(value).detach()
    return found


def epsilon(x: Tensor, w: Tensor, b: Tensor, r: Tensor) -> Tensor:
    c = x[:, None] * w
    z = c.sum(0) + b
    return (c / (z + EPSILON * torch.where(z < 0, -1.0, 1.0)) * r).sum(1)


def gamma(x: Tensor, w: Tensor, b: Tensor, r: Tensor, g: float = 0.5) -> Tensor:
    c = x[:, None] * w
    found = torch.zeros_like(x)
    for j, z in enumerate((c.sum(0) + b).tolist()):
        favoured = [v + g * v * (v * z > 0) for v in (c[:, j], b[j])]
        total = favoured[0].sum() + favoured[1]
        found += favoured[0] / (total + EPSILON * torch.where(total < 0, -1.0, 1.0)) * r[j]
    return found


def alpha_beta(
    x: Tensor, w: Tensor, b: Tensor, r: Tensor, alpha: float = 1.5, beta: float = 0.5, eps: float = EPSILON
) -> Tensor:
    c = x[:, None] * w
    out = torch.zeros_like(x)
    for weight, part, share in ((alpha, c.clamp(min=0), b.clamp(min=0)), (-beta, c.clamp(max=0), b.clamp(max=0))):
        z = part.sum(0) + share
        out += weight * (part / (z + eps * torch.where(z < 0, -1.0, 1.0)) * r).sum(1)
    return out


def z_plus(x: Tensor, w: Tensor, b: Tensor, r: Tensor) -> Tensor:
    return alpha_beta(x, w, b, r, 1, 0)


def z_box(x: Tensor, w: Tensor, b: Tensor, r: Tensor) -> Tensor:
    c = x[:, None] * w - 1 * w.clamp(max=0)  # between 0 and 1, as networks without preprocessing take pictures
    z = c.sum(0)
    return (c / (z + EPSILON * torch.where(z < 0, -1.0, 1.0)) * r).sum(1)


def w_squared(x: Tensor, w: Tensor, b: Tensor, r: Tensor) -> Tensor:
    return (w**2 / (w**2).sum(0) * r).sum(1)


def flat(x: Tensor, w: Tensor, b: Tensor, r: Tensor) -> Tensor:
    ones = (w != 0).double()
    return (ones / ones.sum(0) * r).sum(1)


FORMULAS = {f.__name__: f for f in (epsilon, gamma, alpha_beta, z_plus, z_box, w_squared, flat)}


def brute_force(module: nn.Sequential, x: Tensor, rules: Sequence[Callable[..., Tensor]], k: int) -> Tensor:
    layers = matrices(module, x)
    last, w, b = layers[-1]
    r = torch.zeros(w.shape[1], dtype=torch.float64)
    r[k] = (last @ w + b)[k]
    for (value, w, b), rule in reversed(list(zip(layers, rules, strict=True))):
        r = rule(value, w, b, r)
    return r.reshape(SHAPE)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("conv", "dense", "first"),
    [("epsilon", "epsilon", None), ("gamma", "epsilon", "z_box"), ("z_plus", "z_plus", "flat"),
     ("alpha_beta", "gamma", "w_squared"), ("w_squared", "flat", "alpha_beta"), ("flat", "w_squared", "gamma")],
)  # fmt: skip
def test_rules_share_as_their_formulas_say(conv: str, dense: str, first: str | None, bias: bool) -> None:
    module = body()
    net = ready(module)
    x = torch.rand(SHAPE) if first == "z_box" else torch.randn(SHAPE)
    chosen = {"conv": conv, "dense": dense, "first": first, "preset": "epsilon", "bias": bias}
    got = attribute(net, x, "lrp", 1, epsilon=EPSILON, gamma=0.5, alpha=1.5, beta=0.5, **chosen).values
    names = [first or conv, conv, dense, dense]

    def rule(name: str) -> Callable[..., Tensor]:
        return lambda x, w, b, r: FORMULAS[name](x, w, b if bias else b * 0, r)

    expected = brute_force(module, x, [rule(n) for n in names], 1).numpy()
    assert abs(got - expected).max() < 1e-4 * abs(expected).max()


def test_presets_are_their_rules() -> None:
    net = ready(body())
    x = torch.rand(SHAPE)
    for preset, (conv, dense, first) in PRESETS.items():
        a = attribute(net, x, "lrp", 1, preset=preset).values
        b = attribute(net, x, "lrp", 1, preset="epsilon", conv=conv, dense=dense, first=first).values
        np.testing.assert_array_equal(a, b)
        assert attribute(net, x, "lrp", 1, preset=preset).options["preset"] == preset


@pytest.mark.parametrize("bounded", [True, False])
def test_deep_taylor_is_z_plus_with_the_first_layer_its_own(bounded: bool) -> None:
    module = body()
    net = ready(module)
    x = torch.rand(SHAPE)

    def plus(x: Tensor, w: Tensor, b: Tensor, r: Tensor) -> Tensor:
        return alpha_beta(x, w, b * 0, r, 1, 0, 1e-6)

    def box(x: Tensor, w: Tensor, b: Tensor, r: Tensor) -> Tensor:
        c = x[:, None] * w - 1 * w.clamp(max=0)
        return (c / c.sum(0) * r).sum(1)

    k = net.predict(x).index
    got = attribute(net, x, "deep_taylor", k, bounded=bounded)
    expected = brute_force(module, x, [box if bounded else w_squared, plus, plus, plus], k).numpy()
    assert abs(got.values - expected).max() < 1e-4 * abs(expected).max()
    assert got.score > 0
    assert got.values.min() >= 0


# -- laws --


def test_epsilon_without_biases_is_input_times_gradient() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 6, 3, 2, bias=False), nn.ReLU(), nn.MaxPool2d(2, 1), nn.Conv2d(6, 4, 2, bias=False), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3, bias=False),
    ).eval()  # fmt: skip
    net = Network(module, input_size=SHAPE)
    x = torch.randn(SHAPE)
    lrp = attribute(net, x, "lrp", 0, preset="epsilon", epsilon=0.0)
    other = attribute(net, x, "input_times_gradient", 0)
    np.testing.assert_allclose(lrp.values, other.values, atol=1e-5 * abs(other.values).max())
    assert lrp.values.sum() == pytest.approx(lrp.score, rel=1e-4)


@pytest.mark.parametrize(
    "name", ["resnet18", *(pytest.param(n, marks=pytest.mark.slow) for n in ("densenet121", "googlenet"))]
)
def test_without_biases_relevance_is_kept(name: str) -> None:
    """Through residual sums, concatenations, average pools and batch norm that could not be folded."""
    net = Network(build(name), input_size=64)
    x = torch.rand(3, 64, 64)
    for method, options in (
        ("lrp", {"preset": "epsilon_plus_flat", "bias": False}),
        ("lrp", {"preset": "epsilon_alpha2_beta1", "dense": "z_plus", "bias": False}),
        ("deep_taylor", {}),
    ):
        a = attribute(net, x, method, **options)
        assert a.values.sum(dtype=np.float64) == pytest.approx(a.score, rel=0.01)


def test_of_a_gate_and_its_map_the_map_takes_all() -> None:
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.fc = nn.Conv2d(3, 4, 3, bias=False), nn.Linear(4, 2, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            h = self.a(x).relu()
            return self.fc((h * h.mean((2, 3), keepdim=True).sigmoid()).mean((2, 3)))

    a = attribute(Network(Gated().eval(), input_size=SHAPE), torch.randn(SHAPE), "lrp", preset="epsilon")
    assert a.values.sum() == pytest.approx(a.score, rel=1e-3)


@pytest.mark.parametrize(
    ("method", "options"),
    [
        *(("lrp", {"preset": p, "epsilon": 1e-2}) for p in PRESETS),
        ("deep_taylor", {}),
        ("deep_taylor", {"bounded": False}),
    ],
)
def test_relevance_can_be_projected(method: str, options: dict[str, Any], resnet: Network) -> None:
    """Inside receptive fields, at corners too, where padding is no input."""
    torch.manual_seed(1)
    x = torch.rand(3, 64, 64)
    for position in ((0, 0), (0, 15), (7, 8), (15, 15)):
        p = project(resnet, x, "layer1.0.conv2", 3, position, method, start="one", **options)
        a = attribute(resnet, x, method, ("layer1.0.conv2", 3, *position), start="one", **options).values
        inner = p.box.clipped(64, 64)
        top, left = inner.top - p.box.top, inner.left - p.box.left
        part = p.values[:, top : top + inner.height, left : left + inner.width]
        seen = a[:, inner.top : inner.bottom, inner.left : inner.right]
        assert abs(part - seen).max() < 1e-4 * abs(a).max()
        assert abs(a).sum() == pytest.approx(abs(p.values).sum(), rel=1e-3)


@pytest.fixture(scope="module")
def resnet() -> Network:
    return Network(build("resnet18"), input_size=64)


def test_options_out_of_range_are_refused() -> None:
    net = ready(body())
    x = torch.rand(SHAPE)
    for options, message in [
        ({"preset": "epsilon_plus_flt"}, "epsilon_plus_flat"),
        ({"conv": "z-plus"}, "'z_plus'"),
        ({"epsilon": -1.0}, "epsilon"),
        ({"alpha": 2.0, "beta": 2.0}, "alpha - beta = 1"),
        ({"bias": 1}, "True or False"),
    ]:
        with pytest.raises(ArgumentError, match=message):
            attribute(net, x, "lrp", **options)
    with pytest.raises(ArgumentError, match="bounded"):
        attribute(net, x, "deep_taylor", bounded="yes")


# -- Captum --


def test_epsilon_is_that_of_captum() -> None:
    from captum.attr import LRP
    from captum.attr._utils.lrp_rules import EpsilonRule

    module = body()
    net = ready(module)
    x = torch.randn(SHAPE)
    got = attribute(net, x, "lrp", 2, preset="epsilon", epsilon=1e-9).values
    for m in module:
        if isinstance(m, (nn.Conv2d, nn.Linear)):
            m.rule = EpsilonRule()

    class Plain(nn.Module):  # Captum has no rule for nn.Flatten
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(m for m in module if not isinstance(m, nn.Flatten))

        def forward(self, x: Tensor) -> Tensor:
            for m in self.layers:
                x = m(x.flatten(1) if isinstance(m, nn.Linear) else x)
            return x

    expected = LRP(Plain().eval()).attribute(x[None].requires_grad_(), target=2)[0].detach().numpy()
    assert abs(got - expected).max() < 1e-3 * abs(expected).max()


def test_integrated_gradients_sum_to_the_difference_of_scores() -> None:
    net = ready(body())
    x = torch.rand(SHAPE)
    for baseline, start in (("black", 0.0), ("white", 1.0)):
        a = attribute(net, x, "integrated_gradients", 1, baseline=baseline, steps=200)
        other = net.forward(torch.full((1, *SHAPE), start))[0][0, 1].item()
        assert a.values.sum() == pytest.approx(a.score - other, abs=2e-3)
        assert a.options == {"baseline": baseline, "steps": 200}


def test_smoothgrad_without_noise_is_the_gradient_and_with_noise_repeats() -> None:
    net = ready(body())
    x = torch.rand(SHAPE)
    gradient = attribute(net, x, "gradient", 1).values
    np.testing.assert_allclose(attribute(net, x, "smoothgrad", 1, noise=0.0, samples=3).values, gradient, atol=1e-6)
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    a, b, c = (attribute(net, x, "smoothgrad", 1, samples=20, seed=s).values for s in (1, 1, 2))
    assert torch.equal(before, torch.random.get_rng_state())
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)


def test_grad_cam_is_its_formula() -> None:
    module = build("resnet18")
    net = Network(module, input_size=64)
    x = torch.rand(3, 64, 64)
    got = attribute(net, x, "grad_cam", 7, upsample=False)
    assert got.layer == "layer4.1.relu#2"
    maps = net.activations(x, got.layer)[got.layer][0]
    gradient = torch.from_numpy(attribute(net, x, "gradient", 7, layer=got.layer).values)
    expected = (maps * gradient.mean((1, 2), keepdim=True)).sum(0).clamp(min=0)
    np.testing.assert_allclose(got.values[0], expected.numpy(), atol=1e-5 * float(expected.max()) + 1e-9)
    assert attribute(net, x, "grad_cam", 7).values.shape == (1, 64, 64)
    assert attribute(net, x, "grad_cam", 7, layer="layer2", upsample=False, relu=False).values.shape == (1, 8, 8)
    assert attribute(net, x, "grad_cam", ("layer2", 3)).layer != got.layer
    assert attribute(Network(build("googlenet"), input_size=64), x, "grad_cam").layer == "inception5b"
    with pytest.raises(LayerError, match="maps"):
        attribute(net, x, "grad_cam", layer="avgpool")


def test_methods_that_explain_the_picture_only_say_so() -> None:
    net = ready(body())
    for method in ("integrated_gradients", "smoothgrad"):
        with pytest.raises(ArgumentError, match="values of the picture"):
            attribute(net, torch.rand(SHAPE), method, layer="0")
    for method, options in (("integrated_gradients", {"steps": 0}), ("smoothgrad", {"samples": 0}),
                            ("smoothgrad", {"noise": -1}), ("grad_cam", {"relu": 2})):  # fmt: skip
        with pytest.raises(ArgumentError, match=next(iter(options))):
            attribute(net, torch.rand(SHAPE), method, **options)


def test_without_captum_its_methods_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib

    real = importlib.import_module

    def absent(name: str, *a: Any) -> Any:
        if name.startswith("captum"):
            raise builtins.ImportError(name)
        return real(name, *a)

    monkeypatch.setattr(importlib, "import_module", absent)
    net = ready(body())
    with pytest.raises(ImportError, match=r"pip install 'convscope\[captum\]'"):
        attribute(net, torch.rand(SHAPE), "smoothgrad")
    without = {m.name for m in methods(net) if "captum" in m.reason}
    assert without == {"smoothgrad", "integrated_gradients", "grad_cam"}
