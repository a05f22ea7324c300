"""How much faster occlusion is on the region walk: prints the README's table.

    python tests/benchmarks/occlusion.py [--models vgg16,resnet18] [--sizes 16,50] [--positions 48] [--repeat 3]

Side by side in one run, taken in turn, float32, on the grid of positions with a stride of 6 pixels on a picture of 224:
the module itself on batches of occluded pictures; Captum's Occlusion as it comes and with the best of several
`perturbations_per_eval`; the region walk. Not the whole grid: the walk takes positions spread evenly over it, Captum,
to which every position costs the same, its first ones, and is stopped after them.

Each on two threads by the clock, and on one by its processor time, which other programs disturb less. Times are of this
machine with whatever else runs on it; ratios, of runs that followed each other, say more than milliseconds do. Beside
each ratio stand its arithmetic bounds: the multiply-adds of the forward pass over those of the regions, all positions
in windows of one size; once with every convolution computed directly, and once with those in tiles that are, which
takes fewer multiplications (not counting what it takes to transform them). They are exceeded where a batch's windows
are smaller, where the module's own memory layout and unfolded batch norm cost it time, and where its products run
slower.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import statistics
import time
from collections.abc import Callable

import torch
import torchvision
from captum.attr import Occlusion as CaptumOcclusion
from machine import described, spread

from convscope_core.network import Network

SIDE, STRIDE = 224, 6


class StopError(Exception):
    """Enough positions."""


class Stopping(torch.nn.Module):
    """A module that is called once for the clean picture and then some times."""

    def __init__(self, module: torch.nn.Module, calls: int) -> None:
        super().__init__()
        self.module = module
        self.left = calls + 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.left:
            raise StopError
        self.left -= 1
        return self.module(x)


def in_turn(functions: dict[str, Callable[[], int]], repeat: int, clock: Callable[[], float]) -> dict[str, list[float]]:
    """Milliseconds a position, of each turn; each function returns how many positions it did."""
    spent: dict[str, list[float]] = {name: [] for name in functions}
    for turn in range(repeat + 1):
        for name, function in functions.items():
            begun = clock()
            done = function()
            if turn:  # the first is to warm up
                spent[name].append(1000 * (clock() - begun) / done)
    return spent


def measure(
    name: str, sizes: list[int], count: int, repeat: int, evaluations: list[int], threads: list[int], captum: bool
) -> None:
    torch.manual_seed(0)
    module = torchvision.models.get_model(name, weights=None).eval()
    net = Network(module, device="cpu")
    x = torch.randn(1, 3, SIDE, SIDE)
    plain = {batch: x.repeat(batch, 1, 1, 1) for batch in evaluations}
    for size in sizes:
        grid = [(r, c) for r in range(0, SIDE - size + 1, STRIDE) for c in range(0, SIDE - size + 1, STRIDE)]
        step = max(1, len(grid) // count)
        positions = grid[::step][:count]
        patch = torch.zeros(1, 3, size, size)

        def regions(positions=positions, size=size, patch=patch) -> int:
            done = 0
            for indices, *_ in net.regions(x).sweep(positions, (size, size), lambda _: patch):
                done += len(indices)
            return done

        def forward(batch: int) -> int:
            with torch.inference_mode():
                module(plain[batch])
            return batch

        def attribute(batch: int, size=size, positions=positions) -> int:
            calls = max(1, min(len(positions), 16) // batch)
            explainer = CaptumOcclusion(Stopping(module, calls))
            with torch.inference_mode(), contextlib.suppress(StopError):
                explainer.attribute(
                    x, (3, size, size), strides=(3, STRIDE, STRIDE), target=0, perturbations_per_eval=batch
                )
            return calls * batch

        ways: dict[str, Callable[[], int]] = {
            "regions": regions,
            **{f"module {b}": lambda b=b: forward(b) for b in evaluations},
            **({f"captum {b}": lambda b=b: attribute(b) for b in (1, *evaluations)} if captum else {}),
        }
        work = net.regions(x).work((size, size), positions)
        for used in threads:
            torch.set_num_threads(used)
            # One thread's own time; of several the clock, as what they wait for each other counts.
            times = in_turn(ways, repeat, time.thread_time if used == 1 else time.perf_counter)
            none = [math.nan] * repeat

            def best(kind: str, times: dict[str, list[float]] = times, none: list[float] = none) -> list[float]:
                return min((v for k, v in times.items() if k.startswith(kind)), key=statistics.median, default=none)

            others = [best("module"), *([times["captum 1"], best("captum")] if captum else [])]
            milliseconds = [spread(one, 1) for one in (*others, times["regions"])]
            ratios = [spread([a / b for a, b in zip(one, times["regions"], strict=True)], 1) for one in others]
            how = "1, processor time" if used == 1 else f"{used}, clock"
            print(
                f"| {name} | {size} px | {how} | {' | '.join(milliseconds)} | × {' | × '.join(ratios)} "
                f"| × {work.bound:.1f} | × {work.bound_in_tiles:.1f} |",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="vgg16,resnet18,resnet50,mobilenet_v2")
    parser.add_argument("--sizes", default="16,50")
    parser.add_argument("--positions", type=int, default=64, help="of the grid, evenly taken")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--evaluations", default="8,32", help="batch sizes to try for the module and Captum")
    parser.add_argument("--threads", default="1,2", help="one: its processor time, steady on a busy machine")
    parser.add_argument("--without-captum", action="store_true", help="which takes most of the time")
    a = parser.parse_args()
    others = ["module", *([] if a.without_captum else ["Captum", "Captum, best"])]
    headings = ["network", "occluder", "threads", *others, "walk", *(f"vs {o}" for o in others), "bound", "in tiles"]
    print(f"{described()}; milliseconds a position, median (lowest–highest)\n")
    print(f"| {' | '.join(headings)} |\n{'|---' * len(headings)}|")
    for name in a.models.split(","):
        numbers = [[int(n) for n in given.split(",")] for given in (a.sizes, a.evaluations, a.threads)]
        measure(name, numbers[0], a.positions, a.repeat, numbers[1], numbers[2], not a.without_captum)


if __name__ == "__main__":
    main()
