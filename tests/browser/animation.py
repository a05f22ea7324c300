"""The README's moving picture: a hand drags the occluder over a cat, and the bars follow.

    python tests/browser/animation.py     writes docs/drag-light.webp and docs/drag-dark.webp

Every frame is what the instrument shows once it has answered for that place: the picture tells where the bars go, not
how fast they come.
"""

from __future__ import annotations

import io
import math
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from lab import CHROMIUM_FLAGS, Lab, Notebook, find_chromium

FOLDER = Path(__file__).parents[2] / "docs"
SETUP = 'import convscope as cs; net = cs.load("efficientnet_lite0"); cat = cs.sample_images()[0]'
WIDTH = 760
FRAMES, EACH = 48, 90  # ms
QUALITY = 70
#: The pointer's places as shares of the picture: from the cheek over both eyes to the ear, and back.
PATH = [
    (0.5 + 0.34 * math.sin(2 * math.pi * step / FRAMES), 0.42 + 0.22 * math.sin(4 * math.pi * step / FRAMES))
    for step in range(FRAMES)
]
#: What the pointer drags; it lies on the picture.
SQUARE = ".cs-occluder"
SETTLED = """() => [...document.querySelectorAll('.cs-is-stale, .cs-is-loading, [aria-busy=true]')]
  .every((one) => one.getClientRects().length === 0)"""


def main() -> None:
    """Write the moving picture in both themes."""
    with sync_playwright() as playwright, Lab() as lab:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=CHROMIUM_FLAGS)
        book = Notebook.open(lab, browser, [""])
        book.run(SETUP, timeout=300)
        book.page.set_viewport_size({"width": WIDTH, "height": 800})
        for theme in ("light", "dark"):
            book.theme(theme)
            book.fill(["w = cs.Occluder(net, cat, size=60); w"])
            book.run_cell(0)
            root = book.cell(0).locator(".cs-host").first
            book.run("w.wait(60)")
            book.wait_for(SETTLED)
            box = root.locator(SQUARE).locator("..").bounding_box()
            assert box is not None
            mouse, frames = book.page.mouse, []
            handle = root.locator(SQUARE).bounding_box()
            assert handle is not None
            mouse.move(handle["x"] + handle["width"] / 2, handle["y"] + handle["height"] / 2)
            mouse.down()
            for across, down in PATH:
                mouse.move(box["x"] + across * box["width"], box["y"] + down * box["height"])
                book.run("w.wait(60)")
                book.wait_for(SETTLED)
                picture = Image.open(io.BytesIO(root.screenshot(animations="disabled"))).convert("RGB")
                frames.append(picture)
            mouse.up()
            path = FOLDER / f"drag-{theme}.webp"
            first, *others = frames
            first.save(path, save_all=True, append_images=others, duration=EACH, loop=0, quality=QUALITY, method=6)
            print(f"{path.name}: {len(frames)} frames, {path.stat().st_size / 1000:.0f} kB")
        book.close()
        browser.close()


if __name__ == "__main__":
    main()
