import { expect, it } from "vitest";
import { el } from "../lib/dom";
import { Store } from "../lib/store";
import { type HostSlice, hostSlice, type View } from "../seam";
import { showAbsence } from "./absence";
import { GONE, NEVER } from "./presence";

function setup(still: string) {
  const store = new Store<HostSlice>({ ...hostSlice.initial, _still: still });
  const [outer, root] = [el("div"), el("div")];
  showAbsence({ store } as unknown as View<object>, outer, root);
  const marked = () => root.classList.contains("cs-is-still");
  const shown = () => [outer.querySelector<HTMLElement>(".cs-still")?.hidden === false, !root.hidden];
  return { store, shown, marked };
}

it("shows the still picture until a kernel is heard that would have answered, and where there is none", () => {
  const { store, shown } = setup("AAAA");
  expect(shown()).toEqual([false, true]);
  store.set({ unheard: true });
  expect(shown()).toEqual([true, false]);
  store.set({ absent: NEVER });
  expect(shown()).toEqual([true, false]);
  store.set({ absent: null, unheard: false });
  expect(shown()).toEqual([false, true]);
  store.set({ absent: GONE });
  expect(shown()).toEqual([false, true]);
});

it("leaves the instrument in sight where there is no picture of it", () => {
  const { store, shown } = setup("");
  store.set({ unheard: true });
  expect(shown()).toEqual([false, true]);
});

it("marks what can only be looked at: without a kernel, and on a saved page", () => {
  const { store, marked } = setup("");
  expect(marked()).toBe(false);
  for (const changes of [{ absent: GONE }, { absent: null, offline: true }]) {
    store.set(changes);
    expect(marked()).toBe(true);
  }
  store.set({ offline: false });
  expect(marked()).toBe(false);
});
