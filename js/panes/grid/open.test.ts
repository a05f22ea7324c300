import { expect, it } from "vitest";
import { viewOf } from "../../testing";
import { networkSlice } from "../shared/network";
import { picturesSlice } from "../shared/pictures";
import { selectionSlice } from "../shared/selection";
import { surveySlice } from "../shared/survey";
import { openOnStrongest } from "./open";
import { type Grid, gridSlice } from "./state";

const grid = (layer: string, ...max: number[]): Grid =>
  ({
    layer,
    lens: "activation",
    max: Float32Array.from(max),
    planes: { channels: max.length },
  }) as unknown as Grid;

it("opens a layer on its strongest unit, again when one was away before the other was there", () => {
  const view = viewOf(networkSlice, picturesSlice, selectionSlice, surveySlice, gridSlice);
  const { store, kernel } = view;
  openOnStrongest(view);
  kernel.tell.mockImplementation((_: string, { channel }: Record<string, unknown>) =>
    store.set({ selected: channel as number }),
  );
  store.set({ layer: "stem" });
  store.set({ grid: grid("stem", 1, 3, 2) });
  expect(store.get("selected")).toBe(1);
  // Another picture of the same layer takes no unit away, nor chooses one.
  store.set({ selected: null });
  store.set({ grid: grid("stem", 5, 3, 2) });
  expect(store.get("selected")).toBeNull();
  store.set({ layer: "head", selected: null });
  store.set({ layer: "stem", selected: null });
  store.set({ grid: grid("stem", 1, 2, 4) });
  expect(store.get("selected")).toBe(2);
  store.set({ layer: "head", selected: 0 });
  store.set({ grid: grid("head", 1, 9) });
  expect(store.get("selected")).toBe(0);
  expect(kernel.tell.mock.calls).toEqual([
    ["open", { layer: "stem", channel: 1 }],
    ["open", { layer: "stem", channel: 2 }],
  ]);
});
