"""All instruments on one page without JupyterLab: as live as in a notebook, answered from what a saved page holds.

Where what is asked for was not saved, the answer is an error: so there are those, too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from playwright.sync_api import Browser, Page

import convscope as cs

STATIC = Path(cs.__file__).parent / "static"
PAYLOAD = re.compile(r'<script type="application/json" id="saved">(.*?)</script>', re.DOTALL)
ORIGIN = "http://stage.example/"

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Instruments</title>
<style>body { margin: 16px; background: #fff } @media (prefers-color-scheme: dark) { body { background: #111 } }</style>
<link rel="stylesheet" href="convscope.css"></head><body><button>before</button><main></main><button>after</button>
<script type="module">
const unpacked = async (packed) => {
  const deflated = Uint8Array.from(atob(packed.slice(1)), (character) => character.charCodeAt(0));
  const stream = new Blob([deflated]).stream().pipeThrough(new DecompressionStream("deflate"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  if (packed[0] === "d") for (let at = 3; at < bytes.length; at++) bytes[at] += bytes[at - 3];
  return new DataView(bytes.buffer);
};
let working = Promise.resolve();
window.idle = async () => {
  for (let last; last !== working; ) {
    last = working;
    await last;
    await new Promise((go) => requestAnimationFrame(() => setTimeout(go)));
  }
};
function modelOf({ state, answers }) {
  const [traits, handlers] = [new Map(Object.entries(state)), new Map()];
  const of = (event) => handlers.get(event) ?? handlers.set(event, new Set()).get(event);
  const say = (message, buffers = []) => { for (const run of [...of("msg:custom")]) run(message, buffers); };
  const free = new Set(["id", "client", "at"]);
  const isList = (one) => one !== null && typeof one === "object";
  return {
    get: (name) => traits.get(name),
    set: (name, value) => traits.set(name, value),
    save_changes: () => {},
    on: (event, run) => of(event).add(run),
    off: (event, run) => of(event).delete(run),
    update: (values) => {
      for (const [name, value] of Object.entries(values)) traits.set(name, value);
      for (const name of Object.keys(values)) for (const run of [...of(`change:${name}`)]) run();
    },
    // What a notebook's kernel would say besides.
    knows: (content) => answers.push({ content: { ok: true, ...content } }),
    send: (request) => {
      if (request.kind === "hello") return say({ event: "hello", main: false });
      if (request.id === undefined) return;
      const { kind, id, client, at } = request;
      const found = answers.find(({ content }) => Object.entries(request).every(([name, wanted]) =>
        free.has(name) || content[name] === undefined || content[name] === wanted
        || isList(wanted) || isList(content[name])));
      const error = { name: "NotSaved", message: `Expected what was saved, got ${kind}.`, details: "details" };
      working = working.then(async () => {
        await window.gate;
        const buffers = await Promise.all((found?.buffers ?? []).map(unpacked));
        say({ ...(found ? found.content : { ok: false, error }), kind, id, client, at }, buffers);
      });
    },
  };
}
window.models = {};
/** Show an instrument in an element, or in a shadow tree of one. */
window.show = async (name, bundle, saved, shadow) => {
  const made = (await import(`./${bundle}.js`)).default();
  const model = (window.models[name] = modelOf(saved));
  const host = document.querySelector("main").appendChild(document.createElement("section"));
  host.dataset.name = name;
  let place = host;
  if (shadow) {
    place = host.attachShadow({ mode: "open" }).appendChild(document.createElement("div"));
    place.before(Object.assign(document.createElement("link"), { rel: "stylesheet", href: "convscope.css" }));
  }
  const { signal } = new AbortController();
  made.initialize({ model, signal });
  made.render({ model, el: place, signal });
};
</script></body></html>"""


def stage(
    browser: Browser,
    saved: Mapping[str, tuple[str, str]],
    *,
    shadow: bool = False,
    held: bool = False,
    **options: object,
) -> Page:
    """Open a page with instruments: name -> (bundle, page that `to_html` wrote). ``options`` go to `new_context`.

    ``held``: answers wait until `answer` lets them go.
    """
    page = browser.new_context(**{"viewport": {"width": 1280, "height": 1000}, **options}).new_page()  # type: ignore[arg-type]

    def serve(route: object) -> None:
        name = route.request.url.removeprefix(ORIGIN)  # type: ignore[attr-defined]
        if not name:
            route.fulfill(body=PAGE, content_type="text/html")  # type: ignore[attr-defined]
        elif (STATIC / name).is_file():
            route.fulfill(path=STATIC / name)  # type: ignore[attr-defined]
        else:
            route.abort()  # type: ignore[attr-defined]

    page.route(f"{ORIGIN}**", serve)
    page.goto(ORIGIN)
    page.wait_for_function("() => window.show")
    if held:
        page.evaluate("() => { window.gate = new Promise((go) => { window.open = go; }); }")
    for name, (bundle, text) in saved.items():
        found = PAYLOAD.search(text)
        assert found
        page.evaluate(
            "([name, bundle, saved, shadow]) => window.show(name, bundle, saved, shadow)",
            [name, bundle, json.loads(found[1]), shadow],
        )
    if not held:
        page.evaluate("window.idle()")
    return page


def answer(page: Page) -> None:
    """Let the answers go that a page `held` was opened with, and wait until they are shown."""
    page.evaluate("() => { window.open(); return window.idle(); }")
