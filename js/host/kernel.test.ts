import { beforeEach, describe, expect, it, vi } from "vitest";
import { bytes, floats } from "../lib/buffers";
import type { Answer, KernelError } from "../seam";
import { KernelLine, REST_MS } from "./kernel";

class FakeChannel {
  messages: Answer[] = [];
  handlers = new Set<(message: unknown, buffers: DataView[]) => void>();
  send(content: unknown) {
    this.messages.push(content as Answer);
  }
  on(_event: string, handler: (message: unknown, buffers: DataView[]) => void) {
    this.handlers.add(handler);
  }
  off(_event: string, handler: (message: unknown, buffers: DataView[]) => void) {
    this.handlers.delete(handler);
  }
  receive(message: unknown, buffers: DataView[] = []) {
    for (const handler of this.handlers) handler(message, buffers);
  }
}

function setup() {
  const channel = new FakeChannel();
  const controller = new AbortController();
  const slow = vi.fn<(kind: string, slow: boolean) => void>();
  const failed = vi.fn<(kind: string, error: KernelError | null) => void>();
  const news = vi.fn<(content: Answer) => void>();
  const [heard, unsent] = [vi.fn(), vi.fn()];
  const options = { onSlow: slow, onError: failed, onHeard: heard, onUnsent: unsent };
  const kernel = new KernelLine(channel, options, controller.signal);
  const answers = vi.fn<(answer: Answer) => void>();
  kernel.answers("move", answers);
  return { channel, controller, slow, failed, news, kernel, answers, heard, unsent };
}

