"""The instruments as a person uses them: a real JupyterLab, a real browser, real networks."""

from __future__ import annotations

import hashlib
import json
import re

import pytest
from playwright.sync_api import Locator, expect

SMALL = """
import numpy as np, torch, convscope as cs
from torch import nn
torch.manual_seed(0)
module = nn.Sequential(
    nn.Conv2d(3, 24, 5, stride=2, padding=2), nn.ReLU(), nn.MaxPool2d(2),
    nn.Conv2d(24, 40, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(40, 10),
).eval()
with torch.no_grad():
    module[7].weight.mul_(40)
net = cs.Network(module, labels=[f"class {i}" for i in range(10)], input_size=64, name="small")
rng = np.random.default_rng(0)
pictures = [np.kron(rng.random((8, 8, 3)), np.ones((8, 8, 1))).astype(np.float32) for _ in range(12)]
"""
LITE = """
import torch, convscope as cs
net = cs.load("efficientnet_lite0")
"""
PICTURE = ".cs-picture"
OCCLUDER = ".cs-occluder"
SHOWN = ".cs-probabilities"
PATCH = "[aria-label='Top patches'] .cs-patch"

#: Frames of a drag that are awaited at a time, as `js/panes/occluder/requests.ts` has it.
IN_FLIGHT = 3

# What the network itself says of the clean picture with a rectangle painted over: no code of the occluder's.
BY_HAND = """
def by_hand(net, picture, position, size):
    x = net.prepare(picture).clone()
    (top, left), (high, wide) = position, (size, size) if isinstance(size, int) else size
    x[..., top:top + high, left:left + wide] = net.to_network(torch.full((3, high, wide), 0.5))
    return net.predict(x)
"""


#: After ``hold(w)`` no request is answered before ``gate`` is set.
HELD = """
import threading
gate = threading.Event()
def hold(w):
    answering = w._answering
    w._answering = lambda kind, content: (gate.wait(120), answering(kind, content))[1]
"""


def shown_at(root: Locator, row: int, column: int) -> None:
    """Wait until the probabilities shown are those of a position."""
    expect(root.locator(SHOWN)).to_have_attribute("data-position", f"{row},{column}")


def number(root: Locator) -> float:
    return float(root.locator(".cs-target__value").inner_text().replace("<", ""))


def open_more(part: Locator) -> None:
    """Bring to light what is needed seldom."""
    part.locator(".cs-more > summary").click()


def test_drag_settles_at_once_and_ends_on_the_right_number(notebook):
    book = notebook(LITE + BY_HAND, "w = cs.Occluder(net, cs.sample('chelsea')); w")
    root = book.cell(1).locator(".cs-root")
    shown_at(root, 87, 87)
    root.evaluate(
        """(root) => {
          const pane = root.querySelector(".cs-probabilities");
          window.moves = 0;
          root.addEventListener("pointermove", () => { window.moves += 1; });
          root.addEventListener("pointerup", () => { window.after = []; });
          new MutationObserver(() => {
            const place = pane.dataset.position;
            window.settled = place;
            if (window.after && window.after.at(-1) !== place) window.after.push(place);
          }).observe(pane, { attributes: true, attributeFilter: ["data-position"] });
        }"""
    )
    book.drag(root.locator(OCCLUDER), -90, -110, steps=100)
    final = book.wait_for(
        """() => {
          const numbers = /row (\\d+), column (\\d+)/.exec(document.querySelector(".cs-occluder").ariaValueText);
          const place = `${numbers[1]},${numbers[2]}`;
          const { settled, moves, after } = window;
          return settled === place && !document.querySelector("[aria-busy=true]") ? { place, moves, after } : null;
        }"""
    )
    assert final["moves"] >= 100
    # The answers that were under way may come first, then the last.
    assert len(final["after"]) <= IN_FLIGHT + 1
    position = [int(one) for one in final["place"].split(",")]
    assert position != [87, 87]
    book.run("w.wait()")
    book.reaches("w.position", position)
    truth = book.value(f"by_hand(net, w.image, {position}, 50).probabilities[net.predict(w.image).index].item()")
    assert book.value("w.probability") == pytest.approx(truth, abs=1e-4)
    assert number(root) == pytest.approx(truth, abs=6e-4)


def test_of_a_drag_only_what_the_kernel_can_follow_is_computed_and_always_the_last(notebook):
    book = notebook(SMALL, "w = cs.Occluder(net, pictures[0], size=16); w")
    root = book.cell(1).locator(".cs-root")
    shown_at(root, 24, 24)
    book.run(
        """
import threading
gate, computed, answer = threading.Event(), [], w._answer_occlude
def held(content):
    computed.append(list(content["position"]))
    gate.wait(120)
    return answer(content)
w._answer_occlude = held
"""
    )
    book.drag(root.locator(OCCLUDER), -500, -500, steps=100)  # longer than the kernel takes for the first position
    book.run("gate.set()")
    shown_at(root, 0, 0)
    book.run("w.wait()")
    computed = book.value("computed")
    assert 2 <= len(computed) <= IN_FLIGHT + 1
    assert computed[0] != computed[-1] == [0, 0]


def test_a_drag_does_not_make_the_kernel_busy(notebook):
    book = notebook(SMALL, "w = cs.Occluder(net, pictures[0], size=16); w")
    root = book.cell(1).locator(".cs-root")
    shown_at(root, 24, 24)
    book.page.evaluate(
        """() => {
          const said = (window.said = { statuses: [], taken: 0 });
          const { kernel } = window.nb.panel.sessionContext.session;
          kernel.statusChanged.connect((_, status) => said.statuses.push(status));
          kernel.iopubMessage.connect((_, { header, parent_header, content }) => {
            if (header.msg_type === "status" && parent_header.msg_type === "comm_msg")
              said.taken += content.execution_state === "idle";
          });
        }"""
    )
    book.drag(root.locator(OCCLUDER), -500, -500, steps=30, release=False)
    shown_at(root, 0, 0)
    # That each was taken is said all the same: the page waits for it.
    book.wait_for("() => window.said.taken >= 2")
    assert book.page.evaluate("window.said.statuses") == []
    # What a person's code may follow is work of the kernel's like any other.
    book.page.mouse.up()
    book.wait_for("() => window.said.statuses.includes('busy')")


def test_drag_follows_while_a_cell_is_busy(notebook):
    book = notebook(SMALL, "w = cs.Occluder(net, pictures[0], size=16); w", own=True)
    root = book.cell(1).locator(".cs-root")
    shown_at(root, 24, 24)
    # Messages pass the cells by now; until they do, the instrument says what is waited for.
    expect(root).to_have_attribute("data-beside", "true")
    with book.busy("w.position = (30, 30)"):  # what a cell sends does not call the page's messages into its queue
        shown_at(root, 30, 30)
        book.drag(root.locator(OCCLUDER), -500, -500, steps=30)
        shown_at(root, 0, 0)
    book.reaches("w.position", [0, 0])


def test_it_is_live_from_the_start_though_its_cell_goes_on_running(notebook):
    cell = "w = cs.Occluder(net, pictures[0], size=16); display(w); threading.Event().wait()"
    book = notebook(SMALL + "import threading", cell, own=True, run=False)
    book.run_cell(0)
    book.start_cell(1)
    root = book.cell(1).locator(".cs-root")
    shown_at(root, 24, 24)
    book.drag(root.locator(OCCLUDER), -500, -500, steps=30)
    shown_at(root, 0, 0)
    book.interrupt()
    book.reaches("w.position", [0, 0])


