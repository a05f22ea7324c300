/** All units of a layer on one canvas; hovering and choosing never ask the kernel. */
import { aria, el, errorsOf, onResize, text, uniqueId } from "../../lib/dom";
import type { View } from "../../seam";
import { showAwaited } from "../shared/awaited";
import { MEANINGS } from "../shared/survey";
import { type Arranged, arrangement, indexOf } from "./arrangement";
import { chooseByKeys, chooseByPointer, keepInSight } from "./choose";
import { keepPainted } from "./paint";
import { foundUnits, searchField } from "./search";
import type { GridState } from "./state";
import { unitTip } from "./tip";
import { gridTools } from "./tools";
import { gridText, unitText } from "./words";

export function gridPane(view: View<GridState>, root: HTMLElement): void {
  const { store } = view;
  const arranged = arrangement(view);
  const { search, labels } = searchField(view, arranged);
  const { scroller, canvas } = scrolled(view, arranged);
  const empty = el("p.cs-empty", { role: "status", id: uniqueId("complaint") });
  aria(search, "describedby", empty.id);
  const body = el("div.cs-grid__body", scroller, unitTip(view, arranged, scroller), empty);
  const foot = el("div.cs-grid__foot", { title: MEANINGS });
  const tools = gridTools(view, arranged, [search, labels]);
  root.append(el("div.cs-filters", tools, errorsOf("grid tiles search"), foundUnits(view), body, foot));

  showAwaited(view, body, "grid", ["grid", "layer", "lens"], () => {
    const grid = store.get("grid");
    const stale = !grid || grid.layer !== store.get("layer") || grid.lens !== store.get("lens");
    scroller.setAttribute("aria-busy", String(stale));
    return stale ? (grid ? "stale" : "loading") : "";
  });
  keepPainted(view, arranged, scroller, canvas);
  chooseByPointer(view, arranged, scroller);
  chooseByKeys(view, arranged, scroller, search);
  onResize(body, (width) => arranged.set({ width }));
  keepInSight(view, arranged, scroller);
  arranged.follow("complaint", (complaint) => text(empty, complaint));
  store.watch(["grid", "health", "selected", "_survey", "tiled"], () => {
    if (store.get("grid")) scroller.dataset.tiled = String(store.get("tiled"));
    text(foot, gridText(store));
  });
}

/** The canvas in its scroller: the canvas stays put, a spacer gives the scroll bar its length. */
function scrolled(
  view: View<GridState>,
  arranged: Arranged,
): { scroller: HTMLElement; canvas: HTMLCanvasElement } {
  const canvas = el("canvas.cs-grid__canvas");
  const spacer = el("div.cs-grid__spacer");
  const cell = selectedCell(view, arranged);
  const scroller = el(
    "div.cs-grid",
    {
      role: "grid",
      tabindex: 0,
      "aria-label": "Filters",
      "aria-activedescendant": cell.id,
    },
    canvas,
    spacer,
    el("div.cs-visually-hidden", { role: "row" }, cell),
  );
  arranged.follow("layout", (layout) => {
    const { height, rows, columns } = layout;
    // How much of it is seen at once is the style sheet's to say.
    scroller.style.height = `${Math.ceil(height)}px`;
    canvas.style.width = `${arranged.get("width")}px`;
    spacer.style.height = `${Math.floor(height)}px`;
    aria(scroller, "rowcount", rows);
    aria(scroller, "colcount", columns);
  });
  onResize(scroller, (_width, seen) => {
    canvas.style.height = `${seen}px`;
    spacer.style.marginTop = `${-seen}px`;
    arranged.set({ seen });
  });
  return { scroller, canvas };
}

/** The selected unit, for who does not see the canvas. */
function selectedCell({ store }: View<GridState>, arranged: Arranged): HTMLElement {
  const cell = el("div", { role: "gridcell", id: uniqueId("cell") });
  const tell = () => {
    const selected = store.get("selected");
    const index = indexOf(arranged, selected);
    aria(cell, "selected", index >= 0);
    if (selected === null || index < 0) return text(cell, "no unit selected");
    const { columns, rows } = arranged.get("layout");
    text(cell, `${unitText(store, selected)}, row ${Math.floor(index / columns) + 1} of ${rows}`);
  };
  arranged.watch(["layout"], tell);
  store.watch(["selected"], tell);
  return cell;
}
