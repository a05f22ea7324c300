import { deflateSync } from "node:zlib";
import { beforeEach, describe, expect, it, vi } from "vitest";
import type { Slice } from "../seam";
import type { Listener } from "./kernel";
import { type Saved, savedModel } from "./saved";
import { type Model, openSession } from "./session";

class FakeModel implements Model {
  saved = vi.fn();
  handlers = new Map<string, Set<Listener>>();
  constructor(public traits: Record<string, unknown>) {}
  get(name: string) {
    return this.traits[name];
  }
  set(name: string, value: unknown) {
    this.change(name, value); // as anywidget does: one's own change is announced, too
  }
  save_changes() {
    this.saved({ ...this.traits });
  }
  messages: Record<string, unknown>[] = [];
  send(content: unknown) {
    this.messages.push(content as Record<string, unknown>);
  }
  receive(message: unknown) {
    for (const handler of this.handlers.get("msg:custom") ?? []) handler(message, []);
  }
  on(event: string, handler: Listener) {
    const set = this.handlers.get(event) ?? new Set<Listener>();
    this.handlers.set(event, set.add(handler));
  }
  off(event: string, handler: Listener) {
    this.handlers.get(event)?.delete(handler);
  }
  /** A change that comes from the kernel. */
  change(name: string, value: unknown) {
    this.traits[name] = value;
    for (const handler of this.handlers.get(`change:${name}`) ?? []) handler(undefined, []);
  }
}

interface Keys {
  position: [number, number];
  size: number;
  fill: string;
  layer: string;
  hovered: number | null;
  _revision: number;
}

const slice: Slice<Keys> = {
  initial: { position: [0, 0], size: 50, fill: "grey", layer: "", hovered: null, _revision: 0 },
  writes: ["position", "size", "fill", "layer"],
  held: ["position", "size"],
  given: ["_revision"],
};

function setup(offline = false) {
  const model = new FakeModel({ position: [10, 20], size: 50, fill: "grey", _revision: 0 });
  const controller = new AbortController();
  return { model, controller, ...openSession<Keys>(model, [slice], controller.signal, offline) };
}

describe("traits", () => {
  it("start from the model and follow it", () => {
    const { model, store } = setup();
    expect(store.get("position")).toEqual([10, 20]);
    model.change("position", [1, 2]);
    expect(store.get("position")).toEqual([1, 2]);
    model.change("_revision", 3);
    expect(store.get("_revision")).toBe(3);
  });

  it("that were changed together here are written together", () => {
    const { model, store } = setup();
    store.set({ position: [1, 1], size: 9, fill: "blur" });
    expect(model.traits).toMatchObject({ position: [1, 1], size: 9, fill: "blur" });
    expect(store.get("size")).toBe(9);
  });

  it("that the kernel changed together are taken over together", () => {
    const { model, store } = setup();
    const seen: unknown[] = [];
    store.onChange(["fill", "size"], () => seen.push([store.get("fill"), store.get("size")]));
    model.traits.fill = "noise";
    model.change("size", 7);
    model.change("fill", "noise");
    expect(seen).toEqual([["noise", 7]]);
    expect(model.traits.size).toBe(7);
    expect(model.saved).not.toHaveBeenCalled();
  });

  it("are written back at once when the pointer is up, only where they changed", () => {
    const { model, store } = setup();
    store.set({ fill: "blur" });
    expect(model.traits.fill).toBe("blur");
    expect(model.saved).toHaveBeenCalledTimes(1);
    store.set({ hovered: 3 });
    expect(model.saved).toHaveBeenCalledTimes(1);
    expect("layer" in model.traits).toBe(false);
  });

  it("hold a position back during a drag, write the last one on release, and no echo pulls at the square", () => {
    const { model, store } = setup();
    store.set({ dragging: true });
    for (let row = 0; row < 50; row++) store.set({ position: [row, 0] });
    expect(model.saved).not.toHaveBeenCalled();
    model.change("position", [10, 20]);
    expect(store.get("position")).toEqual([49, 0]);
    store.set({ dragging: false });
    expect(model.traits.position).toEqual([49, 0]);
    expect(model.saved).toHaveBeenCalledTimes(1);
  });

  it("let what waited for the hand follow when they are written", () => {
    const { model, store, kernel } = setup();
    for (const kind of ["occlude", "unit"]) kernel.answers(kind, () => {});
    store.set({ dragging: true });
    kernel.ask("occlude", { dragging: true });
    kernel.ask("unit", {});
    store.set({ position: [1, 2] });
    const asked = () => model.messages.map(({ kind }) => kind).filter((kind) => kind !== "hello");
    expect(asked()).toEqual(["occlude"]);
    model.saved.mockImplementation(() => expect(asked()).toEqual(["occlude"]));
    store.set({ dragging: false });
    expect([model.saved.mock.calls.length, asked()]).toEqual([1, ["occlude", "unit"]]);
  });

  it("are let go with the signal", () => {
    const { model, controller, store } = setup();
    controller.abort();
    model.change("fill", "noise");
    store.set({ size: 9 });
    expect(store.get("fill")).toBe("grey");
    expect(model.saved).not.toHaveBeenCalled();
  });
});

