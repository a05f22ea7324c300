"""What arrives and where the rest goes: the account of every walk that shares a score out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from convscope_core.explain import attribute
from convscope_core.explain.attribution import attribute_tensor
from convscope_core.explain.conservation import Conservation
from convscope_core.explain.lrp import PRESETS
from convscope_core.network import Network

from .test_explain_lrp import EPSILON, body, matrices, ready
from .test_explain_lrp import SHAPE as MLP_SHAPE

SHAPE = (3, 14, 13)

STEPS = {
    "conv": lambda n, h: n.b(h), "rectified": lambda n, h: n.b(h).relu(), "residual": lambda n, h: (n.b(h) + h).relu(),
    "difference": lambda n, h: h - 0.5 * n.b(h), "norm": lambda n, h: n.bn(h.relu()).relu(),
    "cat": lambda n, h: n.d(torch.cat([n.b(h).relu(), h], 1)), "pad": lambda n, h: n.c(F.pad(h, (1, 2, 0, 1))).relu(),
    "max": lambda n, h: F.max_pool2d(h, 2, 1), "average": lambda n, h: F.avg_pool2d(h, 3, 1, 1),
    "gate": lambda n, h: h * n.se(h.mean((2, 3), keepdim=True)).sigmoid(), "depth": lambda n, h: n.g(h).relu(),
    "up": lambda n, h: F.interpolate(h, scale_factor=2), "shift": lambda n, h: 0.3 - h, "split": lambda n, h: torch.cat(
        h.chunk(3, 1)[::-1], 1),
    "assigned": lambda n, h: torch.cat([h[:, :1], n.b(h)[:, 1:]], 1),
}  # fmt: skip


class Generated(nn.Module):
    def __init__(self, steps: list[str], bias: bool, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.a = nn.Conv2d(3, 6, 3, 1, 1, bias=bias)
        self.b, self.c = nn.Conv2d(6, 6, 3, 1, 1, bias=bias), nn.Conv2d(6, 6, 3, 2, 1, bias=bias)
        self.d, self.g = nn.Conv2d(12, 6, 1, bias=bias), nn.Conv2d(6, 6, 3, 1, 1, groups=6, bias=bias)
        self.se, self.l, self.bn = nn.Conv2d(6, 6, 1), nn.Linear(6, 3, bias=bias), nn.BatchNorm2d(6)
        self.steps = steps

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x).relu()
        for step in self.steps:
            h = STEPS[step](self, h)
        return self.l(h.mean((2, 3)))


@settings(
    max_examples=12, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.explicit, Phase.generate]
)
@given(
    steps=st.lists(st.sampled_from(sorted(STEPS)), max_size=5),
    bias=st.booleans(),
    seed=st.integers(0, 99),
    signed=st.booleans(),
)
def test_what_arrives_and_the_rest_are_the_score(steps: list[str], bias: bool, seed: int, signed: bool) -> None:
    net = Network(Generated(steps, bias, seed).eval(), input_size=SHAPE, dtype=torch.float64)
    x = (torch.randn if signed else torch.rand)(1, *SHAPE, dtype=torch.float64)
    for method, options in (*(("lrp", {"preset": p}) for p in PRESETS), ("deep_taylor", {})):
        if method == "deep_taylor" and "up" in steps:
            continue  # which states nothing about it
        a = attribute_tensor(net, x, method, 1, **options)
        kept = a.conservation
        size = max(1.0, abs(kept.arrived), *(abs(v) for v in kept.rest.values())) if kept.rest else 1.0
        assert kept.score == a.score
        assert kept.started == (1.0 if method == "deep_taylor" and a.score < 0 else a.score)
        assert abs(kept.total - kept.started) < 1e-9 * size
        assert kept.arrived == pytest.approx(
            a.values.sum(dtype=np.float64), rel=1e-4, abs=1e-5 * float(abs(a.values).sum())
        )
        assert abs(kept.rest.get("rounding", 0.0)) < 1e-9 * size, "every part has a name"
        if method == "deep_taylor" or (not bias and "norm" not in steps):
            assert "biases" not in kept.rest


@pytest.mark.parametrize("rule", ["epsilon", "gamma", "alpha_beta", "z_plus", "w_squared", "flat"])
def test_each_part_is_what_its_name_says(rule: str) -> None:
    """Against contributions written out one by one."""
    module = body()
    net = ready(module)
    x = torch.randn(MLP_SHAPE)
    kept = attribute(net, x, "lrp", 1, preset="epsilon", conv=rule, dense="epsilon", epsilon=EPSILON).conservation
    layers = matrices(module, x)
    rules = [rule, rule, "epsilon", "epsilon"]
    last, w, b = layers[-1]
    r = torch.zeros(w.shape[1], dtype=torch.float64)
    r[1] = (last @ w + b)[1]
    expected: dict[str, float] = {}
    for (value, w, b), name in reversed(list(zip(layers, rules, strict=True))):
        c = value[:, None] * w
        new = torch.zeros_like(value)
        for j, rj in enumerate(r.tolist()):
            column, z = c[:, j], float(c[:, j].sum() + b[j])
            if name in ("w_squared", "flat"):
                weights = w[:, j] ** 2 if name == "w_squared" else (w[:, j] != 0).double()
                new += weights / weights.sum() * rj
                continue
            if name in ("alpha_beta", "z_plus"):
                for share, side in ((2.0, 1), (-1.0, -1)) if name == "alpha_beta" else ((1.0, 1),):
                    mine, own = column * (column * side > 0), float(b[j] * (b[j] * side > 0))
                    total = float(mine.sum()) + own
                    moved = total + (EPSILON if total >= 0 else -EPSILON)
                    for where, amount in (("biases", own), ("epsilon", moved - total)):
                        expected[where] = expected.get(where, 0.0) + share * rj * amount / moved
                    new += share * rj * mine / moved
                continue
            own = float(b[j])
            if name == "gamma":
                column = column + 0.25 * column * (column * z > 0)
                own = own + 0.25 * own * (own * z > 0)
            total = float(column.sum()) + own
            moved = total + (EPSILON if total >= 0 else -EPSILON)
            expected["biases"] = expected.get("biases", 0.0) + rj * own / moved
            expected["epsilon"] = expected.get("epsilon", 0.0) + rj * (moved - total) / moved
            new += column / moved * rj
        r = new
    assert kept.arrived == pytest.approx(float(r.sum()), rel=1e-3, abs=1e-4)
    for where, amount in expected.items():
        assert kept.rest.get(where, 0.0) == pytest.approx(amount, rel=1e-3, abs=1e-4), where


def test_relevance_that_goes_around_a_layer_is_named() -> None:
    net = Network(Generated(["residual"], False, 0).eval(), input_size=SHAPE)
    a = attribute(net, torch.rand(SHAPE), "lrp", 1, layer="b", preset="epsilon")
    assert abs(a.conservation.rest["around b"]) > 0.01 * abs(a.score)
    assert a.conservation.total == pytest.approx(a.score, rel=1e-4)


def test_methods_that_share_nothing_out_say_so_and_integrated_gradients_name_the_baseline() -> None:
    module = Generated(["residual"], True, 0).eval()
    net = Network(module, input_size=SHAPE)
    x = torch.rand(SHAPE)
    for method in ("gradient", "deconvnet", "guided_backprop", "smoothgrad"):
        kept = attribute(net, x, method, 1).conservation
        assert not kept.shares
        assert not kept.rest
        assert "no shares" in str(kept)
    kept = attribute(net, x, "integrated_gradients", 1).conservation
    with torch.no_grad():
        black = float(module(torch.zeros(1, *SHAPE))[0, 1])
    assert kept.rest["the baseline's score"] == pytest.approx(black, abs=1e-5)
    assert kept.total == pytest.approx(kept.score, abs=1e-5)


def test_it_is_one_line() -> None:
    kept = Conservation(9.2, 9.2, 7.0, {"biases": 2.5, "epsilon": -0.3, "rounding": 1e-7})
    assert str(kept) == "score 9.2 = 7 arrived + biases 2.5 + epsilon −0.3"
    assert str(Conservation(-2.0, 1.0, 0.5, {"biases": 0.5})) == (
        "score −2: below zero, so that the walk starts from 1 = 0.5 arrived + biases 0.5"
    )
    a = attribute(Network(Generated([], True, 0).eval(), input_size=SHAPE), torch.rand(SHAPE), "lrp", 1)
    assert str(a.conservation) in repr(a)


# -- negative scores --


@pytest.mark.parametrize("method", ["deep_taylor", "deconvnet", "guided_backprop"])
def test_a_negative_score_starts_an_amount_from_one_and_is_told(method: str) -> None:
    module = Generated(["rectified", "residual"], True, 1).eval()
    module.l.bias.data[:] = torch.tensor([3.0, -3.0, 0.0])
    net = Network(module, input_size=SHAPE)
    x = torch.rand(SHAPE)
    above, below = (attribute(net, x, method, k) for k in (0, 1))
    assert above.score > 0 > below.score
    assert (above.options["start"], below.options["start"]) == ("value", "one")
    assert not above.notes
    assert "speaks against itself" in below.notes[0]
    assert below.notes[0] in repr(below)
    np.testing.assert_array_equal(below.values, attribute(net, x, method, 1, start="one").values)
    np.testing.assert_array_equal(above.values, attribute(net, x, method, 0, start="value").values)
    if method == "deep_taylor":
        assert below.values.min() >= 0


def test_projections_of_negative_units_start_from_one() -> None:
    from convscope_core.explain import Unit, project_many

    net = Network(Generated(["conv"], True, 1).eval(), input_size=SHAPE)
    x = torch.rand(SHAPE)
    maps = net.activations(x, "b")["b"][0]
    places = [np.unravel_index(int(f(maps)), maps.shape) for f in (torch.argmin, torch.argmax)]
    low, high = project_many(net, [x], "b", [Unit(0, *map(int, p)) for p in places], "deconvnet")
    ones = project_many(net, [x], "b", [Unit(0, *map(int, p)) for p in places], "deconvnet", start="one")
    assert low.activation < 0 < high.activation
    assert (low.options["start"], high.options["start"]) == ("one", "value")
    np.testing.assert_allclose(low.values, ones[0].values, rtol=1e-5)
    np.testing.assert_allclose(high.values, high.activation * ones[1].values, rtol=1e-4, atol=1e-6)


def test_relevance_beyond_float32_is_brought_back_and_its_scale_is_told() -> None:
    """Layers whose contributions nearly cancel, while biases, which take no share, keep the values at about one."""
    w = torch.tensor([[1.0, -1 + 2**-12], [-1 + 2**-12, 1.0]])
    layers: list[nn.Module] = []
    for _ in range(12):
        conv = nn.Conv2d(2, 2, 1)
        conv.weight.data, conv.bias.data = w[:, :, None, None].clone(), torch.ones(2)
        layers.append(conv)
    last = nn.Linear(2, 2)
    last.weight.data, last.bias.data = torch.tensor([[1.0, 0.5], [0.5, 1.0]]), torch.zeros(2)
    net = Network(nn.Sequential(*layers, nn.Flatten(), last).eval(), input_size=(2, 1, 1))
    a = attribute(net, torch.ones(2, 1, 1), "lrp", 0, preset="epsilon", epsilon=0.0, bias=False)
    values = [torch.ones(2, dtype=torch.float64)]
    for _ in layers:
        values.append(w.double() @ values[-1] + 1)
    r = values[-1] * last.weight[0].detach().double()
    for x in reversed(values[:-1]):
        c = x * w.double()
        r = (c / c.sum(1, keepdim=True) * r[:, None]).sum(0)
    assert float(r.abs().max()) > 3.5e38
    got = a.values.ravel().astype(np.float64) / a.options["scale"]
    np.testing.assert_allclose(got, r.numpy(), rtol=1e-3)
    assert a.conservation.arrived == pytest.approx(float(r.sum()), abs=1e-3 * float(r.abs().max()))
