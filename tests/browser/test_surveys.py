"""Searching, filtering and looking at a unit in JupyterLab, on a survey with classes."""

from __future__ import annotations

import itertools
import re

import pytest
from playwright.sync_api import Locator, expect

# Filters whose answers are known: red, green, blue, red again, never, always.
COLOURS = """
import tempfile, pathlib, numpy as np, torch, convscope as cs
from PIL import Image
from torch import nn
conv = nn.Conv2d(3, 6, 1)
with torch.no_grad():
    conv.weight.zero_()
    conv.bias.zero_()
    for channel, colour in enumerate((0, 1, 2, 0)):
        conv.weight[channel, colour] = 1.0 if channel < 3 else 2.0
        conv.bias[channel] = -0.2 if channel < 3 else -0.4
    conv.bias[4], conv.bias[5] = -1.0, 7.0
module = nn.Sequential(conv, nn.ReLU6(), nn.Flatten(), nn.Linear(6 * 1024, 2)).eval()
net = cs.Network(module, input_size=32, name="colours")
root = pathlib.Path(tempfile.mkdtemp())
for place, name in enumerate(("red", "green", "blue")):
    (root / name).mkdir()
    for step in range(12):
        colour = [8, 8, 8]
        colour[place] = 100 + 10 * step
        Image.new("RGB", (32, 32), tuple(colour)).save(root / name / f"{step}.png")
survey = cs.survey(net, root, "0", progress=False)
"""


def saves(book, root: Locator, what: str, name: str) -> None:  # type: ignore[no-untyped-def]
    """A click on its button saves a figure under its name."""
    with book.page.expect_download() as saved:
        root.get_by_label(f"Save {what} as PNG").click()
    assert saved.value.suggested_filename == name
    assert saved.value.path().read_bytes().startswith(b"\x89PNG")


def test_units_are_found_by_class_and_filtered_by_health(notebook):  # type: ignore[no-untyped-def]
    book = notebook(COLOURS, "w = cs.FilterGrid(net, root / 'red/3.png', layer='0', survey=survey); w")
    root = book.cell(1).locator(".cs-root")
    search = root.locator(".cs-search")
    grid = root.locator(".cs-grid")
    expect(grid).to_have_attribute("aria-rowcount", "1")
    expect(root.locator("datalist option")).to_have_count(3)
    # A search that finds nothing says so; what can be found is promised, and no more.
    expect(search).to_have_attribute("placeholder", "unit, class")
    search.fill("purple")
    expect(root.locator(".cs-empty")).to_contain_text("“purple” names no unit, and no class")
    search.fill("77")
    expect(root.locator(".cs-empty")).to_have_text("No unit of this layer matches “77”: it has units 0 to 5.")
    # What is of before, and what is not there yet, say so in a word.
    words = root.evaluate(
        """(root) => ["cs-is-stale", "cs-is-loading"].map((name) => {
          const body = root.querySelector(".cs-grid__body");
          body.classList.add(name);
          const { content } = getComputedStyle(body, "::after");
          body.classList.remove(name);
          return content;
        })"""
    )
    assert words == ['"updating…"', '"loading…"']
    search.fill("green")
    search.press("Enter")
    chip = root.locator(".cs-found .cs-chip")
    expect(chip).to_have_count(1)
    expect(chip).to_contain_text("0 · 1")
    chip.click()
    book.reaches("[w.selected, w.label, w.order]", [1, "green", "class"])
    expect(root.locator("[role=gridcell]")).to_contain_text("unit 1")
    # The first tile is the unit that prefers the class.
    grid.focus()
    grid.press("Home")
    book.reaches("w.selected", 1)

    which = root.get_by_label("Which units")
    expect(which.locator("option[value=dead]")).to_have_text("inactive")  # of 36 pictures none is dead
    which.select_option("dead")
    grid.press("Home")
    expect(root.locator("[role=gridcell]")).to_contain_text(re.compile("unit 4 .* inactive"))
    book.reaches("w.selected", 4)
    which.select_option("repeated")
    grid.press("Home")
    grid.press("End")
    expect(root.locator("[role=gridcell]")).to_contain_text("repeats 0")
    book.reaches("[w.selected, w.show]", [3, "repeated"])
    which.select_option("rare")
    expect(root.locator(".cs-empty")).to_have_text("Rarely active units are told from 101 pictures on; here are 36.")

    book.run("w.show = 'all'; w.label = 'purple'")
    expect(root.locator(".cs-error")).to_contain_text("Expected a class of which images were surveyed")


