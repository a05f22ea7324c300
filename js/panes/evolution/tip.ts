/** The cell under the pointer in words, beside it; by keys that which is chosen. */
import { el, on, text } from "../../lib/dom";
import { clamp } from "../../lib/geometry";
import type { View } from "../../seam";
import type { Arranged } from "./arrangement";
import { left, top } from "./layout";
import { checkpointOf, type EvolutionState, type Place } from "./state";
import { cellText } from "./words";

export function cellTip(
  { store }: View<EvolutionState>,
  arranged: Arranged,
  scroller: HTMLElement,
): HTMLElement {
  const tip = el("div.cs-tip", { role: "tooltip", hidden: true });
  const show = () => {
    const chosen: Place = [store.get("selected") ?? -1, checkpointOf(store)];
    const pointed = store.get("pointed") ?? (scroller.matches(":focus-visible") ? chosen : null);
    const row = pointed ? arranged.get("units").indexOf(pointed[0]) : -1;
    tip.hidden = row < 0;
    if (!pointed || row < 0) return;
    text(tip, cellText(store, pointed));
    const layout = arranged.get("layout");
    const x = left(layout, pointed[1]) - scroller.scrollLeft;
    const beneath = top(layout, row) - scroller.scrollTop + layout.cell + 5;
    const most = scroller.clientHeight - tip.offsetHeight;
    tip.style.left = `${clamp(x, 0, Math.max(0, scroller.clientWidth - tip.offsetWidth))}px`;
    tip.style.top = `${beneath > most ? Math.max(0, beneath - layout.cell - tip.offsetHeight - 10) : beneath}px`;
  };
  store.watch(["pointed", "selected", "checkpoint", "come", "winners"], show);
  arranged.onChange(["layout"], show);
  for (const type of ["focus", "blur", "scroll"] as const) on(scroller, type, show);
  return tip;
}
