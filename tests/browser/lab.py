"""JupyterLab in a Chromium, driven from Python: what the browser tests and the benchmark stand on.

One `Lab` is a server with its own settings, port and folder. One `Notebook` is a page of a fresh workspace
with a fresh kernel; `Notebooks` lends one to many tests, and clears it between them. Nothing here waits by the
clock: all waits are for a condition in the page, a message from the kernel or an answer of the server.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page

from unsteady import page_script, unsettle_kernels

CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM_ON_MACOS = (
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)

# Errors of the page or its console that are not ours; any other is a failed test. Add a pattern here only for a message
# of a library, with its name and version and why it does not matter.
HARMLESS: tuple[re.Pattern[str], ...] = (
    # JupyterLab 4.6: its splash screen is taken off twice when one theme follows the other closely.
    re.compile(r"Failed to execute 'removeChild' on 'Node'.*jlab_core", re.DOTALL),
)

# The same for what the kernel says outside any cell.
HARMLESS_IN_KERNEL: tuple[re.Pattern[str], ...] = (
    # ipykernel 7.4: JupyterLab takes a closed widget's thread away while its page's last message is on the way to it.
    re.compile(r"^Task exception was never retrieved.*UnknownSubshellError", re.DOTALL),
    # The same, found by the garbage collector.
    re.compile(r"^Exception ignored in: <coroutine object Kernel.shell_main"),
    # pyzmq 27.3: it closes its garbage collector at exit while ipykernel's output thread still sends.
    re.compile(r"RuntimeError: zmq gc socket requested during shutdown\s*$"),
)

SETTINGS = {
    "notebook-extension/tracker": {"windowingMode": "none"},  # all cells are in the page, scrolled to or not
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "docmanager-extension/plugin": {"autosave": False},
    "apputils-extension/themes": {"theme": "JupyterLab Light", "adaptive-theme": False},
}

SECOND = 1000  # playwright counts in milliseconds
ANSI = re.compile(r"\x1b\[[0-9;]*m")


def find_chromium() -> str | None:
    """Path of the system's Chromium or Chrome, or None."""
    for name in CHROMIUM_NAMES:
        if path := shutil.which(name):
            return path
    return next((path for path in CHROMIUM_ON_MACOS if os.access(path, os.X_OK)), None)


class LabError(RuntimeError):
    """JupyterLab did not start, or the page did not get as far as a notebook."""


class CellError(AssertionError):
    """A cell or a piece of code ended in a Python error; the message is its traceback."""


