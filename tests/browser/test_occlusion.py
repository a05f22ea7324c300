"""Occlusion as a person uses it: drawn forms, fills, the trail, the linked maps; real network, real browser."""

from __future__ import annotations

import math
import re

import pytest
from playwright.sync_api import Locator, expect

from test_instruments import BY_HAND, LITE, OCCLUDER, PICTURE, SHOWN, SMALL, number, shown_at

FRAME = "[data-panel={}]"
#: All 13 x 13 places of a 16 px square on a picture of 64 px, every 4 px.
MAPS = "w = cs.OcclusionMap(net, pictures[0], size=16, stride=4); w"

#: The prediction with a grey polygon painted over, without any code of the occluder's.
POLYGON = """
from matplotlib.path import Path
def polygon(net, picture, points):
    x = net.prepare(picture).clone()
    for r in range(x.shape[2]):
        for c in range(x.shape[3]):
            if Path(points).contains_point((r + 0.5, c + 0.5)):
                x[0, :, r, c] = net.to_network(torch.full((3, 1, 1), 0.5)).flatten()
    return net.predict(x)
"""


def at(root: Locator, row: float, column: float, side: int, selector: str = PICTURE) -> tuple[float, float]:
    """Where a pixel of the picture is on the page."""
    shown = root.locator(selector)
    shown.scroll_into_view_if_needed()
    box = shown.bounding_box()
    assert box is not None
    return box["x"] + column / side * box["width"], box["y"] + row / side * box["height"]


def complete(root: Locator, places: int) -> None:
    expect(root.locator(FRAME.format("probability"))).to_have_attribute("data-computed", str(places))


def pixel(root: Locator, selector: str, row: float, column: float, side: int) -> list[int]:
    """The colour that a canvas shows at a pixel of the picture."""
    return root.locator(f"{selector} canvas").first.evaluate(
        """(canvas, [row, column, side]) => [...canvas.getContext("2d").getImageData(
             Math.floor(column / side * canvas.width), Math.floor(row / side * canvas.height), 1, 1).data]""",
        [row, column, side],
    )


