/** Where squares and dots are. */
import type { Extent } from "../../lib/geometry";
import type { Entries, PartRow, Point } from "./state";

/** Top and left of the square about a point, moved inward at a border: the kernel's own rule. */
export function corner([row, column]: Point, size: number, [height, width]: Extent): Point {
  const at = (middle: number, length: number) =>
    Math.min(Math.max(middle - Math.floor(size / 2), 0), length - size);
  return [at(row, height), at(column, width)];
}

/** A point, moved, inside the picture. */
export function moved([row, column]: Point, [down, right]: Point, [height, width]: Extent): Point {
  return [Math.min(Math.max(row + down, 0), height - 1), Math.min(Math.max(column + right, 0), width - 1)];
}

/** A mask of a bit a pixel, the first in the highest bit, as a byte a pixel. */
export function unpacked(bits: Uint8Array, count: number): Uint8Array {
  return Uint8Array.from({ length: count }, (_, at) => ((bits[at >> 3] ?? 0) >> (7 - (at & 7))) & 1);
}

/** From where to where the axis of the scores goes: round numbers around all that is drawn. */
export function axisOf(rows: readonly PartRow[], entries: Entries): [start: number, end: number] {
  const drawn = rows
    .flatMap(({ scores }) =>
      Object.values(scores).flatMap(({ [entries]: { delta, low, high, random } }) => [
        delta,
        low,
        high,
        random,
      ]),
    )
    .filter((one) => one !== null);
  if (drawn.length === 0) return [0, 0.05];
  const start = Math.floor(20 * Math.min(...drawn)) / 20;
  return [start, Math.max(Math.ceil(20 * Math.max(...drawn)) / 20, start + 0.05)];
}
