"""Every notebook runs from its first cell to its last, on a fresh kernel."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))
EXECUTE = Path(__file__).with_name("execute_notebook.py")


def run(*notebooks: Path) -> subprocess.CompletedProcess[str]:
    # A process of its own: nbclient needs an event loop, and playwright's may be running in this one.
    command = [sys.executable, str(EXECUTE), *map(str, notebooks)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(notebook: Path) -> None:
    done = run(notebook)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_stored_without_outputs(notebook: Path) -> None:
    import nbformat

    cells = nbformat.read(notebook, as_version=4).cells
    assert [cell.outputs for cell in cells if cell.cell_type == "code" and cell.outputs] == []


def test_a_failing_cell_fails_the_run_and_nothing_is_written(tmp_path: Path) -> None:
    import nbformat

    book = nbformat.v4.new_notebook()
    book.cells = [
        nbformat.v4.new_code_cell("open('left-behind.txt', 'w').close()"),
        nbformat.v4.new_code_cell("raise ValueError('the reason')"),
    ]
    path = tmp_path / "broken.ipynb"
    nbformat.write(book, path)
    before = path.read_bytes()

    done = run(path)

    assert done.returncode == 1
    assert "ValueError: the reason" in done.stderr
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["broken.ipynb"]
