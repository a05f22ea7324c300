"""A stand-in for Colab, which cannot be run here, built on what is public of it, with a real kernel behind.

- Each output is in a frame of another origin, with a widget manager of its own; the page around has the line to the
  kernel. Between them go structured clones: of what is binary an ArrayBuffer, which the manager makes a Uint8Array
  (googlecolab/colabtools, packages/outputframe; googlecolab/colab-cdn-widget-manager, src/manager.ts).
- The manager knows ipywidgets as it was before 8.0: no echoes. Messages come without headers, `send` promises nothing,
  and modules are those that a CDN has of each package: here the same files, as they are installed.
- An output that does not name the custom widget manager is shown by Colab's own, which knows no widget of others. The
  kernel names it by a hook that sees what is displayed, not what a cell returns (google.colab.output).

Harder than Colab: the frames may not touch anything of their page's (a sandbox), and what is binary in an instrument's
messages stands at an odd place of a larger buffer.
"""

from __future__ import annotations

import json
import re
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import widgetsnbextension
from playwright.sync_api import Browser, FrameLocator, Page, Route

from lab import ANSI, SECOND, CellError, Lab

#: What Colab's kernel has: anywidget looks for this module.
KERNEL = """
def _colab():
    import sys, types
    view = "application/vnd.jupyter.widget-view+json"
    output = types.ModuleType("google.colab.output")
    output._widgets = types.SimpleNamespace(_installed_url=None)
    def named(message):
        content = message["content"]
        if view in content.get("data", {}):
            found = content.setdefault("metadata", {}).setdefault(view, {})
            found["colab"] = {"custom_widget_manager": {"url": output._widgets._installed_url}}
        return message
    def enable_custom_widget_manager():
        if output._widgets._installed_url is None:
            get_ipython().display_pub.register_hook(named)
        output._widgets._installed_url = "https://colab.example/manager.min.js"
    output.enable_custom_widget_manager = enable_custom_widget_manager
    for name in ("google", "google.colab"):
        sys.modules.setdefault(name, types.ModuleType(name))
    sys.modules["google.colab.output"] = output
_colab()
"""

#: In each output's frame: a widget manager, after the contract of Colab's.
FRAME = """
const [port, scripts, shown] = await new Promise((go) => {
  addEventListener("message", ({ data, ports }) => go([ports[0], ...data]), { once: true });
});
const [asked, listeners] = [new Map(), new Map()];
let count = 0;
const ask = (what, ...given) => new Promise((go, fail) => {
  asked.set(++count, { go, fail });
  port.postMessage({ number: count, what, given });
});
// At an odd place of a larger buffer, of which numbers of more than a byte cannot be read in place.
const displaced = (buffer) => {
  const larger = new Uint8Array(buffer.byteLength + 7);
  larger.fill(255);
  larger.set(new Uint8Array(buffer), 3);
  return larger.subarray(3, 3 + buffer.byteLength);
};
port.onmessage = ({ data }) => {
  if (data.number !== undefined) {
    const { go, fail } = asked.get(data.number);
    asked.delete(data.number);
    if (data.error === undefined) go(data.value);
    else fail(new Error(data.error));
    return;
  }
  const { comm, content, buffers } = data;
  // Of states base itself takes the whole of a larger buffer.
  const viewed = content.method === "custom" ? displaced : (buffer) => new Uint8Array(buffer);
  listeners.get(comm)?.({ content: { comm_id: comm, data: content }, buffers: buffers.map(viewed) });
};
class Comm {
  target_name = "";
  constructor(id) { this.comm_id = id; }
  send(content, callbacks, _metadata, buffers) {
    const views = buffers?.map((one) =>
      ArrayBuffer.isView(one) ? new Uint8Array(one.buffer, one.byteOffset, one.byteLength) : one);
    ask("send", this.comm_id, JSON.parse(JSON.stringify(content)), views)
      .then(() => callbacks?.iopub?.status?.({ content: { execution_state: "idle" } }));
    return "";
  }
  on_msg(take) { listeners.set(this.comm_id, take); }
  on_close() {}
  close() {}
}
const define = (script) => {
  let made;
  // What the first of these scripts looks for on loading: it is the classic notebook's.
  const requirejs = Object.assign(() => {}, { config() {} });
  const around = new Proxy(window, {
    get: (of, name) => {
      if (name === "requirejs" || name === "require") return requirejs;
      const value = of[name];
      return typeof value === "function" && !value.prototype ? value.bind(of) : value;
    },
  });
  const run = new Function("define", "window", "requirejs", "Jupyter", script);
  run((...parts) => { made = parts; }, around, requirejs, { version: "6.5.7" });
  return made;
};
const modules = new Map();
const [, base] = define(scripts.base);
const known = base({ uri: "https://colab.example/base.js" });
for (const name of ["base", "controls", "output"]) modules.set(`@jupyter-widgets/${name}`, known);
const load = async (name) => {
  if (!modules.has(name)) {
    const [needs, make] = define(await ask("module", name));
    modules.set(name, make(...(await Promise.all(needs.map(load)))));
  }
  return modules.get(name);
};
const models = new Map();
const manager = {
  callbacks: () => ({}),
  inline_sanitize: (text) => text,
  get_model(id) {
    if (!models.has(id)) models.set(id, this.new_model(id));
    return models.get(id);
  },
  async new_model(id) {
    const state = await ask("state", id);
    // It makes what is binary there a DataView.
    const { buffer_paths, buffers } = known.remove_buffers(state);
    known.put_buffers(state, buffer_paths, buffers);
    const Model = (await load(state._model_module))[state._model_name];
    return new Model(await Model._deserialize_state(state, this), {
      widget_manager: this, model_id: id, comm: new Comm(id),
    });
  },
  async create_view(model, options = {}) {
    const View = (await load(model.get("_view_module")))[model.get("_view_name")];
    const view = new View({ model, options });
    view.listenTo(model, "destroy", view.remove);
    await view.render();
    return view;
  },
};
const names = new Set(Object.keys(window));
const view = await manager.create_view(await manager.get_model(shown));
view.luminoWidget.processMessage({ type: "before-attach" });
document.body.append(view.el);
view.luminoWidget.processMessage({ type: "after-attach" });
window.left = () => Object.keys(window).filter((name) => !names.has(name) && name !== "left");
"""

