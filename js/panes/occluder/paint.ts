/** Exactly the pixels that the network gets: the picture, and what covers it. */
import { el, onFrame } from "../../lib/dom";
import { coverage, type Shape } from "../../lib/form";
import { type Extent, extent, type Position } from "../../lib/geometry";
import type { View } from "../../seam";
import type { OccluderState } from "./state";

/** The canvas of a picture; `frame`, around it, takes its proportions. */
export function pictureCanvas({ store }: View<OccluderState>, frame: HTMLElement): HTMLElement {
  const canvas = el("canvas.cs-picture__canvas");
  const covered = remembered();
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
    const [filling, patch] = [store.get("filling"), store.get("patch")];
    if (filling && filling.width === width && filling.height === height) {
      const size = extent(store.get("size"));
      const mask = covered(store.get("shape"), size);
      put(pixels, width, store.get("position"), size, mask, (row, column) => [
        filling.pixels,
        row * width + column,
      ]);
    } else if (patch) {
      // What the network saw last, where it saw it: what is shown at the next place is not known yet.
      const [top, left] = patch.position;
      put(pixels, width, patch.position, patch.size, null, (row, column) => [
        patch.pixels,
        (row - top) * patch.size[1] + column - left,
      ]);
    }
    canvas.getContext("2d")?.putImageData(new ImageData(pixels, width, height), 0, 0);
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

/** Where the colour of a pixel comes from: RGBA pixels, and which of them. */
type Source = (row: number, column: number) => [Uint8ClampedArray, number];

/** Write a box of another picture's pixels over a picture's, where the box is covered (null: everywhere). */
function put(
  pixels: Uint8ClampedArray,
  width: number,
  [top, left]: Position,
  [high, wide]: Extent,
  covered: Uint8Array | null,
  source: Source,
): void {
  for (let row = 0, at = 0; row < high; row++) {
    for (let column = 0; column < wide; column++, at++) {
      if (covered && !covered[at]) continue;
      const [from, index] = source(top + row, left + column);
      pixels.set(from.subarray(index * 4, index * 4 + 3), ((top + row) * width + left + column) * 4);
    }
  }
}
