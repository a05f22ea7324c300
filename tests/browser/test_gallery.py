"""The gallery as a person uses it: real maps, real browser."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, expect

from test_instruments import SMALL

NAMES = ["gradient", "deconvnet", "guided_backprop", "input_times_gradient"]
SIGNALS = ["deconvnet", "guided_backprop"]
GALLERY = f"w = cs.Gallery(net, pictures[:2], {NAMES}, scale_by='group'); w"
#: At rest no map lies under what the picture covers beside it with its shadow, 10 px wide.
WHOLE = """(width) => {
  const root = document.querySelector(".cs-root--gallery");
  const scroller = root.querySelector(".cs-gallery__scroller");
  if (Math.abs(root.getBoundingClientRect().width - width) > 2) return false;
  const covered = root.querySelector(".cs-gallery__picture").getBoundingClientRect().right + 10;
  return scroller.scrollLeft === 0 && root.querySelector(".cs-cell").getBoundingClientRect().left >= covered;
}"""
SMOOTH = """
import numpy as np, torch, convscope as cs
from torch import nn
torch.manual_seed(0)
module = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.SiLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
net = cs.Network(module.eval(), input_size=32, name="smooth")
pictures = [np.random.default_rng(0).random((32, 32, 3)).astype(np.float32)]
"""


def done(root: Locator) -> None:
    expect(root.locator(".cs-status__work")).to_have_attribute("data-state", "done")
    expect(root.locator(".cs-tile[aria-busy=true]")).to_have_count(0)
    # The page has heard that nothing more comes, so it has asked for the last time.
    expect(root.locator(".cs-gallery")).to_have_attribute("aria-busy", "false")


def tile(root: Locator, row: int, method: str) -> Locator:
    return root.locator(f".cs-tile[data-row='{row}'][data-method={method}]")


def beneath(root: Locator, row: int, method: str, part: str) -> Locator:
    return root.locator(f".cs-cell:has([data-row='{row}'][data-method={method}]) {part}")


def pixel(frame: Locator, row: int, column: int) -> list[int]:
    """The colour that a map has at a pixel of the picture."""
    return frame.locator("canvas").first.evaluate(
        "(canvas, [row, column]) => [...canvas.getContext('2d').getImageData(column, row, 1, 1).data].slice(0, 3)",
        [row, column],
    )


def point(book, frame: Locator, row: int, column: int, side: int = 64) -> None:
    frame.scroll_into_view_if_needed()
    box = frame.bounding_box()
    assert box is not None
    book.page.mouse.move(box["x"] + (column + 0.5) / side * box["width"], box["y"] + (row + 0.5) / side * box["height"])


def number(text: str) -> float:
    return float(text.replace("−", "-").replace("ρ", "").replace("±", ""))


def test_maps_hold_what_the_methods_say_and_all_follow_the_pointer(notebook):
    book = notebook(SMALL, GALLERY)
    root = book.cell(1).locator(".cs-root")
    done(root)
    heads = root.locator(".cs-gallery__method").all_inner_texts()
    heads = [text.split("\n")[0] for text in heads]
    assert heads == ["picture", "gradient", "deconvnet", "guided backprop", "input × gradient"]
    assert [text.lower() for text in root.locator(".cs-gallery__group").all_inner_texts()] == [
        "function", "signal", "attribution",
    ]  # fmt: skip
    # Nothing is covered by the picture, which stays in its place when the maps scroll.
    edges = root.evaluate(
        """root => [".cs-tools", ".cs-gallery__picture", ".cs-cell"].map((one) => {
             const box = root.querySelector(one).getBoundingClientRect();
             return [box.left, box.right];
           })"""
    )
    assert edges[0][0] == edges[1][0]
    assert edges[1][1] < edges[2][0]
    for name in NAMES:
        rho = book.value(f"w.similarities[1, {name!r}]")
        assert number(beneath(root, 1, name, ".cs-control__rho").inner_text()) == pytest.approx(rho, abs=0.006)
    book.run("heat = w.attribution(1, 'gradient').heatmap; place = divmod(int(heat.argmax()), 64)")
    row, column = book.value("place")
    assert pixel(tile(root, 1, "gradient"), row, column) == [0x67, 0x00, 0x1F]
    point(book, tile(root, 1, "gradient"), row, column)
    caption = beneath(root, 1, "gradient", ".cs-cell__caption")
    expect(caption).to_have_class(re.compile("cs-is-value"))
    assert number(caption.inner_text()) == pytest.approx(book.value("float(heat.max())"), rel=0.006)
    # The signal's three colours, and the place, on the other maps of the row; nothing on the other row.
    shown = beneath(root, 1, "deconvnet", ".cs-cell__caption").inner_text().split()
    truth = book.value(f"w.attribution(1, 'deconvnet').values[:, {row}, {column}].tolist()")
    assert [number(one) for one in shown] == pytest.approx(truth, rel=0.06, abs=1e-3)
    assert root.locator(".cs-spot:visible").count() == 9
    expect(root.locator(".cs-gallery__name").nth(1)).to_have_text(f"row {row}, column {column}")
    expect(beneath(root, 0, "gradient", ".cs-cell__caption")).to_have_text(re.compile("^±"))


def test_by_default_a_column_has_a_scale_of_its_own_written_at_its_head(notebook):
    book = notebook(SMALL, f"w = cs.Gallery(net, pictures[:2], {NAMES}); w")
    root = book.cell(1).locator(".cs-root")
    done(root)
    for name in NAMES:
        ends = [number(beneath(root, row, name, ".cs-cell__caption").inner_text().split(" · ")[0]) for row in (0, 1)]
        head = root.locator(f".cs-gallery__scale[data-method={name}]")
        assert number(head.inner_text().removeprefix("scale ")) == max(ends)
        # Where a map is strongest its colours end: no column is pale beside another.
        values = "abs(one.values)" if name in SIGNALS else "abs(one.heatmap)[None]"
        book.run(f"v = [{values} for one in (w.attribution(row, {name!r}) for row in (0, 1))]; v = np.stack(v)")
        row, channel, *place = book.value("[int(i) for i in np.unravel_index(v.argmax(), v.shape)]")
        shown = pixel(tile(root, row, name), *place)
        assert shown[channel] in (1, 255) if name in SIGNALS else shown in ([0x67, 0, 0x1F], [0x05, 0x30, 0x61])
    root.get_by_role("radio", name="per group").click()
    expect(root.locator(".cs-gallery__scale").first).to_have_text("")


def test_no_column_lies_in_part_under_the_picture_that_stays(notebook):
    book = notebook(SMALL, GALLERY)
    root = book.cell(1).locator(".cs-root")
    done(root)
    for width in (1000, 700, 500, 380):
        root.evaluate("(root, width) => { root.parentElement.style.width = `${width}px`; }", width)
        book.wait_for(WHOLE, width)


def test_a_click_on_a_class_explains_it_in_that_row_and_in_every_view(notebook):
    book = notebook(SMALL, GALLERY)
    root = book.cell(1).locator(".cs-root")
    done(root)
    first = tile(root, 0, "gradient").get_attribute("data-number")
    other = tile(root, 1, "gradient").get_attribute("data-number")
    button = root.locator(".cs-explained").first.locator("button").nth(2)
    index = int(button.get_attribute("data-class"))
    button.click()
    expect(tile(root, 0, "gradient")).not_to_have_attribute("data-number", first)
    done(root)
    assert tile(root, 1, "gradient").get_attribute("data-number") == other
    book.reaches("w.targets", [index, None])
    expect(root.locator(f".cs-explained__class[data-class='{index}']").first).to_have_attribute("aria-pressed", "true")
    book.run(
        f"heat = cs.attribute(net, pictures[0], 'gradient', {index}).heatmap; place = divmod(int(heat.argmax()), 64)"
    )
    place = book.value("place")
    assert pixel(tile(root, 0, "gradient"), *place) == [0x67, 0x00, 0x1F]
    # Displayed again, it is as it was left.
    again = book.add_cell("w").root.locator(".cs-root")
    done(again)
    number = tile(root, 0, "gradient").get_attribute("data-number")
    expect(tile(again, 0, "gradient")).to_have_attribute("data-number", number)
    expect(again.locator(f".cs-explained__class[data-class='{index}']").first).to_have_attribute("aria-pressed", "true")


def test_scale_opacity_and_colours_ask_nothing_of_the_kernel(notebook):
    book = notebook(SMALL, GALLERY)
    root = book.cell(1).locator(".cs-root")
    done(root)
    asked = book.record_requests("w")
    book.run("heat = w.attribution(0, 'gradient').heatmap; place = divmod(int(heat.argmax()), 64)")
    place = book.value("place")
    gradient = tile(root, 0, "gradient")
    table = root.locator(".cs-gallery")
    root.get_by_label("Colours of positive").select_option("purple-green")
    book.wait_for("() => document.querySelector('.cs-signed__strip').style.background.includes('64, 0, 75')")
    expect(table).to_have_attribute("data-colours", "purple-green")
    assert pixel(gradient, *place) == [0x40, 0x00, 0x4B]
    slider = root.get_by_label("Opacity of the maps")
    slider.focus()
    slider.press("Home")
    expect(table).to_have_attribute("data-opacity", "0")
    grey = pixel(gradient, *place)
    assert grey[0] == grey[1] == grey[2]
    book.run("seen = net.picture(pictures[0])")
    red, green, blue = book.value(f"seen[{place[0]}, {place[1]}].tolist()")
    assert abs(grey[0] - (0.299 * red + 0.587 * green + 0.114 * blue)) <= 1
    slider.press("End")
    weak = tile(root, 0, "guided_backprop")
    strong = book.value("[float(abs(w.attribution(0, n).values).max()) for n in ('deconvnet', 'guided_backprop')]")
    name = "deconvnet" if strong[0] < strong[1] else "guided_backprop"
    weak = tile(root, 0, name)
    book.run(
        f"v = abs(w.attribution(0, {name!r}).values); place = [int(i) for i in np.unravel_index(v.argmax(), v.shape)]"
    )
    channel, *where = book.value("place")
    shared = pixel(weak, *where)[channel]
    root.get_by_role("radio", name="per map").click()
    expect(table).to_have_attribute("data-scale", "map")
    assert pixel(weak, *where)[channel] in (1, 255)
    assert abs(shared - 128) < 127
    book.reaches("[w.opacity, w.scale_by, w.colours]", [1.0, "map", "purple-green"])
    assert book.value(asked) == []


def test_what_the_network_does_not_support_is_said_and_can_be_extended(notebook):
    book = notebook(SMOOTH, "w = cs.Gallery(net, pictures, ['gradient', 'deconvnet']); w")
    root = book.cell(1).locator(".cs-root")
    done(root)
    refused = root.locator(".cs-refused[data-method=deconvnet]")
    expect(refused).to_contain_text("silu")
    refused.get_by_role("button").click()
    expect(tile(root, 0, "deconvnet")).to_have_attribute("data-number", re.compile(r"\d"))
    done(root)
    expect(root.locator(".cs-refused")).to_have_count(0)
    expect(root.locator(".cs-extended")).to_have_text("extended")
    expect(tile(root, 0, "deconvnet")).to_have_attribute("aria-label", re.compile(r"^deconvnet \(extended\)"))
    assert book.value("w.attribution(0, 'deconvnet').options['extension']") == "rectify"
    # What is not shown is a button that adds it, or says what it needs.
    more = root.locator(".cs-refused__more")
    expect(more.locator("button[data-method=patternnet]")).to_be_disabled()
    expect(more).to_contain_text("needs fitted patterns")
    add = more.locator("button:not(:disabled)").first
    name = add.get_attribute("data-method")
    add.click()
    expect(tile(root, 0, name)).to_have_attribute("data-number", re.compile(r"\d"))
    book.reaches("w.methods", ["gradient", "deconvnet", name])
    expect(more.locator(f"button[data-method={name}]")).to_have_count(0)
    done(root)


def test_keyboard_alone_reaches_every_map_and_shows_it_large(notebook):
    book = notebook(SMALL, GALLERY)
    root = book.cell(1).locator(".cs-root")
    done(root)
    tile(root, 0, "gradient").focus()
    keyboard = book.page.keyboard
    for key in ["ArrowRight", "ArrowDown", "ArrowRight"]:
        keyboard.press(key)
    expect(tile(root, 1, "guided_backprop")).to_be_focused()
    expect(root.locator(".cs-tile[tabindex='0']")).to_have_count(1)
    keyboard.press("Enter")
    large = root.locator("dialog")
    expect(large).to_be_visible()
    expect(large).to_have_attribute("data-place", "1 guided_backprop")
    expect(large.locator("canvas:visible")).to_have_count(3)
    keyboard.press("ArrowLeft")
    expect(large.locator(".cs-large__title")).to_have_text("deconvnet")
    keyboard.press("Escape")
    expect(large).to_be_hidden()
    expect(tile(root, 1, "deconvnet")).to_be_focused()


@pytest.mark.slow  # a page and a kernel of its own
def test_a_finger_opens_a_map_and_looks_at_places_there(notebook):
    book = notebook(SMALL, GALLERY, has_touch=True)
    root = book.cell(1).locator(".cs-root")
    done(root)
    tile(root, 0, "gradient").tap()
    large = root.locator("dialog")
    expect(large).to_be_visible()
    book.touch_drag(large.locator("[data-figure=map]"), 10, 10, steps=3)
    caption = large.locator("figure:has([data-figure=map]) figcaption")
    expect(large).to_be_visible()
    assert caption.inner_text()
    large.get_by_role("button", name="Close").tap()
    expect(large).to_be_hidden()


def test_an_error_stands_in_its_tile_and_the_rest_is_there(notebook):
    breaking = """
