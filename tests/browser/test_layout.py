"""What every instrument owes whoever looks at it: a word for each control, words that are whole, no bar without use."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

from test_instruments import SMALL

WORKSHOP = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[1] / "widgets")!r})
import widget_harness
shop = widget_harness.Workshop()
"""

#: Numbers of the instruments, all that there are.
ALL = range(12)
WIDTHS = (1280, 700, 390)

SETTLED = """() => [...document.querySelectorAll(".cs-is-stale, .cs-is-loading, [aria-busy=true]")]
  .every((one) => one.getClientRects().length === 0)"""

# A word is two letters, or a number. A picture needs none, and everybody knows the sign that takes things off.
CAPTIONS = """(root) => {
  const seen = (one) => one.getClientRects().length > 0 && getComputedStyle(one).visibility === "visible";
  const words = (one, without) => {
    const walk = document.createTreeWalker(one, NodeFilter.SHOW_TEXT);
    let found = "";
    while (walk.nextNode()) {
      const { parentElement: around, data } = walk.currentNode;
      const hidden = around.closest("option, select, .cs-visually-hidden, [hidden]") || without?.contains(around);
      if (!hidden && seen(around)) found += ` ${data}`;
    }
    return /\\p{L}{2}|\\d/u.test(found);
  };
  const speaks = (one) =>
    one.matches("button, summary") && (words(one) || one.querySelector("canvas") || one.textContent === "×");
  const FIELDS = "label, .cs-tools__field, .cs-zoom, .cs-slide, .cs-scrubber, .cs-addressed";
  return [...root.querySelectorAll("button, summary, input, select, [role=radiogroup]")]
    .filter((one) => seen(one) && !one.matches("[role=radio], [type=file]") && !speaks(one))
    .filter((one) => {
      const field = one.parentElement.closest(FIELDS);
      return !field || !root.contains(field) || !words(field.closest(".cs-tools__field") ?? field, one);
    })
    .map((one) => `${one.tagName} ${one.getAttribute("aria-label") ?? one.title ?? one.className}`);
}"""

# Text that does not fit is whole in the title of what it is in.
CUT = """(root) => {
  const context = document.createElement("canvas").getContext("2d");
  const wide = (one, text) => {
    const { font, letterSpacing } = getComputedStyle(one);
    context.font = font;
    return context.measureText(text).width + (parseFloat(letterSpacing) || 0) * text.length;
  };
  const seen = (one) => one.getClientRects().length > 0 && !one.closest(".cs-visually-hidden");
  const told = (one, text) => {
    for (let up = one, step = 0; up && step < 4; up = up.parentElement, step += 1) {
      if ((up.title || up.getAttribute("aria-label") || "").includes(text.trim())) return true;
    }
    return false;
  };
  const found = [];
  for (const one of root.querySelectorAll("*")) {
    if (!seen(one)) continue;
    const { overflowX, paddingLeft, paddingRight } = getComputedStyle(one);
    const room = one.clientWidth - parseFloat(paddingLeft) - parseFloat(paddingRight);
    if (one.matches("select")) {
      const text = one.selectedOptions[0]?.textContent ?? "";
      // Its arrow needs some of the room.
      if (wide(one, text) > room - 14) found.push(`select: ${text}`);
    } else if (one.matches("input[type=text], input[type=search]")) {
      if (one.placeholder && wide(one, one.placeholder) > room) found.push(`placeholder: ${one.placeholder}`);
    } else if (["hidden", "clip"].includes(overflowX) && one.scrollWidth > one.clientWidth + 1) {
      const own = [...one.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
      if (own && !told(one, one.textContent)) found.push(`${one.className}: ${one.textContent}`);
    }
  }
  return found;
}"""

# Lines of tools, which push down what they are for: three at most; on a page as narrow as a hand one more where
# there is the choice of four lenses.
ROWS = """(root, most) => [...root.querySelectorAll(".cs-tools")].flatMap((tools) => {
  const boxes = [...tools.children].flatMap((one) => [...one.getClientRects()]).filter(({ width }) => width > 0);
  const [top, bottom] = [Math.min(...boxes.map((box) => box.top)), Math.max(...boxes.map((box) => box.bottom))];
  const lines = Math.round((bottom - top + 8) / 32);
  return lines > most ? [`${lines} lines: ${tools.textContent}`] : [];
})"""

# Beyond the edge nobody can look; what scrolls by itself may be longer.
BEYOND = """(root) => {
  const edge = root.getBoundingClientRect().right + 1;
  const scrolls = (one) => {
    for (let up = one.parentElement; up && up !== root; up = up.parentElement) {
      if (getComputedStyle(up).overflowX !== "visible") return true;
    }
    return false;
  };
  return [...root.querySelectorAll("*")]
    .filter((one) => one.getClientRects().length && one.getBoundingClientRect().right > edge && !scrolls(one))
    .filter((one) => !one.closest(".cs-visually-hidden, .cs-occluder, .cs-ghost, .cs-tip, .bqplot"))
    .map((one) => `${one.tagName} ${one.className}`);
}"""

