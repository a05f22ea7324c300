/**
 * The line to the kernel: numbered requests by kind, each kind its own single flight.
 *
 * Request: `{kind, id, client, ...}`. Answer: `{kind, id, client, ok: true, ...}` with binary buffers, or
 * `{kind, id, client, ok: false, error}`. News that nobody asked for (progress, say): `{event, ...}`.
 */
import type { Answer, Kernel, KernelError } from "../seam";
import { SingleFlight } from "./singleflight";

/** What a kernel-side model offers; the part of anywidget's that is used here, so that a static page can stand in. */
export interface Channel {
  send(content: unknown, callbacks?: undefined, buffers?: ArrayBuffer[]): void;
  /** "msg:custom" hands over a message and its buffers, "change:NAME" nothing. */
  on(event: string, handler: Listener): void;
  off(event: string, handler: Listener): void;
}

export type Listener = (message: unknown, buffers: DataView[]) => void;

interface Line {
  flight: SingleFlight<Record<string, unknown>>;
  handler: (answer: Answer, buffers: DataView[]) => void;
  /** What was sent last. */
  message: Record<string, unknown>;
  slow: ReturnType<typeof setTimeout> | undefined;
  lost: ReturnType<typeof setTimeout> | undefined;
}

export interface KernelOptions {
  /** An answer has been awaited for 300 ms (true) or has come (false). */
  onSlow: (kind: string, slow: boolean) => void;
  onError: (kind: string, error: KernelError | null) => void;
  /** The kernel has said something. */
  onHeard: () => void;
  /** A message could not leave: there is nobody to take it. */
  onUnsent: () => void;
}

export const SLOW_MS = 300;
/** After this long an answer is taken as lost, so that a restarted kernel does not leave the widget deaf. */
const LOST_MS = 30_000;

export class KernelLine implements Kernel {
  #channel: Channel;
  #client = Math.random().toString(36).slice(2, 10);
  #sequence = 0;
  #lines = new Map<string, Line>();
  #listeners = new Map<string, (content: Answer) => void>();
  #options: KernelOptions;

  constructor(channel: Channel, options: KernelOptions, signal: AbortSignal) {
    this.#channel = channel;
    this.#options = options;
    const receive = (message: unknown, buffers: DataView[]) => this.#receive(message as Answer, buffers);
    channel.on("msg:custom", receive);
    signal.addEventListener("abort", () => {
      channel.off("msg:custom", receive);
      for (const line of this.#lines.values()) this.#quiet(line);
    });
  }

  answers(kind: string, handler: Line["handler"]): void {
    const flight = new SingleFlight<Record<string, unknown>>(
      (request, id) => this.#transmit(kind, request, id),
      () => ++this.#sequence,
    );
    this.#lines.set(kind, { flight, handler, message: {}, slow: undefined, lost: undefined });
  }

  ask(kind: string, request: Record<string, unknown>): void {
    this.#line(kind).flight.submit(request);
  }

  awaits(kind: string): boolean {
    return this.#line(kind).flight.busy;
  }

  tell(kind: string, content: Record<string, unknown> = {}, buffers: ArrayBuffer[] = []): void {
    this.#send({ kind, client: this.#client, ...content }, buffers);
  }

  hears(event: string, handler: (content: Answer) => void): void {
    this.#listeners.set(event, handler);
  }

  /** Whether any answer is still to come. */
  get awaiting(): boolean {
    return [...this.#lines.values()].some(({ flight }) => flight.busy);
  }

  /** Send once more what is under way; the kernel takes a request of a number only once. */
  repeat(): void {
    for (const { flight, message } of this.#lines.values()) if (flight.busy) this.#send(message);
  }

  /** The line of a kernel that is gone throws, in some hosts. */
  #send(message: Record<string, unknown>, buffers?: ArrayBuffer[]): void {
    try {
      this.#channel.send(message, undefined, buffers);
    } catch {
      this.#options.onUnsent();
    }
  }

  #line(kind: string): Line {
    const line = this.#lines.get(kind);
    if (!line) throw new Error(`no handler for answers of kind "${kind}"`);
    return line;
  }

  #transmit(kind: string, request: Record<string, unknown>, id: number): void {
    const line = this.#line(kind);
    this.#quiet(line);
    line.slow = setTimeout(() => this.#options.onSlow(kind, true), SLOW_MS);
    line.lost = setTimeout(() => line.flight.abandon(), LOST_MS);
    line.message = { kind, id, client: this.#client, ...request };
    this.#send(line.message);
  }

  #quiet(line: Line): void {
    clearTimeout(line.slow);
    clearTimeout(line.lost);
  }

  #receive(message: Answer, buffers: DataView[]): void {
    if (typeof message !== "object" || message === null) return;
    this.#options.onHeard();
    if (typeof message.event === "string") {
      const { event } = message;
      this.#guarded(event, () => this.#listeners.get(event)?.(message));
      return;
    }
    const kind = message.kind as string;
    const line = this.#lines.get(kind);
    // Another page's answer, a kind nobody here asked for, or one given up on and overtaken.
    if (!line || message.client !== this.#client || !line.flight.busy) return;
    const id = message.id as number;
    this.#quiet(line);
    if (!line.flight.settle(id)) return;
    if (!line.flight.busy) this.#options.onSlow(kind, false);
    if (message.superseded) return;
    if (message.ok) {
      this.#options.onError(kind, null);
      this.#guarded(kind, () => line.handler(message, buffers));
    } else {
      this.#options.onError(kind, { ...errorOf(message.error), kind });
    }
  }

  /** An answer that cannot be understood is an error that is shown, and what was shown before stays. */
  #guarded(kind: string, handle: () => void): void {
    try {
      handle();
    } catch (error) {
      const { name, message, stack = "" } = error as Error;
      const text = `The answer of the kernel to "${kind}" could not be shown (${message}). Reload the page.`;
      this.#options.onError(kind, { kind, name, message: text, details: stack });
    }
  }
}

function errorOf(given: unknown): Omit<KernelError, "kind"> {
  const { name, message, details } = (given ?? {}) as Partial<Record<keyof KernelError, unknown>>;
  return { name: String(name ?? "Error"), message: String(message ?? ""), details: String(details ?? "") };
}
