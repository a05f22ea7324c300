"""Projections as a person sees them: beside the patches, in the grid, and on the picture as the occluder moves."""

from __future__ import annotations

import numpy as np
from playwright.sync_api import expect

from test_instruments import OCCLUDER, PATCH, SMALL, shown_at

PROJECTION = "[aria-label='Projections'] .cs-patch"
EXPLORER = "w = cs.Explorer(net, pictures, layer='0', selected=3, size=16); w"


def pixels(canvas):
    """What a canvas shows, (height, width, 3); mid-grey where it is transparent."""
    size, data = canvas.evaluate(
        """canvas => [[canvas.height, canvas.width],
           [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data]]"""
    )
    rgba = np.array(data).reshape(*size, 4)
    return np.where(rgba[..., 3:] == 0, 128, rgba[..., :3])


def test_projections_stand_beside_the_patches_and_hover_links_them(notebook):
    book = notebook(
        SMALL + "survey = cs.survey(net, pictures, progress=False)",
        "w = cs.UnitPanel(net, survey=survey, layer='0', channel=3); w",
    )
    root = book.cell(1).locator(".cs-root")
    expect(root.locator(PROJECTION)).to_have_count(9)
    expect(root.locator(PROJECTION).first.locator("canvas")).to_have_attribute("width", "112")
    truth = np.array(
        book.value(
            """(lambda one: np.moveaxis(cs.project(net, pictures[one.image], '0', 3, (one.row, one.column)).values,
               0, -1).tolist())(survey.top('0', 3)[4])"""
        )
    )
    tile = root.locator(PROJECTION).nth(4)
    peak = float(tile.get_attribute("data-peak") or 0)
    assert 0.95 * np.abs(truth).max() <= peak <= np.abs(truth).max()
    # A field of 5 px is shown as its pixels; zero is mid-grey, and few values are stronger than the peak.
    at = (np.arange(5) * 112 + 56) // 5
    shown = pixels(tile.locator("canvas"))[at[:, None], at]
    np.testing.assert_allclose(shown, 128 + 127 * (truth / peak).clip(-1, 1), atol=1)
    root.locator(PROJECTION).nth(6).hover()
    expect(root.locator(PATCH).nth(6)).to_have_attribute("aria-selected", "true")
    expect(root.locator(PROJECTION).nth(6)).to_have_attribute("aria-selected", "true")
    # Of a patch at the border what lies beyond the picture is not shown, and neither is its projection's.
    at, (top, left) = book.value(
        """next((i, [one.box.top, one.box.left]) for i, one in enumerate(survey.top('0', 3))
           if min(one.box.top, one.box.left) < 0)"""
    )
    for where in (PATCH, PROJECTION):
        alpha = (
            root.locator(where)
            .nth(at)
            .locator("canvas")
            .evaluate(
                """(canvas) => [...canvas.getContext("2d").getImageData(0, 0, 112, 112).data]
                   .filter((_, index) => index % 4 === 3)"""
            )
        )
        shown_there = np.array(alpha).reshape(112, 112) > 0
        rows, columns = ((np.arange(112) + 0.5) * 5 / 112 + edge for edge in (top, left))
        truth_there = ((rows > 0) & (rows < 64))[:, None] & (columns > 0) & (columns < 64)
        assert (shown_there != truth_there).mean() < 0.03
    # Bars say what the shades stand for; the crop can be no larger than what holds the projection's energy.
    expect(root.get_by_role("img", name="Projections of")).to_have_count(1)
    root.get_by_role("radio", name="effective").click()
    book.wait_for("() => !document.querySelector(\"[aria-label='Top patches']\").classList.contains('cs-is-stale')")
    book.reaches("w.crop", "effective")
    root.get_by_label("Method of the projections").select_option("gradient")
    book.reaches("w.method", "gradient")


def test_the_grid_fills_with_projections(notebook):
    book = notebook(SMALL, EXPLORER)
    root = book.cell(1).locator(".cs-root")
    expect(root.locator(".cs-status__work")).to_contain_text("survey of 12 pictures")
    root.locator("[data-value=projection]").click()
    expect(root.locator(".cs-grid")).to_have_attribute("data-tiled", "24")
    shown = pixels(root.locator(".cs-grid__canvas"))
    assert len(np.unique(shown)) > 50
    expect(root.locator(".cs-grid__foot")).not_to_contain_text("projected")
    root.locator("[data-value=activation]").click()
    expect(root.locator(".cs-grid")).to_have_attribute("data-painted", "0/activation/inferno/unit")


def test_the_current_picture_is_projected_as_the_occluder_moves(notebook):
    book = notebook(SMALL, EXPLORER)
    root = book.cell(1).locator(".cs-root")
    shown_at(root, 24, 24)
    caption = root.locator(".cs-contexts figure").nth(1).locator(".cs-context__caption")
    expect(caption).to_contain_text("row")
    strongest = """(lambda x, r, c: (x.__setitem__((..., slice(r, r + 16), slice(c, c + 16)),
        net.to_network(torch.full((3, 16, 16), 0.5))), cs.project(net, x, '0', 3))[1])(
        net.prepare(pictures[0]).clone(), {}, {})"""
    place = book.value(f"list({strongest.format(24, 24)}.position)")
    expect(caption).to_contain_text(f"row {place[0]}, column {place[1]}")
    # Onto what the unit answers to: then another place is the strongest.
    top, left = (max(0, min(48, 2 * p - 8)) for p in place)
    book.run(f"w.position = ({top}, {left})")
    shown_at(root, top, left)
    moved = book.value(f"list({strongest.format(top, left)}.position)")
    assert moved != place
    expect(caption).to_contain_text(f"row {moved[0]}, column {moved[1]}")
    root.locator(OCCLUDER).press("Shift+ArrowLeft")
    shown_at(root, top, max(0, left - 10))
