/** The linked panels: activity of one map, probability of a class, most probable class, each at its place. */
import { el } from "../../lib/dom";
import type { View } from "../../seam";
import { cellAt, placeOf } from "./cells";
import { labelPanel } from "./labels";
import { mountPanel } from "./panel";
import type { MapState } from "./state";
import { activityPanel, probabilityPanel } from "./values";

export function mapsPane(view: View<MapState>, root: HTMLElement): void {
  const { store } = view;
  const grid = el("div.cs-maps");
  root.append(grid);
  for (const panel of [activityPanel(view), probabilityPanel(), labelPanel(view)])
    mountPanel(panel, view, grid);
  // Looking at a place on the picture is looking at it on the maps, and the other way round.
  store.onChange(["pointer"], () => {
    const [maps, pointer] = [store.get("maps"), store.get("pointer")];
    store.set({ cell: maps && pointer && !store.get("dragging") ? cellAt(maps, pointer) : null });
  });
  store.watch(["cell", "maps"], () => {
    const [maps, cell] = [store.get("maps"), store.get("cell")];
    store.set({ ghost: maps && cell ? { position: placeOf(maps, cell), size: maps.size } : null });
  });
}
