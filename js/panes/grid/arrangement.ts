/** Which units a view of the grid shows, and where each of them lies. */
import { type Layout, layout } from "../../lib/atlas";
import { many } from "../../lib/format";
import { searched } from "../../lib/numbers";
import { Store } from "../../lib/store";
import type { View } from "../../seam";
import { layerOf } from "../shared/network";
import { inactiveWord } from "../shared/survey";
import { ordered, shows } from "./order";
import { type GridState, gridOf, type Show } from "./state";
import { healthOf } from "./words";

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
  /** The query names units, of which there may be none. */
  named: boolean;
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
    named: false,
  });
  const arrange = () => arranged.set(arrangedFor(store, arranged));
  store.watch(["grid", "layer", "order", "health", "show", "found", "_labels"], arrange);
  arranged.onChange(["query", "zoom", "width"], arrange);
  return arranged;
}

function arrangedFor(store: View<GridState>["store"], arranged: Arranged): Partial<Arrangement> {
  const [grid, health, show] = [store.get("grid"), healthOf(store), store.get("show")];
  const query = arranged.get("query");
  const isClass = query !== "" && store.get("_labels").some((label) => label.startsWith(query));
  const wanted =
    (grid?.names ? unitsNamed(query, grid.names) : null) ??
    (isClass ? null : searched(query, grid?.planes.channels ?? 0));
  // Of units that are still to come nothing is said: they may have names.
  const wrong = !!gridOf(store) && !wanted && !isClass;
  const named = !!wanted && query !== "";
  let order = grid ? ordered(grid, store.get("order"), health, store.get("found")) : [];
  if (named) order = order.filter((channel) => wanted?.has(channel));
  if (health) order = order.filter((channel) => shows(show, health, channel));
  return {
    order,
    // On a tile that has a name there is to be room for it.
    layout: layout(
      // Until they come there is room for as many as the layer has.
      grid ? order.length : (layerOf(store)?.channels ?? 0),
      Math.max(1, arranged.get("width")),
      (grid?.names ? 2 : 1) * (ZOOM[arranged.get("zoom")] ?? 42),
    ),
    wrong,
    named,
    complaint: complaintOf(store, isClass ? "" : query, wrong, order.length === 0),
  };
}

/** Why nothing is shown, or that what is looked for is not known. */
function complaintOf(store: View<GridState>["store"], query: string, wrong: boolean, empty: boolean): string {
  const [grid, health, show] = [gridOf(store), healthOf(store), store.get("show")];
  if (!grid) return "";
  if (wrong) {
    const classes = store.get("_labels").length > 0 ? ", and no class with enough pictures surveyed" : "";
    return `“${query}” names no unit${classes}: all are shown.`;
  }
  if (!empty) return "";
  const none = "No unit of this layer";
  if (query) return `${none} matches “${query}”: it has units 0 to ${grid.planes.channels - 1}.`;
  // Nothing else leaves a layer's units out.
  if (!health) return "";
  const words: Partial<Record<Show, string>> = { dead: inactiveWord(store), rare: "rarely active" };
  return (
    (show === "rare" && health.short) ||
    `${none} is ${words[show] ?? show} over ${many(health.images, "picture")}.`
  );
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
