"""The README's still pictures of the explorer, the evolution and the comparison.

python tests/browser/stills.py [explorer] [evolution] [compare]     writes docs/NAME-light.webp and docs/NAME-dark.webp
"""

from __future__ import annotations

import io
import sys

from PIL import Image
from playwright.sync_api import sync_playwright

from animation import FOLDER, SETTLED
from lab import CHROMIUM_FLAGS, Lab, Notebook, find_chromium
from pictures import INSTRUMENT, LAID_OUT

#: Of the window; the instrument has what JupyterLab leaves of it.
WIDTH = 1400
QUALITY = 82
#: What is made of the networks that come with the package, or with another, and what is chosen in it.
SHOWN = {
    "explorer": """
w = cs.Explorer(cs.load("efficientnet_lite0"), layer="blocks.3.2.conv_pw", selected=411, size=50)
w.position = (46, 45)
""",
    "evolution": """
pictures = cs.Shapes(count=500, size=128, split="test")
found = cs.evolution(cs.shapes_checkpoints("zfnet_shapes"), pictures, progress=False)
w = cs.Evolution(found, layer="conv5", selected=3, curve="cka")
""",
    "compare": """
pictures = cs.Shapes(count=600, size=128, split="test")
nets = cs.load("alexnet_shapes"), cs.load("zfnet_shapes")
for net in nets:  # the first passes take longer than the others
    for _ in range(20):
        net.predict(pictures[0][0])
found = cs.compare(*nets, pictures, progress=False)
bird = [one.image for one in found.disagreements()].index(55)
w = cs.Compare(found, layer_a="conv2", layer_b="conv2", pair_show="projection", picture=bird, size=50)
w.wait(120)
w.position = (20, 34)
""",
}
#: Cells come some at a time; nothing more has come for a while.
COME = """() => {
  const painted = [...document.querySelectorAll("[data-painted]")].map(({ dataset }) => dataset.painted).join();
  if (window.painted !== painted) Object.assign(window, { painted, since: Date.now() });
  return Date.now() - window.since > 3000;
}"""


def main(words: list[str]) -> None:
    """Write the pictures that were asked for, in both themes."""
    with sync_playwright() as playwright, Lab() as lab:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=CHROMIUM_FLAGS)
        book = Notebook.open(lab, browser, [""], viewport={"width": WIDTH, "height": 1000})
        for name in words or list(SHOWN):
            book.run(f"import convscope as cs\n{SHOWN[name]}", timeout=600)
            book.fill(["w"])
            book.run_cell(0)
            root = book.cell(0).locator(INSTRUMENT).first
            root.wait_for()
            book.run("w.wait(120)", timeout=150)
            tall = root.evaluate("root => root.scrollHeight")
            book.page.set_viewport_size({"width": WIDTH, "height": tall + 300})
            for theme in ("light", "dark"):
                book.theme(theme)
                book.wait_for(SETTLED)
                book.wait_for(COME, timeout=120)
                book.wait_for(LAID_OUT, root.element_handle())
                picture = Image.open(io.BytesIO(root.screenshot(animations="disabled"))).convert("RGB")
                path = FOLDER / f"{name}-{theme}.webp"
                picture.save(path, quality=QUALITY, method=6)
                print(f"{path.name}: {picture.size}, {path.stat().st_size / 1000:.0f} kB")
            book.run("w.close()")
        book.close()
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1:])
