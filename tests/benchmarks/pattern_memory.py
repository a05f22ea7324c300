"""What memory a fit of patterns takes beyond what the process had before: the highest in a process of its own.

    python tests/benchmarks/pattern_memory.py [--models vgg16,resnet50] [--shards 1,4] [--images 2048] [--side 64]
        [--batch 32] [--regimes positive] [--threads 2] [--store]

A fit of each network with random weights, in each number of shards, on that many pictures **a shard**. What sums take
does not depend on the size of the pictures, which may be small so that there can be many: of VGG-16 the samples of the
largest layer take 117 kB a picture.

Beside the rise (pages of files that are mapped count as long as they are resident) stand the patterns themselves and
what each file that was written to came to. Linux only, by `/proc`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from machine import random_network

from convscope_core.network import Network
from convscope_core.patterns import fit_patterns


def resident(name: str) -> int:
    """Bytes: "VmRSS" now, or "VmHWM", the most since it was set back."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(name))


def one(model: str, shards: int, given: argparse.Namespace) -> None:
    torch.set_num_threads(given.threads)
    net = Network(random_network(model), name=model, device="cpu", input_size=given.side)
    few = list(torch.randn(64, 3, given.side, given.side, generator=torch.Generator().manual_seed(0)))
    images = [few[number % len(few)] for number in range(shards * given.images)]
    net.values(few[0][None], [net.graph.logits])
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder, "fit") if given.store else None
        regimes = given.regimes.split(",")
        patterns = fit_patterns(
            net, images, regimes, shards=shards, store=store, batch_size=given.batch, progress=False
        )
    rise = resident("VmHWM") - before
    size = sum(
        patterns.fitted(layer, r).nbytes
        for layer in patterns
        for r in patterns.regimes
        if patterns.fitted(layer, r) is not None
    )
    print(f"| {model} | {shards} x {given.images} | {rise / 1e9:.2f} | {size / 1e9:.2f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="vgg16,resnet50")
    parser.add_argument("--shards", default="1,4")
    parser.add_argument("--images", type=int, default=2048)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--regimes", default="positive")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--store", action="store_true")
    parser.add_argument("--alone", action="store_true", help="in this process: one network, one number of shards")
    given = parser.parse_args()
    if given.alone:
        one(given.models, int(given.shards), given)
        return
    print("| network | pictures | rise of the peak (GB) | patterns (GB) |")
    print("|---|---|---|---|", flush=True)
    for model in given.models.split(","):
        for shards in given.shards.split(","):
            own = ["--alone", "--models", model, "--shards", shards]
            subprocess.run([sys.executable, *sys.argv, *own], check=True)


if __name__ == "__main__":
    main()
