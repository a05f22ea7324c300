import { expect, it } from "vitest";
import { viewOf } from "../../testing";
import { networkSlice } from "../shared/network";
import { picturesSlice } from "../shared/pictures";
import { selectionSlice } from "../shared/selection";
import { surveySlice } from "../shared/survey";
import { arrangement } from "./arrangement";
import { chooseByKeys, chooseByPointer } from "./choose";
import { type Grid, gridSlice } from "./state";

it("chooses no unit from tiles of another layer, which stay in sight while the new one is computed", () => {
  const view = viewOf(networkSlice, picturesSlice, selectionSlice, surveySlice, gridSlice);
  const { store } = view;
  const arranged = arrangement(view);
  const scroller = document.createElement("div");
  chooseByPointer(view, arranged, scroller);
  chooseByKeys(view, arranged, scroller, document.createElement("input"));
  const grid = {
    layer: "stem",
    lens: "activation",
    max: Float32Array.from([1, 3, 2]),
    planes: { channels: 3 },
  };
  store.set({ layer: "stem", grid: grid as unknown as Grid });
  arranged.set({ width: 300 });
  const choose = () => {
    scroller.dispatchEvent(new MouseEvent("click", { clientX: 1, clientY: 1 }));
    const clicked = store.get("selected");
    scroller.dispatchEvent(new KeyboardEvent("keydown", { key: "End" }));
    return [clicked, store.get("selected")];
  };
  expect(choose()).toEqual([1, 0]);
  store.set({ layer: "head", selected: null });
  expect(choose()).toEqual([null, null]);
});