def test_nothing_moves_at_the_first_drag_which_the_square_asks_for(notebook):
    book = notebook(SMALL, "w = cs.Explorer(net, pictures, size=16); w")
    root = book.cell(1).locator(".cs-root")
    shown_at(root, 24, 24)
    expect(root.locator(".cs-occluder__hint")).to_be_visible()
    place = "(e) => { const { top, height } = e.getBoundingClientRect(); return [top, height]; }"
    parts = [
        root.locator(one) for one in [".cs-picture", ".cs-target", ".cs-classes >> nth=0", ".cs-strip", ".cs-grid"]
    ]
    expect(root.locator(".cs-grid")).to_have_attribute("data-painted", re.compile("activation"))
    book.rest()
    root.evaluate("(e) => e.scrollIntoView()")
    before = [one.evaluate(place) for one in parts]
    book.drag(root.locator(OCCLUDER), -500, -500, steps=10)
    shown_at(root, 0, 0)
    expect(root.locator(".cs-controls").get_by_role("button", name="clear")).to_be_visible()
    book.rest()
    assert [one.evaluate(place) for one in parts] == before
    expect(root.locator(".cs-occluder__hint")).to_be_hidden()


@pytest.mark.parametrize("name", ["Explorer", "Occluder"])
def test_nothing_moves_when_the_first_answers_come_and_until_then_it_says_loading(notebook, name):
    pictures = "pictures" if name == "Explorer" else "pictures[0]"
    book = notebook(SMALL + HELD, f"w = cs.{name}(net, {pictures}, size=16); hold(w); w")
    root = book.cell(1).locator(".cs-root")
    waiting = root.locator(".cs-is-loading:visible")
    expect(waiting).to_have_count(3 if name == "Explorer" else 2)  # picture, classes, and the grid
    words = waiting.evaluate_all("(all) => all.map((one) => getComputedStyle(one, '::after').content)")
    assert set(words) == {'"loading…"'}
    place = "(e) => { const { top, height } = e.getBoundingClientRect(); return [top, height]; }"
    names = [".cs-picture", ".cs-controls", ".cs-target", ".cs-classes >> nth=0", ".cs-classes >> nth=1"]
    if name == "Explorer":
        # Where the tiles will be there are some already.
        assert "gradient" in root.locator(".cs-grid__body").evaluate("(e) => getComputedStyle(e).backgroundImage")
        names += [".cs-strip", ".cs-filters", ".cs-unit__title", ".cs-unit__actions"]
    parts = [root.locator(one) for one in names]
    root.evaluate("(e) => e.scrollIntoView()")
    before = [one.evaluate(place) for one in parts]
    book.run("gate.set()")
    shown_at(root, 24, 24)
    expect(root.locator(".cs-is-loading:visible")).to_have_count(0)
    book.rest()
    after = [one.evaluate(place) for one in parts]
    assert dict(zip(names, after, strict=True)) == dict(zip(names, before, strict=True))


def test_the_chosen_tile_stays_in_sight_when_there_is_less_room(notebook):
    wide = """
layers = [nn.Conv2d(3, 700, 3, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(700, 4)]
net = cs.Network(nn.Sequential(*layers).eval(), input_size=32, name="wide")
"""
    book = notebook(SMALL + wide, "w = cs.Explorer(net, pictures[:2], layer='0', order='index', selected=400); w")
    root = book.cell(1).locator(".cs-root")
    grid = root.locator(".cs-grid")
    expect(grid).to_have_attribute("data-painted", "0/activation/inferno/unit")
    inside = """(grid) => {
      const row = Number(/row (\\d+) of/.exec(grid.querySelector("[role=gridcell]").textContent)[1]);
      const high = grid.scrollHeight / Number(grid.ariaRowCount);
      const above = (row - 1) * high - grid.scrollTop;
      return [grid.clientHeight, above > -2 && above + high < grid.clientHeight + 6];
    }"""
    # From the start, though what else is in the pane comes after the tiles.
    book.run("w.wait(60)")
    expect(root.locator(".cs-grid__foot")).to_contain_text("unit 400 is chosen")
    book.wait_for(f"() => ({inside})(document.querySelector('.cs-grid'))[1]")
    book.run("w.selected = 0")
    expect(root.locator("[role=gridcell]")).to_contain_text("unit 0")
    book.run("w.selected = 400")
    expect(root.locator("[role=gridcell]")).to_contain_text("unit 400")
    before, seen = grid.evaluate(inside)
    assert seen
    assert grid.evaluate("(grid) => grid.scrollTop") > 0
    book.page.set_viewport_size({"width": 1280, "height": 850})
    book.wait_for(f"() => document.querySelector('.cs-grid').clientHeight < {before}")
    book.wait_for(f"() => ({inside})(document.querySelector('.cs-grid'))[1]")
    # Who has scrolled elsewhere stays there.
    grid.evaluate("(grid) => { grid.scrollTop = 0; }")
    less = grid.evaluate("(grid) => grid.clientHeight")
    book.page.set_viewport_size({"width": 1280, "height": 1000})
    book.wait_for(f"() => document.querySelector('.cs-grid').clientHeight > {less}")
    assert grid.evaluate("(grid) => grid.scrollTop") == 0


def test_a_drop_is_announced_over_the_whole_picture(notebook):
    book = notebook(SMALL, "w = cs.Explorer(net, pictures, size=16); w")
    root = book.cell(1).locator(".cs-root")
    shown_at(root, 24, 24)
    contents = root.locator(".cs-picture").evaluate(
        """(picture) => {
          const files = new DataTransfer();
          files.items.add(new File(["x"], "x.png", { type: "image/png" }));
          const root = picture.closest(".cs-root");
          const say = () => getComputedStyle(picture, "::after").content;
          const tell = (type, target, relatedTarget) => target.dispatchEvent(
            new DragEvent(type, { bubbles: true, cancelable: true, dataTransfer: files, relatedTarget }));
          const contents = [say()];
          tell("dragover", picture);
          contents.push(say());
          tell("dragleave", picture, root.querySelector(".cs-strip"));
          contents.push(say());
          tell("dragleave", root, document.body);
          contents.push(say());
          return contents;
        }"""
    )
    assert contents == ["none", '"Drop to add a picture"', '"Drop to add a picture"', "none"]


def test_keyboard_moves_resizes_and_is_kept_from_the_notebook(notebook):
    book = notebook(SMALL, "w = cs.Occluder(net, pictures[0], size=16); w")
    root = book.cell(1).locator(".cs-root")
    occluder = root.locator(OCCLUDER)
    shown_at(root, 24, 24)
    occluder.focus()
    for key in ["ArrowDown", "ArrowDown", "Shift+ArrowRight", "ArrowLeft"]:
        occluder.press(key)
    shown_at(root, 26, 33)
    occluder.press("Home")
    occluder.press("PageDown")
    shown_at(root, 48, 0)
    occluder.press("-")
    occluder.press("+")
    occluder.press("+")
    shown_at(root, 46, 0)
    book.reaches("[w.position, w.size]", [[46, 0], 18])
    assert book.page.evaluate("() => window.nb.panel.content.widgets.length") == 2


