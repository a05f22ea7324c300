/** All units of a layer over the training: rows are units, columns checkpoints, on one canvas that scrolls inside. */
import { aria, el, onResize, text, uniqueId } from "../../lib/dom";
import type { View } from "../../seam";
import { showAwaited } from "../shared/awaited";
import { type Arranged, arrangement } from "./arrangement";
import { legend } from "./bar";
import { chooseByKeys, chooseByPointer, reveal } from "./choose";
import { keepPainted } from "./paint";
import { scrubber } from "./scrubber";
import { checkpointOf, type EvolutionState } from "./state";
import { cellTip } from "./tip";
import { evolutionTools, searchField } from "./tools";
import { cellText, complaintOf, layerText } from "./words";

export function evolutionPane(view: View<EvolutionState>, root: HTMLElement): void {
  const { store } = view;
  const arranged = arrangement(view);
  const search = searchField(view, arranged);
  const { scroller, canvas } = scrolled(view, arranged);
  const empty = el("p.cs-empty");
  const body = el("div.cs-evolution__body", scroller, cellTip(view, arranged, scroller));
  const foot = el("div.cs-grid__foot");
  const missing = el("p.cs-evolution__missing", { role: "status", id: uniqueId("complaint") });
  aria(search, "describedby", missing.id);
  const content = el(
    "div.cs-evolution",
    evolutionTools(view, arranged, search),
    scrubber(view, arranged),
    missing,
    body,
    legend(view, arranged),
    foot,
  );
  root.append(content, empty);

  keepPainted(view, arranged, scroller, canvas);
  chooseByPointer(view, arranged, scroller);
  chooseByKeys(view, arranged, scroller, search);
  // Its own width: a scroll bar takes some of it.
  onResize(scroller, (width) => {
    arranged.set({ width });
    reveal(view, arranged, scroller);
  });
  store.watch(["selected", "checkpoint", "winners", "order"], () => reveal(view, arranged, scroller));
  arranged.onChange(["zoom"], () => reveal(view, arranged, scroller));
  store.watch(["winners", "_evolution"], () => text(foot, layerText(store, arranged.get("units").length)));
  arranged.watch(["units", "wrong"], () => {
    const { length } = arranged.get("units");
    text(foot, layerText(store, length));
    text(missing, complaintOf(store, length, arranged.get("wrong")));
  });
  store.watch(["_evolution", "_survey"], () => {
    const there = store.get("_evolution").checkpoints.length > 0;
    content.hidden = !there;
    text(empty, there ? "" : reason(view));
  });
}

/** Why there is nothing to be seen yet. */
function reason({ store }: View<EvolutionState>): string {
  const { state } = store.get("_survey");
  if (state === "failed") return "The pictures could not be looked through; the error is shown below.";
  if (state === "running") return "Looking through the pictures with the weights of the first checkpoint…";
  if (state === "cancelled") return "Stopped before the first checkpoint was looked through.";
  return "No checkpoint yet: it is filled as the training goes on.";
}

/** The canvas stays put in its scroller; a spacer gives the scroll bars their length. */
function scrolled(
  view: View<EvolutionState>,
  arranged: Arranged,
): { scroller: HTMLElement; canvas: HTMLCanvasElement } {
  const { store } = view;
  const canvas = el("canvas.cs-evolution__canvas");
  const spacer = el("div.cs-evolution__spacer");
  const cell = chosenCell(view, arranged);
  const scroller = el(
    "div.cs-evolution__scroller",
    {
      role: "grid",
      tabindex: 0,
      "aria-label": "Units over the training",
      "aria-activedescendant": cell.id,
    },
    canvas,
    spacer,
    el("div.cs-visually-hidden", { role: "row" }, cell),
  );
  arranged.watch(["layout", "width"], () => {
    const { seen: high, height, width, rows, columns } = arranged.get("layout");
    canvas.style.width = `${arranged.get("width")}px`;
    canvas.style.height = `${high}px`;
    spacer.style.width = `${width}px`;
    spacer.style.height = `${height}px`;
    spacer.style.marginTop = `${-high}px`;
    // A bar to scroll across by takes nothing of the rows.
    scroller.style.height = `${high + scroller.offsetHeight - scroller.clientHeight}px`;
    aria(scroller, "rowcount", rows);
    aria(scroller, "colcount", columns);
  });
  showAwaited(view, scroller, "winners", ["winners", "layer"], () => {
    const winners = store.get("winners");
    const stale = winners?.layer !== store.get("layer");
    aria(scroller, "busy", stale);
    return stale ? (winners ? "stale" : "loading") : "";
  });
  return { scroller, canvas };
}

/** The chosen cell, for who does not see the canvas. */
function chosenCell({ store }: View<EvolutionState>, arranged: Arranged): HTMLElement {
  const cell = el("div", { role: "gridcell", id: uniqueId("cell") });
  const tell = () => {
    const selected = store.get("selected");
    const row = arranged.get("units").indexOf(selected ?? -1);
    aria(cell, "selected", row >= 0);
    text(
      cell,
      selected === null || row < 0
        ? "no unit selected"
        : `${cellText(store, [selected, checkpointOf(store)])}, row ${row + 1} of ${arranged.get("units").length}`,
    );
  };
  arranged.watch(["units"], tell);
  store.watch(["selected", "checkpoint", "winners", "come"], tell);
  return cell;
}
