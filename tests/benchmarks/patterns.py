"""What patterns cost: fitting beside a training step, and explaining beside a gradient.

    python tests/benchmarks/patterns.py [--models vgg16] [--images 64] [--batch 8] [--shards 4] [--repeat 3]

Side by side in one run, taken in turn, over the same prepared pictures of 224 in float32; weights and running
statistics are random:

- step: forward and backward pass of the torchvision module for all weights, in batches, no optimiser.
- fit: `convscope.fit_patterns`, regime "positive"; and all three regimes.
- store: all three regimes in so many shards, kept in a file, as a multiple of the time by the clock that the same takes
  without one.
- gradient: forward and backward pass of the module for one picture, by autograd, for the picture alone.
- patternnet, patternattribution: `convscope.attribute`.

Figures are processor time but for that, as ratios. The bound by arithmetic: a training step is three passes (forward,
and a gradient each for inputs and weights), a fit of one regime three (forward and two weight gradients) and of all
four, so that 1.0 and 1.33 are to be expected; an explanation is the two passes of a gradient, 1.0.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from machine import random_network, spread

from convscope_core.explain import attribute
from convscope_core.network import Network
from convscope_core.patterns import fit_patterns

REGIMES = ("positive", "negative", "all")

PICTURES = 4
"""Explained in a turn."""


def timed(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def clocked(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def network(name: str) -> tuple[Network, torch.nn.Module]:
    module = random_network(name)
    return Network(module, name=name, device="cpu"), module


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="vgg16,resnet50")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    x = torch.randn(given.images, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    images = list(x)
    print(
        "| network | fit, positive / step | fit, all / step | patternnet / gradient | patternattribution / gradient | "
        "fit, all, with a store / without, clock |"
    )
    print("|---" * 6 + "|")
    for name in given.models.split(","):
        net, module = network(name)

        def step(module: torch.nn.Module = module) -> None:
            for batch in x.split(given.batch):
                module.zero_grad()
                module(batch).logsumexp(1).sum().backward()

        def gradient(module: torch.nn.Module = module) -> None:
            for one in images[:PICTURES]:
                leaf = one[None].clone().requires_grad_()
                module(leaf)[0, 0].backward(inputs=[leaf])

        def fit(regime: tuple[str, ...], net: Network = net, **how: Any) -> object:
            return fit_patterns(net, images, regime, batch_size=given.batch, progress=False, **how)

        def stored(fit: Callable[..., object] = fit) -> float:
            with tempfile.TemporaryDirectory() as folder:
                store = Path(folder) / "x.patterns"
                without = clocked(lambda: fit(REGIMES, shards=given.shards))
                return clocked(lambda: fit(REGIMES, shards=given.shards, store=store)) / without

        patterns = fit_patterns(net, images[: given.batch], progress=False)

        def explain(method: str, net: Network = net, patterns: object = patterns) -> None:
            for one in images[:PICTURES]:
                attribute(net, one, method, 0, patterns=patterns)

        step(), gradient(), explain("patternnet"), explain("patternattribution")
        found: list[tuple[float, ...]] = []
        for _ in range(given.repeat):
            training, plain = timed(step), timed(gradient)
            found.append(
                (
                    timed(lambda: fit(("positive",))) / training,
                    timed(lambda: fit(REGIMES)) / training,
                    timed(lambda: explain("patternnet")) / plain,
                    timed(lambda: explain("patternattribution")) / plain,
                    stored(),
                )
            )
        cells = " | ".join(spread(column, 2) for column in zip(*found, strict=True))
        print(f"| {name} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
