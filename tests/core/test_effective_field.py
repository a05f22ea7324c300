"""Effective receptive fields: the gradient that autograd gives, and the box that trying all boxes finds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from convscope_core.errors import ArgumentError, LayerError
from convscope_core.explain import effective_field
from convscope_core.explain.effective import smallest_box
from convscope_core.network import Box, Network


class Gate(nn.Module):
    """Squeeze and excite: every place hangs on the whole picture."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc = nn.Conv2d(channels, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.fc(x.mean((2, 3), keepdim=True)).sigmoid()


class Body(nn.Module):
    """Saturating rectifiers, a pool, a residual sum, folded batch norms; behind a gate at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 5, 3, padding=1)
        self.norm = nn.BatchNorm2d(5)
        self.clip = nn.ReLU6()
        self.pool = nn.MaxPool2d(2)
        self.branch = nn.Conv2d(5, 5, 3, padding=1)
        self.act = nn.ReLU()
        self.deep = nn.Conv2d(5, 4, 3, padding=1, stride=2)
        self.gate = Gate(4)
        self.last = nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(self.clip(self.norm(self.stem(3 * x))))
        x = self.act(x + self.branch(x))
        x = torch.nn.functional.silu(self.deep(x))
        return self.head(torch.relu(self.last(self.gate(x))).mean((2, 3)))


#: Layers, and the modules whose output is their value before the activation.
BEFORE = {"stem": "norm", "deep": "deep", "last": "last", "head": "head"}


@pytest.fixture(scope="module")
def module() -> Body:
    torch.manual_seed(3)
    body = Body()
    body.norm(torch.randn(8, 5, 6, 6))
    body.norm.weight.data *= 20
    return body.eval()


@pytest.fixture(scope="module")
def net(module: Body) -> Network:
    return Network(module, input_size=24)


def by_autograd(
    module: nn.Module, name: str, x: torch.Tensor, channel: int, place: tuple[int, int]
) -> tuple[float, np.ndarray]:
    kept = []
    handle = module.get_submodule(BEFORE[name]).register_forward_hook(lambda *_: kept.append(_[2]))
    x = x.clone().requires_grad_()
    module(x)
    handle.remove()
    value = kept[0][0, channel] if kept[0].dim() == 2 else kept[0][(0, channel, *place)]
    (gradient,) = torch.autograd.grad(value, x)
    return float(value.detach()), gradient[0].double().square().sum(0).numpy()


@pytest.mark.parametrize("name", list(BEFORE))
def test_energy_is_that_of_autograd_and_the_box_holds_it(module: Body, net: Network, name: str) -> None:
    torch.manual_seed(0)
    x = torch.rand(1, 3, 24, 24)
    layer = net.layer(name)
    for place in {(0, 0), (layer.size[0] // 2, layer.size[1] // 3), (layer.size[0] - 1, layer.size[1] - 1)}:
        found = effective_field(net, x, name, 1, place)
        value, energy = by_autograd(module, name, x, 1, place)
        assert found.value == pytest.approx(value, rel=1e-4, abs=1e-5)
        whole = np.zeros((24, 24))
        box = found.field.clipped(24, 24)
        top, left = box.top - found.field.top, box.left - found.field.left
        whole[box.top : box.bottom, box.left : box.right] = found.energy[
            top : top + box.height, left : left + box.width
        ]
        np.testing.assert_allclose(whole, energy / energy.sum(), atol=1e-5)
        assert found.energy.sum() == pytest.approx(1)
        assert found.box is not None
        t, q, b, r = found.box
        assert 0 <= t < b <= 24
        assert 0 <= q < r <= 24
        assert energy[t:b, q:r].sum() / energy.sum() >= 0.95 - 1e-5
        assert found.held >= 0.95 - 1e-9
        order = np.sort(found.energy, axis=None)[::-1]
        assert order[: found.pixels].sum() >= 0.95 - 1e-9 > order[: found.pixels - 1].sum() - 2e-9
        assert found.pixels <= found.box.height * found.box.width


@given(
    seed=st.integers(0, 10**6), height=st.integers(1, 7), width=st.integers(1, 7), share=st.floats(0.05, 1.0),
    sparse=st.booleans(),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_no_smaller_box_holds_as_much(seed: int, height: int, width: int, share: float, sparse: bool) -> None:
    rng = np.random.default_rng(seed)
    energy = rng.random((height, width)) ** 4 * (rng.random((height, width)) < (0.2 if sparse else 1))
    energy[rng.integers(height), rng.integers(width)] += 0.1
    energy /= energy.sum()
    box, held = smallest_box(energy, share)
    assert held == pytest.approx(energy[box.top : box.bottom, box.left : box.right].sum())
    assert held >= share * (1 - 1e-9)
    smallest = min(
        (bottom - top) * (right - left)
        for top in range(height) for bottom in range(top + 1, height + 1)
        for left in range(width) for right in range(left + 1, width + 1)
        if energy[top:bottom, left:right].sum() >= share * (1 - 1e-12)
    )  # fmt: skip
    assert box.height * box.width == smallest


def test_silent_and_saturated_units_have_one_and_gates_see_everything(net: Network) -> None:
    x = torch.rand(1, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    values = net.activations(x, "stem")["stem"][0]
    assert (values == 6).any()
    assert (values == 0).any()
    for extreme in (0, 6):
        channel, row, column = (int(one[0]) for one in torch.nonzero(values == extreme, as_tuple=True))
        assert effective_field(net, x, "stem", channel, (row, column)).box is not None
    strongest = effective_field(net, x, "stem", 2)
    assert strongest.position == divmod(int(values[2].argmax()), 24)
    assert strongest.field == net.layer("stem").box(*strongest.position)
    assert effective_field(net, x, "last", 0).field == Box(0, 0, 24, 24)
    narrow, wide = (effective_field(net, x, "deep", 0, (2, 2), share) for share in (0.5, 1.0))
    assert narrow.box is not None
    assert wide.box is not None
    assert narrow.box.height * narrow.box.width < wide.box.height * wide.box.width
    assert "pixels hold" in repr(narrow)


def test_where_nothing_arrives_there_is_no_field(net: Network) -> None:
    found = effective_field(net.silenced({"deep": None}), torch.rand(1, 3, 24, 24), "deep", 0, (1, 1))
    assert (found.box, found.pixels) == (None, 0)
    assert np.isnan(found.held)
    assert not found.energy.any()
    assert "the gradient is zero" in repr(found)
    pytest.importorskip("matplotlib")
    assert found.plot().axes


def test_arguments_are_checked(net: Network) -> None:
    x = torch.rand(1, 3, 24, 24)
    for share in (0, 1.5, True, "all"):
        with pytest.raises(ArgumentError, match="Expected share above 0 and at most 1"):
            effective_field(net, x, "stem", 0, share=share)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="inside the 24×24 maps"):
        effective_field(net, x, "stem", 0, (24, 0))
    for position in ("middle", 3):
        with pytest.raises(ArgumentError, match="'max' or"):
            effective_field(net, x, "stem", 0, position)  # type: ignore[arg-type]
    with pytest.raises(LayerError, match="0 to 4, got 5"):
        effective_field(net, x, "stem", 5)