@pytest.mark.slow  # a page and a kernel of its own
def test_finger_drags_and_corner_resizes(notebook):
    book = notebook(SMALL, "w = cs.Occluder(net, pictures[0], size=16); w", has_touch=True)
    root = book.cell(1).locator(".cs-root")
    shown_at(root, 24, 24)
    book.touch_drag(root.locator(OCCLUDER), 400, 0)
    shown_at(root, 24, 48)
    book.drag(root.locator(".cs-occluder__grip"), 0, 400, steps=10)
    # The square stays square and stops at the edge: 16 px are left to the right of its corner.
    book.reaches("w.size", 16)
    book.drag(root.locator(OCCLUDER), -900, -900, steps=5)
    shown_at(root, 0, 0)
    book.drag(root.locator(".cs-occluder__grip"), 999, 999, steps=10)
    book.wait_for("() => document.querySelector('.cs-occluder').style.width === '100%'")
    book.reaches("w.size", 64)


def test_position_set_from_python_moves_the_square_and_the_numbers(notebook):
    book = notebook(SMALL + BY_HAND, "w = cs.Occluder(net, cs.Picture(pictures[0], 'picture', 'class 3'), size=16); w")
    root = book.cell(1).locator(".cs-root")
    shown_at(root, 24, 24)
    # Of a picture whose class is known it is said whether it was classified right.
    first = book.value("net.predict(pictures[0]).label")
    verdict = "✓ class 3, classified right" if first == "class 3" else f"✗ class 3, taken for {first}"
    expect(root.locator(".cs-heading__name")).to_have_text(verdict)
    book.run("w.position = (3, 40)")
    shown_at(root, 3, 40)
    place = root.locator(OCCLUDER).evaluate("""(element) => {
      const [square, picture] = [element, element.parentElement].map((one) => one.getBoundingClientRect());
      return [(square.top - picture.top) / picture.height, (square.left - picture.left) / picture.width];
    }""")
    assert place == pytest.approx([3 / 64, 40 / 64], abs=1e-3)
    book.run("w.wait()")
    assert book.value("w.probability") == pytest.approx(
        book.value("by_hand(net, w.image, (3, 40), 16).probabilities[net.predict(w.image).index].item()"),
        abs=1e-5,
    )


def test_pixels_on_the_screen_are_those_that_the_network_gets(notebook):
    book = notebook(
        SMALL,
        "w = cs.Occluder(net, pictures[0], size=(20, 30), shape='ellipse', fill='noise', position=(5, 7)); w",
    )
    root = book.cell(1).locator(".cs-root")
    shown_at(root, 5, 7)
    drawn = root.locator(".cs-picture__canvas").evaluate(
        """async (canvas) => {
          await new Promise(requestAnimationFrame);
          const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
          return [...data].filter((_, index) => index % 4 < 3);
        }"""
    )
    book.run("occlusion = w._occlusion(0, 'noise', 'ellipse')")
    expected = book.value("net.picture(occlusion.occlude((5, 7), (20, 30))).ravel().tolist()")
    assert len(drawn) == 64 * 64 * 3
    assert max(abs(a - b) for a, b in zip(drawn, expected, strict=True)) <= 1  # rounding of the noise


def test_click_on_a_filter_shows_the_nine_patches_that_a_brute_force_search_finds(notebook):
    book = notebook(SMALL, "w = cs.Explorer(net, pictures, layer='3'); w")
    root = book.cell(1).locator(".cs-root")
    expect(root.locator(".cs-status__work")).to_contain_text("survey of 12 pictures")
    grid = root.locator(".cs-grid")
    expect(grid).to_have_attribute("data-painted", "3/activation/inferno/unit")
    root.locator(".cs-tools select:has(option[value=index])").select_option("index")
    grid.click(position={"x": 10, "y": 10})
    expect(root.locator(".cs-unit__title")).to_have_text("unit 0")
    root.locator(".cs-search").fill("17")
    grid.click(position={"x": 10, "y": 10})
    expect(root.locator(".cs-unit__title")).to_have_text("unit 17")
    expect(root.locator(".cs-unit__content")).not_to_have_class(re.compile("cs-is-stale"))
    expect(root.locator(PATCH)).to_have_count(9)
    # What was chosen went to the kernel before what was asked of it.
    assert book.value("w.selected") == 17
    shown = [
        [float(patch.get_attribute(f"data-{name}")) for name in ("value", "image", "row", "column")]
        for patch in root.locator(PATCH).all()
    ]
    truth = book.run(
        """
import json
found = []
with torch.no_grad():
    for index, picture in enumerate(pictures):
        map_ = module[:5](net.prepare(picture))[0, 17]
        place = int(map_.argmax())
        found.append([float(map_.max()), index, place // map_.shape[1], place % map_.shape[1]])
found.sort(key=lambda one: (-one[0], one[1]))
print(json.dumps(found[:9]))
"""
    )
    assert [one[1:] for one in shown] == [one[1:] for one in truth]
    assert [one[0] for one in shown] == pytest.approx([one[0] for one in truth], rel=1e-5)
    open_more(root.locator(".cs-unit"))
    with book.page.expect_download() as saved:
        root.get_by_label("Save the unit as PNG").click()
    assert saved.value.suggested_filename == "small-unit-3-17.png"
    book.run("import hashlib; from convscope._figure import written")
    digest = book.value("hashlib.sha256(written(w.figure('unit'), 'png')).hexdigest()")
    assert hashlib.sha256(saved.value.path().read_bytes()).hexdigest() == digest


def test_hovering_a_patch_shows_its_picture_with_the_box(notebook):
    book = notebook(SMALL, "w = cs.UnitPanel(net, pictures, layer='0', channel=3); w")
    root = book.cell(1).locator(".cs-root")
    expect(root.locator(PATCH)).to_have_count(9)
    patch = root.locator(PATCH).nth(4)
    patch.hover()
    expect(patch).to_have_attribute("aria-selected", "true")
    book.rest()
    box = book.value("list(w.survey.top('0', 3)[4].box)")
    drawn_box = root.locator(".cs-context__box").evaluate(
        """(box) => {
          const [inner, outer] = [box.getBoundingClientRect(), box.parentElement.getBoundingClientRect()];
          const scale = 64 / outer.width;
          return [inner.top - outer.top, inner.left - outer.left, inner.bottom - outer.top, inner.right - outer.left]
            .map((one) => one * scale);
        }"""
    )
    assert drawn_box == pytest.approx([min(64, max(0, one)) for one in box], abs=0.1)
    image = book.value("w.survey.top('0', 3)[4].image")
    drawn = root.locator(".cs-context__canvas").first.evaluate(
        "(canvas) => [...canvas.getContext('2d').getImageData(0, 0, 64, 1).data].filter((_, i) => i % 4 < 3)"
    )
    assert drawn == book.value(f"net.picture(pictures[{image}])[0].ravel().tolist()")


def test_an_exception_in_the_network_is_shown_and_the_widget_recovers(notebook):
    book = notebook(SMALL, "w = cs.Occluder(net, pictures[0], size=16); w")
    root = book.cell(1).locator(".cs-root")
    shown_at(root, 24, 24)
    book.run(
        """
working = net.probabilities
def broken(*args, **options):
    raise RuntimeError("the network broke as planned")
net.probabilities = broken
"""
    )
    root.locator(OCCLUDER).focus()
    root.locator(OCCLUDER).press("ArrowDown")
    error = root.locator(".cs-error")
    expect(error).to_contain_text("the network broke as planned")
    expect(root.locator(SHOWN)).to_have_attribute("data-position", "24,24")
    expect(root.locator(".cs-target__value")).not_to_be_empty()
    book.run("net.probabilities = working")
    root.locator(OCCLUDER).press("ArrowDown")
    shown_at(root, 26, 24)
    expect(error).to_have_count(0)


