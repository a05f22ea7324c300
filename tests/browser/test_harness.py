"""The harness itself: a tiny widget, a real JupyterLab, and the ways in which a test must be able to fail."""

from __future__ import annotations

import inspect
import re

import pytest
from playwright.sync_api import expect

import convscope as cs
import pictures
from convscope._instrument import Instrument
from lab import CellError, Lab, Notebook
from test_instruments import SMALL

COUNTER = '''
import anywidget, traitlets

class Counter(anywidget.AnyWidget):
    _esm = """
    function render({ model, el }) {
      const button = document.createElement("button");
      button.className = "counter";
      const show = () => { button.textContent = `kernel says ${model.get("echo")}`; };
      button.addEventListener("click", () => {
        model.set("clicks", model.get("clicks") + 1);
        model.save_changes();
      });
      button.addEventListener("pointermove", (event) => {
        button.dataset.moves = Number(button.dataset.moves ?? 0) + 1;
        button.dataset.pointer = event.pointerType;
      });
      model.on("change:echo", show);
      show();
      el.append(button);
    }
    export default { render };
    """
    clicks = traitlets.Int(0).tag(sync=True)
    echo = traitlets.Int(0).tag(sync=True)

    @traitlets.observe("clicks")
    def _answer(self, change):
        if change.new == 13:
            raise ValueError("thirteen")
        self.echo = change.new

counter = Counter()
'''

pytestmark = pytest.mark.slow  # what tests is tested, not the product


def test_the_album_has_every_instrument_in_every_state_in_which_it_can_be():
    instruments = {
        name: found
        for name in cs.__all__
        if isinstance(found := getattr(cs, name), type) and issubclass(found, Instrument)
    }
    several = {name for name, one in instruments.items() if "images" in inspect.signature(one).parameters}
    working = {
        name for name, one in instruments.items() if hasattr(one, "start") or name in several & surveying(instruments)
    }
    assert set(pictures.FULL) == set(instruments)
    assert set(pictures.DAMAGED) == several
    assert set(pictures.WORKING) == working
    # What shows pictures alone has always something to show.
    assert set(instruments) - set(pictures.EMPTY) == {"Occluder", "OcclusionMap"}
    # Of a report all is there from the start; of a correspondence the pictures, and no other request follows.
    assert set(instruments) - set(pictures.ASKING) == {"PatternReport"}
    assert set(pictures.ASKING) - set(pictures.CHANGE) == {"Correspondence"}


def surveying(instruments):
    return {name for name, one in instruments.items() if hasattr(one, "start_survey")}


def test_click_reaches_the_kernel_and_its_answer_the_page(notebook):
    book = notebook(COUNTER, "counter")
    button = book.cell(1).locator(".counter")
    button.click()
    button.click()
    expect(button).to_have_text("kernel says 2")
    assert book.value("counter.clicks") == 2


def test_callbacks_run_while_a_cell_is_busy(notebook):
    book = notebook(COUNTER, "counter", own=True)
    button = book.cell(1).locator(".counter")
    button.click()  # the first message of a session may still go to the main thread
    expect(button).to_have_text("kernel says 1")
    with book.busy():
        button.click()
        expect(button).to_have_text("kernel says 2")


def test_drag_arrives_in_steps(notebook):
    book = notebook(COUNTER, "counter")
    button = book.cell(1).locator(".counter")
    button.evaluate("el => { el.style = 'width: 400px; height: 200px'; }")
    book.drag(button, 150, 50, steps=20)
    expect(button).to_have_attribute("data-moves", "21")  # one to the handle, twenty from there
    expect(button).to_have_attribute("data-pointer", "mouse")


def test_finger_arrives_as_touch(notebook):
    book = notebook(COUNTER, "counter", has_touch=True)
    button = book.cell(1).locator(".counter")
    button.evaluate("el => { el.style = 'width: 400px; height: 200px; touch-action: none'; }")
    book.touch_drag(button, 150, 50, steps=20)
    expect(button).to_have_attribute("data-pointer", "touch")


def test_two_cells_show_two_views_of_one_model(notebook):
    book = notebook(COUNTER, "counter", "counter")
    book.cell(1).locator(".counter").click()
    expect(book.cell(2).locator(".counter")).to_have_text("kernel says 1")


def test_cleared_output_takes_the_view_away(notebook):
    book = notebook(COUNTER, "counter")
    expect(book.cell(1).locator(".counter")).to_have_count(1)
    book.clear_output(1)
    expect(book.cell(1).locator(".counter")).to_have_count(0)


def test_themes(notebook):
    book = notebook("1")
    background = "() => getComputedStyle(document.body).getPropertyValue('--jp-layout-color0').trim()"
    book.theme("dark")
    dark = book.page.evaluate(background)
    book.theme("light")
    assert book.page.evaluate(background) != dark


def test_errors_of_cells_are_raised_with_their_traceback(notebook):
    book = notebook("x = 1")
    assert book.run("print('noise'); print([x, x + 1])") == [1, 2]
    with pytest.raises(CellError, match="ZeroDivisionError"):
        book.run("1 / 0")
    with pytest.raises(CellError, match="NameError: name 'nobody'"):
        book.add_cell("nobody")
    assert book.add_cell("print(x)").text == "1\n"


