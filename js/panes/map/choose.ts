/** Looking at places of a map and choosing one for the occluder: by pointer and by keys. */
import { on, onKey, shareAt, withModifier } from "../../lib/dom";
import { clamp, extent, fit, type Position } from "../../lib/geometry";
import type { View } from "../../seam";
import { cellAt, placeOf } from "./cells";
import type { MapState } from "./state";

function choose({ store }: View<MapState>, cell: Position | null): void {
  const maps = store.get("maps");
  // The maps may still be those of another size.
  const bounds = store.get("_network").size;
  if (maps && cell && !store.get("offline"))
    store.set({ position: fit(placeOf(maps, cell), store.get("size"), bounds) });
}

export function chooseByPointer(view: View<MapState>, frame: HTMLElement): void {
  const { store } = view;
  const under = (event: MouseEvent): Position | null => {
    const maps = store.get("maps");
    const [down, across] = shareAt(frame, event);
    const [high, wide] = store.get("_network").size;
    return maps && cellAt(maps, [down * high, across * wide]);
  };
  on(frame, "pointermove", (event) => store.set({ cell: under(event) }));
  on(frame, "pointerleave", () => store.set({ cell: null }));
  on(frame, "blur", () => store.set({ cell: null }));
  on(frame, "click", (event) => choose(view, under(event)));
}

const DIRECTIONS: Record<string, Position> = {
  ArrowUp: [-1, 0],
  ArrowDown: [1, 0],
  ArrowLeft: [0, -1],
  ArrowRight: [0, 1],
  Home: [0, -Infinity],
  End: [0, Infinity],
  PageUp: [-Infinity, 0],
  PageDown: [Infinity, 0],
};

export function chooseByKeys(view: View<MapState>, frame: HTMLElement): void {
  const { store } = view;
  onKey(frame, (event) => {
    const maps = store.get("maps");
    if (!maps || withModifier(event)) return false;
    const [high, wide] = extent(store.get("size"));
    const [top, left] = store.get("position");
    const [row, column] = store.get("cell") ?? cellAt(maps, [top + high / 2, left + wide / 2]);
    const direction = DIRECTIONS[event.key];
    if (direction) {
      const [down, across] = direction.map((step) => (step === 0 ? 0 : step * (event.shiftKey ? 5 : 1)));
      store.set({
        cell: [
          clamp(row + (down ?? 0), 0, maps.rows - 1),
          clamp(column + (across ?? 0), 0, maps.columns - 1),
        ],
      });
    } else if (event.key === "Enter" || event.key === " ") choose(view, [row, column]);
    else if (event.key === "Escape") store.set({ cell: null });
    else return false;
    return true;
  });
}
