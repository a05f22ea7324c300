"""Where the time of one frame of a drag goes: prints a table of its parts, beside a widget that only echoes.

    python tests/benchmarks/drag.py [--rounds 5]

JupyterLab runs twice, with the server extension and without; in each, the square is dragged over the picture, to
another place with each pointer event, as fast as the page takes these: one at each of its own frames. All take turns,
round by round, so that what else the machine does meets all alike. Each figure is the median of the rounds, with the
lowest and the highest.

The clocks of page and kernel are the machine's; between them is what the server, both its connections, and the threads
at either end take.

On the first server it is dragged over the picture of an explorer, too, with a survey under way and without.

Everything runs on one machine, the browser too, so its processors may be the bound: the processor time of all processes
for a frame, by the cores. It stands beside the time by the clock that a frame took.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
from playwright.sync_api import Browser, sync_playwright

sys.path.insert(0, str(Path(__file__).parent.parent / "browser"))

from machine import described, spread

from lab import CHROMIUM_FLAGS, Lab, Notebook, find_chromium

ENABLED = "--ServerApp.jpserver_extensions={'convscope_server': True}"
#: Drags of the square from the picture's middle to near its corners and back: how far across and down, in pixels of the
#: network's 224, and in how many moves. One is longer than a pixel along one axis, so that each is to another place.
TRACK = (((-80, -50), 50), ((160, 100), 100), ((-160, -130), 100), ((160, 150), 100), ((-80, -70), 50))

#: One there and back, for the explorer, whose page has more to draw.
SHORT = (((-60, -50), 1), ((140, 110), 60), ((-140, -110), 60), ((60, 50), 1))

SERVERS = {
    "with the extension": [ENABLED],
    "as it is": [ENABLED, "--ConvscopeServer.no_delay=False"],
}

#: The kernel's side: when a request arrives, when its frame is begun, and when its answer has been handed over.
SETUP = """
import time
import anywidget, traitlets
import convscope as cs
from convscope._instrument import Instrument

net = cs.load("efficientnet_lite0")
stamps = {}

def stamp(content, name):
    key = content.get("id") if content.get("kind") == "occlude" else None
    if key is not None: stamps.setdefault((content["client"], key), {})[name] = 1000 * time.time()

receive, reply = Instrument._receive, Instrument._reply

def received(self, widget, content, buffers):
    stamp(content, "arrived")
    receive(self, widget, content, buffers)
    stamp(content, "taken")

def replied(self, kind, content):
    stamp(content, "begun")
    yield from reply(self, kind, content)
    stamp(content, "answered")

Instrument._receive, Instrument._reply = received, replied

class Echo(anywidget.AnyWidget):
    _esm = '''
    export default { render({ model, el }) {
      el.className = "echo";
      let done;
      model.on("msg:custom", () => done());
      el.ask = () => new Promise((answer) => { done = answer; model.send({}); });
    } }'''
    def __init__(self):
        super().__init__()
        self.on_msg(lambda widget, content, buffers: self.send({}))
"""

EXPLORER = """
w = cs.Explorer(net)
def survey(on):
    w._survey_job.cancel()
    w.wait()
    if on:  # of so many pictures that it lasts
        w.start_survey(w.images, indices=[*range(len(w.images))] * 100)
