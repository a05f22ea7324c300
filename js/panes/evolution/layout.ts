/** Where the cells lie: units downwards, checkpoints across, with their names in the margins. */

export interface Layout {
  columns: number;
  rows: number;
  /** Side of a picture, CSS px; a cell that shows two has them one above the other. */
  tile: number;
  /** Between checkpoints, where the line that marks a jump has its place. */
  gap: number;
  /** Height of a cell. */
  cell: number;
  /** Of the whole, with margins. */
  width: number;
  height: number;
  /** Height of what is seen at once: whole rows, so that none is cut where the last of them is scrolled to. */
  seen: number;
}

/** Width of the units' names on the left, height of the checkpoints' above. */
export const LEFT = 92;
export const TOP = 24;
/** Between units; and between checkpoints, at least and where there is room. */
export const DOWN = 8;
const ACROSS = [9, 22] as const;
/** Beyond this height the rows scroll, CSS px. */
const TALLEST = 720;
/** Between the two pictures of a cell. */
export const SEAM = 2;
/** Sides that fit without being asked for, CSS px. */
const LEAST = 36;
const MOST = { one: 92, two: 76 };
/** By which a tile grows with each step of the zoom. */
const GROWTH = 1.25;
export const ZOOMS = 3;

/** Fit the columns into `width` px, as far as tiles of a sensible size allow. */
export function layout(columns: number, rows: number, width: number, zoom: number, two: boolean): Layout {
  const step = Math.floor((width - LEFT) / Math.max(1, columns));
  const fitting = Math.min(two ? MOST.two : MOST.one, Math.max(LEAST, step - ACROSS[0]));
  const tile = Math.round(fitting * GROWTH ** zoom);
  const gap = Math.min(ACROSS[1], Math.max(ACROSS[0], step - tile));
  const cell = two ? 2 * tile + SEAM : tile;
  const down = cell + DOWN;
  return {
    columns,
    rows,
    tile,
    gap,
    cell,
    width: LEFT + columns * (tile + gap),
    height: TOP + rows * down,
    seen: TOP + Math.min(rows, Math.floor((TALLEST - TOP) / down)) * down,
  };
}

/** Left edge of a checkpoint's column, and top edge of a unit's row, CSS px from the corner. */
export const left = (of: Layout, column: number): number => LEFT + column * (of.tile + of.gap);
export const top = (of: Layout, row: number): number => TOP + row * (of.cell + DOWN);

/** Row and column at a point; null for one that lies in a margin or outside. */
export function at(of: Layout, x: number, y: number): { row: number | null; column: number | null } {
  const column = Math.floor((x - LEFT) / (of.tile + of.gap));
  const row = Math.floor((y - TOP) / (of.cell + DOWN));
  return {
    row: y >= TOP && row < of.rows ? row : null,
    column: x >= LEFT && column < of.columns ? column : null,
  };
}

/** First and one past the last of the rows that `height` px below `from` can show; columns likewise. */
export function rowsIn(of: Layout, from: number, height: number): [number, number] {
  return between(from, from + height - TOP, of.cell + DOWN, of.rows);
}

export function columnsIn(of: Layout, from: number, width: number): [number, number] {
  return between(from, from + width - LEFT, of.tile + of.gap, of.columns);
}

function between(from: number, to: number, step: number, count: number): [number, number] {
  return [Math.max(0, Math.floor(from / step)), Math.min(count, Math.max(0, Math.ceil(to / step)))];
}

/** The scroll position, as near as possible to `now`, at which what lies from `from` to `to` is in sight. */
export function revealed(now: number, from: number, to: number, margin: number, extent: number): number {
  if (from - margin < now) return Math.max(0, from - margin);
  return to > now + extent ? to - extent : now;
}