#: The page around: the kernel, what it said of each widget, and its outputs.
PAGE = """<!doctype html><html theme="dark"><title>Notebook</title><body style="background: #1e1e1e">
<script type="module">
const session = Math.random().toString(36).slice(2);
const kernel = await (await fetch("/api/kernels", { method: "POST", body: '{"name": "python3"}' })).json();
const socket = new WebSocket(
  `ws://${location.host}/api/kernels/${kernel.id}/channels?session_id=${session}`, ["v1.kernel.websocket.jupyter.org"]);
socket.binaryType = "arraybuffer";
const [encoder, decoder] = [new TextEncoder(), new TextDecoder()];
const [states, frames, waiting, runs] = [new Map(), [], new Map(), new Map()];
window.crossed = { out: [], in: [] };
let count = 0;
function send(kind, content, buffers = []) {
  const id = `${session}-${++count}`;
  const header = { msg_id: id, msg_type: kind, session, username: "", version: "5.3", date: new Date().toISOString() };
  const json = [header, {}, {}, content].map((one) => encoder.encode(JSON.stringify(one)));
  const parts = [encoder.encode("shell"), ...json, ...buffers.map((one) =>
    ArrayBuffer.isView(one) ? new Uint8Array(one.buffer, one.byteOffset, one.byteLength) : new Uint8Array(one))];
  const offsets = [8 * (parts.length + 2)];
  for (const part of parts) offsets.push(offsets.at(-1) + part.byteLength);
  const whole = new Uint8Array(offsets.at(-1));
  const view = new DataView(whole.buffer);
  for (const [at, one] of [offsets.length, ...offsets].entries()) view.setBigUint64(8 * at, BigInt(one), true);
  for (const [at, part] of parts.entries()) whole.set(part, offsets[at]);
  socket.send(whole);
  return id;
}
function read(data) {
  const view = new DataView(data);
  const offsets = Array.from({ length: Number(view.getBigUint64(0, true)) }, (_, at) =>
    Number(view.getBigUint64(8 * (at + 1), true)));
  const parts = offsets.slice(1).map((end, at) => data.slice(offsets[at], end));
  const [header, parent, metadata, content] = parts.slice(1, 5).map((one) => JSON.parse(decoder.decode(one)));
  return { header, parent, metadata, content, buffers: parts.slice(5) };
}
const put = (state, paths = [], buffers) => {
  for (const [at, path] of paths.entries()) {
    let inner = state;
    for (const step of path.slice(0, -1)) inner = inner[step];
    inner[path.at(-1)] = buffers[at];
  }
  return state;
};
const VIEW = "application/vnd.jupyter.widget-view+json";
socket.onmessage = ({ data }) => {
  const { header, parent, content, buffers } = read(data);
  const run = runs.get(parent.msg_id);
  switch (header.msg_type) {
    case "status":
      // The kernel has taken it, and what it said meanwhile is here.
      if (content.execution_state !== "idle") break;
      waiting.get(parent.msg_id)?.();
      if (run) run.idle = true;
      break;
    case "comm_open":
      states.set(content.comm_id, put(content.data.state, content.data.buffer_paths, buffers));
      break;
    case "comm_msg":
      if (content.data.method === "echo_update") break;
      if (content.data.method === "update") {
        const copies = structuredClone([content.data.state, buffers]);
        Object.assign(states.get(content.comm_id) ?? {}, put(copies[0], content.data.buffer_paths, copies[1]));
      }
      window.crossed.in.push(...buffers.map((one) => one.byteLength));
      for (const port of frames) port.postMessage({ comm: content.comm_id, content: content.data, buffers });
      break;
    case "stream":
      if (run) run.text += content.text;
      break;
    case "error":
      if (run) run.error = content.traceback.join("\\n");
      break;
    case "execute_result":
    case "display_data":
      if (VIEW in content.data) show(content.data[VIEW].model_id, content.metadata?.[VIEW]?.colab);
      break;
    case "execute_reply":
      if (run) run.replied = true;
  }
};
function show(model, colab) {
  const frame = document.createElement("iframe");
  Object.assign(frame, { width: 1000, height: 900, className: "output" });
  document.body.append(frame);
  if (!colab?.custom_widget_manager?.url) {
    frame.srcdoc = "Support for third party widgets needs to be enabled separately.";
    return;
  }
  frame.setAttribute("sandbox", "allow-scripts");
  frame.srcdoc = `<!doctype html><html theme="dark"><style>html[theme=dark] { color: #d5d5d5 }</style><body>
    <script type="module">${window.inside}<\\/script>`;
  frame.addEventListener("load", async () => {
    const { port1, port2 } = new MessageChannel();
    frames.push(port1);
    const answers = {
      state: (id) => states.get(id),
      module: async (name) => (await fetch(`/colab/${name}`)).text(),
      send: (id, content, buffers = []) => {
        window.crossed.out.push(...buffers.map((one) => one.byteLength));
        const message = send("comm_msg", { comm_id: id, data: content }, buffers);
        return new Promise((go) => waiting.set(message, go));
      },
    };
    port1.onmessage = async ({ data: { number, what, given } }) => {
      try {
        port1.postMessage({ number, value: await answers[what](...given) });
      } catch (error) {
        port1.postMessage({ number, error: String(error) });
      }
    };
    frame.contentWindow.postMessage([{ base: await answers.module("base") }, model], "*", [port2]);
  });
}
window.run = (code) => {
  const content = { code, silent: false, store_history: true, user_expressions: {}, allow_stdin: false };
  const run = { text: "", error: null, replied: false, idle: false };
  const id = send("execute_request", content);
  runs.set(id, run);
  return id;
};
window.ran = (id) => runs.get(id).replied && runs.get(id).idle && runs.get(id);
window.end = () => fetch(`/api/kernels/${kernel.id}`, { method: "DELETE" }).then(() => {});
await new Promise((go) => { socket.onopen = go; });
window.ready = true;
</script>"""


