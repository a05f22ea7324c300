"""What counts as a gate, however it is spread over the map; what does not; and what is held constant then."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from convscope_core.errors import ArgumentError
from convscope_core.explain.attribution import attribute_tensor, methods
from convscope_core.graph import trace
from convscope_core.graph.gates import SQUASHED, STATISTICS, gate_of
from convscope_core.network import Network

CHANNELS = 4
PICTURE = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


class Net(nn.Module):
    """A convolution, a function of its maps and of this module, and another convolution."""

    def __init__(self, function: Callable[[Net, Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.a, self.b = nn.Conv2d(3, CHANNELS, 3), nn.Conv2d(CHANNELS, 3, 3)
        self.down, self.up = nn.Conv2d(CHANNELS, 2, 1), nn.Conv2d(2, CHANNELS, 1)
        self.one, self.many = nn.Conv2d(2, 1, 3, padding=1), nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)
        self.twice = nn.Conv2d(3, 2 * CHANNELS, 3)
        self.gamma = nn.Parameter(torch.rand(CHANNELS, 1, 1))
        self.function, self.held = function, False

    def hold(self, gate: Tensor) -> Tensor:
        """Hold a gate constant, in the twin."""
        return gate.detach() if self.held else gate

    def forward(self, x: Tensor) -> Tensor:
        self.picture = x
        return self.b(self.function(self, self.a(x))).mean((2, 3))


def excite(n: Net, x: Tensor) -> Tensor:
    return torch.sigmoid(n.up(F.relu(n.down(x.mean((2, 3), keepdim=True)))))


#: What computes a gate: (N, C, 1, 1) or one a position (N, 1, H, W).
MAKERS: list[Callable[[Any, Tensor], Tensor]] = [
    excite,
    lambda n, x: F.hardsigmoid(n.up(F.relu(n.down(F.adaptive_avg_pool2d(x, 1))))),
    lambda n, x: F.relu6(n.up(n.down(x.mean((2, 3), True))) + 3) / 6,
    lambda n, x: n.up(n.down(x.amax((2, 3), True))).softmax(1),
    lambda n, x: n.up(n.down(x.mean((2, 3), True))).tanh(),
    lambda n, x: torch.sigmoid(n.one(torch.stack([x.mean(1), x.amax(1)], 1))),
]

#: How it gets to the map.
SPREADS: list[Callable[[Tensor, Tensor], Tensor]] = [
    lambda x, g: x * g,
    lambda x, g: g * x,
    lambda x, g: x * g.expand_as(x),
    lambda x, g: x * g.expand(-1, CHANNELS, 6, 6),
    lambda x, g: x * g.expand(x.shape),
    lambda x, g: torch.mul(g.repeat(1, CHANNELS // g.shape[1], 6 // g.shape[2], 6 // g.shape[3]), x),
    lambda x, g: x * (1 + g.expand_as(x)),
    lambda x, g: x * g.expand_as(x).clone(),
    lambda x, g: x.permute(0, 2, 3, 1).mul(g.permute(0, 2, 3, 1)).permute(0, 3, 1, 2),
    lambda x, g: x / (2 - g),
    lambda x, g: torch.addcmul(x * 0, x, g),
    lambda x, g: (x.flatten(2) * g.expand_as(x).flatten(2)).view_as(x) if g.shape[1] == 1 else x * g,
]
OF_CHANNELS: list[Callable[[Tensor, Tensor], Tensor]] = [
    lambda x, g: torch.einsum("nchw,nc->nchw", x, g.flatten(1)),
    lambda x, g: torch.einsum("bc,bcij->bcij", g[:, :, 0, 0], x),
    lambda x, g: torch.einsum("nchw,nc->nhwc", x, g.flatten(1)).permute(0, 3, 1, 2),
    lambda x, g: x * F.interpolate(g, size=(6, 6)),
    lambda x, g: x * F.interpolate(g, scale_factor=6, mode="bilinear"),
    lambda x, g: x * g.flatten(1).view(-1, CHANNELS, 1, 1),
    lambda x, g: x * g.squeeze(-1).squeeze(-1)[..., None, None],
    lambda x, g: x * g.view(-1, CHANNELS, 1).expand(-1, CHANNELS, 36).reshape(-1, CHANNELS, 6, 6),
]


def held_twin(net: Net, target: int) -> Tensor:
    net.held = True
    probe = PICTURE.clone().requires_grad_()
    (found,) = torch.autograd.grad(net.double()(probe)[0, target], probe)
    net.held = False
    return found[0]


def network(module: nn.Module) -> Network:
    net = Network(module.eval(), input_size=8)
    return net.with_tensors(lambda t: t.double() if t.is_floating_point() else t, "twin")


def compare(function: Callable[[Net, Tensor], Tensor], extended: bool) -> None:
    module = Net(function).eval()
    net = network(module)
    for method in ("deconvnet", "guided_backprop"):
        found = attribute_tensor(net, PICTURE, method, 1, start="one")
        expected = held_twin(module, 1).numpy()
        assert abs(found.values - expected).max() <= 1e-6 * abs(expected).max()
        assert bool(found.extended) == extended
        module.float()
    relevance = attribute_tensor(net, PICTURE, "lrp", 1, preset="epsilon", bias=False)
    assert relevance.values.shape == PICTURE.shape[1:]


@settings(
    max_examples=12, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.explicit, Phase.generate]
)
@given(data=st.data())
def test_a_gate_is_found_however_it_is_spread(data: st.DataObject) -> None:
    maker = data.draw(st.sampled_from(MAKERS))
    ways = SPREADS if maker is MAKERS[-1] else [*SPREADS, *OF_CHANNELS]
    spread = data.draw(st.sampled_from(ways))
    compare(lambda n, x: spread(x, n.hold(maker(n, x))), extended=False)


@pytest.mark.parametrize(
    "function",
    [
        lambda n, x: x * n.hold(torch.sigmoid(n.many(x))),
        lambda n, x: n.hold(torch.sigmoid(n.twice(n.picture)[:, :CHANNELS])) * x,
        lambda n, x: (lambda a, b: a * n.hold(b.sigmoid()))(*n.twice(n.picture).chunk(2, 1)),
        lambda n, x: x * n.hold(F.interpolate(n.many(F.avg_pool2d(x, 2)).sigmoid(), scale_factor=2, mode="bilinear")),
        lambda n, x: x * n.hold(1 + F.relu6(n.many(x) + 3) / 6),
        lambda n, x: x * n.hold(n.many(x).clamp(0, 1)),
        lambda n, x: x * n.hold(n.many(x).softmax(1)),
    ],
)
def test_a_squashed_branch_is_held_and_labelled(function: Callable[[Net, Tensor], Tensor]) -> None:
    compare(function, extended=True)
    told = {m.name: m.extended for m in methods(network(Net(function)))}
    assert SQUASHED in told["deconvnet"]
    assert SQUASHED in told["lrp"]


def test_gated_linear_units_are_products() -> None:
    function = lambda n, x: F.glu(n.twice(n.picture), 1)  # noqa: E731
    graph = trace(Net(function).eval(), (3, 8, 8))
    found = [n for n in graph if n.kind == "mul"]
    assert gate_of(found[0]) == (0, 1, SQUASHED)


@pytest.mark.parametrize(
    "function",
    [
        lambda n, x: x * n.hold(1 / ((x**2).mean((2, 3), keepdim=True).sqrt() + 0.1)),
        lambda n, x: x / n.hold(x.norm(dim=1, keepdim=True) + 0.1),
        lambda n, x: F.normalize(x, dim=1) if not n.held else x / x.norm(dim=1, keepdim=True).detach(),
        lambda n, x: x * n.hold(x.mean((2, 3), keepdim=True)),
        lambda n, x: (lambda g: x + n.gamma * x * n.hold(g / (g.mean(1, keepdim=True) + 0.1)))(
            x.norm(dim=(2, 3), keepdim=True)
        ),
        lambda n, x: (x - n.many(x).mean(1, keepdim=True)) * n.hold(torch.rsqrt(x.var(1, keepdim=True) + 0.1)),
    ],
)
def test_statistics_that_scale_a_map_are_held_and_labelled(function: Callable[[Net, Tensor], Tensor]) -> None:
    compare(function, extended=True)
    assert STATISTICS in {m.name: m.extended for m in methods(network(Net(function)))}["deconvnet"]


@pytest.mark.parametrize(
    "function",
    [
        lambda n, x: x * n.many(x),
        lambda n, x: x * x,
        lambda n, x: x * x.abs(),
        lambda n, x: x / (1 + n.many(x) ** 2),
        lambda n, x: torch.sigmoid(x) * torch.sigmoid(n.many(x)),
        lambda n, x: x * torch.sigmoid(x + torch.linspace(0, 1, 6)),
        lambda n, x: x * x.softmax(1),
        lambda n, x: n.many(x.mean((2, 3), True)) * n.many(x).mean(1, keepdim=True),
        lambda n, x: torch.einsum("nchw,nchw->nchw", x, n.many(x)),
    ],
)
def test_other_products_are_refused_by_name(function: Callable[[Net, Tensor], Tensor]) -> None:
    net = Network(Net(function).eval(), input_size=8)
    with pytest.raises(ArgumentError, match=r"of two maps, of which neither is a gate"):
        attribute_tensor(net, PICTURE.float(), "guided_backprop", 0)


def test_activations_are_no_gates() -> None:
    for function in (lambda n, x: x * torch.sigmoid(1.702 * x), lambda n, x: x * F.relu6(x + 3) / 6):
        graph = trace(Net(function).eval(), (3, 8, 8))
        assert not [n for n in graph if n.kind == "mul"]
