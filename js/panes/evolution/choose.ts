/** Choosing a unit and a checkpoint: by pointer and by keys. */
import { on, onKey, withModifier } from "../../lib/dom";
import { clamp } from "../../lib/geometry";
import type { Store } from "../../lib/store";
import type { View } from "../../seam";
import { chooseUnit } from "../shared/selection";
import type { Arranged } from "./arrangement";
import { at, DOWN, LEFT, left, revealed, TOP, top } from "./layout";
import { checkpointOf, chooseCheckpoint, type EvolutionState, type Place } from "./state";
import { zoomBy } from "./tools";

/** Choose a unit at a checkpoint. */
function choosePlace(store: Store<EvolutionState>, [unit, checkpoint]: Place): void {
  chooseUnit(store, unit);
  chooseCheckpoint(store, checkpoint);
}

export function chooseByPointer(
  { store }: View<EvolutionState>,
  arranged: Arranged,
  scroller: HTMLElement,
): void {
  const under = (event: MouseEvent): { unit: number | null; checkpoint: number | null } => {
    const box = scroller.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    // The margins stay put while the cells scroll beneath them.
    const { row, column } = at(
      arranged.get("layout"),
      x < LEFT ? -1 : x + scroller.scrollLeft,
      y < TOP ? -1 : y + scroller.scrollTop,
    );
    const there = column !== null && column < store.get("_evolution").checkpoints.length;
    return {
      unit: row === null ? null : (arranged.get("units")[row] ?? null),
      checkpoint: there ? column : null,
    };
  };
  on(scroller, "pointermove", (event) => {
    const { unit, checkpoint } = under(event);
    store.set({ pointed: unit === null || checkpoint === null ? null : [unit, checkpoint] });
  });
  on(scroller, "pointerleave", () => store.set({ pointed: null }));
  store.onChange(["layer"], () => store.set({ pointed: null }));
  // A name in a margin chooses a unit alone, or a checkpoint alone.
  on(scroller, "click", (event) => {
    const { unit, checkpoint } = under(event);
    if (unit !== null) chooseUnit(store, unit);
    if (checkpoint !== null) chooseCheckpoint(store, checkpoint);
  });
}

export function chooseByKeys(
  { store }: View<EvolutionState>,
  arranged: Arranged,
  scroller: HTMLElement,
  search: HTMLElement,
): void {
  onKey(scroller, (event) => {
    const units = arranged.get("units");
    if (withModifier(event) || units.length === 0) return false;
    const { cell } = arranged.get("layout");
    const page = Math.max(1, Math.floor((scroller.clientHeight - TOP) / (cell + DOWN)));
    const steps: Record<string, [down: number, across: number]> = {
      ArrowDown: [1, 0],
      ArrowUp: [-1, 0],
      PageDown: [page, 0],
      PageUp: [-page, 0],
      ArrowRight: [0, 1],
      ArrowLeft: [0, -1],
      Home: [0, -Infinity],
      End: [0, Infinity],
    };
    const step = steps[event.key];
    if (step) {
      const row = units.indexOf(store.get("selected") ?? -1);
      const unit = units[clamp(row < 0 ? 0 : row + step[0], 0, units.length - 1)];
      if (unit !== undefined) choosePlace(store, [unit, checkpointOf(store) + step[1]]);
    } else if (event.key === " ") store.set({ playing: !store.get("playing") });
    else if (event.key === "+" || event.key === "=") zoomBy(arranged, 1);
    else if (event.key === "-") zoomBy(arranged, -1);
    else if (event.key === "/") search.focus();
    else return false;
    return true;
  });
}

/** Scroll as little as shows the chosen cell, whoever chose it. */
export function reveal({ store }: View<EvolutionState>, arranged: Arranged, scroller: HTMLElement): void {
  const layout = arranged.get("layout");
  const row = arranged.get("units").indexOf(store.get("selected") ?? -1);
  const column = checkpointOf(store);
  if (row >= 0) {
    const y = top(layout, row);
    scroller.scrollTop = revealed(scroller.scrollTop, y, y + layout.cell + DOWN, TOP, scroller.clientHeight);
  }
  if (column >= 0) {
    const x = left(layout, column);
    scroller.scrollLeft = revealed(scroller.scrollLeft, x, x + layout.tile + 4, LEFT, scroller.clientWidth);
  }
}