def module(name: str) -> str:
    """What a CDN has of a package."""
    if name == "base":
        return (Path(widgetsnbextension.__file__).parent / "static" / "extension.js").read_text("utf-8")
    return (Path(sysconfig.get_path("data")) / "share/jupyter/nbextensions" / name / "index.js").read_text("utf-8")


@dataclass
class Colab:
    """A notebook in it: its page, what went wrong, what was wanted from elsewhere."""

    page: Page
    problems: list[str] = field(default_factory=list)

    def run(self, code: str) -> Any:
        """Run a cell; its last printed line, read as JSON, or None."""
        run = self.page.wait_for_function("(id) => ran(id)", arg=self.page.evaluate("(code) => run(code)", code))
        found = run.json_value()
        if found["error"] is not None:
            raise CellError(ANSI.sub("", found["error"]))
        lines = found["text"].strip().splitlines()
        return json.loads(lines[-1]) if lines else None

    def value(self, expression: str) -> Any:
        """The value of a Python expression in the kernel, by way of JSON."""
        return self.run(f"import json as _json; print(_json.dumps({expression}))")

    def output(self, number: int) -> FrameLocator:
        """What an output shows, the first being 0."""
        return self.page.frame_locator("iframe.output").nth(number)

    def crossed(self, way: str) -> list[int]:
        """Sizes of the binary buffers that went "in" to the frames or "out" to the kernel, bytes."""
        found: list[int] = self.page.evaluate("(way) => crossed[way]", way)
        return found


@contextmanager
def opened(lab: Lab, browser: Browser) -> Iterator[Colab]:
    """Open a notebook on a new kernel of a Jupyter server."""
    page = browser.new_context(viewport={"width": 1280, "height": 1000}).new_page()
    page.set_default_timeout(60 * SECOND)
    colab = Colab(page)

    def answer(route: Route) -> None:
        route.fulfill(body=module(route.request.url.rpartition("/")[2]), content_type="text/javascript")

    # Chromium lets a page that a server of this machine gave open a line to it, and not one that is made up here.
    page.goto(f"{lab.url}/colab")
    page.route(re.compile(re.escape(f"{lab.url}/colab/")), answer)
    page.on("pageerror", lambda error: colab.problems.append(f"{error}\n{error.stack}"))
    page.on("console", lambda said: colab.problems.append(said.text) if said.type == "error" else None)
    page.evaluate("(inside) => { window.inside = inside; }", FRAME)
    page.set_content(PAGE)
    page.wait_for_function("() => window.ready")
    try:
        colab.run(KERNEL)
        yield colab
        assert not colab.problems, "\n\n".join(colab.problems)
    finally:
        page.evaluate("() => window.end()")
        page.context.close()
