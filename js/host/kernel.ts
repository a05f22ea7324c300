/**
 * The line to the kernel: numbered requests by kind, each kind its own flights.
 *
 * Request: `{kind, id, client, ...}`. Answer: `{kind, id, client, ok: true, ...}` with binary buffers, or
 * `{kind, id, client, ok: false, error}`. News that nobody asked for (progress, say): `{event, ...}`.
 */
import { onEnd } from "../lib/dom";
import type { Answer, Kernel, KernelError } from "../seam";
import { Flights } from "./flights";

/** What a kernel-side model offers; the part of anywidget's that is used here, so that a static page can stand in. */
export interface Channel {
  /** Some hosts promise that it has left. */
  send(content: unknown, callbacks?: undefined, buffers?: ArrayBuffer[]): unknown;
  /** "msg:custom" hands over a message and its buffers, "change:NAME" nothing. */
  on(event: string, handler: Listener): void;
  off(event: string, handler: Listener): void;
}

export type Listener = (message: unknown, buffers: DataView[]) => void;

/** What hosts hand over as a binary buffer: JupyterLab and marimo the first, Colab the last. */
export type Binary = DataView | ArrayBuffer | ArrayBufferView;

/** Its bytes, not copied; of another frame's making as well, whose classes are others than ours. */
const viewOf = (buffer: Binary): DataView =>
  ArrayBuffer.isView(buffer)
    ? new DataView(buffer.buffer, buffer.byteOffset, buffer.byteLength)
    : new DataView(buffer);

type Timer = ReturnType<typeof setTimeout> | undefined;

interface Line {
  flights: Flights<Record<string, unknown>>;
  handler: (answer: Answer, buffers: DataView[]) => void;
  /** Runs while answers are awaited, from the last that came. */
  timer: Timer;
  /** Whether the answer that is awaited now is late, and whether that is what was said last. */
  late: boolean;
  slow: boolean;
}

export interface KernelOptions {
  /** No answer has come for 300 ms (true), or they come in time (false). */
  onSlow: (kind: string, slow: boolean) => void;
  onError: (kind: string, error: KernelError | null) => void;
  /** The kernel has said something. */
  onHeard: () => void;
  /** A message could not leave: there is nobody to take it. */
  onUnsent: () => void;
}

export const SLOW_MS = 300;
/** A hand rests when it has asked for nothing for so long, ms. */
export const REST_MS = 300;
/** After this long without an answer those awaited are taken as lost, so that a restarted kernel does not leave the widget deaf. */
const LOST_MS = 30_000;

export class KernelLine implements Kernel {
  #channel: Channel;
  #client = Math.random().toString(36).slice(2, 10);
  #sequence = 0;
  #lines = new Map<string, Line>();
  #listeners = new Map<string, (content: Answer) => void>();
  #options: KernelOptions;
  /** Runs while a hand is at work. */
  #hand: Timer;
  /** What waits for the hand: of each kind the newest. */
  #later = new Map<string, Record<string, unknown>>();

