"""Correspondence as a person uses it: clicks and keys mark a part, the scores follow, and a saved page shows them."""

from __future__ import annotations

import json
from pathlib import Path

from playwright.sync_api import expect

from test_surveys import saves

SETUP = """
import convscope as cs, numpy as np, torch
from torch import nn
torch.manual_seed(0)
layers = [nn.Conv2d(3, 4, 5, 2, 2), nn.ReLU(), nn.Conv2d(4, 6, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1)]
module = nn.Sequential(*layers, nn.Flatten(), nn.Linear(6, 5))
net = cs.Network(module.eval(), input_size=32, name="small")
rng = np.random.default_rng(0)
pictures = [cs.Picture(rng.integers(0, 256, (32, 32, 3), np.uint8), f"picture {n}", None, None) for n in range(3)]
eye = [np.pad(np.ones((4, 4), bool), ((2 + n, 26 - n), (3, 25))) for n in range(3)]
"""
CALL = "cs.Correspondence(net, pictures, {'eye': eye}, size=6, part='nose', places=5, permutations=50)"


def test_clicks_and_keys_mark_a_part_and_the_scores_follow(notebook):  # type: ignore[no-untyped-def]
    book = notebook(SETUP, f"w = {CALL}; w")
    root = book.cell(1).locator(".cs-root")
    pictures = root.get_by_role("group", name="Pictures").get_by_role("application")
    rows = root.locator(".cs-parts tbody th")
    expect(rows).to_have_text(["eye", "random"])
    expect(pictures).to_have_count(3)
    box = pictures.nth(0).bounding_box()
    pictures.nth(0).click(position={"x": 10.5 * box["width"] / 32, "y": 20.5 * box["height"] / 32})
    book.reaches("w.points", [[20, 10], None, None])
    expect(root.locator(".cs-places__hint")).to_contain_text("two pictures at least")
    pictures.nth(1).focus()
    for key in ("ArrowDown", "ArrowRight", "Shift+ArrowLeft", "Enter"):
        pictures.nth(1).press(key)
    book.reaches("w.points", [[20, 10], [17, 7], None])
    expect(rows).to_have_text(["eye", "random", "nose", "random"])
    expect(root.locator(".cs-dots__dot")).to_have_count(2 * book.value("len(w.layers)"))
    root.get_by_role("radio", name="both changed").click()
    book.reaches("w.entries", "changed")
    root.get_by_role("button", name="eye", exact=True).click()
    book.reaches("w.shown", "eye")
    expect(root.locator(".cs-place__masks:visible")).to_have_count(3)
    root.get_by_role("button", name="keep, next part").click()
    book.reaches("[w.part, w.points, list(w.results)]", ["part 1", [None] * 3, ["eye", "nose"]])
    expect(root.get_by_role("button", name="nose", exact=True)).to_be_visible()
    slider = root.get_by_label("Size of the mask, pixels")
    slider.focus()
    slider.press("ArrowRight")
    book.reaches("w.size", 7)
    saves(book, root, "the scores", f"{book.value('w.net.name')}-scores.png")


def test_a_saved_page_shows_scores_and_masks_without_a_kernel(notebook, tmp_path: Path):  # type: ignore[no-untyped-def]
    book = notebook(SETUP, f"w = {CALL}; w.points = [(9, 9), (20, 20), None]; w")
    expect(book.cell(1).locator(".cs-parts tbody tr")).to_have_count(4)
    page = tmp_path / "saved.html"
    book.run(f"w.wait(); w.to_html({json.dumps(str(page))})")
    saved = book.page.context.new_page()
    errors: list[str] = []
    saved.on("pageerror", lambda error: errors.append(str(error)))
    saved.goto(page.as_uri())
    root = saved.locator(".cs-root")
    expect(root.locator(".cs-parts tbody tr")).to_have_count(4)
    root.get_by_role("button", name="eye", exact=True).click()
    expect(root.locator(".cs-place__masks:visible")).to_have_count(3)
    root.get_by_role("radio", name="both changed").click()
    expect(root.get_by_role("radio", name="both changed")).to_have_attribute("aria-checked", "true")
    expect(root.get_by_label("Size of the mask, pixels")).to_be_disabled()
    expect(root.locator(".cs-error")).to_have_count(0)
    assert errors == []
    saved.close()
