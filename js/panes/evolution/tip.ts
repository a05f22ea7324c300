/** The cell under the pointer in words, beside it. */
import { el, text } from "../../lib/dom";
import { clamp } from "../../lib/geometry";
import type { View } from "../../seam";
import type { Arranged } from "./arrangement";
import { left, top } from "./layout";
import type { EvolutionState } from "./state";
import { cellText } from "./words";

export function cellTip(
  { store }: View<EvolutionState>,
  arranged: Arranged,
  scroller: HTMLElement,
): HTMLElement {
  const tip = el("div.cs-tip", { role: "tooltip", hidden: true });
  store.watch(["pointed", "come", "winners"], () => {
    const pointed = store.get("pointed");
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
  });
  return tip;
}
