"""The package, as it is installed from its wheel, in each host that can be installed here."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from hosts import SETUP, Host, install, visited

pytestmark = pytest.mark.slow  # servers of others, one after the other

EXPLORER = "explorer = cs.Explorer(net, pictures, survey=survey); explorer"
PANEL = "cs.UnitPanel(net, survey=survey)"

VIEW = "application/vnd.jupyter.widget-view+json"
PNG = "img[src^='data:image/png']"

#: How long a host may take to start a kernel and run the cells on a busy machine, ms.
BUSY = 180_000


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(tmp_path_factory.mktemp("wheel"))


@pytest.fixture
def host(installed: Path, tmp_path: Path) -> Host:
    return Host(installed, tmp_path)


def works(page: Page, theme: str) -> Locator:
    """The explorer's root, once it is known to work: it draws, answers the keyboard, and looks as the page does."""
    root = page.locator(".cs-root--explorer")
    expect(root.locator(".cs-class").first).to_contain_text("0.", timeout=BUSY)
    expect(root).to_have_attribute("data-theme", theme)
    square = root.locator(".cs-occluder")
    square.focus()
    expect(square).to_be_focused()
    before = square.get_attribute("aria-valuetext")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowDown")
    expect(square).not_to_have_attribute("aria-valuetext", before or "")
    # What the kernel says of the new place.
    at = square.evaluate("one => one.getAttribute('aria-valuetext').match(/row (\\d+), column (\\d+)/).slice(1).join()")
    expect(root.locator(".cs-probabilities").last).to_have_attribute("data-position", at)
    # A key that hosts take as theirs stays in the instrument.
    page.keyboard.press("d")
    page.keyboard.press("d")
    expect(root).to_be_visible()
    return root


#: Notebook 7.6: it hears of the settings of an extension before it has them.
NOTEBOOK = [r"(?s)reading 'schema'.*notebook_core"]


def test_notebook_7(browser: Browser, host: Host) -> None:
    book = host.notebook(EXPLORER, PANEL)
    options = ["--no-browser", "--allow-root", "--ip=127.0.0.1", "--port={port}", "--ServerApp.port_retries=0"]
    options += ["--IdentityProvider.token=", "--ServerApp.password=", "--JupyterNotebookApp.expose_app_in_browser=True"]
    options += [f"--ServerApp.root_dir={host.scratch}", "--ServerApp.shutdown_no_activity_timeout=900"]
    with host.serve("notebook", *options, health="api") as url, visited(browser, NOTEBOOK) as visit:
        visit.page.goto(f"{url}/notebooks/{book.name}")
        visit.page.wait_for_function("() => window.jupyterapp?.shell.currentWidget?.sessionContext?.isReady")
        visit.page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-cells')")
        works(visit.page, "light")
        expect(visit.page.locator(".bqplot.figure .svg-figure")).to_be_visible()  # the chart beneath the panel
        expect(visit.page.locator(".cs-root--unit .cs-histogram")).to_be_hidden()
    assert not visit.elsewhere


#: Voila 0.5 loads every extension of JupyterLab that is installed; that of Notebook 7 wants parts that Voila has not.
#: And it asks a CDN for the icons of buttons.
VOILA_LACKS = [r"RUNTIME-012", r"@jupyter-notebook/lab-extension", r"ERR_FAILED.*fontawesome"]


def test_voila(browser: Browser, host: Host) -> None:
    book = host.notebook(EXPLORER, PANEL)
    command = ["voila", str(book), "--no-browser", "--port={port}", "--theme=dark", "--Voila.ip=127.0.0.1"]
    with host.serve(*command, health="voila/static/favicon.ico") as url, visited(browser, VOILA_LACKS) as visit:
        visit.page.goto(url, timeout=BUSY)
        works(visit.page, "dark")
        expect(visit.page.locator(".bqplot.figure .svg-figure")).to_be_visible()
    assert all("fontawesome" in one for one in visit.elsewhere)


