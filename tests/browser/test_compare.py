"""Two networks side by side as a person uses it: a cell, its matched units, and one square on both pictures."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from test_surveys import saves

# Other architectures and input sizes; the answers of both differ from picture to picture.
SETUP = """
import convscope as cs, numpy as np, torch
from torch import nn

def network(seed, width, size):
    torch.manual_seed(seed)
    features = [nn.Conv2d(3, width, 5, 2, 2), nn.ReLU(), nn.Conv2d(width, 6, 3, padding=1), nn.ReLU()]
    module = nn.Sequential(*features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4)).eval()
    mean = module[:6](torch.rand(32, 3, 4, 4).repeat_interleave(8, 2).repeat_interleave(8, 3)).mean(0)
    with torch.no_grad():
        module[6].weight.mul_(200)
        module[6].bias.copy_(-module[6].weight @ mean)
    return cs.Network(module, labels=["cat", "dog", "cow", "hen"], input_size=size, name=f"net {size}")

rng = np.random.default_rng(0)
pixels = [np.kron(rng.random((4, 4, 3)), np.ones((12, 12, 1))).astype(np.float32) for _ in range(16)]
pictures = [cs.Picture(one, f"picture {n}", ["cat", "dog"][n % 2], None) for n, one in enumerate(pixels)]
nets = network(1, 4, 48), network(2, 8, 96)
"""
CALL = "w = cs.Compare(*nets, pictures); w"


def test_a_cell_shows_matched_units_and_one_square_covers_both_pictures(notebook):  # type: ignore[no-untyped-def]
    book = notebook(SETUP, CALL)
    root = book.cell(1).locator(".cs-root")
    expect(root.locator(".cs-status__work")).to_contain_text("compared on 16 pictures")
    expect(root.locator(".cs-first__canvas").nth(1)).to_have_attribute("data-painted", "8")
    expect(root.locator(".cs-first__rows").nth(0)).to_contain_text("dominant")
    expect(root.locator(".cs-numbers-table tbody tr")).to_have_count(5)

    matrix = root.get_by_role("slider", name=re.compile("^Layers of net 48"))
    expect(root.locator(".cs-cka__canvas")).to_have_attribute("data-painted", "3x3")
    box = matrix.bounding_box()
    matrix.click(position={"x": box["width"] * 0.5, "y": box["height"] * 0.2})
    book.reaches("[w.layer_a, w.layer_b]", ["0", "2"])
    pairs = root.get_by_role("list", name="Matched units")
    expect(pairs).to_have_attribute("aria-busy", "false")
    truth = book.value("[f'{one.a},{one.b}' for one in w.result.matches('0', '2') if one.mutual]")
    units = [one.get_attribute("data-units") for one in pairs.get_by_role("listitem").all()]
    assert units == truth
    # Beyond the border of its picture a patch shows the page: no grey, which is what projections have for zero.
    clear = root.locator(".cs-pair__patch").evaluate_all(
        """(patches) => patches.map((one) => {
          const { data } = one.getContext("2d").getImageData(0, 0, one.width, one.height);
          return data.filter((_, index) => index % 4 === 3 && data[index] === 0).length / (one.width * one.height);
        })"""
    )
    inside = book.value("sum(w._answer_matches({})[0]['inside'], [])")
    beyond = sorted(1 - (bottom - top) * (right - left) for top, left, bottom, right in inside)
    assert sorted(clear) == pytest.approx(beyond, abs=0.08)  # whole pixels of 40
    assert max(clear) > 0.1
    saves(book, root, "both first layers, projections and the matrix", "net-48-comparison.png")
    matrix.focus()
    matrix.press("ArrowRight")
    matrix.press("ArrowDown")
    book.reaches("[w.layer_a, w.layer_b]", ["2", "6"])
    root.get_by_role("radio", name="least alike").click()
    last = book.value("w.result.matches('2', '6')[-1][:2]")
    expect(pairs.get_by_role("listitem").first).to_have_attribute("data-units", f"{last[0]},{last[1]}")

    cards = root.get_by_role("listbox", name="Pictures").get_by_role("option")
    differing = book.value("[(one.image, one.a, one.b) for one in w.result.disagreements()]")
    assert len(differing) > 1
    expect(cards).to_have_count(len(differing))
    cards.nth(1).click()
    book.reaches("w.picture", 1)
    before = root.locator(".cs-flip")
    expect(before.nth(0)).to_contain_text(differing[1][1])
    expect(before.nth(1)).to_contain_text(differing[1][2])

    squares = root.get_by_role("slider", name=re.compile("^Occluder"))
    places = root.locator(".cs-probabilities")
    # Dragged on the second network's picture, of twice the size.
    top, left = book.value("list(w.position)")
    other = root.locator(".cs-picture").nth(1).bounding_box()
    book.drag(squares.nth(1), other["width"] * 16 / 96, -other["height"] * 8 / 96)
    book.reaches("list(w.position)", [top - 4, left + 8])
    expect(squares.nth(0)).to_have_attribute("aria-valuenow", str(left + 8))
    expect(places.nth(0)).to_have_attribute("data-position", f"{top - 4},{left + 8}")
    expect(places.nth(1)).to_have_attribute("data-position", f"{2 * (top - 4)},{2 * (left + 8)}")
    # And by keys on the first's.
    squares.nth(0).focus()
    squares.nth(0).press("ArrowDown")
    expect(places.nth(1)).to_have_attribute("data-position", f"{2 * (top - 3)},{2 * (left + 8)}")
    book.reaches("w.position[0]", top - 3)
    told = book.value("w.wait() and [w.probability, w.probability_b]")
    shown = ["<0.001" if 0 < one < 0.0005 else f"{one:.3f}" for one in told]
    expect(root.locator(".cs-target__value")).to_have_text(shown)


def test_a_saved_page_shows_both_without_a_kernel(notebook, tmp_path: Path):  # type: ignore[no-untyped-def]
    book = notebook(SETUP, CALL)
    expect(book.cell(1).locator(".cs-status__work")).to_contain_text("compared on 16 pictures")
    page = tmp_path / "saved.html"
    book.run(f"w.to_html({json.dumps(str(page))})")
    saved = book.page.context.new_page()
    errors: list[str] = []
    saved.on("pageerror", lambda error: errors.append(str(error)))
    saved.goto(page.as_uri())
    root = saved.locator(".cs-root")
    expect(root.get_by_role("list", name="Matched units").get_by_role("listitem").first).to_be_visible()
    expect(root.locator(".cs-cka__canvas")).to_have_attribute("data-painted", "3x3")
    for at in range(2):
        expect(root.locator(".cs-probabilities").nth(at)).to_have_attribute("data-position", re.compile("^[0-9]"))
    chosen = root.locator(".cs-cka__value").inner_text()
    root.locator(".cs-cka__frame").click(position={"x": 2, "y": 2})
    saved.mouse.move(0, 0)
    expect(root.locator(".cs-cka__value")).to_have_text(chosen)
    expect(root.locator(".cs-error")).to_have_count(0)
    assert errors == []
    saved.close()
