"""An instrument on pages like those of hosts that cannot be run here: their colours, their frames, their wheel."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import pytest
import torch
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect
from torch import nn

import convscope as cs
from convscope import _static
from hosts import SETUP
from lab import Lab, Notebook


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A saved page: its style sheet and its front end are what every host shows."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 40, 5, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(40, 3))
    net = cs.Network(module.eval(), labels=list("abc"), input_size=48, name="small")
    grid = cs.FilterGrid(net, np.random.default_rng(0).random((48, 48, 3)).astype(np.float32))
    page = grid.to_html()
    grid.close()
    return page


@pytest.fixture(scope="module")
def page(browser: Browser) -> Iterator[Page]:
    page = browser.new_context(viewport={"width": 900, "height": 700}).new_page()
    page.route("http://host.example/", lambda route: route.fulfill(body="<!doctype html>", content_type="text/html"))
    page.set_default_timeout(30_000)
    yield page
    page.context.close()


#: Put an instrument on a page as a host does: into the document, or into a shadow tree with its style sheet.
PUT = """([html, shaded]) => {
  const saved = new DOMParser().parseFromString(html, "text/html");
  const style = saved.querySelector("style").textContent.replace(/body *[{][^}]*[}]/g, "");
  const script = saved.querySelector("script[type=module]").textContent;
  const place = document.getElementById("place");
  const root = shaded ? place.attachShadow({ mode: "open" }) : place;
  root.innerHTML = `<style></style><div class="output"></div>`;
  root.firstChild.textContent = style;
  const module = new Blob([script.replace(/[^;]*getElementById[^;]*;\\s*$/, "") + ";window.show = "
    + /([\\w$]+)\\(JSON/.exec(script)[1]], { type: "text/javascript" });
  return import(URL.createObjectURL(module)).then(() => {
    window.show(JSON.parse(saved.getElementById("saved").textContent), root.querySelector(".output"));
  });
}"""


def put(page: Page, saved: str, body: str, *, shaded: bool = False) -> Locator:
    """The root of an instrument on a page whose body is `body`, which has an element of the id "place"."""
    page.goto("http://host.example/")
    page.evaluate("body => { document.body.outerHTML = body; }", body)
    page.evaluate(PUT, [saved, shaded])
    root = page.locator(".cs-root")
    expect(root).to_be_visible()
    return root


#: How well the text of an element is read on the ground of another: WCAG's contrast, of colours as a canvas draws them.
CONTRAST = """(text, ground) => {
  const point = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d");
  const luminance = (css) => {
    point.fillStyle = css;
    point.fillRect(0, 0, 1, 1);
    const [r, g, b] = [...point.getImageData(0, 0, 1, 1).data].map((byte) => {
      const one = byte / 255;
      return one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const both = [getComputedStyle(text).color, getComputedStyle(ground).backgroundColor].map(luminance);
  return (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05);
}"""


def contrast(text: Locator, ground: Locator) -> float:
    return float(text.first.evaluate(CONTRAST, ground.element_handle()))


#: Grounds, in every notation that there is; alone, one over the other, and beneath a picture.
GROUNDS = {
    "#111": "dark",
    "rgb(20 20 20)": "dark",
    "hsl(220deg 30% 12%)": "dark",
    "color(srgb 0.1 0.11 0.1)": "dark",
    "color(display-p3 0.1 0.1 0.1)": "dark",
    "oklch(0.25 0.02 250)": "dark",
    "lab(12 3 -8)": "dark",
    "color-mix(in oklab, black 90%, white)": "dark",
    "color(from #222 srgb r g b)": "dark",
    "linear-gradient(#111, #111) #151515": "dark",
    "color(srgb 0 0 0 / 0.85)": "dark",
    "midnightblue": "dark",
    "#fdf6e3": "light",
    "rgb(250, 250, 250)": "light",
    "color(srgb 1 1 1)": "light",
    "oklch(0.97 0.01 90)": "light",
    "lab(96 0 2)": "light",
    "oklab(0.95 0 0 / 95%)": "light",
    "color(srgb 0 0 0 / 0.05)": "light",
    "transparent": "light",
}

NAME = """css => {
  document.getElementById("ground").style.background = css;
  document.body.dataset.named = css;
}"""


@pytest.mark.parametrize("shaded", [False, True], ids=["in the page", "in a shadow tree"])
def test_an_instrument_is_as_dark_as_what_it_stands_on_in_whatever_that_is_written(page, saved, shaded):
    root = put(page, saved, '<body><div id="ground"><p></p><div id="place"></div></div></body>', shaded=shaded)
    for css, theme in GROUNDS.items():
        page.evaluate(NAME, css)
        expect(root, css).to_have_attribute("data-theme", theme)
        assert contrast(root, root) > 7, css
        assert contrast(root.locator(".cs-dim"), root) > 4.5, css


#: VS Code's themes: ground and text of its editor, the class of its body.
VSCODE = {
    "Dark Modern": ("#1f1f1f", "#cccccc", "vscode-dark", "dark"),
    "Light Modern": ("#ffffff", "#3b3b3b", "vscode-light", "light"),
    "Solarized Dark": ("#002b36", "#839496", "vscode-dark", "dark"),
    "Solarized Light": ("#fdf6e3", "#657b83", "vscode-light", "light"),
    "Monokai": ("#272822", "#f8f8f2", "vscode-dark", "dark"),
    "Dark High Contrast": ("#000000", "#ffffff", "vscode-high-contrast", "dark"),
    "Light High Contrast": ("#ffffff", "#292929", "vscode-high-contrast-light", "light"),
}

#: A cell's output in VS Code: widgets stand on white, and Jupyter's variables are those of its light theme.
OUTPUT = """<body class="{kind}" style="background: transparent; color: var(--vscode-editor-foreground)">
<style>.cell-output-ipywidget-background {{ background: white !important }}</style>
<div class="output_container" style="height: 500px; overflow: auto">
<div class="cell-output-ipywidget-background"><div id="place"></div><p id="beneath">words</p></div></div></body>"""

VARIABLES = """([ground, text]) => {
  const { style } = document.documentElement;
  for (const [name, value] of Object.entries({
    "--vscode-editor-background": ground, "--vscode-editor-foreground": text,
    "--vscode-font-family": "system-ui", "--jp-layout-color0": "white", "--jp-ui-font-color0": "rgba(0, 0, 0, 1)",
  })) style.setProperty(name, value);
}"""


@pytest.mark.parametrize("name", VSCODE)
def test_in_vs_code_ground_text_and_theme_are_of_one_theme(page, saved, name):
    ground, text, kind, theme = VSCODE[name]
    root = put(page, saved, OUTPUT.format(kind=kind))
    page.evaluate(VARIABLES, [ground, text])
    expect(root).to_have_attribute("data-theme", theme)
    assert contrast(root, root) > 4.5
    assert contrast(root.locator(".cs-dim"), root) > 4.5
    # What stands beside it in the output, as a chart and its words do, stands on the same: VS Code's own contrast.
    assert contrast(page.locator("#beneath"), page.locator(".cell-output-ipywidget-background")) > 4.1


def test_a_theme_that_is_changed_is_followed_and_one_that_cannot_be_read_is_not_taken(page, saved):
    root = put(page, saved, OUTPUT.format(kind="vscode-dark"))
    for ground, text, theme in [
        ("#1f1f1f", "#cccccc", "dark"),
        ("#ffffff", "#3b3b3b", "light"),
        ("color-mix(in srgb, black 80%, white)", "oklch(0.9 0 0)", "dark"),
        ("#1f1f1f", "#222222", "light"),  # text that nobody sees: the instrument's own colours, on white
    ]:
        page.evaluate(VARIABLES, [ground, text])
        expect(root).to_have_attribute("data-theme", theme)
        assert contrast(root, root) > 7


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_in_a_frame_that_lets_its_page_through_the_colour_of_text_tells(page, saved, theme):
    """As Colab's: each output has a frame of its own, whose ground is the notebook's."""
    root = put(page, saved, '<body><div id="place"></div></body>')
    dark = "html[theme=dark] { color: #d5d5d5 } body { color: inherit }"
    page.evaluate(
        "([css, theme]) => { document.head.append(Object.assign(document.createElement('style'), "
        "{ textContent: css })); document.documentElement.setAttribute('theme', theme); }",
        [dark, theme],
    )
    expect(root).to_have_attribute("data-theme", theme)
    assert contrast(root, root) > 7


#: Two outputs of one widget as Colab shows them: each in a frame, with a module of its own. What the kernel says goes
#: to both, with ArrayBuffers of another frame's making. The kernel's answers are those of a saved page.
FRAMES = """async ([front, style, html]) => {
  const saved = JSON.parse(new DOMParser().parseFromString(html, "text/html").getElementById("saved").textContent);
  const unpack = async (packed) => {
    const deflated = Uint8Array.from(atob(packed.slice(1)), (one) => one.charCodeAt(0));
    const stream = new Blob([deflated]).stream().pipeThrough(new DecompressionStream("deflate"));
    const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
    if (packed[0] === "d") for (let at = 3; at < bytes.length; at++) bytes[at] += bytes[at - 3];
    return bytes.buffer;
  };
  const traits = new Map(Object.entries(saved.state));
  const views = [];
  const tell = (event, ...said) => {
    for (const { handlers } of views) for (const run of [...(handlers.get(event) ?? [])]) run(...said);
  };
  const answer = async ({ kind, id, client, at }) => {
    const found = saved.answers.find(({ content }) => content.kind === kind);
    if (id === undefined || !found) return;
    const buffers = await Promise.all(found.buffers.map(unpack));
    tell("msg:custom", { ...structuredClone(found.content), kind, id, client, at, ok: true }, buffers);
  };
  const module = URL.createObjectURL(new Blob([front], { type: "text/javascript" }));
  for (const name of ["first", "second"]) {
    const frame = Object.assign(document.createElement("iframe"), { name, width: 600, height: 400 });
    frame.srcdoc = `<!doctype html><html theme="dark"><style>html[theme=dark] { color: #d5d5d5 }</style><body></body>`;
    const loaded = new Promise((done) => frame.addEventListener("load", done));
    document.body.append(frame);
    await loaded;
    const page = frame.contentDocument;
    page.head.append(Object.assign(page.createElement("style"), { textContent: style }));
    const handlers = new Map();
    const of = (event) => handlers.get(event) ?? handlers.set(event, new Set()).get(event);
    const changed = new Set();
    views.push({ handlers });
    const model = {
      get: (trait) => traits.get(trait),
      set: (trait, value) => { traits.set(trait, value); changed.add(trait); },
      save_changes: () => { for (const one of changed) tell(`change:${one}`); changed.clear(); },
      on: (event, run) => of(event).add(run),
      off: (event, run) => of(event).delete(run),
      send: (message) => void answer(structuredClone(message)),
      widget_manager: { create_view() {} },
    };
    const widget = await frame.contentWindow.eval("(url) => import(url)")(module);
    const el = page.body.appendChild(page.createElement("div"));
    await widget.default().render({ model, el, signal: new frame.contentWindow.AbortController().signal });
  }
}"""


def test_two_outputs_in_frames_of_their_own_are_views_of_one_widget(page: Page, saved: str) -> None:
    page.goto("http://host.example/")
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.evaluate(FRAMES, [_static.text("filters.js"), _static.text("convscope.css"), saved])
    frames = [page.frame_locator(f"iframe[name={name}]") for name in ("first", "second")]
    for frame in frames:
        expect(frame.locator(".cs-grid")).to_have_attribute("data-painted", re.compile(r"^0/"))
        expect(frame.locator(".cs-root")).to_have_attribute("data-theme", "dark")
        expect(frame.locator(".cs-error")).to_have_count(0)
    frames[0].get_by_label("Order").select_option("index")
    expect(frames[1].get_by_label("Order")).to_have_value("index")
    assert not problems


def test_the_wheel_stays_in_a_grid_that_scrolls(page, saved):
    """A host that scrolls by itself hears of every turn of the wheel but those that move something inside."""
    root = put(page, saved, '<body style="height: 3000px"><div id="place" style="height: 3000px"></div></body>')
    page.evaluate("() => { window.told = 0; window.addEventListener('wheel', () => { window.told += 1; }); }")
    scroller = root.locator(".cs-grid")
    scroller.evaluate("one => { one.style.height = one.style.maxHeight = '40px'; }")
    scroller.hover()
    page.mouse.wheel(0, 5)
    page.wait_for_function("one => one.scrollTop > 0", arg=scroller.element_handle())
    assert page.evaluate("() => window.told") == 0
    root.locator(".cs-tools").first.hover()
    page.mouse.wheel(0, 5)
    page.wait_for_function("() => window.told > 0")


class WithoutBqplot:
    """A browser that gets nothing of bqplot's front end, as where that is not installed beside JupyterLab."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser

    def new_context(self, **options: Any) -> BrowserContext:
        context = self._browser.new_context(**options)
        context.route(re.compile(r"/extensions/(bqplot|bqscales)/"), lambda route: route.abort())
        return context


@pytest.mark.slow
def test_a_chart_whose_front_end_is_missing_is_drawn_by_the_instrument(lab: Lab, browser: Browser) -> None:
    panel = "cs.UnitPanel(net, survey=survey)"
    book = Notebook.open(lab, cast("Browser", WithoutBqplot(browser)), [SETUP, panel])
    book.run_all()
    expect(book.cell(1).locator(".cs-histogram")).to_be_visible()
    assert book.page.locator(".bqplot").count() == 0
    book.close()