#: A survey of which one pass is done, and which goes on when it is let.
GOES_ON = """
import threading
from convscope._job import Step
from convscope_core.survey import surveying
passes = surveying(net, cs.Images.of(root), ["0"], 3, batch_size=4)
w = cs.Explorer(net, root, survey=next(passes).survey, layer="0", selected=2)
go = threading.Event()
def steps():
    while not go.wait(0.01):
        yield Step(4, 36, fresh=False)
    for one in passes:
        w.survey = one.survey
        yield Step(one.done, one.total, fresh=True)
w._survey_job.start(steps(), 4, 36)
w
"""


def test_what_a_survey_finds_during_a_drag_is_shown_when_it_ends(notebook):  # type: ignore[no-untyped-def]
    book = notebook(COLOURS, GOES_ON)
    root = book.cell(1).locator(".cs-root")
    occluder, panel = root.locator(".cs-occluder"), root.locator(".cs-unit")
    expect(panel.locator(".cs-unit__parts")).to_contain_text("of 4 pictures")
    root.locator(".cs-probabilities[data-position]").wait_for()
    book.drag(occluder, -500, -500, steps=10, release=False)
    book.run("go.set()")
    # Results come while the hand is at work, and after it has rested.
    for x in (300, -300, 300):
        book.page.mouse.move(x, 200, steps=10)
    book.run("w.wait()")
    book.page.mouse.up()
    expect(root.locator(".cs-status__work")).to_contain_text("survey of 36 pictures")
    expect(panel.locator(".cs-unit__parts")).to_contain_text("of 36 pictures")
    shown = panel.locator("[aria-label='Top patches'] .cs-patch")
    best = book.value("[one.image for one in w.survey.top('0', 2)]")
    expect(shown).to_have_count(len(best))
    assert [int(one.get_attribute("data-image") or -1) for one in shown.all()] == best
    assert (
        panel.locator("[aria-label='Projections'] .cs-patch").evaluate_all(
            "(tiles) => tiles.map(({ dataset }) => Number(dataset.image))"
        )
        == best
    )
    # The square's own numbers are those of where it was left.
    row, column = book.value("w.position")
    root.locator(f".cs-probabilities[data-position='{row},{column}']").wait_for()


