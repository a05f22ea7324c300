/** One unit: the patches that excite it most, what it picked out of each, and the picture that each comes from. */
import { captioned } from "../../lib/controls";
import { el, errorsOf, is, on, text, within } from "../../lib/dom";
import { side } from "../../lib/format";
import { more } from "../../lib/menu";
import type { View } from "../../seam";
import { figureButtons } from "../shared/figure";
import { layerOf } from "../shared/network";
import { contextFigure } from "./context";
import { histogram } from "./histogram";
import { topPatches, weakerPatches } from "./patches";
import { projectionsPart } from "./projections";
import { preferredClasses, shortages, similarUnits } from "./relatives";
import { sameUnit, type UnitState } from "./state";

export interface UnitOptions {
  /** A chart beneath shows the histogram while there is a kernel, so the pane need not. */
  charted?: boolean;
  /**
   * The figures stand beside the title, which stays in sight while the rest scrolls: pointing at a patch changes what is
   * there. Puts another figure beside that of the whole picture.
   */
  headed?: (figures: HTMLElement) => void;
  /** What can be done with the unit, beneath its name; and what is seldom done with it. */
  actions?: HTMLElement[];
  more?: HTMLElement[];
  /** What a click on a patch, or on its projection, does with the picture that it is of. */
  onPatch?: (image: number) => void;
}

export function unitPane(view: View<UnitState>, root: HTMLElement, options: UnitOptions = {}): void {
  const { store } = view;
  const figures = el("div.cs-contexts", contextFigure(view));
  options.headed?.(figures);
  const charted = options.charted ?? false;
  const [values, ...chart] = histogram(view, charted);
  const content = el(
    "div.cs-unit__content",
    // What stands for the chart beneath, and its table, are next to it.
    ...(charted ? [] : chart),
    values,
    preferredClasses(view),
    el(
      "div.cs-unit__parts",
      topPatches(view),
      projectionsPart(view),
      ...(options.headed ? [] : [figures]),
      weakerPatches(view),
      similarUnits(view),
      shortages(view),
    ),
    ...(charted ? chart : []),
  );
  const empty = el("p.cs-empty");
  const save = figureButtons(view, "unit", "the unit");
  const actions = options.actions
    ? [...options.actions, more(view.signal, ...(options.more ?? []), captioned("save", save))]
    : [save];
  const lines = el("div.cs-unit__lines", ...headLines(view), el("div.cs-unit__actions", ...actions));
  const head = el("div.cs-unit__head", lines);
  if (options.headed) head.append(figures);
  const errors = errorsOf(
    "unit projections weaker whole here pinning pinned_projections pinned_unit silence silenceable",
  );
  const rest = el("div.cs-unit__rest", errors, content, empty);
  const section = el("div.cs-unit", { role: "group", "aria-label": "Unit" }, head, rest);
  root.append(section);
  on(content, "click", (event) => {
    const image = within(event, ".cs-patch")?.dataset.image;
    if (image !== undefined) options.onPatch?.(Number(image));
  });
  store.watch(["layer", "selected", "checkpoint", "unit", "_survey", "errors"], () => {
    const [unit, selected] = [store.get("unit"), store.get("selected")];
    const chosen = {
      layer: store.get("layer"),
      channel: selected ?? -1,
      checkpoint: store.get("checkpoint"),
    };
    // Their room is kept: one is chosen a moment later.
    is(figures, "nothing", selected === null);
    const current = unit && sameUnit(unit, chosen);
    // Of one that could not be looked up there is nothing; what is there of another would wait for it for ever.
    if (unit && !current && "unit" in store.get("errors")) return store.set({ unit: null });
    content.hidden = !unit;
    is(content, "stale", !!unit && !current);
    text(empty, unit ? "" : reason(view));
  });
}

/** Which unit of which layer. */
function headLines({ store }: View<UnitState>): HTMLElement[] {
  const title = el("h2.cs-unit__title");
  const facts = el("p.cs-unit__facts");
  store.watch(["layer", "selected", "_network", "unit"], () => {
    const selected = store.get("selected");
    const layer = layerOf(store);
    const unit = store.get("unit");
    const name = unit && unit.layer === layer?.name && unit.channel === selected ? unit.name : null;
    text(title, selected === null ? "No unit chosen" : `unit ${selected}${name ? ` · ${name}` : ""}`);
    const lines = layer
      ? [
          layer.name,
          `${layer.channels} × ${side(layer.size)}`,
          `receptive field ${layer.field} px${layer.gated ? " + gate" : ""}`,
        ]
      : [];
    facts.replaceChildren(...lines.map((line) => el("span", line)));
    facts.title = layer?.gated
      ? "The receptive field of the local path; a squeeze-excite gate upstream depends on the whole picture, too."
      : "";
  });
  return [title, facts];
}

/** Why there is nothing to be seen of the unit. */
function reason({ store }: View<UnitState>): string {
  const { state } = store.get("_survey");
  if (store.get("offline")) return "This page was saved without this unit.";
  if (store.get("selected") === null) return "Choose a unit to see what excites it most.";
  if (state === "running") return "Looking through the pictures…";
  if (state === "failed") return "The survey failed; the error is shown below.";
  if (store.get("errors").unit) return "The unit could not be shown: the error says why.";
  if (state === "done") return "Looking the unit up…";
  return "Nothing has been surveyed yet.";
}
