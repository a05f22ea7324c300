/** Laying out and painting the tiles of a layer: all filters on one canvas, only what is visible. */
export interface Layout {
  columns: number;
  rows: number;
  /** Side of a tile and gap between tiles, CSS px. */
  tile: number;
  gap: number;
  /** Of the whole grid, CSS px. */
  height: number;
}

/** Fill `width` px with square tiles of about `wanted` px. */
export function layout(count: number, width: number, wanted: number, gap = 2): Layout {
  const fitting = Math.max(1, Math.round((width + gap) / (wanted + gap)));
  const columns = Math.max(1, Math.min(fitting, Math.max(count, 1)));
  // A short grid keeps its tiles at a sensible size instead of stretching them over the pane.
  const tile = Math.max(1, (width - gap * (fitting - 1)) / fitting);
  const rows = Math.ceil(count / columns);
  return { columns, rows, tile, gap, height: Math.max(0, rows * (tile + gap) - gap) };
}

/** Place of the `index`-th tile, CSS px from the grid's corner. */
export function place(grid: Layout, index: number): { x: number; y: number } {
  const step = grid.tile + grid.gap;
  return { x: (index % grid.columns) * step, y: Math.floor(index / grid.columns) * step };
}

/** Which tile lies under a point, or null between tiles and outside. */
export function tileAt(grid: Layout, count: number, x: number, y: number): number | null {
  const step = grid.tile + grid.gap;
  const column = Math.floor(x / step);
  const row = Math.floor(y / step);
  if (x < 0 || y < 0 || column >= grid.columns) return null;
  if (x - column * step > grid.tile || y - row * step > grid.tile) return null;
  const index = row * grid.columns + column;
  return index < count ? index : null;
}

/** First and one past the last tile that `height` px below `top` can show. */
export function visible(grid: Layout, count: number, top: number, height: number): [number, number] {
  const step = grid.tile + grid.gap;
  const first = Math.max(0, Math.floor(top / step));
  const last = Math.min(grid.rows, Math.ceil((top + height) / step));
  return [Math.min(count, first * grid.columns), Math.min(count, last * grid.columns)];
}

/** The tiles of a layer as the kernel sends them. */
export interface Planes {
  channels: number;
  height: number;
  width: number;
  /** 1: a value per pixel, to be coloured here; 3: finished RGB. */
  depth: 1 | 3;
  /** The layer's values go below zero, if not these: they have colours on either side of it. */
  signed: boolean;
  data: Uint8Array;
  /** Value of 0 and of 255, per channel; both 0 of photographs. */
  low: Float32Array;
  high: Float32Array;
}

/** What shares a range of colours: each unit alone, or the units of a layer. */
export type Scale = "unit" | "layer";

/** A tile of one value has no range of its own. */
export const hasScales = ({ height, width }: Pick<Planes, "height" | "width">): boolean => height * width > 1;

/**
 * The range of values that each channel's colours stand for.
 *
 * Of signed values it is as wide on either side of zero; one range for the layer, and that of a constant map, begins at
 * zero.
 */
export function ranges(planes: Planes, scale: Scale): (channel: number) => [number, number] {
  const even = (low: number, high: number): [number, number] => {
    const most = Math.max(-low, high);
    return planes.signed ? [0 - most, most] : [low, high];
  };
  if (scale === "layer" || !hasScales(planes)) {
    const all = even(Math.min(0, ...planes.low), Math.max(0, ...planes.high));
    return () => all;
  }
  return (channel) => {
    const [low, high] = [planes.low[channel] ?? 0, planes.high[channel] ?? 0];
    return even(low < high ? low : Math.min(0, low), Math.max(0, high));
  };
}

/** Colour one channel's tile into 32-bit words, `stride` words a row, from `offset`; of RGB the contrast is changed. */
export function paintTile(
  planes: Planes,
  channel: number,
  bounds: [number, number],
  colours: Uint32Array,
  words: Uint32Array,
  offset: number,
  stride: number,
): void {
  const { width, height, data } = planes;
  const from = channel * width * height * planes.depth;
  const low = planes.low[channel] ?? 0;
  const high = planes.high[channel] ?? 0;
  const spread = bounds[1] - bounds[0];
  const gain = spread > 0 ? (high - low) / spread : 0;
  const coloured = new Uint32Array(256);
  if (planes.depth === 3) {
    // Zero is 128; photographs have no range, and stay what they are.
    const contrast = high > low ? gain : 1;
    for (let value = 0; value < 256; value++) coloured[value] = Math.round(128 + contrast * (value - 128));
    for (let y = 0, at = from; y < height; y++) {
      for (let x = 0; x < width; x++, at += 3) {
        const [r = 0, g = 0, b = 0] = [0, 1, 2].map((one) => coloured[data[at + one] ?? 0]);
        words[offset + y * stride + x] = 0xff000000 | (b << 16) | (g << 8) | r;
      }
    }
    return;
  }
  const last = colours.length - 1;
  // Where all is zero, it is in the middle of signed colours.
  const shift = spread > 0 ? (low - bounds[0]) / spread : planes.signed ? 0.5 : 0;
  for (let value = 0; value < 256; value++) {
    const place = Math.round(((value / 255) * gain + shift) * last);
    coloured[value] = colours[Math.max(0, Math.min(last, place))] ?? 0;
  }
  for (let y = 0, at = from; y < height; y++) {
    for (let x = 0; x < width; x++, at++) words[offset + y * stride + x] = coloured[data[at] ?? 0] ?? 0;
  }
}

/** Where in a tile the picture is, as shares of its height and width: beyond it there is nothing to show. */
export type Inside = readonly [top: number, left: number, bottom: number, right: number];

/** Make transparent what of a tile of `side` px lies beyond the picture: words as `paintTile` fills them. */
export function clearBeyond(
  words: Uint32Array,
  side: number,
  [top, left, bottom, right]: Inside,
  offset = 0,
  stride = side,
): void {
  // A pixel that the edge goes through is not the picture's alone.
  const first = (share: number) => Math.ceil(share * side - 1e-3);
  const last = (share: number) => Math.floor(share * side + 1e-3);
  for (let y = 0; y < side; y++) {
    const within = y >= first(top) && y < last(bottom);
    const row = offset + y * stride;
    if (!within) words.fill(0, row, row + side);
    else {
      words.fill(0, row, row + Math.min(side, first(left)));
      words.fill(0, row + Math.max(0, last(right)), row + side);
    }
  }
}

/** RGB bytes as the pixels of an ImageData. */
export function rgba(rgb: Uint8Array): Uint8ClampedArray<ArrayBuffer> {
  const out = new Uint8ClampedArray((rgb.length / 3) * 4);
  for (let from = 0, to = 0; from < rgb.length; from += 3, to += 4) {
    out[to] = rgb[from] ?? 0;
    out[to + 1] = rgb[from + 1] ?? 0;
    out[to + 2] = rgb[from + 2] ?? 0;
    out[to + 3] = 255;
  }
  return out;
}

/** Signed RGB as the pixels of an ImageData: zero is mid-grey, and 127 times `gain` black or white. */
export function signedRgba(shades: Int8Array, gain: number): Uint8ClampedArray<ArrayBuffer> {
  const out = new Uint8ClampedArray((shades.length / 3) * 4);
  for (let from = 0, to = 0; from < shades.length; from += 3, to += 4) {
    out[to] = 128 + gain * (shades[from] ?? 0);
    out[to + 1] = 128 + gain * (shades[from + 1] ?? 0);
    out[to + 2] = 128 + gain * (shades[from + 2] ?? 0);
    out[to + 3] = 255;
  }
  return out;
}