describe("errors", () => {
  const told = { name: "E", message: "the reason", details: "" };
  const messages = (errors: Record<string, { message: string }>) =>
    Object.values(errors).map(({ message }) => message);

  it("of long work stay while requests of its kind are answered, until it begins again", () => {
    const { model, store, kernel } = setup();
    kernel.answers("map", () => {});
    kernel.ask("map", {});
    model.receive({ event: "error", kind: "map", work: true, error: { ...told, kind: "map" } });
    model.receive({ ...model.messages.at(-1), ok: true });
    expect(messages(store.get("errors"))).toEqual(["the reason"]);
    model.receive({ event: "error", kind: "map", work: true, error: null });
    expect(store.get("errors")).toEqual({});
  });

  it("that no request awaits are the same as those of a request of their kind", () => {
    const { model, store, kernel } = setup();
    kernel.answers("move", () => {});
    kernel.ask("move", {});
    model.receive({ event: "error", kind: "move", error: { ...told, kind: "move" } });
    expect(messages(store.get("errors"))).toEqual(["the reason"]);
    model.receive({ ...model.messages.at(-1), ok: true });
    expect(store.get("errors")).toEqual({});
  });

  it("of a request go with the next good answer", () => {
    const { model, store, kernel } = setup();
    kernel.answers("map", () => {});
    kernel.ask("map", {});
    model.receive({ ...model.messages.at(-1), ok: false, error: told });
    expect(messages(store.get("errors"))).toEqual(["the reason"]);
    kernel.ask("map", {});
    model.receive({ ...model.messages.at(-1), ok: true });
    expect(store.get("errors")).toEqual({});
  });
});

