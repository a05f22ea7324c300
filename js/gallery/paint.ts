/** Putting maps on canvases: coloured once for a scale, then only laid over the picture. */
import { type Diverging, diverging } from "../lib/colormaps";
import { el } from "../lib/dom";
import type { State } from "../state";
import { endOf, painted, type Row, type Tile } from "./tiles";

export type Theme = "light" | "dark";

export interface Look {
  opacity: number;
  scale_by: State["scale_by"];
  colours: Diverging;
  theme: Theme;
}

const coloured = new WeakMap<Int16Array, { look: string; bitmap: HTMLCanvasElement }>();
const greys = new WeakMap<Uint8ClampedArray, HTMLCanvasElement>();

function bitmap(pixels: Uint8ClampedArray<ArrayBuffer>, width: number, height: number): HTMLCanvasElement {
  const canvas = el("canvas", { width, height });
  canvas.getContext("2d")?.putImageData(new ImageData(pixels, width, height), 0, 0);
  return canvas;
}

/** A row's picture without colour, so that the only colours are the map's. */
function grey(row: Row): HTMLCanvasElement {
  const known = greys.get(row.pixels);
  if (known) return known;
  const pixels = row.pixels.slice();
  for (let at = 0; at < pixels.length; at += 4) {
    const [r = 0, g = 0, b = 0] = pixels.subarray(at, at + 3);
    pixels.fill(0.299 * r + 0.587 * g + 0.114 * b, at, at + 3);
  }
  const made = bitmap(pixels, row.width, row.height);
  greys.set(row.pixels, made);
  return made;
}

/** The picture as the network sees it. */
export function paintPicture(canvas: HTMLCanvasElement, row: Row): void {
  canvas.width = row.width;
  canvas.height = row.height;
  canvas.getContext("2d")?.putImageData(new ImageData(row.pixels, row.width, row.height), 0, 0);
}

/** A map over its picture. */
export function paintTile(
  canvas: HTMLCanvasElement,
  row: Row,
  tile: Tile,
  tiles: ReadonlyMap<string, Tile>,
  columns: State["_columns"],
  look: Look,
): void {
  const { map } = tile;
  if (!map) return;
  // A map of a layer is coarser than the picture, and shown with its cells.
  canvas.width = Math.max(row.width, map.width);
  canvas.height = Math.max(row.height, map.height);
  const context = canvas.getContext("2d");
  if (!context) return;
  const end = endOf(tile, tiles, columns, look.scale_by);
  const key = `${end} ${look.colours} ${look.theme}`;
  let made = coloured.get(map.values);
  if (made?.look !== key) {
    const words = painted(map, end, diverging(look.colours, look.theme));
    made = { look: key, bitmap: bitmap(new Uint8ClampedArray(words.buffer), map.width, map.height) };
    coloured.set(map.values, made);
  }
  if (look.opacity < 1) context.drawImage(grey(row), 0, 0, canvas.width, canvas.height);
  context.imageSmoothingEnabled = false;
  context.globalAlpha = look.opacity;
  context.drawImage(made.bitmap, 0, 0, canvas.width, canvas.height);
}
