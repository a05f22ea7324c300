/** The unit under the pointer in words, beside its tile; by keys that which is chosen. */
import { place } from "../../lib/atlas";
import { el, on, text } from "../../lib/dom";
import { clamp } from "../../lib/geometry";
import type { View } from "../../seam";
import { type Arranged, indexOf } from "./arrangement";
import type { GridState } from "./state";
import { unitText } from "./words";

export function unitTip({ store }: View<GridState>, arranged: Arranged, scroller: HTMLElement): HTMLElement {
  const tip = el("div.cs-tip", { role: "tooltip", hidden: true });
  const show = () => {
    const byKeys = scroller.matches(":focus-visible") ? store.get("selected") : null;
    const channel = store.get("hovered") ?? byKeys;
    const index = indexOf(arranged, channel);
    tip.hidden = index < 0;
    if (channel === null || index < 0) return;
    text(tip, unitText(store, channel));
    const layout = arranged.get("layout");
    const { x, y } = place(layout, index);
    const beside = x + layout.tile + 6;
    const top = y - scroller.scrollTop;
    const flips = beside + tip.offsetWidth > arranged.get("width");
    tip.style.left = `${flips ? Math.max(0, x - tip.offsetWidth - 6) : beside}px`;
    tip.style.top = `${clamp(top, 0, Math.max(0, scroller.clientHeight - tip.offsetHeight))}px`;
  };
  store.watch(["hovered", "selected", "grid", "health"], show);
  arranged.onChange(["layout"], show);
  for (const type of ["focus", "blur", "scroll"] as const) on(scroller, type, show);
  return tip;
}
