"""Normalisations by statistics of the maps: found however they are written, and under rules against dense twins."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from convscope_core.explain.attribution import attribute_tensor, methods
from convscope_core.explain.deconvnet import deconvnet
from convscope_core.explain.lrp import NOTHING, PRESETS, lrp
from convscope_core.explain.normalised import HELD
from convscope_core.explain.patterned import patternattribution, patternnet
from convscope_core.graph import Node, Runner, trace
from convscope_core.graph.backward import Table, Walk
from convscope_core.graph.gates import STATISTICS
from convscope_core.graph.normalisation import NORMALISATIONS, transposed
from convscope_core.network import Network

CHANNELS = 4
PICTURE = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
SPATIAL, CHANNEL, ALL = (2, 3), (1,), (1, 2, 3)


class Net(nn.Module):
    """A convolution, a normalisation that a test gives, a rectifier, and another convolution."""

    def __init__(self, norm: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.a, self.other, self.b = nn.Conv2d(3, CHANNELS, 3), nn.Conv2d(3, CHANNELS, 3), nn.Conv2d(CHANNELS, 4, 3)
        self.w, self.beta = nn.Parameter(torch.rand(CHANNELS) + 0.5), nn.Parameter(torch.randn(CHANNELS) / 3)
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        self.picture = x
        return self.b(F.relu(self.norm(self, self.a(x)))).mean((2, 3))


def of_channels(v: Tensor) -> Tensor:
    return v[:, None, None]


MODULES: dict[str, tuple[Callable[[Any, Tensor], Tensor], str]] = {
    "layer_norm over channels": (
        lambda n, x: F.layer_norm(x.permute(0, 2, 3, 1), (CHANNELS,), n.w, n.beta, 1e-6).permute(0, 3, 1, 2),
        "layer_norm",
    ),
    "layer_norm over all": (lambda n, x: F.layer_norm(x, (CHANNELS, 6, 6)), "layer_norm"),
    "group_norm": (lambda n, x: F.group_norm(x, 2, n.w, n.beta), "group_norm"),
    "instance_norm": (lambda n, x: F.instance_norm(x, weight=n.w, bias=n.beta), "instance_norm"),
    "rms_norm": (
        lambda n, x: F.rms_norm(x.permute(0, 2, 3, 1), (CHANNELS,), n.w, 1e-6).permute(0, 3, 1, 2), "aten.rms_norm",
    ),
}  # fmt: skip


# -- written out --


@st.composite
def written(draw: st.DrawFn) -> tuple[Callable[[Any, Tensor], Tensor], str]:
    """A normalisation as it might be written by hand, and the kind of node it is."""
    dims = draw(st.sampled_from([SPATIAL, CHANNEL, ALL]))
    eps = draw(st.sampled_from([1e-6, 1e-5, 1e-3]))
    centred = draw(st.booleans()) or dims != CHANNEL
    how = draw(st.sampled_from(["var", "pow", "product", "var_mean", "unbiased"])) if centred else "pow"
    last = draw(st.sampled_from(["sqrt", "rsqrt", "power", "reciprocal"]))
    weights = draw(st.sampled_from(["", "w", "wb", "b"] if centred else ["", "w"]))
    swapped = draw(st.booleans())

    def norm(n: Any, x: Tensor) -> Tensor:
        mean = x.mean(dims, keepdim=True) if centred else 0.0
        d = x - mean if centred else x
        if how == "var_mean":
            var, mean = torch.var_mean(x, dims, correction=0, keepdim=True)
            d = x - mean
        elif how == "var":
            var = x.var(dims, keepdim=True, unbiased=False)
        elif how == "unbiased":
            var = x.var(dims, keepdim=True)
        else:
            var = (d.pow(2) if how == "pow" else d * d).mean(dims, keepdim=True)
        if last == "sqrt":
            y = d / torch.sqrt(var + eps)
        elif last == "power":
            y = d * (var + eps) ** -0.5
        elif last == "reciprocal":
            y = (1 / (var + eps).sqrt()) * d
        else:
            y = torch.rsqrt(var + eps) * d if swapped else d * torch.rsqrt(var + eps)
        if "w" in weights:
            y = of_channels(n.w) * y if swapped else y * n.w.view(1, -1, 1, 1)
        return y + of_channels(n.beta) if "b" in weights else y

    kind = {SPATIAL: "instance_norm", CHANNEL: "layer_norm", ALL: "group_norm"}[dims]
    return norm, kind if centred else "aten.rms_norm"


def test_what_is_written_out_is_found_in_float64_too() -> None:
    """Weights that are made (for an unbiased variance) are of the network's precision."""
    module = (
        Net(lambda n, x: (x - x.mean(1, keepdim=True)) * torch.rsqrt(x.var(1, keepdim=True) + 1e-5)).double().eval()
    )
    net = Network(module, input_size=8, dtype=torch.float64)
    assert [n.kind for n in net.graph if n.kind in NORMALISATIONS] == ["layer_norm"]


