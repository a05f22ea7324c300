"""What a survey costs beside the forward passes that it takes anyway: prints the table of docs/surveys.md.

    python tests/benchmarks/survey.py [--models vgg16] [--images 64] [--batch 8] [--shards 4] [--repeat 3]

Side by side in one run, taken in turn, over the same pictures of 224 in float32 and the same loader:

- forward: a bare no_grad loop of the torchvision (timm) module over the batches.
- survey: `convscope.survey` of all convolutional layers: top activations, health, class means and random sample of
  every unit. "all" is the default, every layer but the pools.
- store: the same, of the convolutions and of all layers, kept in a file, in so many shards: all but the last are
  written while the next is computed.

Weights are random for torchvision's models; with few pictures the survey pays more than with many, since in the
beginning every image is among the best. Figures are ratios of throughput, by processor time of all threads and by the
clock. Beside them stands the bound of bandwidth: how long it takes to read every activation once, at the speed at which
this machine sums an array that is larger than its caches, as a share of the forward pass.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torchvision
from machine import described, spread

from convscope_core.datasets import Images
from convscope_core.jobs.loading import loaded
from convscope_core.models import load
from convscope_core.network import Network
from convscope_core.survey import survey


def timed(run: Callable[[], object]) -> tuple[float, float]:
    """Processor time and time by the clock, seconds."""
    processor, clock = time.process_time(), time.perf_counter()
    run()
    return time.process_time() - processor, time.perf_counter() - clock


def bandwidth() -> float:
    """Bytes a second that a sum reads from memory."""
    data = torch.ones(2**26)
    data.sum()
    return data.numel() * 4 / min(timed(data.sum)[1] for _ in range(5))


def network(name: str) -> tuple[Network, torch.nn.Module]:
    if name == "efficientnet_lite0":
        import timm

        return load(name), timm.create_model("tf_efficientnet_lite0").eval()
    module = torchvision.models.get_model(name, weights=None).eval()
    return Network(module, name=name, device="cpu"), module


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="vgg16,resnet50,efficientnet_lite0")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--threads", default="1,2")
    options = parser.parse_args()
    print(described())
    print(
        "| network | threads | convolutions, units | survey / forward (processor, clock) | all layers | store | "
        "all, store | bound |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name in options.models.split(","):
        torch.manual_seed(0)
        net, module = network(name)
        images = Images.of(torch.randn(options.images, *net.input_shape))
        convolutions = [layer.name for layer in net.layers if layer.kind == "conv"]

        def forward(module: torch.nn.Module = module, net: Network = net, images: Images = images) -> None:
            with torch.no_grad():
                for batch in loaded(net.preprocessing, images, range(len(images)), options.batch, 0):
                    module(batch.x)

        def surveyed(
            layers: list[str] | None, store: str | None = None, net: Network = net, images: Images = images
        ) -> Callable[[], object]:
            shards, batch = options.shards, options.batch
            return lambda: survey(net, images, layers, store=store, batch_size=batch, shards=shards, progress=False)

        for threads in map(int, options.threads.split(",")):
            torch.set_num_threads(threads)
            read = sum(x.channels * x.size[0] * x.size[1] for x in net.layers if x.kind == "conv") * 4 * options.images
            speed = bandwidth()
            forward(), surveyed(None)()
            ratios: dict[str, list[tuple[float, float]]] = {}
            shares = []
            for _ in range(options.repeat):
                with tempfile.TemporaryDirectory() as folder:
                    ways = {
                        "convolutions": surveyed(convolutions),
                        "all": surveyed(None),
                        "store": surveyed(convolutions, str(Path(folder) / "x.survey")),
                        "all, store": surveyed(None, str(Path(folder) / "all.survey")),
                    }
                    before = timed(forward)
                    for way, run in ways.items():
                        took = timed(run)
                        # The forward pass before and after: what else the machine does changes slowly.
                        after = timed(forward)
                        bare = [(a + b) / 2 for a, b in zip(before, after, strict=True)]
                        ratios.setdefault(way, []).append((bare[0] / took[0], bare[1] / took[1]))
                        before = after
                        shares.append(read / speed / bare[1])
            cells = [
                f"{spread([one for one, _ in found], 2)}, {spread([one for _, one in found], 2)}"
                for found in ratios.values()
            ]
            count = sum(net.layer(one).channels for one in convolutions)
            print(
                f"| {name} | {threads} | {len(convolutions)}, {count:,} | {' | '.join(cells)} | "
                f"{1 / (1 + statistics.median(shares)):.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
