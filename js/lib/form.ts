/** The form of the occluder: which pixels of its box it covers, by the rules by which the kernel masks, too. */
import { clamp, type Extent, type Position } from "./geometry";

/** A closed polygon of (row, column) points in 0..1 of the box. */
export type Outline = readonly (readonly [number, number])[];
/** A mask of the box: one bit a pixel, row after row, in base64. */
export interface Mask {
  bits: string;
  height: number;
  width: number;
}
/** The `shape` trait. */
export type Shape = "square" | "ellipse" | Outline | Mask;

export const isOutline = (shape: Shape): shape is Outline => Array.isArray(shape);
const isMask = (shape: Shape): shape is Mask => typeof shape === "object" && "bits" in shape;

/** "square", "ellipse", or "free" for any other form. */
export const kindOf = (shape: Shape): "square" | "ellipse" | "free" =>
  typeof shape === "string" ? shape : "free";

/** For each pixel of a box, row after row, whether the form covers it. */
export function coverage(shape: Shape, [height, width]: Extent): Uint8Array {
  const covered = new Uint8Array(height * width);
  const inside = test(shape, [height, width]);
  for (let row = 0, at = 0; row < height; row++) {
    for (let column = 0; column < width; column++, at++) covered[at] = inside(row, column) ? 1 : 0;
  }
  return covered;
}

function test(shape: Shape, [height, width]: Extent): (row: number, column: number) => boolean {
  if (shape === "square") return () => true;
  if (shape === "ellipse") {
    // In half pixels everything is a whole number, so that no rounding decides about a pixel on the edge.
    const whole = (height * width) ** 2;
    return (row, column) =>
      ((2 * row + 1 - height) * width) ** 2 + ((2 * column + 1 - width) * height) ** 2 <= whole;
  }
  if (isMask(shape)) {
    const bits = Uint8Array.from(atob(shape.bits), (character) => character.charCodeAt(0));
    return (row, column) => {
      const y = Math.floor(((2 * row + 1) * shape.height) / (2 * height));
      const x = Math.floor(((2 * column + 1) * shape.width) / (2 * width));
      const at = y * shape.width + x;
      return (((bits[at >> 3] ?? 0) >> (7 - (at & 7))) & 1) === 1;
    };
  }
  const edges = shape.map((point, index) => [point, shape[(index + 1) % shape.length] ?? point] as const);
  return (row, column) => {
    const y = (row + 0.5) / height;
    const x = (column + 0.5) / width;
    let inside = false;
    for (const [[r1, c1], [r2, c2]] of edges) {
      if (r1 > y !== r2 > y && x < ((c2 - c1) * (y - r1)) / (r2 - r1) + c1) inside = !inside;
    }
    return inside;
  };
}

/** Parts of a hand-drawn line that are nearer than this to the last one kept say nothing, px. */
const STEP = 1;
const LEAST = 4;

/**
 * The occluder that a line drawn on a picture encloses: its box, and the line as an outline of that box.
 *
 * Null where the line encloses next to nothing.
 */
export function enclosed(
  line: readonly Position[],
  picture: Extent,
): { position: Position; size: Extent; shape: Outline } | null {
  const kept: Position[] = [];
  for (const [row, column] of line) {
    const point: Position = [clamp(row, 0, picture[0]), clamp(column, 0, picture[1])];
    const last = kept[kept.length - 1];
    if (!last || Math.hypot(point[0] - last[0], point[1] - last[1]) >= STEP) kept.push(point);
  }
  if (kept.length < 3) return null;
  const rows = kept.map(([row]) => row);
  const columns = kept.map(([, column]) => column);
  const position: Position = [Math.floor(Math.min(...rows)), Math.floor(Math.min(...columns))];
  const size: Extent = [
    Math.ceil(Math.max(...rows)) - position[0],
    Math.ceil(Math.max(...columns)) - position[1],
  ];
  if (size[0] < LEAST || size[1] < LEAST) return null;
  const short = (value: number) => Math.round(clamp(value, 0, 1) * 1e4) / 1e4;
  const shape: Outline = kept.map(
    ([row, column]) =>
      [short((row - position[0]) / size[0]), short((column - position[1]) / size[1])] as const,
  );
  return coverage(shape, size).includes(1) ? { position, size, shape } : null;
}
