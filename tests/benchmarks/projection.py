"""How much faster projections are inside receptive fields: prints the README's table.

    python tests/benchmarks/projection.py [--models resnet18,vgg16] [--units 96] [--repeat 3] [--threads 2]

The deconvnet of single units of one layer, at random filters and positions, on pictures of 224, float32: the end of
layer2 of ResNet-18, and conv3_3 of VGG-16. Two tasks: every unit in a picture of its own (the top-9 of all filters,
from a large data set), and all units in one picture (every filter on the picture at hand).

Side by side in one run, taken in turn:

- autograd: the module, cut off after the layer, its rectifiers replaced by a function whose backward is the
  deconvnet's; forward and backward of whole pictures in batches, with the fastest of several batch sizes, in the
  faster of two memory layouts, found beforehand. For units of one picture, either batches too, or one forward pass and
  a backward pass for each unit, whichever is faster.
- whole: our own reverse walk over whole maps, in the same batch size.
- fields: project_many's walk; "known" with the units' values given, as a survey knows them.

A sample of units stands for all (a layer's 1152 or 2304 would keep the reference busy for half an hour). Times are
processor time of all threads in milliseconds a unit, which other processes disturb less than wall-clock time; ratios
say more than milliseconds do. Beside them stands the arithmetic bound: multiply-adds of whole maps over those of the
windows.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
import torchvision
from machine import spread
from torch import Tensor, nn
from torchvision.models.feature_extraction import create_feature_extractor

from convscope_core.explain.deconvnet import deconvnet
from convscope_core.graph.backward import Walk
from convscope_core.graph.fields import FieldWalk, Units
from convscope_core.network import Network

#: Model, layer's name with us, and with torchvision's feature extractor (the rectifier that follows).
LAYERS = {"resnet18": ("layer2.1.relu#2", "layer2.1.relu_1"), "vgg16": ("features.14", "features.15")}


class Rectifier(torch.autograd.Function):
    """Whose backward rectifies the signal."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, signal: Tensor) -> Tensor:
        return signal.clamp(min=0)


