import { expect, it } from "vitest";
import { el } from "../lib/dom";
import { Store } from "../lib/store";
import { type HostSlice, hostSlice, type View } from "../seam";
import { SAVED, showAbsence } from "./absence";
import { GONE, NEVER } from "./presence";

function setup(still: string) {
  const store = new Store<HostSlice>({ ...hostSlice.initial, _still: still });
  const control = el("button.cs-asks");
  const root = el("div", control);
  const outer = el("div", root);
  const { signal } = new AbortController();
  showAbsence({ store, signal } as unknown as View<object>, outer, root);
  const marked = () => root.classList.contains("cs-is-still");
  const shown = () => [outer.querySelector<HTMLElement>(".cs-still")?.hidden === false, !root.hidden];
  const tip = () => outer.querySelector<HTMLElement>(".cs-refusal:not([hidden])")?.textContent;
  return { store, shown, marked, control, outer, tip };
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

it("says what to do where a saved page is asked for what it cannot do, until the next is asked", () => {
  const { store, control, outer, tip } = setup("");
  // Nobody has asked: what a pane tries by itself is nobody's matter.
  store.set({ offline: true, refused: 1 });
  expect([tip(), control.inert]).toEqual([undefined, true]);
  const press = () => outer.dispatchEvent(new MouseEvent("pointerdown", { clientX: 5, clientY: 5 }));
  press();
  expect(tip()).toBeUndefined();
  store.set({ refused: 2 });
  expect(tip()).toBe(SAVED);
  press();
  expect(tip()).toBeUndefined();
  outer.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter" }));
  store.set({ refused: 3 });
  expect(tip()).toBe(SAVED);
});

it("says where one clicks that the kernel is gone", () => {
  const { store, outer, tip } = setup("");
  const box = { left: 0, top: 0, right: 9, bottom: 9 } as DOMRect;
  (outer.querySelector("div:has(.cs-asks)") ?? outer).getClientRects = () => [box] as unknown as DOMRectList;
  const press = (clientX: number) =>
    outer.dispatchEvent(new MouseEvent("pointerdown", { clientX, clientY: 5 }));
  press(5);
  expect(tip()).toBeUndefined();
  store.set({ absent: GONE });
  press(50);
  expect(tip()).toBeUndefined();
  press(5);
  expect(tip()).toBe(GONE);
});
