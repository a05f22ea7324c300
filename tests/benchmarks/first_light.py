"""How fast the microscope is on the network of the tour: prints the README's table.

    make benchmark

Times are of this machine, with whatever else runs on it, so that ratios (both sides taken in turn, in one run) say more
than milliseconds do.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).parent.parent / "browser"))

from lab import CHROMIUM_FLAGS, Lab, Notebook, find_chromium

SETUP = 'import convscope as cs\nnet = cs.load("efficientnet_lite0")'
FRAMES = 60

WATCH = """(root) => {
  const pane = root.querySelector(".cs-probabilities");
  const occluder = root.querySelector(".cs-occluder");
  const asked = new Map();
  window.latencies = [];
  window.moves = 0;
  const place = () => /row (\\d+), column (\\d+)/.exec(occluder.ariaValueText).slice(1).join(",");
  let last = place();
  root.querySelector(".cs-picture").addEventListener("pointermove", () => {
    window.moves += 1;
    if (place() !== last) asked.set(place(), performance.now()); // again at every visit of a place
    last = place();
  });
  new MutationObserver(() => {
    const begun = asked.get(pane.dataset.position);
    if (begun !== undefined) window.latencies.push(performance.now() - begun);
  }).observe(pane, { attributes: true, attributeFilter: ["data-position"] });
}"""

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


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def alternating(first: Callable[[], object], second: Callable[[], object]) -> tuple[float, float]:
    """Median milliseconds of two functions, run in turn."""
    for _ in range(5):
        first(), second()
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(FRAMES):
        for function, spent in zip((first, second), times, strict=True):
            begun = time.perf_counter()
            function()
            spent.append(1000 * (time.perf_counter() - begun))
    return statistics.median(times[0]), statistics.median(times[1])


def import_times(runs: int = 5) -> tuple[float, float]:
    """Median seconds of ``import convscope``, and of what it stands on, each in a fresh interpreter, in turn."""
    spent: dict[str, list[float]] = {"convscope": [], "torch, torchvision, ipywidgets, bqplot": []}
    for _ in range(runs):
        for modules, times in spent.items():
            begun = time.perf_counter()
            subprocess.run([sys.executable, "-c", f"import {modules}"], check=True)
            times.append(time.perf_counter() - begun)
    ours, base = (statistics.median(times) for times in spent.values())
    return ours, base


def kernel_compute() -> tuple[float, float]:
    """Milliseconds of one frame of the occluder, and of one pass of the plain module."""
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


def in_browser() -> dict[str, object]:
    path = find_chromium()
    if path is None:
        sys.exit("the benchmark needs a Chromium or Chrome on PATH (on Debian: apt-get install chromium)")
    with Lab() as lab, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_FLAGS)
        cells = [SETUP, "w = cs.Occluder(net, cs.sample('chelsea')); w", "e = cs.Explorer(net); e"]
        book = Notebook.open(lab, browser, cells)
        book.run_cell(0)
        first = book.page.evaluate(PAINTED, [1, ".cs-root--occluder .cs-probabilities[data-position]"])
        root = book.cell(1).locator(".cs-root")
        root.evaluate(WATCH)
        book.run("w.wait(); frames = []; w.observe(lambda change: frames.append(1), '_frame')")
        for step, (dx, dy) in enumerate([(-90, -60), (120, 90), (-40, 80), (60, -120)]):
            book.drag(root.locator(".cs-occluder"), dx, dy, steps=100)
            book.run("w.wait()")
            book.wait_for("(n) => window.latencies.length > n", step)
        latencies = book.page.evaluate("() => window.latencies")
        moves = book.page.evaluate("() => window.moves")
        frames = book.value("len(frames)")
        explorer = book.page.evaluate(PAINTED, [2, ".cs-root--explorer .cs-grid[data-painted]"])
        book.close()
        browser.close()
    return {"first": first, "explorer": explorer, "latencies": latencies, "moves": moves, "frames": frames}


def main() -> None:
    frame, plain = kernel_compute()
    sizes = grid_bytes()
    ours, base = import_times()
    seen = in_browser()
    latencies = seen["latencies"]
    name = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
        name = models[0].split(":")[1].strip() if models else name
    print(f"\nefficientnet_lite0, 224 px, on {os.cpu_count()} cores of {name}, torch {torch.__version__}, no GPU.\n")
    rows = [
        ("pointer to probability, while dragging, median", f"{quantile(latencies, 0.5):.0f} ms"),
        ("pointer to probability, while dragging, 95th percentile", f"{quantile(latencies, 0.95):.0f} ms"),
        ("pointer moves, and frames computed for them", f"{seen['moves']}, {seen['frames']}"),
        ("kernel's work per frame", f"{frame:.1f} ms"),
        ("... against a plain forward pass of the module", f"{frame / plain:.2f} × ({plain:.1f} ms)"),
        ("running the cell to first paint: Occluder", f"{seen['first'] / 1000:.2f} s"),
        ("running the cell to first paint: Explorer's grid", f"{seen['explorer'] / 1000:.2f} s"),
        *((f"bytes for the grid of {layer}", f"{size / 1000:.0f} kB") for layer, size in sizes.items()),
        ("`import convscope`", f"{ours:.2f} s"),
        ("... against torch, torchvision, ipywidgets and bqplot alone", f"{ours / base:.2f} × ({base:.2f} s)"),
    ]
    print("| what | measured |\n|---|---|")
    for what, measured in rows:
        print(f"| {what} | {measured} |")
    print(f"\n{json.dumps({'latencies': [round(one, 1) for one in latencies]})}")


if __name__ == "__main__":
    main()