def test_errors_of_the_page_are_seen(notebook):
    book = notebook("1")
    with book.page.expect_event("pageerror"):
        book.page.evaluate("() => { setTimeout(() => { throw new Error('in the page'); }); }")
    with book.page.expect_console_message():
        book.page.evaluate("() => console.error('on the console')")
    assert len(book.expect_problem("in the page|on the console")) == 2
    assert book.problems == []


def test_errors_of_callbacks_and_threads_are_seen(notebook):
    book = notebook(COUNTER, "counter.clicks = 12\ncounter")
    book.cell(1).locator(".counter").click()
    book.wait_for("() => window.nb.noise.length === 1")
    book.run("import threading; t = threading.Thread(target=lambda: 1 / 0); t.start(); t.join()")
    book.wait_for("() => window.nb.noise.length === 2")
    callback, thread = book.kernel_noise()
    assert re.search("ValueError.*thirteen", callback)
    assert "ZeroDivisionError" in thread
    book.page.evaluate("() => { window.nb.noise = []; }")


LEAVINGS = (
    COUNTER
    + """
import threading
stop = threading.Event()
threading.Thread(target=stop.wait, name="convscope-counter").start()
counter.close = lambda stop=stop, close=counter.close: (stop.set(), close())
"""
)


def test_a_notebook_that_is_lent_again_shows_nothing_of_the_test_before(notebooks):
    book = notebooks.open([LEAVINGS, "counter"], own=False)
    book.run_all()
    book.page.evaluate("() => { window.mark = 1; }")
    book.theme("dark")
    book.page.context.new_page()
    assert notebooks.give_back(failed=False) == []

    again = notebooks.open(["1 + 1", "import threading, ipywidgets"], own=False)
    assert again is book
    again.run_all()
    assert [text.strip() for text in again.page.locator(".jp-OutputArea-output").all_inner_texts()] == ["2"]
    assert again.page.locator(".jp-Cell").count() == 2
    assert again.value("'counter' in globals()") is False
    assert again.value("len(ipywidgets.Widget.widgets)") == 0
    assert again.value("[one.name for one in threading.enumerate() if one.name.startswith('convscope')]") == []
    assert again.page.evaluate("() => [window.mark ?? null, document.body.dataset.jpThemeLight]") == [None, "true"]
    assert len(again.page.context.pages) == 1
    assert notebooks.give_back(failed=False) == []


def test_errors_that_nobody_waits_for_are_told_when_the_notebook_is_given_back_and_it_is_not_lent_again(notebooks):
    book = notebooks.open([COUNTER, "counter.clicks = 12; counter"], own=False)
    book.run_all()
    book.page.evaluate("() => { setTimeout(() => { throw new Error('in the page'); }); }")
    book.page.evaluate("() => console.error('on the console')")
    book.cell(1).locator(".counter").click()
    problems = "\n".join(notebooks.give_back(failed=False))
    assert [text in problems for text in ("in the page", "on the console", "thirteen")] == [True] * 3
    again = notebooks.open([], own=False)
    assert again is not book
    assert notebooks.give_back(failed=False) == []


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        pytest.param(
            "def close(): raise KeyError('the reason')\ncounter.close = close", "KeyError: 'the reason'", id="error"
        ),
        pytest.param(
            "import convscope; convscope.gallery.attribute_tensor = print",
            "convscope.*attribute_tensor",
            id="function",
        ),
        pytest.param(
            "import convscope; convscope.Occluder.wait = print",
            "convscope.*Occluder.wait",
            id="method",
        ),
    ],
)
def test_what_cannot_be_cleared_is_told_and_not_lent_again(notebooks, code, reason):
    book = notebooks.open([COUNTER], own=False)
    book.run_all()
    book.run(code)
    (problem,) = notebooks.give_back(failed=False)
    assert re.search(reason, problem)
    assert notebooks.open([], own=False) is not book
    assert notebooks.give_back(failed=False) == []


def test_at_rest_everything_has_been_done_and_is_on_the_page(notebook):
    book = notebook(SMALL, "w = cs.Explorer(net, pictures, layer='3', selected=2); w")
    book.rest()
    root = book.cell(1).locator(".cs-root")
    assert "survey of 12 pictures" in root.locator(".cs-status__work").inner_text()
    assert root.locator("[aria-label='Top patches'] .cs-patch").count() == 9
    assert root.locator(".cs-is-loading:visible, .cs-is-stale:visible").count() == 0
    book.run("w.position = (3, 40)")
    book.rest()
    assert root.locator(".cs-probabilities").get_attribute("data-position") == "3,40"


def test_an_unsteady_page_and_kernel_take_their_time(browser):
    with Lab(unsteady=1) as lab:
        book = Notebook.open(lab, browser, [""])
        book.run("from convscope._worker import Worker")
        assert book.value("[Worker._part.__name__, Worker._slice.__name__]") == ["taken", "taken"]
        assert book.page.evaluate("() => Object.getPrototypeOf(WebSocket).name") == "WebSocket"
        book.close()


def test_a_notebook_in_which_a_test_failed_is_not_lent_again(notebooks):
    book = notebooks.open(["1"], own=False)
    assert notebooks.give_back(failed=True) == []
    assert notebooks.open(["1"], own=False) is not book
    notebooks.give_back(failed=False)


def test_two_notebooks_of_one_test_and_one_of_its_own_are_three(notebook):
    books = [notebook("name = 1"), notebook("name = 2"), notebook("name = 3", own=True)]
    assert [book.value("name") for book in books] == [1, 2, 3]
