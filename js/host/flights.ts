/**
 * A few requests in flight, only the newest pending.
 *
 * A pointer moves faster than a network computes. Sending every position would queue them; sending none while some
 * are under way, but remembering the newest, gives exactly as many frames as the kernel can make, and always the last.
 * An answer that comes takes all earlier requests with it, so that no answer follows a newer one.
 */
export class Flights<Request> {
  #send: (request: Request, id: number) => void;
  #next: () => number;
  #limit: number;
  #pending: { request: Request } | null = null;
  /** By number, the oldest first. */
  #underWay = new Map<number, Request>();

  /** `send` transmits a request under a number; `next` hands out increasing numbers; `limit` may be in flight. */
  constructor(send: (request: Request, id: number) => void, next: () => number, limit: number) {
    this.#send = send;
    this.#next = next;
    this.#limit = limit;
  }

  /** True while an answer is awaited. */
  get busy(): boolean {
    return this.#underWay.size > 0;
  }

  /** Whether the answer to `id` is awaited. */
  awaits(id: number): boolean {
    return this.#underWay.has(id);
  }

  /** Send now if there is room, otherwise replace what is waiting. */
  submit(request: Request): void {
    if (this.#underWay.size >= this.#limit) {
      this.#pending = { request };
      return;
    }
    const id = this.#next();
    this.#underWay.set(id, request);
    this.#send(request, id);
  }

  /** The answer to `id` came. Returns false, and changes nothing, when it is not awaited. */
  settle(id: number): boolean {
    if (!this.#underWay.has(id)) return false;
    for (const one of [...this.#underWay.keys()]) if (one <= id) this.#underWay.delete(one);
    this.#fill();
    return true;
  }

  /** The kernel took a newer request in the place of `id`: others are still to be answered. */
  drop(id: number): void {
    if (this.#underWay.delete(id)) this.#fill();
  }

  /** Give up on all answers awaited (the kernel restarted, say) and go on with what is waiting. */
  abandon(): void {
    this.#underWay.clear();
    this.#fill();
  }

  /** Send once more what is under way, in order, under the same numbers. */
  repeat(): void {
    for (const [id, request] of this.#underWay) this.#send(request, id);
  }

  #fill(): void {
    const waiting = this.#pending;
    this.#pending = null;
    if (waiting) this.submit(waiting.request);
  }
}
