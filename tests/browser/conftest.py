"""Fixtures of the browser tests: one JupyterLab and Chromium a session, one page and kernel a test."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright

from lab import CHROMIUM_FLAGS, Lab, Notebook, find_chromium


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report = yield
    if report.failed and report.when == "call":
        for number, notebook in enumerate(getattr(item, "open_notebooks", ())):
            picture = Path(item.config.cache.mkdir("browser")) / f"{item.name}-{number}.png"
            try:
                notebook.page.screenshot(path=picture)
                report.sections.append(("the page", str(picture)))
                if noise := notebook.kernel_noise():
                    report.sections.append(("errors in the kernel outside any cell", "\n".join(noise)))
                if notebook.problems:
                    report.sections.append(("errors in the page", "\n".join(notebook.problems)))
            except Exception as error:  # a page that is gone must not hide why the test failed
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
def lab(browser: Browser) -> Iterator[Lab]:
    with Lab() as running:
        yield running


@pytest.fixture
def notebook(request: pytest.FixtureRequest, lab: Lab, browser: Browser) -> Iterator[Callable[..., Notebook]]:
    """Open a notebook: ``notebook("cell", "cell", run=True, **context)``.

    The cells are run unless ``run=False``; an error in one raises `CellError`. Further keywords go to
    playwright's ``new_context`` (``has_touch=True``, ``device_scale_factor=2``, ``viewport=...``). The test
    fails at its end if a page had an error, its console printed one, or the kernel raised one in a callback.
    """
    opened: list[Notebook] = []
    request.node.open_notebooks = opened

    def open_notebook(*cells: str, run: bool = True, **context: Any) -> Notebook:
        book = Notebook.open(lab, browser, cells, **context)
        opened.append(book)
        if run:
            book.run_all()
        return book

    yield open_notebook
    problems = []
    for book in opened:
        problems += book.problems + [f"kernel: {text}" for text in book.kernel_noise()]
        book.page.context.close()
    lab.end_kernels()
    if problems:
        pytest.fail("\n\n".join(problems), pytrace=False)