from convscope.panes.gallery import pane as module
real = module.attribute_tensor
def breaking(net, x, method, *a, **k):
    if method == "deconvnet": raise RuntimeError("the lamp went out")
    return real(net, x, method, *a, **k)
module.attribute_tensor = breaking
"""
    book = notebook(SMALL + breaking, GALLERY)
    root = book.cell(1).locator(".cs-root")
    work = root.locator(".cs-status__work")
    expect(work).to_have_attribute("data-state", "failed")
    expect(tile(root, 0, "deconvnet").locator(".cs-tile__note")).to_have_text("RuntimeError: the lamp went out")
    expect(tile(root, 1, "input_times_gradient")).to_have_attribute("data-number", re.compile(r"\d"))
    book.run("module.attribute_tensor = real")
    work.get_by_text("try again").click()
    done(root)
    expect(tile(root, 0, "deconvnet").locator(".cs-tile__note")).to_be_hidden()


def test_a_saved_page_shows_all_maps_without_a_kernel(notebook, tmp_path):
    book = notebook(SMALL, GALLERY)
    done(book.cell(1).locator(".cs-root"))
    page = tmp_path / "gallery.html"
    page.write_text(book.value("w.to_html()"))
    book.run("heat = w.attribution(1, 'gradient').heatmap; place = divmod(int(heat.argmax()), 64)")
    place = book.value("place")
    saved = book.page.context.new_page()
    saved.goto(page.as_uri())
    root = saved.locator(".cs-root")
    done(root)
    expect(tile(root, 1, "gradient")).to_have_attribute("data-number", re.compile(r"\d"))
    assert pixel(tile(root, 1, "gradient"), *place) == [0x67, 0x00, 0x1F]
    root.get_by_label("Colours of positive").select_option("purple-green")
    expect(root.locator(".cs-gallery")).to_have_attribute("data-colours", "purple-green")
    assert pixel(tile(root, 1, "gradient"), *place) == [0x40, 0x00, 0x4B]
    expect(root.locator(".cs-explained button:disabled")).to_have_count(8)


def test_columns_out_of_sight_are_counted_and_can_be_had(notebook):  # type: ignore[no-untyped-def]
    book = notebook(SMALL, f"w = cs.Gallery(net, pictures[:1], {NAMES}); w")
    root = book.cell(1).locator(".cs-root")
    done(root)
    line = root.locator(".cs-gallery__beyond")
    expect(line).to_be_hidden()
    book.page.set_viewport_size({"width": 560, "height": 1000})
    book.wait_for("() => document.querySelector('.cs-gallery__frame').classList.contains('cs-is-beyond')")
    further = line.get_by_role("button")
    expect(further).to_have_text(["2 more →"])
    last = tile(root, 0, NAMES[-1])
    covered = "(one) => one.getBoundingClientRect().right > one.closest('.cs-root').getBoundingClientRect().right"
    assert last.evaluate(covered)
    further.click()
    expect(further).to_have_text(["← 2 more"])
    assert not last.evaluate(covered)
    # All but the columns that always fit beside one another are in "more" here; there they are the same controls.
    root.locator(".cs-more > summary").click()
    root.get_by_role("button", name="control", exact=True).click()
    expect(root.locator(".cs-more")).not_to_have_attribute("open", "")
    expect(root.locator(".cs-control").first).to_be_hidden()
    further.click()
    expect(further).to_have_text(["2 more →"])
