"""What the core does on a CUDA device: runs its tests there, measures, and writes one page of tables.

    make gpu                                               # or, in an environment of your own:
    python tests/benchmarks/gpu.py [--without-tests] [--only sweeps,surveys] [--models vgg16] [--repeat 5]

All weights are random. Each figure is the median of the turns with the lowest and the highest, taken in turn; the
device is waited for before each look at the clock. Both sides of a comparison have the same precision: float32 is full,
TF32 is what torch lets convolutions do by default and products when asked to; the bfloat16 walk stands beside others in
TF32.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from captum.attr import Occlusion as CaptumOcclusion
from machine import random_network, spread
from occlusion import SIDE, STRIDE, StopError, Stopping, in_turn

from convscope_core.datasets import Images
from convscope_core.network import Network
from convscope_core.occlusion import Occlusion
from convscope_core.patterns import fit_patterns
from convscope_core.survey import survey

ROOT = Path(__file__).resolve().parents[2]

#: Batches in which the module, and Captum, are tried.
BATCHES = (32, 128)


def clock() -> float:
    torch.cuda.synchronize()
    return time.perf_counter()


@contextlib.contextmanager
def precision(name: str) -> Iterator[None]:
    """Let torch round the factors of products, or not."""
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = name != "float32"
    yield
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False


def spreads(ours: list[float], theirs: list[float], digits: int) -> str:
    return spread([b / a for a, b in zip(ours, theirs, strict=True)], digits)


def errors(module: torch.nn.Module, x: torch.Tensor, size: int, grid: list[Any], got: dict[int, torch.Tensor]) -> str:
    """How far some outputs are off, of the greatest output and of the greatest effect, from those in float64."""
    some = sorted(got)[:: max(1, len(got) // 12)]
    pictures = x.repeat(len(some), 1, 1, 1)
    for picture, i in zip(pictures, some, strict=True):
        r, c = grid[i]
        picture[:, r : r + size, c : c + size] = 0
    double = module.double()
    with torch.no_grad():
        expected, clean = double(pictures.double()), double(x.double())
    module.float()
    off = (torch.stack([got[i] for i in some]).double() - expected).abs().max()
    return f"{float(off / expected.abs().max()):.0e}, {float(off / (expected - clean).abs().max()):.0e}"


def occluded(name: str, module: torch.nn.Module, repeat: int) -> Iterator[str]:
    """Rows of a table: sweeps of an occluder."""
    x = torch.randn(1, 3, SIDE, SIDE, device="cuda")
    plain = {batch: x.repeat(batch, 1, 1, 1) for batch in BATCHES}

    def forward(batch: int) -> int:
        with torch.inference_mode():
            module(plain[batch])
        return batch

    for size in (16, 50):
        grid = [(r, c) for r in range(0, SIDE - size + 1, STRIDE) for c in range(0, SIDE - size + 1, STRIDE)]
        patch = torch.zeros(1, 3, size, size, device="cuda")

        def attribute(batch: int, size: int = size) -> int:
            calls = max(2, 32 // batch)
            explainer = CaptumOcclusion(Stopping(module, calls))
            with torch.inference_mode(), contextlib.suppress(StopError):
                explainer.attribute(
                    x, (3, size, size), strides=(3, STRIDE, STRIDE), target=0, perturbations_per_eval=batch
                )
            return calls * batch

        for kind in ("float32", "TF32", "bfloat16"):
            with precision(kind):
                net = Network(module, device="cuda", tf32=kind == "TF32")
                with net.lock:
                    regions = net.regions(x, dtype=torch.bfloat16 if kind == "bfloat16" else None)
                got: dict[int, torch.Tensor] = {}

                def walk(
                    net: Network = net, regions: Any = regions, grid: Any = grid, size: int = size,
                    patch: torch.Tensor = patch, got: dict[int, torch.Tensor] = got,
                ) -> int:  # fmt: skip
                    with net.lock:
                        for indices, output, _ in regions.sweep(grid, (size, size), lambda _: patch):
                            got.update(zip(indices, output, strict=True))
                    return len(grid)

                times = in_turn(
                    {
                        "walk": walk,
                        **{f"module {b}": lambda b=b: forward(b) for b in BATCHES},
                        **{f"captum {b}": lambda b=b: attribute(b) for b in (1, *BATCHES)},
                    },
                    repeat,
                    clock,
                )
            best = {
                what: min((v for k, v in times.items() if k.startswith(what)), key=statistics.median)
                for what in ("module", "captum")
            }
            others = best["module"], times["captum 1"], best["captum"]
            yield (
                f"| {name} | {size} px | {kind} | {' | '.join(spread(t, 3) for t in (*others, times['walk']))} | "
                f"× {' | × '.join(spreads(times['walk'], t, 1) for t in others)} | "
                f"× {regions.work((size, size), grid).bound:.1f} | {errors(module, x, size, grid, got)} |"
            )


def followed(name: str, module: torch.nn.Module) -> str:
    """A row of a table: frames of an occluder that follows the hand, at another place each time."""
    net = Network(module, device="cuda")
    occlusion = Occlusion(net, torch.randn(1, 3, SIDE, SIDE))
    cells = []
    for size in (16, 50):
        times = []
        for i in range(220):
            begun = clock()
            occlusion.predict((37 * i % (SIDE - size), 53 * i % (SIDE - size)), size)
            times.append(1000 * (clock() - begun))
        times = sorted(times[20:])
        cells.append(f"{statistics.median(times):.2f} ({times[0]:.2f}–{times[-1]:.2f}), {times[189]:.2f}")
    x = torch.randn(1, 3, SIDE, SIDE, device="cuda")

    def forward() -> int:
        with torch.inference_mode():
            module(x).cpu()
        return 1

    plain = in_turn({"module": forward}, 20, clock)["module"]
    return f"| {name} | {' | '.join(cells)} | {spread(plain, 2)} |"


def surveyed(name: str, module: torch.nn.Module, repeat: int, images: int, batch: int) -> Iterator[str]:
    """Rows of a table: surveys beside a bare loop."""
    # Drawing as many takes longer than the bare loop.
    data = torch.randn(64, 3, SIDE, SIDE).repeat(-(-images // 64), 1, 1, 1)[:images]
    pictures = Images.of(data)

    def bare() -> int:
        with torch.no_grad():
            for part in data.split(batch):
                module(part.cuda())
        return 1

    for kind in ("float32", "TF32"):
        with precision(kind), tempfile.TemporaryDirectory() as folder:
            net = Network(module, device="cuda", tf32=kind == "TF32")
            convolutions = [layer.name for layer in net.layers if layer.kind == "conv"]
            number = iter(range(100))

            def run(
                layers: list[str] | None, store: bool = False, net: Network = net, folder: str = folder,
                number: Iterator[int] = number,
            ) -> Callable[[], int]:  # fmt: skip
                def call() -> int:
                    path = f"{folder}/{next(number)}.survey" if store else None
                    survey(net, pictures, layers, store=path, batch_size=batch, shards=1, progress=False)
                    return 1

                return call

            ways = {"bare": bare, "conv": run(convolutions), "all": run(None), "store": run(convolutions, True)}
            times = in_turn(ways, repeat, clock)
        shares = [spreads(times[way], times["bare"], 2) for way in ("conv", "all", "store")]
        each = spread([t / images for t in times["bare"]], 3)
        yield f"| {name} | {kind} | {each} | {' | '.join(shares)} |"


def fitted(name: str, module: torch.nn.Module, repeat: int, images: int, batch: int) -> str:
    """A row of a table: fits of patterns beside a training step."""
    x = torch.randn(images, 3, SIDE, SIDE)
    net, pictures = Network(module, device="cuda"), list(x)

    def step() -> int:
        for part in x.split(batch):
            module.zero_grad()
            module(part.cuda()).logsumexp(1).sum().backward()
        return 1

    three = "positive", "negative", "all"
    number = iter(range(100))

    def fit(*regime: str, store: str | None = None) -> int:
        fit_patterns(net, pictures, regime, store=store, batch_size=batch, progress=False)
        return 1

    with tempfile.TemporaryDirectory() as folder:
        ways = {
            "step": step,
            "one": lambda: fit("positive"),
            "three": lambda: fit(*three),
            "store": lambda: fit(*three, store=f"{folder}/{next(number)}.patterns"),
        }
        times = in_turn(ways, repeat, clock)
    module.zero_grad()
    each = spread([t / images for t in times["step"]], 2)
    shares = (spreads(times["step"], times[way], 2) for way in ("one", "three", "store"))
    return f"| {name} | {each} | {' | '.join(shares)} |"


def tested() -> str:
    """Run the core's tests on the device; how that ended, in a line."""
    processes = str(min(16, os.cpu_count() or 1))
    command = [
        sys.executable,
        "-m",
        "pytest",
        "tests/core",
        "--device",
        "cuda",
        "-m",
        "not slow",
        "-q",
        "-n",
        processes,
    ]
    path = os.pathsep.join([str(ROOT / "core"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE, text=True, check=False
    )
    print(done.stdout, flush=True)
    return f"`pytest tests/core --device cuda -m 'not slow'`: {done.stdout.strip().splitlines()[-1].strip('= ')}."


def machine() -> str:
    """The device, its driver, and what computes on it."""
    driver = subprocess.run(
        ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"],
        stdout=subprocess.PIPE, text=True, check=False,
    ).stdout.split()  # fmt: skip
    return (
        f"{torch.cuda.get_device_name()}, driver {driver[0] if driver else 'unknown'}, torch {torch.__version__}, "
        f"cuDNN {torch.backends.cudnn.version()}, {os.cpu_count()} processor cores"
    )


def frames(modules: dict[str, torch.nn.Module], given: argparse.Namespace) -> Iterator[str]:
    yield "A frame of an occluder that follows the hand, ms: median (lowest–highest), 95th percentile"
    yield ""
    yield "| network | 16 px | 50 px | the module's forward pass |"
    yield "|---" * 4 + "|"
    with precision("float32"):
        for name, module in modules.items():
            yield followed(name, module)


def sweeps(modules: dict[str, torch.nn.Module], given: argparse.Namespace) -> Iterator[str]:
    yield "Sweeps of an occluder, ms a position"
    yield ""
    yield (
        "| network | occluder | precision | module | Captum | Captum, best | walk | vs module | vs Captum "
        "| vs Captum, best | bound | off: of the output, of the effect |"
    )
    yield "|---" * 12 + "|"
    for name, module in modules.items():
        yield from occluded(name, module, given.repeat)


def surveys(modules: dict[str, torch.nn.Module], given: argparse.Namespace) -> Iterator[str]:
    yield f"Surveys of {given.images} pictures, throughput as a share of a bare loop's, batches of {given.batch}"
    yield ""
    yield "| network | precision | bare loop, ms a picture | convolutions | all layers | with a store |"
    yield "|---" * 6 + "|"
    for name, module in modules.items():
        yield from surveyed(name, module, given.repeat, given.images, given.batch)


def fits(modules: dict[str, torch.nn.Module], given: argparse.Namespace) -> Iterator[str]:
    count = given.images // 4
    yield f"Fits of patterns to {count} pictures, batches of {given.batch // 2}, against a training step, float32"
    yield ""
    yield "| network | training step, ms a picture | one regime | three | three, with a store |"
    yield "|---" * 5 + "|"
    with precision("float32"):
        for name, module in modules.items():
            yield fitted(name, module, given.repeat, count, given.batch // 2)


TABLES = {"frames": frames, "sweeps": sweeps, "surveys": surveys, "fits": fits}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="vgg16,resnet50")
    parser.add_argument("--only", default=",".join(TABLES), help="tables, separated by commas (all)")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--images", type=int, default=4096, help="of a survey; a fit takes a quarter")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--without-tests", action="store_true")
    parser.add_argument("--write", type=Path, default=ROOT / "build" / "gpu.md")
    given = parser.parse_args()
    if unknown := set(given.only.split(",")) - set(TABLES):
        parser.error(f"Expected tables out of {', '.join(TABLES)}, got {', '.join(sorted(unknown))}.")
    if not torch.cuda.is_available():
        sys.exit(f"Expected a machine with a CUDA device, got one on which torch {torch.__version__} finds none.")
    given.write.parent.mkdir(parents=True, exist_ok=True)
    with given.write.open("w") as page:

        def say(*lines: str) -> None:
            print(*lines, sep="\n", flush=True)
            print(*lines, sep="\n", file=page, flush=True)

        say(f"On {machine()}.")
        if not given.without_tests:
            say("", tested())
        modules = {name: random_network(name).cuda() for name in given.models.split(",")}
        for name in given.only.split(","):
            say("")
            for line in TABLES[name](modules, given):
                say(line)


if __name__ == "__main__":
    main()