def test_clearing_the_output_ends_thread_and_tensors_and_showing_again_brings_all_back(notebook):
    book = notebook(SMALL, "w = cs.Occluder(net, pictures[0], size=16); w", "w")
    threads = "[t.name for t in __import__('threading').enumerate() if t.name.startswith('convscope')]"
    shown_at(book.cell(1).locator(".cs-root"), 24, 24)
    shown_at(book.cell(2).locator(".cs-root"), 24, 24)
    assert book.value(threads) == ["convscope-occluder"]
    book.clear_output(2)
    expect(book.cell(2).locator(".cs-root")).to_have_count(0)
    book.cell(1).locator(OCCLUDER).press("ArrowDown")
    shown_at(book.cell(1).locator(".cs-root"), 25, 24)
    book.run("thread = w._worker._thread")
    book.clear_output(1)
    expect(book.cell(1).locator(".cs-root")).to_have_count(0)
    book.run("thread.join(20)")
    assert book.value(threads) == []
    assert book.value("len(w._occluder.kept)") == 0
    # No hook was ever put on the module.
    assert book.value("sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in module.modules())") == 0
    book.run_cell(2)
    shown_at(book.cell(2).locator(".cs-root"), 25, 24)


def test_two_views_stay_in_step(notebook):
    book = notebook(SMALL, "w = cs.Occluder(net, pictures[0], size=16); w", "w")
    first, second = (book.cell(index).locator(".cs-root") for index in (1, 2))
    shown_at(second, 24, 24)
    book.drag(first.locator(OCCLUDER), -500, -500, steps=10)
    for root in (first, second):
        shown_at(root, 0, 0)
    second.get_by_role("radio", name="Ellipse").click()
    expect(first.locator(OCCLUDER)).to_have_attribute("data-shape", "ellipse")
    values = book.page.locator(".cs-target__value")
    expect(values).to_have_count(2)
    # Both in one look: the ellipse's probability may come at any moment, and then to both.
    assert len(set(values.all_inner_texts())) == 1


def test_dark_theme_is_followed(notebook):
    book = notebook(SMALL, "w = cs.Occluder(net, pictures[0], size=16); w")
    root = book.cell(1).locator(".cs-root")
    expect(root).to_have_attribute("data-theme", "light")
    light = root.evaluate("(e) => [getComputedStyle(e).backgroundColor, getComputedStyle(e).color]")
    book.theme("dark")
    expect(root).to_have_attribute("data-theme", "dark")
    dark = root.evaluate("(e) => [getComputedStyle(e).backgroundColor, getComputedStyle(e).color]")

    def lightness(colour: str) -> float:
        red, green, blue = (float(one) for one in re.findall(r"[\d.]+", colour)[:3])
        return (0.2126 * red + 0.7152 * green + 0.0722 * blue) / 255

    assert lightness(light[0]) > 0.9 > 0.3 > lightness(light[1])
    assert lightness(dark[0]) < 0.2 < 0.7 < lightness(dark[1])


def test_filter_grid_recolours_sorts_and_selects_without_the_kernel(notebook):
    book = notebook(SMALL, "w = cs.FilterGrid(net, pictures[0], layer='3'); w")
    root = book.cell(1).locator(".cs-root")
    grid = root.locator(".cs-grid")
    expect(grid).to_have_attribute("data-painted", "3/activation/inferno/unit")
    asked = book.record_requests("w")
    pixel = "(canvas) => [...canvas.getContext('2d').getImageData(5, 5, 1, 1).data]"
    before = grid.locator("canvas").evaluate(pixel)
    open_more(root)
    root.get_by_label("Colours of the tiles").select_option("viridis")
    root.get_by_role("radio", name="layer", exact=True).click()
    expect(grid).to_have_attribute("data-painted", "3/activation/viridis/layer")
    assert grid.locator("canvas").evaluate(pixel) != before
    grid.focus()
    maxima = book.value("net.activations(pictures[0], ['3'])['3'][0].flatten(1).amax(1).tolist()")
    grid.press("Home")
    book.reaches("w.selected", max(range(40), key=lambda channel: (maxima[channel], -channel)))
    grid.press("End")
    book.reaches("w.selected", min(range(40), key=lambda channel: (maxima[channel], -channel)))
    book.reaches("[w.colormap, w.scale]", ["viridis", "layer"])
    assert book.value(asked) == []


def test_colours_stand_for_numbers_and_classes_have_their_names(notebook):
    book = notebook(SMALL, "w = cs.FilterGrid(net, pictures[0], layer='3', selected=3); w")
    root = book.cell(1).locator(".cs-root")
    grid, bar, foot = root.locator(".cs-grid"), root.locator(".cs-tools .cs-bar"), root.locator(".cs-grid__foot")
    painted = re.compile("^3/activation/inferno/unit$")
    expect(grid).to_have_attribute("data-painted", painted)
    book.run("maps = net.activations(pictures[0], '3')['3'][0].flatten(1)")
    written = "(lambda v: '0' if v == 0 else f'{v:#.3g}'.rstrip('.'))"
    low, high = (book.value(f"{written}({end})") for end in ("maps[3].min().item()", "maps[3].max().item()"))
    expect(bar).to_have_attribute("aria-label", f"Scale of unit 3: {low} to {high}")
    root.get_by_role("radio", name="layer", exact=True).click()
    high = book.value(f"{written}(maps.max().item())")
    expect(bar).to_have_attribute("aria-label", f"Scale of layer: 0 to {high}")
    expect(bar.locator(".cs-bar__zero")).to_be_hidden()

    # Weights go below zero, and share one range unless asked.
    book.run("w.set_trait('layer', '0'); w.lens = 'weights'")
    high = book.value(f"{written}(module[0].weight.abs().max().item())")
    expect(bar).to_have_attribute("aria-label", f"Scale of layer: −{high} to {high}")
    expect(bar.locator(".cs-bar__zero")).to_have_attribute("style", "left: 50%;")
    book.run("w.weights_scale = 'unit'")
    high = book.value(f"{written}(module[0].weight[3].abs().max().item())")
    expect(bar).to_have_attribute("aria-label", f"Scale of unit 3: −{high} to {high}")

    # Logits: one value a tile, on either side of zero, each with the name of its class.
    book.run("w.lens = 'activation'; w.layer = '7'")
    expect(bar).to_have_attribute("aria-label", re.compile("^Scale of layer: −(.+) to \\1$"))
    expect(foot).to_have_text(re.compile(r"^10 classes · unit 3 is chosen · \d at or below zero here$"))
    expect(root.get_by_role("radio", name="layer", exact=True)).to_be_hidden()
    colours = grid.locator("canvas").evaluate(
        """(canvas) => {
          const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, 40);
          return new Set(new Uint32Array(data.buffer)).size;
        }"""
    )
    assert colours > 10
    root.locator(".cs-search").fill("class 7")
    expect(grid).to_have_attribute("aria-rowcount", "1")
    grid.press("Home")
    expect(root.locator("[role=gridcell]")).to_contain_text("unit 7 · class 7 · max ")


