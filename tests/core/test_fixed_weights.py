"""Operations that are linear layers with fixed weights, and spellings of others: treated as what they are."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convscope_core.explain import methods
from convscope_core.explain.attribution import attribute_tensor
from convscope_core.graph.gates import SQUASHED
from convscope_core.network import Network

from .small_networks import SHAPE, Small

#: Linear in their input, with weights that are not negative.
FIXED: dict[str, Callable[[Tensor], Tensor]] = {
    "nearest": lambda x: F.interpolate(x, scale_factor=2),
    "nearest exact": lambda x: F.interpolate(x, (9, 17), mode="nearest-exact"),
    "bilinear": lambda x: F.interpolate(x, (15, 9), mode="bilinear"),
    "bilinear, corners": lambda x: F.interpolate(x, scale_factor=1.5, mode="bilinear", align_corners=True),
    "antialiased": lambda x: F.interpolate(x, (7, 8), mode="bilinear", antialias=True),
    "linear, along a row": lambda x: F.interpolate(x.flatten(2), scale_factor=2, mode="linear").unflatten(2, (12, 24)),
    "trilinear": lambda x: F.interpolate(x.unsqueeze(1), (4, 8, 10), mode="trilinear")[:, 0],
    "fold of unfold": lambda x: F.fold(F.unfold(x, 3, padding=1), (12, 12), 3, padding=1),
    "sum of neighbours": lambda x: x.unfold(2, 3, 1).sum(-1),
}  # fmt: skip


class Explicit(nn.Module):
    """A linear function of maps as a matrix: what any rule for layers with weights can be applied to."""

    def __init__(self, function: Callable[[Tensor], Tensor], shape: tuple[int, ...]) -> None:
        super().__init__()
        size = torch.Size(shape).numel()
        images = function(torch.eye(size, dtype=torch.float64).reshape(size, *shape))
        self.shape = images.shape[1:]
        self.matrix = nn.Linear(size, self.shape.numel(), bias=False)
        self.matrix.weight = nn.Parameter(images.reshape(size, -1).T.contiguous())

    def forward(self, x: Tensor) -> Tensor:
        return self.matrix(x.flatten(1)).unflatten(1, self.shape)


class Between(nn.Module):
    """A function of rectified maps, between two convolutions."""

    def __init__(self, function: Callable[[Tensor], Tensor] | nn.Module) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.a, self.c, self.l = nn.Conv2d(3, 4, 3, padding=1), nn.LazyConv2d(4, 3, padding=1), nn.Linear(4, 3)
        self.l.weight.data.abs_()  # so that something speaks for every class
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.l(self.c(self.function(self.a(x).relu())).relu().mean((2, 3)))


@pytest.mark.parametrize("name", FIXED)
def test_fixed_weights_are_weights(name: str) -> None:
    x = torch.rand(1, *SHAPE, dtype=torch.float64)
    found = {}
    for kind, function in (("operation", FIXED[name]), ("matrix", Explicit(FIXED[name], (4, 12, 12)))):
        module = Between(function).double()
        module(x)
        net = Network(module.eval(), input_size=SHAPE, dtype=torch.float64)
        k = int(net.forward(x)[0].argmax())
        supported = {m.name for m in methods(net) if m.supported}
        assert {"deep_taylor", "lrp", "deconvnet", "guided_backprop", "gradient"} <= supported
        options = {"lrp": {"dense": "z_plus"}}  # in the place of a convolution
        methods_ = ("deep_taylor", "lrp", "deconvnet", "guided_backprop", "gradient")
        found[kind] = {m: attribute_tensor(net, x, m, k, **options.get(m, {})).values for m in methods_}
    for method, values in found["operation"].items():
        expected = found["matrix"][method]
        assert abs(values - expected).max() < 1e-5 * abs(expected).max(), method


def test_bicubic_weights_may_be_negative() -> None:
    net = Network(Small(lambda n, x: F.interpolate(x, (9, 9), mode="bicubic")).eval(), input_size=SHAPE)
    reasons = {m.name: m.reason for m in methods(net)}
    assert "no rule for aten.upsample_bicubic2d" in reasons["deep_taylor"]
    assert not reasons["lrp"]


#: Spellings of operations that have rules, and what stands in the graph for them.
SPELLED: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "std_mean": (lambda x: (lambda s, m: (x - m) / (s + 1))(*torch.std_mean(x, (1, 2, 3), keepdim=True)), "aten.std"),
    "var_mean": (
        lambda x: (lambda v, m: (x - m) * torch.rsqrt(v + 1e-4))(*torch.var_mean(x, 1, correction=0, keepdim=True)),
        "layer_norm",
    ),
    "aminmax": (
        lambda x: (lambda a, b: b - a)(*torch.aminmax(x, dim=1, keepdim=True)).expand(-1, 8, -1, -1), "aten.amax",
    ),
    "addcmul": (lambda x: torch.addcmul(x, x.relu(), x.mean((2, 3), True).sigmoid(), value=0.5), "mul"),
    "gate of rows and columns": (
        lambda x: x * (x.mean(3, keepdim=True).sigmoid() * x.mean(2, keepdim=True).sigmoid()), "mul",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SPELLED)
def test_other_spellings(name: str) -> None:
    function, kind = SPELLED[name]
    module = Small(lambda n, x: function(n.se(x))).eval()
    net = Network(module, input_size=SHAPE)
    assert kind in {n.kind for n in net.graph}
    x = torch.randn(2, *SHAPE)
    with torch.no_grad():
        torch.testing.assert_close(net.forward(x)[0], module(x), rtol=1e-4, atol=1e-5)
    info = {m.name: m for m in methods(net)}
    assert info["lrp"].supported
    assert info["deconvnet"].supported
    if name.startswith("gate"):
        assert SQUASHED in info["lrp"].extended
