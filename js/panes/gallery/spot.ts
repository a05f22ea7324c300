/** Looking at a place: it is marked on all maps of the row, and their values there are shown. */
import { el, shareAt } from "../../lib/dom";
import type { Store } from "../../lib/store";
import type { GalleryState } from "./state";

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
