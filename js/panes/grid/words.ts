/** Units of the grid in words. */
import { cutOff, many, share, shareOf } from "../../lib/format";
import type { Store } from "../../lib/store";
import { isSignedLayer } from "../shared/network";
import { inactiveWord } from "../shared/survey";
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
  const parts = [`unit ${channel}`, grid?.names?.[channel] ?? ""];
  const here = grid?.max[channel];
  if (here !== undefined) parts.push(`max ${most(here, grid?.ceiling)} here`);
  // What the tile shows is of the picture of the survey that excites the unit most.
  const best = health?.max[channel];
  if (best !== undefined && (grid?.lens === "patch" || grid?.lens === "projection")) {
    parts.push(`${most(best, health?.ceiling)} in the survey`);
  }
  if (grid?.silenced.includes(channel)) parts.push("silenced");
  const ails = health ? ailing(health, channel, inactiveWord(store)) : "";
  if (isSigned(store)) parts.push(ails);
  else if (health) {
    parts.push(ails, `active in ${shareOf(health.share[channel] ?? 0, health.images)}`);
  } else if (grid) parts.push(`active in ${share(grid.active[channel] ?? 0)} of places`);
  if (found && found.layer === grid?.layer) {
    parts.push(`${(found.preference[channel] ?? 0).toFixed(1)} σ for ${found.label}`);
  }
  return parts.filter(Boolean).join(" · ");
}

/** A unit's largest value, with what it is before the ceiling. */
const most = (before: number, ceiling: number | null | undefined): string =>
  cutOff(Math.min(before, ceiling ?? Infinity), before);

/** Whether what is shown is of a layer whose values below zero say something. */
const isSigned = (store: Store<GridState>): boolean => isSignedLayer(store, store.get("grid")?.layer);

const none = (values: Float32Array) => values.reduce((count, value) => count + (value <= 0 ? 1 : 0), 0);

/** All units in a line. */
export function gridText(store: Store<GridState>): string {
  const grid = store.get("grid");
  if (!grid) return " ";
  const { channels } = grid.planes;
  const health = healthOf(store);
  const selected = store.get("selected");
  const parts = [grid.names ? `${channels} classes` : many(channels, "filter")];
  if (selected !== null) parts.push(`unit ${selected} is chosen`);
  const { silenced } = grid;
  if (silenced.length > 0) parts.push(`${silenced.length} silenced (×)`);
  // The marks on the tiles are explained where there are any.
  const ails = Array.from(health?.first ?? [], (_, channel) =>
    health ? ailing(health, channel, inactiveWord(store)) : "",
  );
  const count = (what: string) => ails.filter((one) => one.startsWith(what)).length;
  const heard = grid.max.filter((_, channel) => !silenced.includes(channel));
  if (isSigned(store)) parts.push(`${none(heard)} at or below zero here`);
  else {
    parts.push(`${none(heard)} inactive here`);
    if (health) {
      const struck = count("dead") > 0 ? " (struck through)" : "";
      parts.push(
        `${none(health.share)} ${inactiveWord(store)} in ${many(health.images, "picture")}${struck}`,
      );
    }
  }
  if (count("repeats") > 0) parts.push(`${count("repeats")} (=) like another`);
  const tiled = store.get("tiled");
  if (grid.lens === "projection" && tiled < channels) parts.unshift(`projected ${tiled} of ${channels}`);
  return parts.join(" · ");
}
