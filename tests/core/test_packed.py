"""Convolutions and products with packed kernels against float64, and what happens where PyTorch has none."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from convscope_core.graph import Runner, packed, trace
from convscope_core.graph.kernels import Kernels
from convscope_core.graph.node import Node
from convscope_core.graph.workspace import Workspace

from .test_kernels import conv_node, deviation


@pytest.fixture
def afresh() -> Iterator[None]:
    """Whether packed kernels work is found out anew, and again afterwards."""
    packed._works.cache_clear()
    yield
    packed._works.cache_clear()


def needs_packed() -> None:
    if not packed.of_use(torch.zeros(1)):
        pytest.skip("PyTorch has no packed kernels here")


def convolved(node: Node, x: Tensor, padding: tuple[int, int]) -> Tensor:
    with torch.inference_mode():
        return Kernels().convolution(node, x, (1, *x.shape[1:]), padding)(x)


#: oneDNN reads memory that is not the map's, where its kernel is packed.
NARROW: dict[str, Any] = {
    "groups": 1, "channels": (1, 8), "kernel": (3, 3), "stride": (1, 2), "dilation": (1, 1), "padding": (0, 0),
    "side": (6, 3), "pictures": 1, "bias": True, "last": False,
}  # fmt: skip


@settings(max_examples=30, deadline=None)
@example(**NARROW)
@example(**{**NARROW, "kernel": (2, 3), "stride": (1, 3), "padding": (1, 1), "side": (13, 3), "pictures": 3})
@given(
    groups=st.sampled_from([1, 2, 16]),
    channels=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    side=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    pictures=st.integers(1, 3),
    bias=st.booleans(),
    last=st.booleans(),
)
def test_packed_convolutions_are_convolutions(
    groups: int, channels: tuple[int, int], kernel: tuple[int, int], stride: tuple[int, int],
    dilation: tuple[int, int], padding: tuple[int, int], side: tuple[int, int], pictures: int, bias: bool, last: bool,
) -> None:  # fmt: skip
    needs_packed()
    assume(all(n > d * (k - 1) for n, k, d in zip(side, kernel, dilation, strict=True)))
    torch.manual_seed(0)
    wide = (groups * channels[0], groups * channels[1])
    node = conv_node(nn.Conv2d(*wide, kernel, stride, dilation=dilation, groups=groups, bias=bias))
    x = torch.randn(pictures, wide[0], *side)
    if last:
        x = x.contiguous(memory_format=torch.channels_last)
    shift = node["bias"].double() if bias else None
    expected = F.conv2d(x.double(), node["weight"].double(), shift, stride, padding, dilation, groups).detach()
    assume(bool(expected.any()))
    found = convolved(node, x, padding)
    assert found.shape == expected.shape
    assert deviation(found, expected) <= 5e-6


class Branches(nn.Module):
    """Convolutions of which each is read by a rectifier in its memory, by another convolution, or by both."""

    def __init__(self, groups: int, bias: bool) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=bias)
        self.wide = nn.Conv2d(8, 16, 1, bias=bias)
        self.deep = nn.Conv2d(16, 16, 3, padding=2, dilation=2, groups=groups, bias=bias)
        self.back = nn.Conv2d(16, 8, (1, 3), padding=(0, 1), bias=bias)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu6(self.stem(x))
        h = h + self.back(F.relu(self.deep(self.wide(h))))
        return self.head(F.relu(h).mean((2, 3)))


@pytest.mark.parametrize("pictures", [1, 3])
@pytest.mark.parametrize(("groups", "bias"), [(1, True), (1, False), (4, True), (16, False)])
def test_what_is_visited_has_packed_kernels_and_the_same_values(groups: int, bias: bool, pictures: int) -> None:
    torch.manual_seed(0)
    run = Runner(trace(Branches(groups, bias).eval(), (3, 12, 16)))
    convolutions = {n for n in run.graph if n.kind == "conv"}
    x = torch.randn(pictures, 3, 12, 16)
    nodes = run.graph.nodes[1:]
    _, expected = run(x, nodes)
    seen: dict[Node, Tensor] = {}
    for grad in (True, False):
        with torch.set_grad_enabled(grad):
            run.visit(x, nodes, lambda n, value, _: seen.update({n: value.clone()}))
        assert set(run._kernels) == (set() if grad or not packed.of_use(x) else convolutions)
        for n in nodes:
            assert deviation(seen[n], expected[n].double()) <= 5e-6, n


class Half(nn.Module):
    """Some layers of a network in another type."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype
        self.stem, self.body = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 3)
        self.head = nn.Linear(16, 2)

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.body.weight.to(self.dtype), self.body.bias.to(self.dtype)
        h = F.conv2d(F.relu(self.stem(x)).to(self.dtype), weight, bias).float()
        return self.head(h.relu().mean((2, 3)))