MARIMO = """import marimo
app = marimo.App()

@app.cell
def _():
{setup}
    assert cs.__file__.startswith({installed!r}), cs.__file__
    return cs, net, survey, pictures

@app.cell
def _(cs, net, survey, pictures):
    explorer = cs.Explorer(net, pictures, survey=survey, show_history=True)
    explorer
    return

@app.cell
def _(cs, net, survey):
    cs.UnitPanel(net, survey=survey)
    return

@app.cell
def _(cs, net, pictures):
    cs.degradation_chart(cs.degradation(net, pictures[:2], ["random"], steps=5, progress=False))
    return

if __name__ == "__main__":
    app.run()
"""


def test_marimo(browser: Browser, host: Host) -> None:
    setup = "\n".join(f"    {line}" for line in SETUP.splitlines())
    (host.scratch / "book.py").write_text(MARIMO.format(setup=setup, installed=str(host.installed)))
    (host.scratch / "pyproject.toml").write_text('[tool.marimo.display]\ntheme = "dark"\n')
    command = ["marimo", "-y", "run", "book.py", "--headless", "--no-token", "--port={port}"]
    with host.serve(*command, health="health") as url, visited(browser) as visit:
        visit.page.goto(url)
        root = works(visit.page, "dark")
        # There is no bqplot here: what it draws elsewhere is drawn within.
        expect(root.locator(".cs-history polyline")).to_be_visible()
        expect(visit.page.locator(".cs-root--unit .cs-histogram")).to_be_visible()
        expect(visit.page.locator(f".output-area {PNG}")).to_be_visible()
    assert not visit.elsewhere


#: Show a widget of a written page as anywidget does there: its front end and its traits are in the page, no kernel is.
READ = """async (model) => {
  const written = document.querySelector("script[type='application/vnd.jupyter.widget-state+json']");
  const { state } = JSON.parse(written.textContent).state[model];
  const front = URL.createObjectURL(new Blob([state._esm], { type: "text/javascript" }));
  const { render } = await (await import(front)).default();
  document.body.prepend(Object.assign(document.createElement("style"), { textContent: state._css }));
  await render({
    model: {
      get: (name) => state[name], set() {}, save_changes() {}, on() {}, off() {}, send() {},
      widget_manager: { create_view() {} },
    },
    el: document.body.insertBefore(document.createElement("div"), document.body.firstChild),
    signal: new AbortController().signal,
  });
}"""


def test_nbconvert(browser: Browser, host: Host) -> None:
    """A page without the widgets' state shows the still pictures, and one with it what anywidget draws of that."""
    chart = "cs.degradation_chart(cs.degradation(net, pictures[:2], ['random'], steps=5, progress=False))"
    book = host.notebook(EXPLORER, PANEL, chart, "print(explorer.model_id)")
    host.run("nbconvert", "--to", "notebook", "--execute", "--inplace", str(book))
    executed = nbformat.read(book, as_version=4)
    assert VIEW in executed.cells[1].outputs[0].data
    host.run("nbconvert", "--to", "html", str(book))
    with visited(browser, [r"ERR_FAILED"]) as visit:
        visit.page.goto(book.with_suffix(".html").as_uri())
        visit.page.evaluate(READ, executed.cells[4].outputs[0].text.strip())
        expect(visit.page.locator(".cs-absent")).to_contain_text("There is no kernel behind this picture")
        shows(visit.page.locator(".cs-still"))
        expect(visit.page.locator(".cs-root")).to_be_hidden()
    # What has the widgets' state leaves it out, and shows the still pictures, by this option.
    clear = "--ClearMetadataPreprocessor.enabled=True"
    for template in ("lab", "classic"):
        host.run("nbconvert", "--to", "html", "--template", template, clear, "--output", template, str(book))
        with visited(browser, [r"ERR_FAILED"]) as visit:
            visit.page.goto((host.scratch / template).with_suffix(".html").as_uri())
            pictures = visit.page.locator(PNG)
            expect(pictures).to_have_count(3)
            for picture in pictures.all():
                shows(picture)


def shows(picture: Locator) -> None:
    expect(picture).to_be_visible()
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 500
