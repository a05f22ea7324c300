/**
 * One request in flight, only the newest pending.
 *
 * A pointer moves faster than a network computes. Sending every position would queue them; sending none while one
 * is under way, but remembering the newest, gives exactly as many frames as the kernel can make, and always the last.
 */
export class SingleFlight<Request> {
  #send: (request: Request, id: number) => void;
  #next: () => number;
  #pending: { request: Request } | null = null;
  #inFlight: number | null = null;

  /** `send` transmits a request under a number; `next` hands out increasing numbers. */
  constructor(send: (request: Request, id: number) => void, next: () => number) {
    this.#send = send;
    this.#next = next;
  }

  /** True while an answer is awaited. */
  get busy(): boolean {
    return this.#inFlight !== null;
  }

  /** Send now if nothing is under way, otherwise replace what is waiting. */
  submit(request: Request): void {
    if (this.#inFlight !== null) {
      this.#pending = { request };
      return;
    }
    this.#inFlight = this.#next();
    this.#send(request, this.#inFlight);
  }

  /** The answer to `id` came. Returns false, and changes nothing, when `id` is not the one awaited. */
  settle(id: number): boolean {
    if (id !== this.#inFlight) return false;
    this.#inFlight = null;
    const waiting = this.#pending;
    this.#pending = null;
    if (waiting) this.submit(waiting.request);
    return true;
  }

  /** Give up on the answer awaited (the kernel restarted, say) and go on with what is waiting. */
  abandon(): void {
    if (this.#inFlight !== null) this.settle(this.#inFlight);
  }
}
