/** Which units have a row. */
import { searched } from "../../lib/numbers";
import type { Store } from "../../lib/store";
import { type EvolutionState, winnersOf } from "./state";

export interface Shown {
  units: readonly number[];
  /** The query means nothing. */
  wrong: boolean;
}

/**
 * The first of the order, or those that are looked for; the one that is chosen is among the former.
 */
export function shownUnits(store: Store<EvolutionState>): Shown {
  const winners = winnersOf(store);
  if (!winners) return { units: [], wrong: false };
  const order = [...(winners.orders[store.get("order")] ?? winners.orders.index)];
  const query = store.get("query");
  const wanted = searched(query, winners.channels);
  if (wanted && query) return { units: order.filter((unit) => wanted.has(unit)), wrong: false };
  const units = order.slice(0, store.get("rows") || order.length);
  const selected = store.get("selected");
  // In the place of the last: there are as many rows as are asked for.
  if (selected !== null && selected < winners.channels && !units.includes(selected))
    units.splice(-1, 1, selected);
  return { units, wrong: wanted === null };
}

/** The largest magnitude that is black or white in a cell; 0 where nothing is known yet. */
export function limits(store: Store<EvolutionState>, units: readonly number[], checkpoints: number) {
  const { known = new Map() } = store.get("cells") ?? {};
  const rows = new Map<number, number>();
  let all = 0;
  for (const unit of units) {
    let row = 0;
    for (let checkpoint = 0; checkpoint < checkpoints; checkpoint++) {
      row = Math.max(row, known.get(`${unit}/${checkpoint}`)?.peak ?? 0);
    }
    rows.set(unit, row);
    all = Math.max(all, row);
  }
  const spread = store.get("spread");
  return (unit: number, peak: number): number =>
    spread === "tile" ? peak : spread === "row" ? (rows.get(unit) ?? peak) : all;
}
