"""Receptive fields against the support of gradients, the rule of the field, and laws."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import HealthCheck, Phase, assume, example, given, note, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from convscope_core.graph import Graph, trace
from convscope_core.graph.geometry import Box, Geometry, Ranges
from convscope_core.graph.layers import GraphLayer, find_layers


def support(module: nn.Module, shape: tuple[int, int, int], row: int, column: int) -> Box | None:
    """Bounding box of the input pixels with a gradient, of the sum over channels of one output position."""
    x = torch.rand(1, *shape, dtype=torch.float64, requires_grad=True)
    out = module.double()(x)
    out[0, :, row, column].sum().backward()
    assert x.grad is not None
    hit = (x.grad[0] != 0).any(0)
    rows, columns = hit.any(1).nonzero().flatten(), hit.any(0).nonzero().flatten()
    if not len(rows):
        return None
    return Box(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)


def positive(module: nn.Module) -> nn.Module:
    """Give all weights the same sign, so that gradients of different paths cannot cancel; average in place of max."""
    for p in module.parameters():
        p.data = torch.rand_like(p) + 0.1
    return module.eval()


class Head(nn.Module):
    """Any maps, made a classifier by summing them to three numbers."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.body(x).mean((1, 2, 3))
        return torch.stack([y, -y, 2 * y], 1)


def body_geometry(body: nn.Module, shape: tuple[int, int, int]) -> tuple[Geometry, str, tuple[int, ...]]:
    """Trace a body and return the geometry with the node that holds the body's output."""
    graph = trace(Head(body).eval(), shape)
    node = next(n for c, n in graph.outputs_of.items() if c.path == "body")
    return Geometry(graph), node.name, node.shape


# -- random stacks --


@st.composite
def steps(draw: st.DrawFn) -> nn.Module:
    """One convolution or pool with kernel, stride, padding and dilation of its own along each axis."""
    kernel = (draw(st.integers(1, 4)), draw(st.integers(1, 4)))
    stride = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    kind = draw(st.sampled_from(["conv", "avg", "max", "pad", "transpose", "slice"]))
    if kind == "conv":
        dilation = (draw(st.integers(1, 2)), draw(st.integers(1, 2)))
        padding = (draw(st.integers(0, 3)), draw(st.integers(0, 3)))
        mode = draw(st.sampled_from(["zeros", "zeros", "replicate", "reflect", "circular"]))
        return nn.Conv2d(2, 2, kernel, stride, padding, dilation, padding_mode=mode)
    if kind == "pad":
        return nn.ZeroPad2d(tuple(draw(st.integers(0, 2)) for _ in range(4)))
    if kind == "transpose":
        padding = (draw(st.integers(0, kernel[0] - 1)), draw(st.integers(0, kernel[1] - 1)))
        return nn.ConvTranspose2d(2, 2, kernel, (min(stride[0], 2), min(stride[1], 2)), padding)
    if kind == "slice":
        return Crop(draw(st.integers(0, 2)), draw(st.integers(0, 2)), draw(st.integers(1, 2)))
    padding = (draw(st.integers(0, kernel[0] // 2)), draw(st.integers(0, kernel[1] // 2)))
    ceil = draw(st.booleans())
    if kind == "avg":
        return nn.AvgPool2d(kernel, stride, padding, ceil_mode=ceil)
    return Window(kernel, stride, padding, ceil)


class Crop(nn.Module):
    """Every `step`-th row from one on, columns without the last `right`."""

    def __init__(self, top: int, right: int, step: int) -> None:
        super().__init__()
        self.top, self.right, self.step = top, right, step

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :, self.top :: self.step, : x.shape[3] - self.right]


class Window(nn.Module):
    """A max pool. Its gradient goes to one input only, so the support is taken through an average (Mahendran)."""

    def __init__(self, kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int], ceil: bool):
        super().__init__()
        self.args = (kernel, stride, padding)
        self.ceil = ceil

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.dtype == torch.float64:
            return F.avg_pool2d(x, *self.args, ceil_mode=self.ceil)
        return F.max_pool2d(x, *self.args, ceil_mode=self.ceil)


class Branches(nn.Module):
    """Two stacks that meet by addition (cropped to their common size), or one that goes around the other."""

    def __init__(self, a: nn.Module, b: nn.Module) -> None:
        super().__init__()
        self.a, self.b = a, b

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b = self.a(x), self.b(x)
        h, w = min(a.shape[2], b.shape[2]), min(a.shape[3], b.shape[3])
        return a[:, :, :h, :w] + b[:, :, :h, :w]


stacks = st.lists(steps(), min_size=1, max_size=4).map(lambda s: nn.Sequential(*s))
branches = st.builds(Branches, stacks, stacks)
bodies = st.one_of(stacks, branches, st.builds(nn.Sequential, stacks, branches))

SHAPE = (2, 23, 19)
laws = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],  # shrinking a network takes minutes and the network is small
)


