"""Execute notebooks for the site: each instrument that they show becomes a page beside it, in a frame.

    python docs/live_notebooks.py NOTEBOOK...

They are written to docs/notebooks. One that is there, and newer than what it was made from, is left.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).resolve().parent

VIEW = "application/vnd.jupyter.widget-view+json"

#: Run in the notebook's kernel when its cells are done: writes a page for every instrument that was displayed.
SAVE = """
import ipywidgets as _ipywidgets
_known = getattr(_ipywidgets.Widget, "_instances", None) or _ipywidgets.widgets.widget._instances
for _model, _path in {shown!r}.items():
    _widget = _known.get(_model)
    # an instrument with a chart beneath is shown in a box
    for _one in (_widget, *getattr(_widget, "children", ())):
        if hasattr(_one, "to_html"):
            _one.to_html(_path, title=f"{{type(_one).__name__}} of {{_one.net.name}}")
            break
"""

FRAME = (
    '<iframe class="instrument" title="{title}" src="{source}" loading="lazy" '
    "onload=\"try {{ this.style.height = this.contentDocument.documentElement.scrollHeight + 2 + 'px' }} catch {{}}\">"
    "</iframe>"
)


def outputs(notebook: Any) -> list[Any]:
    """Outputs that show a widget."""
    return [one for cell in notebook.cells for one in cell.get("outputs", ()) if VIEW in one.get("data", {})]


def linked(source: Path) -> Any:
    """Read a notebook; its links are those of the site, where the notebooks' folder is in that of the pages."""
    notebook = nbformat.read(source, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = cell.source.replace("](../docs/", "](../")
    return notebook


def executed(source: Path, pages: Path, address: str) -> Any:
    """Run a notebook in a copy of its folder.

    Parameters
    ----------
    source : Path
    pages : Path
        Folder for the instruments' pages.
    address : str
        Of that folder, from the notebook's page on the site.

    Returns
    -------
    notebook
        With frames where it showed instruments.
    """
    notebook = linked(source)
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    pages.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="convscope-") as scratch:
        folder = Path(scratch, source.parent.name)
        shutil.copytree(source.parent, folder, ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
        client = NotebookClient(
            notebook,
            timeout=600,
            force_raise_errors=True,
            extra_arguments=["--log-level=ERROR"],
            resources={"metadata": {"path": str(folder)}},
        )
        with client.setup_kernel():
            client.set_widgets_metadata = lambda: None  # frames need no state  # type: ignore[method-assign]
            for index, cell in enumerate(notebook.cells):
                if cell.cell_type == "code":
                    client.execute_cell(cell, index)
            views = {one.data[VIEW]["model_id"]: one for one in outputs(notebook)}
            shown = {model: str(pages / f"{source.stem}-{number}.html") for number, model in enumerate(views)}
            notebook.cells.append(nbformat.v4.new_code_cell(SAVE.format(shown=shown)))
            client.execute_cell(notebook.cells[-1], len(notebook.cells) - 1)
            notebook.cells.pop()
    for model, output in views.items():
        page = Path(shown[model])
        del output.data[VIEW]
        if page.exists():
            title = page.read_text().partition("<title>")[2].partition("</title>")[0]
            output.data = {"text/html": FRAME.format(title=title, source=f"{address}/{page.name}")}
    return notebook


def main(arguments: Sequence[str]) -> int:
    """Execute what is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebooks", type=Path, nargs="+")
    (HERE / "notebooks").mkdir(exist_ok=True)
    for source in parser.parse_args(arguments).notebooks:
        made = HERE / "notebooks" / source.name
        if made.exists() and made.stat().st_mtime > source.stat().st_mtime:
            continue
        # conf.py puts what is in _extra at the root of the site
        notebook = executed(source, HERE / "_extra" / "instruments", "../instruments")
        made.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")
        print(f"{source} executed")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
