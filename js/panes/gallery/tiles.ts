/** The gallery's maps: what the kernel sends, how they are kept, scaled and read. No page is touched here. */
import { STEPS } from "../../lib/colormaps";
import type { Column, Map16, ScaleBy, Tile, TileAnswer } from "./state";

export const keyOf = (row: number, method: string, control: boolean): string => `${row} ${method} ${control}`;

/** The maps after an answer. What it does not mention stays, marked stale, until its successor comes. */
export function merged(
  known: ReadonlyMap<string, Tile>,
  answer: readonly TileAnswer[],
  planes: readonly Int16Array[],
  more: boolean,
): Map<string, Tile> {
  const tiles = new Map<string, Tile>();
  for (const [key, tile] of known) tiles.set(key, more ? tile : { ...tile, stale: true });
  let next = 0;
  for (const one of answer) {
    const { row, method, control, number, rho, turned, error } = one;
    const key = keyOf(row, method, control);
    const before = known.get(key);
    if (!one.new) {
      if (before?.number === number) tiles.set(key, before.stale ? { ...before, stale: false } : before);
      continue;
    }
    const { depth, height, width, limit, strong, target, label, score, brief, account, notes } = one;
    const values = error ? undefined : planes[next++];
    const map = values
      ? { depth, height, width, values, limit, strong, target, label, score, brief, account, notes }
      : null;
    tiles.set(key, { row, method, control, number, map, rho, turned, error, stale: false });
  }
  return tiles;
}

/** A map weaker than this share of its group's strongest would be a blank tile on their scale. */
const FAINT = 0.05;

const strongOf = (tiles: ReadonlyMap<string, Tile>, row: number, method: string): number =>
  tiles.get(keyOf(row, method, false))?.map?.strong ?? 0;

/** The magnitude of the strongest map of a method's group in a row. */
function groupEnd(
  tiles: ReadonlyMap<string, Tile>,
  columns: readonly Column[],
  row: number,
  method: string,
): number {
  const group = columns.find(({ name }) => name === method)?.group;
  const mates = columns.filter((column) => column.group === group);
  return Math.max(0, ...mates.map(({ name }) => strongOf(tiles, row, name)));
}

/** Whether a method is too faint for its group's scale in any row: it then has its own in all of them. */
export function isFaint(
  tiles: ReadonlyMap<string, Tile>,
  columns: readonly Column[],
  method: string,
): boolean {
  const own = [...tiles.values()].filter(
    ({ method: name, control, map }) => name === method && !control && map,
  );
  return own.some(({ row, map }) => (map?.strong ?? 0) < FAINT * groupEnd(tiles, columns, row, method));
}

/** The magnitude of a method's strongest map in all rows: there is no common unit of two methods. */
export function columnEnd(tiles: ReadonlyMap<string, Tile>, method: string): number {
  const own = [...tiles.values()].filter(({ method: name, control }) => name === method && !control);
  return Math.max(0, ...own.map(({ map }) => map?.strong ?? 0));
}

/**
 * The magnitude at which a tile's colours end: that of the method's strongest map in all rows, or of the group's in the
 * row, where that shows anything.
 *
 * A control always has a scale of its own: only its order is compared.
 */
export function endOf(
  tile: Tile,
  tiles: ReadonlyMap<string, Tile>,
  columns: readonly Column[],
  by: ScaleBy,
): number {
  const own = tile.map?.strong ?? 0;
  if (by === "map" || tile.control) return own;
  if (by === "method") return columnEnd(tiles, tile.method);
  if (isFaint(tiles, columns, tile.method)) return own;
  return Math.max(own, groupEnd(tiles, columns, tile.row, tile.method));
}

/** Colour a map into the 32-bit words of an ImageData buffer; `end` is the magnitude at which colours end. */
export function painted(map: Map16, end: number, colours: Uint32Array): Uint32Array<ArrayBuffer> {
  const { depth, height, width, values, limit } = map;
  const count = height * width;
  const words = new Uint32Array(count);
  const unit = end > 0 ? limit / (32767 * end) : 0;
  if (depth === 3) {
    // Zero is mid-grey, as `convscope_core.render.signed` shows it.
    const shade = (value: number) => Math.min(255, Math.max(1, Math.round(128 + 127 * unit * value)));
    for (let at = 0; at < count; at++) {
      const [r, g, b] = [values[at] ?? 0, values[count + at] ?? 0, values[2 * count + at] ?? 0];
      words[at] = (0xff000000 | (shade(b) << 16) | (shade(g) << 8) | shade(r)) >>> 0;
    }
    return words;
  }
  for (let at = 0; at < count; at++) {
    const step = Math.round(STEPS * unit * (values[at] ?? 0));
    words[at] = colours[STEPS + Math.min(STEPS, Math.max(-STEPS, step))] ?? 0;
  }
  return words;
}

/** The values of a map at a place: one, or red, green and blue. */
export function valuesAt(map: Map16, [down, across]: readonly [number, number]): number[] {
  const row = Math.min(map.height - 1, Math.max(0, Math.floor(down * map.height)));
  const column = Math.min(map.width - 1, Math.max(0, Math.floor(across * map.width)));
  const at = row * map.width + column;
  const plane = map.height * map.width;
  return Array.from({ length: map.depth }, (_, c) => ((map.values[c * plane + at] ?? 0) * map.limit) / 32767);
}
