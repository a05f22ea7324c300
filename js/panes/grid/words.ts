/** Units of the grid in words. */
import { activation, share, shareOf } from "../../lib/format";
import type { Store } from "../../lib/store";
import { ailing } from "./order";
import type { GridState, Health } from "./state";

/** What a survey found of the layer that is shown. */
export function healthOf(store: Store<GridState>): Health | null {
  const [grid, health] = [store.get("grid"), store.get("health")];
  return health && health.layer === grid?.layer ? health : null;
}

/** One unit in a line. */
export function unitText(store: Store<GridState>, channel: number): string {
  const [grid, health, found] = [store.get("grid"), healthOf(store), store.get("found")];
  const parts = [`unit ${channel}`];
  const here = grid?.max[channel];
  if (here !== undefined) parts.push(`max ${activation(here)} here`);
  if (health) {
    parts.push(
      ailing(health, channel),
      `active in ${shareOf(health.share[channel] ?? 0, health.images)} pictures`,
    );
  } else if (grid) parts.push(`active in ${share(grid.active[channel] ?? 0)} of places`);
  if (found && found.layer === grid?.layer) {
    parts.push(`${(found.preference[channel] ?? 0).toFixed(1)} σ for ${found.label}`);
  }
  return parts.filter(Boolean).join(" · ");
}

const none = (values: Float32Array) => values.reduce((count, value) => count + (value <= 0 ? 1 : 0), 0);

/** All units in a line. */
export function gridText(store: Store<GridState>): string {
  const grid = store.get("grid");
  if (!grid) return " ";
  const { channels } = grid.planes;
  const parts = [`${channels} filters`, `${none(grid.max)} silent on this picture`];
  const health = healthOf(store);
  if (health) parts.push(`${none(health.share)} never active in ${store.get("_survey").done} pictures`);
  const tiled = store.get("tiled");
  if (grid.lens === "projection" && tiled < channels) parts.unshift(`projected ${tiled} of ${channels}`);
  return parts.join(" · ");
}
