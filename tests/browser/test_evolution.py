"""The evolution of units as a person uses it: cells, slider, a training that is watched, a saved page."""

from __future__ import annotations

import json
import re
from pathlib import Path

from playwright.sync_api import expect

from test_surveys import saves

# Units whose winners are known: 0 looks for red throughout, 1 for green and, at the last checkpoint, for blue, 2 is
# dead from the second checkpoint on.
TRAINED = """
import convscope as cs, torch
from PIL import Image
from torch import nn
module = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(768, 2))
recorder = cs.EvolutionRecorder(module, at=(1, 2, 3), input_size=32, name="colours")
def train(epoch):
    wanted = [(0,), (1,) if epoch < 3 else (2,), (2,) if epoch < 2 else ()]
    with torch.no_grad():
        module[0].weight.zero_()
        module[0].bias.fill_(-0.1)
        for unit, colours in enumerate(wanted):
            for colour in colours:
                module[0].weight[unit, colour] = 1.0 + 0.1 * epoch
    recorder.step(epoch=epoch)
pictures = []
for place, name in enumerate(("red", "green", "blue")):
    for step in range(4):
        colour = [8, 8, 8]
        colour[place] = 100 + 30 * step
        pictures.append(cs.Picture(Image.new("RGB", (32, 32), tuple(colour)), f"{name} {step}", name, None))
"""
WHOLE = (
    TRAINED
    + """
for epoch in (1, 2, 3):
    train(epoch)
result = cs.evolution(recorder, pictures, progress=False)
"""
)
#: A place in the first cell: beneath and beside the margins.
FIRST_CELL = {"x": 110, "y": 40}


def test_a_unit_and_a_checkpoint_are_chosen_by_pointer_and_keys_in_every_view(notebook):  # type: ignore[no-untyped-def]
    book = notebook(WHOLE, "w = cs.Evolution(result, layer='0', order='index'); w", "w")
    root = book.cell(1).locator(".cs-root")
    grid, cell = root.locator(".cs-evolution__scroller"), root.locator("[role=gridcell]")
    slider, other = root.get_by_label("Checkpoint"), book.cell(2).locator(".cs-root").get_by_label("Checkpoint")
    expect(grid).to_have_attribute("aria-colcount", "3")
    expect(grid).to_have_attribute("aria-rowcount", "3")
    expect(cell).to_contain_text("unit 0 · epoch 3")
    grid.click(position=FIRST_CELL)
    book.reaches("[w.selected, w.checkpoint]", [0, 0])
    expect(cell).to_contain_text("epoch 1 · 0.")
    expect(cell).to_contain_text("red")
    grid.press("ArrowDown")
    grid.press("End")
    book.reaches("[w.selected, w.checkpoint]", [1, 2])
    expect(cell).to_contain_text("blue · jump: another picture than at epoch 2")
    grid.press("ArrowDown")
    expect(cell).to_contain_text("unit 2 · epoch 3 · inactive")
    expect(root.locator(".cs-moment")).to_have_text("epoch 3")
    slider.focus()
    slider.press("ArrowLeft")
    book.reaches("w.checkpoint", 1)
    for one in (slider, other):
        expect(one).to_have_attribute("aria-valuetext", "epoch 2, 2 of 3")
    book.run("w.selected, w.checkpoint = 1, 0")
    expect(other).to_have_attribute("aria-valuetext", "epoch 1, 1 of 3")
    expect(root.locator(".cs-unit__title")).to_have_text("unit 1")
    # Of all pictures the greenest excites it most, and it is the first of the patches.
    expect(root.get_by_role("listbox", name="Top patches").get_by_role("option").first).to_have_attribute(
        "data-image", str(book.value("int(result.winners('0').image[0, 1])"))
    )
    expect(root.locator(".cs-code")).to_have_text("w.explorer(epoch=1)")
    # A search for what there is not says what there is.
    search = root.get_by_label("Find units by number")
    search.fill("4711")
    expect(root.locator(".cs-evolution__missing")).to_contain_text("No unit matches “4711”: this layer has units 0 to")
    search.fill("")
    expect(root.locator(".cs-evolution__missing")).to_be_empty()
    expect(root.locator(".cs-jump")).to_contain_text("% of the steps")
    search = root.locator(".cs-search")
    search.fill("2")
    expect(grid).to_have_attribute("aria-rowcount", "1")
    search.fill("")
    root.get_by_role("button", name="play").click()
    expect(slider).to_have_attribute("aria-valuetext", "epoch 3, 3 of 3")
    expect(root.get_by_role("button", name="play")).to_be_visible()
    book.reaches("w.checkpoint", 2)


def test_curves_follow_the_switch_and_lead_to_a_layer(notebook):  # type: ignore[no-untyped-def]
    book = notebook(WHOLE, "w = cs.Evolution(result, layer='0'); w")
    cell = book.cell(1)
    root = cell.locator(".cs-root")
    expect(cell.locator(".bqplot svg").first).to_be_visible()
    root.get_by_role("radio", name="CKA").click()
    book.reaches("w.curve", "cka")
    root.get_by_role("group", name="Lines").get_by_role("button", name="4").click()
    book.reaches("w.layer", "4")
    root.get_by_role("radio", name="picture").click()
    book.reaches("w.show", "crop")
    expect(root.get_by_role("radio", name="row")).to_be_hidden()
    saves(book, root, "the cells", "colours-epoch-3-evolution.png")
    saves(book, root, "all curves", "colours-epoch-3-curves.png")


