import { expect, it } from "vitest";
import { viewOf } from "../../testing";
import { networkSlice } from "../shared/network";
import { picturesSlice } from "../shared/pictures";
import { selectionSlice } from "../shared/selection";
import { surveySlice } from "../shared/survey";
import { type Grid, gridSlice, type Health, type Lens } from "./state";
import { unitText } from "./words";

function setup(lens: Lens, ceiling: number | null) {
  const { store } = viewOf(networkSlice, picturesSlice, surveySlice, selectionSlice, gridSlice);
  const max = Float32Array.from([9.312, 4]);
  const grid = { layer: "conv", lens, ceiling, names: null, max, active: Float32Array.from([0.5, 0.5]) };
  const health = { layer: "conv", images: 200, ceiling, max: Float32Array.from([15.5, 6]) };
  const units = {
    share: Float32Array.from([0.5, 1]),
    first: Int32Array.from([0, 1]),
    state: new Uint8Array(2),
  };
  store.set({ grid: grid as unknown as Grid, health: { ...health, ...units } as unknown as Health });
  return [0, 1].map((channel) => unitText(store, channel));
}

it("says what a unit's largest values are before the ceiling and after", () => {
  expect(setup("activation", 6)).toEqual([
    "unit 0 · max 6.00 (9.31 before the ceiling) here · active in 50 % of 200 pictures",
    "unit 1 · max 4.00 here · active in 100 % of 200 pictures",
  ]);
  expect(setup("patch", 6)[0]).toContain(" · 6.00 (15.5 before the ceiling) in the survey · ");
  expect(setup("patch", 6)[1]).toContain(" · 6.00 in the survey · ");
  expect(setup("projection", null)[0]).toContain("max 9.31 here · 15.5 in the survey");
});