def test_the_unit_panel_shows_classes_weaker_examples_similar_units_and_the_histogram(notebook):  # type: ignore[no-untyped-def]
    book = notebook(COLOURS, "w = cs.UnitPanel(net, survey=survey, layer='0', channel=0); w")
    output = book.cell(1)
    root = output.locator(".cs-root")
    expect(root.locator(".cs-unit__classes")).to_contain_text(re.compile(r"prefers red \d\.\d σ \(12\)"))
    expect(output.locator(".bqplot")).to_contain_text("before the ceiling of 6, log")
    expect(root.locator(".cs-unit__content")).to_contain_text("9 of 9 red")
    weaker = root.locator("[aria-label='Weaker examples'] .cs-patch")
    expect(weaker).to_have_count(3)  # twelve red pictures, nine of which are the top
    weaker.nth(2).hover()
    expect(weaker.nth(2)).to_have_attribute("aria-selected", "true")
    name = book.value("survey.images[survey.quantiles('0', 0)[2].image].name")
    source = root.locator(".cs-context__source")
    expect(source).to_have_text(name)
    assert source.evaluate("one => one.scrollWidth <= one.clientWidth")  # the whole of it
    expect(root.locator(".cs-context .cs-link")).to_have_text("copy path")
    expect(output.locator(".bqplot .bar")).not_to_have_count(0)
    # Its table is next to it.
    assert root.evaluate("""root => {
      const [table, parts] = ["details.cs-tabled", ".cs-unit__parts"].map((one) => root.querySelector(one));
      return parts.getBoundingClientRect().bottom <= table.getBoundingClientRect().top;
    }""")
    # Jupyter has a sign for widgets whose kernel has gone: bars stay where they are on their axis.
    was, now = output.locator(".cs-charted").evaluate(
        """(charted) => {
          const left = (one) => one.getBoundingClientRect().left;
          const places = () => [...charted.querySelectorAll(".bqplot :is(rect, path, text)")].map(left);
          const was = places();
          for (const one of [charted, ...charted.querySelectorAll("*")])
            if (/widget|bqplot|box/.test(one.className)) one.classList.add("jupyter-widgets-disconnected");
          const now = places();
          for (const one of [charted, ...charted.querySelectorAll("*")])
            one.classList.remove("jupyter-widgets-disconnected");
          return [was, now];
        }"""
    )
    assert len(was) > 10
    assert now == was
    chip = root.locator("[aria-label='Similar units'] .cs-chip")
    expect(chip).to_have_count(1)
    expect(root).to_contain_text("correlation over 36 pictures")
    chip.click()
    expect(root.locator(".cs-unit__title")).to_have_text("unit 3")
    book.reaches("w.selected", 3)
    expect(output.locator(".bqplot")).to_contain_text("unit 3 in 36 pictures")
    # A unit that is never active has no top patches, whatever pictures come first among equals.
    patches = root.locator("[aria-label='Top patches'] .cs-patch")
    expect(patches.locator(".cs-patch__value").first).not_to_have_text("inactive")
    book.run("w.selected = 4")
    expect(patches.locator(".cs-patch__value")).to_have_text(["inactive"] * 9)
    expect(patches.first).to_have_attribute("aria-label", re.compile("^inactive · "))
    # Nothing activates it: there is no histogram.
    expect(output.locator(".bqplot")).to_be_hidden()
    expect(root.locator(".cs-unit__values")).to_contain_text("inactive: active in 0 of 36 pictures")


def test_health_view_shows_a_row_for_each_layer_and_chooses_one(notebook):  # type: ignore[no-untyped-def]
    book = notebook(COLOURS, "w = cs.HealthView(net, root); w")
    root = book.cell(1).locator(".cs-root")
    rows = root.locator(".cs-health__rows [role=row]")
    expect(rows).to_have_count(2)
    expect(root.locator(".cs-health__summary")).to_contain_text("8 filters of 2 layers over 36 pictures")
    expect(root.locator(".cs-health__summary")).to_contain_text("Too few pictures to tell which are rarely active.")
    expect(rows.nth(0)).to_have_attribute("aria-label", re.compile("6 filters, 1 inactive, 1 repeated"))
    width = (
        rows.nth(0)
        .locator(".cs-health__part--dead")
        .evaluate("(part) => part.offsetWidth / part.parentElement.offsetWidth")
    )
    assert abs(width - 1 / 6) < 0.02
    rows.nth(0).focus()
    rows.nth(0).press("ArrowDown")
    expect(rows.nth(1)).to_be_focused()
    rows.nth(1).press("Enter")
    expect(rows.nth(1)).to_have_attribute("aria-selected", "true")
    book.reaches("w.layer", "3")
    book.run("w.layer = '0'")
    expect(rows.nth(0)).to_have_attribute("aria-selected", "true")
    # The row opens its units, each of which can be chosen.
    details = root.locator(".cs-details .cs-units")
    expect(details).to_have_text(["1 inactive4", "1 repeated3"])
    details.nth(1).get_by_role("button").click()
    expect(details.nth(1).get_by_role("button")).to_have_attribute("aria-pressed", "true")
    expect(details.nth(1).get_by_role("button")).to_have_attribute("title", "3 repeats 0")
    book.reaches("w.selected", 3)
    # Headings are over their numbers, beside a scroll bar, too.
    for size in (700, 1280):
        book.page.set_viewport_size({"width": size, "height": 900})
        edges = root.evaluate(
            """root => ['.cs-row--head', '[data-layer="0"]'].map((line) => [...root.querySelector(line).children]
                 .map((cell) => Math.round(cell.getBoundingClientRect().right)))"""
        )
        assert edges[0] == edges[1]


