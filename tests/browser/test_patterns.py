"""The report of a fit as a person uses it."""

from __future__ import annotations

from playwright.sync_api import expect

FITTED = """
import numpy as np, torch, convscope as cs
from torch import nn
torch.manual_seed(0)
module = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(576, 3))
with torch.no_grad():
    module[0].bias[2] = -100.0
net = cs.Network(module.eval(), input_size=16, name="small")
rng = np.random.default_rng(0)
pictures = [rng.integers(0, 256, (16, 16, 3), np.uint8) for _ in range(24)]
patterns = cs.fit_patterns(net, pictures, ("positive", "negative", "all"), few=2, progress=False)
quality = cs.signal_quality(net, patterns, pictures, samples=64, progress=False)
"""


def test_layers_are_chosen_and_filtered_by_mouse_and_keys(notebook):  # type: ignore[no-untyped-def]
    book = notebook(FITTED, "w = cs.PatternReport(net, patterns, quality); w")
    root = book.cell(1).locator(".cs-root")
    rows = root.locator(".cs-patterns__row[data-layer]")
    expect(rows).to_have_count(3)
    expect(root.locator(".cs-summary")).to_contain_text("on 24 pictures")
    first = rows.nth(0)
    expect(first).to_contain_text("5/6")
    expect(first).to_contain_text("1 dead")
    expect(first.locator(".cs-patterns__dot")).to_have_count(4)
    expect(book.cell(1).locator(".bqplot svg").first).to_be_visible()
    rows.nth(1).click()
    expect(rows.nth(1)).to_have_attribute("aria-selected", "true")
    book.reaches("w.layer", "2")
    rows.nth(1).press("ArrowUp")
    expect(first).to_be_focused()
    first.press("Enter")
    expect(root.locator(".cs-details")).to_contain_text("Quality ρ: random 0.")
    expect(root.locator(".cs-details .cs-units")).to_contain_text("1 dead: no sample")
    root.locator(".cs-units__unit").first.click()
    book.reaches("w.selected == patterns.report[0].dead[0]", True)
    book.reaches("w.layer", "0")
    ailing = book.value("[fit.layer for fit in patterns.report if fit.problems]")
    root.get_by_label("only layers with problems").check()
    expect(rows).to_have_count(len(ailing))
    book.reaches("w.only_problems", True)
    book.run("w.only_problems = False")
    expect(rows).to_have_count(3)


def test_numbers_stand_under_their_headings_on_every_page(notebook):  # type: ignore[no-untyped-def]
    book = notebook(FITTED, "w = cs.PatternReport(net, patterns, quality); w")
    root = book.cell(1).locator(".cs-root")
    expect(root.locator(".cs-patterns__row[data-layer]")).to_have_count(3)
    for width in (1280, 700, 390):
        book.page.set_viewport_size({"width": width, "height": 1000})
        head, *rows = root.evaluate(
            """(root) => [...root.querySelectorAll(".cs-patterns__row")].map((row) => [...row.children].map((one) => {
              const range = document.createRange();
              range.selectNodeContents(one);
              const { left, right, top, bottom } = range.getBoundingClientRect();
              return [left, right, top, bottom];
            }))"""
        )
        for row in rows:
            for heading, cell in zip(head, row, strict=True):
                if cell[1] > cell[0]:  # there is something in it
                    assert heading[0] < cell[1] + 8, f"{width} px: beside its heading"
                    assert cell[0] < heading[1] + 8, f"{width} px: beside its heading"
            there = [cell for cell in row if cell[1] > cell[0]]
            for at, one in enumerate(there):
                for other in there[:at]:
                    apart = one[0] >= other[1] - 1 or other[0] >= one[1] - 1
                    beneath = one[2] >= other[3] - 1 or other[2] >= one[3] - 1
                    assert apart or beneath, f"{width} px: over one another"


def test_beneath_a_chart_keys_open_its_numbers_and_are_no_shortcuts_of_the_host(notebook):  # type: ignore[no-untyped-def]
    book = notebook(FITTED, "cs.quality_chart(quality)")
    cell = book.cell(1)
    expect(cell.locator(".bqplot svg").first).to_be_visible()
    cell.locator("summary").focus()
    for key in ("Enter", "d", "d", "Tab", "m", "ArrowDown"):
        book.page.keyboard.press(key)
    expect(cell.locator("td")).to_have_count(12)  # of three layers and four estimators
    expect(cell.get_by_role("group", name="The numbers of the chart")).to_be_focused()
    expect(cell.locator(".bqplot svg").first).to_be_visible()
