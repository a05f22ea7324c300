/** What the unit picked out of the patches, in their order. */
import { SHADES } from "../../lib/colormaps";
import { captioned, segmented, select, tied } from "../../lib/controls";
import { el } from "../../lib/dom";
import { scaleBar } from "../../lib/scalebar";
import type { View } from "../../seam";
import { showAwaited } from "../shared/awaited";
import { paintProjection } from "../shared/patches";
import type { Method } from "../shared/selection";
import { describe } from "./exemplar";
import { type Contrast, currentProjections, isComplete, type Projections, type UnitState } from "./state";
import { tileList } from "./tiles";

export function projectionsPart(view: View<UnitState>): HTMLElement {
  const { store } = view;
  const list = tileList(view, "Projections");
  const bar = scaleBar("Projections");
  store.watch(["unit", "projections", "contrast", "crop"], () => {
    const projections = currentProjections(store);
    if (store.get("unit")) list.show(tilesOf(view, projections));
  });
  showAwaited(view, list.element, "projections", ["unit", "projections", "method", "crop"], () => {
    const projections = currentProjections(store);
    if (!projections) return "loading";
    return projections.method === store.get("method") && isComplete(projections) ? "" : "stale";
  });
  store.watch(["unit", "projections", "contrast", "exemplar", "crop"], () => {
    const projections = currentProjections(store);
    const at = store.get("exemplar") ?? 0;
    const strongest = Math.max(...(projections?.peaks ?? []), 0);
    const all = store.get("contrast") === "group";
    const end = all ? strongest : (projections?.peaks[at] ?? 0);
    const name = all ? "all" : `patch ${at + 1}`;
    bar.show(end > 0 ? { range: [-end, end], colours: SHADES, name } : null);
  });
  const foot = el("div.cs-unit__scale", captioned("shades", contrastField(view)), bar.element);
  const tools = captioned("method", methodField(view));
  return el("div", el("h3.cs-heading.cs-heading--tools", "Projections", tools), list.element, foot);
}

/** A tile for each exemplar, empty while there is no projection of it. */
function tilesOf({ store }: View<UnitState>, projections: Projections | null): HTMLElement[] {
  const unit = store.get("unit");
  const strongest = Math.max(...(projections?.peaks ?? []), 0);
  return (unit?.exemplars ?? []).map((exemplar, index) => {
    const peak = projections?.peaks[index] ?? 0;
    const canvas = el("canvas.cs-patch__canvas");
    if (projections && unit) {
      const gain = store.get("contrast") === "group" && strongest > 0 ? peak / strongest : 1;
      paintProjection(canvas, projections, unit, index, gain);
    }
    return el(
      "button.cs-patch.cs-patch--projection",
      {
        role: "option",
        "aria-label": `Projection of ${describe(exemplar)}`,
        title: `What unit ${unit?.channel} picked out of ${describe(exemplar)}`,
        "data-peak": peak,
        "data-image": exemplar.image,
      },
      canvas,
    );
  });
}

function methodField({ store }: View<UnitState>): HTMLElement {
  const methods = select<Method>("Method of the projections", {
    deconvnet: "deconvnet",
    guided_backprop: "guided",
    gradient: "gradient",
  });
  methods.element.classList.add("cs-asks");
  return tied(store, "method", methods).element;
}

function contrastField({ store }: View<UnitState>): HTMLElement {
  const contrasts = segmented<Contrast>("Shades", {
    tile: ["per patch", "Each projection uses the full range of shades"],
    group: ["shared", "One range for all: their strengths can be compared"],
  });
  return tied(store, "contrast", contrasts).element;
}
