"""Where the kernel is gone, or was never there; and keys that are the instrument's, not the notebook's."""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import expect

SETUP = """
import numpy as np, torch, convscope as cs
from torch import nn
torch.manual_seed(0)
net = cs.Network(nn.Sequential(nn.Conv2d(3, 8, 5, 2), nn.ReLU(), nn.Conv2d(8, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
    nn.Flatten(), nn.Linear(6, 4)).eval(), labels=list("abcd"), input_size=48, name="tiny")
pictures = [np.random.default_rng(seed).random((48, 48, 3)).astype(np.float32) for seed in range(3)]
"""
EXPLORER = "explorer = cs.Explorer(net, pictures, survey=cs.survey(net, pictures, progress=False)); explorer"

RESTART = "async () => { await window.nb.panel.sessionContext.session.kernel.restart(); }"
SHUT_DOWN = "async () => { await window.nb.panel.sessionContext.shutdown(); }"
#: JupyterLab's widget manager (jupyterlab_widgets 3.0.17) looks for the model of a view for two seconds, ten times a
#: second, from when the page is drawn. It restores the models when there is a kernel: where that takes just as long, so
#: that they come after the last look and before it gives up, it says for ever that there is no such model. Its outputs
#: are drawn anew then, as they are when a person opens the notebook again.
DRAWN_AGAIN = """([path, outputs]) => {
  const panel = [...window.nb.app.shell.widgets("main")].find(({ context }) => context?.path === path);
  const area = panel?.node.querySelector(".jp-OutputArea");
  if (area?.textContent.includes("model not found")) panel.content.model.cells.get(0).outputs.fromJSON(outputs);
  return area?.querySelector(".cs-host");
}"""
#: As another page would: this one is told nothing but that a kernel starts, and not even that where the server listens
#: too late. Then it is what the new one says to whatever it is asked, of which the first may be lost in the same way.
RESTART_ELSEWHERE = """async () => {
  const { kernel } = window.nb.panel.sessionContext.session;
  await fetch(`${kernel.serverSettings.baseUrl}api/kernels/${kernel.id}/restart`, { method: "POST" });
  while (!(await window.nb.within(kernel.requestExecute({ code: "", silent: true }).done, 2)));
}"""
CELLS = "() => window.nb.panel.content.model.cells.length"


@pytest.mark.parametrize(
    "end",
    [
        pytest.param(RESTART, id="restarted"),
        pytest.param(RESTART_ELSEWHERE, id="restarted elsewhere", marks=pytest.mark.slow),
        pytest.param(SHUT_DOWN, id="shut down", marks=pytest.mark.slow),
    ],
)
def test_a_kernel_that_is_gone_is_said_at_once_and_nothing_is_sent_to_it(notebook, end):
    book = notebook(SETUP, EXPLORER, own=True)
    root = book.cell(1).locator(".cs-root")
    expect(root.locator(".cs-class").first).to_be_visible()
    root.locator(".cs-class").first.focus()
    book.run("explorer._guarded('remove', lambda: 1 / 0)")
    expect(root.locator(".cs-error")).to_contain_text("ZeroDivisionError")
    book._evaluate(end)
    expect(book.cell(1).locator(".cs-absent")).to_have_text("The kernel is gone: run the cell again.")
    # What was complained of before is over.
    expect(root.locator(".cs-error")).to_have_count(0)
    # Nothing takes the focus any longer but what says so.
    expect(book.cell(1).locator(".cs-absent")).to_be_focused()
    assert root.evaluate("root => root.inert")
    # What was on its way when it went: no uncaught error comes of that either (the harness fails on one).
    root.locator(".cs-class").nth(1).dispatch_event("click")
    root.locator(".cs-grid canvas").first.dispatch_event("pointermove")


@pytest.mark.slow
def test_opened_without_its_kernel_a_view_shows_the_picture_from_the_widgets_state(notebook):
    book = notebook(SETUP, EXPLORER, own=True)
    expect(book.cell(1).locator(".cs-root .cs-class").first).to_be_visible()
    name = f"reopened-{book.name}"
    model = book.open_saved("explorer", name, DRAWN_AGAIN)
    assert len(json.dumps(book.value(f"ipywidgets.Widget.get_manager_state()['state'][{model!r}]"))) < 250_000  # bytes
    book.problems[:] = [one for one in book.problems if "widget model not found" not in one]
    again = book.page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-OutputArea-output .cs-host")
    expect(again.locator(".cs-absent")).to_contain_text("There is no kernel behind this picture: run the cell")
    picture = again.locator(".cs-still")
    expect(picture).to_be_visible()
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 500
    expect(again.locator(".cs-root")).to_be_hidden()
    # What is said covers nothing of it.
    said, still = again.locator(".cs-absent").bounding_box(), picture.bounding_box()
    assert said["y"] + said["height"] <= still["y"]
    book.lab.end_kernel(name)


def test_keys_on_a_class_row_or_anywhere_in_an_instrument_leave_the_cells_alone(notebook):
    book = notebook(SETUP, EXPLORER, "1", "2")
    root = book.cell(1).locator(".cs-root")
    row = root.locator(".cs-class").first
    expect(row).to_be_visible()
    cells = book.page.evaluate(CELLS)
    for place in (row, root.locator(".cs-status").first):
        place.click()
        for key in ("x", "d", "d", "a", "b", "m", "Shift+M", "Control+x"):
            book.page.keyboard.press(key)
        assert book.page.evaluate(CELLS) == cells
    assert root.evaluate("root => root.contains(document.activeElement)")
    order = root.get_by_label("Order")
    order.focus()
    for key in ("m", "ArrowDown", "y", "r"):
        book.page.keyboard.press(key)
    expect(order).not_to_have_value("strongest")
    search = root.locator(".cs-search")
    search.focus()
    book.page.keyboard.type("3ddmx")
    expect(search).to_have_value("3ddmx")
    book.page.keyboard.press("Escape")
    root.locator(".cs-more > summary").first.focus()
    book.page.keyboard.press("Enter")
    larger = root.get_by_role("button", name="Larger tiles")
    larger.focus()
    for _ in range(3):
        book.page.keyboard.press("Enter")
    # It cannot be pressed any longer, and has handed the focus on.
    expect(root.get_by_role("button", name="Smaller tiles")).to_be_focused()
    for key in ("x", "d", "d", "m"):
        book.page.keyboard.press(key)
    assert book.page.evaluate(CELLS) == cells
    assert book.page.evaluate("() => window.nb.panel.content.widgets.every(({ model }) => model.type === 'code')")
