"""A module that sends back another gradient than that of what it computes: stated, wherever a result may rest on it."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from convscope_core.explain import attribute, methods
from convscope_core.network import Network

from .small_networks import SHAPE, Small


class Function(torch.autograd.Function):
    """Rounds; the backward is a test's."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, forward: Callable[[Tensor], Tensor], factor: Callable[[Tensor], Any]) -> Tensor:
        ctx.save_for_backward(x)
        ctx.factor = factor
        return forward(x)

    @staticmethod
    def backward(ctx: Any, signal: Tensor) -> Any:
        return signal * ctx.factor(ctx.saved_tensors[0]), None, None


def applied(forward: Callable[[Tensor], Tensor], factor: Callable[[Tensor], Any]) -> Callable[[], nn.Module]:
    return lambda: Small(lambda n, x: Function.apply(n.se(x), forward, factor))


def hooked(hook: Callable[..., Any], kind: str = "register_full_backward_hook") -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        module = Small(lambda n, x: n.se(x))
        getattr(module.se, kind)(hook)
        return module

    return make


def looked_at(x: Tensor) -> Tensor:
    if x.requires_grad:
        x.register_hook(lambda signal: None)
    return x


def scaled(x: Tensor) -> Tensor:
    if x.requires_grad:
        x.register_hook(lambda signal: 3 * signal * (signal > 0))
    return x


#: Their own backward is another one.
OTHERS: dict[str, Callable[[], nn.Module]] = {
    "Function, straight through": applied(torch.sign, lambda x: (x.abs() <= 1).to(x)),
    "Function, reversed": applied(lambda x: x.clone(), lambda x: -1.0),
    "Function, guided": applied(torch.relu, lambda x: (x > 0.5).to(x)),
    "hooks of se, clipped": hooked(lambda m, given, sent: (given[0].clamp(min=0),)),
    "hooks of tensors": lambda: Small(lambda n, x: scaled(n.se(x))),
    "hooks of se, before": hooked(lambda m, sent: (2 * sent[0],), "register_full_backward_pre_hook"),
}

#: Theirs is the derivative, whoever wrote it down.
SAME: dict[str, Callable[[], nn.Module]] = {
    "sine": applied(torch.sin, torch.cos),
    "swish that saves memory": applied(
        lambda x: x * x.sigmoid(), lambda x: x.sigmoid() * (1 + x * (1 - x.sigmoid()))
    ),
    "hook of a tensor that looks": lambda: Small(lambda n, x: looked_at(n.se(x))),
    "hook that looks": hooked(lambda m, given, sent: None),
    "nothing": lambda: Small(lambda n, x: n.se(x)),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_another_gradient_is_stated(name: str) -> None:
    net = Network(OTHERS[name]().eval(), input_size=SHAPE)
    what = name.partition(",")[0]
    assert net.own_backward == what
    for other in (net, pickle.loads(pickle.dumps(net)), net.with_weights(OTHERS[name]().state_dict(), "again")):
        note = attribute(other, torch.randn(SHAPE), "gradient", 1).notes[-1]
        assert f"own backward ({what}) is not followed" in note
        assert all(what in m.extended for m in methods(other) if m.supported)


@pytest.mark.parametrize("name", SAME)
def test_the_same_gradient_is_none_of_its_own(name: str) -> None:
    net = Network(SAME[name]().eval(), input_size=SHAPE)
    assert not net.own_backward
    assert not any("own backward" in note for note in attribute(net, torch.randn(SHAPE), "gradient", 1).notes)


def test_functions_are_themselves_again() -> None:
    before = torch.autograd.Function.__dict__["apply"], Tensor.register_hook
    Network(OTHERS["Function, reversed"]().eval(), input_size=SHAPE)
    assert (torch.autograd.Function.__dict__["apply"], Tensor.register_hook) == before
