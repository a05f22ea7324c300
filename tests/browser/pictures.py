"""Pictures of every instrument in every state, at three widths, in both themes: to be looked at before a release.

What a walk over the page finds (cut words, what lies beyond the edge, scroll bars that scroll nothing) is printed.

    make pictures                                     all of them, into build/pictures (some minutes)
    python tests/browser/pictures.py Gallery full     those of some instruments, or states

A sheet (index.html) shows them side by side.
"""

from __future__ import annotations

import html
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Locator, Page, sync_playwright

import convscope as cs
from lab import CHROMIUM_FLAGS, Lab, Notebook, find_chromium
from test_absence import DRAWN_AGAIN
from test_layout import BEYOND, CUT, EMPTY_BARS

FOLDER = Path(__file__).parents[2] / "build" / "pictures"
WIDTHS = (1280, 700, 390)
THEMES = ("light", "dark")
WALKS = {"cut": CUT, "beyond the edge": BEYOND, "an empty bar": EMPTY_BARS}

#: What instruments are made of. `gate` holds answers back, `broken` makes them errors.
SETUP = """
import pathlib, shutil, tempfile, threading
import torch, convscope as cs
from torch import nn
from convscope._instrument import Instrument
net = cs.load("efficientnet_lite0")
small = cs.load("zfnet_shapes")
images = cs.sample_images()[:7]
survey = cs.survey(net, images.crops(overlap=0), progress=False)
shapes = cs.Shapes(count=24, size=128, split="test")
patterns = cs.fit_patterns(small, shapes, progress=False)
checkpoints = cs.shapes_checkpoints("zfnet_shapes")
evolution = cs.evolution(checkpoints, shapes, progress=False)
quality = cs.signal_quality(small, patterns, shapes, samples=256, progress=False)
module = nn.Sequential(nn.Conv2d(3, 8, 5, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
folder = pathlib.Path(tempfile.mkdtemp())
for number, one in enumerate(images[:4]):
    shutil.copy(one.path, folder / f"{number}{one.path.suffix}")
for one in sorted(folder.iterdir())[::2]:
    one.write_bytes(b"no picture")
empty = cs.survey(small, [shapes[0][0]], progress=False)
gate, broken, answer = threading.Event(), [], Instrument._answering
gate.set()
def stop(w):
    job = next(one for one in w._jobs if getattr(w, one._trait)["state"] != "none")
    begun = threading.Event()
    look = lambda now: begun.set() if now["state"] != "running" or now["done"] else None
    w.observe(lambda change: look(change.new), job._trait)
    look(getattr(w, job._trait))
    begun.wait(120)
    job.cancel()
def held(self, kind, content):
    gate.wait(120)
    if broken:
        raise cs.ImageError("Expected a complete picture file, got 'cat.jpg', which cannot be decoded. Copy it again.")
    return (yield from answer(self, kind, content))
Instrument._answering = held
"""