def test_thousands_of_channels_paint_only_what_is_in_sight(notebook):
    wide = """
import torch, convscope as cs
from torch import nn
module = nn.Sequential(
    nn.Conv2d(3, 8192, 3, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8192, 4)
).eval()
net = cs.Network(module, input_size=32, name="wide")
"""
    book = notebook(wide, "w = cs.FilterGrid(net, torch.rand(3, 32, 32), layer='0'); w")
    root = book.cell(1).locator(".cs-root")
    grid = root.locator(".cs-grid")
    expect(grid).to_have_attribute("data-painted", "0/activation/inferno/unit")
    size = grid.evaluate("(e) => [e.querySelector('canvas').height, e.scrollHeight, e.querySelectorAll('*').length]")
    assert size[0] <= 640 * 2
    assert size[1] > 10 * size[0]
    assert size[2] < 10
    # Nor are more painted when it scrolls.
    painted, in_sight = grid.evaluate(
        """async (e) => {
          const { drawImage } = CanvasRenderingContext2D.prototype;
          let tiles = 0;
          CanvasRenderingContext2D.prototype.drawImage = function (...all) {
            tiles += 1;
            return drawImage.apply(this, all);
          };
          const painted = [];
          for (let at = 1; at <= 10; at++) {
            tiles = 0;
            e.scrollTop = at * 300;
            for (let frame = 0; frame < 3; frame++) await new Promise(requestAnimationFrame);
            painted.push(tiles);
          }
          CanvasRenderingContext2D.prototype.drawImage = drawImage;
          const rows = Math.ceil(e.clientHeight / (e.scrollHeight / e.ariaRowCount)) + 1;
          return [painted, rows * e.ariaColCount];
        }"""
    )
    assert min(painted) > 0
    assert max(painted) <= in_sight
    grid.focus()
    grid.press("End")
    assert grid.evaluate("(e) => e.scrollTop + e.clientHeight >= e.scrollHeight - 2")


def test_grid_shows_the_unit_that_was_selected_elsewhere(notebook):
    many = """
import torch, convscope as cs
from torch import nn
module = nn.Sequential(
    nn.Conv2d(3, 2000, 3, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2000, 4)
).eval()
net = cs.Network(module, input_size=32, name="many")
"""
    book = notebook(many, "w = cs.FilterGrid(net, torch.rand(3, 32, 32), '0', order='index', selected=1500); w")
    grid = book.cell(1).locator(".cs-grid")
    expect(grid).to_have_attribute("data-painted", "0/activation/inferno/unit")
    in_sight = "(e) => { const place = Math.floor(%d / e.ariaColCount) / e.ariaRowCount * e.scrollHeight;"
    in_sight += " return place >= e.scrollTop - 1 && place < e.scrollTop + e.clientHeight; }"
    assert grid.evaluate(in_sight % 1500)
    assert not grid.evaluate(in_sight % 20)
    book.run("w.selected = 20")
    expect(grid.get_by_role("gridcell")).to_contain_text("unit 20 ")
    assert grid.evaluate(in_sight % 20)


def test_explorer_links_layers_pictures_and_address(notebook):
    book = notebook(SMALL, "w = cs.Explorer(net, pictures, layer='3'); w")
    root = book.cell(1).locator(".cs-root")
    expect(root.locator(".cs-status__work")).to_contain_text("survey of 12 pictures")
    root.locator(".cs-layer[data-layer='0']").click()
    expect(root.locator(".cs-grid")).to_have_attribute("data-painted", "0/activation/inferno/unit")
    address = root.locator(".cs-address")
    address.fill("small/3/31")
    address.press("Enter")
    expect(root.locator(".cs-unit__title")).to_have_text("unit 31")
    book.reaches("[w.layer, w.selected, w.address]", ["3", 31, "small/3/31"])
    address.fill("small/nowhere/1")
    address.press("Enter")
    expect(address).to_have_attribute("aria-invalid", "true")
    expect(root.get_by_role("alert")).to_contain_text("got nowhere, which is no layer")
    book.run("w.address = 'small/0/5'")
    expect(root.locator(".cs-unit__title")).to_have_text("unit 5")
    expect(root.get_by_role("alert")).to_have_count(0)
    # By the ribbon another layer opens on its strongest unit, the first of the grid.
    root.locator(".cs-layer[data-layer='3']").click()
    book.reaches(
        "w.selected", book.value("int(net.activations(pictures[0], ['3'])['3'][0].flatten(1).amax(1).argmax())")
    )
    before = root.locator(".cs-target__label").inner_text(), root.locator(".cs-target__value").inner_text()
    root.locator(".cs-thumbnail[data-picture='4']").click()
    expect(root.locator(".cs-heading__name").first).to_have_text(book.value("w.images[4].name"))
    book.run("w.wait()")
    book.reaches("w.picture", 4)
    expected = book.value("net.predict(pictures[4]).label")
    expect(root.locator(".cs-target__label")).to_have_text(expected)
    assert (expected, root.locator(".cs-target__value").inner_text()) != before


def test_any_class_is_followed_and_a_click_on_a_patch_brings_its_picture(notebook):
    book = notebook(SMALL, "w = cs.Explorer(net, pictures, layer='3'); w")
    root = book.cell(1).locator(".cs-root")
    expect(root.locator(PATCH)).to_have_count(9)
    least = book.value("int(net.predict(pictures[0]).probabilities.argmin())")
    field = root.get_by_label("Follow any class")
    field.focus()
    expect(root.locator(".cs-probabilities datalist option")).to_have_count(10)
    field.fill("no such thing")
    field.press("Enter")
    expect(field).to_have_attribute("aria-invalid", "true")
    # What is said of it covers no class, and goes with the next that is followed.
    complaint = root.locator(".cs-probabilities .cs-complaint")
    book.rest()
    lower = complaint.bounding_box()
    assert lower["y"] + lower["height"] <= root.locator(".cs-class").first.bounding_box()["y"]
    field.fill(f"class {least}")
    field.press("Enter")
    expect(complaint).to_be_hidden()
    expect(root.locator(".cs-target__label")).to_have_text(f"class {least}")
    book.reaches("w.target", least)
    # It has its bars as the others have; a click lets go of it.
    row = root.get_by_role("button", name=f"class {least}", pressed=True)
    expect(row.locator(".cs-class__value")).to_have_text(root.locator(".cs-target__value").inner_text())
    row.click()
    expect(row).to_be_hidden()
    book.reaches("w.target", None)
    patch = root.locator(f"{PATCH}:not([data-image='0'])").first
    image = int(patch.get_attribute("data-image"))
    patch.click()
    expect(root.locator(f".cs-thumbnail[data-picture='{image}']")).to_have_attribute("aria-current", "true")
    book.reaches("[w.picture, len(w.images)]", [image, 12])
    root.get_by_role("button", name="Back").click()
    book.reaches("w.picture", 0)


def test_a_unit_and_a_picture_are_pinned_beside_others(notebook):
    book = notebook(SMALL, "w = cs.Explorer(net, pictures, layer='3', selected=2, size=16); w")
    root = book.cell(1).locator(".cs-root")
    shown_at(root, 24, 24)
    unit, picture = root.get_by_role("group", name="Pinned unit"), root.get_by_role("group", name="Pinned picture")
    root.get_by_role("button", name="pin", exact=True).click()
    root.get_by_role("button", name="Pin this picture").click()
    root.locator(".cs-thumbnail[data-picture='3']").click()
    book.run("w.selected = 9")
    expect(root.locator(".cs-unit__title")).to_have_text("unit 9")
    expect(unit.get_by_title("Go to it")).to_have_text("3/2")
    expect(unit.locator("canvas")).to_have_count(18)
    x = "w._occlusion(3, 'grey', 'square').occlude((24, 24), 16)"
    value = book.value(f"float(net.activations({x}, '3')['3'][0, 2].max())")
    expect(unit).to_contain_text(f"{value:#.3g} on this picture")
    expect(picture).to_contain_text(book.value("net.predict(pictures[0]).label"))
    assert in_sight(root, unit)
    unit.get_by_role("button", name="unpin").click()
    expect(unit).to_be_hidden()
    expect(root.get_by_role("button", name="pin", exact=True)).to_be_focused()
    picture.get_by_role("button", name="unpin").click()
    expect(picture).to_be_hidden()


