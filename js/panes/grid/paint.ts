/** Painting the grid: only the rows in sight, on a canvas that stays put while the rows scroll. */
import { clearBeyond, type Layout, paintTile, place, ranges, visible } from "../../lib/atlas";
import { colouring } from "../../lib/colormaps";
import { on, onFrame } from "../../lib/dom";
import type { View } from "../../seam";
import { type Inactive, inactiveWord } from "../shared/survey";
import { type Arranged, indexOf } from "./arrangement";
import { ailing } from "./order";
import { type Grid, type GridState, type Health, scaleKey } from "./state";
import { healthOf } from "./words";

/** Tiles as large as this have their units' names on them, CSS px. */
const NAMED = 56;

/** What is in sight: tiles `first` to `last` of the order, at their places from the canvas's corner. */
interface Sight {
  context: CanvasRenderingContext2D;
  layout: Layout;
  order: readonly number[];
  first: number;
  last: number;
  /** Pixels of the canvas for one of the page. */
  density: number;
  /** Left and top of a tile, CSS px. */
  at: (index: number) => { x: number; y: number };
}

/** Paint the grid whenever what it shows has changed. */
export function keepPainted(
  view: View<GridState>,
  arranged: Arranged,
  scroller: HTMLElement,
  canvas: HTMLCanvasElement,
): void {
  const { store, page } = view;
  const paintTiles = tilePainter();
  const paint = onFrame((later) => {
    const grid = store.get("grid");
    const [width, height] = [arranged.get("width"), scroller.clientHeight];
    if (!grid || !width || !height) return later();
    const density = window.devicePixelRatio || 1;
    canvas.width = Math.round(width * density);
    canvas.height = Math.round(height * density);
    const [layout, order] = [arranged.get("layout"), arranged.get("order")];
    const [first, last] = visible(layout, order.length, scroller.scrollTop, height);
    const context = canvas.getContext("2d");
    if (!context || last <= first) return;
    const at = (index: number) => {
      const { x, y } = place(layout, index);
      return { x, y: y - scroller.scrollTop };
    };
    const sight: Sight = { context, layout, order, first, last, density, at };
    paintTiles(sight, grid, view);
    paintNames(sight, grid, getComputedStyle(scroller).fontFamily);
    paintMarks(sight, grid.silenced, healthOf(store), inactiveWord(store));
    const style = getComputedStyle(scroller);
    const colour = (name: string) => style.getPropertyValue(`--cs-${name}`);
    paintFrame(sight, indexOf(arranged, store.get("hovered")), colour("fg"), 1, colour("bg"));
    paintFrame(sight, indexOf(arranged, store.get("selected")), colour("accent"), 2, colour("bg"));
    scroller.dataset.painted = `${grid.layer}/${grid.lens}/${store.get("colormap")}/${store.get(scaleKey(grid.lens))}`;
  });
  arranged.watch(["layout", "seen"], paint);
  store.onChange(["colormap", "scale", "weights_scale", "selected", "hovered", "tiled"], paint);
  on(scroller, "scroll", paint);
  // The colours of the frames are the theme's.
  page.onTheme(paint);
}

/** Colour the tiles in sight at their own resolution, side by side, then let the canvas enlarge each. */
function tilePainter() {
  const scratch = document.createElement("canvas");
  return (sight: Sight, { planes, lens, inside }: Grid, { store, page }: View<GridState>): void => {
    const { context, layout, order, first, last, density, at } = sight;
    const paper = scratch.getContext("2d");
    if (!paper) return;
    const cell = (index: number) => [
      Math.floor((index - first) / layout.columns),
      (index - first) % layout.columns,
    ];
    scratch.width = layout.columns * planes.width;
    scratch.height = Math.ceil((last - first) / layout.columns) * planes.height;
    const image = paper.createImageData(scratch.width, scratch.height);
    const words = new Uint32Array(image.data.buffer);
    const range = ranges(planes, store.get(scaleKey(lens)));
    const { words: colours } = colouring(store.get("colormap"), planes.signed, page.theme());
    for (let index = first; index < last; index++) {
      const channel = order[index] ?? 0;
      const [row = 0, column = 0] = cell(index);
      const offset = row * planes.height * scratch.width + column * planes.width;
      paintTile(planes, channel, range(channel), colours, words, offset, scratch.width);
      const [top, left, bottom = 1, right = 1] = inside.subarray(4 * channel, 4 * channel + 4);
      if (bottom < 1 || right < 1 || top || left)
        clearBeyond(words, planes.width, [top ?? 0, left ?? 0, bottom, right], offset, scratch.width);
    }
    paper.putImageData(image, 0, 0);
    context.clearRect(0, 0, context.canvas.width, context.canvas.height);
    // Pixels of a map stay pixels; photographs and large maps are drawn smoothly.
    context.imageSmoothingEnabled =
      planes.width > layout.tile * density || lens === "patch" || lens === "projection";
    context.imageSmoothingQuality = "high";
    for (let index = first; index < last; index++) {
      const { x, y } = at(index);
      const [row = 0, column = 0] = cell(index);
      const edge = (at: number) => Math.round(at * density);
      context.drawImage(
        scratch,
        column * planes.width,
        row * planes.height,
        planes.width,
        planes.height,
        edge(x),
        edge(y),
        edge(x + layout.tile) - edge(x),
        edge(y + layout.tile) - edge(y),
      );
    }
  };
}