# A few pixels more than there is room for: a bar that leads nowhere, on the instrument or what JupyterLab puts around.
EMPTY_BARS = """(output) => [output, ...output.querySelectorAll("*")].flatMap((one) => {
  const { overflowX, overflowY } = getComputedStyle(one);
  const more = { X: one.scrollWidth - one.clientWidth, Y: one.scrollHeight - one.clientHeight };
  return [["X", overflowX], ["Y", overflowY]]
    .filter(([axis, how]) => how === "scroll" || (how === "auto" && more[axis] > 0 && more[axis] < 8))
    .map(([axis]) => `${axis} of ${one.tagName} ${one.className}: ${more[axis]} px`);
})"""


@pytest.mark.slow  # every instrument at every width
def test_every_control_says_in_sight_what_it_is_for_and_nothing_is_cut(notebook):  # type: ignore[no-untyped-def]
    cells = [f"name = list(shop.make)[{number}]; w{number} = shop.make[name](shop.net); w{number}" for number in ALL]
    book = notebook(WORKSHOP, *cells)
    names = book.value("list(shop.make)")
    assert len(names) == len(ALL)
    book.run("\n".join(f"w{number}.wait(60)" for number in ALL))
    for number in ALL:
        root = book.cell(1 + number).locator(".cs-root")
        root.scroll_into_view_if_needed()
        expect(root).to_be_visible()
    faults: dict[str, list[str]] = {}
    walked = 0
    for width in WIDTHS:
        book.page.set_viewport_size({"width": width, "height": 1000})
        for number, name in enumerate(names):
            output = book.cell(1 + number).locator(".jp-OutputArea-output").first
            root = output.locator(".cs-root")
            root.scroll_into_view_if_needed()
            book.wait_for(SETTLED)
            menus = root.locator("details.cs-more > summary:visible")
            for menu in menus.all():
                menu.click()
                expect(root.locator("details.cs-more[open]")).to_have_count(1)
                faults[f"{name}, menu, {width}"] = root.evaluate(CAPTIONS) + root.evaluate(BEYOND)
                menu.press("Escape")
                expect(root.locator("details.cs-more[open]")).to_have_count(0)
            walked += root.locator("button, input, select").count()
            faults[f"{name}, captions, {width}"] = root.evaluate(CAPTIONS)
            faults[f"{name}, cut, {width}"] = root.evaluate(CUT)
            faults[f"{name}, beyond the edge, {width}"] = root.evaluate(BEYOND)
            most = 4 if width == 390 and name in ("Explorer", "FilterGrid") else 3
            faults[f"{name}, tools, {width}"] = root.evaluate(ROWS, most)
            faults[f"{name}, empty bars, {width}"] = output.evaluate(EMPTY_BARS)
    assert walked > 300
    said = [f"{what}: {one}" for what, found in faults.items() for one in found]
    assert not said, "\n".join(said)


def test_an_error_stands_with_what_it_is_of(notebook):  # type: ignore[no-untyped-def]
    """Where a person looks: the instruments are higher than a page, and at their end nobody sees it."""
    kinds = {
        "Gallery": {"rows": "table", "tiles": "table"},
        "HealthView": {"units": "health"},
        "Evolution": {"winners": "cells", "cells": "cells", "unit": "unit"},
        "Correspondence": {"views": "pictures", "covered": "pictures"},
    }
    book = notebook(WORKSHOP, *(f"{name} = shop.make[{name!r}](shop.net); {name}" for name in kinds))
    for number, (name, places) in enumerate(kinds.items(), 1):
        root = book.cell(number).locator(".cs-root")
        book.rest()  # an answer takes the error of its kind away
        for kind, place in places.items():
            book.run(f"{name}._guarded({kind!r}, lambda: 1 / 0)")
            expect(root.locator(f".cs-pane--{place} .cs-error")).to_contain_text("ZeroDivisionError")
            root.get_by_role("button", name="Dismiss").click()
            expect(root.locator(".cs-error")).to_have_count(0)


def test_what_is_looked_for_is_found(notebook):  # type: ignore[no-untyped-def]
    """The walks find what they are for: a control without a word, words that are cut, what sticks out, an empty bar."""
    book = notebook(SMALL, "w = cs.Occluder(net, pictures[0], size=16); w")
    root = book.cell(1).locator(".cs-root")
    expect(root.locator(".cs-probabilities")).to_have_attribute("data-position", "24,24")
    assert [root.evaluate(one) for one in (CAPTIONS, CUT, BEYOND, EMPTY_BARS)] == [[], [], [], []]
    root.evaluate(
        """(root) => {
          const add = (html) => root.insertAdjacentHTML("beforeend", html);
          add("<button>−</button><select><option>grey</option></select>");
          add("<div class='cut' style='width:30px;overflow:hidden;white-space:nowrap'>cut in the middle</div>");
          add("<select class='narrow' style='width:40px'><option>a long choice</option></select>");
          add("<div style='overflow:visible'><i style='position:absolute;left:9999px;width:9px;height:9px'></i></div>");
          add("<div class='bar' style='width:50px;overflow-x:auto'><div style='width:53px;height:9px'></div></div>");
        }"""
    )
    assert len(root.evaluate(CAPTIONS)) == 3
    assert root.evaluate(CUT) == ["cut: cut in the middle", "select: a long choice"]
    assert len(root.evaluate(BEYOND)) == 1
    assert len(root.evaluate(EMPTY_BARS)) == 1
