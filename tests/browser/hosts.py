"""Hosts other than JupyterLab, each a server of this interpreter on the package as it is installed from its wheel."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from playwright.sync_api import Browser, ConsoleMessage, Page

from lab import SECOND

ROOT = Path(__file__).resolve().parents[2]

#: What the notebooks of all hosts begin with: a network of no size, and pictures.
SETUP = """
import numpy as np, torch, convscope as cs
from torch import nn
torch.manual_seed(0)
net = cs.Network(nn.Sequential(nn.Conv2d(3, 8, 5, 2), nn.ReLU(), nn.Conv2d(8, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
    nn.Flatten(), nn.Linear(6, 4)).eval(), labels=list("abcd"), input_size=48, name="tiny")
pictures = [np.random.default_rng(seed).random((48, 48, 3)).astype(np.float32) for seed in range(40)]
survey = cs.survey(net, pictures, progress=False)
"""


def install(folder: Path) -> Path:
    """Build the wheel, with the bundle that is there, and install it into a folder: what to put on the path."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, env={**os.environ, "CONVSCOPE_SKIP_JS": "1"}, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    target = folder / "installed"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    subprocess.run([*pip, "--no-deps", "--no-index", "--target", target, wheel], check=True, capture_output=True)
    return target


@dataclass
class Host:
    """Programs of other packages on the installed one, with nothing of the person who runs the tests."""

    installed: Path
    scratch: Path

    @property
    def environment(self) -> dict[str, str]:
        """Of the programs: no settings, no history, and no copy of the package but the installed one."""
        own = {
            name: str(self.scratch / name.lower())
            for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTERLAB_SETTINGS_DIR", "IPYTHONDIR", "HOME")
        }
        return {**os.environ, **own, "PYTHONPATH": str(self.installed), "JUPYTER_PREFER_ENV_PATH": "1"}

    def notebook(self, *cells: str) -> Path:
        """Write a notebook that begins with the network and the pictures."""
        where = f"assert cs.__file__.startswith({str(self.installed)!r}), cs.__file__"
        book = nbformat.v4.new_notebook()
        book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        book.cells = [nbformat.v4.new_code_cell(one) for one in (SETUP + where, *cells)]
        path = self.scratch / "book.ipynb"
        nbformat.write(book, path)
        return path

    def run(self, *command: str) -> None:
        """Run a program to its end."""
        done = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=self.scratch,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-4000:]

    @contextlib.contextmanager
    def serve(self, *command: str, health: str = "") -> Iterator[str]:
        """Run a server as long as the ``with`` block; its address. ``{port}`` in the command is where it has to listen.

        ``health`` is the path that answers once it does.
        """
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        url = f"http://127.0.0.1:{port}"
        with tempfile.TemporaryFile() as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *(one.format(port=port) for one in command)],
                cwd=self.scratch,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # its own process group: kernels end with it
            )
            try:
                if not answers(process, f"{url}/{health}"):
                    log.seek(0)
                    raise AssertionError(f"{command[0]} did not start:\n{log.read().decode(errors='replace')[-4000:]}")
                yield url
            finally:
                for sign in (signal.SIGTERM, signal.SIGKILL):
                    with contextlib.suppress(ProcessLookupError, PermissionError):
                        os.killpg(process.pid, sign)
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(timeout=10)


def answers(process: subprocess.Popen[bytes], url: str, attempts: int = 240) -> bool:
    """Ask until a server answers; between attempts, see whether its process has ended."""
    for _ in range(attempts):
        try:
            with urllib.request.urlopen(url, timeout=10):
                return True
        except OSError:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=0.25)
                return False
    return False


@dataclass
class Visit:
    """A page of a host, what went wrong on it, and what it wanted from elsewhere, which it does not get."""

    page: Page
    problems: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)


@contextlib.contextmanager
def visited(browser: Browser, harmless: Sequence[str] = (), **context: object) -> Iterator[Visit]:
    """Open a page, without a network; errors on it, but for those of which a pattern is harmless, fail at the end."""
    page = browser.new_context(**{"viewport": {"width": 1280, "height": 1000}, **context}).new_page()
    page.set_default_timeout(60 * SECOND)
    visit = Visit(page)

    def note(problem: str) -> None:
        if not any(re.search(known, problem) for known in harmless):
            visit.problems.append(problem)

    def listen(message: ConsoleMessage) -> None:
        if message.type == "error":
            note(f"console: {message.text} ({message.location.get('url')})")

    page.on("pageerror", lambda error: note(f"page error: {error}\n{error.stack}"))
    page.on("console", listen)
    local = re.compile(r"^(file|blob|data):|^(http|ws)://127\.0\.0\.1[:/]")
    page.route(
        lambda url: not local.match(url),
        lambda route: (visit.elsewhere.append(route.request.url), route.abort()),
    )
    try:
        yield visit
        assert not visit.problems, "\n\n".join(visit.problems)
    finally:
        page.context.close()
