/** Where each cell lies in a view: its width and zoom are its own, the rows are those of all views. */
import { Store } from "../../lib/store";
import type { View } from "../../seam";
import { type Layout, layout } from "./layout";
import { shownUnits } from "./rows";
import type { EvolutionState } from "./state";

export interface Arrangement {
  zoom: number;
  /** CSS px; 0 before it was laid out. */
  width: number;
  units: readonly number[];
  layout: Layout;
  wrong: boolean;
}

export type Arranged = Store<Arrangement>;

export function arrangement({ store }: View<EvolutionState>): Arranged {
  const arranged: Arranged = new Store<Arrangement>({
    zoom: 0,
    width: 0,
    units: [],
    layout: layout(0, 0, 1, 0, true),
    wrong: false,
  });
  const arrange = () => {
    const { units, wrong } = shownUnits(store);
    const { checkpoints, ahead } = store.get("_evolution");
    const [width, zoom] = [arranged.get("width"), arranged.get("zoom")];
    const columns = checkpoints.length + ahead.length;
    arranged.set({
      units,
      wrong,
      layout: layout(columns, units.length, width, zoom, store.get("show") === "both"),
    });
  };
  store.watch(["winners", "layer", "order", "rows", "query", "selected", "show", "_evolution"], arrange);
  arranged.onChange(["width", "zoom"], arrange);
  return arranged;
}
