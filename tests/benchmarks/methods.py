"""Which method is right on which family of networks: writes docs/methods.md.

    python tests/benchmarks/methods.py [--only resnet18,convnext_tiny] [--write]

Each family is a small or a published architecture with random weights and calibrated batch norms, on one random picture
and its strongest class. What a method gives is compared, in float64, with a computation that shares no code with it:

- gradient, input times gradient: PyTorch's autograd on the module; SmoothGrad (without noise) and integrated gradients
  likewise, the integral summed here; Grad-CAM by its formula, from hooks on the module;
- deconvnet, guided backprop: autograd on the module rewritten by torch.fx, its rectifiers replaced by functions with
  another backward, its gates detached;
- LRP (all six presets, the largest difference) and deep Taylor decomposition: zennit on the rewritten module, its batch
  norms fused by torch's own function.

Differences are relative to the strongest value. What cannot be rewritten, and PatternNet and PatternAttribution (which
the tests compare with iNNvestigate), is marked as computed: finite, without an independent twin.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import operator
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from torch import Tensor, fx, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval
from zennit.composites import COMPOSITES, LayerMapComposite, SpecialFirstLayerMapComposite, layer_map_base
from zennit.layer import Sum
from zennit.rules import Epsilon, Pass, ZBox, ZPlus
from zennit.types import Convolution, Linear

from convscope_core.explain import methods
from convscope_core.explain.attribution import attribute_tensor
from convscope_core.explain.lrp import PRESETS
from convscope_core.network import Network
from convscope_core.patterns import fit_patterns

TOLERANCE = 1e-4

METHODS = (
    "gradient", "smoothgrad", "input_times_gradient", "integrated_gradients", "grad_cam", "deconvnet",
    "guided_backprop", "patternnet", "deep_taylor", "lrp", "patternattribution",
)  # fmt: skip


class Small(nn.Module):
    """A convolution, a form, another convolution, a mean and a linear layer."""

    def __init__(self, form: Callable[[Any, Tensor], Tensor], **parts: nn.Module) -> None:
        super().__init__()
        self.a, self.c, self.l = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, 2, 1), nn.Linear(8, 5)
        for name, part in parts.items():
            self.add_module(name, part)
        self.r = nn.ReLU()
        self.form = form

    def forward(self, x: Tensor) -> Tensor:
        return self.l(self.r(self.c(self.form(self, self.a(x)))).mean((2, 3)))


def _assigned(n: Any, x: Tensor) -> Tensor:
    x = x.relu()
    y = x.clone()
    y[:, :4] = n.b(x[:, :4])
    return y


def _windows(n: Any, x: Tensor) -> Tensor:
    b = x.shape[0]
    w = x.relu().reshape(b, 8, 4, 8, 4, 8).permute(0, 2, 4, 1, 3, 5).reshape(-1, 8, 8, 8)
    return n.b(w).reshape(b, 4, 4, 8, 8, 8).permute(0, 3, 1, 4, 2, 5).reshape(b, 8, 32, 32)


def small(form: Callable[[Any, Tensor], Tensor], **parts: nn.Module) -> Callable[[], nn.Module]:
    return lambda: Small(form, **parts)


def published(name: str, **options: Any) -> Callable[[], nn.Module]:
    return lambda: getattr(torchvision.models, name)(num_classes=10, **options)


def narrow(name: str, channels: int) -> Callable[[], nn.Module]:
    """A published architecture without the hundred million weights of its classifier."""

    def make() -> nn.Module:
        with torch.device("meta"):
            module = getattr(torchvision.models, name)(num_classes=10)
        module.avgpool = nn.AdaptiveAvgPool2d(2)
        places = [i for i, m in enumerate(module.classifier) if isinstance(m, nn.Linear)]
        for place, a, b in zip(places, (4 * channels, 64, 64), (64, 64, 10), strict=True):
            module.classifier[place] = nn.Linear(a, b, device="meta")
        module.to_empty(device="cpu")
        for m in module.modules():
            if isinstance(m, (nn.Conv2d, nn.Linear, nn.BatchNorm2d)):
                m.reset_parameters()
        return module

    return make


#: Family: what it stands for, how it is made, the side of its picture.
FAMILIES: dict[str, tuple[str, Callable[[], nn.Module], int]] = {
    "alexnet": ("strided first layer, overlapping pools", narrow("alexnet", 256), 63),
    "vgg11": ("plain stack", narrow("vgg11", 512), 32),
    "vgg11_bn": ("batch norm, folded", narrow("vgg11_bn", 512), 32),
    "squeezenet1_1": ("concatenations, no linear layer", published("squeezenet1_1"), 40),
    "resnet18": ("residual sums", published("resnet18"), 40),
    "resnet50": ("bottlenecks", published("resnet50"), 40),
    "resnext50_32x4d": ("grouped convolutions", published("resnext50_32x4d"), 40),
    "googlenet": ("Inception, functional rectifiers", published("googlenet", aux_logits=False, init_weights=True), 40),
    "densenet121": ("batch norm before rectifiers", published("densenet121"), 40),
    "mobilenet_v2": ("ReLU6, depthwise", published("mobilenet_v2"), 40),
    "mnasnet0_5": ("depthwise", published("mnasnet0_5"), 40),
    "shufflenet_v2_x0_5": ("channel shuffle, split", published("shufflenet_v2_x0_5"), 40),
    "mobilenet_v3_small": ("hard swish, gates", published("mobilenet_v3_small"), 40),
    "efficientnet_b0": ("SiLU, gates", published("efficientnet_b0"), 40),
    "regnet_x_400mf": ("groups, no gates", published("regnet_x_400mf"), 40),
    "regnet_y_400mf": ("groups, gates", published("regnet_y_400mf"), 40),
    "convnext_tiny": ("layer norm, GELU", published("convnext_tiny"), 40),
    "swin_t": ("attention in windows", published("swin_t"), 40),
    "local response norm": ("as in AlexNet of 2012", small(lambda n, x: n.b(x.relu()), b=nn.LocalResponseNorm(5)), 32),
    "batch norm alone": ("that cannot be folded", small(lambda n, x: n.b(x.relu()).relu(), b=nn.BatchNorm2d(8)), 32),
    "group norm": ("as in BiT", small(lambda n, x: n.b(x).relu(), b=nn.GroupNorm(4, 8)), 32),
    "instance norm": ("style networks", small(lambda n, x: n.b(x).relu(), b=nn.InstanceNorm2d(8, affine=True)), 32),
    "leaky rectifier": ("slope 0.1", small(lambda n, x: F.leaky_relu(x, 0.1)), 32),
    "PReLU": ("a slope a channel", small(lambda n, x: n.b(x), b=nn.PReLU(8)), 32),
    "ELU": ("", small(lambda n, x: F.elu(x)), 32),
    "swish by hand": ("x · sigmoid(1.7 x)", small(lambda n, x: x * torch.sigmoid(1.7 * x)), 32),
    "rectifier by hand": ("where(x > 0, x, 0)", small(lambda n, x: torch.where(x > 0, x, 0)), 32),
    "maxout": ("the larger of two maps", small(lambda n, x: torch.maximum(x, n.b(x)), b=nn.Conv2d(8, 8, 1)), 32),
    "normalised by hand": ("(x − mean) · rsqrt(var)", small(
        lambda n, x: (x - x.mean((2, 3), True)) * torch.rsqrt(x.var((2, 3), keepdim=True) + 1e-5)), 32),
    "squeeze and excite": ("a gate a channel", small(
        lambda n, x: x.relu() * n.b(x.relu().mean((2, 3), True)).sigmoid(), b=nn.Conv2d(8, 8, 1)), 32),
    "spatial gate": ("a gate a position", small(
        lambda n, x: x.relu() * n.b(x.relu()).sigmoid(), b=nn.Conv2d(8, 1, 3, padding=1)), 32),
    "up-sampling": ("nearest and bilinear", small(
        lambda n, x: F.interpolate(F.interpolate(x.relu(), scale_factor=2), scale_factor=0.5, mode="bilinear")), 32),
    "transposed convolution": ("", small(
        lambda n, x: n.b(x.relu()).relu(), b=nn.ConvTranspose2d(8, 8, 2, 2)), 32),
    "slice assignment": ("x[:, :4] = f(x[:, :4])", small(_assigned, b=nn.Conv2d(4, 4, 3, padding=1)), 32),
    "windows in the batch": ("", small(_windows, b=nn.Conv2d(8, 8, 3, padding=1)), 32),
    "Fourier layer": ("complex values", small(lambda n, x: torch.fft.irfft2(torch.fft.rfft2(x.relu()) * 0.5)), 32),
    "pads": ("a node of their own", small(
        lambda n, x: n.b(F.pad(x.relu(), (1, 2, 1, 2))).relu(), b=nn.Conv2d(8, 8, 3, 2)), 32),
    "soft attention": ("scaled dot product", small(lambda n, x: F.scaled_dot_product_attention(
        *[x.relu().flatten(2).transpose(1, 2)] * 3).transpose(1, 2).reshape(x.shape)), 16),
}  # fmt: skip


def calibrated(make: Callable[[], nn.Module], side: int) -> nn.Module:
    torch.manual_seed(7)
    module = make().train()
    for m in module.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.momentum = None
            nn.init.uniform_(m.weight, 0.5, 1.5)
            nn.init.normal_(m.bias, 0, 0.2)
        if isinstance(m, nn.Dropout) or type(m).__name__ == "StochasticDepth":
            m.eval()
    with torch.no_grad():
        module(torch.randn(4, 3, side, side))
    return module.eval()


# -- the module, rewritten for the twins --


class Added(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.sum = Sum()

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.sum(torch.stack([a, b], -1))


class _AllToTheMap(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, map_: Tensor, gate: Tensor) -> Tensor:
        ctx.gate = gate.shape
        return map_ * gate

    @staticmethod
    def backward(ctx: Any, relevance: Tensor) -> tuple[Tensor, Tensor]:
        return relevance, relevance.new_zeros(ctx.gate)


class Gated(nn.Module):
    """A map times its gate: relevance goes to the map; a signal too, times the gate."""

    relevance = True

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        map_, gate = (a, b) if a.numel() > b.numel() else (b, a)
        return _AllToTheMap.apply(map_, gate) if self.relevance else map_ * gate.detach()


FUNCTIONS: dict[Any, Callable[..., nn.Module]] = {
    F.relu: nn.ReLU, torch.relu: nn.ReLU, "relu": nn.ReLU, F.silu: nn.SiLU, F.hardswish: nn.Hardswish,
    F.leaky_relu: nn.LeakyReLU, F.elu: nn.ELU,
}  # fmt: skip

PLAIN = (F.max_pool2d, torch.flatten, torch.cat, torch.chunk, F.pad, F.dropout)


def rewritten(module: nn.Module) -> fx.GraphModule | None:
    """The module with sums, gates and rectifiers as modules and batch norms fused; None where it has other parts."""
    try:
        traced = fx.symbolic_trace(copy.deepcopy(module).double())
    except Exception:
        return None
    modules = dict(traced.named_modules())
    for n in list(traced.graph.nodes):
        if n.op == "call_module" and isinstance(modules[n.target], nn.BatchNorm2d):
            before = n.args[0]
            conv = modules.get(before.target) if before.op == "call_module" else None
            if type(conv) is nn.Conv2d and len(before.users) == 1:
                parent, _, name = before.target.rpartition(".")
                setattr(traced.get_submodule(parent), name, fuse_conv_bn_eval(conv, modules[n.target]))
                n.replace_all_uses_with(before)
                traced.graph.erase_node(n)
            continue
        maps = [a for a in n.args if isinstance(a, fx.Node)]
        made: nn.Module | None = None
        if n.op in ("call_function", "call_method"):
            if n.target in (operator.add, operator.iadd, torch.add) and len(maps) == 2:
                made = Added()
            elif n.target in (operator.mul, operator.imul, torch.mul) and len(maps) == 2:
                made = Gated()
            elif n.target in FUNCTIONS:
                numbers = {k: v for k, v in n.kwargs.items() if isinstance(v, float)}
                made = FUNCTIONS[n.target](*[a for a in n.args[1:] if isinstance(a, float)], **numbers)
            elif n.target in (F.adaptive_avg_pool2d, F.avg_pool2d):
                pool = nn.AdaptiveAvgPool2d if n.target is F.adaptive_avg_pool2d else nn.AvgPool2d
                made = pool(*n.args[1:], **n.kwargs)
            elif n.target == "mean" and n.args[1:] in (((2, 3),), ([2, 3],)) and not n.kwargs:
                made = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
            elif n.target == "mean" and n.args[1:] == ((2, 3), True):
                made = nn.AdaptiveAvgPool2d(1)
            elif n.target not in PLAIN and n.target not in (
                "sigmoid", torch.sigmoid, "view", "size", "chunk", "flatten", "contiguous", operator.getitem,
                operator.floordiv, torch.transpose, getattr,
            ):  # fmt: skip
                return None
        if made is not None:
            name = f"made_{n.name}"
            traced.add_module(name, made)
            with traced.graph.inserting_before(n):
                new = traced.graph.call_module(name, tuple(maps))
            n.replace_all_uses_with(new)
            traced.graph.erase_node(n)
    traced.recompile()
    for m in traced.modules():
        if hasattr(m, "inplace"):
            m.inplace = False
    return traced.eval()


ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.SiLU, nn.Hardswish, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.GELU, nn.LocalResponseNorm)


NORMALISATIONS = (nn.GroupNorm, nn.LayerNorm, nn.InstanceNorm2d)


def zennit(module: nn.Module, x: Tensor, method: str, k: int) -> Tensor:
    """LRP by preset, or deep Taylor decomposition."""
    ends = {name: torch.full((1, 3, 1, 1), v, dtype=torch.float64) for name, v in (("low", 0.0), ("high", 1.0))}
    passed = [(ACTIVATIONS, Pass())]
    module = copy.deepcopy(module)
    for parent in list(module.modules()):
        for name, m in list(parent.named_children()):
            if isinstance(m, NORMALISATIONS):  # relevance stays where it is
                setattr(parent, name, _Applied(lambda h, m=m: h + (m(h) - h).detach()))
    if method == "deep_taylor":
        plus = ZPlus(zero_params=["bias"])
        composite: Any = SpecialFirstLayerMapComposite(
            [*passed, *layer_map_base(), (Linear, plus)], [(Convolution, ZBox(**ends))]
        )
    elif method == "epsilon":
        composite = LayerMapComposite([*passed, *layer_map_base(), (Linear, Epsilon(1e-6))])
    else:
        composite = COMPOSITES[method](layer_map=passed, **(ends if method == "epsilon_gamma_box" else {}))
    with composite.context(module) as changed:
        x = x.clone().requires_grad_()
        y = changed(x)
        start = y if method != "deep_taylor" or float(y[0, k].detach()) >= 0 else torch.ones_like(y)
        (found,) = torch.autograd.grad(y, x, F.one_hot(torch.tensor([k]), y.shape[1]).to(y) * start)
    return found.detach()


class _Deconv(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, guided: bool, ceiling: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.guided = guided
        return x.clamp(0, ceiling)

    @staticmethod
    def backward(ctx: Any, signal: Tensor) -> tuple[Tensor, None, None]:
        open_ = ctx.saved_tensors[0] > 0 if ctx.guided else 1
        return signal.clamp(min=0) * open_, None, None


class _Leaky(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, slopes: Tensor, guided: bool) -> Tensor:
        ctx.save_for_backward(x, slopes)
        ctx.guided = guided
        return torch.where(x > 0, x, slopes * x)

    @staticmethod
    def backward(ctx: Any, signal: Tensor) -> tuple[Tensor, None, None]:
        x, slopes = ctx.saved_tensors
        signal = torch.where(signal > 0, signal, slopes * signal)
        return (torch.where(x > 0, signal, slopes * signal) if ctx.guided else signal), None, None


def _held(norm: nn.Module, x: Tensor) -> Tensor:
    """A normalisation whose standard deviation is held constant."""
    if isinstance(norm, nn.LayerNorm):
        dims = tuple(range(-len(norm.normalized_shape), 0))
        d = x - x.mean(dims, keepdim=True)
        y = d / ((d**2).mean(dims, keepdim=True) + norm.eps).sqrt().detach()
        return y if norm.weight is None else y * norm.weight + norm.bias
    groups = norm.num_groups if isinstance(norm, nn.GroupNorm) else x.shape[1]
    d = x.reshape(len(x), groups, -1)
    d = d - d.mean(2, keepdim=True)
    y = (d / ((d**2).mean(2, keepdim=True) + norm.eps).sqrt().detach()).reshape(x.shape)
    return y if norm.weight is None else y * norm.weight.view(-1, 1, 1) + norm.bias.view(-1, 1, 1)


def signals(module: nn.Module, x: Tensor, guided: bool, k: int) -> Tensor | None:
    """Deconvnet or guided backprop of a rewritten module; None where it has other nonlinearities."""
    kinds = (nn.SiLU, nn.Hardswish, nn.ELU, nn.GELU)
    if any(isinstance(m, kinds) for m in module.modules()):
        return None
    changed = copy.deepcopy(module)
    for parent in list(changed.modules()):
        for name, m in list(parent.named_children()):
            if isinstance(m, (nn.ReLU, nn.ReLU6)):
                ceiling = 6.0 if isinstance(m, nn.ReLU6) else math.inf
                setattr(parent, name, _Applied(lambda h, c=ceiling: _Deconv.apply(h, guided, c)))
            elif isinstance(m, (nn.LeakyReLU, nn.PReLU)):
                slopes = torch.tensor([m.negative_slope]) if isinstance(m, nn.LeakyReLU) else m.weight.detach()
                wide = slopes.double().view(-1, 1, 1)
                setattr(parent, name, _Applied(lambda h, s=wide: _Leaky.apply(h, s, guided)))
            elif isinstance(m, NORMALISATIONS) and not guided:
                setattr(parent, name, _Applied(lambda h, m=m: _held(m, h)))
            elif isinstance(m, Gated):
                m.relevance = False
            elif isinstance(m, nn.LocalResponseNorm) and not guided:
                setattr(parent, name, _Applied(lambda h, m=m: h + (m(h) - h).detach()))
    x = x.clone().requires_grad_()
    y = changed(x)
    score = y[0, k]
    (found,) = torch.autograd.grad(score, x, score.detach() if float(score.detach()) >= 0 else torch.ones_like(score))
    return found


class _Applied(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


# -- autograd on the module as it is --


def slope(module: nn.Module, x: Tensor, k: int) -> Tensor:
    x = x.clone().requires_grad_()
    (found,) = torch.autograd.grad(module(x)[0, k], x)
    return found


def integral(module: nn.Module, x: Tensor, k: int, steps: int) -> Tensor:
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    total = torch.zeros_like(x)
    for node, weight in zip(nodes, weights, strict=True):
        total += 0.5 * weight * slope(module, 0.5 * (1 + node) * x, k)
    return total * x


def cam(module: nn.Module, x: Tensor, k: int, names: list[str], axes: tuple[int, ...]) -> Tensor | None:
    """Grad-CAM by hooks on the activation at the end of a layer, or on the layer where it has none."""
    named = dict(module.named_modules())
    found = [name for name in names if name.partition("#")[0] in named]
    last = [name for name in found if isinstance(named[name.partition("#")[0]], ACTIVATIONS)]
    if not found:
        return None
    path, _, call = (last or found)[0].partition("#")
    seen: list[Tensor] = []
    hook = named[path].register_forward_hook(lambda m, a, y: seen.append(y if y.requires_grad else y.requires_grad_()))
    score = module(x.clone().requires_grad_())[0, k]
    hook.remove()
    map_ = seen[int(call or 1) - 1]
    if map_.dim() != 4:
        return None
    gradient = torch.autograd.grad(score, map_, allow_unused=True)[0]
    if gradient is None:
        return None
    map_, gradient = (t.permute(0, *(a + 1 for a in axes)) for t in (map_, gradient))
    return (map_ * gradient.mean((2, 3), keepdim=True)).sum(1, keepdim=True).clamp(min=0).detach()


# -- the table --


def off(ours: Any, theirs: Tensor) -> float:
    a, b = torch.from_numpy(ours.values).double(), theirs[0].double()
    return float((a - b).abs().max() / b.abs().max().clamp(min=1e-300)) if a.shape == b.shape else math.inf


#: Without chance, and few forward passes.
OPTIONS: dict[str, dict[str, Any]] = {
    "smoothgrad": {"noise": 0.0, "samples": 2}, "integrated_gradients": {"steps": 12}, "grad_cam": {"upsample": False},
}  # fmt: skip


def cell(net: Network, module: nn.Module, other: nn.Module | None, x: Tensor, k: int, method: str) -> str:
    variants: list[dict[str, Any]] = [{"preset": p} for p in PRESETS] if method == "lrp" else [OPTIONS.get(method, {})]
    worst, checked, label, silent = 0.0, True, "", True
    for options in variants:
        ours = attribute_tensor(net, x, method, k, **options)
        assert np.isfinite(ours.values).all()
        label = "labelled" if ours.extended else label
        theirs: Tensor | None = None
        if method in ("gradient", "smoothgrad"):
            theirs = slope(module, x, k)
        elif method == "input_times_gradient":
            theirs = slope(module, x, k) * x
        elif method == "integrated_gradients":
            theirs = integral(module, x, k, 12)
        elif method == "grad_cam":
            layer = net.layer(str(ours.layer))
            theirs = cam(module, x, k, [layer.name, *layer.aliases], net.graph_layer(layer.name).axes)
        elif other is not None and method in ("deconvnet", "guided_backprop"):
            theirs = signals(other, x, method == "guided_backprop", k)
        elif other is not None and method in ("lrp", "deep_taylor"):
            theirs = zennit(other, x, options.get("preset", method), k)
        if theirs is None:
            checked = False
        else:
            worst, silent = max(worst, off(ours, theirs)), silent and not bool(theirs.any())
    if not checked:
        return label or "computed"
    mark = "all zero" if silent else f"{worst:.0e}"
    return f"{'✓' if worst < TOLERANCE else '✗'} {mark}{f', {label}' if label else ''}"


def row(name: str) -> tuple[dict[str, str], dict[str, str]]:
    """The cells of a family, and the reasons of what is refused."""
    _, make, side = FAMILIES[name]
    module = calibrated(make, side)
    net = Network(module, input_size=side, name=name)
    pictures = [torch.rand(3, side, side) for _ in range(6)]
    try:
        patterns = fit_patterns(net, pictures, progress=False)
    except Exception as e:
        patterns, why = None, str(e)
    supported = {m.name: m for m in methods(net, patterns)}
    exact = Network(module, input_size=side, name=name, dtype=torch.float64)
    module = module.double()
    other = rewritten(module)
    x = torch.rand(1, 3, side, side, dtype=torch.float64)
    with torch.no_grad():
        scores = module(x)
        k = int(scores[0].argmax())
        if other is not None:
            assert torch.allclose(other(x), scores, rtol=1e-3, atol=1e-4), f"{name}: the twin computes something else"
    cells, reasons = {}, {}
    for method in METHODS:
        info = supported[method]
        if not info.supported:
            cells[method] = "refused"
            reasons[method] = info.reason if "patterns=" not in info.reason else why
            continue
        if method.startswith("pattern"):
            found = attribute_tensor(net, x.float(), method, k, patterns=patterns)
            assert np.isfinite(found.values).all()
            cells[method] = "labelled" if found.extended else "computed"
            continue
        cells[method] = cell(exact, module, other, x, k, method)
    return cells, reasons


def text(rows: dict[str, tuple[dict[str, str], dict[str, str]]]) -> str:
    lines = [
        "# Which method is right on which network", "",
        "Made by `python tests/benchmarks/methods.py --write`; nothing here is written by hand. Random weights,",
        "calibrated batch norms, one random picture, its strongest class, in float64.",
        "",
        "- **✓ 3e-08**: compared with a computation that shares no code with ours, and the largest difference,",
        "  relative to the strongest value (PyTorch's autograd on the module; the module rewritten with other backward",
        "  functions; zennit for LRP, all six presets, and deep Taylor).",
        "- **✓ all zero**: so is the other program's map, of this picture and class: little is learnt from it.",
        "- **computed**: finite; there is no independent program to compare with.",
        "- **labelled**: a rule that is not the published method's stands in somewhere, and the result says so.",
        "- **refused**: with the reason, below; `extension=` does it all the same, labelled.", "",
        "| family | " + " | ".join(m.replace("_", " ") for m in METHODS) + " |", "|---" * (len(METHODS) + 1) + "|",
    ]  # fmt: skip
    for name, (cells, _) in rows.items():
        what = FAMILIES[name][0]
        lines.append(f"| {name}{f' ({what})' if what else ''} | " + " | ".join(cells[m] for m in METHODS) + " |")
    lines += ["", "## Reasons", ""]
    for name, (_, reasons) in rows.items():
        groups: dict[str, list[str]] = {}
        for method, reason in reasons.items():
            short = reason.split("it states ")[-1].split(". Use a method")[0].strip()
            groups.setdefault(short, []).append(method.replace("_", " "))
        lines += [f"- **{name}**, {', '.join(m)}: {why}" for why, m in groups.items()]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="families, separated by commas")
    parser.add_argument("--keep", help="file in which rows are kept (JSON)")
    parser.add_argument("--rows", nargs="*", default=[], help="files with rows, which are not computed again")
    parser.add_argument("--write", action="store_true", help="write docs/methods.md")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    names = arguments.only.split(",") if arguments.only else [*FAMILIES]
    rows: dict[str, Any] = {}
    for file in arguments.rows:
        rows |= json.loads(Path(file).read_text())
    for name in names:
        if name not in rows:
            rows[name] = row(name)
            if arguments.keep:
                Path(arguments.keep).write_text(json.dumps(rows))
        print(f"{name:<24}", "  ".join(f"{m}: {c}" for m, c in rows[name][0].items()), flush=True)
    rows = {name: rows[name] for name in names}
    wrong = [name for name, (cells, _) in rows.items() if any(c.startswith("✗") for c in cells.values())]
    if arguments.write:
        (Path(__file__).parents[2] / "docs" / "methods.md").write_text(text(rows))
    if wrong:
        raise SystemExit(f"wrong: {', '.join(wrong)}")


if __name__ == "__main__":
    main()
