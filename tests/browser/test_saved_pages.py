"""Saved pages: whatever one does on them, nothing is shown under the name of something else, and nothing fails."""

from __future__ import annotations

import atexit
import re
import shutil
from functools import lru_cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from playwright.sync_api import Browser, Page, Route, expect
from torch import nn

import convscope as cs
from test_instruments import open_more

FOLDER = "of-a-person"
CLASSES = [f"class {index}" for index in range(5)]


def network() -> cs.Network:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 8, 5, stride=2), nn.ReLU(), nn.Conv2d(8, 12, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    return cs.Network(nn.Sequential(*module, nn.Linear(12, 5)).eval(), labels=CLASSES, input_size=48, name="small")


@lru_cache
def pictures() -> list[Path]:
    """Twelve files, in a folder of which no page may tell."""
    folder = Path(mkdtemp(prefix=FOLDER))
    atexit.register(shutil.rmtree, folder)
    for seed in range(12):
        pixels = np.random.default_rng(seed).integers(0, 256, (48, 48, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{seed:02}.png")
    return sorted(folder.iterdir())


def surveyed(net: cs.Network) -> Any:
    return cs.survey(net, pictures(), progress=False)


def patterned(net: cs.Network) -> Any:
    return cs.fit_patterns(net, pictures(), progress=False)


def mapped(net: cs.Network) -> Any:
    maps = cs.OcclusionMap(net, pictures()[0], size=16, stride=8)
    assert maps.wait(60)
    return maps


def explained(net: cs.Network) -> Any:
    gallery = cs.Gallery(net, pictures()[:2], methods=["gradient", "input_times_gradient"])
    assert gallery.wait(60)
    return gallery


def corresponding(net: cs.Network) -> Any:
    points = [(20, 20), (30, 9), (12, 40), None]
    widget = cs.Correspondence(net, pictures()[:4], points=points, places=4, permutations=20)
    assert widget.wait(60)
    return widget


def compared(net: cs.Network) -> Any:
    torch.manual_seed(1)
    module = nn.Sequential(nn.Conv2d(3, 6, 7), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5))
    other = cs.Network(module.eval(), labels=CLASSES, input_size=32, name="other")
    view = cs.Compare(net, other, pictures())
    assert view.wait(60)
    return view


INSTRUMENTS = {
    "Correspondence": corresponding,
    "Explorer": lambda net: cs.Explorer(net, pictures(), survey=surveyed(net), layer="2", selected=3),
    "UnitPanel": lambda net: cs.UnitPanel(net, survey=surveyed(net), layer="2", channel=3),
    "FilterGrid": lambda net: cs.FilterGrid(net, pictures()[0], survey=surveyed(net), layer="2"),
    "FilterGrid of patches": lambda net: cs.FilterGrid(
        net, pictures()[0], survey=surveyed(net), layer="2", lens="patch"
    ),
    "Compare": compared,
    "Occluder": lambda net: cs.Occluder(net, pictures()[0], size=10),
    "OcclusionMap": mapped,
    "Gallery": explained,
    "HealthView": lambda net: cs.HealthView(net, surveyed(net)),
    "PatternReport": lambda net: cs.PatternReport(net, patterned(net)),
}

#: What is said to be shown, and what is: the unit's name, its facts, and the patches; the layer, and its tiles.
SHOWN = """root => {
  const pixels = (canvas) => canvas.width && canvas.height ? canvas.toDataURL() : "";
  const all = (selector, of) => [...root.querySelectorAll(selector)].map(of);
  const words = (selector) => all(selector, (element) => element.textContent);
  return {
    title: words(".cs-unit__title"),
    facts: words(".cs-unit__facts"),
    patches: all("[aria-label='Top patches'] canvas", pixels),
    layer: all("[role=option][data-layer][aria-selected=true]", (element) => element.dataset.layer),
    filters: words(".cs-grid__foot"),
    picture: all("[data-picture][aria-current=true]", (element) => element.dataset.picture),
    address: all(".cs-address", (element) => element.value),
    lens: all("[aria-label=Lens] [aria-checked=true]", (element) => element.dataset.value),
    cell: words(".cs-cka__rows [data-chosen], .cs-cka__columns [data-chosen]"),
    pairs: all("[data-units]", (element) => element.dataset.units),
    pairShow: all("[aria-label='What is shown of them'] [aria-checked=true]", (element) => element.dataset.value),
    pairOrder: all("[aria-label='Which pairs first'] [aria-checked=true]", (element) => element.dataset.value),
  };
}"""

#: Click, point and press at everything there is, three times over, and choose every option.
USE = """async (root) => {
  const settled = () => new Promise((go) => requestAnimationFrame(() => setTimeout(go)));
  const there = "button, select, input, canvas, [data-layer], [role=grid], [role=row], [role=option], [tabindex]";
  for (let round = 0; round < 3; round++) {
    for (const element of root.querySelectorAll(there)) {
      if (!element.isConnected || !element.checkVisibility() || element.closest("[inert]")) continue;
      if (element.closest(".cs-error")) continue;  // what is wrong stays to be seen
      const box = element.getBoundingClientRect();
      const at = (part) => ({
        clientX: box.left + part * box.width, clientY: box.top + part * box.height,
        bubbles: true, button: 0, pointerId: 1,
      });
      for (const part of [0.2, 0.5, 0.8]) {
        element.dispatchEvent(new PointerEvent("pointermove", at(part)));
        element.dispatchEvent(new PointerEvent("pointerdown", at(part)));
        element.dispatchEvent(new PointerEvent("pointerup", at(part)));
        if (!element.disabled) element.dispatchEvent(new MouseEvent("click", at(part)));
      }
      for (const key of ["ArrowRight", "ArrowDown", "End", "Enter", " "]) {
        if (!element.disabled) element.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
      }
      if (element.tagName === "SELECT" && !element.disabled) {
        for (const option of element.options) {
          if (option.disabled) continue;
          element.value = option.value;
          element.dispatchEvent(new Event("change", { bubbles: true }));
        }
      }
      if (element.type === "search") {
        for (const value of ["5", "class 1", "2-4, 6", ""]) {
          element.value = value;
          element.dispatchEvent(new Event("input", { bubbles: true }));
          element.dispatchEvent(new Event("change", { bubbles: true }));
        }
      }
    }
    await settled();
  }
}"""


#: Controls that cannot act, and do not look so; classes with their numbers are to be read.
BOLD = """(root) => [...root.querySelectorAll(":disabled, [inert] :is(button, input, select)")]
  .filter((one) => !one.matches("option, .cs-class, .cs-explained__class"))
  .filter((one) => one.checkVisibility())
  .filter((one) => {
    let opacity = 1;
    for (let at = one; at && at !== root; at = at.parentElement) opacity *= getComputedStyle(at).opacity;
    return opacity > 0.5;
  })
  .map((one) => one.outerHTML)"""

#: A page that a strict host serves: nothing is fetched, no script runs but what stands in it, pictures come as data.
POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:"


def served(browser: Browser, page_file: Path, **options: Any) -> Page:
    page = browser.new_context(viewport={"width": 1280, "height": 1000}, **options).new_page()
    page.route(
        "**/*",
        lambda route: (
            route.fulfill(path=page_file, headers={"content-type": "text/html", "content-security-policy": POLICY})
            if route.request.url == "http://saved.example/"
            else route.abort()
        ),
    )
    return page


def opened(browser: Browser, page_file: Path, problems: list[str]) -> Page:
    page = served(browser, page_file)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: message.type == "error" and problems.append(message.text))
    page.goto("http://saved.example/")
    expect(page.locator(".cs-root")).to_be_visible()
    return page


@pytest.mark.parametrize("name", INSTRUMENTS)
def test_whatever_is_done_on_a_saved_page_nothing_goes_by_another_name(browser: Browser, tmp_path: Path, name: str):
    instrument = INSTRUMENTS[name](network())
    assert FOLDER not in instrument.to_html(tmp_path / "saved.html")
    instrument.close()
    problems: list[str] = []
    page = opened(browser, tmp_path / "saved.html", problems)
    root = page.locator(".cs-root")
    if name in ("Explorer", "UnitPanel"):
        expect(root.locator("[aria-label='Top patches'] .cs-patch")).to_have_count(9)
        expect(root.locator(".cs-unit__title")).to_have_text("unit 3")
    if name == "Explorer" or name.startswith("FilterGrid"):
        expect(root.locator(".cs-grid")).to_have_attribute("data-painted", re.compile("^2/"))
    if name in ("Explorer", "Occluder", "Compare"):
        expect(root.locator(".cs-probabilities").last).to_have_attribute("data-position", re.compile("^[0-9]"))
    if name == "Compare":
        expect(root.locator("[data-units]").first).to_be_visible()
        expect(root.locator(".cs-cka__columns [data-chosen]")).to_have_count(1)
    if name == "Explorer":
        expect(root.get_by_role("heading", name="On this picture")).to_be_visible()
    assert root.locator(".cs-error").all_inner_texts() == []
    assert root.evaluate(BOLD) == []
    before = root.evaluate(SHOWN)
    root.evaluate(USE)
    after = root.evaluate(SHOWN)
    assert after == before
    assert root.locator(".cs-error").all_inner_texts() == []
    assert root.locator(".cs-is-stale:visible").count() == 0
    assert problems == []
    page.context.close()


def test_on_a_saved_explorer_what_needs_a_kernel_is_off(browser: Browser, tmp_path: Path):
    instrument = INSTRUMENTS["Explorer"](network())
    instrument.to_html(tmp_path / "saved.html")
    page = opened(browser, tmp_path / "saved.html", [])
    root = page.locator(".cs-root")
    expect(root.locator("button.cs-layer[data-layer='2']")).to_be_enabled()
    expect(root.locator("button.cs-layer[data-layer='0']")).to_be_disabled()
    expect(root.locator("button.cs-thumbnail[data-picture='4']")).to_be_disabled()
    expect(root.get_by_role("button", name="Add pictures")).to_be_hidden()
    expect(root.locator("[aria-label=Lens] [role=radio]:visible")).to_have_text(["activation"])
    assert root.locator(".cs-address").evaluate("field => field.readOnly")
    assert root.get_by_label("Shape").evaluate("(one) => one.closest('[inert]') !== null")
    expect(root.locator(".cs-occluder__grip")).to_be_hidden()
    expect(root.locator(".cs-class").first).to_be_disabled()
    expect(root.locator(".cs-picture")).to_have_css("cursor", "default")
    # What the page can do by itself goes on.
    root.get_by_label("Order").select_option("index")
    open_more(root.locator(".cs-filters"))
    root.get_by_label("Colours of the tiles").select_option("magma")
    expect(root.locator(".cs-grid")).to_have_attribute("data-painted", "2/activation/magma/unit")
    root.locator(".cs-search").fill("5-7")
    expect(root.locator(".cs-grid")).to_have_attribute("aria-rowcount", "1")
    page.context.close()
    instrument.close()


def test_without_scripts_a_saved_page_shows_a_picture(browser: Browser, tmp_path: Path):
    instrument = INSTRUMENTS["Occluder"](network())
    instrument.to_html(tmp_path / "saved.html", title='a "title" <of> its own')
    page = served(browser, tmp_path / "saved.html", java_script_enabled=False)
    page.goto("http://saved.example/")
    expect(page.get_by_role("img", name='a "title" <of> its own')).to_be_visible()
    expect(page.locator("noscript p")).to_be_visible()
    page.context.close()
    instrument.close()


#: What MyST's theme does with an `{anywidget}`: it imports a module and renders its default export in a shadow tree,
#: with a model that has the directive's JSON and no kernel.
AS_MYST = """async (times) => {
  const { default: widget } = await import("/instrument.mjs");
  const not = (name) => () => { throw new Error(`MystAnyModel.${name} not implemented yet.`); };
  const model = { get: () => undefined, set() {}, on() {} };
  for (const name of ["off", "save_changes", "send"]) model[name] = not(name);
  for (let at = 0; at < times; at++) {
    const root = document.body.appendChild(document.createElement("div")).attachShadow({ mode: "open" });
    const el = root.appendChild(document.createElement("div"));
    await widget.initialize?.({ model });
    await widget.render({ model, el });
  }
}"""


def test_a_module_draws_itself_wherever_it_is_rendered(browser: Browser, tmp_path: Path):
    instrument = INSTRUMENTS["FilterGrid"](network())
    module = instrument.to_module(tmp_path / "grid.mjs")
    assert (tmp_path / "grid.mjs").read_text("utf-8") == module
    assert FOLDER not in module
    instrument.close()
    problems: list[str] = []
    page = browser.new_context().new_page()
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: message.type == "error" and problems.append(message.text))

    def serve(route: Route) -> None:
        if route.request.url.endswith("/instrument.mjs"):
            route.fulfill(body=module, content_type="text/javascript")
        else:
            route.fulfill(body="<!doctype html><body style='background: #111'>", content_type="text/html")

    page.route("http://saved.example/**", serve)
    page.goto("http://saved.example/")
    page.evaluate(AS_MYST, 2)
    roots = page.locator(".cs-root")
    expect(roots).to_have_count(2)
    for root in roots.all():
        expect(root.locator(".cs-grid")).to_have_attribute("data-painted", re.compile("^2/"))
        expect(root).to_have_attribute("data-theme", "dark")
        expect(root).to_have_css("background-color", "rgb(23, 25, 28)")
    # Each is a view of its own.
    roots.first.get_by_label("Order").select_option("index")
    expect(roots.last.get_by_label("Order")).to_have_value("strongest")
    assert problems == []
    page.context.close()


