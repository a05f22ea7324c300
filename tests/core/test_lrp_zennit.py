"""Every preset of LRP is that of zennit, an implementation of its own, on six architectures."""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models.googlenet import BasicConv2d
from zennit.composites import COMPOSITES
from zennit.torchvision import ResNetCanonizer

from convscope_core.explain.attribution import attribute_tensor
from convscope_core.explain.lrp import PRESETS
from convscope_core.network import Network

#: Side of the picture: the smallest that the architecture takes, and that of its training.
SIDES = {"alexnet": 63, "vgg11": 32, "squeezenet1_0": 32, "resnet18": 32, "resnet50": 32, "googlenet": 32}
CLASSES = 12


def calibrated(name: str, side: int) -> nn.Module:
    """Random weights; running statistics of batch norms as noise gives them, so that maps keep their scale."""
    torch.manual_seed(3)
    extra = {"aux_logits": False, "init_weights": True} if name == "googlenet" else {}
    if side < 224 and name in ("alexnet", "vgg11"):  # the classifier that was published has 120 million weights
        extra = {"init_weights": False} if name == "vgg11" else {}
        with torch.device("meta"):
            module = getattr(torchvision.models, name)(num_classes=CLASSES, **extra)
        module.avgpool = nn.AdaptiveAvgPool2d(2)
        places = [i for i, m in enumerate(module.classifier) if isinstance(m, nn.Linear)]
        wide = [4 * (256 if name == "alexnet" else 512), 64, 64, CLASSES]
        for place, a, b in zip(places, wide, wide[1:], strict=False):
            module.classifier[place] = nn.Linear(a, b, device="meta")
        module.to_empty(device=torch.empty(0).device)
        for m in module.modules():
            if isinstance(m, (nn.Conv2d, nn.Linear)):
                m.reset_parameters()
    else:
        module = getattr(torchvision.models, name)(num_classes=CLASSES, **extra)
    for m in module.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.momentum = None
            nn.init.uniform_(m.weight, 0.5, 1.5)
            nn.init.normal_(m.bias, 0, 0.3)
        if isinstance(m, (nn.Conv2d, nn.Linear)) and m.bias is not None:
            nn.init.normal_(m.bias, 0, 0.02)
    module.train()
    for m in module.modules():
        if isinstance(m, nn.Dropout):
            m.eval()
    with torch.no_grad():
        module(torch.randn(4, 3, side, side))
    return module.eval()


def fused(module: nn.Module) -> nn.Module:
    """The module with each batch norm in the convolution before it, and rectifiers as modules: what zennit reads."""
    module = copy.deepcopy(module)
    for parent in [*module.modules()]:
        last: tuple[Any, str, nn.Module] | None = None
        for child, m in parent.named_children():
            if isinstance(m, nn.BatchNorm2d):
                assert last is not None
                setattr(parent, last[1], fuse_conv_bn_eval(last[2].double(), m.double()))
                setattr(parent, child, nn.Identity())
            last = (parent, child, m) if isinstance(m, nn.Conv2d) else None
        if isinstance(parent, BasicConv2d):
            parent.relu = nn.ReLU()
            parent.forward = lambda x, p=parent: p.relu(p.conv(x))
    return module.double()


def rules(preset: str, low: float, high: float) -> Any:
    extra: dict[str, Any] = {"canonizers": [ResNetCanonizer()]}
    if preset == "epsilon_gamma_box":
        extra |= {name: torch.full((1, 3, 1, 1), v, dtype=torch.float64) for name, v in (("low", low), ("high", high))}
    if preset == "epsilon":
        from zennit.composites import LayerMapComposite, layer_map_base
        from zennit.rules import Epsilon
        from zennit.types import Linear

        return LayerMapComposite([*layer_map_base(), (Linear, Epsilon(1e-6))], **extra)
    return COMPOSITES[preset](**extra)


def zennit(module: nn.Module, x: Tensor, preset: str, target: int) -> tuple[float, np.ndarray[Any, Any]]:
    with rules(preset, 0.0, 1.0).context(module) as changed:
        x = x.clone().requires_grad_()
        y = changed(x)
        (found,) = torch.autograd.grad(y, x, torch.zeros_like(y).index_fill_(1, torch.tensor(target), 1) * y)
    return float(y[0, target].detach()), found[0].numpy()


def pairs(
    name: str, side: int, crossed: bool = True
) -> Iterator[tuple[str, str, np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
    """Ours and theirs, for every preset, inputs above zero and of both signs, and scores of both signs.

    Not crossed, inputs above zero have the greatest score, those of both signs the least.
    """
    module = calibrated(name, side)
    twin = fused(module)
    net = Network(module, input_size=side, name=name, dtype=torch.float64)
    inputs = {"positive": torch.rand(1, 3, side, side), "both": torch.randn(1, 3, side, side)}
    for kind, x in inputs.items():
        x = x.double()
        scores = twin(x)[0].detach()
        ends = {"positive": int(scores.argmax()), "both": int(scores.argmin())}
        targets = {*ends.values()} if crossed else {ends[kind]}
        if name != "squeezenet1_0":  # whose scores come out of a rectifier
            assert scores.min() < 0 < scores.max()
        for preset in PRESETS:
            for target in targets:
                score, theirs = zennit(twin, x, preset, target)
                if score == 0:  # behind a rectifier: nothing to share out
                    continue
                ours = attribute_tensor(net, x, "lrp", target, preset=preset)
                assert ours.score == pytest.approx(score, rel=1e-4)
                yield preset, f"{kind}, score {score:.3g}", ours.values, theirs


SLOW = {"resnet50", "googlenet", "vgg11"}


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in SIDES])
@pytest.mark.parametrize("crossed", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_presets_are_those_of_zennit(name: str, crossed: bool) -> None:
    for preset, what, ours, theirs in pairs(name, SIDES[name], crossed):
        off = abs(ours - theirs).max() / abs(theirs).max()
        assert off < 1e-4, f"{preset} of {name}, {what}: off by {off:.2g} of the strongest"


@pytest.mark.slow
@pytest.mark.parametrize("name", SIDES)
def test_presets_are_those_of_zennit_on_pictures_of_full_size(name: str) -> None:
    for preset, what, ours, theirs in pairs(name, 224, crossed=False):
        off = abs(ours - theirs).max() / abs(theirs).max()
        assert off < 1e-4, f"{preset} of {name}, {what}: off by {off:.2g} of the strongest"


if __name__ == "__main__":  # the figures: python tests/core/test_lrp_zennit.py
    for name in sys.argv[1:] or SIDES:
        found: dict[str, float] = {}
        for preset, _, ours, theirs in pairs(name, SIDES[name]):
            off = abs(ours - theirs).max() / abs(theirs).max()
            found[preset] = max(found.get(preset, 0.0), float(off))
        print(f"{name:<14}", "  ".join(f"{preset} {off:.1e}" for preset, off in found.items()))
