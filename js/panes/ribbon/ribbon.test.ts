import { expect, it } from "vitest";
import { viewOf } from "../../testing";
import { type LayerInfo, networkSlice } from "../shared/network";
import { selectionSlice } from "../shared/selection";
import { surveySlice } from "../shared/survey";
import { type RibbonOptions, ribbonPane } from "./ribbon";

const layer = (name: string, channels: number): LayerInfo => ({
  name,
  kind: "conv",
  channels,
  size: [7, 7],
  field: 3,
  gated: name === "b.2",
  signed: false,
});

function setup(options: RibbonOptions = {}, layers = [layer("stem", 8), layer("b.1", 64), layer("b.2", 16)]) {
  globalThis.ResizeObserver ??= class {
    observe() {}
    unobserve() {}
    disconnect() {}
  };
  const view = viewOf(networkSlice, selectionSlice, surveySlice);
  view.store.set({
    _network: { name: "net", device: "cpu", size: [64, 64], layers },
    layer: layers[0]?.name ?? "",
  });
  const root = document.createElement("div");
  document.body.replaceChildren(root);
  ribbonPane(view, root, options);
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

it("opens another layer on whichever unit the instrument chooses, where it does", () => {
  const { store, cells } = setup({ opens: "any" });
  store.set({ selected: 5 });
  cells[1]?.click();
  expect([store.get("layer"), store.get("selected")]).toEqual(["b.1", null]);
});

it("folds the blocks of a network of many layers, but for the one that is looked at", () => {
  const names = [3, 4, 6].flatMap((count, stage) =>
    Array.from({ length: count }, (_, block) =>
      ["conv1", "conv2", ""].map((own) => `layer${stage + 1}.${block}${own && "."}${own}`),
    ).flat(),
  );
  const layers = [...names, "fc"].map((name) => layer(name, 8));
  const { store, root } = setup({}, layers);
  store.set({ layer: "layer2.1.conv1" });
  const shown = (selector: string) =>
    [...root.querySelectorAll<HTMLElement>(selector)].filter((one) => !one.closest("[hidden]"));
  expect(shown(".cs-block").map((one) => one.querySelector("b")?.textContent)).toEqual([
    "layer1",
    "0",
    "2",
    "3",
    "layer3",
  ]);
  expect(shown(".cs-layer").map((one) => one.querySelector("b")?.textContent)).toEqual([
    "conv1",
    "conv2",
    "output",
    "fc",
  ]);
  // A click on a chip goes to the block's output, and unfolds it.
  shown(".cs-block")[4]?.click();
  expect(store.get("layer")).toBe("layer3.5");
  expect(shown(".cs-block")[1]?.querySelector("b")?.textContent).toBe("layer2");
  const bars = [...root.querySelectorAll<HTMLElement>(".cs-overview__layer")];
  expect(bars.map(({ dataset }) => dataset.layer)).toEqual(layers.map(({ name }) => name));
  expect(bars.filter((bar) => bar.classList.contains("cs-is-current")).map(({ title }) => title)).toEqual([
    "layer3.5: 8 units of 7 × 7",
  ]);
  bars[0]?.click();
  expect(store.get("layer")).toBe("layer1.0.conv1");
});

it("shows which share of a layer's units no picture has activated", () => {
  const { store, cells } = setup();
  store.set({ _survey: { ...store.get("_survey"), images: 200, inactive: "dead", dead: { stem: 0.25 } } });
  expect(cells[0]?.querySelector<HTMLElement>(".cs-layer__dead")?.style.width).toBe("25%");
  expect(cells[0]?.querySelector<HTMLElement>(".cs-layer__health")?.title).toEqual(
    expect.stringMatching(/^25 % of the units dead in 200 pictures\n/),
  );
  expect(cells[0]?.textContent).toContain("25 % dead");
  store.set({ _survey: { ...store.get("_survey"), images: 1, inactive: "inactive" } });
  expect(cells[0]?.textContent).toContain("25 % inactive");
  expect(cells[1]?.querySelector<HTMLElement>(".cs-layer__health")?.title).toBe("");
});
