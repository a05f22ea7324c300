/** Painting the cells in sight, on a canvas that stays put while rows and columns scroll. */
import { clearBeyond } from "../../lib/atlas";
import { on, onFrame } from "../../lib/dom";
import type { View } from "../../seam";
import { inactiveWord } from "../shared/survey";
import type { Arranged } from "./arrangement";
import { columnsIn, DOWN, type Layout, LEFT, left, rowsIn, SEAM, TOP, top } from "./layout";
import { limits } from "./rows";
import {
  type Cell,
  cellOf,
  checkpointOf,
  columnsOf,
  type EvolutionState,
  hasWinner,
  type Place,
  type Winners,
  winnersOf,
} from "./state";
import { fateOf, jumpShare } from "./words";

/** The colours of the theme that are painted with. */
const COLOURS = ["bg", "fg", "dim", "line", "soft", "accent"] as const;

type Colours = Record<(typeof COLOURS)[number], string>;

interface Sight {
  context: CanvasRenderingContext2D;
  layout: Layout;
  units: readonly number[];
  winners: Winners;
  rows: readonly [number, number];
  columns: readonly [number, number];
  /** Of the canvas, CSS px. */
  width: number;
  height: number;
  /** Where a cell lies on the canvas, CSS px. */
  x: (column: number) => number;
  y: (row: number) => number;
  colours: Colours;
}

/** Paint whenever what is shown has changed. */
export function keepPainted(
  { store, page }: View<EvolutionState>,
  arranged: Arranged,
  scroller: HTMLElement,
  canvas: HTMLCanvasElement,
): void {
  const drawCells = cellPainter();
  const paint = onFrame((later) => {
    const winners = winnersOf(store);
    const { clientWidth: width, clientHeight: height } = canvas;
    const context = canvas.getContext("2d");
    if (!width || !height || !context) return later();
    const density = window.devicePixelRatio || 1;
    canvas.width = Math.round(width * density);
    canvas.height = Math.round(height * density);
    if (!winners) return;
    // From here on in CSS px.
    context.scale(density, density);
    const layout = arranged.get("layout");
    const { scrollTop, scrollLeft } = scroller;
    const sight: Sight = {
      context,
      layout,
      units: arranged.get("units"),
      winners,
      rows: rowsIn(layout, scrollTop, height),
      columns: columnsIn(layout, scrollLeft, width),
      width,
      height,
      x: (column) => left(layout, column) - scrollLeft,
      y: (row) => top(layout, row) - scrollTop,
      colours: coloursOf(scroller),
    };
    store.set({ sight: sight.units.slice(...sight.rows) });
    paintColumn(sight, checkpointOf(store));
    paintAhead(sight);
    drawCells(sight, store, density);
    paintJumps(sight);
    paintFrames(sight, store);
    paintMargins(sight, store);
    scroller.dataset.painted = `${winners.layer}/${store.get("show")}/${store.get("spread")}/${checkpointOf(store)}/${store.get("come")}`;
  });
  arranged.watch(["layout", "units"], paint);
  store.onChange(
    ["winners", "layer", "show", "spread", "selected", "checkpoint", "pointed", "come", "_evolution"],
    paint,
  );
  on(scroller, "scroll", paint);
  page.onTheme(paint);
}

function coloursOf(element: HTMLElement): Colours {
  const style = getComputedStyle(element);
  return Object.fromEntries(COLOURS.map((name) => [name, style.getPropertyValue(`--cs-${name}`)])) as Colours;
}

/** A band behind the checkpoint that is looked at. */
function paintColumn({ context, layout, x, y, units, colours }: Sight, checkpoint: number): void {
  if (checkpoint < 0) return;
  context.fillStyle = colours.accent;
  context.globalAlpha = 0.13;
  context.beginPath();
  const half = Math.min(6, Math.floor(layout.gap / 2) - 2);
  const bottom = y(units.length) - DOWN / 2;
  context.roundRect(x(checkpoint) - half, TOP - 2, layout.tile + 2 * half, bottom - TOP + 2, 4);
  context.fill();
  context.globalAlpha = 1;
}