@pytest.mark.parametrize(
    ("module", "size", "count"),
    [
        (nn.Sequential(nn.Conv2d(1, 8, 3, (1, 2)), nn.ReLU(), nn.Flatten(), nn.Linear(32, 2)), (1, 6, 3), 0),
        (Half(torch.float16), (3, 8, 8), 1),
        (Half(torch.bfloat16), (3, 8, 8), 1),
    ],
    ids=["one map", "float16", "bfloat16"],
)
def test_what_onednn_cannot_have_packed_is_visited_as_it_is(
    module: nn.Module, size: tuple[int, ...], count: int
) -> None:
    needs_packed()
    run = Runner(trace(module.eval(), size))
    x = torch.randn(2, *size)
    nodes = run.graph.nodes[1:]
    _, expected = run(x, nodes)
    with torch.inference_mode():
        run.visit(x, nodes, lambda n, value, _: torch.testing.assert_close(value, expected[n]))
    assert len(run._kernels) == count


def test_what_is_no_number_stays_so_in_what_is_visited() -> None:
    layers = nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 4, 1), nn.Flatten(), nn.Linear(144, 2)
    run = Runner(trace(nn.Sequential(*layers).eval(), (3, 8, 8)))
    x = torch.randn(2, 3, 8, 8)
    x[1, 0, 4, 4] = torch.nan
    shown: list[Tensor] = []
    with torch.inference_mode():
        run.visit(x, run.graph.nodes[1:4], lambda _, value, __: shown.append(value.isnan().sum((2, 3))))
    assert [bool(each[0].any()) for each in shown] == [False] * 3
    assert [int(each[1].min()) for each in shown] == [9] * 3