/** Numbers that are the same in every run. */
function random(seed: number) {
  let state = seed;
  return (below: number) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

describe("the line to the kernel", () => {
  beforeEach(() => {
    vi.useFakeTimers();
    return () => vi.useRealTimers();
  });

  it("drops answers of other pages, unknown kinds and overtaken requests", () => {
    const { channel, kernel, answers } = setup();
    kernel.ask("move", { x: 1 });
    const head = channel.messages[0] as Answer;
    channel.receive({ ...head, client: "another", ok: true });
    channel.receive({ ...head, kind: "other", ok: true });
    channel.receive({ ...head, id: 99, ok: true });
    expect(answers).not.toHaveBeenCalled();
    channel.receive({ ...head, ok: true, y: 2 });
    channel.receive({ ...head, ok: true, y: 3 });
    expect(answers).toHaveBeenCalledTimes(1);
    expect(answers.mock.calls[0]?.[0]).toMatchObject({ y: 2 });
  });

  it.each([
    [
      "a DataView, as of JupyterLab",
      (one: Uint8Array) => new DataView(one.buffer, one.byteOffset, one.byteLength),
    ],
    ["an ArrayBuffer", (one: Uint8Array) => one.slice().buffer],
    ["an array, as of Colab, of a part", (one: Uint8Array) => one],
  ])("takes what a host hands over as binary: %s", (_name, given) => {
    const { channel, kernel } = setup();
    const taken = vi.fn<(answer: Answer, buffers: DataView[]) => void>();
    kernel.answers("grid", taken);
    kernel.ask("grid", {});
    const part = new Uint8Array([9, 9, 9, 9, 0, 0, 128, 63, 9]).subarray(4, 8);
    channel.receive({ ...channel.messages[0], ok: true }, [given(part) as DataView]);
    const buffer = taken.mock.calls[0]?.[1][0];
    expect([...bytes(buffer)]).toEqual([0, 0, 128, 63]);
    expect([...floats(buffer)]).toEqual([1]);
  });

  it("shows what cannot be read as an error, and takes answers without buffers", () => {
    const { channel, kernel, failed, answers } = setup();
    kernel.ask("move", {});
    for (const handler of channel.handlers)
      (handler as (message: unknown) => void)({ ...channel.messages[0], ok: true });
    expect(answers).toHaveBeenCalledTimes(1);
    kernel.ask("move", {});
    channel.receive({ ...channel.messages[1], ok: true }, ["AACAPw=="] as unknown as DataView[]);
    expect(failed.mock.lastCall?.[1]?.message).toContain("could not be shown");
  });

  it("hears of what could not leave, whether the host throws or breaks its promise", async () => {
    for (const send of [
      () => {
        throw new Error("no comm");
      },
      () => Promise.reject(new Error("no server")),
    ]) {
      const { channel, kernel, unsent } = setup();
      channel.send = send;
      kernel.tell("hello");
      await Promise.resolve();
      expect(unsent).toHaveBeenCalledTimes(1);
    }
  });

  it("keeps a flight per kind", () => {
    const { channel, kernel } = setup();
    kernel.answers("grid", () => {});
    kernel.ask("move", { x: 1 });
    kernel.ask("move", { x: 2 });
    kernel.ask("grid", {});
    expect(channel.messages.map(({ kind }) => kind)).toEqual(["move", "grid"]);
  });

  it("says after 300 ms that an answer is slow, and when it has come", () => {
    const { channel, kernel, slow } = setup();
    kernel.ask("move", {});
    vi.advanceTimersByTime(299);
    expect(slow).not.toHaveBeenCalled();
    vi.advanceTimersByTime(1);
    expect(slow).toHaveBeenLastCalledWith("move", true);
    channel.receive({ ...channel.messages[0], ok: true });
    expect(slow).toHaveBeenLastCalledWith("move", false);
  });

  it("reports an error, asks on, and takes the error back after the next good answer", () => {
    const { channel, kernel, failed, answers } = setup();
    kernel.ask("move", { x: 1 });
    kernel.ask("move", { x: 2 });
    channel.receive({ ...channel.messages[0], ok: false, error: { name: "E", message: "m", details: "" } });
    expect(failed).toHaveBeenLastCalledWith("move", { kind: "move", name: "E", message: "m", details: "" });
    expect(answers).not.toHaveBeenCalled();
    channel.receive({ ...channel.messages[1], ok: true });
    expect(failed).toHaveBeenLastCalledWith("move", null);
  });

  it("repeats what is under way, under its number, and nothing else", () => {
    const { channel, kernel, answers } = setup();
    kernel.answers("grid", () => {});
    kernel.ask("grid", {});
    channel.receive({ ...channel.messages[0], ok: true });
    kernel.ask("move", { x: 1 });
    kernel.ask("move", { x: 2 });
    expect(kernel.awaiting).toBe(true);
    kernel.repeat();
    expect(channel.messages.slice(2)).toEqual([channel.messages[1]]);
    channel.receive({ ...channel.messages[2], ok: true });
    channel.receive({ ...channel.messages[1], ok: true });
    expect(answers).toHaveBeenCalledTimes(1);
    channel.receive({ ...channel.messages[3], ok: true });
    expect(kernel.awaiting).toBe(false);
  });

  it("gives a lost answer up, so that a restarted kernel is heard again", () => {
    const { channel, kernel } = setup();
    kernel.ask("move", { x: 1 });
    kernel.ask("move", { x: 2 });
    vi.advanceTimersByTime(30_000);
    expect(channel.messages.map(({ x }) => x)).toEqual([1, 2]);
  });

  it("stops listening with its signal", () => {
    const { channel, controller, kernel, answers, slow } = setup();
    kernel.ask("move", {});
    controller.abort();
    channel.receive({ ...channel.messages[0], ok: true });
    vi.advanceTimersByTime(60_000);
    expect(answers).not.toHaveBeenCalled();
    expect(slow).not.toHaveBeenCalled();
    expect(channel.handlers.size).toBe(0);
  });

  it("hands on news that nobody asked for", () => {
    const { channel, kernel, news } = setup();
    kernel.hears("error", news);
    channel.receive({ event: "error", kind: "survey" });
    expect(news).toHaveBeenCalledWith({ event: "error", kind: "survey" });
  });
});

describe("a hand at work", () => {
  beforeEach(() => {
    vi.useFakeTimers();
    return () => vi.useRealTimers();
  });

  function working() {
    const made = setup();
    for (const kind of ["unit", "grid"]) made.kernel.answers(kind, () => {});
    const sent = () => made.channel.messages.map(({ kind, x }) => [kind, x]);
    const move = (x: number) => {
      made.kernel.ask("move", { x, dragging: true });
      made.channel.receive({ ...made.channel.messages.at(-1), ok: true });
    };
    return { ...made, sent, move };
  }

  it("goes first: what else is asked follows when it has let go, of each kind the newest", () => {
    const { kernel, sent, move } = working();
    move(1);
    kernel.ask("unit", { x: 2 });
    kernel.ask("grid", { x: 3 });
    move(4);
    kernel.ask("unit", { x: 5 });
    expect(sent()).toEqual([
      ["move", 1],
      ["move", 4],
    ]);
    kernel.rest();
    expect(sent().slice(2)).toEqual([
      ["unit", 5],
      ["grid", 3],
    ]);
    kernel.rest();
    expect(sent()).toHaveLength(4);
    kernel.ask("grid", { x: 6 });
    vi.advanceTimersByTime(REST_MS);
    expect(sent()).toHaveLength(4); // the one under way is not answered
  });

  it("overtakes what waits of its own kind", () => {
    const { kernel, sent, move } = working();
    move(1);
    kernel.ask("unit", { x: 2 });
    kernel.ask("unit", { x: 3, dragging: true });
    kernel.rest();
    expect(sent().slice(1)).toEqual([["unit", 3]]);
  });

  it("may set out again while what waited is asked", () => {
    const { kernel, channel, sent, move } = working();
    move(1);
    for (const kind of ["unit", "grid"]) kernel.ask(kind, { x: 2 });
    const send = channel.send.bind(channel);
    channel.send = (...message) => {
      channel.send = send;
      send(...message);
      move(3);
    };
    kernel.rest();
    expect(sent().slice(1)).toEqual([
      ["unit", 2],
      ["move", 3],
    ]);
    vi.advanceTimersByTime(REST_MS);
    expect(sent().slice(3)).toEqual([["grid", 2]]);
  });

  it("rests while it holds on, and goes first again when it moves on", () => {
    const { kernel, sent, move } = working();
    for (let x = 0; x < 5; x++) {
      move(x);
      kernel.ask("unit", { x });
      vi.advanceTimersByTime(REST_MS - 1);
    }
    expect(sent().filter(([kind]) => kind === "unit")).toEqual([]);
    vi.advanceTimersByTime(1);
    expect(sent().at(-1)).toEqual(["unit", 4]);
    move(6);
    kernel.ask("grid", { x: 7 });
    expect(sent().at(-1)).toEqual(["move", 6]);
  });

  it("asks nothing when its session is over", () => {
    const { kernel, controller, sent, move } = working();
    move(1);
    kernel.ask("unit", { x: 2 });
    controller.abort();
    vi.advanceTimersByTime(60_000);
    expect(sent()).toEqual([["move", 1]]);
  });
});

describe("several in flight", () => {
  beforeEach(() => {
    vi.useFakeTimers();
    return () => vi.useRealTimers();
  });

  function several() {
    const made = setup();
    const shown: unknown[] = [];
    made.kernel.answers("drag", ({ x }) => shown.push(x), 2);
    const drag = (...places: number[]) => {
      for (const x of places) made.kernel.ask("drag", { x });
    };
    const answer = (index: number, more: object = { ok: true }) =>
      made.channel.receive({ ...made.channel.messages[index], ...more });
    const places = () => made.channel.messages.map(({ x }) => x);
    return { ...made, shown, drag, answer, places };
  }

  it("two are sent, the newest waits, the last is always sent", () => {
    const { drag, answer, places, shown } = several();
    drag(1, 2, 3, 4, 5);
    expect(places()).toEqual([1, 2]);
    answer(0);
    expect(places()).toEqual([1, 2, 5]);
    answer(1);
    answer(2);
    expect(shown).toEqual([1, 2, 5]);
  });

  it("an older answer never takes the place of a newer one", () => {
    const { drag, answer, shown } = several();
    drag(1, 2, 3);
    answer(1);
    answer(0);
    answer(2);
    expect(shown).toEqual([2, 3]);
  });

  it("an error of one is shown until the next good answer", () => {
    const { drag, answer, shown, failed } = several();
    drag(1, 2, 3);
    answer(0, { ok: false, error: { name: "E", message: "m", details: "" } });
    expect(failed).toHaveBeenLastCalledWith("drag", { kind: "drag", name: "E", message: "m", details: "" });
    answer(1);
    expect(failed).toHaveBeenLastCalledWith("drag", null);
    answer(2);
    expect(shown).toEqual([2, 3]);
  });

  it("they are late when no answer has come for 300 ms, however many were asked since", () => {
    const { drag, answer, slow } = several();
    const states = () => slow.mock.calls.filter(([kind]) => kind === "drag").map(([, late]) => late);
    const late = () => states().at(-1);
    drag(1);
    vi.advanceTimersByTime(200);
    drag(2);
    vi.advanceTimersByTime(100);
    expect(late()).toBe(true);
    drag(3);
    answer(0); // late itself, and others are awaited
    expect(late()).toBe(true);
    vi.advanceTimersByTime(299);
    answer(1); // in time
    expect(late()).toBe(false);
    vi.advanceTimersByTime(300);
    expect(late()).toBe(true);
    answer(2); // late, but the last
    expect(late()).toBe(false);
    vi.advanceTimersByTime(60_000);
    expect(late()).toBe(false);
  });

  it("one that another took the place of is neither an answer nor late", () => {
    const { drag, answer, places, shown, slow } = several();
    drag(1, 2, 3);
    answer(1, { superseded: true });
    expect(places()).toEqual([1, 2, 3]);
    answer(2, { superseded: true });
    answer(0);
    expect(shown).toEqual([1]);
    vi.advanceTimersByTime(60_000);
    expect(slow).not.toHaveBeenCalledWith("drag", true);
    // Of a request that was alone, too: another page asked for the same.
    drag(4);
    answer(3, { superseded: true });
    vi.advanceTimersByTime(60_000);
    expect(slow).not.toHaveBeenCalledWith("drag", true);
  });

  it("all are given up with a kernel that is lost, and the newest goes to the next", () => {
    const { drag, answer, places, shown } = several();
    drag(1, 2, 3, 4);
    vi.advanceTimersByTime(30_000);
    expect(places()).toEqual([1, 2, 4]);
    answer(0);
    answer(1);
    answer(2);
    drag(5);
    answer(3);
    expect(shown).toEqual([4, 5]);
  });

  it("any mix of places, answers, drops, losses and repeats ends at the last place, in order", () => {
    for (let seed = 1; seed <= 300; seed++) {
      const draw = random(seed);
      const { kernel, channel, drag, shown } = several();
      // As the kernel does: it takes a number once, computes one, keeps the newest that waits, drops the others.
      const [queue, taken]: [Answer[], Set<unknown>] = [[], new Set()];
      let read = 0;
      let waiting: Answer | undefined;
      let computing: Answer | undefined;
      const take = () => {
        const message = channel.messages[read];
        if (!message) return;
        read += 1;
        if (taken.has(message.id)) return;
        taken.add(message.id);
        if (waiting) queue.push({ ...waiting, superseded: true });
        waiting = message;
        if (!computing) compute();
      };
      const compute = () => {
        if (computing) queue.push({ ...computing, ok: draw(8) > 0, error: {} });
        [computing, waiting] = [waiting, undefined];
      };
      let place = 0;
      const steps = [
        () => drag(++place),
        take,
        compute,
        () => channel.receive(queue.splice(draw(queue.length), 1)[0]), // in any order
        () => kernel.repeat(),
        () => vi.advanceTimersByTime(draw(4) * 11_000),
      ];
      for (let step = 0; step < 200; step++) steps[draw(steps.length)]?.();
      drag(++place);
      for (let round = 0; kernel.awaiting && round < 20; round++) {
        while (read < channel.messages.length) take();
        compute();
        compute();
        while (queue.length) channel.receive({ ...queue.shift(), ok: true });
      }
      expect(shown.at(-1)).toBe(place);
      expect(shown).toEqual([...shown].sort((a, b) => (a as number) - (b as number)));
    }
  });
});

describe("what no kernel sends", () => {
  const values = [
    null,
    undefined,
    true,
    -1,
    0,
    1,
    2,
    Number.NaN,
    "",
    "move",
    "error",
    [],
    [1],
    {},
    { name: 3 },
  ];

  it("is shown as an error at the worst, and the next answer is taken", () => {
    const draw = random(7);
    const any = () => values[draw(values.length)];
    const { channel, kernel, failed } = setup();
    const taken = vi.fn();
    // As a pane does: it takes the fields for what they should be.
    const read = ({ at, list }: Answer) =>
      (at as number[]).length + (list as { name: string }[]).map(({ name }) => name.length).length;
    kernel.answers("pane", (answer) => void (answer.good ? taken() : read(answer)));
    kernel.hears("news", (content) => void read(content));
    for (let round = 0; round < 3000; round++) {
      kernel.ask("pane", {});
      const head = channel.messages.at(-1) as Answer;
      const fields = Object.fromEntries(["at", "list", "error", "ok", "event"].map((name) => [name, any()]));
      const message = [
        any(),
        { ...fields, kind: any() },
        { ...head, ...fields },
        { ...fields, event: "news" },
      ];
      channel.receive(message[draw(message.length)]);
      channel.receive({ ...head, ok: true, good: true });
    }
    kernel.ask("pane", {});
    const before = taken.mock.calls.length;
    channel.receive({ ...(channel.messages.at(-1) as Answer), ok: true, good: true });
    expect(taken.mock.calls.length).toBe(before + 1);
    for (const [, error] of failed.mock.calls)
      if (error) expect([typeof error.name, typeof error.message]).toEqual(["string", "string"]);
    expect(failed.mock.calls.some(([, error]) => error?.message.includes("could not be shown"))).toBe(true);
  });

  it("and what cannot be sent is no error of the page's", () => {
    const { channel, kernel, unsent } = setup();
    channel.send = () => {
      throw new Error("Cannot send");
    };
    kernel.ask("move", {});
    kernel.tell("hello");
    expect(unsent).toHaveBeenCalledTimes(2);
  });
});

describe("buffers", () => {
  it("reads at any offset", () => {
    const whole = new Uint8Array(13);
    new DataView(whole.buffer).setFloat32(5, 1.5, true);
    expect([...floats(new DataView(whole.buffer, 5, 8))]).toEqual([1.5, 0]);
    whole[3] = 7;
    expect(bytes(new DataView(whole.buffer, 3, 1))[0]).toBe(7);
  });
});
