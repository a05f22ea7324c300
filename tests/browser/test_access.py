"""For everyone: by keys alone, by a screen reader, in forced colours, enlarged, by touch, without motion."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from playwright.sync_api import Browser, Page, expect
from torch import nn

import convscope as cs
from stage import stage
from test_saved_pages import INSTRUMENTS, network, pictures

ROOT = Path(__file__).parents[2]
AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"


def evolving(net: cs.Network) -> Any:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 5, 5), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3))
    recorder = cs.EvolutionRecorder(module, at=range(4), input_size=32, name="small")
    for epoch in range(1, 4):
        for values in module.parameters():
            values.data += 0.2 * torch.randn_like(values)
        recorder.step(epoch=epoch)
    return cs.Evolution(cs.evolution(recorder, pictures(), progress=False), layer="0")


def moving(net: cs.Network) -> Any:
    view = cs.Invariance(net, pictures()[:3], {"shift_x": [-8, 0, 8]}, ["0", "2"])
    assert view.wait(60)
    return view


MADE = {name: made for name, made in INSTRUMENTS.items() if name != "FilterGrid of patches"}
MADE |= {"Evolution": evolving, "Invariance": moving}


@lru_cache
def saved(name: str) -> tuple[str, str]:
    """The bundle of an instrument, and the page that holds what it shows."""
    instrument = MADE[name](network())
    page = instrument.to_html()
    instrument.close()
    return instrument._name, page


@pytest.fixture(scope="module")
def page(browser: Browser) -> Iterator[Page]:
    """All instruments below one another; tests that change them open a page of their own."""
    page = stage(browser, {name: saved(name) for name in MADE})
    page.evaluate(AXE.read_text("utf-8"))
    yield page
    page.context.close()


def shown(page: Page, *, dark: bool = False, forced: bool = False) -> None:
    page.emulate_media(color_scheme="dark" if dark else "light", forced_colors="active" if forced else "none")
    themes = "() => [...new Set([...document.querySelectorAll('.cs-root')].map((root) => root.dataset.theme))].join()"
    page.wait_for_function(f"(theme) => ({themes})() === theme", arg="dark" if dark else "light")
    page.evaluate("window.idle()")


#: What axe says is wrong: the rule, and where.
RUN_AXE = """async () => {
  const tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
  // A notebook's page has its own headings and landmarks.
  const rules = Object.fromEntries(["heading-order", "region"].map((rule) => [rule, { enabled: false }]));
  const { violations } = await axe.run("main", { runOnly: tags, rules, resultTypes: ["violations"] });
  return violations.flatMap(({ id, help, nodes }) => nodes.map(({ target, any, all, none }) =>
    `${id} (${help}): ${target} ${[...any, ...all, ...none].map(({ message }) => message)}`));
}"""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing(page: Page, dark: bool) -> None:
    shown(page, dark=dark)
    assert page.evaluate(RUN_AXE) == []


#: Contrasts that are too low of what is no text: borders, bars, keys, the mark of what is chosen.
LOW_CONTRAST = """() => {
  const context = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    context.clearRect(0, 0, 1, 1);
    context.fillStyle = colour;
    context.fillRect(0, 0, 1, 1);
    return [...context.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => [0.2126, 0.7152, 0.0722].reduce((sum, weight, at) => {
    const value = [r, g, b][at] / 255;
    return sum + weight * (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
  }, 0);
  const contrast = (one, other) => {
    const [less, more] = [light(one), light(other)].sort((a, b) => a - b);
    return (more + 0.05) / (less + 0.05);
  };
  const over = ([r, g, b, a], under) => [r, g, b].map((value, at) => (value * a + under[at] * (255 - a)) / 255);
  const behind = (element) =>
    element ? over(rgba(getComputedStyle(element).backgroundColor), behind(element.parentElement)) : rgba("Canvas");
  const colours = (text) => (text.match(/(?:rgba?|color)\\([^)]*\\)|#[0-9a-f]{3,8}/gi) ?? []).map(rgba);
  const low = [];
  let count = 0;
  const check = (what, element, found) => {
    count += 1;
    const { name } = element.closest("section").dataset;
    if (found < 2.995) low.push(`${found.toFixed(2)} ${what}: ${name} .${element.className}`);
  };
  const all = (selector) => [...document.querySelectorAll(selector)].filter((one) => {
    if (!one.closest("main")) return false;
    const { width, height } = one.getBoundingClientRect();
    if (one.closest(":disabled, [inert]") || Math.min(width, height) < 0.5) return false;
    return one.checkVisibility({ visibilityProperty: true });
  });
  for (const one of all("button, input:not([type=range], [type=checkbox], [type=file]), select, [role=radiogroup]")) {
    const style = getComputedStyle(one);
    const [colour] = colours(style.borderTopColor);
    if (parseFloat(style.borderTopWidth) > 0 && style.borderTopStyle !== "none" && colour[3] > 0)
      check("border", one, contrast(colour, behind(one.parentElement)));
  }
  const bars = [".cs-class__bar", ".cs-legend__key", ".cs-histogram__bar", ".cs-progress i", ".cs-health__part",
    ".cs-patterns__bar i", ".cs-patterns__dot", ".cs-dots__dot", ".cs-dots__random", ".cs-bar__zero", ".cs-bar__clean",
    ".cs-status__dot", ".cs-overview__bar", ".cs-jump__mark", ".cs-pinned__class i", ".cs-class__whole", ".cs-line i"];
  for (const one of all(bars.join())) {
    const style = getComputedStyle(one);
    const edge = parseFloat(style.borderTopWidth) > 0 ? [rgba(style.borderTopColor)] : [];
    const under = behind(one.parentElement);
    const seen = [...colours(style.backgroundImage), rgba(style.backgroundColor), ...edge];
    check("bar", one, Math.max(1, ...seen.map((colour) => contrast(over(colour, under), under))));
  }
  const chosen = ["checked", "selected", "pressed", "current"].map((name) => `[aria-${name}=true]`).join();
  for (const one of all(chosen)) {
    if (one.closest(".cs-visually-hidden")) continue;
    const style = getComputedStyle(one);
    const around = behind(one.parentElement);
    const bold = [one, ...one.querySelectorAll("*")].some((part) => Number(getComputedStyle(part).fontWeight) >= 600);
    const marks = [...colours(style.boxShadow), rgba(style.backgroundColor)];
    const least = bold && one.matches(".cs-class, .cs-line, .cs-labels__row, .cs-explained__class") ? 3 : 1;
    check("chosen", one, Math.max(least, ...marks.map((colour) => contrast(over(colour, around), around))));
  }
  return { low: [...new Set(low)], count };
}"""


@pytest.mark.parametrize("forced", [False, True], ids=["own colours", "forced colours"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_what_carries_meaning_has_a_contrast_of_three(page: Page, dark: bool, forced: bool) -> None:
    shown(page, dark=dark, forced=forced)
    found = page.evaluate(LOW_CONTRAST)
    assert found["low"] == []
    assert found["count"] > 200


#: What has the focus in an instrument, how that is drawn and called; null where nothing has.
FOCUS = """() => {
  let at = document.activeElement;
  while (at?.shadowRoot?.activeElement) at = at.shadowRoot.activeElement;
  const host = at?.closest(".cs-host");
  if (!host) return null;
  const style = getComputedStyle(at);
  const role = at.getAttribute("role") ?? at.tagName.toLowerCase();
  const accent = getComputedStyle(at).getPropertyValue("--cs-accent");
  const name = at.getAttribute("aria-label") ?? (at.labels?.[0]?.textContent || at.textContent);
  const probe = document.body.appendChild(document.createElement("i"));
  probe.style.color = accent;
  const chosen = getComputedStyle(probe).color;
  probe.remove();
  // What comes meanwhile may have moved it.
  at.scrollIntoView({ block: "nearest", inline: "nearest" });
  const box = at.getBoundingClientRect();
  return {
    role, name: name.trim(), type: at.type ?? "",
    what: `${role} “${name.trim().slice(0, 40)}” .${at.className}`,
    ring: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2,
    ringed: style.outlineColor === chosen && style.boxShadow === "none" ? "as what is chosen" : "",
    dialog: at.closest("dialog") !== null,
    seen: box.bottom > 0 && box.right > 0 && box.top < innerHeight && box.left < innerWidth && box.width > 0,
  };
}"""

KEYS = {
    "button": ("Enter", " "),
    "select": ("ArrowDown", "ArrowUp"),
    "slider": ("ArrowRight", "ArrowDown", "Enter"),
    "application": ("ArrowRight", "Enter"),
    "grid": ("ArrowDown", "End", "Home"),
    "radio": ("ArrowRight", "ArrowLeft"),
    "option": ("Enter", "ArrowRight", "ArrowLeft"),
    "row": ("Enter", "ArrowDown"),
    "summary": ("Enter",),
}
FIELDS = {"text", "search", "number"}


def walk(page: Page, most: int = 200) -> int:
    """Go through an instrument by Tab and press what there is; how many stops it had.

    Wherever a key leads, the focus must be in the instrument afterwards, and to be seen.
    """
    trouble: list[str] = []

    def press(key: str, on: Any) -> Any:
        page.keyboard.press(key)
        after = page.evaluate(FOCUS)
        if after is None:
            trouble.append(f"{key} on {on['what']} led the focus out of the instrument")
        return after

    page.get_by_role("button", name="before").focus()
    stops = 0
    while stops < most:
        page.keyboard.press("Tab")
        at = page.evaluate(FOCUS)
        if at is None:
            break
        stops += 1
        if not at["ring"] or at["ringed"]:
            trouble.append(f"the focus cannot be told on {at['what']} {at['ringed']}")
        if not any(sign.isalnum() for sign in at["name"]):
            trouble.append(f"no words for {at['what']}")
        if not at["seen"]:
            trouble.append(f"out of sight: {at['what']}")
        keys = KEYS.get(at["role"], ())
        if at["type"] in FIELDS:
            keys = ("a", "Backspace", "Enter", "Escape")
        elif at["type"] == "range":
            keys = ("ArrowRight", "ArrowLeft")
        now = at
        for key in keys:
            now = press(key, at)
            if now and now["dialog"] and not at["dialog"]:
                press("ArrowRight", at)
                now = press("Escape", at)
            if now is None or now["what"] != at["what"]:
                break
        if now is None:
            break
    else:
        trouble.append(f"no end after {most} stops")
    assert trouble == [], "\n".join(trouble)
    return stops


def pressed_through(browser: Browser, name: str, times: int = 1, **options: Any) -> None:
    page = stage(browser, {name: saved(name)}, **options)
    page.on("filechooser", lambda _chooser: None)
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    for _ in range(times):
        assert walk(page) >= 3
        page.evaluate("window.idle()")
    assert problems == []
    page.context.close()


@pytest.mark.parametrize("name", MADE)
def test_every_control_is_reached_and_pressed_by_keys_and_the_focus_stays(browser: Browser, name: str) -> None:
    pressed_through(browser, name)


@pytest.mark.slow
@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("options", [{"color_scheme": "dark"}, {"viewport": {"width": 640, "height": 500}}], ids=str)
def test_what_pressing_brings_is_pressed_in_turn(browser: Browser, name: str, options: dict[str, Any]) -> None:
    pressed_through(browser, name, times=3, **options)


def test_in_a_shadow_tree_keys_are_the_instruments_and_the_focus_stays(browser: Browser) -> None:
    page = stage(browser, {"FilterGrid": saved("FilterGrid")}, shadow=True)
    page.evaluate("() => { window.heard = []; document.addEventListener('keydown', ({ key }) => heard.push(key)); }")
    page.locator("select:visible").first.focus()
    for key in ("m", "ArrowDown", "Enter"):
        page.keyboard.press(key)
    page.locator(".cs-search").fill("3")
    page.keyboard.press("d")
    page.locator(".cs-more > summary").focus()
    page.keyboard.press("Enter")
    smaller = page.get_by_role("button", name="Smaller tiles")
    smaller.focus()
    for _ in range(2):
        page.keyboard.press("Enter")
    expect(smaller).to_be_disabled()
    expect(page.get_by_role("button", name="Larger tiles")).to_be_focused()
    page.keyboard.press("Control+s")
    assert [key for key in page.evaluate("heard") if key != "Control"] == ["s"]
    assert page.locator("section").get_attribute("data-lm-suppress-shortcuts") == "true"
    page.context.close()


def test_enlarged_to_200_per_cent_all_is_on_the_page(browser: Browser) -> None:
    page = stage(browser, {name: saved(name) for name in MADE}, viewport={"width": 640, "height": 500})
    outside = page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, [tabindex='0']")].filter((one) => {
          const [box, root] = [one, one.closest(".cs-root") ?? document.body].map((at) => at.getBoundingClientRect());
          if (box.width === 0 || !one.checkVisibility({ visibilityProperty: true })) return false;
          for (let at = one.parentElement; at && !at.matches(".cs-root"); at = at.parentElement)
            if (/auto|scroll/.test(getComputedStyle(at).overflowX) && at.scrollWidth > at.clientWidth) return false;
          return box.left < root.left - 1 || box.right > root.right + 1;
        }).map((one) => one.outerHTML.slice(0, 120))"""
    )
    assert outside == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.context.close()


def test_who_wants_no_motion_sees_none(browser: Browser) -> None:
    page = stage(browser, {name: saved(name) for name in ("Explorer", "Evolution")}, reduced_motion="reduce")
    moving = """() => [...document.querySelectorAll(".cs-root *")].flatMap((one) => [null, "::after", "::before"]
      .map((part) => getComputedStyle(one, part))
      .filter(({ animationName, animationDuration, transitionDuration }) => parseFloat(transitionDuration) > 0.001
        || (animationName !== "none" && parseFloat(animationDuration) > 0.001)).map(() => one.className))"""
    page.evaluate("document.querySelector('.cs-grid').classList.add('cs-is-stale')")
    page.evaluate("document.querySelector('.cs-live').dataset.state = 'training'")
    assert page.evaluate(moving) == []
    page.emulate_media(reduced_motion="no-preference")
    assert page.evaluate(moving) != []
    page.context.close()


def test_where_text_runs_from_right_to_left_numbers_stay_in_order(browser: Browser) -> None:
    page = stage(browser, {name: saved(name) for name in ("Explorer", "Compare", "OcclusionMap")})
    page.evaluate("document.documentElement.dir = 'rtl'")
    page.evaluate("for (const one of document.querySelectorAll('.cs-class__label, b')) one.textContent = 'قطة 7'")
    turned = """() => {
          const texts = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
          const found = [];
          for (let node = texts.nextNode(); node; node = texts.nextNode()) {
            const digits = [...node.data.matchAll(/\\d/g)].map(({ index }) => {
              const range = document.createRange();
              range.setStart(node, index);
              range.setEnd(node, index + 1);
              return range.getBoundingClientRect();
            });
            const [first, last] = [digits[0], digits.at(-1)];
            if (digits.length > 1 && first.top === last.top && first.left > last.left && first.width > 0
              && !node.parentElement.closest(".cs-cka__columns, .cs-context__source"))
              found.push(node.data);
          }
          return found;
        }"""
    assert page.evaluate(turned) == []
    for row in page.locator(".cs-class:visible").all()[:3]:
        name, value = row.locator(".cs-class__label").bounding_box(), row.locator(".cs-class__value").bounding_box()
        assert name
        assert value
        assert name["x"] < value["x"]
    page.evaluate("for (const host of document.querySelectorAll('.cs-host')) host.dir = 'rtl'")
    assert page.evaluate(turned) != []
    page.context.close()


def test_a_finger_taps_the_square_to_another_place_and_drags_it(browser: Browser) -> None:
    page = stage(browser, {"Occluder": saved("Occluder")}, has_touch=True)
    frame, square = page.locator(".cs-picture"), page.locator(".cs-occluder")
    before = square.get_attribute("aria-valuetext")
    frame.tap(position={"x": 40, "y": 40})
    expect(square).not_to_have_attribute("aria-valuetext", before or "")
    place = square.get_attribute("style")
    box = square.bounding_box()
    assert box
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    devtools = page.context.new_cdp_session(page)
    for kind, by in (("touchStart", 0), ("touchMove", 30), ("touchMove", 60)):
        points = [{"x": x + by, "y": y + by}]
        devtools.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    devtools.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    expect(square).not_to_have_attribute("style", place or "")
    assert page.evaluate("scrollY") == 0
    page.context.close()


def test_what_is_typed_wrong_is_said_at_the_field(browser: Browser) -> None:
    page = stage(browser, {name: saved(name) for name in ("Explorer", "OcclusionMap")})
    # Of classes that have not come nothing is said.
    labels = {"kind": "labels", "labels": ["class 0", "class 1"]}
    page.evaluate("(labels) => { for (const one of Object.values(window.models)) one.knows(labels); }", labels)
    for field, typed in [
        ("Address of the unit: network/layer/unit", "small/nowhere"),
        ("Follow any class: type a part of its name", "no such thing"),
        ("Size of the occluder, pixels: a side, or height × width", "wide"),
        ("Distance of positions, pixels", "0"),
    ]:
        box = page.get_by_label(field).last
        box.fill(typed)
        box.press("Enter")
        expect(box).to_have_attribute("aria-invalid", "true")
        said = page.locator(f"#{box.get_attribute('aria-describedby')}")
        expect(said).to_be_visible()
        expect(said).to_contain_text("Expected")
    size = page.get_by_label("Size of the occluder").last
    size.fill("8 x 20")
    size.press("Enter")
    expect(size).to_have_attribute("aria-invalid", "false")
    expect(size).to_have_value("8×20")
    page.context.close()


def test_what_pointing_tells_keys_tell_too(browser: Browser) -> None:
    page = stage(browser, {name: saved(name) for name in ("FilterGrid", "Gallery", "Compare", "OcclusionMap")})
    grid, tip = page.locator(".cs-grid"), page.locator(".cs-tip:not(.cs-title)")
    page.locator("[data-name=FilterGrid] .cs-search").focus()
    page.keyboard.press("Tab")
    expect(grid).to_be_focused()
    page.keyboard.press("End")
    expect(tip).to_contain_text("unit ")
    expect(page.locator(".cs-grid__foot")).to_contain_text(f"{tip.inner_text().split(' · ')[0]} is chosen")
    page.keyboard.press("Tab")
    expect(tip).to_be_hidden()
    tile = page.locator(".cs-tile[data-method]").first
    tile.focus()
    page.keyboard.press("Shift+ArrowDown")
    expect(page.locator("[data-name=Gallery] .cs-visually-hidden").first).to_contain_text("row 25, column 24: ")
    expect(page.locator("[data-name=Gallery] .cs-cell__caption.cs-is-value")).to_have_count(2)
    first = page.locator(".cs-first__canvas").first
    first.focus()
    for key in ("ArrowRight", "ArrowRight"):
        page.keyboard.press(key)
    expect(first).to_have_attribute("aria-valuetext", "filter 1")
    panel = page.locator("[data-panel=probability]")
    panel.focus()
    before = panel.get_attribute("aria-valuetext")
    page.keyboard.press("Shift+ArrowRight")
    expect(panel).not_to_have_attribute("aria-valuetext", before or "")
    page.locator("[data-name=FilterGrid] .cs-more > summary").focus()
    page.keyboard.press("Enter")
    page.locator("[data-name=FilterGrid]").get_by_role("button", name="Larger tiles").focus()
    expect(page.locator(".cs-title:visible")).to_have_text("Larger tiles (+)")
    page.keyboard.press("Escape")
    expect(page.locator(".cs-title:visible")).to_have_count(0)
    page.context.close()


def test_the_numbers_of_a_chart_are_a_table_that_keys_open(browser: Browser) -> None:
    page = stage(browser, {name: saved(name) for name in ("Explorer", "UnitPanel", "Evolution", "Invariance")})
    page.evaluate("models.Explorer.update({ show_history: true })")
    page.evaluate("window.idle()")

    def opened(name: str, chart: str) -> list[list[str]]:
        part = page.locator(f"[data-name={name}] .cs-tabled", has_text=f"{chart} as a table")
        part.locator("summary").focus()
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        expect(part.get_by_role("group", name=f"The numbers of the {chart}")).to_be_focused()
        expect(part.get_by_role("table")).to_be_visible()
        rows: list[list[str]] = part.evaluate(
            "one => [...one.querySelectorAll('tr')].map((row) => "
            "[...row.children].map(({ textContent }) => textContent))"
        )
        return rows

    for name in ("Explorer", "UnitPanel", "Evolution"):
        head, *bars = opened(name, "histogram")
        assert head == ["from", "to", "pictures"]
        assert sum(int(count.removeprefix("▴ ")) for _, _, count in bars) == 12, "pictures of the survey"
        assert [low for low, _, _ in bars[1:]] == [high for _, high, _ in bars[:-1]]
    head, newest, *_ = opened("Explorer", "history")
    assert head == ["row, column", "probability"]
    place = page.locator("[data-name=Explorer] .cs-occluder").get_attribute("aria-valuetext")
    row, column = newest[0].split(", ")
    assert f"row {row}, column {column}" in (place or "")
    head, *rows = opened("Evolution", "curves")
    assert head == ["checkpoint", "0", "4"]
    assert [label for label, *_ in rows] == ["start", "epoch 1", "epoch 2", "epoch 3"]
    page.locator("[data-name=Evolution]").get_by_role("radio", name="first layer").click()
    table = page.locator("[data-name=Evolution] .cs-curves table")
    expect(table.locator("thead th")).to_have_text(["component", "start", "epoch 1", "epoch 2", "epoch 3"])
    expect(table.locator("tbody th").first).to_have_text("1")
    head, *rows = opened("Invariance", "curves")
    assert head == ["horizontal translation", "0", "2", "probability", "of this picture"]
    assert [label for label, *_ in rows] == ["−8 px", "0 px", "8 px"]
    assert all(value.startswith("0 ") for value in rows[1][1:3]), "nothing changes where nothing is moved"
    page.evaluate(AXE.read_text("utf-8"))
    for dark in (False, True):
        shown(page, dark=dark)
        assert page.evaluate(RUN_AXE) == []
    page.context.close()


def test_the_occluders_form_and_size_are_set_by_keys(browser: Browser) -> None:
    page = stage(browser, {"Occluder": saved("Occluder")})
    square = page.locator(".cs-occluder")
    page.get_by_role("radio", name="Square").focus()
    page.keyboard.press("ArrowRight")
    expect(square).to_have_attribute("data-shape", "ellipse")
    page.keyboard.press("ArrowRight")
    expect(page.locator(".cs-hint")).to_be_visible()
    square.focus()
    for key in ("Shift+ArrowRight", "Shift+ArrowDown", "Shift+ArrowLeft"):
        page.keyboard.press(key)
    expect(page.locator(".cs-drawn polygon")).to_have_count(1)
    page.keyboard.press("Enter")
    expect(square).to_have_attribute("data-shape", "free")
    expect(page.locator(".cs-hint")).to_be_hidden()
    expect(page.get_by_label("Size of the occluder")).to_have_value("10")
    expect(square).to_be_focused()
    page.context.close()
