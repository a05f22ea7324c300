/**
 * A small reactive store: panes read and write it, the session keeps it in step with the kernel.
 *
 * Listeners run synchronously, in the order they were added, once per `set` whatever number of their keys changed.
 */

/** Identical, or arrays whose elements are the same (positions, sizes, outlines). */
export function same(a: unknown, b: unknown): boolean {
  if (Object.is(a, b)) return true;
  if (!Array.isArray(a) || !Array.isArray(b) || a.length !== b.length) return false;
  return a.every((value, index) => same(value, b[index]));
}

interface Watcher<S> {
  keys: readonly (keyof S)[];
  run: () => void;
}

export class Store<S extends object> {
  #state: S;
  #watchers = new Set<Watcher<S>>();

  constructor(initial: S) {
    this.#state = { ...initial };
  }

  get<K extends keyof S>(key: K): S[K] {
    return this.#state[key];
  }

  /** Write some keys; watchers of the keys whose value really changed run before this returns. */
  set(patch: Partial<S>): void {
    const changed = (Object.keys(patch) as (keyof S)[]).filter((key) => !same(this.#state[key], patch[key]));
    if (changed.length === 0) return;
    this.#state = { ...this.#state, ...patch };
    for (const watcher of [...this.#watchers]) {
      if (this.#watchers.has(watcher) && watcher.keys.some((key) => changed.includes(key))) watcher.run();
    }
  }

  /** Run `run` now and after every change of one of `keys`, until `signal` aborts. */
  watch(keys: readonly (keyof S)[], run: () => void, signal: AbortSignal): void {
    this.onChange(keys, run, signal);
    if (!signal.aborted) run();
  }

  /** Run `run` after every change of one of `keys`, until `signal` aborts. */
  onChange(keys: readonly (keyof S)[], run: () => void, signal: AbortSignal): void {
    if (signal.aborted) return;
    const watcher = { keys, run };
    this.#watchers.add(watcher);
    signal.addEventListener("abort", () => this.#watchers.delete(watcher), { once: true });
  }
}
