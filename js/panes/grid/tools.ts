/** Above the grid: what the tiles show, in which order and colours, which of them and how large. */
import { hasScales, ranges, type Scale } from "../../lib/atlas";
import { COLORMAPS, type Colormap, colouring, SHADES } from "../../lib/colormaps";
import { captioned, segmented, select, tied } from "../../lib/controls";
import { el, is, on } from "../../lib/dom";
import { clamp } from "../../lib/geometry";
import { toolRow } from "../../lib/menu";
import { scaleBar } from "../../lib/scalebar";
import type { View } from "../../seam";
import { figureButtons } from "../shared/figure";
import { hasSurvey, inactiveWord, isSurveyed } from "../shared/survey";
import { type Arranged, ZOOM } from "./arrangement";
import { type GridState, type Lens, type Order, type Show, scaleKey } from "./state";

/** `search`: the field that finds units, which stands among them. */
export function gridTools(view: View<GridState>, arranged: Arranged, search: HTMLElement[]): HTMLElement {
  const { scale, bar, maps } = colourFields(view, arranged);
  const units = captioned("units", showField(view));
  return toolRow(
    view.signal,
    [
      captioned("show", lensField(view)),
      captioned("order", orderField(view)),
      units,
      scale,
      bar,
      captioned("find", ...search),
    ],
    [units, scale],
    [
      captioned("colours", maps),
      captioned("size of tiles", zoomButtons(arranged)),
      figureButtons(view, "grid", "the strongest units"),
    ],
    320,
  );
}

/** Of what needs a survey, that which can be chosen now, and that which can be later. */
function bySurvey<T>(store: View<GridState>["store"], ...values: T[]): [now: T[], later: T[]] {
  if (!hasSurvey(store)) return [[], []];
  return isSurveyed(store) ? [values, []] : [[], values];
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
    const [known, later] = bySurvey<Lens>(store, "patch", "projection");
    lenses.offer(["activation", ...known, ...(isFirst ? (["weights"] as const) : [])], later);
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
    const [known, later] = bySurvey<Order>(store, "best", "rare");
    const ofClass = isSurveyed(store) && store.get("label") ? (["class"] as const) : [];
    orders.offer(["strongest", "mean", "index", ...known, ...ofClass], later);
  });
  return orders.element;
}

function showField({ store }: View<GridState>): HTMLElement {
  const shown = select<Show>("Which units", {
    all: "all",
    alive: "active",
    dead: "dead",
    rare: "rare",
    repeated: "repeated",
  });
  store.follow("_survey", () => {
    shown.element.hidden = !hasSurvey(store);
    shown.element.disabled = !isSurveyed(store);
    shown.rename("dead", inactiveWord(store));
  });
  return tied(store, "show", shown).element;
}

/** What the colours stand for, beside what shares a range of them; photographs have no such scale. */
function colourFields(
  view: View<GridState>,
  arranged: Arranged,
): Record<"scale" | "bar" | "maps", HTMLElement> {
  const { store, page } = view;
  const choices = {
    unit: ["unit", "Each tile uses the full range of colours"],
    layer: ["layer", "One range for the layer: tiles can be compared"],
  } as const;
  const scales = segmented<Scale>("Scale", choices);
  const weights = segmented<Scale>("Scale of the weights", choices);
  const maps = select<Colormap>("Colours of the tiles", COLORMAPS);
  const bar = scaleBar("Scale", { variant: "cs-bar--tool" });
  tied(store, "scale", scales);
  tied(store, "weights_scale", weights);
  tied(store, "colormap", maps);
  const showScale = () => {
    const grid = store.get("grid");
    // Until the tiles come what belongs to them has its place.
    const lens = grid?.lens ?? store.get("lens");
    const none = lens === "patch";
    const one = !!grid && !hasScales(grid.planes);
    scales.element.hidden = none || one || lens === "weights";
    weights.element.hidden = none || one || lens !== "weights";
    maps.element.hidden = none || grid?.planes.depth === 3 || !!grid?.planes.signed;
    is(bar.element, "nothing", !grid);
    if (none) return bar.show(null);
    if (!grid) return bar.show({ range: [0, 0], colours: "none" });
    const scale = store.get(scaleKey(lens));
    // Of tiles with a range each that of the unit that is looked at.
    const channel = store.get("hovered") ?? store.get("selected") ?? arranged.get("order")[0] ?? 0;
    bar.show({
      range: ranges(grid.planes, scale)(channel),
      colours:
        grid.planes.depth === 3
          ? SHADES
          : colouring(store.get("colormap"), grid.planes.signed, page.theme()).background,
      name: scale === "layer" || one ? "layer" : `unit ${channel}`,
    });
  };
  arranged.watch(["order"], showScale);
  store.watch(
    ["grid", "lens", "scale", "weights_scale", "colormap", "hovered", "selected", "tiled"],
    showScale,
  );
  page.onTheme(showScale);
  return {
    scale: captioned("scale", scales.element, weights.element),
    bar: bar.element,
    maps: maps.element,
  };
}

function zoomButtons(arranged: Arranged): HTMLElement {
  const smaller = el("button.cs-button", { title: "Smaller tiles (-)", "aria-label": "Smaller tiles" }, "−");
  const larger = el("button.cs-button", { title: "Larger tiles (+)", "aria-label": "Larger tiles" }, "+");
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