#: How each is made, with all that it shows.
FULL = {
    "Explorer": "cs.Explorer(net, images, survey, layer='blocks.3.2.conv_pw', selected=411)",
    "Occluder": "cs.Occluder(net, images[0], position=(60, 70))",
    "OcclusionMap": "cs.OcclusionMap(net, cs.sample('astronaut'), stride=16, position=(120, 130))",
    "FilterGrid": "cs.FilterGrid(net, images[1], layer='blocks.3.2.conv_pw', survey=survey)",
    "UnitPanel": "cs.UnitPanel(net, survey=survey, layer='blocks.3.2.conv_pw', channel=411)",
    "Gallery": "cs.Gallery(net, images[:2], ['gradient', 'guided_backprop', 'input_times_gradient', 'lrp'])",
    "HealthView": "cs.HealthView(net, survey=survey, layer='conv_stem')",
    "PatternReport": "cs.PatternReport(small, patterns, quality, layer='conv1')",
    "Evolution": "cs.Evolution(evolution, layer='conv1')",
    "Invariance": "cs.Invariance(net, images[:3], {'shift_x': [-16, 0, 16]}, ['conv_stem', 'conv_head'])",
    "Compare": "cs.Compare(small, cs.load('alexnet_shapes'), shapes)",
    "Correspondence": "cs.Correspondence(net, images[:4], points=[(90, 60), None, None, (60, 100)], places=4)",
}
#: With as little to show as there can be, where that looks otherwise.
EMPTY = {
    "Explorer": "cs.Explorer(net, images, survey, layer='blocks.0.0.conv_pw', show='dead')",
    "FilterGrid": "cs.FilterGrid(net, images[1], layer='blocks.0.0.conv_pw', survey=survey, show='dead')",
    "UnitPanel": "cs.UnitPanel(net, survey=survey, layer='conv_stem', channel=11)",
    "Gallery": "cs.Gallery(net, images[:1], ['patternnet'])",
    "HealthView": "cs.HealthView(small, survey=empty)",
    "PatternReport": "cs.PatternReport(small, patterns, only_problems=True)",
    "Evolution": "cs.Evolution(cs.EvolutionRecorder(module, at=[1, 2], input_size=128), shapes)",
    "Invariance": "cs.Invariance(net, images[:1], {'shift_x': [-16, 0, 16]}, ['conv_stem'], shown=[])",
    "Compare": "cs.Compare(small, small, shapes)",
    "Correspondence": "cs.Correspondence(net, images[:4])",
}
#: Of pictures of which some cannot be read.
DAMAGED = {
    "Explorer": "cs.Explorer(net, folder)",
    "UnitPanel": "cs.UnitPanel(net, folder, layer='blocks.3.2.conv_pw', channel=411)",
    "HealthView": "cs.HealthView(net, folder)",
    "Gallery": "cs.Gallery(net, folder, ['gradient', 'lrp'])",
    "Evolution": "cs.Evolution(checkpoints, folder)",
    "Invariance": "cs.Invariance(net, folder, {'shift_x': [-16, 0, 16]}, ['conv_stem', 'conv_head'])",
    "Compare": "cs.Compare(small, cs.load('alexnet_shapes'), folder)",
    "Correspondence": "cs.Correspondence(net, folder, points=[None, (90, 60), None, (60, 100)], places=4)",
}
#: With long work, which is stopped.
WORKING = {
    "Explorer": "cs.Explorer(net, images, layer='blocks.3.2.conv_pw')",
    "UnitPanel": "cs.UnitPanel(net, images.crops(), layer='blocks.3.2.conv_pw', channel=411)",
    "HealthView": "cs.HealthView(net, images.crops())",
    "OcclusionMap": "cs.OcclusionMap(net, cs.sample('astronaut'), stride=2)",
    "Gallery": "cs.Gallery(net, images, ['gradient', 'guided_backprop', 'input_times_gradient', 'lrp'])",
    "Evolution": "cs.Evolution(checkpoints, shapes)",
    "Invariance": "cs.Invariance(net, images, ['shift_x'])",
    "Compare": "cs.Compare(small, cs.load('alexnet_shapes'), cs.Shapes(count=400, size=128, split='test'))",
    "Correspondence": "cs.Correspondence(net, images[:4], points=[(90, 60), None, None, (60, 100)])",
}
#: What has what is shown follow a request that is not answered yet.
CHANGE = {
    "Explorer": "w.layer = 'conv_stem'",
    "Occluder": "w.position = (10, 20)",
    "OcclusionMap": "w.target = 3",
    "FilterGrid": "w.layer = 'conv_stem'",
    "UnitPanel": "w.selected = 12",
    "Gallery": "w.target = 3",
    "HealthView": "w.layer = 'conv_head'",
    "Evolution": "w.layer = 'conv2'",
    "Invariance": "w.value = 12",
    "Compare": "w.layer_b = 'conv1'",
}
SETTLED = """() => [...document.querySelectorAll('.cs-is-stale, .cs-is-loading, [aria-busy=true]')]
  .every((one) => one.getClientRects().length === 0)"""
#: bqplot lays its figures out anew a while after the page has another width: until then the plot is too wide for its
#: figure, or leaves more of it than the margins of any.
LAID_OUT = """(root) => [...root.querySelectorAll('.bqplot')].every((figure) => {
  if (figure.getClientRects().length === 0) return true;
  const rest = figure.querySelector('svg').getBoundingClientRect().width
    - Number(figure.querySelector('.plotarea_background').getAttribute('width'));
  return rest > 60 && rest < 90;
})"""
#: An instrument with the chart beneath it, where there is one.
INSTRUMENT = ".cs-charted, .cs-host"
#: What is not, or not any more, what is asked for.
PENDING = ".cs-is-stale:visible, .cs-is-loading:visible, [aria-busy=true]:visible"
#: Bring the other notebook to the front, or close it.
OTHER = """(what) => {
  const { app, panel } = window.nb;
  const other = [...app.shell.widgets("main")].find((one) => one !== panel && one.context);
  if (what === "close") other.dispose();
  else app.shell.activateById(other.id);
}"""
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
            root.scroll_into_view_if_needed()
            page.wait_for_function(LAID_OUT, arg=root.element_handle(), timeout=120_000)
            for _ in range(3):
                page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
            root.screenshot(path=FOLDER / f"{instrument}-{state}-{width}-{theme}.png", animations="disabled")
            for what, walk in WALKS.items():
                for one in root.evaluate(walk):
                    print(f"  {what}, {instrument}, {state}, {width}, {theme}: {one}", flush=True)
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


