"""What it would save to take the maps of shifted pictures from those of the picture itself: prints a table.

    python tests/benchmarks/shifts.py [--models zfnet,vgg16] [--steps 5,8,16] [--batch 8] [--repeat 3] [--threads 1]

`convscope.invariance` computes them. Where a picture is shifted by a whole number of a layer's cells, the rows that see
nothing of what comes in or goes out are those of the picture as it is, moved; here convolutions copy these and compute
a band of rows at either end. Exact, as along the other axis nothing is different, padding included. For all vertical
shifts by -60 to 60 pixels of 224 in steps of so many, random weights, all other operations computed whole:

- rows: share of the convolutions' multiplications that taking saves, were bands as quick as whole maps;
- time: processor time of all passes with taking, as a share of that without; taken in turn, median and range. A
  convolution takes only where each picture of a batch can take two fifths of its rows: less costs more than it saves.
- off: how far any output differs, as a share of the largest.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor

from convscope_core.graph import Node
from convscope_core.graph.forward import evaluated
from convscope_core.models.zfnet import ZFNet
from convscope_core.network import Network

SHARE = 0.4


class Rows:
    """Which rows of a convolution show the same after a shift.

    Right for networks of convolutions, pools, and operations that do the same at every place, as those measured here.
    """

    def __init__(self, net: Network) -> None:
        layers = [layer for layer in net.layers if layer.kind == "conv" and layer.size[0] > 1 and not layer.gated]
        self.height = net.input_shape[1]
        self.spans = {
            net.graph_layer(layer.name).anchor: [
                (b.top, b.bottom) for k in range(layer.size[0]) for b in [layer.box(k, 0)]
            ]
            for layer in layers
        }

    def still(self, node: Node, shift: int) -> tuple[int, int, int] | None:
        """First and last row (not included) after a shift, and by how many they have moved; None where none are."""
        spans = self.spans.get(node, [])
        jumps = {b[0] - a[0] for a, b in itertools.pairwise(spans)}
        if len(jumps) != 1 or not shift or shift % (jump := jumps.pop()):
            return None
        low, high, by = max(shift, 0), self.height + min(shift, 0), shift // jump
        inside = range(max(by, 0), len(spans) + min(by, 0))
        rows = [k for k in inside if spans[k][0] >= low and spans[k][1] <= high]
        return (rows[0], rows[-1] + 1, by) if rows else None


def taking(node: Node, clean: Tensor, taken: list[tuple[int, int, int]], x: Tensor, args: tuple[Any, ...]) -> Tensor:
    """Compute a convolution for shifted pictures from its values for the picture as it is."""
    last = clean.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if last else torch.contiguous_format
    made = torch.empty_like(clean.expand(len(x), -1, -1, -1), memory_format=layout)
    bands: dict[tuple[int, int], list[int]] = {}
    for k, (first, stop, by) in enumerate(taken):
        made[k, :, first:stop] = clean[0, :, first - by : stop - by]
        bands.setdefault((0, first), []).append(k)
        bands.setdefault((stop, made.shape[2]), []).append(k)
    for (first, stop), which in bands.items():
        if first < stop:
            made[which, :, first:stop] = part(node, x if len(which) == len(x) else x[which], args, first, stop)
    return made


def part(node: Node, x: Tensor, args: tuple[Any, ...], first: int, last: int) -> Tensor:
    """Compute some rows of a convolution."""
    weight, bias, stride, padding, dilation, *rest = args
    reach = dilation[0] * (weight.shape[2] - 1) + 1
    low, high = first * stride[0] - padding[0], (last - 1) * stride[0] - padding[0] + reach
    rows = F.pad(x[:, :, max(low, 0) : high], (0, 0, max(-low, 0), max(high - x.shape[2], 0)))
    assert node.op is not None
    made: Tensor = node.op(rows, weight, bias, stride, (0, padding[1]), dilation, *rest)
    return made


def passed(net: Network, x: Tensor, op: Callable[[Node], Callable[..., Any] | None]) -> Tensor:
    """Evaluate a network with other operations for some of its nodes."""
    values: dict[Node, Any] = {net.graph.input: x}
    left = {node: len(net.graph.consumers[node]) for node in net.graph}
    with torch.inference_mode():
        for node in net.graph.nodes[1:]:
            values[node] = evaluated(node, values.__getitem__, op(node))
            for before in set(node.inputs):
                left[before] -= 1
                if not left[before]:
                    del values[before]
    found: Tensor = values[net.graph.output]
    return found


def measured(net: Network, step: int, batch: int, repeat: int) -> tuple[float, list[float], float]:
    rows = Rows(net)
    x = torch.randn(1, *net.input_shape)
    clean: dict[Node, Tensor] = {}

    def keeping(node: Node) -> Callable[..., Any] | None:
        def keep(*args: Any) -> Tensor:
            assert node.op is not None
            clean[node] = node.op(*args)
            return clean[node]

        return keep if node in rows.spans else None

    passed(net, x, keeping)
    shifts = [shift for shift in range(-(60 // step) * step, 61, step) if shift]
    canvas = F.pad(x, (0, 0, 60, 60), mode="reflect")
    saved = whole = 0.0
    ratios, off = [], 0.0
    for turn in range(repeat + 1):
        seconds = [0.0, 0.0]
        for start in range(0, len(shifts), batch):
            some = shifts[start : start + batch]
            pictures = torch.cat([canvas[:, :, 60 - shift : 60 - shift + x.shape[2]] for shift in some])
            found = {node: [rows.still(node, shift) for shift in some] for node in rows.spans}
            if not turn:
                for node, taken in found.items():
                    cost = node["weight"][0].numel() * node.shape[0] * node.shape[2]
                    whole += cost * node.shape[1] * len(some)
                    saved += cost * sum(one[1] - one[0] for one in taken if one)

            def op(node: Node, found: Any = found) -> Callable[..., Any] | None:
                taken = found.get(node, [None])
                if any(one is None or one[1] - one[0] < SHARE * node.shape[1] for one in taken):
                    return None
                return lambda x, *args: taking(node, clean[node], taken, x, args)

            outputs = []
            for k, choice in enumerate((lambda _: None, op)):
                begun = time.process_time()
                outputs.append(passed(net, pictures, choice))
                seconds[k] += time.process_time() - begun
            off = max(off, float((outputs[1] - outputs[0]).abs().max() / outputs[0].abs().max()))
        if turn:  # the first makes ready
            ratios.append(seconds[1] / seconds[0])
    return saved / whole, ratios, off


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="zfnet,alexnet,vgg16,resnet18,resnet50")
    parser.add_argument("--steps", default="5,8,16")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    steps = [int(step) for step in options.steps.split(",")]
    print(
        "| network | "
        + " | ".join(f"{what}, steps of {step}" for step in steps for what in ("rows", "time"))
        + " | off |"
    )
    print("|---" * (2 * len(steps) + 2) + "|")
    for name in options.models.split(","):
        torch.manual_seed(0)
        module = ZFNet() if name == "zfnet" else torchvision.models.get_model(name, weights=None)
        net = Network(module.eval(), name=name, device="cpu")
        cells, off = [], 0.0
        for step in steps:
            saved, ratios, far = measured(net, step, options.batch, options.repeat)
            off = max(off, far)
            cells += [f"{saved:.0%}", f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"]
        print(f"| {name} | " + " | ".join(cells) + f" | {off:.0e} |", flush=True)


if __name__ == "__main__":
    main()