def test_on_a_saved_page_it_is_said_where_one_clicks_what_to_do(browser: Browser, tmp_path: Path):
    instrument = INSTRUMENTS["Explorer"](network())
    instrument.to_html(tmp_path / "saved.html")
    problems: list[str] = []
    page = opened(browser, tmp_path / "saved.html", problems)
    root, tip = page.locator(".cs-root"), page.locator(".cs-refusal")
    expect(root.locator(".cs-grid")).to_have_attribute("data-painted", re.compile("^2/"))
    expect(tip).to_be_hidden()
    asked = [
        root.locator(".cs-grid"),
        root.locator("button.cs-layer[data-layer='0']"),
        root.locator("button.cs-thumbnail[data-picture='4']"),
        root.locator(".cs-picture"),
        root.get_by_role("button", name="silence", exact=True),
    ]
    for one in asked:
        box = one.bounding_box()
        assert box
        x, y = box["x"] + box["width"] - 6, box["y"] + 6
        page.mouse.click(x, y)
        expect(tip).to_have_text(re.compile("^This page was saved without a kernel: open its notebook"))
        there = tip.bounding_box()
        assert there
        assert abs(there["y"] - y) < 100
        assert there["x"] - 4 <= x <= there["x"] + there["width"] + 4
        root.locator(".cs-heading").first.click(position={"x": 2, "y": 2})
        expect(tip).to_be_hidden()
    root.locator(".cs-grid").focus()
    page.keyboard.press("ArrowRight")
    expect(tip).to_be_visible()
    # What the page can do by itself is done without a word.
    root.get_by_label("Order").select_option("index")
    page.keyboard.press("Tab")
    expect(tip).to_be_hidden()
    assert problems == []
    page.context.close()
    instrument.close()