def output_shape(body: nn.Module) -> tuple[int, ...] | None:
    """Shape of the body's maps, or None if a kernel is larger than what is left of the picture."""
    try:
        shape = tuple(body(torch.zeros(1, *SHAPE)).shape[1:])
    except (RuntimeError, IndexError):
        return None
    return shape if all(shape) else None


def has_gaps(body: nn.Module) -> bool:
    """Whether a unit may see the input in pieces: boxes are then hulls of what is seen."""
    if isinstance(body, nn.Sequential) and any(isinstance(m, Branches) for m in body):
        return True  # the branches may read two ends of a map that is not the picture
    for m in body.modules():
        if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d, nn.AvgPool2d)):
            kernel, stride = np.broadcast_to(m.kernel_size, 2), np.broadcast_to(m.stride, 2)
            if (stride > kernel).any():
                return True
            if isinstance(m, nn.Conv2d) and (m.dilation != (1, 1) or m.padding_mode == "circular"):
                return True
        if isinstance(m, Window) and any(s > k for k, s in zip(*m.args[:2], strict=True)):
            return True
        if isinstance(m, Crop) and m.step > 1:
            return True
    return False


def inside(a: Box, b: Box) -> bool:
    return b.top <= a.top and b.left <= a.left and a.bottom <= b.bottom and a.right <= b.right


@laws
@given(body=bodies, where=st.tuples(st.floats(0, 1), st.floats(0, 1)))
@example(body=nn.Sequential(nn.Conv2d(2, 2, 3, 2, 1), nn.AvgPool2d(3, 2, 1, ceil_mode=True)), where=(1.0, 1.0))
@example(body=nn.Sequential(nn.Conv2d(2, 2, 4, padding="same")), where=(0.0, 1.0))
@example(body=nn.Sequential(nn.AdaptiveAvgPool2d((5, 4)), nn.Conv2d(2, 2, 2)), where=(0.5, 0.5))
@example(body=nn.Sequential(nn.Conv2d(2, 2, 3, 1, 2, 2), nn.Conv2d(2, 2, 3)), where=(0.5, 0.5))
@example(body=Branches(nn.ZeroPad2d((0, 2, 0, 2)), nn.Conv2d(2, 2, 3, padding=2)), where=(1.0, 0.5))
def test_support_is_that_of_the_gradient(body: nn.Module, where: tuple[float, float]) -> None:
    note(repr(body))
    body = positive(body)
    assume(output_shape(body) is not None)
    geometry, node, shape = body_geometry(body, SHAPE)
    row, column = round(where[0] * (shape[1] - 1)), round(where[1] * (shape[2] - 1))
    expected = support(body, SHAPE, row, column)
    found = geometry.support(node, row, column)
    box = geometry.box(node, row, column).clipped(*SHAPE[1:])
    assert found.height <= 0 or found.width <= 0 or inside(found, box)
    if expected is None:  # a window that lies in the padding altogether
        assert found.height <= 0 or found.width <= 0 or has_gaps(body)
    elif has_gaps(body):
        assert inside(expected, found)
    else:
        assert found == expected


