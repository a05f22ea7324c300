/** Tiles of exemplars in a list: looking at one, by pointer or keys, chooses the exemplar whose picture is shown. */
import { aria, el, focused, on, onKey, within } from "../../lib/dom";
import type { View } from "../../seam";
import type { UnitState } from "./state";

export interface TileList {
  element: HTMLElement;
  /** Show other tiles. */
  show: (tiles: HTMLElement[]) => void;
}

/** `before`: how many exemplars stand before the list's first. */
export function tileList(
  { store }: View<UnitState>,
  label: string,
  before: () => number = () => 0,
  variant = "",
): TileList {
  const element = el("div", { class: `cs-patches${variant}`, role: "listbox", "aria-label": label });
  let tiles: HTMLElement[] = [];
  const mark = () => {
    const at = (store.get("exemplar") ?? 0) - before();
    tiles.forEach((tile, index) => {
      aria(tile, "selected", index === at);
      // One of each list can be reached with Tab.
      tile.tabIndex = index === at || (index === 0 && !tiles[at]) ? 0 : -1;
    });
  };
  store.onChange(["exemplar"], mark);
  // One listener for all tiles, now and later: a listener on each would keep every patch ever shown alive.
  const look = (event: Event) => {
    const tile = within(event, ".cs-patch");
    if (tile) store.set({ exemplar: before() + tiles.indexOf(tile) });
  };
  for (const type of ["pointerover", "focusin", "click"] as const) on(element, type, look);
  onKey(element, ({ key }) => {
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 3, ArrowUp: -3 }[key];
    if (!step) return false;
    const at = tiles.indexOf(focused(element) as HTMLElement);
    tiles[Math.min(Math.max(at + step, 0), tiles.length - 1)]?.focus();
    return true;
  });
  return {
    element,
    show: (next) => {
      tiles = next;
      element.replaceChildren(...next);
      mark();
    },
  };
}
