/**
 * Every instrument, mounted, under messages and updates that no kernel of its version sends: nothing is thrown, and
 * what could not be shown is said.
 */
import { beforeEach, expect, it, vi } from "vitest";
import type { Listener } from "./host/kernel";
import type { Model } from "./host/session";
import compare from "./instruments/compare";
import correspondence from "./instruments/correspondence";
import evolution from "./instruments/evolution";
import explorer from "./instruments/explorer";
import filters from "./instruments/filters";
import gallery from "./instruments/gallery";
import health from "./instruments/health";
import invariance from "./instruments/invariance";
import map from "./instruments/map";
import occluder from "./instruments/occluder";
import patterns from "./instruments/patterns";
import unit from "./instruments/unit";

const INSTRUMENTS = {
  compare,
  correspondence,
  evolution,
  explorer,
  filters,
  gallery,
  health,
  invariance,
  map,
  occluder,
  patterns,
  unit,
};

const chance = (seed: number) => () => {
  seed = (seed * 1664525 + 1013904223) >>> 0;
  return seed / 2 ** 32;
};

const RUBBISH: readonly unknown[] = [
  null,
  undefined,
  -1,
  1e9,
  0.5,
  Number.NaN,
  "",
  "rubbish",
  "<!--<script",
  true,
  [],
  [1, 2],
  [[1]],
  [null],
  {},
  { name: 5 },
  Number.POSITIVE_INFINITY,
  -1e300,
  2 ** 53,
  "\ud800",
  "x".repeat(5000),
  [[[0.5]], [], null],
  Array.from({ length: 300 }, (_, index) => index),
  Array.from({ length: 300 }, () => ({ name: "a", label: null, value: Number.NaN })),
];
const FAILURE = { name: "ArgumentError", message: "Expected one, got another.", details: "" };

const TRAITS = {
  _network: { name: "small", device: "cpu", size: [8, 8], layers: [] },
  _pictures: [{ name: "one", label: null }],
  _labels: ["cat"],
  layer: "",
  selected: null,
  picture: 0,
  position: [0, 0],
  size: 3,
  order: "strongest",
  label: "",
  points: [[0, 0], null],
  layers: ["conv"],
  part: "nose",
  colormap: "inferno",
  _second: { name: "other", device: "cpu", size: [12, 12], layers: [] },
  _comparison: {
    known: true,
    sides: [],
    numbers: [],
    agreement: null,
    compared: 1,
    disagreements: 0,
    complaint: null,
    cka: null,
    answers: [],
  },
  layer_a: "",
  layer_b: "",
};

/** What was said, in which any other field that somebody looks for has a value, too: rubbish, always the same. */
function withRubbish(said: Record<string, unknown>, pick: <T>(of: readonly T[]) => T): unknown {
  return new Proxy(said, {
    get: (fields, name) => {
      if (typeof name === "string" && !(name in fields)) fields[name] = pick(RUBBISH);
      return Reflect.get(fields, name);
    },
  });
}

/** A model whose kernel the test plays. */
function played() {
  const handlers = new Map<string, Set<Listener>>();
  const asked: Record<string, unknown>[] = [];
  const traits: Record<string, unknown> = { ...TRAITS };
  const read = new Set<string>();
  const model: Model = {
    get: (name) => {
      read.add(name);
      return traits[name];
    },
    set: (name, value) => {
      traits[name] = value;
    },
    save_changes: () => {},
    send: (message) => void asked.push(message as Record<string, unknown>),
    on: (event, handler) => void handlers.set(event, (handlers.get(event) ?? new Set()).add(handler)),
    off: (event, handler) => void handlers.get(event)?.delete(handler),
  };
  const say = (message: unknown, buffers: DataView[] = []) => {
    for (const handler of [...(handlers.get("msg:custom") ?? [])]) handler(message, buffers);
  };
  const update = (name: string, value: unknown) => {
    traits[name] = value;
    for (const handler of [...(handlers.get(`change:${name}`) ?? [])]) handler(undefined, []);
  };
  return { model, asked, read, say, update };
}

const thrown: unknown[] = [];
beforeEach(() => {
  thrown.length = 0;
  // What is painted is painted at once, and what it throws is noted.
  vi.stubGlobal("requestAnimationFrame", (run: () => void) => {
    queueMicrotask(() => {
      try {
        run();
      } catch (error) {
        thrown.push((error as Error).stack);
      }
    });
    return 0;
  });
});

// It ends by itself: on a busy machine it takes many times what it takes alone.
const BUSY = 60_000;

it.each(Object.entries(INSTRUMENTS))("%s", { timeout: BUSY }, async (_name, made) => {
  const random = chance(1);
  const pick = <T>(of: readonly T[]) => of[Math.floor(random() * of.length)] as T;
  let refused = 0;
  for (let mounted = 0; mounted < 20; mounted++) {
    const { model, asked, read, say, update } = played();
    const host = document.body.appendChild(document.createElement("div"));
    const ending = new AbortController();
    made().render({ model, el: host, signal: ending.signal });
    expect(host.querySelector("[role=alert][data-error]")).toBeNull();
    for (let round = 0; round < 20; round++) {
      const request = pick(asked);
      const sizes = Array.from({ length: Math.floor(4 * random()) }, () => pick([0, 3, 12, 48]));
      const buffers = sizes.map((size) => {
        const bytes = Uint8Array.from({ length: size }, () => pick([0, 1, 127, 255]));
        return new DataView(bytes.buffer);
      });
      const what = pick(["answer", "answer", "event", "update", "rubbish"]);
      if (what === "answer" && request) say(withRubbish({ ...request, ok: random() < 0.8 }, pick), buffers);
      else if (what === "update") update(pick([...read]), pick(RUBBISH));
      else if (what === "event") {
        const event = pick(["hello", "error", "trail", "other"]);
        say(
          withRubbish({ event, kind: pick(RUBBISH), error: random() < 0.5 ? FAILURE : pick(RUBBISH) }, pick),
          buffers,
        );
      } else say(pick(RUBBISH), buffers);
      await Promise.resolve();
    }
    refused += host.querySelectorAll("[role=alert][data-error]").length;
    expect(thrown).toEqual([]);
    expect(host.querySelector(".cs-root")).not.toBeNull();
    ending.abort();
    host.remove();
  }
  expect(refused).toBeGreaterThan(0);
});