def by_the_rule(body: nn.Sequential, axis: int) -> tuple[int, int, int]:
    """Jump, first and last pixel of unit 0: j *= s; low += -p * j; high += ((k - 1) d - p) * j, from first to last."""
    jump, low, high = 1, 0, 0
    for m in body:
        if isinstance(m, nn.ZeroPad2d):
            before = m.padding[2 if axis == 0 else 0]
            low, high = low - before * jump, high - before * jump
            continue
        if isinstance(m, Crop):
            first, step = (m.top, m.step) if axis == 0 else (0, 1)
            low, high, jump = low + first * jump, high + first * jump, jump * step
            continue
        if isinstance(m, Window):
            kernel, stride, padding = (v[axis] for v in m.args)
            dilation = 1
        else:
            assert isinstance(m, (nn.Conv2d, nn.AvgPool2d))
            kernel, stride, padding = (
                int(np.broadcast_to(v, 2)[axis])
                for v in (m.kernel_size, m.stride, m.padding)  # type: ignore[arg-type]
            )
            dilation = m.dilation[axis] if isinstance(m, nn.Conv2d) else 1
        low, high = low - padding * jump, high + ((kernel - 1) * dilation - padding) * jump
        jump *= stride
    return jump, low, high


@laws
@given(body=stacks)
def test_boxes_of_a_stack_follow_the_rule(body: nn.Sequential) -> None:
    body.eval()
    assume(output_shape(body) is not None)
    assume(all(getattr(m, "padding_mode", "zeros") == "zeros" for m in body))
    assume(not any(isinstance(m, nn.ConvTranspose2d) for m in body))
    geometry, node, (_, height, width) = body_geometry(body, SHAPE)
    (down, top, bottom), (across, left, right) = by_the_rule(body, 0), by_the_rule(body, 1)
    for r in range(height):
        for c in range(width):
            expected = (top + down * r, left + across * c, bottom + 1 + down * r, right + 1 + across * c)
            assert geometry.box(node, r, c) == expected
    sides = bottom - top + 1, right - left + 1
    field = geometry.receptive_field(node)
    assert (field.size, field.jump) == (max(sides), max(down, across))
    assert field.start == ((top + bottom) / 2 if sides[0] >= sides[1] else (left + right) / 2)


# -- the other direction: what a box of the picture changes --


def changed(module: nn.Module, shape: tuple[int, int, int], box: Box) -> Box | None:
    """Bounding box of the positions whose value changes, in any channel, when the pixels of a box grow."""
    x = torch.rand(1, *shape, dtype=torch.float64)
    y = x.clone()
    y[:, :, box.top : box.bottom, box.left : box.right] += 1
    with torch.no_grad():
        hit = (module.double()(x) != module(y))[0].any(0)
    rows, columns = hit.any(1).nonzero().flatten(), hit.any(0).nonzero().flatten()
    if not len(rows):
        return None
    return Box(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)


@st.composite
def pixels(draw: st.DrawFn) -> Box:
    """A box inside the picture."""
    top, left = draw(st.integers(0, SHAPE[1] - 1)), draw(st.integers(0, SHAPE[2] - 1))
    return Box(top, left, draw(st.integers(top + 1, SHAPE[1])), draw(st.integers(left + 1, SHAPE[2])))


@laws
@given(body=bodies, box=pixels())
@example(body=nn.Sequential(nn.Conv2d(2, 2, 3, 2, 1), nn.AvgPool2d(3, 2, 1, ceil_mode=True)), box=Box(22, 18, 23, 19))
@example(body=nn.Sequential(nn.Conv2d(2, 2, 4, padding="same")), box=Box(0, 18, 1, 19))
@example(body=nn.Sequential(nn.AdaptiveAvgPool2d((5, 4)), nn.Conv2d(2, 2, 2)), box=Box(4, 4, 5, 5))
@example(body=nn.Sequential(nn.AvgPool2d(1, 2)), box=Box(1, 0, 2, 19))
def test_reach_is_what_changes(body: nn.Module, box: Box) -> None:
    note(repr(body))
    body = positive(body)
    assume(output_shape(body) is not None)
    geometry, node, _ = body_geometry(body, SHAPE)
    expected, found = changed(body, SHAPE, box), geometry.reach(box)[node]
    modes = {getattr(m, "padding_mode", "zeros") for m in body.modules()}
    if modes == {"zeros"} and not has_gaps(body):
        assert found == expected
    elif expected is not None:
        assert found is not None
        assert inside(expected, found)