#: Those that ask the kernel for what they show; a report of patterns has all of it from the start.
ASKING = {
    name: made
    for name, made in FULL.items()
    if any(one.startswith("_answer_") and one != "_answer_figure" for one in dir(getattr(cs, name)))
}
#: The states, and how an instrument is made that is to be in each.
STATES: dict[str, dict[str, str]] = {
    "full": FULL,
    "empty": EMPTY,
    "damaged": DAMAGED,
    "loading": ASKING,
    "stale": {name: FULL[name] for name in CHANGE},
    "stopped": WORKING,
    "error": ASKING,
    "reopened": FULL,
    "offline": FULL,
    "dead": FULL,
}


def chosen(words: list[str]) -> Iterator[tuple[str, str, str]]:
    """The states of instruments that were asked for: instrument, state, and how it is made."""
    instruments = [word for word in words if word in FULL] or list(FULL)
    states = [word for word in words if word in STATES] or list(STATES)
    for state in states:
        for instrument in instruments:
            if made := STATES[state].get(instrument):
                yield instrument, state, made


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
    elif state == "stopped":
        book.run("stop(w); w.wait(120)", timeout=150)
    else:
        book.run("w.wait(120)", timeout=150)
    if state in ("full", "empty", "damaged", "stale", "stopped"):
        book.wait_for(SETTLED, timeout=120)  # what followed from the first answers has come, too
    if state == "stale":
        book.run(f"gate.clear(); {CHANGE[instrument]}")
        root.locator(PENDING).first.wait_for()
    if state == "error":
        root.locator("[role=alert]:visible").first.wait_for()
    for theme in THEMES:
        book.theme(theme)
        album.take(book.page, root, instrument, state, theme)
    book.run("gate.set(); broken.clear(); w.close()")


def take_dead(book: Notebook, album: Album, made: dict[str, str]) -> None:
    """Instruments after their kernel has gone, all by one restart: the last of all."""
    book.fill([f"w{number} = {one}; w{number}" for number, one in enumerate(made.values())])
    for number in range(len(made)):
        book.run_cell(number)
        book.run(f"w{number}.wait(120)", timeout=150)
    book.wait_for(SETTLED, timeout=120)
    book._evaluate(RESTART)
    for theme in THEMES:
        book.theme(theme)
        for number, instrument in enumerate(made):
            root = book.cell(number).locator(INSTRUMENT).first
            root.locator(".cs-absent").wait_for()
            album.take(book.page, root, instrument, "dead", theme)


def take_reopened(book: Notebook, album: Album, instrument: str, made: str) -> None:
    """An instrument in a notebook that was saved with its widgets, and opened again: there is no kernel behind it."""
    book.run(f"w = {made}; w.wait(120); w._repr_mimebundle_()", timeout=150)
    name = f"reopened-{uuid.uuid4().hex[:8]}.ipynb"
    book.open_saved("w", name, DRAWN_AGAIN)
    root = book.page.locator(f".jp-NotebookPanel:not(.lm-mod-hidden) .jp-OutputArea-output :is({INSTRUMENT})").first
    root.locator(".cs-absent:visible").wait_for()
    for theme in THEMES:
        book.theme(theme)
        book.page.evaluate(OTHER, "activate")
        album.take(book.page, root, instrument, "reopened", theme)
    book.page.evaluate(OTHER, "close")
    book.lab.end_kernel(name)
    book.run("w.close()")


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
        book.run(SETUP, timeout=900)
        dead: dict[str, str] = {}
        for instrument, state, made in chosen(words):
            try:
                if state == "offline":
                    take_saved(book, album, instrument, made)
                elif state == "reopened":
                    take_reopened(book, album, instrument, made)
                elif state == "dead":
                    dead[instrument] = made
                else:
                    take_live(book, album, instrument, state, made)
            except Exception as error:  # the others are to be seen all the same
                print(f"{instrument}, {state}: {str(error)[-2000:]}", flush=True)
                failed += 1
                book.run("gate.set(); broken.clear()")
        if dead:
            try:
                take_dead(book, album, dead)
            except Exception as error:
                print(f"dead: {str(error)[-2000:]}", flush=True)
                failed += 1
        book.close()
        browser.close()
    album.sheet()
    print(f"{len(album.names) * len(WIDTHS)} pictures in {FOLDER}, {failed} instruments could not be taken")
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