class TestOccluder:
    def test_a_form_drawn_around_something_becomes_the_occluder(self, notebook):
        book = notebook(SMALL + POLYGON, "w = cs.Occluder(net, pictures[0], size=16); w")
        root = book.cell(1).locator(".cs-root")
        shown_at(root, 24, 24)
        root.locator("[data-value=free]").click()
        expect(root.locator(".cs-hint")).to_be_visible()
        mouse = book.page.mouse
        circle = [(30 + 12 * math.sin(a / 20 * math.tau), 34 + 12 * math.cos(a / 20 * math.tau)) for a in range(21)]
        mouse.move(*at(root, *circle[0], 64))
        mouse.down()
        for row, column in circle[1:]:
            mouse.move(*at(root, row, column, 64))
        mouse.up()
        expect(root.locator(".cs-hint")).to_be_hidden()
        expect(root.locator(OCCLUDER)).to_have_attribute("data-shape", "free")
        book.wait_for("() => !document.querySelector('[aria-busy=true]')")
        book.run("w.wait()")
        position, size, points = book.value("[w.position, w.size, len(w.shape)]")
        high, wide = size if isinstance(size, list) else (size, size)
        assert abs(position[0] - 18) <= 1
        assert abs(position[1] - 22) <= 1
        assert abs(high - 24) <= 2
        assert abs(wide - 24) <= 2
        assert points >= 10
        shown_at(root, *position)
        truth = book.value(f"polygon(net, pictures[0], {circle}).probabilities[net.predict(pictures[0]).index].item()")
        clean = book.value("net.predict(pictures[0]).probability")
        # Pixels whose centre lies on the line may fall on either side of it: the pointer has whole pixels of the page.
        assert abs(number(root) - truth) < 0.05 * abs(truth - clean) + 0.001
        # It is dragged as any other.
        book.drag(root.locator(OCCLUDER), -500, -500, steps=10)
        shown_at(root, 0, 0)

    def test_drawing_is_left_by_escape_and_a_tap_is_no_form(self, notebook):
        book = notebook(SMALL, "w = cs.Occluder(net, pictures[0], size=16); w")
        root = book.cell(1).locator(".cs-root")
        shown_at(root, 24, 24)
        root.locator("[data-value=free]").click()
        book.page.mouse.click(*at(root, 5, 5, 64))
        expect(root.locator(".cs-hint")).to_be_visible()
        book.page.keyboard.press("Escape")
        expect(root.locator(".cs-hint")).to_be_hidden()
        book.reaches("[w.shape, w.position]", ["square", [24, 24]])

    def test_the_trail_grows_with_the_drag_survives_another_view_and_is_cleared(self, notebook):
        book = notebook(SMALL, "w = cs.Occluder(net, pictures[0], size=16); w", "w")
        root = book.cell(1).locator(".cs-root")
        shown_at(root, 24, 24)
        trail = root.locator(".cs-trail")
        expect(trail).to_be_hidden()
        book.drag(root.locator(OCCLUDER), -60, -60, steps=30)
        expect(trail).to_be_visible()
        book.wait_for("() => !document.querySelector('[aria-busy=true]')")
        book.run("w.wait()")
        places = book.value("len(w.trail)")
        assert places >= 3
        expect(trail).to_have_attribute("data-places", str(places))
        row, column = book.value("w.position")
        assert pixel(root, ".cs-picture", row + 8, column + 8, 64)[3] == 255
        other = book.cell(2).locator(".cs-root")
        expect(other.locator(".cs-trail")).to_have_attribute("data-places", str(places))
        root.get_by_role("button", name="clear").click()
        expect(trail).to_be_hidden()
        book.reaches("w.trail", [])
        root.get_by_role("button", name="trail").click()
        book.reaches("w.show_trail", False)

    def test_inpainting_shows_what_the_network_saw(self, notebook):
        pytest.importorskip("cv2")
        book = notebook(LITE, "w = cs.Occluder(net, cs.sample('chelsea'), fill='inpaint'); w")
        root = book.cell(1).locator(".cs-root")
        shown_at(root, 87, 87)
        root.locator(OCCLUDER).press("ArrowDown")
        shown_at(root, 88, 87)
        shown = root.locator(".cs-picture__canvas").evaluate(
            "canvas => [...canvas.getContext('2d').getImageData(87, 88, 50, 50).data]"
        )
        book.run("w.wait(); occlusion = w._occlusion(0, 'inpaint', 'square')")
        truth = book.value("occlusion.pixels((88, 87), 50).reshape(-1).tolist()")
        assert [value for index, value in enumerate(shown) if index % 4 != 3] == truth

    def test_another_picture_as_fill_is_chosen_from_a_file(self, notebook, tmp_path):
        from PIL import Image

        Image.new("RGB", (80, 80), (10, 200, 30)).save(tmp_path / "green.png")
        book = notebook(SMALL, "w = cs.Occluder(net, pictures[0], size=16); w")
        root = book.cell(1).locator(".cs-root")
        shown_at(root, 24, 24)
        with book.page.expect_file_chooser() as chooser:
            root.get_by_label("Fill", exact=True).select_option("picture")
        chooser.value.set_files(tmp_path / "green.png")
        expect(root.get_by_label("Picture that fills the occluder")).to_have_value("1")
        book.wait_for(
            """() => { const canvas = document.querySelector(".cs-picture__canvas");
               const [r, g, b] = canvas.getContext("2d").getImageData(32, 32, 1, 1).data;
               return r === 10 && g === 200 && b === 30; }"""
        )
        book.reaches("[w.fill, w.images[1].name]", ["picture:1", "green.png"])


