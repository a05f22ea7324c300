/**
 * A small reactive store: panes read and write it, the host keeps it in step with the kernel.
 *
 * A store of many keys is a store of any of them, so that a pane names only those that it knows. Listeners run
 * synchronously, in the order they were added, once per `set` whatever number of their keys changed.
 */

/** Identical, or arrays whose elements are the same (positions, sizes, outlines). */
export function same(a: unknown, b: unknown): boolean {
  if (Object.is(a, b)) return true;
  if (!Array.isArray(a) || !Array.isArray(b) || a.length !== b.length) return false;
  return a.every((value, index) => same(value, b[index]));
}

interface Watcher {
  keys: readonly PropertyKey[];
  run: () => void;
}

export class Store<out S extends object> {
  #shared: { state: S; watchers: Set<Watcher>; kept: Set<PropertyKey>; refused: () => void };
  #signal: AbortSignal | undefined;
  #names: Readonly<Record<PropertyKey, PropertyKey>>;

  /** From first values, or of the state of another store. What listens to this one does so until `signal` aborts. */
  constructor(from: S | Store<S>, signal?: AbortSignal) {
    this.#shared =
      from instanceof Store
        ? from.#shared
        : {
            state: { ...from },
            watchers: new Set(),
            kept: new Set(),
            refused: () => {},
          };
    this.#signal = signal;
    this.#names = from instanceof Store ? from.#names : {};
  }

  /** The same store, in which some keys stand for others: `as({ size: "width" })` reads and writes "width" as "size". */
  as<T extends object>(names: Partial<Record<keyof T, keyof S>>): Store<T> {
    const other = new Store<T>(this as unknown as Store<T>, this.#signal);
    const real = Object.entries(names).map(([name, key]) => [name, this.#key(key as keyof S)]);
    other.#names = { ...this.#names, ...Object.fromEntries(real) };
    return other;
  }

  #key<K extends PropertyKey>(name: K): K {
    return (this.#names[name] ?? name) as K;
  }

  get<K extends keyof S>(key: K): S[K] {
    return this.#shared.state[this.#key(key)];
  }

  /** From now on these keys keep their values, whoever writes them: of what would change one nothing is taken. */
  keep(keys: readonly (keyof S)[], refused: () => void): void {
    for (const key of keys) this.#shared.kept.add(this.#key(key));
    this.#shared.refused = refused;
  }

  /**
   * Write some keys; watchers of the keys whose value really changed run before this returns. If one of them throws, the
   * keys are as they were before, and the error goes to the caller.
   */
  set(written: Partial<S>): void {
    const { state, watchers, kept, refused } = this.#shared;
    const given = Object.entries(written).map(([name, value]) => [this.#key(name as keyof S), value]);
    const patch = Object.fromEntries(given) as Partial<S>;
    const keys = Object.keys(patch) as (keyof S)[];
    const changed: PropertyKey[] = keys.filter((key) => !same(state[key], patch[key]));
    if (changed.length === 0) return;
    if (changed.some((key) => kept.has(key))) {
      refused();
      return;
    }
    this.#shared.state = { ...state, ...patch };
    const concerned = [...watchers].filter(({ keys }) => keys.some((key) => changed.includes(key)));
    try {
      for (const watcher of concerned) if (watchers.has(watcher)) watcher.run();
    } catch (error) {
      this.#takeBack(state, changed as (keyof S)[], concerned);
      throw error;
    }
  }

  /** What could not be shown gives way to what was there before, so that nothing else stumbles over it later. */
  #takeBack(before: S, keys: readonly (keyof S)[], concerned: readonly Watcher[]): void {
    const values = Object.fromEntries(keys.map((key) => [key, before[key]])) as Partial<S>;
    this.#shared.state = { ...this.#shared.state, ...values };
    for (const watcher of concerned) {
      try {
        if (this.#shared.watchers.has(watcher)) watcher.run();
      } catch {
        // The first error is the one that is told.
      }
    }
  }

  /** Run `run` now and after every change of one of `keys`. */
  watch(keys: readonly (keyof S)[], run: () => void): void {
    this.onChange(keys, run);
    if (!this.#signal?.aborted) run();
  }

  /** Call `show` with the value of a key, now and after every change. */
  follow<K extends keyof S>(key: K, show: (value: S[K]) => void): void {
    this.watch([key], () => show(this.get(key)));
  }

  /** Run `run` after every change of one of `keys`. */
  onChange(keys: readonly (keyof S)[], run: () => void): void {
    if (this.#signal?.aborted) return;
    const { watchers } = this.#shared;
    const watcher = { keys: keys.map((key) => this.#key(key)), run };
    watchers.add(watcher);
    this.#signal?.addEventListener("abort", () => watchers.delete(watcher), { once: true });
  }
}
