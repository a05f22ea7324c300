"""A page and a kernel that take their time: what a test takes for done while it is under way comes to light.

    pytest tests/browser --unsteady 1

Messages between page and kernel are late by some time at random, each way, in their order; so is every step of an
instrument's thread. A test that fails then, and not otherwise, does not wait for what it needs, or an instrument
loses what a person did meanwhile. The number is where the randomness begins; on a busy machine no two runs are alike.

The tests sleep here only: it is what makes things late. No test waits by its times, and a plain run has none of it.
"""

from __future__ import annotations

from pathlib import Path

#: Most messages are on time, some come after a few frames, few after what a person would notice.
_PAGE = """
(() => {
  let state = SEED;
  const random = () => {  // mulberry32
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
  const milliseconds = () => {
    const kind = random();
    return kind < 0.6 ? 0 : (kind < 0.95 ? 80 : 400) * random();
  };
  const inOrder = () => {
    let last = Promise.resolve();
    return (step) => {
      const wait = milliseconds();
      last = last
        .then(() => (wait ? new Promise((go) => setTimeout(go, wait)) : undefined))
        .then(step)
        .catch((error) => setTimeout(() => { throw error; }));
    };
  };
  window.WebSocket = class extends WebSocket {
    #out = inOrder();
    #in = inOrder();
    send(data) {
      if (this.readyState !== WebSocket.OPEN) return super.send(data);
      this.#out(() => { if (this.readyState === WebSocket.OPEN) super.send(data); });
    }
    set onmessage(handler) {
      super.onmessage = handler && ((event) => this.#in(() => handler.call(this, event)));
    }
    get onmessage() {
      return super.onmessage;
    }
  };
})();
"""

_KERNEL = """
def _unsteady():
    import random, time
    from convscope._worker import Worker
    chance = random.Random(SEED)
    def late(step, *seconds):
        def taken(self, *rest):
            time.sleep(chance.choice(seconds))
            return step(self, *rest)
        return taken
    Worker._part = late(Worker._part, 0, 0, 0, 0.02, 0.1, 0.3)
    Worker._slice = late(Worker._slice, 0, 0.1, 0.5, 1)
_unsteady()
del _unsteady
"""


def page_script(seed: int) -> str:
    """What a page runs before anything else."""
    return _PAGE.replace("SEED", str(seed))


def unsettle_kernels(folder: Path, seed: int) -> None:
    """Have every kernel whose ``IPYTHONDIR`` is ``folder`` take its time."""
    startup = folder / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "unsteady.py").write_text(_KERNEL.replace("SEED", str(seed)))