/** Where cells of checkpoints that are still to come will be. */
function paintAhead({ context, layout, winners, rows, columns, x, y, colours }: Sight): void {
  context.strokeStyle = colours.line;
  context.lineWidth = 1;
  for (let column = Math.max(columns[0], columnsOf(winners)); column < columns[1]; column++) {
    for (let row = rows[0]; row < rows[1]; row++) {
      context.strokeRect(x(column) + 0.5, y(row) + 0.5, layout.tile - 1, layout.cell - 1);
    }
  }
}

/** Cells in their own resolution side by side, each then enlarged into its place. */
function cellPainter() {
  const scratch = document.createElement("canvas");
  return (sight: Sight, store: View<EvolutionState>["store"], density: number): void => {
    const { context, layout, units, winners, rows, columns, x, y, colours } = sight;
    const paper = scratch.getContext("2d");
    if (!paper) return;
    const side = store.get("cells")?.side ?? 1;
    const show = store.get("show");
    const parts = (["projection", "crop"] as const).filter((part) => show === "both" || show === part);
    const limitOf = limits(store, units, columnsOf(winners));
    const there: [column: number, row: number, cell: Cell][] = [];
    const empty: [column: number, row: number][] = [];
    for (let row = rows[0]; row < rows[1]; row++) {
      for (let column = columns[0]; column < Math.min(columns[1], columnsOf(winners)); column++) {
        const place: Place = [units[row] ?? -1, column];
        const cell = hasWinner(winners, place) ? cellOf(store, place) : undefined;
        if (cell) there.push([column, row, cell]);
        else empty.push([column, row]);
      }
    }
    const [width, height] = [(columns[1] - columns[0]) * side, (rows[1] - rows[0]) * parts.length * side];
    if (width > 0 && height > 0) {
      scratch.width = width;
      scratch.height = height;
      const image = paper.createImageData(width, height);
      const words = new Uint32Array(image.data.buffer);
      for (const [column, row, cell] of there) {
        const gain = cell.peak / (limitOf(units[row] ?? -1, cell.peak) || 1);
        parts.forEach((part, index) => {
          const from = ((row - rows[0]) * parts.length + index) * side * width + (column - columns[0]) * side;
          if (part === "crop") plain(cell.crop, side, words, from, width);
          else signed(cell.shades, gain, side, words, from, width);
          clearBeyond(words, side, cell.inside, from, width);
        });
      }
      paper.putImageData(image, 0, 0);
      context.imageSmoothingQuality = "high";
      for (const [column, row] of there) {
        parts.forEach((_, index) => {
          context.drawImage(
            scratch,
            (column - columns[0]) * side,
            ((row - rows[0]) * parts.length + index) * side,
            side,
            side,
            snap(x(column), density),
            snap(y(row) + index * (layout.tile + SEAM), density),
            layout.tile,
            layout.tile,
          );
        });
      }
    }
    context.textAlign = "center";
    context.textBaseline = "middle";
    for (const [column, row] of empty) {
      const dead = !hasWinner(winners, [units[row] ?? -1, column]);
      context.fillStyle = colours.line;
      context.globalAlpha = dead ? 0.35 : 0.8;
      context.fillRect(x(column), y(row), layout.tile, layout.cell);
      context.globalAlpha = 1;
      if (!dead) continue;
      context.fillStyle = colours.dim;
      context.font = font(11);
      context.fillText(inactiveWord(store), x(column) + layout.tile / 2, y(row) + layout.cell / 2);
    }
  };
}

/** The nearest edge between pixels, so that nothing is blurred by half of one. */
const snap = (at: number, density: number) => Math.round(at * density) / density;

const font = (size: number, weight = 400) => `${weight} ${size}px system-ui, sans-serif`;

/** RGB bytes into 32-bit words, `stride` words a row. */
function plain(rgb: Uint8Array, side: number, words: Uint32Array, from: number, stride: number): void {
  for (let row = 0, at = 0; row < side; row++) {
    for (let column = 0; column < side; column++, at += 3) {
      const [r = 0, g = 0, b = 0] = [rgb[at], rgb[at + 1], rgb[at + 2]];
      words[from + row * stride + column] = 0xff000000 | (b << 16) | (g << 8) | r;
    }
  }
}