class Lab:
    """A JupyterLab server of this interpreter; leaving its ``with`` block ends the server and all kernels.

    ``options`` go onto its command line; for ``unsteady`` see that module.
    """

    def __init__(self, *options: str, unsteady: int | None = None) -> None:
        self.unsteady = unsteady
        self._scratch = tempfile.TemporaryDirectory(prefix="convscope-lab-")
        scratch = Path(self._scratch.name)
        self.folder = scratch / "notebooks"
        self.folder.mkdir()
        self.log = scratch / "server.log"
        if unsteady is not None:
            unsettle_kernels(scratch / "ipython", unsteady)
        for name, value in SETTINGS.items():
            file = scratch / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(value))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        environment = {
            **os.environ,
            # nothing of the person who runs the tests: settings, workspaces, startup files, history
            "JUPYTER_CONFIG_DIR": str(scratch / "config"),
            "JUPYTERLAB_SETTINGS_DIR": str(scratch / "settings"),
            "JUPYTERLAB_WORKSPACES_DIR": str(scratch / "workspaces"),
            "IPYTHONDIR": str(scratch / "ipython"),
            "JUPYTER_PREFER_ENV_PATH": "1",
        }
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "jupyterlab",
                    "--no-browser",
                    "--allow-root",
                    "--ip=127.0.0.1",
                    f"--port={port}",
                    "--ServerApp.port_retries=0",
                    "--IdentityProvider.token=",
                    "--ServerApp.password=",
                    "--ServerApp.disable_check_xsrf=True",
                    "--LabApp.expose_app_in_browser=True",
                    "--LabApp.news_url=None",
                    # a server whose test run was killed ends by itself
                    "--MappingKernelManager.cull_idle_timeout=600",
                    "--ServerApp.shutdown_no_activity_timeout=900",
                    f"--ServerApp.root_dir={self.folder}",
                    *options,
                ],
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # its own process group: kernels end with it
            )

    def __enter__(self) -> Lab:
        try:
            self._wait_until_it_answers()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _wait_until_it_answers(self, attempts: int = 240) -> None:
        """Ask until the server answers; between attempts, see whether the process has ended."""
        for _ in range(attempts):
            try:
                self.api("api")
            except OSError:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(timeout=0.25)
                    break
            else:
                return
        raise LabError(f"JupyterLab did not start. Its log:\n{self.log.read_text(errors='replace')[-4000:]}")

    def stop(self) -> None:
        """End the server's process group."""
        for sign in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, sign)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=10)
                break
        with contextlib.suppress(ProcessLookupError, PermissionError):  # kernels that outlived the server
            os.killpg(self._process.pid, signal.SIGKILL)
        self._scratch.cleanup()

    def api(self, path: str, method: str = "GET") -> Any:
        """One call of the server's REST interface; the decoded answer."""
        request = urllib.request.Request(f"{self.url}/{path}", method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            body = answer.read()
        return json.loads(body) if body else None

    def end_kernel(self, name: str) -> None:
        """Delete the session of a notebook, and with it its kernel."""
        for session in self.api("api/sessions"):
            if session["path"] == name:
                with contextlib.suppress(urllib.error.HTTPError):
                    self.api(f"api/sessions/{session['id']}", method="DELETE")

    def write(self, cells: Sequence[str], name: str | None = None) -> str:
        """Write a notebook of code cells into the server's folder; its name."""
        book = nbformat.v4.new_notebook()
        # without a kernelspec Lab asks which kernel is wanted
        book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        book.cells = [nbformat.v4.new_code_cell(source) for source in cells]
        name = name or f"{uuid.uuid4().hex[:8]}.ipynb"
        nbformat.write(book, self.folder / name)
        return name


# Page functions. `nb` lives on the window: {app, panel, runs: {id: {text, error, done}}, noise: [...], traffic, ...}.
_OPEN = """async (path) => {
  const app = window.jupyterapp;
  await app.restored;
  const panel = await app.commands.execute("docmanager:open", { path, factory: "Notebook" });
  await panel.context.ready;
  await panel.sessionContext.ready;
  const kernel = panel.sessionContext.session.kernel;
  // Ready is a kernel that answers. Before version 7.4 ipykernel could leave a request unread until the next connection
  // (ipykernel issue 1554), so one that does not answer gets a new connection.
  const within = (promise, seconds) => Promise.race([
    promise.then(() => true, () => false), new Promise((answer) => setTimeout(answer, 1000 * seconds, false)),
  ]);
  while (!(await within(kernel.requestKernelInfo(), 5))) await within(kernel.reconnect(), 5);
  const nb = (window.nb = { app, panel, runs: {}, noise: [], traffic: 0, within });
  // Messages of widgets, either way. Greetings go on until the kernel has answered one beside the cells.
  kernel.anyMessage.connect((_, { msg }) => {
    if (msg.header.msg_type === "comm_msg" && msg.content.data?.content?.kind !== "hello") nb.traffic += 1;
  });
  // Errors in widget callbacks reach no cell: they answer comm messages, or are a thread's text on stderr.
  kernel.iopubMessage.connect((_, message) => {
    const parent = message.parent_header.msg_type;
    if (message.header.msg_type === "error" && parent !== "execute_request")
      nb.noise.push(message.content.traceback.join("\\n"));
    if (message.header.msg_type === "stream" && message.content.name === "stderr"
        && /^(Traceback|Exception) /m.test(message.content.text))
      nb.noise.push(message.content.text);
  });
  app.shell.activateById(panel.id);
  app.shell.collapseLeft();
  nb.globals = new Set(Object.keys(window));
}"""

_FILL = """(sources) => {
  const model = window.nb.panel.content.model.sharedModel;
  const old = model.cells.length;
  model.transact(() => {
    // In this order: a notebook without a cell would get one of JupyterLab's.
    model.insertCells(old, sources.map((source) => ({ cell_type: "code", source, metadata: {}, outputs: [] })));
    model.deleteCellRange(0, old);
  });
}"""

# The functions and classes of the package before the first test: what a test puts in their place must go again.
_REMEMBER = """
def _remember():
    import gc, inspect, pkgutil, importlib, convscope, convscope_core
    modules = [
        importlib.import_module(module.name)
        for package in (convscope, convscope_core)
        for module in pkgutil.walk_packages(package.__path__, package.__name__ + ".")
    ]
    def parts():
        for module in modules:
            for name, part in vars(module).items():
                yield f"{module.__name__}.{name}", part
                if inspect.isclass(part) and part.__module__ == module.__name__:
                    yield from ((f"{module.__name__}.{name}.{own}", one) for own, one in vars(part).items())
    before = {name: part for name, part in parts() if callable(part)}
    # Every clearing collects garbage, which would each time look through the modules.
    gc.collect()
    gc.freeze()
    get_ipython().replaced = lambda: [
        name for name, part in parts() if callable(part) and before.get(name) is not part
    ]
_remember()
"""

# Widgets first, so that their threads and views end; then everything that a cell has named.
_CLEAR_KERNEL = """
def _clear():
    import gc, threading, ipywidgets
    replaced = get_ipython().replaced()
    assert not replaced, f"the test left others in the place of: {replaced}"
    ipywidgets.Widget.close_all()
    threads = [one for one in threading.enumerate() if one.name.startswith("convscope")]
    for one in threads:
        one.join(20)
    get_ipython().reset(new_session=False)
    gc.collect()
    left = [one.name for one in threads if one.is_alive()]
    assert not left, f"the test left threads: {left}"
_clear()
"""

# A widget's messages are handled on a thread of their own ("subshell"), which answers once it has done what came
# before. The comm holds on to it meanwhile: it ends with the last comm of its target.
_FLUSH = """async () => {
  const kernel = window.nb.panel.sessionContext.session.kernel;
  const comm = kernel.createComm("jupyter.widget");
  await comm.subshellStarted;
  kernel.subshellId = comm.subshellId;
  const { done } = kernel.requestExecute({ code: "", silent: true });
  kernel.subshellId = null;
  await done;
  comm.dispose();
}"""

# The threads of all instruments have done what they were asked, and their jobs.
_WAIT = """
def _wait():
    from convscope._worker import _workers
    for one in list(_workers):
        assert one.wait(60), "an instrument is still computing"
_wait()
del _wait
"""

_TWO_FRAMES = """async () => {
  for (let frame = 0; frame < 2; frame++) await new Promise(requestAnimationFrame);
}"""

_CLEAR_PAGE = """() => {
  const { nb } = window;
  nb.runs = {};
  for (const name of Object.keys(window)) if (!nb.globals.has(name)) delete window[name];
}"""

_RUN_CELL = """async (index) => {
  const { app, panel } = window.nb;
  app.shell.activateById(panel.id);
  panel.content.activeCellIndex = index;
  await app.commands.execute("notebook:run-cell");
  return panel.content.widgets[index].model.outputs.toJSON();
}"""

_INTERRUPT = """async () => {
  await window.nb.panel.sessionContext.session.kernel.interrupt();
  await window.nb.started;
}"""

_ADD_CELL = """(source) => {
  const model = window.nb.panel.content.model.sharedModel;
  model.insertCell(model.cells.length, { cell_type: "code", source, metadata: {}, outputs: [] });
  return model.cells.length - 1;
}"""

_EXECUTE = """([id, code]) => {
  const run = (window.nb.runs[id] = { text: "", error: null, done: false });
  const kernel = window.nb.panel.sessionContext.session.kernel;
  const future = kernel.requestExecute({ code, store_history: false, stop_on_error: false });
  future.onIOPub = (message) => {
    const { header, content } = message;
    if (header.msg_type === "stream" && content.name === "stdout") run.text += content.text;
    if (header.msg_type === "error") run.error = content.traceback.join("\\n");
  };
  future.done.catch(() => {}).then(() => { run.done = true; });
}"""

_COMMAND = """async ([name, index, args]) => {
  const { app, panel } = window.nb;
  app.shell.activateById(panel.id);
  if (index !== null) panel.content.activeCellIndex = index;
  await app.commands.execute(name, args);
}"""


@dataclass
class Cell:
    """A cell of the notebook after a run."""

    index: int
    outputs: list[dict[str, Any]]  # nbformat
    root: Locator  # the cell's element

    @property
    def error(self) -> str | None:
        """The traceback the cell ended with, or None."""
        for output in self.outputs:
            if output["output_type"] == "error":
                return ANSI.sub("", "\n".join(output["traceback"]))
        return None

    @property
    def text(self) -> str:
        """What the cell printed."""
        return "".join(output["text"] for output in self.outputs if output["output_type"] == "stream")

    @property
    def output(self) -> Locator:
        """The element that holds what the cell shows; look for widgets in here."""
        return self.root.locator(".jp-Cell-outputArea")


@dataclass
class Execution:
    """Code that was sent to the kernel and may still be running there."""

    page: Page
    id: str

    def _read(self) -> dict[str, Any]:
        return self.page.evaluate("(id) => window.nb.runs[id]", self.id)

    @property
    def done(self) -> bool:
        """True once the kernel has answered."""
        return bool(self._read()["done"])

    def wait_for_text(self, text: str, timeout: float = 60) -> None:
        """Return when ``text`` has been printed; `timeout` in seconds."""
        printed = "([id, text]) => window.nb.runs[id].text.includes(text)"
        self.page.wait_for_function(printed, arg=[self.id, text], timeout=timeout * SECOND)

    def result(self, timeout: float = 60) -> Any:
        """Wait for the end; the last printed line, read as JSON, or None. An error raises `CellError`."""
        self.page.wait_for_function("(id) => window.nb.runs[id].done", arg=self.id, timeout=timeout * SECOND)
        run = self._read()
        if run["error"] is not None:
            raise CellError(ANSI.sub("", run["error"]))
        lines = run["text"].strip().splitlines()
        return json.loads(lines[-1]) if lines else None


VIEWPORT = {"width": 1280, "height": 1000}


@dataclass
class Notebook:
    """A notebook, open in a page of its own, on a kernel of its own."""

    lab: Lab
    page: Page
    name: str
    viewport: Any = None  # the page's size at first; None where it has the window's
    problems: list[str] = field(default_factory=list)  # page errors and console errors, in order

    @classmethod
    def open(cls, lab: Lab, browser: Browser, cells: Sequence[str], script: str = "", **context: Any) -> Notebook:
        """Open a notebook of ``cells``, not run yet. ``context`` goes to playwright's ``new_context``.

        ``script`` runs in the page before anything else does.
        """
        page = browser.new_context(**{"viewport": VIEWPORT, **context}).new_page()
        page.add_init_script(script)
        if lab.unsteady is not None:
            page.add_init_script(page_script(lab.unsteady))
        page.set_default_timeout(30 * SECOND)
        notebook = cls(lab, page, lab.write(cells), page.viewport_size)
        page.on("pageerror", lambda error: notebook._note(f"page error: {error}\n{error.stack}"))
        page.on("console", notebook._listen)
        # A fresh workspace: the default one would open the notebooks of earlier tests again.
        page.goto(f"{lab.url}/lab/workspaces/test-{uuid.uuid4().hex[:8]}?reset")
        page.wait_for_function("() => window.jupyterapp", timeout=60 * SECOND)
        notebook._evaluate(_OPEN, notebook.name, timeout=60)
        return notebook

    def _listen(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            where = message.location
            self._note(f"console: {message.text} ({where.get('url')}:{where.get('lineNumber')})")

    def _note(self, problem: str) -> None:
        if not any(known.search(problem) for known in HARMLESS):
            self.problems.append(problem)

    def _evaluate(self, function: str, argument: Any = None, timeout: float = 30) -> Any:
        """Call an asynchronous page function; unlike playwright's `evaluate`, not without end."""
        late = f"no answer within {timeout:g} seconds from: {function.strip()}"
        return self.page.evaluate(
            f"""([argument, milliseconds, late]) => Promise.race([
              ({function})(argument),
              new Promise((_, fail) => setTimeout(() => fail(new Error(late)), milliseconds)),
            ])""",
            [argument, timeout * SECOND, late],
        )

    def close(self) -> None:
        """Close the page and end the kernel."""
        self.page.context.close()
        self.lab.end_kernel(self.name)

    def fill(self, cells: Sequence[str]) -> None:
        """Replace all cells by new ones, not run yet."""
        self._evaluate(_FILL, list(cells))

    def clear(self) -> None:
        """Make page and kernel as they were before the first cell: no cell, widget, thread or name is left.

        Errors that come up meanwhile are on the record like any other.
        """
        for page in self.page.context.pages:
            if page is not self.page:
                page.close()
        self.page.mouse.up()
        self.page.mouse.move(0, 0)
        if self.viewport:
            self.page.set_viewport_size(self.viewport)
        self._evaluate(_FLUSH)
        self.run(_CLEAR_KERNEL)
        self.fill([""])
        self._evaluate(_TWO_FRAMES)
        # What the threads that went with the widgets leave behind is complained of here, not in the next test's output.
        self.run("import gc; gc.collect(); del gc")
        self._evaluate(_CLEAR_PAGE)
        if self.page.evaluate("() => document.body.dataset.jpThemeLight !== 'true'"):
            self.theme("light")

    # -- running code

    def run_cell(self, index: int, *, check: bool = True, timeout: float = 120) -> Cell:
        """Run a cell as a person does. With ``check``, a Python error in it raises `CellError`."""
        outputs = self._evaluate(_RUN_CELL, index, timeout=timeout)
        cell = Cell(index, outputs, self.cell(index))
        if check and cell.error:
            raise CellError(cell.error)
        return cell

    def start_cell(self, index: int) -> None:
        """Begin to run a cell, and return while it runs."""
        self._evaluate(f"async (index) => {{ window.nb.started = ({_RUN_CELL})(index); }}", index)

    def interrupt(self) -> None:
        """Interrupt what the kernel's main thread is running; return when a cell of `start_cell` has ended."""
        self._evaluate(_INTERRUPT)

    def run_all(self, *, check: bool = True) -> list[Cell]:
        """Run all cells, one after the other."""
        count = self.page.evaluate("() => window.nb.panel.content.widgets.length")
        return [self.run_cell(index, check=check) for index in range(count)]

    def add_cell(self, source: str, *, check: bool = True) -> Cell:
        """Append a cell and run it."""
        return self.run_cell(self.page.evaluate(_ADD_CELL, source), check=check)

    def run(self, code: str, timeout: float = 60) -> Any:
        """Run ``code`` in the kernel, showing nothing in the notebook; its last printed line as JSON."""
        return self.run_nowait(code).result(timeout)

    def run_nowait(self, code: str) -> Execution:
        """Send ``code`` to the kernel and return at once."""
        identifier = uuid.uuid4().hex
        self.page.evaluate(_EXECUTE, [identifier, code])
        return Execution(self.page, identifier)

    @contextlib.contextmanager
    def busy(self, code: str = "") -> Iterator[Execution]:
        """Keep the kernel's main thread busy for the length of the ``with`` block, as a long cell does.

        It begins with ``code``.
        """
        execution = self.run_nowait(f"import threading\n{code}\nprint('busy', flush=True)\nthreading.Event().wait()\n")
        execution.wait_for_text("busy")
        try:
            yield execution
            assert not execution.done, "the endless cell ended by itself"
        finally:
            self.interrupt()
            with contextlib.suppress(CellError):  # KeyboardInterrupt
                execution.result()

    def value(self, expression: str, timeout: float = 60) -> Any:
        """The value of a Python expression in the kernel, by way of JSON."""
        return self.run(f"import json as _json; print(_json.dumps({expression}))", timeout)

    def reaches(self, expression: str, expected: object) -> None:
        """Ask until an expression has the value that the page has written, or a thread is about to: half a minute."""
        given_up = time.monotonic() + 30
        while (found := self.value(expression)) != expected:
            assert time.monotonic() < given_up, f"{expression} is {found}, not {expected}"

    def record_requests(self, instrument: str) -> str:
        """Keep what a page asks of an instrument from now on; returns the Python expression of the list of kinds.

        Greetings are left out: they go on until the kernel has answered one beside the cells, whatever is done.
        """
        self.run(
            f"_asked = []; {instrument}.on_msg(lambda _, content, __: _asked.append(content['kind']) "
            "if content['kind'] != 'hello' else None)"
        )
        return "_asked"

    # -- the page

    def cell(self, index: int) -> Locator:
        """The element of a cell."""
        return self.page.locator(".jp-Notebook .jp-Cell").nth(index)

    def command(self, name: str, index: int | None = None, **arguments: Any) -> None:
        """Execute a command of JupyterLab, with a cell made active first."""
        self._evaluate(_COMMAND, [name, index, arguments])

    def open_saved(self, made: str, name: str, drawn: str) -> str:
        """Save a notebook whose one output is an instrument, with the widgets' state, and open it: without a kernel.

        Parameters
        ----------
        made : str
            The instrument, in Python.
        name : str
            Of the notebook's file.
        drawn : str
            JavaScript that has the output drawn again until it is there, of the name and the outputs.

        Returns
        -------
        str
            The id of the instrument's model.
        """
        state = self.run("import json, ipywidgets; print(json.dumps(ipywidgets.Widget.get_manager_state()))")
        model = self.value(f"getattr({made}, 'box', {made}).model_id")
        view = {"model_id": model, "version_major": 2, "version_minor": 0}
        saved = nbformat.v4.new_notebook()
        saved.metadata = {
            "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
            "widgets": {"application/vnd.jupyter.widget-state+json": state},
        }
        cell = nbformat.v4.new_code_cell(made)
        cell.outputs = [nbformat.v4.new_output("display_data", {"application/vnd.jupyter.widget-view+json": view})]
        saved.cells = [cell]
        nbformat.write(saved, self.lab.folder / name)
        self.lab.api(f"api/contents/{name}/trust", "POST")  # as whoever ran it has
        self.command("docmanager:open", path=name, factory="Notebook")
        self.wait_for(drawn, [name, cell.outputs])
        return model

    def clear_output(self, index: int) -> None:
        """Clear the output of a cell, as the menu does."""
        self.command("notebook:clear-cell-output", index)

    def theme(self, name: str) -> None:
        """Switch to the "light" or "dark" theme; return once its style sheet is in force."""
        title = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}[name]
        self.command("apputils:change-theme", theme=title)
        self.wait_for("(light) => document.body.dataset.jpThemeLight === light", "true" if name == "light" else "false")

    def rest(self) -> None:
        """Wait until nothing is under way: no request, no job, no message of a widget, no frame.

        What is then read of a page in several steps is all of one moment.
        """
        seen = -1
        while seen != (now := self.page.evaluate("() => window.nb.traffic")):
            seen = now
            self._evaluate(_FLUSH)
            self.run(_WAIT)
            self._evaluate(_TWO_FRAMES)

    def wait_for(self, predicate: str, argument: Any = None, timeout: float = 30) -> Any:
        """Wait until a JavaScript function returns something truthy; that value. ``timeout`` in seconds."""
        return self.page.wait_for_function(predicate, arg=argument, timeout=timeout * SECOND).json_value()

    def drag(
        self,
        handle: Locator,
        dx: float,
        dy: float,
        *,
        steps: int = 100,
        start: tuple[float, float] | None = None,
        release: bool = True,
    ) -> None:
        """Press on ``handle`` and move by ``dx, dy`` CSS pixels in ``steps`` moves of the mouse.

        ``start`` is where to press, from the top left of ``handle``; its middle if not given.
        """
        x, y = self._press_point(handle, start)
        self.page.mouse.move(x, y)
        self.page.mouse.down()
        self.page.mouse.move(x + dx, y + dy, steps=steps)
        if release:
            self.page.mouse.up()

    def touch_drag(
        self,
        handle: Locator,
        dx: float,
        dy: float,
        *,
        steps: int = 20,
        start: tuple[float, float] | None = None,
    ) -> None:
        """`drag` with one finger; the notebook must have been opened with ``has_touch=True``."""
        x, y = self._press_point(handle, start)
        devtools = self.page.context.new_cdp_session(self.page)

        def touch(kind: str, *points: dict[str, float]) -> None:
            devtools.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": list(points)})

        touch("touchStart", {"x": x, "y": y})
        for step in range(1, steps + 1):
            touch("touchMove", {"x": x + dx * step / steps, "y": y + dy * step / steps})
        touch("touchEnd")
        devtools.detach()

    @staticmethod
    def _press_point(handle: Locator, start: tuple[float, float] | None) -> tuple[float, float]:
        handle.wait_for(state="visible")
        handle.scroll_into_view_if_needed()
        box = handle.bounding_box()
        assert box is not None
        across, down = start or (box["width"] / 2, box["height"] / 2)
        return box["x"] + across, box["y"] + down

    # -- what went wrong

    def take_problems(self) -> list[str]:
        """Take everything that went wrong in the page and, outside any cell, in the kernel off the record."""
        found = self.problems + [f"kernel: {text}" for text in self.kernel_noise()]
        self.problems.clear()
        self.page.evaluate("() => { if (window.nb) window.nb.noise = []; }")
        return found

    def kernel_noise(self) -> list[str]:
        """Tracebacks that the kernel sent outside any cell: from widget callbacks and from threads."""
        noise = [ANSI.sub("", text) for text in self.page.evaluate("() => window.nb?.noise ?? []")]
        return [text for text in noise if not any(known.search(text) for known in HARMLESS_IN_KERNEL)]

    def expect_problem(self, pattern: str) -> list[str]:
        """Take the problems seen so far that match ``pattern`` off the record; at least one must."""
        matching = [text for text in self.problems if re.search(pattern, text)]
        assert matching, f"no page or console error matches {pattern!r}; there are: {self.problems}"
        self.problems[:] = [text for text in self.problems if text not in matching]
        return matching


class Notebooks:
    """Lends notebooks to tests: one that is used again and again, or one of the test's own.

    The one that is lent again is cleared in between: cells, output, widgets, threads and names of the kernel, globals
    theme and size of the page. Where a test failed, or the page or kernel had an error, it is not lent again.
    """

    def __init__(self, lab: Lab, browser: Browser) -> None:
        self._lab = lab
        self._browser = browser
        self._idle: dict[str, Notebook] = {}  # by the options of the page
        self._lent: list[tuple[str | None, Notebook]] = []  # None: its own

    def open(self, cells: Sequence[str], *, own: bool, **context: Any) -> Notebook:
        """A notebook of ``cells``, not run yet. ``context`` goes to playwright's ``new_context``."""
        options = json.dumps(context, sort_keys=True)
        book = None if own else self._idle.pop(options, None)
        if book is None:
            book = Notebook.open(self._lab, self._browser, cells, **context)
            if not own:
                book.run(_REMEMBER)
        else:
            book.fill(cells)
        self._lent.append((None if own else options, book))
        return book

    def give_back(self, *, failed: bool) -> list[str]:
        """Take all notebooks back; what went wrong in them."""
        problems: list[str] = []
        for options, book in self._lent:
            keep = options is not None and options not in self._idle and not failed
            found = []
            if keep:
                try:
                    book.clear()
                except Exception as error:
                    found.append(f"the notebook could not be cleared: {error}")
            try:
                found += book.take_problems()
            except Exception as error:
                found.append(f"the page did not answer: {error}")
            if keep and not found:
                self._idle[options or ""] = book
            else:
                book.close()
            problems += found
        self._lent.clear()
        return problems

    def close(self) -> None:
        """Close all notebooks."""
        for book in self._idle.values():
            book.close()
        self._idle.clear()
