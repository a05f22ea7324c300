import { describe, expect, it } from "vitest";
import type { View } from "../../seam";
import { viewOf } from "../../testing";
import { networkSlice } from "../shared/network";
import { picturesSlice } from "../shared/pictures";
import { selectionSlice } from "../shared/selection";
import { surveySlice } from "../shared/survey";
import { arrangement } from "./arrangement";
import { searchField } from "./search";
import { type Grid, type GridState, gridSlice, type Health } from "./state";

const grid = {
  layer: "conv",
  lens: "activation",
  planes: { channels: 4 },
  max: Float32Array.from([1, 3, 3, 0]),
  mean: Float32Array.from([0.5, 0.1, 0.2, 0]),
} as unknown as Grid;
const health: Health = {
  layer: "conv",
  images: 200,
  short: null,
  ceiling: null,
  state: Uint8Array.from([0, 0, 0, 2]),
  max: Float32Array.from([1, 2, 3, 4]),
  share: Float32Array.from([0.5, 0, 1, 0.005]),
  first: Int32Array.from([0, 1, 0, 3]),
};

function setup() {
  const view = viewOf(networkSlice, picturesSlice, surveySlice, selectionSlice, gridSlice);
  view.store.set({ grid, layer: "conv", _labels: ["cat", "dog"] });
  const arranged = arrangement(view);
  arranged.set({ width: 100 });
  return { store: view.store, arranged };
}

describe("the units that are shown", () => {
  it("follow the order, and the tiles' size the zoom", () => {
    const { store, arranged } = setup();
    expect(arranged.get("order")).toEqual([1, 2, 0, 3]);
    store.set({ order: "index" });
    expect(arranged.get("order")).toEqual([0, 1, 2, 3]);
    const before = arranged.get("layout").tile;
    arranged.set({ zoom: 4 });
    expect(arranged.get("layout").tile).toBeGreaterThan(before);
  });

  it("are those that are looked for; nonsense is marked, a class is none", () => {
    const { arranged } = setup();
    arranged.set({ query: "0, 3" });
    expect(arranged.get("order")).toEqual([0, 3]);
    expect(arranged.get("named")).toBe(true);
    const told = () => [arranged.get("order").length, arranged.get("wrong"), arranged.get("named")];
    arranged.set({ query: "ca" });
    expect(told()).toEqual([4, false, false]);
    arranged.set({ query: "zebra" });
    expect(told()).toEqual([4, true, false]);
    expect(arranged.get("complaint")).toBe(
      "“zebra” names no unit, and no class with enough pictures surveyed: all are shown.",
    );
    arranged.set({ query: "77" });
    expect(arranged.get("complaint")).toBe("No unit of this layer matches “77”: it has units 0 to 3.");
  });

  it("are judged, and chosen from, only when those of this layer have come", () => {
    const { store, arranged } = setup();
    const view = { store } as View<GridState>;
    const { search } = searchField(view, arranged);
    const enter = (query: string) => {
      search.value = query;
      search.dispatchEvent(new Event("input"));
      search.dispatchEvent(new Event("change"));
    };
    store.set({ layer: "head", selected: null });
    enter("zebra");
    expect([arranged.get("complaint"), arranged.get("wrong")]).toEqual(["", false]);
    const names = ["horse", "zebra", "cow", "pig"];
    store.set({ grid: { ...grid, layer: "head", names } });
    expect([arranged.get("order"), store.get("selected")]).toEqual([[1], 1]);
    // What has come is judged at once.
    enter("2");
    expect(store.get("selected")).toBe(2);
  });

  it("are left out by what a survey of this layer found", () => {
    const { store, arranged } = setup();
    store.set({ health, show: "rare" });
    expect(arranged.get("order")).toEqual([3]);
    store.set({ health: { ...health, state: new Uint8Array(4) } });
    expect(arranged.get("complaint")).toBe("No unit of this layer is rarely active over 200 pictures.");
    store.set({ health: { ...health, state: new Uint8Array(4), short: "Told from 101 pictures on." } });
    expect(arranged.get("complaint")).toBe("Told from 101 pictures on.");
    store.set({ health: { ...health, layer: "other" } });
    expect(arranged.get("complaint")).toBe("");
  });
});