/** The names of units on their tiles, as much of them as there is room for. */
function paintNames(
  { context, layout, order, first, last, density, at }: Sight,
  { names }: Grid,
  font: string,
): void {
  if (!names || layout.tile < NAMED) return;
  context.save();
  context.scale(density, density);
  context.font = `11px ${font}`;
  context.textBaseline = "bottom";
  for (let index = first; index < last; index++) {
    const { x, y } = at(index);
    context.save();
    context.beginPath();
    context.rect(x, y, layout.tile, layout.tile);
    context.clip();
    context.fillStyle = "rgb(0 0 0 / 55%)";
    context.fillRect(x, y + layout.tile - 15, layout.tile, 15);
    context.fillStyle = "#fff";
    const name = shortened(names[order[index] ?? 0] ?? "", context, layout.tile - 5);
    context.fillText(name, x + 3, y + layout.tile - 1);
    context.restore();
  }
  context.restore();
}

/** A text, or as much of it as there is room for and a sign that there is more. */
function shortened(text: string, context: CanvasRenderingContext2D, room: number): string {
  let shown = text;
  for (let end = text.length; end > 1 && context.measureText(shown).width > room; end--) {
    shown = `${text.slice(0, end - 1).trimEnd()}…`;
  }
  return shown;
}

/**
 * Silenced: crossed out. Dead: struck through, if enough pictures tell. Repeated: a small double stroke in the corner.
 */
function paintMarks(
  sight: Sight,
  silenced: readonly number[],
  health: Health | null,
  inactive: Inactive,
): void {
  const { context, layout, order, first, last, density, at } = sight;
  const side = layout.tile * density;
  for (let index = first; index < last; index++) {
    const channel = order[index] ?? 0;
    const isSilenced = silenced.includes(channel);
    const what = isSilenced ? "silenced" : health && ailing(health, channel, inactive);
    if (!what || what === "inactive" || what === "rarely active") continue;
    const { x, y } = at(index);
    const [left, top] = [x * density, y * density];
    context.beginPath();
    if (isSilenced || what === "dead") {
      context.moveTo(left + 0.25 * side, top + 0.75 * side);
      context.lineTo(left + 0.75 * side, top + 0.25 * side);
      if (isSilenced) {
        context.moveTo(left + 0.25 * side, top + 0.25 * side);
        context.lineTo(left + 0.75 * side, top + 0.75 * side);
      }
    } else {
      for (const height of [4, 7]) {
        context.moveTo(left + side - 10 * density, top + height * density);
        context.lineTo(left + side - 4 * density, top + height * density);
      }
    }
    for (const [colour, width] of [
      ["rgb(0 0 0 / 60%)", 2.5],
      ["#fff", 1],
    ] as const) {
      context.strokeStyle = colour;
      context.lineWidth = width * density;
      context.stroke();
    }
  }
}

/** Inside the tile, so that the first row and column are not cut off; with a gap of the background around it. */
function paintFrame(
  { context, layout, first, last, density, at }: Sight,
  index: number,
  colour: string,
  weight: number,
  background: string,
): void {
  if (index < first || index >= last) return;
  const { x, y } = at(index);
  const ring = (inset: number, stroke: string, width: number) => {
    const side = (layout.tile - 2 * inset) * density;
    context.strokeStyle = stroke;
    context.lineWidth = width * density;
    context.strokeRect((x + inset) * density, (y + inset) * density, side, side);
  };
  ring(weight + 0.5, background, 1);
  ring(weight / 2, colour, weight);
}