def test_a_unit_that_is_pinned_comes_though_another_one_is_selected_before(notebook):
    book = notebook(SMALL + HELD, "w = cs.Explorer(net, pictures, layer='3', selected=2, size=16); w")
    root = book.cell(1).locator(".cs-root")
    expect(root.locator(PATCH)).to_have_count(9)
    book.rest()
    book.run("hold(w)")
    pin = root.get_by_role("button", name="pin", exact=True)
    # The first is on its way; of the others the kernel is asked for the last.
    for unit in (4, 5, 9):
        book.run(f"w.selected = {unit}")
        expect(root.locator(".cs-grid__foot")).to_contain_text(f"unit {unit} is chosen")
        if unit == 5:
            pin.click()
            expect(pin).to_have_attribute("aria-pressed", "true")
    expect(pin).to_have_attribute("aria-pressed", "false")
    asked = book.record_requests("w")
    book.run("gate.set()")
    expect(root.locator(".cs-unit__title")).to_have_text("unit 9")
    pinned = root.get_by_role("group", name="Pinned unit")
    expect(pinned.get_by_title("Go to it")).to_have_text("3/5")
    expect(pinned.get_by_role("img", name="Their projections, deconvnet")).to_be_visible()
    assert "pinned_projections" in book.value(asked)


def test_a_unit_is_looked_at_large_with_its_fields(notebook):
    book = notebook(SMALL, "w = cs.Explorer(net, pictures, layer='3', selected=2, size=16); w")
    root = book.cell(1).locator(".cs-root")
    shown_at(root, 24, 24)
    button = root.get_by_role("button", name="enlarge")
    button.click()
    dialog = root.get_by_role("dialog", name="One unit, large")
    facts = dialog.locator(".cs-detail__facts")
    x = "w._occlusion(0, 'grey', 'square').occlude((24, 24), 16)"
    strongest = book.value(f"divmod(int(net.activations({x}, '3')['3'][0, 2].argmax()), 16)")
    fields = "(lambda f: [[b.height, b.width] for b in (f.field, f.box)])(cs.effective_field(net, {}, '3', 2, {}))"
    for place, keys in ((strongest, []), ([0, 0], ["ArrowUp"] * 16 + ["ArrowLeft"] * 16)):
        frame = dialog.get_by_role("application")
        for key in keys:
            frame.press(key)
        expect(frame).to_have_attribute("data-place", ",".join(map(str, place)))
        (high, wide), (h, w) = book.value(fields.format(x, tuple(place)))
        expect(facts).to_contain_text(f"receptive field {high} × {wide} px")
        expect(facts).to_contain_text(f"{h} × {w} px hold 95 % of the gradient’s energy")
    box = frame.bounding_box()
    book.page.mouse.move(box["x"] + box["width"] * 0.99, box["y"] + box["height"] * 0.5)
    expect(frame).to_have_attribute("data-place", "8,15")
    book.page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(button).to_be_focused()


def test_silenced_units_are_said_and_the_classes_follow(notebook):
    book = notebook(SMALL, "w = cs.Explorer(net, pictures, layer='3', selected=2, size=16); w")
    root = book.cell(1).locator(".cs-root")
    expect(root.locator(PATCH)).to_have_count(9)
    shown_at(root, 24, 24)
    target = book.value("net.predict(pictures[0]).index")
    truth = "net.silenced(w.silenced).predict(w._occlusion(0, 'grey', 'square').occlude((24, 24), 16))"
    toggle, count = root.get_by_role("button", name="silence", exact=True), root.locator(".cs-silenced summary")
    expect(count).to_be_hidden()
    toggle.click()
    expect(toggle).to_have_attribute("aria-pressed", "true")
    expect(count).to_have_text("1 unit silenced")
    x = "w._occlusion(0, 'grey', 'square').occlude((24, 24), 16)"

    def said(count: str) -> str:
        clean, whole, silent = book.value(
            f"[net.predict(pictures[0]).label, net.predict({x}).label, net.silenced(w.silenced).predict({x}).label]"
        )
        if whole != silent:
            return f"without {count}: {silent} instead of {whole}"
        return f"still {clean}" if clean == silent else f"{clean} → {silent}"

    expect(root.locator(".cs-flip")).to_have_text(said("1 unit"))
    expect(root.locator(".cs-context__caption").last).to_contain_text("silenced")
    open_more(root.locator(".cs-unit"))
    root.get_by_label("Silence more of the layer").select_option("strongest")
    book.reaches("set(w.silenced['3']) == set(w.survey.half('3', 'strongest'))", True)
    book.run("w.wait()")
    expect(root.locator(".cs-flip")).to_have_text(said("20 units"))
    # Where a drag ends it is asked once more what only the whole network knows.
    book.drag(root.locator(".cs-occluder"), -30, 20, steps=6)
    book.reaches("w.position != (24, 24)", True)
    x = x.replace("(24, 24)", "w.position")
    expect(root.locator(".cs-flip")).to_have_text(said("20 units"))
    book.run("w.position = (24, 24)")
    shown_at(root, 24, 24)
    assert number(root) == pytest.approx(book.value(f"{truth}.probabilities[{target}].item()"), abs=6e-4)
    mark = root.locator(".cs-class__whole").first
    whole = book.value(f"net.predict(pictures[0]).probabilities[{target}].item()")
    assert float(mark.evaluate("(e) => e.style.left").rstrip("%")) == pytest.approx(100 * whole, abs=0.1)
    expect(root.locator(PATCH)).to_have_count(9)  # of the whole network's survey
    count.click()
    expect(root.locator(".cs-silenced .cs-menu__list")).to_contain_text(
        "the survey, and so a unit’s patches", ignore_case=True
    )
    root.get_by_role("button", name="Silence 20 of 40 units of 3 no longer").click()
    expect(count).to_be_hidden()
    expect(root.locator(":focus")).to_have_count(1)  # what is near takes it: it never falls to the page
    expect(root.locator(".cs-flip")).not_to_contain_text("without")
    book.run("w.silenced = {'0': [1, 5], '3': 7}")
    expect(count).to_have_text("3 units silenced")
    count.click()
    root.get_by_role("button", name="Silence unit 5 of 0 no longer").click()
    book.reaches("w.silenced", {"0": [1], "3": [7]})
    root.get_by_role("button", name="silence none").click()
    book.reaches("w.silenced", {})


def test_explorer_draws_the_history_of_the_drag(notebook):
    book = notebook(SMALL, "w = cs.Explorer(net, pictures, layer='3'); w")
    root = book.cell(1).locator(".cs-root")
    shown_at(root, 25, 25)
    book.rest()
    tall = "(e) => e.getBoundingClientRect().height"
    alone = root.locator(".cs-body").evaluate(tall)
    root.get_by_role("button", name="history").click()
    expect(book.cell(1).locator(".bqplot")).to_be_visible()
    expect(root.locator(".cs-tabled:not(.cs-unit *)")).to_be_visible()
    book.rest()
    assert root.locator(".cs-body").evaluate(tall) == pytest.approx(alone, abs=1)  # nothing is taken from the panes
    path = book.cell(1).locator(".bqplot path.line").last
    book.drag(root.locator(OCCLUDER), -300, -300, steps=40)
    shown_at(root, 0, 0)
    book.run("w.wait()")
    frames = book.value("[frame['target']['now'] for frame in w.history.frames]")
    assert len(frames) >= 2
    assert frames[-1] == pytest.approx(book.value("w.probability"))
    book.wait_for("(n) => document.querySelectorAll('.bqplot path.line').length >= 2", 2)
    expect(path).to_have_attribute("d", re.compile(r"^M.*L"))
    book.run("w.show_history = False")
    expect(book.cell(1).locator(".bqplot")).to_have_count(0)


