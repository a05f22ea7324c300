/** In which order the filters of a layer are shown, and which of them. */
import type { Inactive } from "../shared/survey";
import type { Found, Grid, Health, Order, Show } from "./state";

/** As the kernel tells of a unit. */
const [DEAD, RARE] = [1, 2];

/** What a survey says against a unit: that it is `inactive`, "rarely active", "repeats 17"; "" for nothing. */
export function ailing(health: Health, channel: number, inactive: Inactive): string {
  const state = health.state[channel] ?? 0;
  if (state === DEAD) return inactive;
  const first = health.first[channel] ?? channel;
  if (first !== channel) return `repeats ${first}`;
  return state === RARE ? "rarely active" : "";
}

/** Whether a unit is among those that are shown. */
export function shows(show: Show, health: Health, channel: number): boolean {
  const [state, first] = [health.state[channel] ?? 0, health.first[channel] ?? channel];
  return {
    all: true,
    alive: state !== DEAD,
    dead: state === DEAD,
    rare: state === RARE,
    // The first of a group, too: one wants to see them side by side.
    repeated: health.first.some((other, index) => index !== channel && other === first) && state !== DEAD,
  }[show];
}

/**
 * Channel numbers in order. Ties keep the order of the index, so that the picture does not jump between equal runs.
 *
 * `best`, `rare` and `class` need what a survey measured; without it they fall back to the index.
 */
export function ordered(
  grid: Grid,
  order: Order,
  health: Health | null,
  found: Found | null = null,
): number[] {
  const channels = Array.from({ length: grid.planes.channels }, (_, index) => index);
  const known =
    health && health.layer === grid.layer && health.max.length === channels.length ? health : null;
  const keys: Record<Order, ArrayLike<number> | null> = {
    strongest: grid.max,
    mean: grid.mean,
    index: null,
    best: known?.max ?? null,
    rare: known ? known.share.map((value) => -value) : null,
    class: found?.layer === grid.layer ? found.preference : null,
  };
  const key = keys[order];
  if (!key || key.length !== channels.length) return channels;
  return channels.sort((a, b) => (key[b] ?? 0) - (key[a] ?? 0) || a - b);
}
