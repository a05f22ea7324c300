import { beforeEach, expect, it, vi } from "vitest";
import { evolving, WINNERS } from "./fixture";
import { linkEvolution } from "./requests";
import { cellKey, checkpointOf, chooseCheckpoint } from "./state";

beforeEach(() => void vi.useFakeTimers());

const view = (values: ArrayBufferLike) => new DataView(values);
const asked = ({ kernel }: ReturnType<typeof evolving>, kind: string) =>
  kernel.ask.mock.calls.filter(([one]) => one === kind).map(([, request]) => request);

function linked() {
  const made = evolving();
  linkEvolution(made);
  const { value, image, jump, orders } = WINNERS;
  const buffers = [value, image, jump, ...Object.values(orders)].map((one) => view(one.slice().buffer));
  made.kernel.answer("winners", { layer: "conv", channels: 3 }, buffers);
  return made;
}

/** Answer what was asked last, with tiles of one pixel. */
function answerCells(made: ReturnType<typeof evolving>, have = (_: number) => true) {
  const request = asked(made, "cells").at(-1) as { channels: number[]; checkpoint: number };
  const channels = request.channels.filter(have);
  const bytes = view(new Uint8Array(3 * channels.length).buffer);
  const fields = {
    names: channels.map(String),
    labels: channels.map(() => null),
    peaks: channels.map(() => 1),
    insides: [],
  };
  const answer = { ...request, layer: "conv", method: "deconvnet", side: 1, ...fields, channels };
  made.kernel.answer("cells", answer, [bytes, bytes]);
  return request;
}

it("asks for the winners of a layer once a checkpoint, and opens on the first unit", () => {
  const made = linked();
  expect(asked(made, "winners")).toEqual([{ layer: "conv" }]);
  expect(made.kernel.tell.mock.calls).toEqual([["open", { layer: "conv", channel: 1 }]]);
  made.store.set({ _evolution: { ...made.store.get("_evolution"), recorded: 9 } });
  expect(asked(made, "winners")).toHaveLength(1);
  made.store.set({ layer: "other" });
  expect(asked(made, "winners").at(-1)).toEqual({ layer: "other" });
});

it("asks for every living cell once, checkpoint by checkpoint", () => {
  const made = linked();
  const got: string[] = [];
  for (let guard = 0; guard < 20 && got.length < 9; guard++) {
    const { channels, checkpoint } = answerCells(made);
    got.push(...channels.map((unit) => cellKey(unit, checkpoint)));
  }
  expect(new Set(got)).toEqual(new Set(["0/0", "1/0", "2/0", "0/1", "1/1", "0/2", "1/2", "0/3", "1/3"]));
  expect(got).toHaveLength(9);
  expect(made.store.get("come")).toBe(9);
  const before = asked(made, "cells").length;
  made.store.set({ rows: 2 });
  expect(asked(made, "cells")).toHaveLength(before);
});

it("does not ask for ever for what a saved page does not hold", () => {
  const made = linked();
  let count = 0;
  for (let before = -1; before !== count && count < 40; ) {
    before = asked(made, "cells").length;
    answerCells(made, (unit) => unit === 0);
    count = asked(made, "cells").length;
  }
  expect(count).toBeLessThan(12);
  expect(made.store.get("come")).toBe(4);
});

it("asks, where there are many rows, for what is in sight", () => {
  const made = evolving();
  linkEvolution(made);
  const channels = 100;
  const numbers = Int32Array.from({ length: channels }, (_, unit) => unit);
  const winners = {
    ...WINNERS,
    channels,
    value: new Float32Array(4 * channels).fill(1),
    image: new Int32Array(4 * channels).fill(7),
    jump: new Uint8Array(4 * channels),
    orders: { strongest: numbers, jumps: numbers, settling: numbers, index: numbers },
  };
  made.store.set({ rows: 0, winners });
  expect(asked(made, "cells")).toHaveLength(0);
  made.store.set({ sight: [60, 61] });
  const got = new Set<number>();
  for (let before = 0; before < asked(made, "cells").length; ) {
    before = asked(made, "cells").length;
    for (const unit of answerCells(made).channels) got.add(unit);
  }
  expect([...got].sort()).toEqual([60, 61]);
  expect(made.store.get("come")).toBe(8);
});

it("plays to the last checkpoint and stops there, and again from the first", () => {
  const { store } = linked();
  store.set({ checkpoint: 1, playing: true });
  vi.advanceTimersByTime(10_000);
  expect([checkpointOf(store), store.get("playing")]).toEqual([3, false]);
  store.set({ playing: true });
  expect(checkpointOf(store)).toBe(0);
  store.set({ playing: false });
  vi.advanceTimersByTime(10_000);
  expect(checkpointOf(store)).toBe(0);
});

it("follows the newest checkpoint of a training, unless another was chosen", () => {
  const { store } = linked();
  const info = { ...store.get("_evolution"), live: "training" as const };
  store.set({ _evolution: info });
  chooseCheckpoint(store, 3);
  expect(store.get("checkpoint")).toBeNull();
  const more = { ...info, checkpoints: [...info.checkpoints, { label: "epoch 20", short: "20" }] };
  store.set({ _evolution: more });
  expect(checkpointOf(store)).toBe(4);
  chooseCheckpoint(store, 3);
  expect(store.get("checkpoint")).toBe(3);
});