describe("a kernel that is busy with a cell", () => {
  beforeEach(() => {
    vi.useFakeTimers();
    return () => vi.useRealTimers();
  });
  const hello = (main: boolean) => ({ event: "hello", main });

  const kinds = (model: FakeModel) => model.messages.map(({ kind }) => kind);

  it("is greeted until messages pass the cell, and asked again then", () => {
    const { model, kernel, store } = setup();
    kernel.answers("move", () => {}, 2);
    kernel.ask("move", { x: 1 }); // behind the cell, as is the first greeting
    kernel.ask("move", { x: 2 });
    expect(kinds(model)).toEqual(["hello", "move", "move"]);
    vi.advanceTimersByTime(100 + 150 + 225);
    expect(kinds(model).slice(3)).toEqual(["hello", "hello", "hello"]);
    expect(store.get("beside")).toBe(false);
    model.messages = [];
    model.receive(hello(false));
    expect(store.get("beside")).toBe(true);
    expect(model.messages.map(({ kind, x }) => [kind, x])).toEqual([
      ["move", 1],
      ["move", 2],
    ]);
    model.receive({ ...model.messages.at(-1), ok: true });
    model.messages = [];
    // What is late from here on is being computed.
    kernel.ask("move", { x: 3 });
    vi.advanceTimersByTime(20_000);
    model.receive(hello(false));
    expect(model.messages).toHaveLength(1);
    expect(store.get("queued")).toBe(false);
  });

  it("is waited for: that is said until it answers", () => {
    const { model, kernel, store } = setup();
    kernel.answers("move", () => {});
    kernel.ask("move", {});
    vi.advanceTimersByTime(2999);
    expect(store.get("queued")).toBe(false);
    vi.advanceTimersByTime(1);
    expect(store.get("queued")).toBe(true);
    model.receive(hello(true)); // the cell has ended
    expect(store.get("queued")).toBe(false);
    expect(store.get("beside")).toBe(false);
  });

  it("is none of a saved page's, however long that takes", () => {
    const { kernel, store } = setup();
    store.set({ offline: true });
    kernel.answers("move", () => {});
    kernel.ask("move", {});
    vi.advanceTimersByTime(10_000);
    expect(store.get("queued")).toBe(false);
  });

  it("is soon left alone where nothing is awaited, and where there is no such way; greeted again when late", () => {
    const { model, kernel } = setup();
    kernel.answers("move", () => {});
    const answering = () => {
      vi.advanceTimersByTime(60_000);
      model.receive(hello(true));
    };
    answering();
    expect(model.messages.length).toBeLessThanOrEqual(10);
    model.messages = [];
    answering();
    expect(model.messages).toEqual([]);
    kernel.ask("move", {});
    vi.advanceTimersByTime(299);
    expect(kinds(model)).toEqual(["move"]);
    vi.advanceTimersByTime(1);
    expect(kinds(model)).toEqual(["move", "hello"]);
    // However long the cell takes, a queue of greetings is not what it ends with.
    model.messages = [];
    vi.advanceTimersByTime(25_000);
    expect(model.messages.length).toBeLessThan(10);
  });

  it("is not asked for views that are gone", () => {
    const { model, kernel, store, controller } = setup();
    kernel.answers("move", () => {});
    kernel.ask("move", {});
    controller.abort();
    model.messages = [];
    vi.advanceTimersByTime(60_000);
    expect(model.messages).toEqual([]);
    expect(store.get("queued")).toBe(false);
  });
});

describe("a saved page", () => {
  it("that is slow speaks of no kernel", () => {
    vi.useFakeTimers();
    const { model, kernel, store } = setup(true);
    kernel.answers("photo", () => {});
    kernel.ask("photo", {});
    vi.advanceTimersByTime(60_000);
    expect(model.messages.map(({ kind }) => kind)).toEqual(["photo"]);
    expect([store.get("queued"), store.get("absent"), store.get("unheard")]).toEqual([false, null, false]);
    vi.useRealTimers();
  });

  const packed = (kind: "z" | "d", bytes: number[]) =>
    kind + deflateSync(Uint8Array.from(bytes)).toString("base64");
  const pixels = [10, 20, 30, 12, 18, 255, 0, 1, 2];
  const steps = pixels.map((value, at) => (value - (pixels[at - 3] ?? 0)) & 255);
  const saved: Saved = {
    state: { picture: 0 },
    answers: [
      {
        content: { kind: "photo", ok: true, picture: 0, height: 1 },
        buffers: [packed("d", steps), packed("z", pixels), packed("z", [])],
      },
    ],
  };

  it("answers what was saved, by number, and says so of what was not", async () => {
    const refused = vi.fn();
    const model = savedModel(saved, refused);
    const replies: [Record<string, unknown>, DataView[]][] = [];
    // In the order of the requests, though buffers take their time to unpack.
    await new Promise<void>((resolve) => {
      model.on("msg:custom", (message, buffers) => {
        if (replies.push([message as Record<string, unknown>, buffers]) === 2) resolve();
      });
      model.send({ kind: "photo", id: 4, client: "c", picture: 0 });
      model.send({ kind: "photo", id: 5, client: "c", picture: 1 });
    });
    expect(replies[0]?.[0]).toMatchObject({ id: 4, ok: true, height: 1 });
    expect(replies[0]?.[1].map((one) => [...new Uint8Array(one.buffer)])).toEqual([pixels, pixels, []]);
    expect(replies[1]?.[0]).toMatchObject({ id: 5, ok: false });
    expect(refused).not.toHaveBeenCalled();
    // Of what asks for no answer nothing else would tell.
    model.send({ kind: "remove", client: "c", added: 1 });
    expect(refused).toHaveBeenCalledTimes(1);
  });
});