class TestMaps:
    def test_maps_come_complete_and_hold_what_the_network_says(self, notebook):
        book = notebook(SMALL + BY_HAND, MAPS)
        root = book.cell(1).locator(".cs-root")
        complete(root, 169)
        expect(root.locator(".cs-status__work")).to_have_attribute("data-state", "done")
        book.run("w.wait()")
        truth = book.value(
            """[[by_hand(net, pictures[0], (r, c), 16).probabilities[w.result.target].item() for c in (0, 20, 48)]
               for r in (0, 24, 48)]"""
        )
        assert book.value("w.result.probability[[0, 6, 12]][:, [0, 5, 12]].tolist()") == [
            pytest.approx(row, abs=1e-5) for row in truth
        ]
        # Hovering a cell says its value, on all panels, and where the occluder would be.
        book.page.mouse.move(*at(root, 24 + 8, 20 + 8, 64, FRAME.format("activity")))
        expect(root.locator(".cs-map__value").nth(1)).to_have_text(re.compile(rf"{truth[1][1]:.3f}"))
        clean = book.value("float(w.result.clean.probabilities[w.result.target])")
        under = root.locator(".cs-map .cs-bar__marked").nth(1)
        expect(under).to_have_text(f"clean {clean:.3f}")
        book.rest()
        bar, mark, text = (
            one.evaluate("e => e.getBoundingClientRect().toJSON()")
            for one in (under.locator(".."), root.locator(".cs-map .cs-bar__clean").nth(1), under)
        )
        assert bar["left"] - 1 <= text["left"] <= mark["left"] + 2
        assert mark["right"] - 2 <= text["right"] <= bar["right"] + 1
        assert text["top"] >= mark["bottom"]
        ghost = root.locator(".cs-ghost")
        expect(ghost).to_be_visible()
        assert ghost.evaluate("e => [e.style.top, e.style.left]") == [f"{100 * 24 / 64}%", f"{100 * 20 / 64}%"]

    def test_what_the_maps_say_is_of_the_occluders_place_or_of_one_that_is_named(self, notebook):
        book = notebook(SMALL, MAPS.replace("); w", ", position=(21, 21)); w"))
        root = book.cell(1).locator(".cs-root")
        complete(root, 169)
        nearest = root.locator("[data-panel=probability]").locator("xpath=..").locator(".cs-map__value + .cs-dim")
        expect(nearest).to_have_text("nearest")
        expect(nearest).to_have_attribute("title", "Of the nearest place of the map: row 20, column 20")
        book.run("w.position = (20, 24)")
        expect(nearest).to_have_text("")
        # On a wide page nothing but the margins is left beneath the maps and the picture.
        book.page.set_viewport_size({"width": 1280, "height": 1000})
        book.rest()
        gap = """(root) => {
          const box = (one) => root.querySelector(one).getBoundingClientRect();
          const [labels, controls] = [box(".cs-labels"), box(".cs-controls")];
          return box(".cs-pane--classes").top - Math.max(labels.bottom, controls.bottom);
        }"""
        assert 0 <= root.evaluate(gap) < 40

    def test_a_click_puts_the_occluder_there_and_the_keyboard_does_too(self, notebook):
        book = notebook(SMALL, MAPS)
        root = book.cell(1).locator(".cs-root")
        complete(root, 169)
        book.page.mouse.click(*at(root, 8 + 8, 40 + 8, 64, FRAME.format("label")))
        shown_at(root, 8, 40)
        probability = root.locator(FRAME.format("probability"))
        probability.focus()
        for key in ["ArrowDown", "Shift+ArrowLeft", "ArrowLeft"]:
            probability.press(key)
        expect(probability).to_have_attribute("aria-valuetext", re.compile("row 3, column 4"))
        probability.press("Enter")
        shown_at(root, 12, 16)
        book.reaches("w.position", [12, 16])
        expect(root.locator(".cs-map__value").nth(1)).to_contain_text(f"{number(root):.3f}")
        # Looked at no longer, the maps tell of the place of the ring.
        probability.press("Escape")
        expect(root.locator(".cs-map__value").nth(1)).to_contain_text(f"{number(root):.3f}")
        opacity = root.get_by_label("Opacity of the maps")
        frame = FRAME.format("probability")
        covered = pixel(root, frame, 32, 50, 64)
        opacity.fill("0")
        book.wait_for(
            """(before) => { const canvas = document.querySelector("[data-panel=probability] canvas");
               const at = [50 / 64 * canvas.width, 32 / 64 * canvas.height].map(Math.floor);
               return [...canvas.getContext("2d").getImageData(...at, 1, 1).data].join() !== before.join(); }""",
            covered,
        )
        book.reaches("w.opacity", 0)

    def test_another_class_and_another_map_are_followed_without_computing(self, notebook):
        book = notebook(SMALL, MAPS)
        root = book.cell(1).locator(".cs-root")
        complete(root, 169)
        book.run(
            """w.wait()
from convscope_core.graph.regions import Regions
def fail(*a, **k): raise AssertionError("computed again")
sweep, Regions.sweep = Regions.sweep, fail"""
        )
        labels = root.locator(".cs-labels__row")
        last = labels.last
        name = last.locator(".cs-labels__name").inner_text()
        last.click()
        expect(root.locator(".cs-map__title").nth(1)).to_have_text(f"Probability of {name}")
        unit = root.get_by_label(re.compile("Map of the layer"))
        unit.fill("7")
        unit.press("Enter")
        expect(root.locator(".cs-map__title").first).to_have_text("Activity of 3 · 7")
        book.reaches("[w.channel, net.labels[w.target]]", [7, name])
        assert book.value("bool((w.result.activity == w.result.all_activities[..., 7]).all())") is True
        book.run("Regions.sweep = sweep")

    def test_a_long_map_is_cancelled_kept_and_continued(self, notebook):
        book = notebook(LITE, "w = cs.OcclusionMap(net, cs.sample('chelsea'), stride=2); w")
        root = book.cell(1).locator(".cs-root")
        work = root.locator(".cs-status__work")
        expect(work).to_have_attribute("data-state", "running")
        book.wait_for("() => Number(document.querySelector('.cs-map__frame').dataset.computed) >= 16")
        work.get_by_text("cancel").click()
        expect(work).to_have_attribute("data-state", "cancelled")
        kept = book.value("int(w.result.computed.sum())")
        assert 16 <= kept < 88 * 88
        work.get_by_text("continue").click()
        expect(work).to_have_attribute("data-state", "running")
        book.wait_for(f"() => Number(document.querySelector('.cs-map__frame').dataset.computed) > {kept}")
        book.run("w.cancel()")

    def test_the_occluder_is_live_while_the_map_is_computed(self, notebook):
        book = notebook(LITE + BY_HAND, "w = cs.OcclusionMap(net, cs.sample('chelsea'), stride=2); w")
        root = book.cell(1).locator(".cs-root")
        book.wait_for("() => Number(document.querySelector('.cs-map__frame').dataset.computed) >= 16")
        book.drag(root.locator(OCCLUDER), -500, -500, steps=40)
        shown_at(root, 0, 0)
        expect(root.locator(".cs-status__work")).to_have_attribute("data-state", "running")
        book.run("w.cancel(); w.wait()")
        truth = book.value("by_hand(net, w.image, (0, 0), 50).probabilities[w.result.target].item()")
        assert number(root) == pytest.approx(truth, abs=6e-4)

    def test_an_error_in_the_middle_is_shown_and_what_is_computed_stays(self, notebook):
        book = notebook(
            SMALL
            + """
from convscope_core.graph.regions import Regions
sweep, batches = Regions.sweep, []
def breaking(self, *a, **k):
    for one in sweep(self, *a, **k):
        yield one
        batches.append(len(one[0]))
        if sum(batches) > 20: raise RuntimeError("the lamp went out")
Regions.sweep = breaking
""",
            MAPS,
        )
        root = book.cell(1).locator(".cs-root")
        expect(root.locator(".cs-error")).to_contain_text("the lamp went out")
        expect(root.locator(".cs-status__work")).to_have_attribute("data-state", "failed")
        kept = book.value("int(w.result.computed.sum())")
        assert kept > 20 - 1
        complete(root, kept)
        book.run("Regions.sweep = sweep")
        root.locator(".cs-status__work").get_by_text("continue").click()
        complete(root, 169)

    def test_a_saved_page_shows_the_maps_without_a_kernel(self, notebook, tmp_path):
        book = notebook(SMALL, MAPS)
        complete(book.cell(1).locator(".cs-root"), 169)
        book.run("w.wait()")
        page = tmp_path / "maps.html"
        page.write_text(book.value("w.to_html()"))
        saved = book.page.context.new_page()
        saved.goto(page.as_uri())
        root = saved.locator(".cs-root")
        complete(root, 169)
        saved.mouse.move(*at(root, 32, 32, 64, FRAME.format("probability")))
        expect(root.locator(".cs-ghost")).to_be_visible()
        expect(root.locator(".cs-map__value").nth(1)).to_have_text(re.compile(r"\d\.\d{3}"))
        expect(root.locator(SHOWN)).to_have_attribute("data-position", "24,24")