def test_reach_of_what_lies_outside_is_nothing() -> None:
    geometry, layers, _ = layer_of(Head(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU())), (3, 9, 7))
    assert set(geometry.reach(Box(9, 0, 12, 7)).values()) == {None}
    assert set(geometry.reach(Box(2, 3, 2, 5)).values()) == {None}
    assert geometry.reach(Box(-5, -5, 1, 1))[layers["body.0"].node.name] == (0, 0, 2, 2)


def test_pixels_that_a_stride_steps_over_change_nothing() -> None:
    geometry, layers, graph = layer_of(Head(nn.Sequential(nn.Conv2d(3, 4, 1, 2), nn.ReLU())), (3, 9, 9))
    reach = geometry.reach(Box(1, 0, 2, 9))
    assert reach[layers["body.0"].node.name] is None
    assert reach[graph.output.name] is None


def test_reach_is_everything_after_a_gate_or_statistics_of_the_map() -> None:
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4, 4), nn.Conv2d(4, 4, 3, padding=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.a(x)
            return self.c(x * self.b(x.mean((2, 3))).sigmoid()[:, :, None, None])

    for body in (Gated(), nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.Conv2d(4, 4, 1))):
        geometry, layers, _ = layer_of(Head(body), (3, 9, 9))
        reach = geometry.reach(Box(0, 0, 1, 1))
        maps = [reach[x.node.name] for x in layers.values() if x.kind == "conv"]
        assert maps == [(0, 0, 2, 2), (0, 0, 9, 9)]


def test_many_boxes_at_once_are_the_boxes_one_by_one() -> None:
    graph = trace(torchvision.models.shufflenet_v2_x0_5(num_classes=4).eval(), (3, 64, 48))
    geometry = Geometry(graph)
    tops, lefts = np.array([0, 7, 33]), np.array([0, 38])
    many = geometry.spread(Ranges(tops, tops + 9), Ranges(lefts, lefts + 9))
    for r, top in enumerate(tops):
        for c, left in enumerate(lefts):
            one = geometry.reach(Box(top, left, top + 10, left + 10))
            for name, (rows, columns) in many.items():
                assert one[name] == (rows.low[r], columns.low[c], rows.high[r] + 1, columns.high[c] + 1)


# -- published values --


def fields(module: nn.Module, shape: tuple[int, int, int]) -> dict[str, tuple[int, int, float]]:
    graph = trace(module, shape)
    geometry = Geometry(graph)
    return {x.name: tuple(geometry.receptive_field(x.node.name)) for x in find_layers(graph)}  # type: ignore[misc]


def test_zfnet_has_the_fields_of_the_paper() -> None:
    # Zeiler & Fergus 2014: figure tiles of 7, 27 and 139 pixels are the fields of conv1, conv2 and conv5. Centres
    # follow from r += (k - 1) j; start += ((k - 1) / 2 - p) j; j *= s.
    def pool() -> nn.Module:
        return nn.MaxPool2d(3, 2, ceil_mode=True)

    body = nn.Sequential(
        nn.Conv2d(3, 4, 7, 2, 1), nn.ReLU(), pool(), nn.LocalResponseNorm(5),
        nn.Conv2d(4, 4, 5, 2), nn.ReLU(), pool(), nn.LocalResponseNorm(5),
        nn.Conv2d(4, 4, 3, 1, 1), nn.ReLU(), nn.Conv2d(4, 4, 3, 1, 1), nn.ReLU(),
        nn.Conv2d(4, 4, 3, 1, 1), nn.ReLU(), pool(),
    )  # fmt: skip
    found = fields(Head(body).eval(), (3, 224, 224))
    assert [found[f"body.{i}"] for i in (0, 2, 4, 6, 8, 10, 12, 14)] == [
        (7, 2, 2), (11, 4, 4), (27, 8, 12), (43, 16, 20), (75, 16, 20), (107, 16, 20), (139, 16, 20), (171, 32, 36),
    ]  # fmt: skip


