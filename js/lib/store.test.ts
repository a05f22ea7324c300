import { describe, expect, it, vi } from "vitest";
import { Store } from "./store";

const fresh = () => new Store({ a: 1, b: 2, place: [0, 0] as [number, number] });

describe("Store", () => {
  it("runs a watcher once for a write of several of its keys, and not for others", () => {
    const store = fresh();
    const run = vi.fn();
    store.onChange(["a", "b"], run, new AbortController().signal);
    store.set({ a: 5, b: 6 });
    expect(run).toHaveBeenCalledTimes(1);
    store.set({ place: [1, 1] });
    expect(run).toHaveBeenCalledTimes(1);
  });

  it("does not run a watcher for a value that is the same, pairs included", () => {
    const store = fresh();
    const run = vi.fn();
    store.onChange(["a", "place"], run, new AbortController().signal);
    store.set({ a: 1, place: [0, 0] });
    expect(run).not.toHaveBeenCalled();
    store.set({ place: [0, 1] });
    expect(run).toHaveBeenCalledTimes(1);
  });

  it("runs `watch` at once, and nothing after the signal", () => {
    const store = fresh();
    const controller = new AbortController();
    const seen: number[] = [];
    store.watch(["a"], () => seen.push(store.get("a")), controller.signal);
    store.set({ a: 2 });
    controller.abort();
    store.set({ a: 3 });
    expect(seen).toEqual([1, 2]);
  });

  it("lets a watcher write to the store it watches", () => {
    const store = fresh();
    store.watch(["a"], () => store.set({ b: store.get("a") * 10 }), new AbortController().signal);
    store.set({ a: 4 });
    expect(store.get("b")).toBe(40);
  });
});
