/** In which order the filters of a layer are shown, and which of them. */
import type { Grid, Health, Order } from "../state";

/**
 * Channel numbers in order. Ties keep the order of the index, so that the picture does not jump between equal runs.
 *
 * `best` and `rare` need what a survey measured; without it they fall back to the index.
 */
export function ordered(grid: Grid, order: Order, health: Health | null): number[] {
  const channels = Array.from({ length: grid.planes.channels }, (_, index) => index);
  const known =
    health && health.layer === grid.layer && health.max.length === channels.length ? health : null;
  const keys: Record<Order, ArrayLike<number> | null> = {
    strongest: grid.max,
    mean: grid.mean,
    index: null,
    best: known?.max ?? null,
    rare: known ? known.share.map((value) => -value) : null,
  };
  const key = keys[order];
  if (!key || key.length !== channels.length) return channels;
  return channels.sort((a, b) => (key[b] ?? 0) - (key[a] ?? 0) || a - b);
}

/**
 * Channels that a search text names: "244", "12, 40-48", empty for all. Null where the text says nothing sensible.
 */
export function searched(query: string, channels: number): Set<number> | null {
  const wanted = new Set<number>();
  for (const part of query.split(/[\s,]+/).filter(Boolean)) {
    const match = /^(\d+)(?:-(\d+))?$/.exec(part);
    if (!match) return null;
    const from = Number(match[1]);
    const to = match[2] === undefined ? from : Number(match[2]);
    for (let channel = from; channel <= Math.min(to, channels - 1); channel++) {
      if (channel < channels) wanted.add(channel);
    }
  }
  return wanted;
}
