"""A generator of networks: stems, convolutions of every kind, and between them what people do to a tensor.

`networks()` is a hypothesis strategy. Every network takes (N, C, H, W) of the shape in `Net.shape`, mostly oblong, and
gives (N, 3). Its `repr` says what it consists of, and rebuilds it by eye.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

Shape = tuple[int, int, int]
Draw = Callable[[st.SearchStrategy[Any]], Any]


class Net(nn.Module):
    """Steps, one after the other, and a head."""

    def __init__(self, shape: Shape, steps: list[nn.Module], head: nn.Module) -> None:
        super().__init__()
        self.shape = shape
        self.steps = nn.ModuleList(steps)
        self.head = head

    def forward(self, x: Tensor) -> Tensor:
        for step in self.steps:
            x = step(x)
        return self.head(x)

    @property
    def forms(self) -> list[str]:
        return [type(s).__name__ if not isinstance(s, Form) else s.form for s in self.steps]

    def __repr__(self) -> str:
        return f"Net of {self.shape}: " + " | ".join(repr(s).replace("\n", " ") for s in [*self.steps, self.head])


class Form(nn.Module):
    """A step that is a function of the maps and of its own weights."""

    def __init__(self, form: str, function: Callable[..., Tensor], note: str = "", **parts: Any) -> None:
        super().__init__()
        self.form, self.function, self.note = form, function, note
        self.parts: list[str] = []
        for name, part in parts.items():
            if isinstance(part, nn.Module):
                self.add_module(name, part)
            else:
                self.register_buffer(name, part)
            self.parts.append(name)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, *(getattr(self, name) for name in self.parts))

    def __repr__(self) -> str:
        return f"{self.form}({self.note})"


class Head(nn.Module):
    def __init__(self, kind: str, shape: Shape) -> None:
        super().__init__()
        self.kind = kind
        self.linear = nn.Linear(shape[0] * shape[1] * shape[2] if kind == "flatten" else shape[0], 3)

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "flatten":
            x = x.flatten(1)
        elif self.kind == "mean":
            x = x.mean((2, 3))
        elif self.kind == "max":
            x = x.amax((2, 3))
        else:
            x = F.adaptive_avg_pool2d(x, 1).flatten(1)
        return self.linear(x)


class _Choices:
    """What a form chooses, and the shape of the maps that it meets."""

    def __init__(self, draw: Draw | random.Random, shape: Shape) -> None:
        self.draw, self.shape = draw, shape

    def integer(self, low: int, high: int) -> int:
        if isinstance(self.draw, random.Random):
            return self.draw.randint(low, max(low, high))
        return self.draw(st.integers(low, max(low, high)))

    def one_of(self, *values: Any) -> Any:
        if isinstance(self.draw, random.Random):
            return self.draw.choice(values)
        return self.draw(st.sampled_from(values))


FORMS: dict[str, Callable[[_Choices], nn.Module | None]] = {}


def form(name: str) -> Callable[[Callable[[_Choices], nn.Module | None]], Callable[[_Choices], nn.Module | None]]:
    def register(make: Callable[[_Choices], nn.Module | None]) -> Callable[[_Choices], nn.Module | None]:
        FORMS[name] = make
        return make

    return register


def simple(name: str, function: Callable[..., Tensor], **parts: Callable[[Shape], Any]) -> None:
    """Register a form without choices; parts are made of the shape that it meets."""

    def make(d: _Choices) -> nn.Module:
        return Form(name, function, **{k: part(d.shape) for k, part in parts.items()})

    FORMS[name] = make


# -- convolutions and pools --


@form("conv")
def conv(d: _Choices) -> nn.Module | None:
    c, h, w = d.shape
    mode = d.one_of("zeros", "zeros", "zeros", "reflect", "circular", "replicate")
    kernel = d.integer(1, min(4, h)), d.integer(1, min(4, w))
    stride = d.one_of(1, 1, 2, (1, 2), (3, 1))
    groups = d.one_of(1, 1, c, 2 if c % 2 == 0 else 1)
    dilation = d.one_of(1, 1, 2)
    if d.one_of(True, False, False) and stride == 1:
        return nn.Conv2d(c, c, kernel, padding="same", dilation=dilation, groups=groups, padding_mode=mode)
    padding = d.integer(0, min(2, h - 1, w - 1))
    out = c if groups > 1 else d.one_of(4, 6, 8)
    return nn.Conv2d(c, out, kernel, stride, padding, dilation, groups, padding_mode=mode)


@form("conv 3x3 wide")
def wide(d: _Choices) -> nn.Module | None:
    return nn.Sequential(nn.Conv2d(d.shape[0], 48, 3, padding=1), nn.ReLU(), nn.Conv2d(48, 48, 3, padding=1))


@form("conv, batch norm, relu")
def block(d: _Choices) -> nn.Module | None:
    c = d.shape[0]
    return nn.Sequential(nn.Conv2d(c, c, 3, padding=1, bias=False), nn.BatchNorm2d(c), nn.ReLU(d.one_of(True, False)))


@form("conv transpose")
def conv_transpose(d: _Choices) -> nn.Module | None:
    c, h, w = d.shape
    if h * w > 300:
        return None
    kernel = d.integer(1, 4)
    return nn.ConvTranspose2d(
        c,
        d.one_of(4, 6),
        kernel,
        d.one_of(1, 2, (1, 2)),
        d.integer(0, (kernel - 1) // 2),
        groups=d.one_of(1, 2 - c % 2),
    )


@form("pool")
def pool(d: _Choices) -> nn.Module | None:
    kernel = d.integer(1, 3)
    options = {"stride": d.integer(1, 2), "padding": d.integer(0, kernel // 2), "ceil_mode": d.one_of(True, False)}
    return d.one_of(
        nn.MaxPool2d(kernel, **options, dilation=d.integer(1, 2)),
        nn.AvgPool2d(kernel, **options, count_include_pad=d.one_of(True, False)),
        Form("soft pool", lambda x: F.lp_pool2d(x.exp().clamp(max=9), 2, kernel, 1), f"{kernel}"),
    )


@form("adaptive pool")
def adaptive(d: _Choices) -> nn.Module | None:
    size = d.integer(1, d.shape[1]), d.integer(1, d.shape[2])
    return d.one_of(nn.AdaptiveAvgPool2d(size), nn.AdaptiveMaxPool2d(size))


@form("residual")
def residual(d: _Choices) -> nn.Module | None:
    c = d.shape[0]
    return Form("residual", lambda x, a: x + a(x).relu(), a=nn.Conv2d(c, c, 3, padding=1))


# -- where things are --

simple("transpose", lambda x: x.transpose(2, 3))
simple("rows as channels", lambda x: x.transpose(1, 2))
simple("columns as channels", lambda x: x.permute(0, 3, 2, 1))
simple(
    "transposed conv back",
    lambda x, a: a(x.transpose(2, 3)).transpose(2, 3),
    a=lambda s: nn.Conv2d(s[0], s[0], 3, padding=1),
)
simple("add transposed", lambda x: x + F.adaptive_avg_pool2d(x.transpose(2, 3), x.shape[2:]))
simple(
    "channels last",
    lambda x, a, b: x + b(a(x.permute(0, 2, 3, 1))).permute(0, 3, 1, 2),
    a=lambda s: nn.LayerNorm(s[0]),
    b=lambda s: nn.Linear(s[0], s[0]),
)
simple("linear along columns", lambda x, a: a(x), a=lambda s: nn.Linear(s[2], s[2]))
simple("linear along rows", lambda x, a: a(x.transpose(2, 3)).transpose(2, 3), a=lambda s: nn.Linear(s[1], s[1]))


@form("rot90")
def rot90(d: _Choices) -> nn.Module | None:
    k = d.integer(1, 3)
    return Form("rot90", lambda x: torch.rot90(x, k, (2, 3)), f"{k}")


@form("flip")
def flip(d: _Choices) -> nn.Module | None:
    dims = d.one_of((2,), (3,), (2, 3), (1,))
    return Form("flip", lambda x: x.flip(dims), f"{dims}")


@form("roll")
def roll(d: _Choices) -> nn.Module | None:
    dim, shift = d.one_of(1, 2, 3), d.integer(-3, 3)
    return Form("roll", lambda x: x.roll(shift, dim), f"{shift}, {dim}")


@form("crop")
def crop(d: _Choices) -> nn.Module | None:
    _, h, w = d.shape
    top, left, step = d.integer(0, h // 4), d.integer(0, w // 4), d.one_of(1, 1, 2)
    return Form("crop", lambda x: x[:, :, top : h - 1 : step, left::step], f"{top}, {left}, {step}")


@form("pad")
def pad(d: _Choices) -> nn.Module | None:
    mode = d.one_of("constant", "reflect", "circular", "replicate")
    amounts = tuple(d.integer(-1 if mode == "constant" else 0, 2) for _ in range(4))
    value = d.one_of(0.0, 1.5) if mode == "constant" else None
    if min(d.shape[1:]) < 4:
        return None
    return Form("pad", lambda x: F.pad(x, amounts, mode, value), f"{amounts}, {mode}, {value}")


# -- shapes --


@form("shuffle")
def shuffle(d: _Choices) -> nn.Module | None:
    c, h, w = d.shape
    if c % 2:
        return None
    if d.one_of(True, False):
        return nn.ChannelShuffle(2)
    return Form("shuffle", lambda x: x.view(-1, 2, c // 2, h, w).transpose(1, 2).reshape(-1, c, h, w))


@form("pixel unshuffle")
def unshuffle(d: _Choices) -> nn.Module | None:
    c, h, w = d.shape
    if h % 2 or w % 2:
        return None
    if d.one_of(True, False):
        return nn.PixelUnshuffle(2)
    return Form(
        "space to depth",
        lambda x: x.view(-1, c, h // 2, 2, w // 2, 2).permute(0, 3, 5, 1, 2, 4).reshape(-1, 4 * c, h // 2, w // 2),
    )


@form("pixel shuffle")
def pixel_shuffle(d: _Choices) -> nn.Module | None:
    c, h, w = d.shape
    if c % 4 or h * w > 300:
        return None
    if d.one_of(True, False):
        return nn.PixelShuffle(2)
    return Form(
        "depth to space",
        lambda x: x.view(-1, c // 4, 2, 2, h, w).permute(0, 1, 4, 2, 5, 3).reshape(-1, c // 4, 2 * h, 2 * w),
    )


@form("view as other maps")
def view(d: _Choices) -> nn.Module | None:
    c, h, w = d.shape
    if h % 2:
        return None
    shape = d.one_of((c, h // 2, 2 * w), (2 * c, h // 2, w), (c, w, h))
    return Form("view", lambda x: x.reshape(-1, *shape), f"{shape}")


@form("two branches, weighed")
def selective(d: _Choices) -> nn.Module | None:
    c = d.shape[0]
    a, b, gate = nn.Conv2d(c, c, 3, padding=1), nn.Conv2d(c, c, 3, padding=2, dilation=2), nn.Linear(c, 2 * c)

    def run(x: Tensor, a: nn.Module, b: nn.Module, gate: nn.Module) -> Tensor:
        both = torch.stack([a(x), b(x)], 1)
        weights = gate(both.sum(1).mean((2, 3))).view(-1, 2, c, 1, 1).softmax(1)
        return (both * weights).sum(1)

    return Form("selective kernels", run, a=a, b=b, gate=gate)


simple("stack and sum", lambda x: torch.stack([x, 2 * x, x.relu()], 1).sum(1))
simple("stack last and mean", lambda x: torch.stack([x, x.flip(1)], -1).mean(-1))
simple("unsqueeze and squeeze", lambda x: x.unsqueeze(2).squeeze(2) * 2)
simple("unbind", lambda x: torch.stack(x.unbind(1)[::-1], 1))
simple("chunk", lambda x: torch.cat([x[:, -1:], *x.split(1, 1)[:-1]], 1))
simple("amax over channels", lambda x: torch.cat([x, x.amax(1, keepdim=True), x.mean(1, keepdim=True)], 1))
simple("max over channels", lambda x: torch.cat([x, x.max(1, keepdim=True)[0]], 1))
simple("halves side by side", lambda x: torch.cat([x[:, :, : x.shape[2] // 2], 2 * x[:, :, x.shape[2] // 2 :]], 2))
simple("mirrored beside", lambda x: torch.cat([x, x.flip(3)], 3)[..., ::2])
simple("differences", lambda x: F.pad(x[:, :, 1:] - x[:, :, :-1], (0, 0, 1, 0)))
simple("repeat", lambda x: x.repeat(1, 1, 2, 1)[:, :, : x.shape[2] + 1])
simple("repeat_interleave", lambda x: x.repeat_interleave(2, 3)[..., 1 : x.shape[3] + 1])


# -- constants with positions --


@form("position map")
def position(d: _Choices) -> nn.Module | None:
    c, h, w = d.shape
    shape = d.one_of((1, c, h, w), (c, h, w), (h, w), (1, 1, h, 1), (w,), (c, 1, 1), (1, 1, h, w))
    at = torch.randn(shape)
    how = d.one_of("add", "mul", "sub")
    op = {"add": lambda x, p: x + p, "mul": lambda x, p: p * x, "sub": lambda x, p: p - x}[how]
    return Form("position", op, f"{how} {shape}", at=at)


@form("mask")
def mask(d: _Choices) -> nn.Module | None:
    _, h, w = d.shape
    held = torch.rand(d.one_of((h, w), (1, h, w), (1, 1, 1, w))) > 0.4
    function = d.one_of(
        lambda x, m: x.masked_fill(m, 0.5), lambda x, m: torch.where(m, x, -x), lambda x, m: x * m, lambda x, m: x * ~m
    )
    return Form("mask", function, f"{tuple(held.shape)}", mask=held)


@form("coordinates")
def coordinates(d: _Choices) -> nn.Module | None:
    _, h, w = d.shape
    rows, columns = torch.linspace(-1, 1, h), torch.linspace(-1, 1, w)
    grid = torch.stack(torch.meshgrid(rows, columns, indexing="ij"))[None]
    how = d.one_of("cat", "add", "repeat", "full")
    if how == "cat":
        return Form("coordinates", lambda x, g: torch.cat([x, g.expand(x.shape[0], -1, -1, -1)], 1), how, g=grid)
    if how == "add":
        return Form("coordinates", lambda x, g: x + g[:, :1].expand(x.shape[0], -1, -1, -1), how, g=grid)
    if how == "repeat":
        return Form("coordinates", lambda x, g: torch.cat([g.repeat(x.shape[0], 1, 1, 1), x], 1), how, g=grid)
    return Form(
        "coordinates",
        lambda x: torch.cat([x, torch.ones_like(x[:, :1]), torch.full((x.shape[0], 1, h, w), 0.3)], 1),
        how,
    )


@form("norm over another axis")
def odd_norm(d: _Choices) -> nn.Module | None:
    _, h, w = d.shape
    dims, size = d.one_of(((0, 2, 1, 3), h), ((0, 3, 2, 1), w))
    norm = nn.BatchNorm2d(size)
    norm.running_mean, norm.running_var = torch.randn(size), torch.rand(size) + 0.5
    return Form("odd norm", lambda x, a: a(x.permute(dims)).permute(dims), f"{dims}", a=norm)


simple(
    "norm along channels and columns",
    lambda x, a: a(x.transpose(1, 2)).transpose(1, 2),
    a=lambda s: nn.LayerNorm((s[0], s[2])),
)


@form("norm")
def norm(d: _Choices) -> nn.Module | None:
    c, h, w = d.shape
    return d.one_of(
        nn.GroupNorm(2 - c % 2, c), nn.InstanceNorm2d(c, affine=True), nn.LayerNorm((c, h, w)), nn.LayerNorm(w),
        nn.LocalResponseNorm(3), nn.LayerNorm((h, w)), nn.BatchNorm2d(c), nn.PReLU(c),
    )  # fmt: skip


# -- pieces --


@form("slice assignment")
def assignment(d: _Choices) -> nn.Module | None:
    c, h, _ = d.shape
    if c < 2 or h < 4:
        return None
    part = c // 2

    def channels(x: Tensor, a: nn.Module) -> Tensor:
        y = x.clone()
        y[:, :part] = a(x[:, :part])
        return y

    def rows(x: Tensor, a: nn.Module) -> Tensor:
        y = x.clone()
        y[:, :part, 1:3] = a(x[:, :part])[:, :, 1:3]
        return y

    function = d.one_of(channels, rows)
    return Form("slice assignment", function, function.__name__, a=nn.Conv2d(part, part, 3, padding=1))


@form("index")
def index(d: _Choices) -> nn.Module | None:
    c, h, w = d.shape
    axis, size = d.one_of((1, c), (2, h), (3, w))
    order = torch.randperm(size)[: max(1, size - 1)]
    key = [slice(None)] * axis

    def run(x: Tensor, order: Tensor) -> Tensor:
        return x[(*key, order)]

    return Form("index", run if d.one_of(True, False) else lambda x, o: x.index_select(axis, o), f"{axis}", order=order)


simple("scatter of rows", lambda x: torch.cat([x[:, :, ::2], x[:, :, 1::2]], 2))
simple("without a channel", lambda x: x.select(1, 0).unsqueeze(1) + x)
simple("a row for all", lambda x: x + x[:, :, 1:2])
simple("a column for all", lambda x: x * x.select(3, 0).unsqueeze(3).tanh())


# -- mixtures --


@form("einsum")
def einsum(d: _Choices) -> nn.Module | None:
    c, h, w = d.shape
    formula, size = d.one_of(("nchw,cd->ndhw", c), ("nchw,hk->nckw", h), ("nchw,wk->nchk", w), ("nchw,cd->ndwh", c))
    return Form("einsum", lambda x, m: torch.einsum(formula, x, m), formula, m=torch.randn(size, size) / size)


@form("matmul")
def matmul(d: _Choices) -> nn.Module | None:
    band = torch.randn(d.shape[2], d.shape[2]).tril(1).triu(-1)
    return Form("matmul", lambda x, m: x @ m, "band", m=band)


@form("fold")
def fold(d: _Choices) -> nn.Module | None:
    _, h, w = d.shape
    k = d.integer(1, 3)
    return Form("fold", lambda x: F.fold(F.unfold(x, k, padding=k // 2), (h, w), k, padding=k // 2), f"{k}")


@form("unfold")
def unfold(d: _Choices) -> nn.Module | None:
    c, h, w = d.shape
    how = d.one_of("im2col", "unfold")
    if how == "im2col":
        return Form("unfold", lambda x: F.unfold(x, 3, padding=1).view(-1, c, 9, h, w).amax(2), how)
    return Form("unfold", lambda x: x.unfold(2, 2, 1).mean(-1), how)


@form("interpolate")
def interpolate(d: _Choices) -> nn.Module | None:
    _, h, w = d.shape
    mode = d.one_of("nearest", "bilinear", "bicubic", "area", "nearest-exact")
    corners = d.one_of(True, False) if mode in ("bilinear", "bicubic") else None
    if d.one_of(True, False):
        size = d.integer(2, 2 * min(h, 12)), d.integer(2, 2 * min(w, 12))
        return Form(
            "interpolate",
            lambda x: F.interpolate(x, size, mode=mode, align_corners=corners),
            f"{size} {mode} {corners}",
        )
    factor = d.one_of(0.5, 1.5, 2.0) if h * w < 300 else 0.5
    if min(h, w) < 4:
        return None
    return Form(
        "interpolate",
        lambda x: F.interpolate(x, scale_factor=factor, mode=mode, align_corners=corners),
        f"{factor} {mode} {corners}",
    )


@form("antialiased")
def antialiased(d: _Choices) -> nn.Module | None:
    size = max(2, d.shape[1] // 2), max(2, d.shape[2] // 2)
    return Form("antialiased", lambda x: F.interpolate(x, size, mode="bilinear", antialias=True))


@form("grid sample")
def grid_sample(d: _Choices) -> nn.Module | None:
    _, h, w = d.shape
    theta = torch.tensor([[[0.9, d.one_of(0.0, 0.2), 0.1], [d.one_of(0.0, -0.3), 1.1, 0.0]]])
    grid = F.affine_grid(theta, [1, 1, h, w], align_corners=False)
    return Form(
        "grid sample", lambda x, g: F.grid_sample(x, g.expand(x.shape[0], -1, -1, -1), align_corners=False), grid=grid
    )


@form("spatial transformer")
def transformer(d: _Choices) -> nn.Module | None:
    locate = nn.Linear(d.shape[0], 6)

    def run(x: Tensor, locate: nn.Module) -> Tensor:
        theta = torch.tensor([1.0, 0, 0, 0, 1, 0]) + 0.2 * locate(x.mean((2, 3))).tanh()
        return F.grid_sample(x, F.affine_grid(theta.view(-1, 2, 3), x.shape, align_corners=False), align_corners=False)

    return Form("spatial transformer", run, locate=locate)


simple(
    "filter of frequencies",
    lambda x, m: torch.fft.irfft2(torch.fft.rfft2(x) * m, s=x.shape[2:]),
    m=lambda s: torch.rand(s[1], s[2] // 2 + 1),
)
simple("cumulative sum", lambda x: x.cumsum(2) / x.shape[2])
simple("soft-max of rows", lambda x: x * x.softmax(3))
simple("sorted", lambda x: x.sort(1)[0])
simple("outer product", lambda x: x.mean(3, keepdim=True) * x.mean(2, keepdim=True))
simple("minus the mean", lambda x: x - x.mean((2, 3), keepdim=True))
simple("by the norm", lambda x: F.normalize(x, dim=1))
simple("clamped ratio", lambda x: x / (1 + x.abs()).clamp(max=3))


# -- detours and gates --

simple("conv1d of rows", lambda x, a: x + a(x.mean(3)).unsqueeze(3), a=lambda s: nn.Conv1d(s[0], s[0], 3, padding=1))
simple(
    "conv1d of flat maps", lambda x, a: a(x.flatten(2)).view(x.shape), a=lambda s: nn.Conv1d(s[0], s[0], 3, padding=1)
)
simple(
    "conv1d a row each",
    lambda x, a: (
        a(x.permute(0, 2, 1, 3).reshape(-1, x.shape[1], x.shape[3]))
        .view(-1, x.shape[2], x.shape[1], x.shape[3])
        .permute(0, 2, 1, 3)
    ),
    a=lambda s: nn.Conv1d(s[0], s[0], 3, padding=1),
)
simple("conv3d of channels", lambda x, a: a(x.unsqueeze(1)).sum(1), a=lambda s: nn.Conv3d(1, 2, 3, padding=1))
simple(
    "conv3d of one slice",
    lambda x, a: a(x.unsqueeze(2)).squeeze(2),
    a=lambda s: nn.Conv3d(s[0], s[0], (1, 3, 3), padding=(0, 1, 1)),
)
simple(
    "tokens",
    lambda x, a: a(x.flatten(2).transpose(1, 2)).transpose(1, 2).reshape(x.shape),
    a=lambda s: nn.Linear(s[0], s[0]),
)


class Attention(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mix = nn.MultiheadAttention(channels, 1, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        t = x.flatten(2).transpose(1, 2)
        return (t + self.mix(t, t, t, need_weights=False)[0]).transpose(1, 2).reshape(x.shape)


simple("attention", lambda x, a: a(x), a=lambda s: Attention(s[0]))


@form("windows in the batch")
def windows(d: _Choices) -> nn.Module | None:
    c, h, w = d.shape
    if h % 2 or w % 2:
        return None

    def run(x: Tensor, a: nn.Module) -> Tensor:
        x = x.view(-1, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 1, 3, 5).reshape(-1, c, 2, 2)
        x = a(x)
        return x.view(-1, h // 2, w // 2, c, 2, 2).permute(0, 3, 1, 4, 2, 5).reshape(-1, c, h, w)

    return Form("windows in the batch", run, a=nn.Conv2d(c, c, 3, padding=1))


simple(
    "squeeze and excite",
    lambda x, a: x * a(x.mean((2, 3), keepdim=True)).sigmoid(),
    a=lambda s: nn.Conv2d(s[0], s[0], 1),
)
simple(
    "expanded gate",
    lambda x, a: x * a(x.mean((2, 3))).sigmoid()[:, :, None, None].expand_as(x),
    a=lambda s: nn.Linear(s[0], s[0]),
)
simple(
    "spatial gate",
    lambda x, a: x * a(torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)).sigmoid(),
    a=lambda s: nn.Conv2d(2, 1, 3, padding=1),
)
simple(
    "coarse gate",
    lambda x: x * F.interpolate(F.avg_pool2d(x, 2, ceil_mode=True), x.shape[2:], mode="nearest").sigmoid(),
)
simple("batch-spread ones", lambda x: x + torch.ones(x.shape[0], 1, x.shape[2], x.shape[3]).cumsum(3))

simple("batch second", lambda x: (x.transpose(0, 1) * 2).transpose(0, 1))
simple("batch last", lambda x, a: a(x.permute(1, 2, 3, 0)).permute(3, 0, 1, 2), a=lambda s: nn.ReLU())
simple("comparison", lambda x: x * (x > 0) + (x > x.mean(1, keepdim=True)))
simple("where it is the greatest", lambda x: x * (x == F.max_pool2d(x, 3, 1, 1)))
simple("greater than its neighbour", lambda x: x * (x > x.roll(1, 3)) + x)
simple("strongest channel", lambda x: x + x.argmax(1, keepdim=True).to(x.dtype) / x.shape[1])
simple("complex", lambda x: torch.complex(x, x.flip(3)).abs())
simple("complex pairs", lambda x: torch.view_as_complex(x.unflatten(3, (-1, 2)).contiguous()).exp().imag)
simple("pool of a volume", lambda x: F.max_pool3d(x.contiguous(), (2, 3, 2), (2, 1, 2), (0, 1, 0)))  # takes no other
simple("root of rectified", lambda x: F.lp_pool2d(x.relu(), 2, 2, 1))
simple("largest of a row, spread", lambda x, m: x.max(3)[0].unsqueeze(3) * m, m=lambda s: torch.linspace(0, 1, s[2]))
simple("counted", lambda x: x + torch.zeros_like(x[:, :1]).add(1).cumsum(2))
simple("gathered", lambda x: x.gather(2, x.argsort(2)))
simple("unpooled", lambda x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2, output_size=x.shape[2:]))
simple(
    "kernel of its own",
    lambda x: F.conv2d(x, torch.ones(x.shape[1], 1, 3, 3, dtype=x.dtype) / 9, padding=1, groups=x.shape[1]),
)
simple("joined rows", lambda x: x.flatten(1, 2).unflatten(1, (x.shape[1], x.shape[2])).exp().log1p())
simple(
    "dense", lambda x, a: a(x.flatten(1)).view(x.shape), a=lambda s: nn.Linear(s[0] * s[1] * s[2], s[0] * s[1] * s[2])
)
simple(
    "tensordot",
    lambda x, m: torch.tensordot(x, m, ([2], [0])).transpose(2, 3),
    m=lambda s: torch.randn(s[1], s[1]) / s[1],
)
simple("diagonal band", lambda x: x.tril() + x.triu(1) * 0.5)
simple("quantile of rows", lambda x: x - x.median(3, keepdim=True)[0])
simple("local contrast", lambda x: (x - F.avg_pool2d(x, 3, 1, 1)) / (F.avg_pool2d(x * x, 3, 1, 1) + 0.1).sqrt())
simple("three views", lambda x: torch.stack([x, x.roll(1, 2), x.flip(2)]).mean(0))
simple("as windows", lambda x: x.unfold(2, 3, 2).unfold(3, 3, 2).amax((-1, -2)))

if torch.__version__.startswith("2.6."):  # its export takes no batch of any size there; docs/networks.md says so
    del FORMS["filter of frequencies"], FORMS["spatial transformer"]


@st.composite
def networks(draw: Draw, forms: tuple[str, ...] | None = None, most: int = 4) -> Net:
    """Networks of a stem, up to `most` steps of the forms, each followed by a convolution now and then."""
    torch.manual_seed(draw(st.integers(0, 2**16)))
    shape = draw(st.integers(1, 3)), draw(st.integers(10, 26)), draw(st.integers(10, 26))
    steps: list[nn.Module] = []
    width = draw(st.sampled_from([4, 6, 8]))
    stem = draw(st.sampled_from(["3x3", "strided", "patches", "none"]))
    if stem == "3x3":
        steps.append(nn.Conv2d(shape[0], width, 3, padding=1))
    elif stem == "strided":
        steps.append(nn.Conv2d(shape[0], width, (3, 5), (2, 1), (1, 2)))
    elif stem == "patches":
        steps.append(nn.Conv2d(shape[0], width, 2, 2))
    now = _after(steps[-1], shape) if steps else shape
    names = st.sampled_from(sorted(FORMS) if forms is None else forms)
    for _ in range(draw(st.integers(1, most))):
        made = FORMS[draw(names)](_Choices(draw, now))
        after = None if made is None else _after(made, now)
        if made is None or after is None:
            continue
        steps.append(made)
        now = after
        if draw(st.booleans()):
            steps.append(nn.Sequential(nn.Conv2d(now[0], draw(st.sampled_from([4, 6])), 3, padding=1), nn.ReLU()))
            after = _after(steps[-1], now)
            assert after is not None
            now = after
    kind = draw(st.sampled_from(["mean", "pool", "flatten", "max"]))
    return Net(shape, steps, Head(kind, now)).eval()


def between_convolutions(name: str) -> Net:
    """A form between two convolutions, on a square picture; its choices are fixed."""
    generator = random.Random(name)

    for attempt in range(20):
        torch.manual_seed(attempt)
        first = nn.Conv2d(2, 8, 3, 2, 1)
        made = FORMS[name](_Choices(generator, (8, 12, 12)))
        after = None if made is None else _after(made, (8, 12, 12))
        if made is not None and after is not None:
            return Net((2, 24, 24), [first, made, nn.Conv2d(after[0], 4, 3, padding=1)], Head("mean", (4, 1, 1))).eval()
    raise AssertionError(f"{name} fits no map of 12x12")


def _after(step: nn.Module, shape: Shape) -> Shape | None:
    """Shape after a step; None if it does not fit, or the maps would be empty or too large."""
    try:
        with torch.no_grad():
            out = step.eval()(torch.randn(2, *shape))
    except (RuntimeError, IndexError, ValueError):
        return None
    c, h, w = out.shape[1:]
    fits = out.dim() == 4 and min(c, h, w) > 0 and h * w <= 1200 and c <= 64 and bool(torch.isfinite(out).all())
    return (c, h, w) if fits else None