def heights(output: Locator) -> float:
    """Height of an instrument with what is beneath it."""
    return output.locator(".jp-OutputArea-output").evaluate("(e) => e.getBoundingClientRect().height")


def in_sight(root: Locator, part: Locator) -> bool:
    """Whether all of a part can be seen without scrolling inside the instrument."""
    return part.evaluate(
        """(part, root) => {
          const [box, outer] = [part.getBoundingClientRect(), root.getBoundingClientRect()];
          const [x, y] = [(box.left + box.right) / 2, (box.top + box.bottom) / 2];
          const inside = box.top >= outer.top && box.bottom <= outer.bottom + 1 && box.height > 0;
          const above = root.getRootNode().elementFromPoint(x, y);
          return inside && (part.contains(above) || above?.contains(part));
        }""",
        root.element_handle(),
    )


def test_the_explorer_stands_on_a_page_and_pointing_at_a_patch_shows_its_picture(notebook):
    book = notebook(SMALL, "w = cs.Explorer(net, pictures, layer='3'); w", viewport={"width": 1400, "height": 1000})
    root = book.cell(1).locator(".cs-root")
    expect(root.locator(PATCH)).to_have_count(9)
    assert heights(book.cell(1)) <= 860
    root.scroll_into_view_if_needed()
    assert all(in_sight(root, root.locator(one)) for one in [".cs-status", ".cs-address", ".cs-unit__title"])
    figure = root.locator(".cs-context").first
    patch = root.locator(PATCH).nth(8)
    patch.hover()
    expect(root.locator(".cs-context__caption").first).to_contain_text(patch.locator(".cs-patch__value").inner_text())
    expect(figure).not_to_have_class(re.compile("cs-is-stale"))
    assert in_sight(root, figure)
    # What does not fit scrolls inside.
    root.locator(".cs-unit__rest").evaluate("(e) => { e.scrollTop = 9999; }")
    assert in_sight(root, figure)


def test_on_a_narrow_page_a_click_on_a_tile_changes_what_is_in_sight(notebook):
    book = notebook(SMALL, "w = cs.Explorer(net, pictures, layer='3'); w", viewport={"width": 820, "height": 1000})
    root = book.cell(1).locator(".cs-root")
    expect(root.locator(".cs-grid")).to_have_attribute("data-painted", "3/activation/inferno/unit")
    expect(root.locator("[aria-label='Top patches']")).to_be_visible()
    book.rest()
    places = [
        root.locator(part).evaluate("(e) => e.getBoundingClientRect().top")
        for part in [".cs-ribbon", ".cs-picture", ".cs-grid", "[aria-label='Top patches']"]
    ]
    assert places == sorted(places)
    grid, title = root.locator(".cs-grid"), root.locator(".cs-unit__title")
    before = title.inner_text()
    root.evaluate("(e) => e.scrollIntoView()")  # the page, not the instrument
    grid.click(position={"x": 60, "y": 10})
    expect(title).not_to_have_text(before)
    assert in_sight(root, title)
    lines = "(e) => [e.getBoundingClientRect().height, e.scrollWidth - e.clientWidth]"
    height, beyond = root.locator(".cs-unit__lines").evaluate(lines)
    assert height <= 72
    assert beyond <= 0
    # What is pinned stands beneath.
    root.get_by_role("button", name="pin", exact=True).click()
    place = "(e) => e.getBoundingClientRect().top"
    expect(root.locator(".cs-pinned")).to_be_visible()  # as soon as the unit has come
    book.rest()
    assert root.locator(".cs-pinned").evaluate(place) > root.locator(".cs-patches--weaker").evaluate(place)
    root.locator(".cs-body").evaluate("(e) => { e.scrollTop = 9999; }")
    root.evaluate("(e) => e.scrollIntoView()")
    assert in_sight(root, title)


def test_the_explorer_fills_the_window_and_comes_back(notebook):
    book = notebook(SMALL, "w = cs.Explorer(net, pictures, layer='3'); w", viewport={"width": 1400, "height": 1100})
    root = book.cell(1).locator(".cs-root")
    button = root.get_by_role("button", name="Fill the window")
    height = "() => Math.round(document.querySelector('.cs-root').getBoundingClientRect().height)"
    book.rest()
    usual = book.page.evaluate(height)
    button.click()
    book.wait_for("() => document.querySelector('.cs-root').getBoundingClientRect().height >= window.innerHeight - 1")
    expect(button).to_have_attribute("aria-pressed", "true")
    button.click()
    expect(button).to_have_attribute("aria-pressed", "false")
    book.wait_for(f"(usual) => ({height})() === usual", usual)


def test_picture_added_by_file_is_shown_and_a_broken_one_is_refused_in_the_widget(notebook, tmp_path):
    from PIL import Image

    good, bad = tmp_path / "red.png", tmp_path / "broken.png"
    Image.new("RGB", (64, 64), (200, 10, 10)).save(good)
    bad.write_bytes(good.read_bytes()[:60])
    book = notebook(SMALL, "w = cs.Explorer(net, pictures, layer='3'); w")
    root = book.cell(1).locator(".cs-root")
    expect(root.locator(".cs-thumbnail[data-picture]")).to_have_count(12)
    root.locator("input[type=file][multiple]").set_input_files(str(good))
    expect(root.locator(".cs-thumbnail[data-picture]")).to_have_count(13)
    expect(root.locator(".cs-heading__name").first).to_have_text("red.png")
    assert book.value("net.picture(w.images[12].image)[32, 32].tolist()") == [200, 10, 10]
    root.locator("input[type=file][multiple]").set_input_files(str(bad))
    error = root.locator(".cs-error__text")
    expect(error).to_contain_text("got broken.png: 60 bytes")
    expect(error).to_have_text(re.compile("^(?!.*Expected.*Expected)"))
    root.evaluate("(one) => one.scrollIntoView({ block: 'end' })")
    assert in_sight(root, error)
    assert book.value("len(w.images)") == 13
    # What was added can be removed; the picture before takes its place, and the focus.
    expect(root.get_by_role("button", name=re.compile("^Remove "))).to_have_count(1)
    root.get_by_role("button", name="Remove red.png").click()
    expect(root.locator(".cs-thumbnail[data-picture]")).to_have_count(12)
    expect(root.locator(".cs-thumbnail[data-picture='11']")).to_be_focused()
    expect(root.locator(".cs-heading__name").first).to_have_text(book.value("w.images[11].name"))
    shown_at(root, 25, 25)
    book.reaches("w.picture", 11)


def test_survey_shows_progress_and_stops_when_cancelled(notebook):
    slow = (
        SMALL
        + """
import threading
gate, begun = threading.Semaphore(0), []
visit = net.visit
def gated(*arguments):
    begun.append(arguments)
    gate.acquire()
    visit(*arguments)
net.visit = gated
"""
    )
    book = notebook(slow, "w = cs.Explorer(net, pictures, layer='3'); w")
    root = book.cell(1).locator(".cs-root")
    expect(root.locator(".cs-status__work")).to_contain_text("survey 0 of 12")
    book.run("gate.release()")
    expect(root.locator(".cs-status__work")).to_contain_text("survey 4 of 12")
    book.reaches("len(begun)", 2)
    root.get_by_role("button", name="cancel").click()
    assert book.value("w._survey_job.stopped.wait(20)")
    book.run("gate.release(9)")
    # The batch under way is finished, no other is begun; what is there is kept and shown.
    expect(root.locator(".cs-status__work")).to_contain_text("survey stopped after 8 of 12")
    root.locator(".cs-grid").press("Home")
    expect(root.locator(PATCH)).to_have_count(8)
    assert book.value("int(w.survey.seen.sum())") == 8


