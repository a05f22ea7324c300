/** Painting a map: the faint picture, the cells over it, where the occluder is, which cell is looked at. */
import { type Extent, extent, type Position, type Size } from "../../lib/geometry";
import { bitmap } from "../../lib/photo";
import type { Store } from "../../lib/store";
import { area, isComputed, shown } from "./cells";
import type { Panel } from "./panel";
import type { MapState, Maps } from "./state";

/** `width`: of the canvas, CSS px. Everything is drawn in pixels of the picture. */
export function paintMap(
  canvas: HTMLCanvasElement,
  width: number,
  panel: Pick<Panel, "paint">,
  store: Store<MapState>,
): void {
  const picture = store.get("_network").size;
  const context = canvas.getContext("2d");
  if (!context) return;
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round((width * ratio * picture[0]) / picture[1]);
  const scale = canvas.width / picture[1];
  context.scale(scale, scale);
  const opacity = store.get("opacity");
  paintPhoto(context, store, picture, opacity);
  const maps = store.get("maps");
  if (!maps) return;
  context.globalAlpha = opacity;
  paintCells(context, maps, panel);
  context.globalAlpha = 1;
  const pixel = ratio / scale;
  paintRing(context, store.get("position"), store.get("size"), pixel);
  const cell = store.get("cell");
  if (cell) paintOutline(context, maps, cell, pixel);
}

/** So that one sees where one is, also beyond the outermost centres; the stronger, the less the map covers. */
function paintPhoto(
  context: CanvasRenderingContext2D,
  store: Store<MapState>,
  [high, wide]: Extent,
  opacity: number,
): void {
  const photo = store.get("photo");
  if (!photo) return;
  context.globalAlpha = 1 - 0.65 * opacity;
  context.drawImage(bitmap(photo.pixels, photo.width, photo.height), 0, 0, wide, high);
  context.globalAlpha = 1;
}

function paintCells(context: CanvasRenderingContext2D, maps: Maps, panel: Pick<Panel, "paint">): void {
  const { rows, columns } = maps;
  const from = maps.preview
    ? Int32Array.from({ length: rows * columns }, (_, index) => index)
    : shown((index) => isComputed(maps.label[index]), rows, columns);
  const words = new Uint32Array(rows * columns);
  panel.paint(maps, from, words);
  const { top, left, height, width } = area(maps);
  context.imageSmoothingEnabled = false;
  context.drawImage(bitmap(new Uint8ClampedArray(words.buffer), columns, rows), left, top, width, height);
}

/** Where the occluder's centre is now: a ring that is seen on any colour. */
function paintRing(
  context: CanvasRenderingContext2D,
  [top, left]: Position,
  size: Size,
  pixel: number,
): void {
  const [high, wide] = extent(size);
  for (const [style, width] of [
    ["rgb(0 0 0 / 65%)", 5],
    ["#fff", 2],
  ] as const) {
    context.strokeStyle = style;
    context.lineWidth = width * pixel;
    context.beginPath();
    context.arc(left + wide / 2, top + high / 2, 5 * pixel, 0, 2 * Math.PI);
    context.stroke();
  }
}

/** The cell that is looked at. */
function paintOutline(
  context: CanvasRenderingContext2D,
  maps: Maps,
  [row, column]: Position,
  pixel: number,
): void {
  const { top, left } = area(maps);
  const [down, across] = maps.stride;
  for (const [style, out] of [
    ["rgb(0 0 0 / 70%)", 2.5],
    ["#fff", 1],
  ] as const) {
    context.strokeStyle = style;
    context.lineWidth = 1.5 * pixel;
    const around = out * pixel;
    context.strokeRect(
      left + column * across - around,
      top + row * down - around,
      across + 2 * around,
      down + 2 * around,
    );
  }
}
