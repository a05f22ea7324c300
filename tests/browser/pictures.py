"""Pictures of every instrument in every state, at three widths, in both themes: to be looked at before a release.

    make pictures                                     all of them, into build/pictures (some minutes)
    python tests/browser/pictures.py Gallery full     those of some instruments, or states

A sheet (index.html) shows them side by side.
"""

from __future__ import annotations

import html
import sys
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Locator, Page, sync_playwright

from lab import CHROMIUM_FLAGS, Lab, Notebook, find_chromium

FOLDER = Path(__file__).parents[2] / "build" / "pictures"
WIDTHS = (1280, 700, 390)
THEMES = ("light", "dark")

#: What instruments are made of. `gate` holds answers back, `broken` makes them errors.
SETUP = """
import threading, time
import torch, convscope as cs
from convscope._instrument import Instrument
net = cs.load("efficientnet_lite0")
small = cs.load("zfnet_shapes")
images = cs.sample_images()[:7]
survey = cs.survey(net, images.crops(overlap=0), progress=False)
shapes = cs.Shapes(count=24, size=128, split="test")
patterns = cs.fit_patterns(small, shapes, progress=False)
checkpoints = cs.shapes_checkpoints("zfnet_shapes")
evolution = cs.evolution(checkpoints, shapes, progress=False)
empty = cs.survey(small, [shapes[0][0]], progress=False)
gate, broken, answer = threading.Event(), [], Instrument._answer
gate.set()
def held(self, kind, content):
    gate.wait(120)
    if broken:
        raise cs.ImageError("Expected a complete picture file, got 'cat.jpg', which cannot be decoded. Copy it again.")
    return answer(self, kind, content)
Instrument._answer = held
"""

#: How each is made; and where there is such a thing, when it has nothing to show.
FULL = {
    "Explorer": "cs.Explorer(net, images, survey, layer='blocks.3.2.conv_pw', selected=411)",
    "Occluder": "cs.Occluder(net, images[0], position=(60, 70))",
    "OcclusionMap": "cs.OcclusionMap(net, cs.sample('astronaut'), stride=16, position=(120, 130))",
    "FilterGrid": "cs.FilterGrid(net, images[1], layer='blocks.3.2.conv_pw', survey=survey)",
    "UnitPanel": "cs.UnitPanel(net, survey=survey, layer='blocks.3.2.conv_pw', channel=411)",
    "Gallery": "cs.Gallery(net, images[:2], ['gradient', 'guided_backprop', 'input_times_gradient', 'lrp'])",
    "HealthView": "cs.HealthView(net, survey=survey, layer='conv_stem')",
    "PatternReport": "cs.PatternReport(small, patterns, layer='conv1')",
    "Evolution": "cs.Evolution(evolution, layer='conv1')",
    "Invariance": "cs.Invariance(net, images[:3], {'shift_x': [-16, 0, 16]}, ['conv_stem', 'conv_head'])",
    "Compare": "cs.Compare(small, cs.load('alexnet_shapes'), shapes)",
    "Correspondence": "cs.Correspondence(net, images[:4], points=[(90, 60), None, None, (60, 100)], places=4)",
}
EMPTY = {
    "Explorer": "cs.Explorer(net, images, survey, layer='conv_stem', show='dead')",
    "FilterGrid": "cs.FilterGrid(net, images[1], layer='conv_stem', survey=survey, show='repeated')",
    "UnitPanel": "cs.UnitPanel(net, survey=survey, layer='conv_stem')",
    "Gallery": "cs.Gallery(net, images[:1], ['patternnet'])",
    "HealthView": "cs.HealthView(small, survey=empty)",
    "PatternReport": "cs.PatternReport(small, patterns, only_problems=True)",
    "Correspondence": "cs.Correspondence(net, images[:4])",
}
#: A report of patterns has all that it shows from the start.
ANSWERING = {name: made for name, made in FULL.items() if name != "PatternReport"}
STATES = {"full": FULL, "empty": EMPTY, "loading": FULL, "error": ANSWERING, "dead": FULL, "offline": FULL}
SETTLED = """() => [...document.querySelectorAll('.cs-is-stale, .cs-is-loading, [aria-busy=true]')]
  .every((one) => one.getClientRects().length === 0)"""
#: bqplot lays its figures out anew a while after the page has another width: until then the plot is too wide for its
#: figure, or leaves more of it than the widest margins.
LAID_OUT = """() => [...document.querySelectorAll('.bqplot')].every((figure) => {
  const rest = figure.querySelector('svg').getBoundingClientRect().width
    - Number(figure.querySelector('.plotarea_background').getAttribute('width'));
  return rest > 0 && rest < 150;
})"""
#: An instrument with the chart beneath it, where there is one.
INSTRUMENT = ".cs-charted, .cs-host"
RESTART = "async () => { await window.nb.panel.sessionContext.session.kernel.restart(); }"


