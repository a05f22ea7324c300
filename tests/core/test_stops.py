"""Where a network stops its own gradient (detach, no_grad), signals stop; where it stops all, as if it stopped none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from convscope_core.explain import attribute
from convscope_core.explain.attribution import attribute_tensor
from convscope_core.graph import trace
from convscope_core.graph.regions import Regions
from convscope_core.network import Network

from .small_networks import SHAPE, Small


def without_gradients(part: Callable[[Any, Tensor], Tensor]) -> Callable[[Any, Tensor], Tensor]:
    def form(n: Any, h: Tensor) -> Tensor:
        with torch.no_grad():
            return part(n, h)

    return form


#: Each stops a part of the gradient, not all of it.
FORMS: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "gate": lambda n, h: h * n.se(h.mean((2, 3), True)).sigmoid().detach(),
    "silu spelled out": lambda n, h: h * h.detach().sigmoid(),
    "straight through": lambda n, h: h + (torch.round(4 * h) / 4 - h).detach(),
    "straight through, as a function": lambda n, h: h + without_gradients(lambda _, t: t.round() - t)(n, h),
    "norm spelled out": lambda n, h: (h - h.mean(1, True).detach()) / (h.var(1, keepdim=True) + 1).sqrt().detach(),
    "region": lambda n, h: h * without_gradients(lambda m, t: m.se(t).sigmoid())(n, h),
    "half of the channels": lambda n, h: torch.cat([h[:, :4], n.b(h[:, 4:]).relu().detach()], 1),
    "in place": lambda n, h: h + n.se(h).detach_().mul(2).tanh(),
    "two results": lambda n, h: h * torch.cat(without_gradients(lambda m, t: m.se(t).chunk(2, 1))(n, h)[::-1], 1),
    "reused": lambda n, h: n.se(h).relu() + n.se(h.detach()).relu(),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_a_stopped_part_is_autograds(form: str) -> None:
    module = Small(FORMS[form]).eval()
    x = torch.randn(1, *SHAPE, dtype=torch.float64)
    net = Network(module, input_size=SHAPE, dtype=torch.float64)
    got = torch.from_numpy(attribute_tensor(net, x, "gradient", 1).values)
    probe = x.clone().requires_grad_()
    module.double()(probe)[0, 1].backward()
    assert probe.grad is not None
    assert float((got - probe.grad[0]).abs().max()) <= 1e-6 * float(probe.grad.abs().max())


@pytest.mark.parametrize("form", FORMS)
def test_values_pass_a_stop(form: str) -> None:
    module = Small(FORMS[form]).eval()
    graph = trace(module, SHAPE)
    x, patch = torch.randn(1, *SHAPE), torch.randn(1, 3, 3, 3)
    found, _ = Regions(graph, x, [graph.output])([(4, 2)], patch, [])
    x[..., 4:7, 2:5] = patch
    with torch.no_grad():
        expected = module(x)
    assert float((found - expected).abs().max()) <= 1e-5 * float(expected.abs().max())


class Frozen(nn.Module):
    """A network that gives nothing to differentiate: as a whole, or in the part that everything passes."""

    def __init__(self, whole: bool) -> None:
        super().__init__()
        self.inner = Small(lambda n, h: n.c(h))
        self.whole = whole

    def forward(self, x: Tensor) -> Tensor:
        if self.whole:
            with torch.no_grad():
                return self.inner(x)
        with torch.no_grad():
            h = self.inner.a(x).relu()
        return self.inner.l(self.inner.c(self.inner.c(h)).relu().mean((2, 3)))


@pytest.mark.parametrize("whole", [True, False])
def test_a_network_that_stops_everything_has_the_gradient_of_what_it_computes(whole: bool) -> None:
    module = Frozen(whole).eval()
    x = torch.randn(1, *SHAPE)
    got = attribute_tensor(Network(module, input_size=SHAPE), x, "gradient", 1).values
    expected = attribute_tensor(Network(module.inner, input_size=SHAPE), x, "gradient", 1).values
    assert abs(got - expected).max() <= 1e-6 * abs(expected).max()


def test_the_account_of_relevance_names_what_was_stopped() -> None:
    module = Small(FORMS["half of the channels"]).eval()
    found = attribute(Network(module, input_size=SHAPE), torch.randn(1, *SHAPE), "lrp", 1)
    assert "stopped gradients" in found.conservation.rest