def test_what_is_packed_and_what_is_not() -> None:
    needs_packed()
    x = torch.zeros(1, 1, 1, 1)
    assert not packed.of_use(x.double())
    assert not packed.of_use(x.bfloat16())
    assert not packed.of_use(x.to("meta"))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_the_type_is_that_of_what_is_convolved_whatever_the_kernel_s(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    node = conv_node(nn.Conv2d(160, 160, 3, padding=1))
    node = Node(node.name, node.kind, node.op, {**node.args, **typed(node, dtype)}, node.shape)
    x = torch.randn(1, 160, 14, 10)
    expected = F.conv2d(x.double(), node["weight"].double(), node["bias"].double())
    with torch.inference_mode():
        for found in (convolved(node, x, (0, 0)), Kernels().tiled(node, x, Workspace())):
            assert found.dtype == torch.float32
            assert deviation(found, expected) <= 5e-6


def typed(node: Node, dtype: torch.dtype) -> dict[str, Tensor]:
    return {name: node[name].detach().to(dtype) for name in ("weight", "bias")}


@contextlib.contextmanager
def default_type() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(
    "around",
    [lambda: torch.autocast("cpu", torch.bfloat16), default_type, lambda: torch.device("meta")],
    ids=["autocast", "type", "device"],
)
def test_what_is_set_around_the_first_question_does_not_matter(
    around: Callable[[], contextlib.AbstractContextManager[Any]], afresh: None
) -> None:
    x = torch.zeros(1, device="cpu", dtype=torch.float32)
    expected = packed.of_use(x)
    packed._works.cache_clear()
    with around():
        assert packed.of_use(x) == expected


@pytest.mark.parametrize(("least", "intel", "alone"), [(1, False, True), (1, True, False), (2**60, False, False)])
def test_large_products_go_one_by_one_but_on_intel_s_and_give_the_same(
    least: int, intel: bool, alone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs_packed()
    torch.manual_seed(0)
    node = conv_node(nn.Conv2d(96, 80, 3, padding=1))
    x = torch.randn(3, 96, 14, 10)
    expected = F.conv2d(x.double(), node["weight"].double(), node["bias"].double()).detach()
    monkeypatch.setattr("convscope_core.graph.kernels._ALONE", least)
    monkeypatch.setattr(packed, "by_intel", lambda: intel)
    kernels = Kernels()
    with torch.inference_mode():
        assert deviation(kernels.tiled(node, x, Workspace()), expected) <= 5e-6
    assert bool(kernels._products) == alone
    assert bool(kernels._transformed) != alone


@pytest.mark.parametrize(
    ("described", "otherwise", "intel"),
    [
        ("processor : 0\nvendor_id : GenuineIntel\n", "", True),
        ("processor : 0\nvendor_id : AuthenticAMD\n", "GenuineIntel", False),
        (None, "Intel64 Family 6 Model 85 Stepping 7, GenuineIntel", True),
        (None, "AMD64 Family 25 Model 1 Stepping 1, AuthenticAMD", False),
        (None, "", False),
    ],
)
def test_the_processor_s_maker_is_known(
    described: str | None, otherwise: str, intel: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if described is not None:
        (tmp_path / "cpuinfo").write_text(described)
    monkeypatch.setattr(packed, "_PROCESSOR", tmp_path / "cpuinfo")
    monkeypatch.setattr("platform.processor", lambda: otherwise)
    assert packed.by_intel.__wrapped__() == intel


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(3, 700), (2, 5, 700), (3, 1, 2, 700)])
def test_packed_linear_layers_are_linear_layers(dtype: torch.dtype, bias: bool, shape: tuple[int, ...]) -> None:
    needs_packed()
    torch.manual_seed(0)
    body = nn.Sequential(nn.Flatten(), nn.Linear(700, 2000, bias=bias))
    node = next(n for n in trace(body.eval(), (7, 10, 10)) if n.kind == "linear")
    made = {name: t.detach().to(dtype) for name, t in node.args.items() if isinstance(t, Tensor)}
    node = Node(node.name, node.kind, node.op, {**node.args, **made}, node.shape)
    x = torch.randn(shape).transpose(0, -2).contiguous().transpose(0, -2)
    kernels = Kernels()
    with torch.inference_mode():
        multiplied = kernels.product(node, x, 3)
        assert multiplied is not None
        found = multiplied(x, node["weight"], node["bias"])
    expected = F.linear(x.double(), node["weight"].double(), node["bias"].double() if bias else None)
    assert (found.dtype, found.shape) == (torch.float32, expected.shape)
    assert deviation(found, expected) <= 5e-6
    assert kernels.product(node, x, 1) is kernels.product(node, x.double(), 3) is None


@pytest.mark.parametrize("wrong", ["missing", "other numbers"])
def test_without_them_everything_works(wrong: str, monkeypatch: pytest.MonkeyPatch, afresh: None) -> None:
    class Ops:
        def __getattr__(self, name: str) -> None:
            raise AttributeError(name)

    with monkeypatch.context() as patch:
        if wrong == "missing":
            patch.setattr(packed, "_ops", Ops())
        else:
            patch.setattr(packed, "product", lambda matrix, bias=None: lambda x: x @ matrix + 1)
        torch.manual_seed(0)
        node = conv_node(nn.Conv2d(256, 64, 3))
        x = torch.randn(1, 256, 10, 10)
        assert not packed.of_use(x)
        expected = F.conv2d(x.double(), node["weight"].double(), node["bias"].double()).detach()
        with torch.inference_mode():
            assert deviation(convolved(node, x, (0, 0)), expected) <= 5e-6
            assert deviation(Kernels().tiled(node, x, Workspace()), expected) <= 5e-6