def test_alexnet_and_vgg16_have_the_known_fields() -> None:
    features = torchvision.models.AlexNet().features
    found = fields(Head(features).eval(), (3, 224, 224))
    sizes = [found[f"body.{i}"][:2] for i in (0, 2, 3, 5, 6, 8, 10, 12)]
    assert sizes == [(11, 4), (19, 8), (51, 8), (67, 16), (99, 16), (131, 16), (163, 16), (195, 32)]
    vgg = torchvision.models.vgg.make_layers(torchvision.models.vgg.cfgs["D"])
    found = fields(Head(vgg).eval(), (3, 64, 64))
    sizes = [found[f"body.{i}"][:2] for i in (2, 7, 14, 21, 28, 30)]
    assert sizes == [(5, 1), (14, 2), (40, 4), (92, 8), (196, 16), (212, 32)]


# -- whole networks against gradients --


def unpooled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every max pool average, so that gradients reach the whole window."""

    def average(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
        return F.avg_pool2d(x, kernel_size, stride, padding, ceil_mode)

    monkeypatch.setattr(F, "max_pool2d", average)


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("alexnet", 71), ("resnet18", 64), ("squeezenet1_0", 67), ("shufflenet_v2_x0_5", 64),
        *(
            pytest.param(*large, marks=pytest.mark.slow)
            for large in (("mobilenet_v2", 64), ("googlenet", 64), ("inception_v3", 96))
        ),
    ],
)  # fmt: skip
def test_support_in_real_networks_is_that_of_the_gradient(
    name: str, side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    extra = {"init_weights": False, "aux_logits": False} if name in ("googlenet", "inception_v3") else {}
    module = torchvision.models.get_model(name, weights=None, **extra).eval()
    graph = trace(module, (3, side, side))
    geometry = Geometry(graph)
    layers = [x for x in find_layers(graph) if x.size != (1, 1) or x.kind != "linear"]
    modules = dict(module.named_modules())
    layers = [x for x in layers if x.name in modules and "#" not in x.name and len(x.axes) == 3]
    chosen = layers[:: max(len(layers) // 5, 1)]
    positive(module)
    for m in module.modules():  # keep the values within range through a hundred layers
        if isinstance(m, nn.BatchNorm2d):
            assert m.running_mean is not None
            m.running_mean.zero_()
            m.weight.data.fill_(1)
            m.bias.data.zero_()
        if isinstance(m, nn.Conv2d):
            m.weight.data /= m.weight[0].numel()
    monkeypatch.setattr(F, "relu6", F.relu)
    unpooled(monkeypatch)
    for m in module.modules():
        if isinstance(m, nn.ReLU6):
            m.forward = F.relu  # type: ignore[method-assign]  # its ceiling would stop gradients
    module.double()
    outputs: dict[str, torch.Tensor] = {}
    for x in chosen:
        modules[x.name].register_forward_hook(lambda _m, _i, out, key=x.name: outputs.__setitem__(key, out * 1))
    picture = torch.rand(1, 3, side, side, dtype=torch.float64, requires_grad=True)
    module(picture)
    checked = 0
    for x in chosen:
        h, w = x.size
        for row, column in {(0, w // 2), (h // 2, w - 1)}:
            (g,) = torch.autograd.grad(outputs[x.name][0, :, row, column].sum(), picture, retain_graph=True)
            assert geometry.support(x.node.name, row, column) == bounds(g[0]), (x.name, row, column)
            checked += 1
    assert checked > 5


def bounds(gradient: torch.Tensor) -> Box | None:
    hit = (gradient != 0).any(0)
    rows, columns = hit.any(1).nonzero().flatten(), hit.any(0).nonzero().flatten()
    if not len(rows):
        return None
    return Box(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)


# -- whole pictures, gates, attention --


class Gated(nn.Module):
    """A squeeze-and-excite block between two convolutions."""

    def __init__(self, inner: nn.Module | None = None) -> None:
        super().__init__()
        self.before = nn.Conv2d(3, 4, 3, padding=1)
        self.squeeze = nn.AdaptiveAvgPool2d(1)
        self.excite = nn.Conv2d(4, 4, 1)
        self.after = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.before(x)
        return self.after(torch.sigmoid(self.excite(self.squeeze(x))) * x).mean((2, 3))


def layer_of(module: nn.Module, shape: tuple[int, int, int]) -> tuple[Geometry, dict[str, GraphLayer], Graph]:
    graph = trace(module.eval(), shape)
    return Geometry(graph), {x.name: x for x in find_layers(graph)}, graph


@pytest.mark.parametrize("side", [16, 1])
def test_a_gate_is_not_part_of_the_field_but_told(side: int) -> None:
    geometry, layers, _ = layer_of(Gated(), (3, side, side))
    assert not geometry.gated(layers["before"].node.name)
    assert not geometry.gated(layers["excite"].node.name)
    assert geometry.gated(layers["after"].node.name)
    assert geometry.receptive_field(layers["after"].node.name) == (5, 1, 0)
    assert geometry.box(layers["after"].node.name, 0, 0) == (-2, -2, 3, 3)
    assert geometry.box(layers["squeeze"].node.name, 0, 0) == (0, 0, side, side)


def test_units_behind_global_pooling_see_the_picture() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 5, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    geometry, layers, graph = layer_of(module, (3, 24, 32))
    # 10 rows and 14 columns of windows end at pixel 23 and 31: one row and one column are never looked at.
    assert geometry.box(layers["1"].node.name) == (0, 0, 23, 31)
    assert geometry.box(graph.output.name) == (0, 0, 23, 31)
    assert geometry.receptive_field(graph.output.name) == (31, 31, 15)


class Attending(nn.Module):
    """Self-attention over all positions, then a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 4, 4)
        self.attention = nn.MultiheadAttention(4, 1, batch_first=True)
        self.conv = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        tokens = x.flatten(2).transpose(1, 2)
        tokens = tokens + self.attention(tokens, tokens, tokens, need_weights=False)[0]
        return self.conv(tokens.transpose(1, 2).reshape(x.shape)).mean((2, 3))


