/** Boxes on pictures. Everything is in picture pixels, row first; CSS pixels never leave a pane. */

/** Row and column of a top-left corner. */
export type Position = [number, number];
/** Height and width. */
export type Extent = [number, number];
/** A side, or height and width: the `size` trait. */
export type Size = number | Extent;

export const clamp = (value: number, low: number, high: number): number =>
  Math.min(Math.max(value, low), high);

export const extent = (size: Size): Extent => (typeof size === "number" ? [size, size] : size);

/** A square is written as one number, as the kernel does. */
export const toSize = ([height, width]: Extent): Size => (height === width ? height : [height, width]);

/** The nearest position at which an occluder of `size` lies inside the picture. */
export function fit(position: Position, size: Size, picture: Extent): Position {
  const [height, width] = extent(size);
  return [
    clamp(Math.round(position[0]), 0, Math.max(0, picture[0] - height)),
    clamp(Math.round(position[1]), 0, Math.max(0, picture[1] - width)),
  ];
}

/** The position of an occluder that has got another size around its middle, as under a magnifier. */
export function aroundMiddle(position: Position, from: Size, to: Size, picture: Extent): Position {
  const [high, wide] = extent(from);
  const [h, w] = extent(to);
  return fit([position[0] + (high - h) / 2, position[1] + (wide - w) / 2], to, picture);
}

/**
 * The size after dragging the bottom-right corner of an occluder at `position` to `corner`.
 *
 * The aspect ratio of `from` is kept unless `free`; the result lies inside the picture and is at least `least` px.
 */
export function resize(
  position: Position,
  from: Size,
  corner: Position,
  picture: Extent,
  free: boolean,
  least = 4,
): Size {
  const [height, width] = extent(from);
  const room: Extent = [picture[0] - position[0], picture[1] - position[1]];
  const wanted: Extent = [corner[0] - position[0], corner[1] - position[1]];
  if (free) {
    return toSize([
      Math.round(clamp(wanted[0], least, room[0])),
      Math.round(clamp(wanted[1], least, room[1])),
    ]);
  }
  const smallest = Math.max(least / height, least / width);
  const largest = Math.min(room[0] / height, room[1] / width);
  const scale = clamp(Math.max(wanted[0] / height, wanted[1] / width), smallest, largest);
  return toSize([Math.max(1, Math.round(height * scale)), Math.max(1, Math.round(width * scale))]);
}
