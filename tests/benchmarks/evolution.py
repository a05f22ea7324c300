"""What a checkpoint of an evolution costs beside a survey, and the network of one beside a trace: prints a table.

    python tests/benchmarks/evolution.py [--models resnet18,vgg11] [--images 64] [--batch 8] [--repeat 5] [--threads 1]

Side by side in one run, taken in turn (survey, evolution, survey...), over the same pictures of 224 in float32, all
layers but the pools, weights random, the module traced before:

- evolution / survey: processor time of `convscope.evolution` over two checkpoints, divided by twice that of
  `convscope.survey` of one network; the survey's is the mean of the runs before and after. It holds reading the
  weights, making the network of each, and what is kept of weights. Median, and the range of all pairs.
- measures: what is read off the surveys when it is first asked for (winners, Jaccard, CKA, dormant... of all layers),
  for one checkpoint, as a share of the survey's time.
- trace, with_weights: processor seconds for `Network(module)`, and for the network of a further checkpoint.
- signed: time to reduce a layer's activations where they may be negative, divided by that where they may not: what the
  mean magnitude costs, which is that of dormant units. Of 64 channels of 56x56 and a batch of 8, in both layouts.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable

import torch
import torchvision

from convscope_core.datasets import Images
from convscope_core.evolution import Checkpoints, evolution
from convscope_core.network import Network
from convscope_core.survey import survey
from convscope_core.survey.reduction import ImageStatistics


def timed(run: Callable[[], object]) -> float:
    """Processor time of all threads, in seconds: what else the machine does tells in it least."""
    start = time.process_time()
    run()
    return time.process_time() - start


def spread(ratios: list[float]) -> str:
    return f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"


def signed(repeat: int) -> str:
    found = []
    for layout in (torch.contiguous_format, torch.channels_last):
        maps = torch.randn(8, 64, 56, 56).relu().contiguous(memory_format=layout)
        ratios = []
        for _ in range(4 * repeat):
            unsigned = timed(lambda maps=maps: [ImageStatistics.of(maps, None, 0.0) for _ in range(5)])
            ratios.append(timed(lambda maps=maps: [ImageStatistics.of(maps) for _ in range(5)]) / unsigned)
        found.append(spread(ratios))
    return ", ".join(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="resnet18,vgg11")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"signed (maps in one piece, channels last): {signed(options.repeat)}", flush=True)
    print("| network | units | evolution / survey, a checkpoint | measures / survey | trace | with_weights |")
    print("|---|---|---|---|---|---|")
    for name in options.models.split(","):
        torch.manual_seed(0)
        module = torchvision.models.get_model(name, weights=None).eval()
        states = {epoch: copy.deepcopy(module.state_dict()) for epoch in (1, 2)}
        trace = timed(lambda module=module: Network(module, device="cpu"))
        net = Network(module, name=name, device="cpu")
        with_weights = [timed(lambda: net.with_weights(states[1], "x")) for _ in range(options.repeat)]  # noqa: B023
        images = Images.of(torch.randn(options.images, *net.input_shape))
        how = {"batch_size": options.batch, "progress": False}

        def surveyed(net: Network = net, images: Images = images, how: dict = how) -> object:
            return survey(net, images, **how)

        surveyed()
        ratios, shares, before = [], [], timed(surveyed)
        for _ in range(options.repeat):
            checkpoints = Checkpoints.of(states, net)  # no network is ready
            start = time.process_time()
            found = evolution(checkpoints, images, **how)
            took = time.process_time() - start
            after = timed(surveyed)
            ratios.append(took / (before + after))
            shares.append(timed(found.table) / (before + after))
            before = after
        units = sum(layer.channels for layer in net.layers if layer.kind != "pool")
        print(
            f"| {name} | {units:,} | {spread(ratios)} | {spread(shares)} | {trace:.2f} s | "
            f"{statistics.median(with_weights):.2f} s |",
            flush=True,
        )


if __name__ == "__main__":
    main()