@pytest.mark.parametrize("first", ["tick_labels", "tick_values"])
def test_new_ticks_of_a_chart_have_their_labels_in_whichever_order_they_come(notebook, first):
    book = notebook(
        f"""
import bqplot, numpy as np
from convscope._ticks import label_ticks
class Axis(bqplot.Axis):
    def send_state(self, key=None):
        super().send_state(sorted(key, key=lambda one: one != {first!r}) if isinstance(key, set) else key)
axis = Axis(scale=bqplot.LinearScale(min=0, max=20), tick_format="g")
label_ticks(axis, {{1.0: "one", 4.0: "four"}})
bqplot.Figure(axes=[axis], animation_duration=0)
"""
    )
    cell = book.cell(0)
    expect(cell.locator(".bqplot .tick text")).to_have_text(["one", "four"])
    # The second comes before the first is written, with labels of other values and of the same.
    book.run("label_ticks(axis, {1.0: 'one', 10.0: 'ten', 16.0: 'sixteen'})")
    expect(cell.locator(".bqplot .tick text")).to_have_text(["one", "ten", "sixteen"])
    book.run("label_ticks(axis, {1.0: 'a', 5.0: 'b', 13.0: 'c'}); label_ticks(axis, {1.0: 'x', 5.0: 'y', 13.0: 'z'})")
    expect(cell.locator(".bqplot .tick text")).to_have_text(["x", "y", "z"])


def test_a_search_that_names_nothing_keeps_the_choice_and_is_told_beneath_the_tiles(notebook):
    book = notebook(
        COLOURS,
        "wide = cs.Network(nn.Sequential(nn.Conv2d(3, 300, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),"
        " nn.Linear(300, 3)).eval(), labels=['red', 'green', 'blue'], input_size=16)\n"
        "w = cs.Explorer(wide, root / 'red/3.png', layer='0'); w",
    )
    root = book.cell(1).locator(".cs-root")
    grid, search, told = root.locator(".cs-grid"), root.locator(".cs-search"), root.locator(".cs-empty").first
    expect(grid).to_have_attribute("aria-rowcount", re.compile(r"\d\d"))
    foot = root.locator(".cs-grid__foot")
    book.run("w.selected = 123")
    expect(foot).to_contain_text("unit 123 is chosen")
    grid.focus()
    book.page.keyboard.press("/")
    expect(root.locator(".cs-title:visible")).to_contain_text("Find units by number")
    book.page.keyboard.type("zzz")
    expect(root.locator(".cs-title:visible")).to_have_count(0)
    book.page.keyboard.press("Enter")
    expect(told).to_contain_text("“zzz” names no unit")
    expect(foot).to_contain_text("unit 123 is chosen")
    book.rest()  # what the survey says takes the foot a line more
    boxes = [one.bounding_box() for one in (grid, told, foot)]
    for above, below in itertools.pairwise(boxes):
        assert above["y"] + above["height"] <= below["y"] + 1
    assert boxes[0]["height"] > 200
    search.fill("7")
    search.press("Enter")
    expect(foot).to_contain_text("unit 7 is chosen")