def test_attention_sees_the_picture() -> None:
    geometry, layers, _ = layer_of(Attending(), (3, 16, 24))
    assert geometry.receptive_field(layers["stem"].node.name) == (4, 4, 1.5)
    assert geometry.box(layers["conv"].node.name, 1, 1) == (0, 0, 16, 24)


def test_windowed_attention_is_not_taken_for_local() -> None:
    module = torchvision.models.swin_t(weights=None).eval()
    geometry, layers, _ = layer_of(module, (3, 64, 64))
    assert geometry.receptive_field(layers["features.0.0"].node.name).size == 4
    assert geometry.receptive_field(layers["features.1.0"].node.name).size == 64


class Norms(nn.Module):
    """A normalisation by the statistics of the whole map between two convolutions."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.a, self.norm, self.b = nn.Conv2d(3, 4, 3), norm, nn.Conv2d(4, 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.b(self.norm(self.a(x))).mean((2, 3))


@pytest.mark.parametrize("norm", [nn.GroupNorm(2, 4), nn.InstanceNorm2d(4), nn.LayerNorm((4, 14, 14))])
def test_normalising_by_the_whole_map_counts_as_a_gate(norm: nn.Module) -> None:
    geometry, layers, _ = layer_of(Norms(norm), (3, 16, 16))
    assert geometry.receptive_field(layers["b"].node.name) == (5, 1, 2)
    assert geometry.gated(layers["b"].node.name)
    assert not geometry.gated(layers["a"].node.name)


def test_channel_shuffle_stays_local() -> None:
    module = Head(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ChannelShuffle(2), nn.Conv2d(4, 4, 3)))
    geometry, layers, _ = layer_of(module, (3, 16, 16))
    assert geometry.receptive_field(layers["body.2"].node.name) == (5, 1, 2)


def test_larger_axis_counts_where_they_differ() -> None:
    module = Head(nn.Sequential(nn.Conv2d(3, 4, (1, 7), padding=(0, 3)), nn.Conv2d(4, 4, (3, 1), (2, 1))))
    geometry, layers, _ = layer_of(module, (3, 16, 16))
    node = layers["body.1"].node.name
    assert geometry.box(node, 1, 2) == (2, -1, 5, 6)
    assert geometry.receptive_field(node) == (7, 2, 0)


def test_geometry_keeps_no_weights() -> None:
    graph = trace(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 3)).eval(), (3, 8, 8))
    weights = [weakref.ref(t) for t in graph.tensors()]
    geometry = Geometry(graph)
    del graph
    gc.collect()
    assert all(w() is None for w in weights)
    assert geometry.box(next(iter(geometry.names))) is not None
