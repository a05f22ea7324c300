/** What is said of a map that is not there, or not of the class that is asked for. */
import { expect, it } from "vitest";
import { viewOf } from "../../testing";
import { networkSlice } from "../shared/network";
import { showCell } from "./captions";
import { mapCell } from "./cells";
import { type Column, gallerySlice, type Map16, type TileState } from "./state";
import { keyOf } from "./tiles";

const column: Column = { name: "gradient", group: "function", summary: "", extended: null };
const progress = (state: TileState["state"]): TileState => ({
  state,
  revision: 1,
  done: 0,
  total: 2,
  left: null,
  failed: 0,
});
const map: Map16 = {
  depth: 1,
  height: 1,
  width: 1,
  values: Int16Array.of(7),
  limit: 1,
  strong: 1,
  target: 3,
  label: "cat",
  score: 1,
  brief: "",
  account: "",
  notes: [],
};

function opened() {
  const view = viewOf(networkSlice, gallerySlice);
  const cell = mapCell(0, column);
  const stand = (change: object) => {
    view.store.set(change);
    showCell(view.store, cell);
    const stale = cell.button.classList.contains("cs-is-stale");
    return [cell.note.textContent, cell.button.getAttribute("aria-busy"), stale];
  };
  return stand;
}

it("is that it is not computed where the work was stopped, and nothing while it may come", () => {
  const stand = opened();
  expect(stand({ _tiles: progress("running") })).toEqual(["", "true", false]);
  expect(stand({ _tiles: progress("cancelled") })).toEqual(["not computed", "false", false]);
  expect(stand({ _tiles: progress("done"), awaited: true })).toEqual(["", "true", false]);
});

it("is that it is of before where another class is asked for", () => {
  const stand = opened();
  const tile = {
    row: 0,
    method: "gradient",
    control: false,
    number: 1,
    map,
    rho: null,
    error: null,
    stale: false,
  };
  const tiles = new Map([[keyOf(0, "gradient", false), tile]]);
  expect(stand({ _tiles: progress("done"), tiles, targets: [null] })).toEqual(["", "false", false]);
  expect(stand({ targets: [5], awaited: true })).toEqual(["", "true", true]);
  expect(stand({ targets: [3], awaited: false })).toEqual(["", "false", false]);
});
