"""Invariance as a person uses it: the slider by keys, what follows it, and a saved page."""

from __future__ import annotations

import json
from pathlib import Path

from playwright.sync_api import expect

from test_surveys import saves

# A network that tells bright from dark: its class does not depend on where anything is.
SETUP = """
import convscope as cs, numpy as np, torch
from torch import nn
torch.manual_seed(0)
module = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
net = cs.Network(module.eval(), input_size=32, labels=["dark", "bright"], name="small")
rng = np.random.default_rng(0)
pictures = [cs.Picture(rng.integers(0, 256, (32, 32, 3), np.uint8), f"picture {n}", None, None) for n in range(3)]
transforms = {"shift_x": [-8, 0, 8], "brightness": [0.5, 1, 1.5]}
"""


def test_the_slider_moves_the_picture_and_the_curves_follow(notebook):  # type: ignore[no-untyped-def]
    book = notebook(SETUP, "w = cs.Invariance(net, pictures, transforms, fill='wrap'); w")
    cell = book.cell(1)
    root = cell.locator(".cs-root")
    slider = root.get_by_label("How far")
    expect(root.locator(".cs-status__work")).to_contain_text("consistency of 3 pictures")
    expect(root.get_by_role("list", name="Consistency").get_by_role("listitem")).to_have_count(5)
    expect(cell.locator(".bqplot svg").first).to_be_visible()
    expect(slider).to_have_attribute("aria-valuetext", "0 px")
    saves(book, root, "the curves", "small-curves.png")
    slider.focus()
    slider.press("ArrowRight")
    slider.press("ArrowRight")
    book.reaches("w.value", 2)
    expect(slider).to_have_attribute("aria-valuetext", "2 px")
    # While the next picture is waited for, so is what is said of it: the numbers of the one before are faint.
    words = root.locator(".cs-moved")
    expect(words).to_have_css("opacity", "1")
    book.run("gate, answer = __import__('threading').Event(), type(w)._answer_moved")
    book.run("type(w)._answer_moved = lambda *a, **k: (gate.wait(60), answer(*a, **k))[1]")
    slider.press("ArrowRight")
    expect(words).to_have_css("opacity", "0.55")
    book.run("gate.set(); type(w)._answer_moved = answer")
    expect(words).to_have_css("opacity", "1")
    slider.press("ArrowLeft")
    book.reaches("w.value", 2)
    expect(root.get_by_role("group", name="Layers that are drawn").get_by_role("button").first).not_to_contain_text("–")
    book.run("w.value = -5")
    expect(slider).to_have_attribute("aria-valuetext", "−5 px")
    root.get_by_role("button", name="reset").click()
    book.reaches("w.value", 0)
    root.get_by_label("Transformation").select_option("brightness")
    book.reaches("[w.transform, w.value]", ["brightness", 1])
    expect(root.get_by_label("What comes in at the border")).to_be_hidden()
    root.get_by_role("radio", name="cosine").click()
    book.reaches("w.distance", "cosine")
    layer = root.get_by_role("group", name="Layers that are drawn").get_by_role("button").first
    layer.click()
    expect(layer).to_have_attribute("aria-pressed", "false")
    book.reaches("len(w.shown)", book.value("len(w._layers)") - 1)
    root.locator("[data-picture='2']").click()
    book.reaches("w.picture", 2)
    expect(root.locator(".cs-heading__name").first).to_have_text("picture 2")


def test_a_saved_page_moves_the_picture_without_a_kernel(notebook, tmp_path: Path):  # type: ignore[no-untyped-def]
    book = notebook(SETUP, "w = cs.Invariance(net, pictures, transforms, fill='wrap'); w")
    expect(book.cell(1).locator(".cs-status__work")).to_contain_text("consistency of 3 pictures")
    page = tmp_path / "saved.html"
    book.run(f"w.to_html({json.dumps(str(page))})")
    saved = book.page.context.new_page()
    errors: list[str] = []
    saved.on("pageerror", lambda error: errors.append(str(error)))
    saved.goto(page.as_uri())
    root = saved.locator(".cs-root")
    slider = root.get_by_label("How far")
    expect(root.locator(".cs-drawn-curve svg")).to_have_count(2)
    slider.press("End")
    expect(slider).to_have_attribute("aria-valuetext", "8 px")
    slider.press("Home")
    expect(slider).to_have_attribute("aria-valuetext", "−8 px")
    expect(root.locator(".cs-moved")).to_contain_text("as it is")
    expect(root.get_by_label("Transformation")).to_be_disabled()
    expect(root.locator(".cs-error")).to_have_count(0)
    assert errors == []
    saved.close()