@settings(
    max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.explicit, Phase.generate]
)
@given(spelling=written())
def test_what_is_written_out_is_the_normalisation(spelling: tuple[Callable[[Any, Tensor], Tensor], str]) -> None:
    norm, kind = spelling
    module = Net(norm).eval()
    graph = trace(module, (3, 8, 8))
    between = [n.kind for n in graph.nodes[2:] if n.kind not in ("conv", "relu", "mean", "permute")]
    assert between == [kind]
    for scale in (1, 1e-2):
        x = torch.randn(2, 3, 8, 8) * scale
        assert torch.allclose(Runner(graph)(x)[0], module(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "norm",
    [
        lambda n, x: (x - n.other(n.picture).mean(1, keepdim=True)) * torch.rsqrt(x.var(1, keepdim=True) + 1e-5),
        lambda n, x: (x - x.mean(1, keepdim=True)) * torch.rsqrt(n.other(n.picture).var(1, keepdim=True) + 1e-5),
        lambda n, x: (x - x.mean((2, 3), keepdim=True)) * torch.rsqrt(x.var(1, keepdim=True) + 1e-5),
        lambda n, x: (x - x.mean(1, keepdim=True)) / (x.std(1, keepdim=True) + 1e-2),
        lambda n, x: (x - 2 * x.mean(1, keepdim=True)) * torch.rsqrt(x.var(1, keepdim=True) + 1e-5),
        lambda n, x: (x - x.amax(1, keepdim=True)) * torch.rsqrt(x.var(1, keepdim=True) + 1e-5),
    ],
)
def test_near_misses_are_statistics_that_scale(norm: Callable[[Any, Tensor], Tensor]) -> None:
    net = Network(Net(norm).eval(), input_size=8)
    assert not [n for n in net.graph if n.kind in NORMALISATIONS]
    assert STATISTICS in {m.name: m.extended for m in methods(net)}["lrp"]


# -- rules --


@pytest.fixture(scope="module", params=list(MODULES))
def case(request: pytest.FixtureRequest) -> tuple[Network, nn.Module, Node]:
    norm, kind = MODULES[request.param]
    module = Net(norm).eval()
    net = Network(module, input_size=8)
    net = net.with_tensors(lambda t: t.double() if t.is_floating_point() else t, "twin")
    (node,) = [n for n in net.graph if n.kind in NORMALISATIONS]
    assert node.kind == kind
    return net, module.double(), node


def twin(node: Node, v: Tensor, hold: Callable[[Tensor], Tensor] = Tensor.detach) -> tuple[Tensor, Tensor]:
    """What a normalisation computes, from its definition, with its deviation held; and the bias in it."""
    w, b = node.args.get("weight"), node.args.get("bias")
    w, b = (torch.full((), x) if t is None else t for t, x in ((w, 1.0), (b, 0.0)))
    if node.kind in ("group_norm", "instance_norm"):
        w, b = (t.view(-1, 1, 1) if t.dim() else t for t in (w, b))
    flat = v.reshape(1, 2, -1) if node.kind == "group_norm" else v
    dims = {"group_norm": (2,), "instance_norm": (2, 3)}.get(node.kind)
    dims = dims or tuple(range(-len(node["normalized_shape"]), 0))
    d = flat if node.kind == "aten.rms_norm" else flat - flat.mean(dims, keepdim=True)
    y = d / hold(((d**2).mean(dims, keepdim=True) + node["eps"]).sqrt())
    return y.reshape(v.shape) * w + b, b.expand(v.shape)


def walked(net: Network, node: Node, table: Table, signal: Tensor) -> tuple[Tensor, Walk]:
    walk = Walk(net.graph, table, [node], node["input"])
    return walk(walk.forward(PICTURE), {node: signal}), walk


def values(net: Network, node: Node) -> tuple[Tensor, Tensor, Tensor]:
    found = Runner(net.graph)(PICTURE, [node["input"], node])[1]
    signal = torch.randn(found[node].shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    return found[node["input"]], found[node], signal


def test_held_deviations_leave_a_linear_operation(case: tuple[Network, nn.Module, Node]) -> None:
    net, _, node = case
    v, y, signal = values(net, node)
    probe = v.clone().requires_grad_()
    mine, _ = twin(node, probe)
    assert torch.allclose(mine, y)
    (expected,) = torch.autograd.grad(mine, probe, signal)
    assert torch.allclose(transposed(node, v, signal), expected)
    found, walk = walked(net, node, deconvnet(net), signal)
    assert torch.allclose(found, expected)
    assert walk.extended == {node: HELD}


def test_lrp_leaves_relevance_where_it_is_or_shares_in_proportion(case: tuple[Network, nn.Module, Node]) -> None:
    net, _, node = case
    v, _, signal = values(net, node)
    found, walk = walked(net, node, lrp(net), signal)
    assert torch.equal(found, signal)
    assert list(walk.extended) == [node]
    matrix = torch.autograd.functional.jacobian(lambda u: twin(node, u)[0], v).reshape(v.numel(), v.numel())
    for bias in (True, False):
        found, walk = walked(net, node, lrp(net, normalisation="held", epsilon=0, bias=bias), signal)
        z = matrix @ v.flatten() + (twin(node, v)[1].flatten() if bias else 0)
        contributions = matrix * v.flatten()  # of each input to each output
        expected = contributions.T @ (signal.flatten() / z)
        assert torch.allclose(found.flatten(), expected, rtol=1e-6, atol=1e-9 * float(expected.abs().max()))
        share = (twin(node, v)[1].flatten() / z * signal.flatten()).sum() if bias else 0.0
        assert float(found.sum()) == pytest.approx(float(signal.sum() - share), rel=1e-6, abs=1e-9)
        assert walk.extended == {node: HELD}


def test_patterns_take_normalisations_as_neurons_with_one_input(case: tuple[Network, nn.Module, Node]) -> None:
    net, _, node = case
    v, y, signal = values(net, node)
    centred = v if node.kind == "aten.rms_norm" else twin_centre(node, v)
    factor = (y - twin(node, v)[1]) / centred
    found, walk = walked(net, node, patternnet(net, estimator="filter"), signal)
    assert torch.allclose(found, signal / factor)
    assert list(walk.extended) == [node]
    found, walk = walked(net, node, patternattribution(net, estimator="filter"), signal)
    assert torch.equal(found, signal)
    assert list(walk.extended) == [node]


def twin_centre(node: Node, v: Tensor) -> Tensor:
    """The input less its mean: what is normalised, as the deviation times the result without weights."""
    flat = v.reshape(1, 2, -1) if node.kind == "group_norm" else v
    dims = {"group_norm": (2,), "instance_norm": (2, 3)}.get(node.kind)
    dims = dims or tuple(range(-len(node["normalized_shape"]), 0))
    return (flat - flat.mean(dims, keepdim=True)).reshape(v.shape)


class _Guided(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx, signal):  # type: ignore[no-untyped-def]
        (x,) = ctx.saved_tensors
        return signal.clamp(min=0) * (x > 0)


def test_guided_backprop_differentiates(case: tuple[Network, nn.Module, Node], monkeypatch: pytest.MonkeyPatch) -> None:
    net, module, node = case
    found = attribute_tensor(net, PICTURE, "guided_backprop", 0, start="one")
    monkeypatch.setattr(F, "relu", _Guided.apply)
    probe = PICTURE.clone().requires_grad_()
    (expected,) = torch.autograd.grad(module(probe)[0, 0], probe)
    assert np.allclose(found.values, expected[0].numpy(), rtol=1e-5, atol=1e-8)
    assert node.kind in found.extended.values()


# -- networks --


def _named() -> dict[str, Callable[[], nn.Module]]:
    timm = pytest.importorskip("timm")
    metaformer = timm.models.metaformer

    def made(name: str, **options: Any) -> Callable[[], nn.Module]:
        return lambda: timm.create_model(name, num_classes=5, **options)

    return {
        "convnext": made("convnext_atto", depths=(1, 1, 1, 1), dims=(8, 16, 24, 32)),
        "convnext, written out": made("convnext_atto", depths=(1, 1, 1, 1), dims=(8, 16, 24, 32), conv_mlp=True),
        "convnext with group responses": made("convnextv2_atto", depths=(1, 1, 1, 1), dims=(8, 16, 24, 32)),
        "poolformer": lambda: metaformer.MetaFormer(
            depths=(1, 1, 1, 1),
            dims=(8, 16, 24, 32),
            num_classes=5,
            downsample_norm=None,
            mlp_act=nn.GELU,
            mlp_bias=True,
            norm_layers=metaformer.GroupNorm1,
            res_scale_init_values=None,
            use_mlp_head=False,
        ),
        "bit": lambda: timm.models.resnetv2.ResNetV2(
            layers=(1, 1, 1, 1), channels=(128,) * 4, stem_chs=32, num_classes=5, stem_type="fixed"
        ),
    }


@pytest.mark.parametrize(
    "name", ["convnext", "convnext, written out", "convnext with group responses", "poolformer", "bit"]
)
def test_networks_run_under_every_preset_and_say_how(name: str) -> None:
    torch.manual_seed(0)
    module = _named()[name]().eval()
    for key, p in module.named_parameters():
        if "gamma" in key or "scale" in key:
            nn.init.uniform_(p, 0.3, 1)
        if key.startswith("head") and key.endswith("weight"):
            nn.init.normal_(p, 0, 0.1)
    net = Network(module, input_size=64, name=name)
    net = net.with_tensors(lambda t: t.double() if t.is_floating_point() else t, name)
    x = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    told = {m.name: m for m in methods(net)}
    assert told["lrp"].supported, told["lrp"].reason
    assert "normalisation passes relevance on" in told["lrp"].extended
    for preset in PRESETS:
        found = attribute_tensor(net, x, "lrp", 0, preset=preset, bias=False, epsilon=0)
        assert np.isfinite(found.values).all()
        assert found.conservation.total == pytest.approx(found.score, rel=1e-5)
        if preset in (
            "epsilon_plus",
            "epsilon_plus_flat",
        ):  # all that is lost is that of neurons that nothing speaks for
            lost = found.conservation.rest.get(NOTHING, 0.0)
            assert found.conservation.arrived == pytest.approx(found.score - lost, rel=1e-5)
    rectified = {} if name == "bit" else {"extension": "rectify"}
    for method in ("deconvnet", "guided_backprop", "deep_taylor"):
        found = attribute_tensor(net, x, method, 0, **rectified)
        assert np.isfinite(found.values).all()
        assert found.extended
