import { expect, it } from "vitest";
import { el } from "../../lib/dom";
import { keepFocus } from "../../lib/focus";
import { viewOf } from "../../testing";
import { networkSlice } from "../shared/network";
import { selectionSlice } from "../shared/selection";
import { surveySlice } from "../shared/survey";
import { unitSlice } from "./state";
import { tileList } from "./tiles";

function setup(before: number) {
  const view = viewOf(networkSlice, surveySlice, selectionSlice, unitSlice);
  const list = tileList(view, "Patches", () => before);
  document.body.replaceChildren(list.element);
  const tiles = Array.from({ length: 5 }, () => el("button.cs-patch"));
  list.show(tiles);
  const selected = () => tiles.map((tile) => tile.getAttribute("aria-selected")).indexOf("true");
  const press = (key: string) =>
    document.activeElement?.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
  return { view, list, tiles, selected, press };
}

it("counts exemplars on from those of the list before", () => {
  const { view, tiles, selected } = setup(9);
  expect(selected()).toBe(-1);
  tiles[2]?.click();
  expect(view.store.get("exemplar")).toBe(11);
  expect(selected()).toBe(2);
  view.store.set({ exemplar: 3 });
  expect(selected()).toBe(-1);
  expect(tiles.filter(({ tabIndex }) => tabIndex === 0)).toEqual([tiles[0]]);
});

it("is walked by arrows, three to a row, and keeps the focus when other tiles come", async () => {
  const { view, list, tiles, press } = setup(0);
  keepFocus(document.body, view.signal);
  tiles[0]?.focus();
  press("ArrowDown");
  expect(view.store.get("exemplar")).toBe(3);
  press("ArrowRight");
  press("ArrowRight");
  expect(view.store.get("exemplar")).toBe(4);
  const others = Array.from({ length: 5 }, () => el("button.cs-patch"));
  list.show(others);
  await Promise.resolve();
  expect(document.activeElement).toBe(others[4]);
});