/** The same for signed values: zero is mid-grey. */
function signed(
  shades: Int8Array,
  gain: number,
  side: number,
  words: Uint32Array,
  from: number,
  stride: number,
): void {
  const level = new Uint8ClampedArray(256);
  for (let value = -128; value < 128; value++) level[value + 128] = 128 + gain * value;
  for (let row = 0, at = 0; row < side; row++) {
    for (let column = 0; column < side; column++, at += 3) {
      const r = level[(shades[at] ?? 0) + 128] ?? 0;
      const g = level[(shades[at + 1] ?? 0) + 128] ?? 0;
      const b = level[(shades[at + 2] ?? 0) + 128] ?? 0;
      words[from + row * stride + column] = 0xff000000 | (b << 16) | (g << 8) | r;
    }
  }
}

/** A line between two checkpoints whose winners are different pictures. */
function paintJumps({ context, layout, units, winners, rows, columns, x, y, colours }: Sight): void {
  // Where nearly all jump, the lines step back behind the pictures.
  const often = jumpShare(winners) > 0.5;
  const wide = often ? 1 : 3;
  context.fillStyle = colours.accent;
  context.globalAlpha = often ? 0.55 : 1;
  for (let row = rows[0]; row < rows[1]; row++) {
    for (let column = Math.max(1, columns[0]); column < Math.min(columns[1], columnsOf(winners)); column++) {
      if (!winners.jump[column * winners.channels + (units[row] ?? 0)]) continue;
      const middle = x(column) - layout.gap / 2;
      context.beginPath();
      context.roundRect(middle - wide / 2, y(row), wide, layout.cell, wide / 2);
      context.fill();
    }
  }
  context.globalAlpha = 1;
}

/** Around what is chosen and what is pointed at. */
function paintFrames(sight: Sight, store: View<EvolutionState>["store"]): void {
  const { context, layout, units, x, y, colours } = sight;
  const frame = (place: Place | null, colour: string, weight: number) => {
    const row = place ? units.indexOf(place[0]) : -1;
    if (!place || row < 0 || place[1] < 0) return;
    const ring = (out: number, stroke: string, width: number) => {
      context.strokeStyle = stroke;
      context.lineWidth = width;
      context.strokeRect(x(place[1]) - out, y(row) - out, layout.tile + 2 * out, layout.cell + 2 * out);
    };
    ring(weight / 2, colours.bg, weight + 2);
    ring(weight / 2, colour, weight);
  };
  frame(store.get("pointed"), colours.fg, 1);
  const selected = store.get("selected");
  if (selected !== null) frame([selected, checkpointOf(store)], colours.accent, 2);
}

/** The names of units and checkpoints, over what scrolls beneath them. */
function paintMargins(sight: Sight, store: View<EvolutionState>["store"]): void {
  const { context, layout, units, winners, rows, columns, width, height, x, y, colours } = sight;
  const { checkpoints, ahead, counts } = store.get("_evolution");
  const [current, selected] = [checkpointOf(store), store.get("selected")];
  context.textBaseline = "middle";

  context.fillStyle = colours.bg;
  context.fillRect(0, TOP, LEFT - 6, height - TOP);
  context.textAlign = "left";
  for (let row = rows[0]; row < rows[1]; row++) {
    const unit = units[row] ?? -1;
    const chosen = unit === selected;
    const middle = y(row) + layout.cell / 2;
    context.fillStyle = chosen ? colours.accent : colours.fg;
    context.font = font(12, 600);
    context.fillText(`unit ${unit}`, 2, middle - 8);
    context.fillStyle = colours.dim;
    context.font = font(11);
    context.fillText(fateOf(winners, unit, inactiveWord(store)), 2, middle + 8);
  }

  context.fillStyle = colours.bg;
  context.fillRect(0, 0, width, TOP - 2);
  context.textAlign = "center";
  for (let column = columns[0]; column < columns[1]; column++) {
    const name = checkpoints[column]?.short ?? ahead[column - checkpoints.length] ?? "";
    context.fillStyle = column === current ? colours.accent : colours.dim;
    context.globalAlpha = column < checkpoints.length ? 1 : 0.6;
    context.font = font(11, column === current ? 700 : 400);
    context.fillText(name, x(column) + layout.tile / 2, TOP / 2 - 1, layout.tile + layout.gap - 2);
  }
  context.globalAlpha = 1;
  context.fillStyle = colours.bg;
  context.fillRect(0, 0, LEFT - 6, TOP - 2);
  context.fillStyle = colours.dim;
  context.textAlign = "left";
  context.font = font(11);
  context.fillText(counts, 2, TOP / 2 - 1);
}