class DeconvReLU(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return Rectifier.apply(x)


def replaced(module: nn.Module) -> nn.Module:
    for name, child in module.named_children():
        if isinstance(child, nn.ReLU):
            setattr(module, name, DeconvReLU())
        else:
            replaced(child)
    return module


def reference(module: nn.Module, x: Tensor, units: Units, batch: int) -> Iterator[Tensor]:
    """Whole pictures in batches."""
    for first in range(0, len(units.rows), batch):
        part = units.part(first, first + batch)
        probe = x[part.pictures].requires_grad_()
        value = module(probe)["layer"]
        place = (torch.arange(len(part.rows)), *part[1:])
        signal = torch.zeros_like(value)
        signal[place] = value[place].detach()
        yield torch.autograd.grad(value, probe, signal)[0]


def one_by_one(module: nn.Module, x: Tensor, units: Units) -> Iterator[Tensor]:
    """One forward pass of one picture, a backward pass for each unit."""
    probe = x[:1].clone().requires_grad_()
    value = module(probe)["layer"]
    for channel, row, column in zip(*(t.tolist() for t in units[1:]), strict=True):
        signal = torch.zeros_like(value)
        signal[0, channel, row, column] = value[0, channel, row, column].detach()
        yield torch.autograd.grad(value, probe, signal, retain_graph=True)[0]


def whole(walk: Walk, x: Tensor, units: Units, batch: int) -> Iterator[Tensor]:
    for first in range(0, len(units.rows), batch):
        part = units.part(first, first + batch)
        used, pictures = torch.unique(part.pictures, return_inverse=True)
        tape = walk.forward(x[used])
        (node,) = walk.sources
        value = tape.values[node]
        signal = value.new_zeros(len(part.rows), *node.shape)
        signal[(torch.arange(len(part.rows)), *part[1:])] = value[(pictures, *part[1:])]
        yield walk(tape, {node: signal}, pictures)


def spent(run: Iterable[Any]) -> float:
    begun = time.process_time()
    for _ in run:
        pass
    return 1000 * (time.process_time() - begun)


def boxed(maps: Tensor, box: list[int]) -> Tensor:
    top, left, bottom, right = box
    side = maps.shape[-1]
    inside = maps[:, max(top, 0) : min(bottom, side), max(left, 0) : min(right, side)]
    return nn.functional.pad(inside, (max(-left, 0), max(right - side, 0), max(-top, 0), max(bottom - side, 0)))


def measure(name: str, count: int, repeat: int) -> None:
    layer, cut = LAYERS[name]
    torch.manual_seed(0)
    module = torchvision.models.get_model(name, weights=None).eval()
    net = Network(module, input_size=224)
    found, described = net.graph_layer(layer), net.layer(layer)
    module = create_feature_extractor(
        replaced(module), {cut: "layer"}, tracer_kwargs={"leaf_modules": [DeconvReLU]}
    ).eval()
    x = torch.randn(count, 3, 224, 224)
    height, width = found.size
    places = Units(
        torch.arange(count),
        torch.randint(found.channels, (count,)),
        torch.randint(height, (count,)).sort().values,
        torch.randint(width, (count,)),
    )
    fields = FieldWalk(net.graph, deconvnet(net), found.node, found.axes, described.box, net.runner)
    walk = Walk(net.graph, deconvnet(net), [found.node], runner=net.runner)
    size = described.receptive_field.size
    print(f"\n{name}, {layer}: {found.channels} filters of {height}x{width}, field {size}, bound {fields.speedup:.1f}")
    for task, units in (("own pictures", places), ("one picture", places._replace(pictures=places.pictures * 0))):
        print(f"  {task}:", compare(module, fields, walk, x, units, task, repeat))


def compare(module: nn.Module, fields: FieldWalk, walk: Walk, x: Tensor, units: Units, task: str, repeat: int) -> str:
    few = units.part(0, 16)
    tried = {}
    for layout in (torch.contiguous_format, torch.channels_last):
        module, pictures = module.to(memory_format=layout), x.contiguous(memory_format=layout)
        for batch in (1, 4, 16):
            spent(reference(module, pictures, units.part(0, batch), batch))  # to warm up
            tried[layout, batch] = spent(reference(module, pictures, few, batch))
        if task == "one picture":
            tried[layout, 0] = spent(one_by_one(module, pictures, few))
    layout, batch = min(tried, key=tried.__getitem__)
    module, pictures = module.to(memory_format=layout), x.contiguous(memory_format=layout)
    known = torch.cat([f.activations for f in fields(x, units, "value")])

    def autograd() -> Iterator[Tensor]:
        return reference(module, pictures, units, batch) if batch else one_by_one(module, pictures, units)

    runs: dict[str, Callable[[], Iterator[Any]]] = {
        "autograd": autograd,
        "whole": lambda: whole(walk, x, units, batch or 16),
        "fields": lambda: fields(x, units, "value"),
        "fields, known": lambda: fields(x, units, "value", known),
    }
    got, expected = next(fields(x, units, "value")), torch.cat(list(autograd()))
    pairs = zip(got.values, expected, got.boxes.tolist(), strict=False)
    worst = max(float((v - boxed(m, b)).abs().max()) for v, m, b in pairs) / float(expected.abs().max())
    times: dict[str, list[float]] = {k: [] for k in runs}
    for _ in range(repeat):
        for k, run in runs.items():
            times[k].append(spent(run()) / len(units.rows))
    how = f"in batches of {batch}" if batch else "forward once"
    lines = [f"autograd {how}, {str(layout).removeprefix('torch.')}; largest relative difference {worst:.1e}"]
    for k, mine in times.items():
        faster = [other / one for other, one in zip(times["autograd"], mine, strict=True)]
        lines.append(f"    {k:<14} {spread(mine, 2):>24} ms a unit   {spread(faster, 1):>18} x")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", default="resnet18,vgg16")
    parser.add_argument("--units", type=int, default=96)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for name in options.models.split(","):
        measure(name, options.units, options.repeat)


if __name__ == "__main__":
    main()
