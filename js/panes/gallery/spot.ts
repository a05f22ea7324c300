/** Looking at a place: it is marked on all maps of the row, and their values there are shown. */
import { el, shareAt } from "../../lib/dom";
import { clamp } from "../../lib/geometry";
import type { Store } from "../../lib/store";
import type { GalleryState } from "./state";
import { keyOf, valuesAt } from "./tiles";
import { placeText, valueText } from "./words";

/** The mark that a picture or a map has for it. */
export const spotMark = (): HTMLElement => el("i.cs-spot", { hidden: true });

/** Put a mark at a place, or away. */
export function putMark(mark: HTMLElement, at: readonly [number, number] | null): void {
  mark.hidden = !at;
  if (!at) return;
  mark.style.top = `${100 * at[0]}%`;
  mark.style.left = `${100 * at[1]}%`;
}

/** Look where the pointer is on a picture or a map of a row. */
export function lookAt(
  store: Store<GalleryState>,
  frame: HTMLElement,
  row: number,
  event: PointerEvent,
): void {
  const at = shareAt(frame, event);
  store.set({ spot: at.every((share) => share >= 0 && share < 1) ? { row, at } : null });
}

/** The place of a row that is looked at. */
export function spotOf(store: Store<GalleryState>, row: number): readonly [number, number] | null {
  const spot = store.get("spot");
  return spot?.row === row ? spot.at : null;
}

/** What goes on with a key while Shift is down: row and column. */
const STEPS: Record<string, [down: number, across: number]> = {
  ArrowUp: [-1, 0],
  ArrowDown: [1, 0],
  ArrowLeft: [0, -1],
  ArrowRight: [0, 1],
};

/** As a share of the picture. */
const STEP = 1 / 32;

/**
 * Look at a neighbouring place of a row, from its middle; what a method's map says there in words. Null for a key that is
 * for something else.
 */
export function lookByKeys(
  store: Store<GalleryState>,
  row: number,
  method: string,
  { key, shiftKey }: KeyboardEvent,
): string | null {
  const step = STEPS[key];
  const picture = store.get("rows")[row];
  if (!shiftKey || !step || !picture) return null;
  const [down, across] = spotOf(store, row) ?? [0.5, 0.5];
  const moved = (from: number, by: number) => clamp(from + by * STEP, 0, 1 - STEP / 2);
  const at: [number, number] = [moved(down, step[0]), moved(across, step[1])];
  store.set({ spot: { row, at } });
  const map = store.get("tiles").get(keyOf(row, method, false))?.map;
  return `${placeText(at, picture)}${map ? `: ${valueText(valuesAt(map, at))}` : ""}`;
}
