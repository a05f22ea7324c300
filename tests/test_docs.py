"""The documentation's site: complete, and built without a warning."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import nbformat
import pytest

import convscope as cs

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def live_notebooks() -> ModuleType:
    found = importlib.util.spec_from_file_location("live_notebooks", DOCS / "live_notebooks.py")
    assert found is not None
    assert found.loader is not None
    live_notebooks = importlib.util.module_from_spec(found)
    found.loader.exec_module(live_notebooks)
    return live_notebooks


def listed(page: str) -> list[str]:
    """What the lists of a page name: one thing a line."""
    return re.findall(r"^ {0,3}([\w/-]+)$", (DOCS / page).read_text(), re.MULTILINE)


def test_the_reference_has_every_public_name() -> None:
    assert {name for name in listed("reference.md") if name in dir(cs)} == set(cs.__all__)


def test_the_guide_has_every_notebook() -> None:
    there = sorted(f"notebooks/{path.stem}" for path in (ROOT / "notebooks").glob("*.ipynb"))
    assert [name for name in listed("guide.md") if "/" in name] == there


@pytest.mark.slow  # executed notebooks are built by `make docs`; here they are built as they are
def test_the_site_is_built_without_a_warning(tmp_path: Path, live_notebooks: ModuleType) -> None:
    shutil.copy(ROOT / "package.json", tmp_path)
    generated = shutil.ignore_patterns("_extra", "_site", "api", "notebooks", "jupyter_execute")
    shutil.copytree(DOCS, tmp_path / "docs", ignore=generated)
    (tmp_path / "docs/_extra").mkdir()
    (tmp_path / "docs/notebooks").mkdir()
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        nbformat.write(live_notebooks.linked(notebook), tmp_path / "docs/notebooks" / notebook.name)
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"]
    done = subprocess.run(
        [*command, tmp_path / "docs", tmp_path / "site/html"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "images" in (tmp_path / "site/html/api/convscope.Explorer.html").read_text().partition("Put a network")[0]


@pytest.mark.slow
def test_an_instrument_of_a_notebook_becomes_a_page_in_a_frame(tmp_path: Path, live_notebooks: ModuleType) -> None:
    source = tmp_path / "notebooks" / "one.ipynb"
    source.parent.mkdir()
    cell = """
import convscope as cs, torch
torch.manual_seed(0)
net = cs.Network(torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3), torch.nn.Flatten(), torch.nn.Linear(72, 2)).eval(),
                 input_size=8, device="cpu", name="tiny")
cs.Occluder(net, torch.rand(3, 8, 8))
"""
    text = nbformat.v4.new_markdown_cell("[methods](../docs/methods.md)")
    nbformat.write(nbformat.v4.new_notebook(cells=[text, nbformat.v4.new_code_cell(cell)]), source)
    notebook = live_notebooks.executed(source, tmp_path / "pages", "../pages")
    assert notebook.cells[0].source == "[methods](../methods.md)"
    (output,) = notebook.cells[1].outputs
    assert 'src="../pages/one-0.html"' in output.data["text/html"]
    assert 'title="Occluder of tiny"' in output.data["text/html"]
    assert "Occluder of tiny" in (tmp_path / "pages/one-0.html").read_text()
