/** Exactly the pixels that the network gets: the picture, and what covers it. */
import { el, onFrame } from "../../lib/dom";
import { coverage, type Shape } from "../../lib/form";
import { type Extent, extent, type Position } from "../../lib/geometry";
import type { View } from "../../seam";
import type { OccluderState } from "./state";

/** RGBA, opaque. */
type Pixels = Uint8ClampedArray<ArrayBuffer>;

/** A picture that pixels are taken from: how wide it is, and where to begin. */
interface Source {
  pixels: Pixels;
  width: number;
  from: Position;
}

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
      const position = store.get("position");
      put(pixels, width, position, size, mask, { pixels: filling.pixels, width, from: position });
    } else if (patch) {
      // What the network saw last, where it saw it: what is shown at the next place is not known yet.
      const { position, size } = patch;
      put(pixels, width, position, size, null, { pixels: patch.pixels, width: size[1], from: [0, 0] });
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

/** Write a box of another picture's pixels over a picture's, where the box is covered (null: everywhere). */
function put(
  pixels: Pixels,
  width: number,
  [top, left]: Position,
  [high, wide]: Extent,
  covered: Uint8Array | null,
  { pixels: source, width: stride, from: [firstRow, firstColumn] }: Source,
): void {
  // A pixel at a time, not a byte.
  const [into, from] = [words(pixels), words(source)];
  for (let row = 0, at = 0; row < high; row++) {
    const to = (top + row) * width + left;
    const begin = (firstRow + row) * stride + firstColumn;
    if (!covered) into.set(from.subarray(begin, begin + wide), to);
    else
      for (let column = 0; column < wide; column++, at++)
        if (covered[at]) into[to + column] = from[begin + column] ?? 0;
  }
}

const words = ({ buffer, byteOffset, length }: Pixels): Uint32Array =>
  new Uint32Array(buffer, byteOffset, length / 4);
