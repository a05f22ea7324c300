/** One exemplar: in words, and where it lies in its picture. */
import { cutOff } from "../../lib/format";
import { clamp, type Extent } from "../../lib/geometry";
import type { Exemplar } from "./state";

/** Where few pictures excite a unit, its top fills up with zeros of a rectifier: their place means nothing. */
export function isInactive(exemplar: Exemplar): boolean {
  return exemplar.value === 0;
}

export function describe(exemplar: Exemplar): string {
  const what = exemplar.label ?? exemplar.name;
  if (isInactive(exemplar)) return `inactive · ${what}`;
  return `${cutOff(exemplar.value, exemplar.before)} · ${what} · row ${exemplar.row}, column ${exemplar.column}`;
}

/** Put a ring where a unit lies whose receptive field is larger than the picture: at the middle of the field. */
export function putAtMiddle(ring: HTMLElement, { box }: Exemplar, [height, width]: Extent): void {
  const [top, left, bottom, right] = box;
  ring.style.top = `${clamp((50 * (top + bottom)) / height, 4, 96)}%`;
  ring.style.left = `${clamp((50 * (left + right)) / width, 4, 96)}%`;
}
