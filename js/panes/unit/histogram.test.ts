import { expect, it } from "vitest";
import { viewOf } from "../../testing";
import { type LayerInfo, networkSlice } from "../shared/network";
import { surveySlice } from "../shared/survey";
import { histogram } from "./histogram";
import { type Unit, unitSlice } from "./state";

it("calls no unit dead whose values below zero say something", () => {
  const view = viewOf(networkSlice, surveySlice, unitSlice);
  const [values, bars] = histogram(view as never, false);
  const layer = (name: string, signed: boolean) => ({ name, signed }) as LayerInfo;
  view.store.set({
    _network: { ...view.store.get("_network"), layers: [layer("conv", false), layer("fc", true)] },
  });
  const unit = { share: 0, images: 2, ceiling: null, counts: [2], edges: [0, 0], exemplars: [], values: [] };
  const words = (layer: string, values: number[]) => {
    view.store.set({ unit: { ...unit, layer, values } as unknown as Unit });
  };
  words("conv", []);
  expect(values?.textContent).toBe("inactive: active in 0 of 2 pictures");
  view.store.set({ _survey: { ...view.store.get("_survey"), inactive: "dead" } });
  expect(values?.textContent).toBe("dead: active in 0 of 2 pictures");
  words("fc", [-0.168, -0.2]);
  expect(values?.textContent).toBe("above zero in 0 of 2 pictures: −0.168, −0.200");
  expect(bars?.getAttribute("aria-label")).toBe("above zero in 0 of 2 pictures");
});
