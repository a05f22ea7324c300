import { expect, it, vi } from "vitest";
import { arrangement } from "./arrangement";
import { evolving } from "./fixture";
import { scrubber } from "./scrubber";
import { checkpointOf } from "./state";

function setup(calm: boolean, count = 4) {
  vi.stubGlobal("matchMedia", () => ({ matches: calm }));
  const view = evolving(count);
  const line = scrubber(view, arrangement(view));
  return {
    store: view.store,
    button: line.querySelector("button") as HTMLButtonElement,
    range: line.querySelector("input") as HTMLInputElement,
  };
}

it("says where one is, and goes where the slider is put", () => {
  const { store, range } = setup(false);
  expect([range.max, range.value, range.getAttribute("aria-valuetext")]).toEqual([
    "3",
    "3",
    "epoch 10, 4 of 4",
  ]);
  store.set({ playing: true });
  range.value = "1";
  range.dispatchEvent(new Event("input"));
  expect([checkpointOf(store), store.get("playing")]).toEqual([1, false]);
  expect(range.getAttribute("aria-valuetext")).toBe("epoch 2, 2 of 4");
});

it("plays, and pauses", () => {
  const { store, button } = setup(false);
  button.click();
  expect([store.get("playing"), button.textContent]).toEqual([true, "❚❚pause"]);
  button.click();
  expect(store.get("playing")).toBe(false);
});

it("goes step by step where less motion is asked for", () => {
  const { store, button } = setup(true);
  expect(button.textContent).toContain("next");
  const seen = [0, 1, 2].map(() => {
    button.click();
    return checkpointOf(store);
  });
  expect([seen, store.get("playing")]).toEqual([[0, 1, 2], false]);
});

it("has nothing to play with one checkpoint alone", () => {
  const { button, range } = setup(false, 1);
  expect([button.disabled, range.disabled]).toEqual([true, true]);
});