class Album:
    """The pictures that were taken."""

    def __init__(self) -> None:
        FOLDER.mkdir(parents=True, exist_ok=True)
        self.names: list[tuple[str, str]] = []

    def take(self, page: Page, root: Locator, instrument: str, state: str, theme: str) -> None:
        """Take an instrument at all widths."""
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 1000})
            tall = root.evaluate("root => root.scrollHeight")
            if instrument != "Explorer":  # which is as high as the window lets it
                page.set_viewport_size({"width": width, "height": max(1000, tall + 300)})
            page.wait_for_function(LAID_OUT)
            for _ in range(3):
                page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
            root.screenshot(path=FOLDER / f"{instrument}-{state}-{width}-{theme}.png", animations="disabled")
        self.names.append((instrument, f"{state} {theme}"))
        print(f"{instrument}, {state}, {theme}", flush=True)

    def sheet(self) -> None:
        """Write the page that shows all."""
        lines = []
        for instrument, what in self.names:
            state, theme = what.split()
            pictures = "".join(
                f'<img src="{instrument}-{state}-{width}-{theme}.png" style="max-width:{width // 2}px">'
                for width in WIDTHS
            )
            lines.append(f"<h2>{html.escape(f'{instrument}: {what}')}</h2><div>{pictures}</div>")
        style = "<style>body{font:14px sans-serif;background:#888}div{display:flex;gap:8px;align-items:start}</style>"
        (FOLDER / "index.html").write_text(f"<!doctype html>{style}{''.join(lines)}", "utf-8")


def chosen(words: list[str]) -> Iterator[tuple[str, str, str]]:
    """The states of instruments that were asked for: instrument, state, and how it is made."""
    instruments = [word for word in words if word in FULL] or list(FULL)
    states = [word for word in words if word in STATES] or list(STATES)
    for state in states:
        for instrument in instruments:
            if instrument in STATES[state]:
                yield instrument, state, STATES[state][instrument]


def take_live(book: Notebook, album: Album, instrument: str, state: str, made: str) -> None:
    """An instrument with its kernel behind it, or after that has gone."""
    if state in ("loading", "error"):
        book.run("gate.clear()" if state == "loading" else "broken.append(1)")
    book.fill([f"w = {made}; w"])
    book.run_cell(0)
    root = book.cell(0).locator(INSTRUMENT).first
    root.wait_for()
    if state == "loading":
        root.locator(".cs-root").first.wait_for()
    else:
        book.run("w.wait(120)", timeout=150)
    if state in ("full", "empty"):
        book.wait_for(SETTLED)  # what followed from the first answers has come, too
    if state == "error":
        root.locator("[role=alert]:visible").first.wait_for()
    if state == "dead":
        book._evaluate(RESTART)
        root.locator(".cs-absent").wait_for()
    for theme in THEMES:
        book.theme(theme)
        album.take(book.page, root, instrument, state, theme)
    if state == "dead":
        book.run(SETUP, timeout=300)
    else:
        book.run("gate.set(); broken.clear(); w.close()")


def take_saved(book: Notebook, album: Album, instrument: str, made: str) -> None:
    """An instrument on a page of its own."""
    path = FOLDER / f"{instrument}.html"
    book.run(f"w = {made}; w.wait(120); w.to_html({str(path)!r}); w.close()", timeout=150)
    for theme in THEMES:
        browser = book.page.context.browser
        assert browser is not None
        page = browser.new_context(color_scheme=theme).new_page()
        page.goto(path.as_uri())
        root = page.locator(INSTRUMENT).first
        root.wait_for()
        album.take(page, root, instrument, "offline", theme)
        page.context.close()


def main(words: list[str]) -> int:
    """Take what was asked for; 1 where some could not be taken."""
    if unknown := [word for word in words if word not in FULL and word not in STATES]:
        print(f"Expected instruments ({', '.join(FULL)}) or states ({', '.join(STATES)}), got {unknown[0]}.")
        return 2
    album, failed = Album(), 0
    with sync_playwright() as playwright, Lab() as lab:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=CHROMIUM_FLAGS)
        book = Notebook.open(lab, browser, [""])
        book.run(SETUP, timeout=300)
        for instrument, state, made in chosen(words):
            try:
                if state == "offline":
                    take_saved(book, album, instrument, made)
                else:
                    take_live(book, album, instrument, state, made)
            except Exception as error:  # the others are to be seen all the same
                print(f"{instrument}, {state}: {str(error)[-2000:]}", flush=True)
                failed += 1
                book.run("gate.set(); broken.clear()")
        book.close()
        browser.close()
    album.sheet()
    print(f"{len(album.names) * len(WIDTHS)} pictures in {FOLDER}, {failed} instruments could not be taken")
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
