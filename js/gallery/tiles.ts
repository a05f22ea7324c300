/** The gallery's maps: what the kernel sends, how they are kept, scaled and read. No page is touched here. */
import { STEPS } from "../lib/colormaps";
import type { KernelError } from "../lib/kernel";

export type Group = "function" | "signal" | "attribution";

export interface Column {
  name: string;
  group: Group;
  summary: string;
  /** The extension, and the operations that the method is not published for; null for the method as published. */
  extended: { how: string | null; where: string } | null;
}

export interface Refused extends Column {
  reason: string;
  /** The network has an operation without a rule; a package is missing; there are too many methods. */
  kind: "network" | "missing" | "more";
  /** With which it would be possible. */
  extension: string | null;
}

export interface TileState {
  state: "none" | "running" | "done" | "cancelled" | "failed";
  revision: number;
  done: number;
  total: number;
  /** Seconds, or null while unknown. */
  left: number | null;
  failed: number;
}

export interface ExplainedClass {
  index: number;
  label: string;
  probability: number;
}

/** A picture and its most probable classes. */
export interface Row {
  name: string;
  classes: ExplainedClass[];
  height: number;
  width: number;
  pixels: Uint8ClampedArray<ArrayBuffer>;
}

/** A place on the pictures of a row: down and across, 0..1. */
export interface Spot {
  row: number;
  at: [number, number];
}

export interface Map16 {
  /** 1: a value a place; 3: red, green, blue, each signed. */
  depth: 1 | 3;
  height: number;
  width: number;
  /** Planes of 16 bits: 32767 is `limit`, zero is zero. */
  values: Int16Array;
  /** The greatest magnitude, and the one at which colours end. */
  limit: number;
  strong: number;
  target: number;
  label: string;
  score: number;
}

export interface Tile {
  row: number;
  method: string;
  control: boolean;
  /** Tells it from every other; the kernel's. */
  number: number;
  map: Map16 | null;
  /** Of a control: how alike it is to the map; null where that says nothing. */
  rho: number | null;
  error: KernelError | null;
  /** The row explains another class now; the new map is not there yet. */
  stale: boolean;
}

export const keyOf = (row: number, method: string, control: boolean): string => `${row} ${method} ${control}`;

/** What the kernel says of one map; the values only where they are new. */
export interface TileAnswer
  extends Omit<Map16, "values">,
    Pick<Tile, "row" | "method" | "control" | "number"> {
  new?: boolean;
  rho: number | null;
  error: KernelError | null;
}

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
  for (const said of answer) {
    const { row, method, control, number, rho, error } = said;
    const key = keyOf(row, method, control);
    const before = known.get(key);
    if (!said.new) {
      if (before?.number === number) tiles.set(key, before.stale ? { ...before, stale: false } : before);
      continue;
    }
    const { depth, height, width, limit, strong, target, label, score } = said;
    const values = error ? undefined : planes[next++];
    const map = values ? { depth, height, width, values, limit, strong, target, label, score } : null;
    tiles.set(key, { row, method, control, number, map, rho, error, stale: false });
  }
  return tiles;
}

/** A map weaker than this share of its group's strongest would be a blank tile on their scale. */
const FAINT = 0.05;

/**
 * The magnitude at which a tile's colours end: by group that of the group's strongest map, where that shows anything.
 *
 * A control always has a scale of its own: only its order is compared.
 */
export function endOf(
  tile: Tile,
  tiles: ReadonlyMap<string, Tile>,
  columns: readonly Column[],
  by: "group" | "map",
): number {
  const own = tile.map?.strong ?? 0;
  if (by === "map" || tile.control) return own;
  const group = columns.find(({ name }) => name === tile.method)?.group;
  const mates = columns.filter((column) => column.group === group);
  const ends = mates.map(({ name }) => tiles.get(keyOf(tile.row, name, false))?.map?.strong ?? 0);
  const end = Math.max(own, ...ends);
  return own < FAINT * end ? own : end;
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

/** A signed number with a real minus sign. */
export function signedNumber(value: number, digits = 3): string {
  if (value === 0) return "0";
  const size = Math.abs(value);
  const text =
    size >= 1e4 || size < 1e-3
      ? size.toExponential(1)
      : size >= 10 ** digits
        ? size.toFixed(0)
        : size.toPrecision(digits);
  return `${value < 0 ? "−" : ""}${text}`;
}

export const WARN = 0.7;

/** What a similarity means, in a word and in a sentence. */
export function meaning(rho: number | null): { word: string; sentence: string; warn: boolean } {
  if (rho === null)
    return {
      word: "no order",
      sentence: "One of the two maps has the same magnitude everywhere: there is nothing to compare.",
      warn: false,
    };
  if (rho > WARN)
    return {
      word: "hardly changes",
      sentence: "The map hardly depends on what the top layers learnt.",
      warn: true,
    };
  if (rho > 0.4)
    return {
      word: "changes in part",
      sentence: "A part of the map does not depend on what the top layers learnt.",
      warn: false,
    };
  return { word: "changes", sentence: "The map depends on what the top layers learnt.", warn: false };
}

/** "input × gradient" for "input_times_gradient". */
export const titleOf = (method: string): string => method.replace("_times_", " × ").replaceAll("_", " ");

/** What the control randomises, in words. */
export function randomised(top: number): string {
  if (top <= 0) return "classifier";
  if (top >= 1) return "all layers";
  return `top ${Math.round(top * 100)} % of layers`;
}

/** Where an arrow key leads from a place of a table; null for any other key. */
export function moved(
  key: string,
  [row, column]: readonly [number, number],
  rows: number,
  columns: number,
): [number, number] | null {
  const moves: Record<string, [number, number]> = {
    ArrowUp: [row - 1, column],
    ArrowDown: [row + 1, column],
    ArrowLeft: [row, column - 1],
    ArrowRight: [row, column + 1],
    Home: [row, 0],
    End: [row, columns - 1],
    PageUp: [0, column],
    PageDown: [rows - 1, column],
  };
  const move = moves[key];
  if (!move) return null;
  const within = (value: number, count: number) => Math.min(Math.max(value, 0), count - 1);
  return [within(move[0], rows), within(move[1], columns)];
}