w"""

#: The page's side, before anything else runs in it: what goes over the websocket, by the request's number.
WIRE = """
window.wire = new Map();
window.now = () => performance.timeOrigin + performance.now();
const noted = (data, what) => {
  const text = typeof data === "string" ? data : new TextDecoder("latin1").decode(data);
  if (!text.includes('"occlude"') || text.includes('"superseded"')) return;
  const id = /"id": ?(\\d+)/.exec(text)?.[1];
  const client = /"client": ?"(\\w+)"/.exec(text)?.[1];
  if (!id || !client) return;
  const key = client + " " + id;
  window.wire.set(key, { ...window.wire.get(key), [what]: window.now() });
  if (what === "received") window.newest = key;
};
window.WebSocket = class extends WebSocket {
  constructor(...given) {
    super(...given);
    this.addEventListener("message", ({ data }) => noted(data, "received"));
  }
  send(data) { noted(data, "sent"); super.send(data); }
};
"""

PLACE = """(root) =>
  /row (\\d+), column (\\d+)/.exec(root.querySelector(".cs-occluder").ariaValueText).slice(1).join()"""

#: When the pointer was at each place, when its frame was shown, and when it was on the screen.
WATCH = """(root) => {
  const pane = root.querySelector(".cs-probabilities");
  const occluder = root.querySelector(".cs-occluder");
  const place = () => /row (\\d+), column (\\d+)/.exec(occluder.ariaValueText).slice(1).join(",");
  const asked = new Map();
  const drag = (root.drag = { places: 0, frames: [] });
  root.watching?.abort();
  root.watching = new AbortController();
  const { signal } = root.watching;
  let last = place();
  let moved = 0;
  root.addEventListener("pointermove", () => { moved = window.now(); }, { capture: true, signal });
  root.querySelector(".cs-picture").addEventListener("pointermove", () => {
    if (place() === last) return;
    last = place();
    drag.places += 1;
    asked.set(last, moved);
  }, { signal });
  const shown = new MutationObserver(() => {
    const pointer = asked.get(pane.dataset.position);
    if (pointer === undefined) return;
    const frame = { pointer, key: window.newest, shown: window.now() };
    drag.frames.push(frame);
    // After the next frame has been drawn.
    requestAnimationFrame((time) => {
      frame.paint = time;
      const { port1, port2 } = new MessageChannel();
      port1.onmessage = () => { frame.painted = window.now(); };
      port2.postMessage(0);
    });
  });
  shown.observe(pane, { attributes: true, attributeFilter: ["data-position"] });
  signal.addEventListener("abort", () => shown.disconnect());
}"""

ECHOES = """async (el) => {
  const times = [];
  for (let i = 0; i < 40; i++) {
    const begun = performance.now();
    await el.ask();
    times.push(performance.now() - begun);
  }
  return times;
}"""

PARTS = {
    "pointer to websocket": ("pointer", "sent"),
    "to the kernel": ("sent", "arrived"),
    "waiting for the worker": ("arrived", "begun"),
    "computing and answering": ("begun", "answered"),
    "to the page": ("answered", "received"),
    "to the probability shown": ("received", "shown"),
    "to the screen": ("shown", "painted"),
}


#: Whose processor time is counted, by what is in their command lines; the first that fits.
PROCESSES = {
    "kernel": "ipykernel",
    "server": "jupyterlab",
    "page": "--type=renderer",
    "browser and its painting": "chrom",
    "playwright": "",
}


def processor_times() -> Counter[str]:
    """Milliseconds of processor time that this process and its children have used, by what they are."""
    used: Counter[str] = Counter()
    here = psutil.Process()
    for process in [here, *here.children(recursive=True)]:
        with suppress(psutil.Error):  # it has ended
            line = " ".join(process.cmdline())
            name = next(name for name, sign in PROCESSES.items() if sign in line)
            used[name] += 1000 * sum(process.cpu_times()[:2])
    return used


#: Figures that are no times.
COUNTS = ("moves to another place", "frames computed", "frames on the screen", "the kernel computes, % of the time")
#: Those that are printed of an explorer.
OF_EXPLORER = (
    *COUNTS,
    "pictures surveyed meanwhile",
    "pointer to probability, median",
    "pointer to probability, 95th percentile",
    "a frame by the clock",
)


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


class Bench:
    """A notebook with an instrument in its last cell."""

    def __init__(self, lab: Lab, browser: Browser, *cells: str) -> None:
        self.book = Notebook.open(lab, browser, [SETUP, *cells], script=WIRE)
        self.book.run_all()
        self.root = self.book.cell(len(cells)).locator(".cs-root")
        self.root.locator(".cs-probabilities[data-position]").wait_for()

    def survey(self, on: bool) -> None:
        """Let the explorer begin a survey, and see its first pictures, or have none under way."""
        self.book.run(f"survey({on})")
        while on and self.pictures() < 8:
            pass

    def pictures(self) -> int:
        return int(self.book.value("w._survey['done']"))

    def echo(self) -> dict[str, float]:
        times = self.book.cell(1).locator(".echo").evaluate(ECHOES)
        return {"median": statistics.median(times), "95th percentile": quantile(times, 0.95)}

    def drag(self, track: Sequence[tuple[tuple[int, int], int]] = TRACK) -> dict[str, float]:
        """One drag to and fro; milliseconds, and how many moves and frames."""
        root = self.root
        root.evaluate(WATCH)
        self.book.run("stamps.clear()")
        root.locator(".cs-picture").scroll_into_view_if_needed()
        picture = root.locator(".cs-picture").bounding_box()
        assert picture is not None
        scale = picture["width"] / 224
        begun, used = time.perf_counter(), processor_times()
        mouse, handle = self.book.page.mouse, root.locator(".cs-occluder").bounding_box()
        assert handle is not None
        x, y = handle["x"] + handle["width"] / 2, handle["y"] + handle["height"] / 2
        mouse.move(x, y)
        mouse.down()
        for (dx, dy), moves in track:
            x, y = x + dx * scale, y + dy * scale
            mouse.move(x, y, steps=moves)
        mouse.up()
        place = root.evaluate(PLACE)
        root.locator(f".cs-probabilities[data-position='{place}']").wait_for()
        clock, used = 1000 * (time.perf_counter() - begun), processor_times() - used
        found = root.evaluate("(root) => root.drag")
        wire = self.book.page.evaluate("() => Object.fromEntries(window.wire)")
        stamps = self.book.value("[[f'{client} {number}', times] for (client, number), times in stamps.items()]")
        kernel = dict(stamps)
        frames = [{**frame, **wire.get(frame["key"], {}), **kernel.get(frame["key"], {})} for frame in found["frames"]]
        whole = [frame for frame in frames if all(name in frame for pair in PARTS.values() for name in pair)]
        totals = [frame["shown"] - frame["pointer"] for frame in frames]
        count = sum("begun" in one for one in kernel.values())
        computing = sum(one["answered"] - one["begun"] for one in kernel.values() if "answered" in one)
        return {
            "moves to another place": found["places"],
            "frames computed": count,
            "frames on the screen": len({frame["paint"] for frame in frames if "paint" in frame}),
            "pointer to probability, median": statistics.median(totals),
            "pointer to probability, 95th percentile": quantile(totals, 0.95),
            "pointer to screen, median": statistics.median(frame["painted"] - frame["pointer"] for frame in whole),
            **{
                part + suffix: of([frame[end] - frame[begin] for frame in whole])
                for suffix, of in (("", statistics.median), (", 95th percentile", lambda one: quantile(one, 0.95)))
                for part, (begin, end) in PARTS.items()
            },
            **{f"processor time a frame: {name}": used[name] / count for name in PROCESSES},
            "processor time a frame: all": used.total() / count,
            f"... of {os.cpu_count()} cores, the bound": used.total() / count / (os.cpu_count() or 1),
            "a frame by the clock": clock / count,
            "the kernel computes, % of the time": 100 * computing / clock,
        }


def shown(rounds: list[dict[str, float]], name: str) -> str:
    return spread([one[name] for one in rounds], 0 if name in (*COUNTS, "pictures surveyed meanwhile") else 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    path = find_chromium()
    if path is None:
        sys.exit("the benchmark needs a Chromium or Chrome on PATH (on Debian: apt-get install chromium)")
    with ExitStack() as stack:
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_FLAGS)
        labs = {name: stack.enter_context(Lab(*options)) for name, options in SERVERS.items()}
        occluder = ("echo = Echo(); echo", "w = cs.Occluder(net, cs.sample('chelsea')); w")
        benches = {name: Bench(lab, browser, *occluder) for name, lab in labs.items()}
        explorer = Bench(next(iter(labs.values())), browser, EXPLORER)
        explorer.survey(False)
        echoes: dict[str, list[dict[str, float]]] = {name: [] for name in benches}
        drags: dict[str, list[dict[str, float]]] = {name: [] for name in benches}
        surveyed: dict[str, list[dict[str, float]]] = {"no survey": [], "while a survey runs": []}
        load = []
        for turn in range(rounds + 1):
            for name in list(benches)[:: 1 if turn % 2 else -1]:
                bench = benches[name]
                bench.book.page.bring_to_front()
                echo, drag = bench.echo(), bench.drag()
                if turn:  # the first warms up
                    echoes[name].append(echo)
                    drags[name].append(drag)
                    load.append(os.getloadavg()[0])
            explorer.book.page.bring_to_front()
            for on, name in list(enumerate(surveyed))[:: 1 if turn % 2 else -1]:
                explorer.survey(bool(on))
                before = explorer.pictures()
                drag = explorer.drag(SHORT)
                if turn:
                    surveyed[name].append({**drag, "pictures surveyed meanwhile": explorer.pictures() - before})
        for bench in (*benches.values(), explorer):
            bench.book.close()
        browser.close()
    print(f"\n{described()}; {rounds} rounds, load {min(load):.1f}–{max(load):.1f}. Milliseconds.\n")
    print(f"| | {' | '.join(SERVERS)} |\n|---|{'---|' * len(SERVERS)}")
    tables = (("echo, ", echoes), ("", drags))
    for prefix, table in tables:
        for name in table["as it is"][0]:
            print(f"| {prefix}{name} | {' | '.join(shown(table[server], name) for server in SERVERS)} |")
    print(f"\nAn explorer:\n\n| | {' | '.join(surveyed)} |\n|---|---|---|")
    for name in OF_EXPLORER:
        print(f"| {name} | {' | '.join(shown(one, name) for one in surveyed.values())} |")


if __name__ == "__main__":
    main()
