import { beforeEach, expect, it, vi } from "vitest";
import { Store } from "../lib/store";
import { hostSlice } from "../seam";
import { GONE, LOST, NEVER, SOON_MS, UNHEARD_MS, UNKNOWN, watchPresence } from "./presence";

class Signal<T> {
  slots = new Set<(sender: unknown, value: T) => void>();
  connect(slot: (sender: unknown, value: T) => void) {
    this.slots.add(slot);
  }
  disconnect(slot: (sender: unknown, value: T) => void) {
    this.slots.delete(slot);
  }
  emit(value: T) {
    for (const slot of this.slots) slot(undefined, value);
  }
}

beforeEach(() => void vi.useFakeTimers());

function setup(status = "idle") {
  const kernel = {
    status,
    statusChanged: new Signal<string>(),
    connectionStatusChanged: new Signal<string>(),
    iopubMessage: new Signal<object>(),
    disposed: new Signal<undefined>(),
  };
  const store = new Store(hostSlice.initial);
  const ending = new AbortController();
  const presence = watchPresence(store, { kernel }, ending.signal);
  return { kernel, store, ending, presence, absent: () => store.get("absent") };
}

it.each(["restarting", "autorestarting", "terminating", "dead"])(
  "says at once that a kernel is %s",
  (status) => {
    const { kernel, presence, absent } = setup();
    presence.heard();
    kernel.statusChanged.emit("busy");
    expect(absent()).toBeNull();
    kernel.statusChanged.emit(status);
    expect(absent()).toBe(GONE);
    kernel.connectionStatusChanged.emit("connected");
    presence.heard();
    expect(absent()).toBe(GONE);
  },
);

it("takes one that starts for another than that which has answered", () => {
  const { kernel, presence, absent } = setup("starting");
  kernel.statusChanged.emit("starting");
  expect(absent()).toBeNull();
  presence.heard();
  kernel.statusChanged.emit("starting");
  expect(absent()).toBe(GONE);
});

it("takes what speaks in another session for another kernel", () => {
  const { kernel, presence, absent } = setup();
  const says = (msg_type: string, session: string, execution_state?: string) =>
    kernel.iopubMessage.emit({ header: { msg_type, session }, content: { execution_state } });
  says("status", "before", "idle");
  says("status", "first", "idle");
  presence.heard();
  says("status", "first", "busy");
  // In the kernel's name, by the server: of output that comes too fast, say.
  says("stream", "the server's");
  says("status", "the server's", "starting");
  expect(absent()).toBeNull();
  says("status", "second", "busy");
  expect(absent()).toBe(GONE);
});

it("says it when a kernel is shut down, or when what is sent cannot leave", () => {
  for (const end of ["disposed", "failed"] as const) {
    const { kernel, presence, absent } = setup();
    presence.heard();
    if (end === "disposed") kernel.disposed.emit(undefined);
    else presence.failed();
    expect(absent()).toBe(GONE);
  }
});

it("goes on when a lost connection comes back", () => {
  const { kernel, presence, absent } = setup();
  presence.heard();
  kernel.connectionStatusChanged.emit("connecting");
  expect(absent()).toBe(LOST);
  kernel.connectionStatusChanged.emit("connected");
  expect(absent()).toBeNull();
});

it("finds that nobody is there from the start, and believes an answer that comes late", () => {
  const { kernel, presence, absent } = setup("busy");
  vi.advanceTimersByTime(3 * UNHEARD_MS);
  expect(absent()).toBeNull();
  kernel.status = "idle";
  vi.advanceTimersByTime(UNHEARD_MS);
  expect(absent()).toBe(NEVER);
  presence.heard();
  expect(absent()).toBeNull();
});

it("says soon that an idle kernel is not heard, never of a busy one or after an answer", () => {
  const { kernel, store, presence, absent } = setup("busy");
  vi.advanceTimersByTime(3 * SOON_MS);
  expect(store.get("unheard")).toBe(false);
  kernel.status = "idle";
  vi.advanceTimersByTime(SOON_MS);
  expect([store.get("unheard"), absent()]).toEqual([true, null]);
  presence.heard();
  vi.advanceTimersByTime(3 * SOON_MS);
  expect(store.get("unheard")).toBe(false);
  const live = setup("idle");
  live.presence.heard();
  vi.advanceTimersByTime(3 * SOON_MS);
  expect(live.store.get("unheard")).toBe(false);
});

it("does not take silence for the absence of a kernel where the host does not tell", () => {
  for (const manager of [undefined, null, {}, { kernel: {} }]) {
    const store = new Store(hostSlice.initial);
    const presence = watchPresence(store, manager, new AbortController().signal);
    vi.advanceTimersByTime(UNHEARD_MS);
    expect(store.get("absent")).toBe(UNKNOWN);
    presence.heard();
    expect(store.get("absent")).toBeNull();
  }
});

it("says at once that nobody is there on a page that was written to be read", () => {
  const state = document.createElement("script");
  state.type = "application/vnd.jupyter.widget-state+json";
  document.body.append(state);
  const store = new Store(hostSlice.initial);
  watchPresence(store, { create_view: () => {} }, new AbortController().signal);
  vi.advanceTimersByTime(0);
  expect(store.get("absent")).toBe(NEVER);
});

it("knows whether the host tells of its kernel, and whether it shows a chart beside the instrument", () => {
  const facts = (manager: unknown) => {
    const store = new Store(hostSlice.initial);
    watchPresence(store, manager, new AbortController().signal);
    return [store.get("told"), store.get("uncharted")];
  };
  const kernel = { status: "idle", statusChanged: new Signal<string>() };
  expect(facts({ kernel, create_view: () => {} })).toEqual([true, false]); // JupyterLab
  expect(facts({ create_view: () => {} })).toEqual([false, false]); // Colab, a written page
  expect(facts({ get_model: () => {} })).toEqual([false, true]); // marimo
});

it("says nothing on a saved page, and listens no longer than its session", () => {
  const { kernel, store, ending, absent } = setup();
  store.set({ offline: true });
  vi.advanceTimersByTime(2 * UNHEARD_MS);
  expect(absent()).toBeNull();
  ending.abort();
  expect(kernel.statusChanged.slots.size + kernel.connectionStatusChanged.slots.size).toBe(0);
});

it("knows that there is none where the host says so, or raises", () => {
  const raising = {
    get kernel(): never {
      throw new Error("no session");
    },
  };
  for (const manager of [{ kernel: null }, raising]) {
    const store = new Store(hostSlice.initial);
    watchPresence(store, manager, new AbortController().signal);
    vi.advanceTimersByTime(UNHEARD_MS);
    expect(store.get("absent")).toBe(NEVER);
  }
});
