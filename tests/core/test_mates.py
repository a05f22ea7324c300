"""Each picture by itself: networks that look at the rest of the batch are refused, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from convscope_core.errors import TraceError
from convscope_core.graph import Runner, trace
from convscope_core.graph.mates import influence, mixing

CHANNELS = 4


class Net(nn.Module):
    """A step of some form, on the picture, between the layers or on the features."""

    def __init__(self, step: Callable[[Tensor], Tensor], place: str) -> None:
        super().__init__()
        self.a = nn.Conv2d(4, CHANNELS, 3, padding=1)
        self.l = nn.Linear(CHANNELS, 3)
        self.step, self.place = step, place
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        if self.place == "picture":
            x = self.step(x)
        h = self.a(x).relu()
        if self.place == "layer":
            h = self.step(h)
        h = h.mean((2, 3))
        if self.place == "features":
            h = self.step(h[:, :, None, None]).mean((2, 3))
        return self.l(h)


#: Steps on (N, C, H, W) that make a picture depend on the others of its batch.
MIXING: dict[str, Callable[[Tensor], Tensor]] = {
    "minimum and maximum": lambda x: (x - x.min()) / (x.max() - x.min() + 1e-6),
    "mean": lambda x: x - x.mean(),
    "mean of the batch": lambda x: x - x.mean(0),
    "mean of the batch, kept": lambda x: x - x.mean(0, keepdim=True),
    "mean over batch and positions": lambda x: x - x.mean((0, 2, 3), keepdim=True),
    "standard deviation": lambda x: x / (x.std() + 1e-3),
    "norm": lambda x: x / (x.norm() + 1e-3),
    "largest magnitude": lambda x: x / (x.abs().amax() + 1e-3),
    "the first picture": lambda x: x + x[:1],
    "the last picture": lambda x: x + x[-1],
    "soft-max over the batch": lambda x: x * x.softmax(0),
    "sorted over the batch": lambda x: x + x.sort(0)[0],
    "running sum": lambda x: x + 0.1 * x.cumsum(0),
    "turned round": lambda x: x + x.flip(0),
    "the neighbour": lambda x: x + x.roll(1, 0),
    "rolled as one": lambda x: x + x.roll(1),
    "the next but one": lambda x: x + x.roll(2, 0),
    "distances of pictures": lambda x: x * torch.cdist(x.flatten(1), x.flatten(1)).mean(1)[:, None, None, None],
    "the one before": lambda x: x - torch.cat([x[:1], x[:-1]]),
    "batch norm in training form": lambda x: F.batch_norm(x, None, None, training=True),
    "normalised over the batch": lambda x: F.normalize(x, dim=0),
    "compared with the mean": lambda x: torch.where(x > x.mean(), x, torch.zeros_like(x)),
    "matrix of pictures": lambda x: x + (x.flatten(1) @ x.flatten(1).T).softmax(1).mean(1)[:, None, None, None],
    "median": lambda x: x - x.median(),
    "batch as channels": lambda x: (
        F.layer_norm(x.transpose(0, 1), x.transpose(0, 1).shape[2:]).transpose(0, 1)
        + x.transpose(0, 1).cumsum(1).transpose(0, 1)
    ),
    "quantile": lambda x: x - torch.quantile(x.flatten(), 0.5),
    "einsum": lambda x: x + torch.einsum("nchw->chw", x),
    "anywhere": lambda x: x * (x > 0).any(),
}

#: Steps that look like it, and treat pictures one by one.
APART: dict[str, Callable[[Tensor], Tensor]] = {
    "minimum and maximum": lambda x: (x - x.amin((1, 2, 3), keepdim=True)) / (x.amax((1, 2, 3), keepdim=True) + 1),
    "flat minimum": lambda x: x - x.flatten(1).min(1)[0][:, None, None, None],
    "mean of each picture": lambda x: x - x.mean((1, 2, 3), keepdim=True),
    "instance norm": lambda x: F.instance_norm(torch.cat([x, x], 3)),
    "layer norm": lambda x: F.layer_norm(x, x.shape[1:]),
    "batch in the second axis and back": lambda x: x.transpose(0, 1).relu().transpose(0, 1),
    "batch and channels in one": lambda x: x.reshape(-1, 1, *x.shape[2:]).relu().reshape(x.shape),
    "sorted in each picture": lambda x: x.flatten(2).sort(2)[0].reshape(x.shape),
    "running sum of rows": lambda x: x.cumsum(2),
    "rolled by a row": lambda x: x.roll(1, 2),
    "zeros like the first": lambda x: x + torch.zeros_like(x[0]) + torch.ones_like(x[:1, :1]),
    "new tensors": lambda x: x + x.new_ones(x.shape[1:]),
    "grid of the batch's size": lambda x: x + torch.arange(x.shape[3]).expand(x.shape[0], 1, x.shape[2], x.shape[3]),
    "windows in the batch": lambda x: x.reshape(-1, 2, x.shape[2], x.shape[3]).softmax(1).reshape(x.shape),
    "chunks": lambda x: torch.cat(x.chunk(2, 1)[::-1], 1),
    "top of each": lambda x: x - x.flatten(1).topk(2, 1)[0][:, 1, None, None, None],
    "attention in each": lambda x: F.scaled_dot_product_attention(x, x, x),
    "einsum": lambda x: torch.einsum("nchw,nchw->nhw", x, x)[:, None] + x,
    "batch norm": lambda x: F.batch_norm(x, torch.ones(4), torch.ones(4)),
}


@given(
    step=st.sampled_from(sorted(MIXING)),
    place=st.sampled_from(["picture", "layer", "features"]),
    size=st.integers(6, 12),
)
@settings(max_examples=20)
def test_mixing_the_batch_is_refused(step: str, place: str, size: int) -> None:
    if place == "features" and step == "batch norm in training form":
        place = "layer"  # of two values it would be the sign alone
    with pytest.raises(TraceError) as error:
        trace(Net(MIXING[step], place), (4, size, size))
    message = str(error.value)
    assert "the other pictures of the batch" in message, message
    assert "Reduce over each picture's own axes" in message


@given(step=st.sampled_from(sorted(APART)), place=st.sampled_from(["picture", "layer"]), size=st.sampled_from([6, 8]))
@settings(max_examples=20)
def test_pictures_one_by_one_are_accepted(step: str, place: str, size: int) -> None:
    torch.manual_seed(0)
    module = Net(APART[step], place)
    run = Runner(trace(module, (4, size, size)))
    for count in (1, 3):
        x = torch.randn(count, 4, size, size)
        with torch.no_grad():
            torch.testing.assert_close(run(x)[0], module(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("step", ["minimum and maximum", "mean of the batch, kept", "turned round", "rolled as one"])
def test_the_operation_is_named(step: str) -> None:
    named = {
        "minimum and maximum": "aten.min reduces over all of it", "mean of the batch, kept": "mean reduces over all",
        "turned round": "aten.flip gives a picture", "rolled as one": "aten.roll gives a picture",
    }  # fmt: skip
    with pytest.raises(TraceError, match=named[step]):
        trace(Net(MIXING[step], "layer"), (4, 8, 8))


def test_nothing_is_computed_where_structure_tells() -> None:
    """Twice a forward pass more would be a price for every network; most consist of operations that are known."""
    graph = trace(Net(lambda x: F.max_pool2d(x, 2), "layer"), (4, 8, 8))
    assert mixing(graph) is None
    assert influence(graph, None) is None  # type: ignore[arg-type]


# -- rounding, chance and state are told apart --


class Steep(nn.Module):
    """A network whose outputs follow its rounding errors: each layer multiplies them."""

    def __init__(self, body: Callable[[Any, Tensor], Tensor] = lambda m, h: h) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 8, 3, padding=1)
        self.bn = nn.BatchNorm2d(8)
        self.l = nn.Linear(8, 4)
        self.count = 0
        self.body = body
        with torch.no_grad():
            self.a.weight.mul_(1e-3)
            self.bn.running_mean.copy_(self.a.bias)  # type: ignore[union-attr]
            self.bn.running_var.fill_(1e-10)  # type: ignore[union-attr]
        self.bn.eps = 1e-40
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        h = self.bn(self.a(x))
        for _ in range(3):
            h = (40 * h).sin()
        return self.l(self.body(self, h).mean((2, 3)))


def test_rounding_is_not_chance() -> None:
    module = Steep()
    x = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        rounding = (module(x) - module.double()(x.double())).abs().max()
    assert rounding > 1e-2, "the network is steep enough"
    module.float()
    trace(module, (3, 8, 8))


CAUSES: dict[str, tuple[Callable[[Any, Tensor], Tensor], str]] = {
    "state": (lambda m, h: _counted(m, h), "keeps state from call to call"),
    "the batch's size": (lambda m, h: h / h.shape[0], "alone is another than in a batch"),
}


def _counted(m: Any, h: Tensor) -> Tensor:
    m.count += 1
    return h + m.count


@pytest.mark.parametrize("cause", CAUSES)
def test_the_true_cause_is_said(cause: str) -> None:
    body, message = CAUSES[cause]
    with pytest.raises(TraceError, match=message):
        trace(Steep(body), (3, 8, 8))


def test_untrained_networks_are_accepted_whatever_their_statistics() -> None:
    timm = pytest.importorskip("timm")
    for name, std in (("mixnet_s", 1.0), ("test_efficientnet", 0.02)):
        if not timm.is_model(name):  # younger than the lowest timm
            continue
        module = timm.create_model(name, pretrained=False).eval()
        for m in module.modules():
            if isinstance(m, nn.BatchNorm2d):
                m.running_var.fill_(std**2)  # type: ignore[union-attr, operator]
        trace(module, (3, 64, 64))
