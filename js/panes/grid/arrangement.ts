/** Which units a view of the grid shows, and where each of them lies. */
import { type Layout, layout } from "../../lib/atlas";
import { searched } from "../../lib/numbers";
import { Store } from "../../lib/store";
import type { View } from "../../seam";
import { inactiveWord } from "../shared/survey";
import { ordered, shows } from "./order";
import type { GridState, Show } from "./state";

/** About how large a tile is, CSS px, at each step of the zoom. */
export const ZOOM = [20, 30, 42, 60, 84, 120] as const;

/** What is a view's own: another view of the model may be searched, enlarged and scrolled by itself. */
export interface Arrangement {
  /** What is looked for: numbers of units, or the class that they prefer. */
  query: string;
  zoom: number;
  /** Of the grid, CSS px; 0 before it was laid out. */
  width: number;
  /** How much of its height is in sight, CSS px. */
  seen: number;
  order: number[];
  layout: Layout;
  /** Why nothing is shown, or "". */
  complaint: string;
  /** The query means nothing. */
  wrong: boolean;
}

export type Arranged = Store<Arrangement>;

/** A view's arrangement, kept in step with what is known and asked for. */
export function arrangement({ store }: View<GridState>): Arranged {
  const arranged: Arranged = new Store<Arrangement>({
    query: "",
    zoom: 2,
    width: 0,
    seen: 0,
    order: [],
    layout: layout(0, 1, 42),
    complaint: "",
    wrong: false,
  });
  const arrange = () => arranged.set(arrangedFor(store, arranged));
  store.watch(["grid", "order", "health", "show", "found", "_labels"], arrange);
  arranged.onChange(["query", "zoom", "width"], arrange);
  return arranged;
}

function arrangedFor(store: View<GridState>["store"], arranged: Arranged): Partial<Arrangement> {
  const [grid, health, show] = [store.get("grid"), store.get("health"), store.get("show")];
  const query = arranged.get("query");
  const isClass = query !== "" && store.get("_labels").some((label) => label.startsWith(query));
  const named = grid?.names ? unitsNamed(query, grid.names) : null;
  const wanted = named ?? (isClass ? null : searched(query, grid?.planes.channels ?? 0));
  let order = grid ? ordered(grid, store.get("order"), health, store.get("found")) : [];
  if (wanted && query) order = order.filter((channel) => wanted.has(channel));
  if (health && health.layer === grid?.layer) order = order.filter((channel) => shows(show, health, channel));
  return {
    order,
    // On a tile that has a name there is to be room for it.
    layout: layout(
      order.length,
      Math.max(1, arranged.get("width")),
      (grid?.names ? 2 : 1) * (ZOOM[arranged.get("zoom")] ?? 42),
    ),
    wrong: wanted === null && !isClass,
    complaint: complaintOf(store, isClass ? "" : query, wanted === null && !isClass, order.length === 0),
  };
}

/** Why nothing is shown, or that what is looked for is not known. */
function complaintOf(store: View<GridState>["store"], query: string, wrong: boolean, empty: boolean): string {
  const [grid, health, show] = [store.get("grid"), store.get("health"), store.get("show")];
  if (!grid) return "";
  if (wrong) {
    const classes =
      store.get("_labels").length > 0 ? ", and no class of which enough pictures were surveyed" : "";
    return `“${query}” names no unit${classes}: all are shown.`;
  }
  if (!empty) return "";
  if (query)
    return `No unit of this layer matches “${query}”: it has units 0 to ${grid.planes.channels - 1}.`;
  const short = show === "rare" && health?.layer === grid.layer ? health.short : null;
  const words: Partial<Record<Show, string>> = { dead: inactiveWord(store), rare: "rarely active" };
  return short ?? `No unit of this layer is ${words[show] ?? show}.`;
}

/** Units whose names hold a text; null where none does. */
function unitsNamed(query: string, names: readonly string[]): Set<number> | null {
  const text = query.toLowerCase();
  const found = names.flatMap((name, channel) =>
    text && name.toLowerCase().includes(text) ? [channel] : [],
  );
  return found.length > 0 ? new Set(found) : null;
}

/** The place of a unit in the order, or -1. */
export const indexOf = (arranged: Arranged, channel: number | null): number =>
  channel === null ? -1 : arranged.get("order").indexOf(channel);
