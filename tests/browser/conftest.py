"""Fixtures of the browser tests: one JupyterLab and Chromium a session; page and kernel are cleared between tests."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from lab import CHROMIUM_FLAGS, Lab, Notebook, Notebooks, find_chromium

FAILED = pytest.StashKey[bool]()

# How long a condition may take to come true says nothing of the product: the machine may be busy.
expect.set_options(timeout=30_000)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--unsteady", type=int, metavar="SEED", help="page and kernel take their time; see unsteady.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report = yield
    if report.failed and report.when == "call":
        item.stash[FAILED] = True
        for number, notebook in enumerate(getattr(item, "open_notebooks", ())):
            try:
                picture = Path(item.config.cache.mkdir("browser")) / f"{item.name}-{number}.png"
                notebook.page.screenshot(path=picture)
                report.sections.append(("the page", str(picture)))
                if noise := notebook.kernel_noise():
                    report.sections.append(("errors in the kernel outside any cell", "\n".join(noise)))
                if notebook.problems:
                    report.sections.append(("errors in the page", "\n".join(notebook.problems)))
            except Exception as error:  # a page or cache that is gone must not hide why the test failed
                report.sections.append(("the page", f"no picture: {error}"))
    return report


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = find_chromium()
    if path is None:
        message = "the browser tests need a Chromium or Chrome on PATH (on Debian: apt-get install chromium)"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=CHROMIUM_FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def lab(browser: Browser, pytestconfig: pytest.Config) -> Iterator[Lab]:
    with Lab(unsteady=pytestconfig.getoption("--unsteady", None)) as running:
        yield running


@pytest.fixture(scope="session")
def notebooks(lab: Lab, browser: Browser) -> Iterator[Notebooks]:
    lent = Notebooks(lab, browser)
    yield lent
    lent.close()


@pytest.fixture
def notebook(request: pytest.FixtureRequest, notebooks: Notebooks) -> Iterator[Callable[..., Notebook]]:
    """Open a notebook: ``notebook("cell", "cell", run=True, own=False, **context)``.

    The cells are run unless ``run=False``; an error in one raises `CellError`. Page and kernel were used by other tests
    before, and are clear of them; with ``own=True`` they are new. Further keywords go to playwright's ``new_context``
    (``has_touch=True``, ``device_scale_factor=2``, ``viewport=...``). The test fails at its end if a page had an error,
    its console printed one, or the kernel raised one in a callback.
    """
    opened: list[Notebook] = []
    request.node.open_notebooks = opened

    def open_notebook(*cells: str, run: bool = True, own: bool = False, **context: Any) -> Notebook:
        book = notebooks.open(cells, own=own, **context)
        opened.append(book)
        if run:
            book.run_all()
        return book

    yield open_notebook
    if problems := notebooks.give_back(failed=request.node.stash.get(FAILED, False)):
        pytest.fail("\n\n".join(problems), pytrace=False)