@pytest.mark.parametrize("width", [1280, 700])
def test_nothing_is_wider_than_the_notebook(notebook, width):
    viewport = {"width": width + 120, "height": 1000}
    book = notebook(SMALL, "w = cs.Explorer(net, pictures, layer='3'); w", viewport=viewport)
    root = book.cell(1).locator(".cs-root")
    expect(root.locator(".cs-grid")).to_have_attribute("data-painted", "3/activation/inferno/unit")
    wide = root.evaluate(
        """(root) => [...root.querySelectorAll("*")].filter((e) => {
          const scrolls = e.closest(".cs-ribbon, .cs-visually-hidden, .cs-occluder, .cs-tip, .cs-strip");
          return !scrolls && e.getBoundingClientRect().right > root.getBoundingClientRect().right + 1;
        }).map((e) => e.className)"""
    )
    assert wide == []


def test_saved_page_works_without_a_kernel(notebook, browser, tmp_path):
    book = notebook(SMALL, "w = cs.Explorer(net, pictures, layer='3', selected=2); w.wait()")
    book.run(f"w.to_html({json.dumps(str(tmp_path / 'saved.html'))})")
    context = browser.new_context(offline=True)
    page = context.new_page()
    problems = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: message.type == "error" and problems.append(message.text))
    page.goto((tmp_path / "saved.html").as_uri())
    root = page.locator(".cs-root")
    shown_at(root, 25, 25)
    expect(root.locator(".cs-grid")).to_have_attribute("data-painted", "3/activation/inferno/unit")
    expect(root.locator(PATCH)).to_have_count(9)
    open_more(root.locator(".cs-filters"))
    root.get_by_label("Colours of the tiles").select_option("magma")
    expect(root.locator(".cs-grid")).to_have_attribute("data-painted", "3/activation/magma/unit")
    expect(root.locator(".cs-status")).to_contain_text("no kernel")
    assert problems == []
    context.close()


def test_an_error_is_said_in_the_pane_of_what_was_done(notebook):
    cells = "w = cs.Explorer(net, pictures, cs.survey(net, pictures, layers=['3'], progress=False), layer='3'); w"
    book = notebook(SMALL, cells)
    root = book.cell(1).locator(".cs-root")
    shown_at(root, 25, 25)
    root.locator(".cs-layer[data-layer='0']").click()
    expect(root.locator(".cs-pane--unit .cs-error")).to_contain_text("Expected the surveyed layer '3', got '0'")
    expect(root.locator(".cs-error")).to_have_count(1)
    # Nothing of the unit before waits for what will not come.
    expect(root.locator(".cs-unit__content")).to_be_hidden()
    expect(root.locator(".cs-pane--unit .cs-empty").last).to_have_text(
        "The unit could not be shown: the error says why."
    )
    root.get_by_role("button", name="Dismiss").click()
    expect(root.locator(".cs-error")).to_have_count(0)
    root.locator(".cs-layer[data-layer='3']").click()
    expect(root.locator(PATCH)).to_have_count(9)


def test_a_menu_is_put_away_by_a_choice_a_click_elsewhere_and_escape(notebook):
    book = notebook(SMALL, "w = cs.FilterGrid(net, pictures[0], layer='3'); w")
    root = book.cell(1).locator(".cs-root")
    opens, menu = root.locator(".cs-more > summary"), root.locator(".cs-more")
    size = root.locator(".cs-zoom button:enabled").last
    for leave in (
        lambda: root.locator(".cs-grid").click(position={"x": 5, "y": 5}),
        lambda: book.cell(0).locator(".jp-InputPrompt").click(),
        lambda: book.page.keyboard.press("Escape"),
        lambda: root.get_by_label("Colours of the tiles").select_option("viridis"),
    ):
        opens.click()
        size.click()
        # What is pressed again and again leaves it where it is.
        expect(menu).to_have_attribute("open", "")
        leave()
        expect(menu).not_to_have_attribute("open", "")
    # By keys one goes on through the options.
    opens.press("Enter")
    colours = root.get_by_label("Colours of the tiles")
    colours.focus()
    colours.press("ArrowDown")
    expect(colours).to_have_value("magma")
    expect(menu).to_have_attribute("open", "")
    # Wherever the focus is.
    root.evaluate("() => document.activeElement.blur()")
    book.page.keyboard.press("Escape")
    expect(menu).not_to_have_attribute("open", "")


def test_pictures_that_cannot_be_read_are_named_and_the_others_shown(notebook, tmp_path):
    from PIL import Image

    for name, colour in (("0.png", 0), ("1.png", 90), ("2.png", 180)):
        Image.new("RGB", (64, 64), (colour, 10, 10)).save(tmp_path / name)
    (tmp_path / "0.png").write_bytes((tmp_path / "1.png").read_bytes()[:60])
    book = notebook(SMALL, f"w = cs.Explorer(net, {str(tmp_path)!r}, layer='3'); w")
    root = book.cell(1).locator(".cs-root")
    expect(root.locator(".cs-strip__unread")).to_have_text("0.png cannot be read")
    expect(root.locator(".cs-heading__name").first).to_have_text("1.png")
    expect(root.locator(".cs-thumbnail[data-picture='0']")).to_be_disabled()
    expect(root.locator(".cs-strip .cs-thumbnail canvas")).to_have_count(2)
    expect(root.locator(".cs-error")).to_have_count(0)
    # From Python one can be looked at all the same: it is said in place of the picture, not in the grid's pane.
    shown_at(root, 25, 25)
    book.run("w.picture = 0")
    failed = re.compile("cs-is-failed")
    expect(root.locator(".cs-pane--picture .cs-error")).to_contain_text("0.png")
    expect(root.locator(".cs-error")).to_have_count(1)
    for part in (root.locator(".cs-picture"), root.locator(SHOWN)):
        expect(part).to_have_class(failed)
    expect(root.locator(OCCLUDER)).to_be_hidden()
    root.locator(".cs-thumbnail[data-picture='2']").click()
    expect(root.locator(".cs-heading__name").first).to_have_text("2.png")
    expect(root.locator(".cs-error")).to_have_count(0)
    for part in (root.locator(".cs-picture"), root.locator(SHOWN)):
        expect(part).not_to_have_class(failed)


def test_the_address_is_whole_on_a_page_as_narrow_as_a_hand(notebook):
    long = SMALL.replace('name="small"', 'name="a_network_of_a_rather_long_name"')
    book = notebook(long, "w = cs.Explorer(net, pictures, layer='3', selected=12); w")
    root = book.cell(1).locator(".cs-root")
    address = root.locator(".cs-address")
    expect(address).to_have_value("a_network_of_a_rather_long_name/3/12")
    book.page.set_viewport_size({"width": 390, "height": 1000})
    book.wait_for("() => document.querySelector('.cs-root').clientWidth < 300")
    assert address.evaluate("(field) => field.scrollWidth <= field.clientWidth")
    address.fill("nowhere")
    address.press("Enter")
    inside = """(one) => {
      const [own, around] = [one, one.closest(".cs-root")].map((each) => each.getBoundingClientRect());
      return own.width > 0 && own.left >= around.left && own.right <= around.right;
    }"""
    assert root.locator(".cs-addressed .cs-complaint").evaluate(inside)
