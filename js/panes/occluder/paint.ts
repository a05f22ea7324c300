/** Exactly the pixels that the network gets: the picture, and what covers it. */
import { el, onFrame } from "../../lib/dom";
import { coverage, type Shape } from "../../lib/form";
import { type Extent, extent, type Position } from "../../lib/geometry";
import type { Photo } from "../../lib/photo";
import type { View } from "../../seam";
import type { OccluderState } from "./state";

/** RGBA, opaque. */
type Pixels = Uint8ClampedArray<ArrayBuffer>;

/** A box of pixels: where it begins, and how large it is. */
type Box = readonly [Position, Extent];

/** The canvas of a picture; `frame`, around it, takes its proportions. */
export function pictureCanvas({ store }: View<OccluderState>, frame: HTMLElement): HTMLElement {
  const canvas = el("canvas.cs-picture__canvas");
  const covered = remembered();
  let shown: Photo | null = null;
  let before: Box | null = null;
  const paint = onFrame(() => {
    const photo = store.get("photo");
    if (!photo) return;
    const { height, width } = photo;
    if (canvas.width !== width || canvas.height !== height) {
      canvas.width = width;
      canvas.height = height;
      frame.style.aspectRatio = `${width} / ${height}`;
    }
    const pixels = new Uint8ClampedArray(photo.pixels);
    let box: Box | null = null;
    const [filling, patch] = [store.get("filling"), store.get("patch")];
    if (filling && filling.width === width && filling.height === height) {
      box = [store.get("position"), extent(store.get("size"))];
      put(pixels, width, box, covered(store.get("shape"), box[1]), filling.pixels, width, box[0]);
    } else if (patch) {
      // What the network saw last, where it saw it: what is shown at the next place is not known yet.
      box = [patch.position, patch.size];
      put(pixels, width, box, null, patch.pixels, box[1][1], [0, 0]);
    }
    // Of the same picture only what was covered, and what is.
    if (shown !== photo)
      before = [
        [0, 0],
        [height, width],
      ];
    const context = canvas.getContext("2d");
    if (!context) return;
    const image = new ImageData(pixels, width, height);
    for (const one of [before, box])
      if (one) context.putImageData(image, 0, 0, one[0][1], one[0][0], one[1][1], one[1][0]);
    [shown, before] = [photo, box];
  });
  store.watch(["photo", "filling", "patch", "position", "size", "shape"], paint);
  return canvas;
}

/** `coverage`, computed once for a shape and size. */
function remembered(): typeof coverage {
  let known: { shape: Shape; size: Extent; covered: Uint8Array } | null = null;
  return (shape, size) => {
    if (known?.shape !== shape || known.size[0] !== size[0] || known.size[1] !== size[1]) {
      known = { shape, size, covered: coverage(shape, size) };
    }
    return known.covered;
  };
}

/** Write a box of another picture's pixels, of so many a row, over a picture's, where the box is covered (null: everywhere). */
function put(
  pixels: Pixels,
  width: number,
  [[top, left], [high, wide]]: Box,
  covered: Uint8Array | null,
  source: Pixels,
  stride: number,
  [firstRow, firstColumn]: Position,
): void {
  // A pixel at a time, not a byte.
  const [into, from] = [words(pixels), words(source)];
  for (let row = 0, at = 0; row < high; row++)
    for (let column = 0; column < wide; column++, at++)
      if (!covered || covered[at])
        into[(top + row) * width + left + column] =
          from[(firstRow + row) * stride + firstColumn + column] ?? 0;
}

const words = ({ buffer, byteOffset, length }: Pixels): Uint32Array =>
  new Uint32Array(buffer, byteOffset, length / 4);
