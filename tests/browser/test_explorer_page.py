"""The explorer on a page: what fits, what stays where it is, and what fingers do."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from stage import answer, stage
from test_access import saved
from test_instruments import in_sight
from test_layout import ROWS

#: Of the explorer alone, as wide as a notebook's output in windows of 1340, 820 and 390 px.
WIDTHS = (1220, 700, 270)


@pytest.fixture(scope="module")
def page(browser: Browser) -> Iterator[Page]:
    opened = stage(browser, {"Explorer": saved("Explorer")})
    yield opened
    opened.context.close()


def widen(page: Page, width: int) -> Locator:
    """Give the explorer a width, CSS px."""
    page.set_viewport_size({"width": width + 32, "height": 1000})
    root = page.locator(".cs-root")
    assert root.evaluate("(root) => root.getBoundingClientRect().width") == width
    page.evaluate("window.idle()")
    return root


def placeholders(page: Page) -> dict[str, bool]:
    """The words in empty fields as the browser draws them, and whether they are whole."""
    devtools = page.context.new_cdp_session(page)
    root = devtools.send("DOM.getDocument", {"depth": -1, "pierce": True})["root"]
    found = {}

    def look(node: dict) -> None:  # type: ignore[type-arg]
        if node.get("attributes", [])[:2] == ["pseudo", "-webkit-input-placeholder"] or (
            node.get("pseudoType") == "placeholder"
        ):
            drawn = devtools.send("DOM.resolveNode", {"nodeId": node["nodeId"]})["object"]["objectId"]
            whole = "function () { return [this.textContent, this.clientWidth, this.scrollWidth]; }"
            answer = devtools.send(
                "Runtime.callFunctionOn", {"objectId": drawn, "functionDeclaration": whole, "returnByValue": True}
            )
            words, room, wide = answer["result"]["value"]
            if room:
                found[words] = wide <= room
        for child in [*node.get("children", []), *node.get("shadowRoots", [])]:
            look(child)

    look(root)
    devtools.detach()
    return found


@pytest.mark.parametrize("width", WIDTHS)
def test_words_in_empty_fields_are_whole(page: Page, width: int) -> None:
    widen(page, width)
    page.evaluate("window.models.Explorer.update({ _labels: ['a class'] })")
    assert placeholders(page) == {"any class": True, "unit, class": True}
    # It is told where they are not.
    page.locator(".cs-search").evaluate("(one) => { one.placeholder = 'a number or the name of a class'; }")
    assert placeholders(page)["a number or the name of a class"] is False
    page.evaluate("window.models.Explorer.update({ _labels: [] })")


@pytest.mark.parametrize("width", WIDTHS)
def test_a_value_and_its_place_are_whole_beneath_their_picture(page: Page, width: int) -> None:
    root = widen(page, width)
    # Of a name the beginning is in sight, of a path (there is none on a saved page) the end.
    expect(root.locator(".cs-context__source")).to_have_css("direction", "ltr")
    captions = root.locator(".cs-context__caption:visible")
    expect(captions).to_have_count(2)
    for caption in captions.all():
        value, place = caption.inner_text().split("\n")
        assert place.startswith("row ")
        assert value
        assert caption.evaluate("(one) => one.scrollWidth <= one.clientWidth")


def test_the_search_does_not_stand_alone_on_a_line(page: Page) -> None:
    assert widen(page, 1220).evaluate(ROWS, 2) == []


@pytest.mark.parametrize("width", [1220, 1100, 960, 700, 500])
def test_a_long_line_of_the_status_leaves_the_address_its_end(page: Page, width: int) -> None:
    root = widen(page, width)
    page.evaluate("window.models.Explorer.update({ silenced: [['0', [1]]] })")
    expect(root.get_by_text("1 unit silenced")).to_be_visible()
    # As it is while a survey of a network with long names runs, which no saved page shows.
    line = root.locator(".cs-status")
    before = line.evaluate("(line) => line.innerHTML")
    latency, work = line.locator("> span").nth(1), line.locator(".cs-status__work")
    latency.evaluate("(one) => { one.textContent = 'answer in 8.3 s'; }")
    work.evaluate("(one) => { for (const part of [one, ...one.children]) part.hidden = false; }")
    words = "survey 40 of 122, 2 min 5 s left, 3 unreadable"
    line.locator(".cs-status__progress").evaluate("(one, words) => { one.textContent = words; }", words)
    address = root.get_by_label("Address of the unit")
    address.evaluate("(one) => { one.value = 'efficientnet_lite0/blocks.4.2.conv_pwl/1075'; }")
    assert address.evaluate("(one) => one.scrollWidth <= one.clientWidth")
    assert in_sight(root, address)
    assert in_sight(root, work.get_by_role("button", name="cancel", exact=True))
    # Less important words give way to the count, and nothing moves when the state changes.
    if width >= 700:
        count = line.locator(".cs-status__progress")
        count.evaluate("(one) => { one.textContent = 'survey 40 of 122, 2 min 5 s left'; }")
        assert count.evaluate("(one) => one.scrollWidth <= one.clientWidth")
        state = line.locator(".cs-status__state")
        places = []
        for word in ("ready", "computing"):
            state.evaluate("(one, word) => { one.textContent = ` · cpu · ${word}`; }", word)
            places.append(count.bounding_box())
        assert places[0] == places[1]
    page.evaluate("window.models.Explorer.update({ silenced: [] })")
    line.evaluate("(line, before) => { line.innerHTML = before; }", before)


CUT_ROWS = """(strip) => {
  const edge = strip.getBoundingClientRect().bottom;
  return [...strip.querySelectorAll(".cs-thumbnail")].map((one) => one.getBoundingClientRect())
    .filter(({ top, bottom }) => top < edge - 1 && bottom > edge + 1).length;
}"""


@pytest.mark.parametrize("height", [760, 1000, 1060])
def test_thumbnails_stand_in_whole_rows_and_what_adds_is_first(page: Page, height: int) -> None:
    root = widen(page, 1220)
    page.set_viewport_size({"width": 1252, "height": height})
    page.evaluate("window.idle()")
    strip = root.locator(".cs-strip")
    assert strip.evaluate(CUT_ROWS) == 0
    if height >= 1000:  # the column has room for all of it
        assert root.locator(".cs-pane--picture").evaluate("(one) => one.scrollHeight <= one.clientHeight")
    add = root.get_by_role("button", name="Add pictures")
    add.scroll_into_view_if_needed()
    (top, left), (around, edge) = ((box["y"], box["x"]) for one in (add, strip) if (box := one.bounding_box()))
    assert (top - around, left - edge) == (3, 3)


def test_a_size_of_two_numbers_is_whole_and_moves_nothing(page: Page) -> None:
    root = widen(page, 1220)
    place = "(one) => one.getBoundingClientRect().top"
    target, field = root.locator(".cs-target"), root.get_by_label("Size of the occluder")
    before = target.evaluate(place)
    page.evaluate("window.models.Explorer.update({ size: [224, 200] })")
    expect(field).to_have_value("224×200")
    assert field.evaluate("(one) => one.scrollWidth <= one.clientWidth")
    assert target.evaluate(place) == before
    page.evaluate("window.models.Explorer.update({ size: 10 })")


@pytest.mark.parametrize("width", WIDTHS[1:])
def test_in_one_column_the_units_title_is_always_in_sight(page: Page, width: int) -> None:
    root = widen(page, width)
    title, body = root.locator(".cs-unit__title"), root.locator(".cs-body")
    for share in (0, 0.2, 0.4, 0.6, 0.8, 1):
        body.evaluate("(one, share) => { one.scrollTop = share * one.scrollHeight; }", share)
        assert in_sight(root, title), share
    body.evaluate("(one) => { one.scrollTop = 0; }")


def test_in_a_window_of_its_own_the_history_is_within(page: Page) -> None:
    root = widen(page, 1220)
    history = root.locator(".cs-history")
    root.get_by_role("button", name="history").click()
    expect(history).to_be_hidden()
    root.get_by_role("button", name="Fill the window").click()
    expect(history).to_be_visible()
    root.get_by_role("button", name="Fill the window").click()
    expect(history).to_be_hidden()
    root.get_by_role("button", name="history").click()


def test_a_second_finger_does_not_take_the_square_away_from_the_first(browser: Browser) -> None:
    page = stage(browser, {"Explorer": saved("Explorer")}, has_touch=True)
    frame, square = page.locator(".cs-picture"), page.locator(".cs-occluder")
    box, held = frame.bounding_box(), square.bounding_box()
    assert box
    assert held
    first = {"x": held["x"] + held["width"] / 2, "y": held["y"] + held["height"] / 2, "id": 1}
    second = {"x": box["x"] + 8, "y": box["y"] + 8, "id": 2}
    devtools = page.context.new_cdp_session(page)

    def touch(kind: str, *points: dict[str, float]) -> None:
        devtools.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": list(points)})

    touch("touchStart", first)
    touch("touchStart", first, second)
    touch("touchMove", first, second | {"x": second["x"] + 40})
    assert square.bounding_box() == held
    touch("touchEnd")
    # What the browser takes away, to enlarge the page, has moved nothing.
    touch("touchStart", second)
    assert square.bounding_box() != held
    touch("touchCancel")
    assert square.bounding_box() == held
    frame.tap(position={"x": 30, "y": 30})
    assert square.bounding_box() != held
    page.context.close()


#: The main parts, and where they are; of the strip of layers the cells, too.
PLACES = """(root) => {
  const PARTS = `.cs-pane, .cs-part, .cs-overview, .cs-layer, .cs-block, .cs-picture, .cs-controls, .cs-target,
    .cs-classes, .cs-strip, .cs-tools, .cs-tools > *, .cs-grid__body, .cs-grid__foot, .cs-address, .cs-unit__title,
    .cs-unit__facts, .cs-unit__actions, .cs-contexts, .cs-context, .cs-unit__rest`;
  return [...root.querySelectorAll(PARTS)].filter((one) => one.getClientRects().length > 0).map((one) => {
    const { left, top, width } = one.getBoundingClientRect();
    // What a tool is for is the first thing in it.
    const name = one.dataset.layer ?? (one.matches(".cs-tools > *") ? one.firstChild.textContent : "");
    const kind = [...one.classList].filter((name) => !name.startsWith("cs-is-")).join(" ");
    return `${kind} ${name}: ${Math.round(left)}, ${Math.round(top)}, ${Math.round(width)} wide`;
  });
}"""


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_moves_from_the_first_paint_until_all_is_there(browser: Browser, width: int) -> None:
    page = stage(browser, {"Explorer": saved("Explorer")}, held=True, viewport={"width": width + 32, "height": 1000})
    root = page.locator(".cs-root")
    settled = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"

    def survey(**changes: object) -> None:
        page.evaluate(
            "(changes) => { const { Explorer: model } = window.models;"
            " model.update({ _survey: { ...model.get('_survey'), ...changes } }); }",
            changes,
        )

    layers = page.evaluate("() => window.models.Explorer.get('_network').layers.map(({ name }) => name)")
    survey(state="running", revision=0, done=0, images=0, dead={})
    page.evaluate(settled)
    first = root.evaluate(PLACES)
    assert len(first) >= 30
    survey(revision=1, done=4, total=1200, left=93, images=4, dead=dict.fromkeys(layers, 0.5), inactive="inactive")
    answer(page)
    page.evaluate(settled)
    assert [one for one in first if one not in (now := root.evaluate(PLACES))] == []
    survey(state="done", revision=2, done=1200, images=1200, dead=dict.fromkeys(layers, 1), inactive="dead")
    page.evaluate(settled)
    assert [one for one in now if one not in root.evaluate(PLACES)] == []
    # Whatever moves is found.
    root.locator(".cs-tools").evaluate("(one) => { one.style.marginBottom = '29px'; }")
    assert [one for one in now if one not in root.evaluate(PLACES)] != []
    page.context.close()


def test_a_strip_of_layers_says_at_which_end_it_goes_on(page: Page) -> None:
    root = widen(page, 270)
    page.evaluate(
        "() => { const { Explorer: model } = window.models, of = model.get('_network'), [layer] = of.layers;"
        " model.update({ _network: { ...of, layers: ["
        "   ...of.layers, ...[...Array(9).keys()].map((at) => ({ ...layer, name: `more${at}` }))] } }); }"
    )
    strip, ends = root.locator(".cs-ribbon"), root.locator(".cs-ribbon__more")
    strip.evaluate("(one) => { one.scrollLeft = 0; }")
    expect(ends.nth(0)).to_be_hidden()
    expect(ends.nth(1)).to_be_visible()
    ends.nth(1).click()
    expect(ends.nth(0)).to_be_visible()
    strip.evaluate("(one) => { one.scrollLeft = one.scrollWidth; }")
    expect(ends.nth(1)).to_be_hidden()
    # In the page's other direction, too: what is written in an instrument runs from left to right.
    page.evaluate("() => { document.documentElement.dir = 'rtl'; }")
    expect(ends.nth(1)).to_be_hidden()
    strip.evaluate("(one) => { one.scrollLeft = 0; }")
    expect(ends.nth(0)).to_be_hidden()
    expect(ends.nth(1)).to_be_visible()
    page.evaluate("() => { document.documentElement.dir = ''; }")


BARS = """(row) => [...row.querySelectorAll(".cs-class__bar")].map((bar) => {
  const { backgroundImage, backgroundColor } = getComputedStyle(bar);
  return `${backgroundImage} ${backgroundColor}`;
})"""


def test_in_forced_colours_clean_and_occluded_are_told_apart_of_any_class(browser: Browser) -> None:
    page = stage(browser, {"Explorer": saved("Explorer")}, forced_colors="active")
    root = page.locator(".cs-root")
    rows = root.locator(".cs-class:not(.cs-is-empty)")
    rows.first.click()
    for row in rows.all():
        clean, occluded = row.evaluate(BARS)
        assert clean != occluded
        assert "gradient" in clean
    keys = root.locator(".cs-legend__key")
    assert len({key.evaluate("(one) => getComputedStyle(one).backgroundImage") for key in keys.all()[:2]}) == 2
    # The strip of layers ends in an edge, where no fade is drawn.
    expect(root.locator(".cs-ribbon__more").first).to_have_css("border-top-style", "solid")
    page.context.close()
