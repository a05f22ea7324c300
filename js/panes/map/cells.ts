/** The cells of the maps: what each shows, where it lies on the picture, which colour its class has. */
import { clamp, type Position } from "../../lib/geometry";
import type { Maps } from "./state";

/** Cells come in this order: every 8th along each axis, every 4th, every 2nd, all. */
const STEPS = [1, 2, 4, 8];

/**
 * For each cell the index of the cell whose value it shows: its own, or while that is not computed the one of the
 * coarser grids whose block it lies in; -1 for none.
 */
export function shown(computed: (index: number) => boolean, rows: number, columns: number): Int32Array {
  const found = new Int32Array(rows * columns).fill(-1);
  for (let row = 0, at = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++, at++) {
      for (const step of STEPS) {
        const from = (row - (row % step)) * columns + column - (column % step);
        if (!computed(from)) continue;
        found[at] = from;
        break;
      }
    }
  }
  return found;
}

/** Where the maps lie on the picture, px: each value around the occluder's centre. */
export function area(maps: Maps): { top: number; left: number; height: number; width: number } {
  const [high, wide] = maps.size;
  const [down, across] = maps.stride;
  return {
    top: (maps.tops[0] ?? 0) + (high - down) / 2,
    left: (maps.lefts[0] ?? 0) + (wide - across) / 2,
    height: maps.rows * down,
    width: maps.columns * across,
  };
}

/** The cell whose occluder is centred nearest to a place on the picture. */
export function cellAt(maps: Maps, [row, column]: Position): Position {
  const { top, left } = area(maps);
  const [down, across] = maps.stride;
  return [
    clamp(Math.floor((row - top) / down), 0, maps.rows - 1),
    clamp(Math.floor((column - left) / across), 0, maps.columns - 1),
  ];
}

export const placeOf = (maps: Maps, [row, column]: Position): Position => [
  maps.tops[row] ?? 0,
  maps.lefts[column] ?? 0,
];

/** Least and greatest of some numbers, NaN left out; null where there are none. */
export function extremes(...values: Iterable<number>[]): [number, number] | null {
  let [low, high] = [Infinity, -Infinity];
  for (const group of values) {
    for (const value of group) {
      if (value < low) low = value;
      if (value > high) high = value;
    }
  }
  return low <= high ? [low, high] : null;
}

/** Whether there is anything to show at a cell: a class, or that there is none. */
export const isComputed = (label: number | undefined): boolean => label !== undefined && label !== -1;

/** At how many cells the network returns NaN. */
export const countNaN = (label: Int32Array): number =>
  label.reduce((sum, one) => sum + (one === -2 ? 1 : 0), 0);

/** At how many cells each class is the most probable, most frequent first. */
export function frequencies(label: Int32Array): [number, number][] {
  const count = new Map<number, number>();
  for (const one of label) if (one >= 0) count.set(one, (count.get(one) ?? 0) + 1);
  return [...count].sort(([a, m], [b, n]) => n - m || a - b);
}

/** Hues told apart by most eyes, on white and on black; the clean picture's class is a quiet grey. */
const CLEAN = "#a5adb6";
const HUES = [
  "#e8590c",
  "#1c7ed6",
  "#37b24d",
  "#ae3ec9",
  "#f5b301",
  "#0b9fb3",
  "#e64980",
  "#7a5b3a",
  "#6741d9",
  "#b2df3a",
];

/**
 * A colour for each class that is there: a class keeps the one that it has while the maps refine, and has the same, by
 * its number, on every picture and in every session, unless another class of these maps has that.
 */
export function colours(
  before: ReadonlyMap<number, string>,
  maps: Pick<Maps, "clean" | "label">,
): Map<number, string> {
  const found = new Map([[maps.clean.index, CLEAN]]);
  const present = frequencies(maps.label).map(([index]) => index);
  // Those that have a colour come first: nothing that comes up takes it from them.
  for (const index of [...present.filter((one) => before.has(one)), ...present]) {
    if (found.has(index)) continue;
    const taken = new Set(found.values());
    const own = [...HUES.slice(index % HUES.length), ...HUES.slice(0, index % HUES.length)];
    const known = before.get(index);
    // What was the class of the clean picture, of another one, is grey no more.
    const wanted = known && known !== CLEAN ? [known, ...own] : own;
    found.set(index, wanted.find((colour) => !taken.has(colour)) ?? own[0] ?? CLEAN);
  }
  return found;
}

/** "#rrggbb" as an opaque 32-bit word of an ImageData buffer. */
export function word(colour: string): number {
  const rgb = Number.parseInt(colour.slice(1), 16);
  return (0xff000000 | ((rgb & 0xff) << 16) | (rgb & 0xff00) | (rgb >> 16)) >>> 0;
}
