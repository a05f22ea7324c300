"""The first layer: what a pixel can be there, and what of its input is padding and no pixel."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convscope_core.errors import ArgumentError
from convscope_core.explain import Unit, attribute, methods, project_many
from convscope_core.network import Network

SHAPE = (3, 11, 10)
FIRST = ("z_box", "flat", "w_squared")


class Padded(nn.Module):
    """The same convolutions, with padding of their own or with a pad before each."""

    def __init__(self, how: str) -> None:
        super().__init__()
        torch.manual_seed(4)
        own = 1 if how == "own" else 0
        self.a, self.b = nn.Conv2d(3, 6, 3, 2, own), nn.Conv2d(6, 5, 3, 1, own)
        self.l = nn.Linear(5, 3)
        self.how = how

    def pad(self, x: Tensor) -> Tensor:
        if self.how == "own":
            return x
        if self.how == "in two steps":
            return F.pad(F.pad(x, (1, 0)), (0, 1, 1, 1))
        return F.pad(x, (1, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(self.pad(x)).relu()
        return self.l(self.b(self.pad(h)).relu().mean((2, 3)))


@pytest.mark.parametrize("how", ["a pad before", "in two steps"])
@pytest.mark.parametrize("first", FIRST)
def test_a_pad_is_padding_as_a_convolution_s_own_is(first: str, how: str) -> None:
    own, other = (Network(Padded(h).eval(), input_size=SHAPE) for h in ("own", how))
    x = torch.rand(SHAPE)
    for options in ({"first": first}, {"first": first, "conv": "w_squared" if first == "z_box" else first}):
        a, b = (attribute(net, x, "lrp", 1, **options) for net in (own, other))
        np.testing.assert_allclose(a.values, b.values, atol=1e-5 * abs(a.values).max())
        assert a.conservation.arrived == pytest.approx(b.conservation.arrived, rel=1e-4)
        assert abs(b.conservation.rest.get("padding", 0.0)) < 1e-5 * abs(b.score)
    a, b = (attribute(net, x, "deep_taylor", 1) for net in (own, other))
    np.testing.assert_allclose(a.values, b.values, atol=1e-5 * abs(a.values).max())


@pytest.mark.parametrize("first", FIRST)
def test_padding_is_no_pixel_inside_receptive_fields_too(first: str) -> None:
    net = Network(Padded("a pad before").eval(), input_size=SHAPE)
    x = torch.rand(SHAPE)
    units = [Unit(0, 2, r, c) for r, c in ((0, 0), (0, 4), (5, 0), (5, 4), (3, 2))]
    for unit, p in zip(units, project_many(net, [x], "b", units, "lrp", first=first, start="one"), strict=True):
        a = attribute(net, x, "lrp", ("b", *unit[1:4]), first=first, start="one").values
        inner = p.box.clipped(*SHAPE[1:])
        top, left = inner.top - p.box.top, inner.left - p.box.left
        part = p.values[:, top : top + inner.height, left : left + inner.width]
        assert abs(part - a[:, inner.top : inner.bottom, inner.left : inner.right]).max() < 1e-5 * abs(a).max()
        assert abs(p.values).sum() == pytest.approx(float(abs(a).sum()), rel=1e-4)


GAIN, SHIFT = torch.tensor([4.0, -2.0, 0.5])[:, None, None], torch.tensor([-2.0, 1.0, 0.3])[:, None, None]

INSIDE = {
    "scaled": lambda x: x * GAIN + SHIFT,
    "each colour": lambda x: torch.cat([x[:, i : i + 1] * GAIN[i] + SHIFT[i] for i in range(3)], 1),
    "stacked": lambda x: torch.stack([x[:, i] * (4.0, -2.0, 0.5)[i] + (-2.0, 1.0, 0.3)[i] for i in range(3)], 1),
    "in another order": lambda x: (x.flip(1) * GAIN.flip(0) + SHIFT.flip(0)).flip(1),
    "and padded": lambda x: F.pad(x * GAIN + SHIFT, (1, 1, 1, 1)),
}


class Normalised(nn.Module):
    def __init__(self, inside: str) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.inside = inside
        self.a, self.l = nn.Conv2d(3, 6, 3, 2, 0 if inside == "and padded" else 1), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.l(self.a(INSIDE[self.inside](x)).relu().mean((2, 3)))


@pytest.mark.parametrize("inside", INSIDE)
def test_what_the_network_does_to_a_picture_moves_the_box(inside: str) -> None:
    """As GoogLeNet and Inception do with transform_input: black and white come to the first layer as other numbers."""
    module = Normalised(inside).eval()
    net = Network(module, input_size=SHAPE)
    x = torch.rand(SHAPE)
    a = attribute(net, x, "lrp", 1, preset="epsilon_gamma_box", epsilon=1e-9)

    plain = nn.Conv2d(3, 6, 3, 2, 1).double()
    plain.load_state_dict(module.a.state_dict())
    w, v = plain.weight.detach(), (x * GAIN + SHIFT).double()[None]
    ends = torch.stack([SHIFT, GAIN + SHIFT]).double()
    low, high = (e.expand_as(v) for e in (ends.amin(0), ends.amax(0)))
    parts = [(v, w, 1.0), (low, w.clamp(min=0), -1.0), (high, w.clamp(max=0), -1.0)]

    def conv(value: Tensor, weight: Tensor) -> Tensor:
        return F.conv2d(value, weight, None, 2, 1)

    z = sum(sign * conv(value, u) for value, u, sign in parts)
    h = (conv(v, w) + plain.bias.detach()[None, :, None, None]).relu()
    mean = h.mean((2, 3))
    fc = module.l.double()
    share = h / h.sum((2, 3), keepdim=True).clamp(min=1e-12)
    r = (mean * fc.weight[1].detach())[:, :, None, None] * share
    expected = sum(
        sign * value * torch.autograd.functional.vjp(lambda t, u=u: conv(t, u), torch.zeros_like(v), r / z)[1]
        for value, u, sign in parts
    )
    got = torch.from_numpy(a.values).double()
    assert (got - expected[0]).abs().max() < 1e-4 * expected.abs().max()


def test_a_layer_whose_range_does_not_follow_from_that_of_pixels_has_no_box() -> None:
    class Centred(Normalised):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x - x.mean((2, 3), keepdim=True))

    net = Network(Centred("scaled").eval(), input_size=SHAPE)
    with pytest.raises(ArgumentError, match="no z-box for a layer behind"):
        attribute(net, torch.rand(SHAPE), "lrp", preset="epsilon_gamma_box")
    info = {m.name: m for m in methods(net)}
    assert not info["deep_taylor"].supported
    assert "z-box" in info["deep_taylor"].reason