def test_a_training_is_watched_as_it_goes_on(notebook):  # type: ignore[no-untyped-def]
    book = notebook(TRAINED, "w = cs.Evolution(recorder, pictures, layer='0'); w")
    root = book.cell(1).locator(".cs-root")
    live, grid = root.locator(".cs-live"), root.locator(".cs-evolution__scroller")
    expect(root.locator(".cs-empty").first).to_contain_text("No checkpoint yet")
    expect(live).to_have_text("live · 0 of 3 recorded")
    book.run("train(1)")
    expect(grid).to_have_attribute("aria-colcount", "3")  # with those to come
    expect(live).to_have_text("live · 1 of 3 recorded")
    expect(root.get_by_label("Checkpoint")).to_have_attribute("aria-valuetext", "epoch 1, 1 of 1")
    book.run("train(2)\ntrain(3)")
    expect(live).to_have_text("training ended, 3 of 3 recorded")
    expect(root.get_by_label("Checkpoint")).to_have_attribute("aria-valuetext", "epoch 3, 3 of 3")
    book.reaches("w.checkpoint", None)
    book.run("w.close()\nassert not recorder._observers")


def test_a_saved_page_plays_without_a_kernel(notebook, tmp_path: Path):  # type: ignore[no-untyped-def]
    book = notebook(WHOLE, "w = cs.Evolution(result, layer='0', order='index', rows=2); w")
    expect(book.cell(1).locator(".cs-evolution__scroller")).to_have_attribute("aria-rowcount", "2")
    page = tmp_path / "saved.html"
    book.run(f"w.to_html({json.dumps(str(page))})")
    saved = book.page.context.new_page()
    errors: list[str] = []
    saved.on("pageerror", lambda error: errors.append(str(error)))
    saved.goto(page.as_uri())
    root = saved.locator(".cs-root")
    slider, cell = root.get_by_label("Checkpoint"), root.locator("[role=gridcell]")
    expect(slider).to_have_attribute("aria-valuetext", "epoch 3, 3 of 3")
    for press, epoch in (("Home", 1), ("ArrowRight", 2)):
        slider.press(press)
        expect(cell).to_contain_text(f"epoch {epoch}")
        expect(root.get_by_role("listbox", name="Projections").get_by_role("option").first).to_be_visible()
        expect(root.locator(".cs-unit__content")).not_to_have_class(re.compile("cs-is-stale"))
    expect(root.locator(".cs-curves__drawing svg")).to_be_visible()
    expect(root.locator(".cs-error")).to_have_count(0)
    expect(root.locator(".cs-layer[data-layer='4']")).to_be_disabled()
    assert errors == []
    saved.close()


def test_cells_are_painted_as_wide_as_they_are_shown_after_a_change_of_theme(notebook):  # type: ignore[no-untyped-def]
    """JupyterLab hides its page for a part of a frame then, just when the cells were to be painted."""
    book = notebook(WHOLE, "w = cs.Evolution(result, layer='0'); w")
    scroller = book.cell(1).locator(".cs-evolution__scroller")
    expect(scroller).to_have_attribute("data-painted", re.compile("^0/both/"))
    fits = """() => {
      const canvas = document.querySelector(".cs-evolution__canvas");
      return canvas.clientWidth > 0 && canvas.width === canvas.clientWidth;
    }"""
    for theme in ("dark", "light"):
        book.theme(theme)
        book.wait_for(f"() => document.querySelector('.cs-root').dataset.theme === '{theme}'")
        book.wait_for(fits)


def test_a_chosen_unit_far_down_is_opened_at_with_whole_rows(notebook):  # type: ignore[no-untyped-def]
    setup = TRAINED + (
        "torch.manual_seed(0)\n"
        "module = nn.Sequential(nn.Conv2d(3, 40, 1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(10240, 2))\n"
        "recorder = cs.EvolutionRecorder(module, at=range(30), input_size=32, name='wide')\n"
        "for epoch in range(30): recorder.step(epoch=epoch)\n"
        "result = cs.evolution(recorder, pictures, progress=False)"
    )
    opened = "w = cs.Evolution(result, layer='0', order='index', rows=24, selected={}); w"
    book = notebook(setup, opened.format(0), opened.format(20))
    for cell, first in ((1, True), (2, False)):
        scroller = book.cell(cell).locator(".cs-evolution__scroller")
        expect(scroller).to_have_attribute("data-painted", re.compile("^0/both/"))
        rows = int(scroller.get_attribute("aria-rowcount") or 0)
        # In columns that have to be scrolled across, too.
        found = scroller.evaluate(
            "e => [e.scrollTop, e.clientHeight, e.scrollHeight, e.scrollWidth > e.clientWidth, e.clientWidth]"
        )
        above, seen, whole, across, _ = found
        step = (whole - 24) / rows
        assert across, found
        assert (above == 0) is first, found
        for length in (above, seen - 24, whole - above - seen):
            assert abs(length / step - round(length / step)) < 0.02, (found, step)
