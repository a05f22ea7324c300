"""How soon the microscope is there on the network of the tour: prints a part of the README's table.

    python tests/benchmarks/first_light.py

Times are of this machine, with whatever else runs on it, so that ratios (both sides taken in turn, in one run) say more
than milliseconds do. Each is a median, with the lowest and the highest.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).parent.parent / "browser"))

from machine import described, spread

from lab import CHROMIUM_FLAGS, Lab, Notebook, find_chromium

SETUP = 'import convscope as cs\nnet = cs.load("efficientnet_lite0")'
FRAMES, OPENED, IMPORTED = 60, 3, 5

PAINTED = """async ([index, selector]) => {
  const { app, panel } = window.nb;
  panel.content.activeCellIndex = index;
  const begun = performance.now();
  const painted = new Promise((resolve) => {
    const look = () => document.querySelector(selector)
      ? requestAnimationFrame(() => resolve(performance.now() - begun)) : requestAnimationFrame(look);
    look();
  });
  await app.commands.execute("notebook:run-cell");
  return painted;
}"""


Times = list[float]


def alternating(first: Callable[[], object], second: Callable[[], object]) -> tuple[Times, Times]:
    """Milliseconds of two functions, run in turn: medians of ten calls each."""
    for _ in range(5):
        first(), second()
    times: tuple[Times, Times] = ([], [])
    for _ in range(FRAMES):
        for function, spent in zip((first, second), times, strict=True):
            begun = time.perf_counter()
            function()
            spent.append(1000 * (time.perf_counter() - begun))
    ours, base = ([statistics.median(spent[i : i + 10]) for i in range(0, FRAMES, 10)] for spent in times)
    return ours, base


def import_times() -> tuple[Times, Times]:
    """Seconds of ``import convscope``, and of what it stands on, each in a fresh interpreter, in turn."""
    spent: dict[str, Times] = {"convscope": [], "torch, torchvision, ipywidgets, bqplot": []}
    for _ in range(IMPORTED):
        for modules, times in spent.items():
            begun = time.perf_counter()
            subprocess.run([sys.executable, "-c", f"import {modules}"], check=True)
            times.append(time.perf_counter() - begun)
    ours, base = spent.values()
    return ours, base


def ratios(ours: Times, base: Times) -> Times:
    return [one / other for one, other in zip(ours, base, strict=True)]


def kernel_compute() -> tuple[Times, Times]:
    """Milliseconds of frames of the occluder, and of passes of the plain module."""
    import timm

    import convscope as cs
    from convscope_core.occlusion import Occlusion

    net = cs.load("efficientnet_lite0")
    picture = cs.sample("chelsea").image
    occlusion = Occlusion(net, picture)
    module = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    x = net.prepare(picture)
    positions = iter([(row % 170, (7 * row) % 170) for row in range(10_000)])

    @torch.inference_mode()
    def plain() -> torch.Tensor:
        return module(x)

    return alternating(lambda: occlusion.predict(next(positions), 50), plain)


def grid_bytes() -> dict[str, int]:
    import convscope as cs

    net = cs.load("efficientnet_lite0")
    widget = cs.FilterGrid(net, cs.sample("chelsea"))
    sizes = {}
    for name in ("conv_stem", "blocks.2.1.conv_pw", "blocks.5.0.conv_pw", "conv_head"):
        layer = net.layer(name)
        _, buffers = widget._answer("grid", {"layer": name, "lens": "activation"})
        sizes[f"{name} ({layer.channels} × {layer.size[0]}²)"] = sum(map(len, buffers))
    widget.close()
    return sizes


def first_paints() -> dict[str, Times]:
    """Seconds from running the cell to the first paint, each in a fresh page and kernel."""
    path = find_chromium()
    if path is None:
        sys.exit("the benchmark needs a Chromium or Chrome on PATH (on Debian: apt-get install chromium)")
    cells = [SETUP, "w = cs.Occluder(net, cs.sample('chelsea')); w", "e = cs.Explorer(net); e"]
    painted = {
        "Occluder": (1, ".cs-root--occluder .cs-probabilities[data-position]"),
        "Explorer's grid": (2, ".cs-root--explorer .cs-grid[data-painted]"),
    }
    times: dict[str, Times] = {name: [] for name in painted}
    with Lab() as lab, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_FLAGS)
        for _ in range(OPENED):
            book = Notebook.open(lab, browser, cells)
            book.run_cell(0)
            for name, where in painted.items():
                times[name].append(book.page.evaluate(PAINTED, list(where)) / 1000)
            book.close()
        browser.close()
    return times


def main() -> None:
    frame, plain = kernel_compute()
    sizes = grid_bytes()
    ours, base = import_times()
    rows = [
        ("kernel's work per frame, ms", spread(frame, 1)),
        (
            "... against a plain forward pass of the module",
            spread(ratios(frame, plain), 2),
        ),
        *((f"running the cell to first paint, s: {name}", spread(times, 2)) for name, times in first_paints().items()),
        *((f"bytes for the grid of {layer}", f"{size / 1000:.0f} kB") for layer, size in sizes.items()),
        ("`import convscope`, s", spread(ours, 2)),
        ("... against torch, torchvision, ipywidgets and bqplot alone", spread(ratios(ours, base), 2)),
    ]
    print(f"\nefficientnet_lite0, 224 px, on {described()}.\n")
    print("| what | median (lowest–highest) |\n|---|---|")
    for what, measured in rows:
        print(f"| {what} | {measured} |")


if __name__ == "__main__":
    main()
