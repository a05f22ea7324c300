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

/** Up to where the axis of the scores goes: a round number above all that is drawn. */
export function axisEnd(rows: readonly PartRow[], entries: Entries): number {
  const ends = rows.flatMap(({ scores }) =>
    Object.values(scores).flatMap(({ [entries]: { delta, high } }) => [delta ?? 0, high ?? 0]),
  );
  return Math.max(0.1, Math.ceil(10 * Math.max(0, ...ends)) / 10);
}
