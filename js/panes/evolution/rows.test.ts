import { expect, it } from "vitest";
import { evolving, WINNERS } from "./fixture";
import { limits, shownUnits } from "./rows";
import { type Cell, cellKey } from "./state";

const units = (store: Parameters<typeof shownUnits>[0]) => shownUnits(store).units;

it("there are as many rows as are asked for, in the order, and always the chosen unit's", () => {
  const { store } = evolving();
  expect(units(store)).toEqual([]);
  store.set({ winners: WINNERS });
  expect(units(store)).toEqual([1, 0, 2]);
  store.set({ rows: 1, order: "jumps" });
  expect(units(store)).toEqual([1]);
  store.set({ selected: 2 });
  expect(units(store)).toEqual([2]);
  store.set({ rows: 2 });
  expect(units(store)).toEqual([1, 2]);
  store.set({ rows: 0, order: "index" });
  expect(units(store)).toEqual([0, 1, 2]);
  store.set({ layer: "other" });
  expect(units(store)).toEqual([]);
});

it("what is looked for has rows, however few there are", () => {
  const { store } = evolving();
  store.set({ winners: WINNERS, rows: 1, query: "0, 2" });
  expect(units(store)).toEqual([0, 2]);
  store.set({ query: "nonsense" });
  expect(shownUnits(store)).toEqual({ units: [1], wrong: true });
});

it("shades end at the strongest of what shares them", () => {
  const { store } = evolving();
  const cell = (peak: number) => ({ peak }) as Cell;
  const known = new Map([
    [cellKey(0, 0), cell(2)],
    [cellKey(0, 1), cell(4)],
    [cellKey(1, 3), cell(8)],
    [cellKey(2, 0), cell(100)],
  ]);
  store.set({ cells: { layer: "conv", method: "deconvnet", side: 1, known } });
  const end = (spread: "tile" | "row" | "layer") => {
    store.set({ spread });
    return limits(store, [0, 1], 4)(0, 2);
  };
  expect([end("tile"), end("row"), end("layer")]).toEqual([2, 4, 8]);
});
