import { describe, expect, it, vi } from "vitest";
import { Store } from "./store";

const fresh = () => new Store({ a: 1, b: 2, place: [0, 0] as [number, number] });

describe("Store", () => {
  it("runs a watcher once for a write of several of its keys, and not for others", () => {
    const store = fresh();
    const run = vi.fn();
    store.onChange(["a", "b"], run);
    store.set({ a: 5, b: 6 });
    expect(run).toHaveBeenCalledTimes(1);
    store.set({ place: [1, 1] });
    expect(run).toHaveBeenCalledTimes(1);
  });

  it("keeps the values of keys that are to be kept, for all that share it, and tells of what it refuses", () => {
    const store = fresh();
    const other = new Store(store, new AbortController().signal);
    const [run, refused] = [vi.fn(), vi.fn()];
    store.keep(["a"], refused);
    store.onChange(["a", "b"], run);
    other.set({ a: 1, b: 6 });
    expect([store.get("b"), run.mock.calls.length, refused.mock.calls.length]).toEqual([6, 1, 0]);
    // What was asked for together is not half done.
    other.set({ a: 5, b: 7 });
    expect([store.get("a"), store.get("b")]).toEqual([1, 6]);
    expect([run.mock.calls.length, refused.mock.calls.length]).toEqual([1, 1]);
  });

  it("takes back what a watcher cannot show", () => {
    const store = fresh();
    const shown: number[] = [];
    store.onChange(["a"], () => shown.push(store.get("a")));
    store.onChange(["a"], () => {
      if (store.get("a") === 5) throw new Error("not five");
    });
    expect(() => store.set({ a: 5, b: 6 })).toThrow("not five");
    expect([store.get("a"), store.get("b")]).toEqual([1, 2]);
    expect(shown).toEqual([5, 1]);
  });

  it("does not run a watcher for a value that is the same, pairs included", () => {
    const store = fresh();
    const run = vi.fn();
    store.onChange(["a", "place"], run);
    store.set({ a: 1, place: [0, 0] });
    expect(run).not.toHaveBeenCalled();
    store.set({ place: [0, 1] });
    expect(run).toHaveBeenCalledTimes(1);
  });

  it("runs `watch` at once, and nothing after the signal of the part that was watched", () => {
    const store = fresh();
    const controller = new AbortController();
    const part = new Store(store, controller.signal);
    const seen: number[] = [];
    part.watch(["a"], () => seen.push(part.get("a")));
    store.set({ a: 2 });
    controller.abort();
    part.set({ a: 3 });
    part.watch(["a"], () => seen.push(4));
    expect(seen).toEqual([1, 2]);
    expect(store.get("a")).toBe(3);
  });

  it("is the same under other names", () => {
    const store = fresh();
    const controller = new AbortController();
    const other = new Store(store, controller.signal).as<{ first: number; b: number }>({ first: "a" });
    const seen: [number, number][] = [];
    other.watch(["first", "b"], () => seen.push([other.get("first"), other.get("b")]));
    other.set({ first: 5 });
    store.set({ a: 6, b: 7 });
    expect(seen.at(-1)).toEqual([6, 7]);
    expect(store.get("a")).toBe(6);
    // Names of names, and parts of a view, go on standing for the same keys.
    const again = new Store(other.as<{ one: number }>({ one: "first" }));
    again.set({ one: 8 });
    expect([store.get("a"), other.get("first"), again.get("one")]).toEqual([8, 8, 8]);
    again.keep(["one"], () => {});
    store.set({ a: 9 });
    expect(store.get("a")).toBe(8);
    controller.abort();
    store.set({ b: 1 });
    expect(seen.at(-1)).toEqual([8, 7]);
  });

  it("lets a watcher write to the store it watches", () => {
    const store = fresh();
    store.watch(["a"], () => store.set({ b: store.get("a") * 10 }));
    store.set({ a: 4 });
    expect(store.get("b")).toBe(40);
  });
});