  constructor(channel: Channel, options: KernelOptions, signal: AbortSignal) {
    this.#channel = channel;
    this.#options = options;
    const receive = (message: unknown, buffers?: readonly Binary[]) =>
      this.#receive(message as Answer, buffers ?? []);
    channel.on("msg:custom", receive);
    onEnd(signal, () => {
      channel.off("msg:custom", receive);
      for (const line of this.#lines.values()) this.#quiet(line);
      clearTimeout(this.#hand);
    });
  }

  answers(kind: string, handler: Line["handler"], inFlight = 1): void {
    const flights = new Flights<Record<string, unknown>>(
      (request, id) => this.#transmit(kind, request, id),
      () => ++this.#sequence,
      inFlight,
    );
    this.#lines.set(kind, { flights, handler, timer: undefined, late: false, slow: false });
  }

  ask(kind: string, request: Record<string, unknown>): void {
    if (request.dragging) {
      clearTimeout(this.#hand);
      this.#hand = setTimeout(this.rest, REST_MS);
      // What waits of the kind is older.
      this.#later.delete(kind);
    } else if (this.#hand) {
      this.#later.set(kind, request);
      return;
    }
    this.#line(kind).flights.submit(request);
  }

  /** The hand rests, or has let go: what waited for it is asked. */
  rest = (): void => {
    clearTimeout(this.#hand);
    this.#hand = undefined;
    const later = this.#later;
    this.#later = new Map();
    for (const [kind, request] of later) this.ask(kind, request);
  };

  awaits(kind: string): boolean {
    return this.#line(kind).flights.busy;
  }

  tell(kind: string, content: Record<string, unknown> = {}, buffers: ArrayBuffer[] = []): void {
    this.#send({ kind, client: this.#client, ...content }, buffers);
  }

  hears(event: string, handler: (content: Answer) => void): void {
    this.#listeners.set(event, handler);
  }

  /** Whether any answer is still to come. */
  get awaiting(): boolean {
    return [...this.#lines.values()].some(({ flights }) => flights.busy);
  }

  /** Send once more what is under way; the kernel takes a request of a number only once. */
  repeat(): void {
    for (const { flights } of this.#lines.values()) flights.repeat();
  }

  /** The line of a kernel that is gone throws, in some hosts, or breaks its promise. */
  #send(message: Record<string, unknown>, buffers?: ArrayBuffer[]): void {
    try {
      const leaving = this.#channel.send(message, undefined, buffers);
      if (leaving instanceof Promise) leaving.catch(() => this.#options.onUnsent());
    } catch {
      this.#options.onUnsent();
    }
  }

  /** What is asked has somebody who takes the answer. */
  #line(kind: string): Line {
    return this.#lines.get(kind) as Line;
  }

  #transmit(kind: string, request: Record<string, unknown>, id: number): void {
    const line = this.#line(kind);
    if (!line.timer) this.#time(kind, line);
    this.#send({ kind, id, client: this.#client, ...request });
  }

  /** Count from now how long answers are awaited, if any are. */
  #time(kind: string, line: Line): void {
    this.#quiet(line);
    const { busy } = line.flights;
    // While every answer is late, it stays so between them.
    if (line.slow && !(line.late && busy)) {
      line.slow = false;
      this.#options.onSlow(kind, false);
    }
    line.late = false;
    if (!busy) return;
    line.timer = setTimeout(() => {
      line.timer = setTimeout(() => {
        this.#quiet(line);
        line.flights.abandon();
      }, LOST_MS - SLOW_MS);
      line.late = line.slow = true;
      this.#options.onSlow(kind, true);
    }, SLOW_MS);
  }

  #quiet(line: Line): void {
    clearTimeout(line.timer);
    line.timer = undefined;
  }

  #receive(message: Answer, buffers: readonly Binary[]): void {
    if (typeof message !== "object" || message === null) return;
    this.#options.onHeard();
    if (typeof message.event === "string") {
      const { event } = message;
      this.#guarded(event, () => this.#listeners.get(event)?.(message));
      return;
    }
    const kind = message.kind as string;
    const line = this.#lines.get(kind);
    const id = message.id as number;
    // Another page's answer, a kind nobody here asked for, or one given up on and overtaken.
    if (!line || message.client !== this.#client || !line.flights.awaits(id)) return;
    // Of the others in flight that says nothing.
    if (message.superseded) line.flights.drop(id);
    else line.flights.settle(id);
    if (!message.superseded || !line.flights.busy) this.#time(kind, line);
    if (message.superseded) return;
    if (message.ok) {
      this.#options.onError(kind, null);
      this.#guarded(kind, () => line.handler(message, buffers.map(viewOf)));
    } else {
      this.#options.onError(kind, { ...errorOf(message.error), kind });
    }
  }

  /** An answer that cannot be understood is an error that is shown, and what was shown before stays. */
  #guarded(kind: string, handle: () => void): void {
    try {
      handle();
    } catch (error) {
      this.#options.onError(kind, unshown(kind, `The answer of the kernel to "${kind}"`, error));
    }
  }
}

function errorOf(given: unknown): Omit<KernelError, "kind"> {
  const { name, message, details } = (given ?? {}) as Partial<Record<keyof KernelError, unknown>>;
  return { name: String(name ?? "Error"), message: String(message ?? ""), details: String(details ?? "") };
}

/** The error that says that something of the kernel's could not be shown. */
export function unshown(kind: string, what: string, thrown: unknown): KernelError {
  const { name, message, stack = "" } = thrown as Error;
  return { kind, name, message: `${what} could not be shown (${message}). Reload the page.`, details: stack };
}
