import { expect, it } from "vitest";
import { viewOf } from "../../testing";
import { networkSlice } from "../shared/network";
import { picturesSlice } from "../shared/pictures";
import { stripSlice } from "../strip/state";
import { layerList } from "./numbers";
import { linkInvariance } from "./requests";
import { chooseTransform, invarianceSlice, type TransformInfo } from "./state";
import { invarianceTools } from "./tools";
import { valueText } from "./words";

const SHIFT: TransformInfo = {
  name: "shift_y",
  words: "vertical translation",
  unit: "px",
  identity: 0,
  values: [-4, 0, 4],
  step: 1,
};
const JPEG: TransformInfo = {
  ...SHIFT,
  name: "jpeg",
  words: "JPEG quality",
  unit: "",
  identity: 100,
  values: [5, 100],
};

function opened() {
  const view = viewOf(networkSlice, picturesSlice, stripSlice, invarianceSlice);
  view.store.set({
    _invariance: {
      ...view.store.get("_invariance"),
      transforms: [SHIFT, JPEG],
      fills: ["mean", "edge"],
      layers: ["a", "b"],
      moves: ["shift_y"],
    },
    transform: "shift_y",
    shown: ["a", "b"],
  });
  return view;
}

it("asks for the picture where the slider is, and begins another transformation where it changes nothing", () => {
  const view = opened();
  linkInvariance(view);
  invarianceTools(view, document.body);
  const range = document.querySelector<HTMLInputElement>("[type=range]");
  if (!range) throw new Error("no slider");
  range.value = "3";
  range.dispatchEvent(new Event("input"));
  const asked = { transform: "shift_y", value: 3, fill: "mean" };
  expect(view.kernel.ask).toHaveBeenCalledWith("moved", { ...asked, picture: 0 });
  expect(view.kernel.ask).toHaveBeenLastCalledWith("thumbnails", asked);
  expect(range.getAttribute("aria-valuetext")).toBe("3 px");
  chooseTransform(view.store, "jpeg");
  expect(view.store.get("value")).toBe(100);
  expect([range.min, range.max, range.value]).toEqual(["5", "100", "100"]);
  expect(document.querySelectorAll<HTMLElement>(".cs-tools__field")[1]?.hidden).toBe(true);
});

it("a layer is drawn or not, in the network's order", () => {
  const view = opened();
  const root = document.createElement("div");
  layerList(view, root);
  const [a] = root.querySelectorAll<HTMLElement>(".cs-line");
  a?.click();
  expect(view.store.get("shown")).toEqual(["b"]);
  expect(a?.getAttribute("aria-pressed")).toBe("false");
  a?.click();
  expect(view.store.get("shown")).toEqual(["a", "b"]);
});

it("says how far in the transformation's unit", () => {
  expect(valueText(SHIFT, -12)).toBe("−12 px");
  expect(valueText({ ...SHIFT, unit: "°" }, 30)).toBe("30°");
  expect(valueText({ ...SHIFT, name: "scale", unit: "" }, 1.25)).toBe("1.25×");
  expect(valueText(JPEG, 100)).toBe("not compressed");
  expect(valueText(JPEG, 30)).toBe("quality 30");
});
