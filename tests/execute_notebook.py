"""Execute notebooks on this interpreter's kernel, as a reader would with "run all", and keep nothing.

    python tests/execute_notebook.py NOTEBOOK...

Each runs in a copy of its folder, so that what a cell writes does not reach the repository. Exits 1 if any
cell ends in an error, after printing its traceback.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

CELL_TIMEOUT = 600  # seconds
ANSI = re.compile(r"\x1b\[[0-9;]*m")  # the colours of a traceback


def execute(notebook: Path) -> str | None:
    """Run all cells of ``notebook``; the message of the first failure, or None."""
    with tempfile.TemporaryDirectory(prefix="convscope-") as scratch:
        folder = Path(scratch, notebook.parent.resolve().name)
        shutil.copytree(notebook.parent, folder, ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
        content = nbformat.read(notebook, as_version=4)
        # whatever kernel the file was saved with: the one beside this interpreter is wanted
        content.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        client = NotebookClient(
            content,
            timeout=CELL_TIMEOUT,
            force_raise_errors=True,
            extra_arguments=["--log-level=ERROR"],  # a local kernel need not say that it is local
            resources={"metadata": {"path": str(folder)}},
        )
        try:
            client.execute()
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
            return ANSI.sub("", str(error))
    return None


def main(arguments: list[str]) -> int:
    """Execute every notebook named; the number that failed decides the exit status."""
    if not arguments:
        print(__doc__, file=sys.stderr)
        return 2
    failed = 0
    for notebook in map(Path, arguments):
        if not notebook.is_file():
            print(f"{notebook}: there is no such notebook", file=sys.stderr)
            failed += 1
            continue
        started = time.perf_counter()
        message = execute(notebook)
        seconds = time.perf_counter() - started
        if message is None:
            print(f"{notebook}: every cell ran, {seconds:.1f} s")
        else:
            print(f"{notebook}: failed after {seconds:.1f} s\n{message}", file=sys.stderr)
            failed += 1
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
