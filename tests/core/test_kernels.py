"""Convolutions in tiles against convolutions in float64, and when tiles are chosen."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from convscope_core import compiled
from convscope_core.graph import Node, packed, trace
from convscope_core.graph.kernels import TILE, Inner, Kernels
from convscope_core.graph.workspace import Workspace


def conv_node(module: nn.Conv2d) -> Node:
    body = nn.Sequential(module, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(module.out_channels, 2))
    graph = trace(body.eval(), (module.in_channels, 12, 12))
    return next(n for n in graph if n.kind == "conv")


WAYS = ["compiled", "by PyTorch's operations"]


def tiled(way: str, node: Node, x: Tensor, inner: Inner | None = None) -> Tensor:
    """With Numba, or as where that is not installed."""
    with pytest.MonkeyPatch.context() as patch, torch.inference_mode():
        if way != "compiled":
            patch.setattr(compiled, "_kernels", {"tiles": None})
        return Kernels().tiled(node, x, Workspace(), inner)


def deviation(a: Tensor, b: Tensor) -> float:
    return ((a.double() - b).abs().max() / b.abs().max()).item()


@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=30, deadline=None)
@given(
    pictures=st.integers(1, 5),
    tiles=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    channels=st.tuples(st.integers(1, 70) | st.integers(120, 300), st.integers(1, 70) | st.integers(120, 300)),
    bias=st.booleans(),
    last=st.booleans(),
    seed=st.integers(0, 99),
)
def test_tiles_give_the_convolution(
    way: str, pictures: int, tiles: tuple[int, int], channels: tuple[int, int], bias: bool, last: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    node = conv_node(nn.Conv2d(*channels, 3, padding=1, bias=bias))
    x = torch.randn(pictures, channels[0], TILE * tiles[0] + 2, TILE * tiles[1] + 2)
    if last:
        x = x.contiguous(memory_format=torch.channels_last)
    found = tiled(way, node, x)
    expected = F.conv2d(x.double(), node["weight"].double(), None if not bias else node["bias"].double())
    assert found.shape == expected.shape
    assert found.is_contiguous(memory_format=torch.channels_last)
    # Errors of single products add up like steps of chance.
    assert deviation(found, expected.detach()) <= 5e-6 * max(1, channels[0] / 70) ** 0.5


@pytest.mark.cpu_only("elsewhere all tiles are computed")
@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=20, deadline=None)
@given(
    pictures=st.integers(1, 3),
    around=st.tuples(*[st.integers(0, 2)] * 4),
    alike=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    bias=st.booleans(),
)
def test_tiles_of_what_is_constant_are_those_of_one(
    way: str, pictures: int, around: tuple[int, int, int, int], alike: tuple[int, int], bias: bool
) -> None:
    torch.manual_seed(0)
    node = conv_node(nn.Conv2d(5, 7, 3, bias=bias))
    top, bottom, left, right = around
    inner = (top, top + alike[0]), (left, left + alike[1])
    x = torch.randn(pictures, 5, TILE * (top + alike[0] + bottom) + 2, TILE * (left + alike[1] + right) + 2)
    (t, b), (l, r) = ([TILE * end for end in ends] for ends in inner)
    x[:, :, t : b + 2, l : r + 2] = torch.randn(pictures, 5, 1, 1)
    found, expected = (tiled(way, node, x, given) for given in (inner, None))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("way", WAYS)
def test_tiles_round_like_a_direct_convolution(way: str) -> None:
    torch.manual_seed(0)
    node = conv_node(nn.Conv2d(512, 512, 3, padding=1))
    x = torch.randn(2, 512, 14, 14).relu()
    expected = F.conv2d(x.double(), node["weight"].double(), node["bias"].double()).detach()
    with torch.inference_mode():
        direct = F.conv2d(x, node["weight"], node["bias"])
    assert deviation(tiled(way, node, x), expected) <= 4 * deviation(direct, expected)


def test_pictures_that_do_not_fit_the_cache_at_once_are_computed_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    node = conv_node(nn.Conv2d(8, 8, 3))
    x = torch.randn(7, 8, 10, 10)
    with torch.inference_mode():
        expected = Kernels().tiled(node, x, Workspace())
        monkeypatch.setattr("convscope_core.graph.kernels._AT_ONCE", {"cpu": 3000, "cuda": 3000})
        torch.testing.assert_close(Kernels().tiled(node, x, Workspace()), expected)


def test_when_tiles_are_chosen() -> None:
    wide = conv_node(nn.Conv2d(256, 256, 3, padding=1))
    like = torch.zeros(1)
    assert Kernels.tiles(wide, like, (12, 12), 16)
    assert not Kernels.tiles(wide, like, (1, 1), 16)
    assert not Kernels.tiles(wide, like, (7, 7), 1)  # reading the kernel takes longer than using it
    assert not Kernels.tiles(wide, like.bfloat16(), (12, 12), 16)
    assert not Kernels.tiles(wide, like.to("meta"), (12, 12), 16)
    for other in (
        nn.Conv2d(8, 8, 3),
        nn.Conv2d(256, 256, 3, stride=2),
        nn.Conv2d(256, 256, 3, dilation=2),
        nn.Conv2d(256, 256, 3, groups=2),
        nn.Conv2d(256, 256, (3, 1)),
    ):
        assert not Kernels.tiles(conv_node(other), like, (12, 12), 16)


@pytest.mark.cpu_only("of processors")
@pytest.mark.parametrize("intel", [True, False])
@pytest.mark.parametrize("way", WAYS)
def test_with_few_channels_tiles_are_chosen_by_the_processor_s_maker_and_what_transforms_them(
    intel: bool, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed, "by_intel", lambda: intel)
    monkeypatch.setattr(compiled, "of_use", lambda *_: way == "compiled")
    node = conv_node(nn.Conv2d(64, 64, 3, padding=1))
    slow = intel and way != "compiled"
    assert Kernels.tiles(node, torch.zeros(1), (20, 20), 16) != slow
    assert Kernels.tiles(node, torch.zeros(1), (20, 20), 16, 16)
    narrow = conv_node(nn.Conv2d(32, 32, 3, padding=1))
    assert not Kernels.tiles(narrow, torch.zeros(1), (28, 28), 16)


def test_arguments_are_the_same_numbers_in_another_form() -> None:
    node = conv_node(nn.Conv2d(3, 4, 3))
    kernels = Kernels()
    args = kernels.arguments(node, torch.float32)
    assert list(args) == list(node.args)
    assert torch.equal(args["weight"], node["weight"])
    assert args["weight"].is_contiguous(memory_format=torch.channels_last)
    assert kernels.arguments(node, torch.float32)["weight"] is args["weight"]
    half = kernels.arguments(node, torch.bfloat16)
    assert half["weight"].dtype == half["bias"].dtype == torch.bfloat16
    assert half["stride"] == node["stride"]
