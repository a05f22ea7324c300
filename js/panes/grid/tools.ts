/** Above the grid: what the tiles show, in which order and colours, which of them and how large. */
import type { Scale } from "../../lib/atlas";
import { COLORMAPS, type Colormap } from "../../lib/colormaps";
import { segmented, select, tied } from "../../lib/controls";
import { el, on } from "../../lib/dom";
import { clamp } from "../../lib/geometry";
import type { View } from "../../seam";
import { isSurveyed } from "../shared/survey";
import { type Arranged, ZOOM } from "./arrangement";
import type { GridState, Lens, Order, Show } from "./state";

/** `search`: the field that finds units, which stands among them. */
export function gridTools(view: View<GridState>, arranged: Arranged, search: Node[]): HTMLElement {
  return el(
    "div.cs-tools",
    lensField(view),
    orderField(view),
    showField(view),
    // What does not fit beside the lenses goes to the next line together.
    el("div.cs-tools.cs-tools__end", ...colourFields(view), zoomButtons(arranged), ...search),
  );
}

function lensField({ store }: View<GridState>): HTMLElement {
  const lenses = segmented<Lens>("Lens", {
    activation: ["activation", "What each filter answers on this picture"],
    patch: ["best patch", "The patch that excites each filter most"],
    projection: ["projection", "What each filter picked out of the patch that excites it most"],
    weights: ["weights", "The filters of the first layer themselves"],
  });
  tied(store, "lens", lenses);
  store.watch(["_survey", "layer", "_network", "offline"], () => {
    if (store.get("offline")) return lenses.offer([store.get("lens")]);
    const layers = store.get("_network").layers;
    const isFirst = layers.find(({ kind }) => kind === "conv")?.name === store.get("layer");
    lenses.offer([
      "activation",
      ...(isSurveyed(store) ? (["patch", "projection"] as const) : []),
      ...(isFirst ? (["weights"] as const) : []),
    ]);
    // Without a kernel's word a lens that makes no sense here falls back, rather than showing another layer's tiles.
    if (store.get("lens") === "weights" && layers.length > 0 && !isFirst) store.set({ lens: "activation" });
  });
  return lenses.element;
}

function orderField({ store }: View<GridState>): HTMLElement {
  const orders = select<Order>("Order", {
    strongest: "strongest here",
    mean: "mean here",
    index: "by index",
    best: "in survey",
    rare: "rarest first",
    class: "for the class",
  });
  tied(store, "order", orders);
  store.watch(["_survey", "label"], () => {
    const surveyed = isSurveyed(store);
    orders.offer([
      ...(["strongest", "mean", "index"] as const),
      ...(surveyed ? (["best", "rare"] as const) : []),
      ...(surveyed && store.get("label") ? (["class"] as const) : []),
    ]);
  });
  return orders.element;
}

function showField({ store }: View<GridState>): HTMLElement {
  const shown = select<Show>("Which filters", {
    all: "all",
    alive: "alive",
    dead: "dead",
    rare: "rarely active",
    repeated: "repeated",
  });
  store.follow("_survey", () => {
    shown.element.hidden = !isSurveyed(store);
  });
  return tied(store, "show", shown).element;
}

/** Only where tiles are coloured here: patches and projections have colours of their own. */
function colourFields({ store }: View<GridState>): HTMLElement[] {
  const scales = segmented<Scale>("Scale", {
    unit: ["unit", "Each tile uses the full range of colours"],
    layer: ["layer", "One range for the layer: tiles can be compared"],
  });
  const maps = select<Colormap>("Colour map", COLORMAPS);
  tied(store, "scale", scales);
  tied(store, "colormap", maps);
  store.follow("grid", (grid) => {
    const coloured = (grid?.planes.depth ?? 1) === 1;
    scales.element.hidden = maps.element.hidden = !coloured;
  });
  return [scales.element, maps.element];
}

function zoomButtons(arranged: Arranged): HTMLElement {
  const smaller = el("button.cs-button", { title: "Smaller tiles (-)" }, "−");
  const larger = el("button.cs-button", { title: "Larger tiles (+)" }, "+");
  on(smaller, "click", () => zoomBy(arranged, -1));
  on(larger, "click", () => zoomBy(arranged, 1));
  arranged.follow("zoom", (zoom) => {
    smaller.disabled = zoom === 0;
    larger.disabled = zoom === ZOOM.length - 1;
  });
  return el("span.cs-zoom", { role: "group", "aria-label": "Tile size" }, smaller, larger);
}

export function zoomBy(arranged: Arranged, steps: number): void {
  arranged.set({ zoom: clamp(arranged.get("zoom") + steps, 0, ZOOM.length - 1) });
}
