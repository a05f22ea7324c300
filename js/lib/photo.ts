/** Pictures as pixels. */
import { rgba } from "./atlas";
import { bytes } from "./buffers";
import { el } from "./dom";

/** RGB pixels ready for a canvas. */
export interface Photo {
  picture: number;
  height: number;
  width: number;
  pixels: Uint8ClampedArray<ArrayBuffer>;
}

/** A picture in the kernel's answer. */
export function photoOf(answer: Record<string, unknown>, buffer: DataView | undefined): Photo {
  return {
    picture: answer.picture as number,
    height: answer.height as number,
    width: answer.width as number,
    pixels: rgba(bytes(buffer)),
  };
}

/** Small square pictures in the kernel's answer, one after the other. */
export function photosOf(answer: Record<string, unknown>, buffer: DataView | undefined): Photo[] {
  const [side, count] = [answer.side as number, answer.count as number];
  const all = bytes(buffer);
  const step = side * side * 3;
  return Array.from({ length: count }, (_, picture) => ({
    picture,
    height: side,
    width: side,
    pixels: rgba(all.subarray(picture * step, (picture + 1) * step)),
  }));
}

/** Fill a canvas with pixels, one for one. */
export function show(
  canvas: HTMLCanvasElement,
  pixels: Uint8ClampedArray<ArrayBuffer>,
  width: number,
  height: number,
): void {
  canvas.width = width;
  canvas.height = height;
  canvas.getContext("2d")?.putImageData(new ImageData(pixels, width, height), 0, 0);
}

/** Pixels as something that can be drawn larger or smaller. */
export function bitmap(
  pixels: Uint8ClampedArray<ArrayBuffer>,
  width: number,
  height: number,
): HTMLCanvasElement {
  const canvas = el("canvas");
  show(canvas, pixels, width, height);
  return canvas;
}
