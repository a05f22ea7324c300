/** What is said of the units of the layer that is chosen. */
import { expect, it } from "vitest";
import { viewOf } from "../../testing";
import { networkSlice } from "../shared/network";
import { surveySlice } from "../shared/survey";
import { healthSlice } from "./state";
import { healthPane, linkHealth } from "./table";

it("is that they are looked up until they come, or why they do not", () => {
  const view = viewOf(networkSlice, surveySlice, healthSlice);
  const root = document.body.appendChild(document.createElement("div"));
  linkHealth(view);
  healthPane(view, root);
  const details = root.querySelector<HTMLElement>(".cs-details");
  const said = () => (details?.hidden ? null : details?.textContent);
  expect(said()).toBeNull();
  const survey = { ...view.store.get("_survey"), state: "done" as const, revision: 1, images: 55 };
  view.store.set({ _survey: survey });
  expect([said(), details?.getAttribute("aria-busy")]).toEqual([
    "Choose a layer to see which filters those are.",
    "false",
  ]);
  view.store.set({ layer: "conv1" });
  expect([said(), details?.getAttribute("aria-busy")]).toEqual(["conv1Looking its units up…", "true"]);
  const counts = { dead: 1, rare: 0, duplicated: 0 };
  const units = { layer: "conv1", counts, dead: [3], rare: [], duplicated: [] };
  view.kernel.answer("units", units as never);
  expect([said(), details?.getAttribute("aria-busy")]).toEqual(["conv11 inactive3", "false"]);
  view.store.set({ layer: "conv2" });
  expect(said()).toBe("conv2Looking its units up…");
  view.store.set({ errors: { units: { kind: "units", name: "Error", message: "no", details: "" } } });
  expect([said(), details?.getAttribute("aria-busy")]).toEqual([
    "conv2Its units could not be listed: the error says why.",
    "false",
  ]);
});
