/** Patches and their projections on canvases: nothing where there is no picture. */
import { clearBeyond, rgba, signedRgba } from "../../lib/atlas";
import { show } from "../../lib/photo";
import type { Exemplars, Projections, Unit } from "../unit/state";

export function paintPatch(
  canvas: HTMLCanvasElement,
  { crops, exemplars, side }: Exemplars,
  index: number,
): void {
  const [crop, exemplar] = [crops[index], exemplars[index]];
  if (!crop || !exemplar) return;
  const pixels = rgba(crop);
  clearBeyond(new Uint32Array(pixels.buffer), side, exemplar.inside);
  show(canvas, pixels, side, side);
}

export function paintProjection(
  canvas: HTMLCanvasElement,
  { tiles, inside, side }: Projections,
  { exemplars }: Exemplars,
  index: number,
  gain = 1,
): void {
  const [shades, exemplar] = [tiles[index], exemplars[index]];
  if (!shades || !exemplar) return;
  const pixels = signedRgba(shades, gain);
  clearBeyond(new Uint32Array(pixels.buffer), side, inside[index] ?? exemplar.inside);
  show(canvas, pixels, side, side);
}

/** A unit's exemplars with patches as large as its projections are. */
export function croppedAs(unit: Unit, { crop, crops, inside }: Projections): Exemplars {
  if (crop === "field") return unit;
  const exemplars = unit.exemplars.map((exemplar, index) => ({
    ...exemplar,
    whole: false,
    inside: inside[index] ?? exemplar.inside,
  }));
  return { ...unit, exemplars, crops };
}
