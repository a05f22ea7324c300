import { expect, it } from "vitest";
import { viewOf } from "../../testing";
import { type LayerInfo, networkSlice } from "../shared/network";
import { picturesSlice } from "../shared/pictures";
import { selectionSlice } from "../shared/selection";
import { surveySlice } from "../shared/survey";
import { type Grid, gridSlice, type Health, type Lens } from "./state";
import { gridText, unitText } from "./words";

function setup(lens: Lens, ceiling: number | null) {
  const { store } = viewOf(networkSlice, picturesSlice, surveySlice, selectionSlice, gridSlice);
  const max = Float32Array.from([9.312, 4]);
  const grid = {
    layer: "conv",
    lens,
    ceiling,
    names: null,
    silenced: [],
    max,
    active: Float32Array.from([0.5, 0.5]),
  };
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

it("explains the marks on the tiles where there are any", () => {
  const { store } = viewOf(networkSlice, picturesSlice, surveySlice, selectionSlice, gridSlice);
  const text = (state: number[], first: number[]) => {
    const max = Float32Array.from(state, () => 1);
    const grid = {
      layer: "conv",
      lens: "activation",
      names: null,
      silenced: [],
      max,
      planes: { channels: 3 },
    };
    const known = { share: Float32Array.from(state, (one) => 1 - one), first: Int32Array.from(first) };
    const health = {
      layer: "conv",
      images: 200,
      ceiling: null,
      max,
      state: Uint8Array.from(state),
      ...known,
    };
    store.set({ grid: grid as unknown as Grid, health: health as unknown as Health });
    return gridText(store);
  };
  store.set({ _survey: { ...store.get("_survey"), inactive: "dead" } });
  expect(text([0, 0, 0], [0, 1, 2])).toMatch(/ · 0 dead in 200 pictures$/);
  expect(text([0, 1, 0], [0, 1, 0])).toMatch(
    /1 dead in 200 pictures \(struck through\) · 1 \(=\) like another$/,
  );
});

it("counts silenced units apart from those that are inactive by themselves", () => {
  const { store } = viewOf(networkSlice, picturesSlice, surveySlice, selectionSlice, gridSlice);
  const layers = [
    { name: "conv", signed: false },
    { name: "fc", signed: true },
  ] as LayerInfo[];
  store.set({ _network: { ...store.get("_network"), layers } });
  const text = (layer: string, max: number[], silenced: number[]) => {
    const values = { max: Float32Array.from(max), active: new Float32Array(max.length) };
    const grid = {
      layer,
      lens: "activation",
      names: null,
      planes: { channels: max.length },
      silenced,
      ...values,
    };
    store.set({ grid: grid as unknown as Grid });
    return gridText(store);
  };
  expect(text("fc", [1, -1, 0], [])).toBe("3 filters · 2 at or below zero here");
  expect(text("fc", [1, -1, 0], [2])).toBe("3 filters · 1 silenced (×) · 1 at or below zero here");
  expect(unitText(store, 2)).toBe("unit 2 · max 0 here · silenced");
  expect(text("fc", [0, 0, 0], [0, 1, 2])).toBe("3 filters · 3 silenced (×) · 0 at or below zero here");
  expect(text("conv", [1, 0, 0], [1])).toBe("3 filters · 1 silenced (×) · 1 inactive here");
});

it("calls no unit dead from few pictures", () => {
  const { store } = viewOf(networkSlice, picturesSlice, surveySlice, selectionSlice, gridSlice);
  const grid = { layer: "conv", lens: "activation", names: null, silenced: [], max: new Float32Array(1) };
  const health = {
    layer: "conv",
    images: 3,
    max: new Float32Array(1),
    share: new Float32Array(1),
    first: new Int32Array(1),
    state: new Uint8Array([1]),
  };
  store.set({ grid: grid as unknown as Grid, health: health as unknown as Health });
  expect(unitText(store, 0)).toContain(" · inactive · active in 0 of 3 pictures");
  store.set({ _survey: { ...store.get("_survey"), inactive: "dead" } });
  expect(unitText(store, 0)).toContain(" · dead · ");
});
