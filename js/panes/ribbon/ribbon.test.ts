import { expect, it } from "vitest";
import { viewOf } from "../../testing";
import { type LayerInfo, networkSlice } from "../shared/network";
import { selectionSlice } from "../shared/selection";
import { surveySlice } from "../shared/survey";
import { ribbonPane } from "./ribbon";

const layer = (name: string, channels: number): LayerInfo => ({
  name,
  kind: "conv",
  channels,
  size: [7, 7],
  field: 3,
  gated: name === "b.2",
});

function setup() {
  globalThis.ResizeObserver ??= class {
    observe() {}
    unobserve() {}
    disconnect() {}
  };
  const view = viewOf(networkSlice, selectionSlice, surveySlice);
  const layers = [layer("stem", 8), layer("b.1", 64), layer("b.2", 16)];
  view.store.set({ _network: { name: "net", device: "cpu", size: [64, 64], layers }, layer: "stem" });
  const root = document.createElement("div");
  document.body.replaceChildren(root);
  ribbonPane(view, root);
  const cells = [...root.querySelectorAll<HTMLElement>(".cs-layer")];
  return { store: view.store, root, cells };
}

it("has a cell a layer, in groups by block, and marks the current one", () => {
  const { root, cells } = setup();
  expect([...root.querySelectorAll(".cs-ribbon__stage")].map(({ textContent }) => textContent)).toEqual([
    " ",
    "b",
  ]);
  expect(cells.map((cell) => cell.getAttribute("aria-selected"))).toEqual(["true", "false", "false"]);
  expect(cells.map(({ tabIndex }) => tabIndex)).toEqual([0, -1, -1]);
  expect(cells[2]?.title).toContain("a gate that sees all");
});

it("keeps the unit's number from layer to layer, where there are as many", () => {
  const { store, root, cells } = setup();
  store.set({ selected: 5, exemplar: 3 });
  cells[1]?.click();
  expect([store.get("layer"), store.get("selected"), store.get("exemplar")]).toEqual(["b.1", 5, null]);
  store.set({ selected: 40 });
  const end = new KeyboardEvent("keydown", { key: "End", bubbles: true });
  root.querySelector(".cs-ribbon")?.dispatchEvent(end);
  expect([store.get("layer"), store.get("selected")]).toEqual(["b.2", 15]);
  expect(document.activeElement).toBe(cells[2]);
});

it("shows which share of a layer's units no picture has activated", () => {
  const { store, cells } = setup();
  store.set({ _survey: { ...store.get("_survey"), dead: { stem: 0.25 } } });
  expect(cells[0]?.querySelector<HTMLElement>(".cs-layer__dead")?.style.width).toBe("25%");
  expect(cells[0]?.querySelector<HTMLElement>(".cs-layer__health")?.title).toBe(
    "25 % of the filters never active",
  );
  expect(cells[1]?.querySelector<HTMLElement>(".cs-layer__health")?.title).toBe("");
});
