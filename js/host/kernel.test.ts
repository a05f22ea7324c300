import { beforeEach, describe, expect, it, vi } from "vitest";
import { bytes, floats } from "../lib/buffers";
import type { Answer, KernelError } from "../seam";
import { KernelLine } from "./kernel";

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

describe("what no kernel sends", () => {
  /** Numbers that are the same in every run. */
  function random(seed: number) {
    let state = seed;
    return (below: number) => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return Math.floor((state / 2 ** 32) * below);
    };
  }

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
