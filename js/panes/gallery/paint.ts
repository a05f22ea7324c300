/** Putting maps on canvases: coloured once for a scale, then only laid over the picture. */
import { diverging } from "../../lib/colormaps";
import { bitmap, show } from "../../lib/photo";
import type { Theme, View } from "../../seam";
import type { Column, GallerySlice, GalleryState, Row, Tile } from "./state";
import { endOf, painted } from "./tiles";

/** What is set for all maps. */
export interface Look extends Pick<GallerySlice, "opacity" | "scale_by" | "colours"> {
  theme: Theme;
}

export function lookOf({ store, page }: View<GalleryState>): Look {
  return {
    opacity: store.get("opacity"),
    scale_by: store.get("scale_by"),
    colours: store.get("colours"),
    theme: page.theme(),
  };
}

const coloured = new WeakMap<Int16Array, { look: string; bitmap: HTMLCanvasElement }>();
const greys = new WeakMap<Uint8ClampedArray, HTMLCanvasElement>();

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
  show(canvas, row.pixels, row.width, row.height);
}

/** A map over its picture. */
export function paintTile(
  canvas: HTMLCanvasElement,
  row: Row,
  tile: Tile,
  tiles: ReadonlyMap<string, Tile>,
  columns: readonly Column[],
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
