/** Choosing a unit in the grid: by pointer and by keys. */
import { place, tileAt } from "../../lib/atlas";
import { on, onKey, withModifier } from "../../lib/dom";
import { clamp } from "../../lib/geometry";
import type { View } from "../../seam";
import { chooseUnit } from "../shared/selection";
import { type Arranged, indexOf } from "./arrangement";
import { type GridState, gridOf } from "./state";
import { zoomBy } from "./tools";

export function chooseByPointer({ store }: View<GridState>, arranged: Arranged, scroller: HTMLElement): void {
  const under = (event: MouseEvent): number | null => {
    if (!gridOf(store)) return null;
    const box = scroller.getBoundingClientRect();
    const order = arranged.get("order");
    const index = tileAt(
      arranged.get("layout"),
      order.length,
      event.clientX - box.left,
      event.clientY - box.top + scroller.scrollTop,
    );
    return index === null ? null : (order[index] ?? null);
  };
  on(scroller, "pointermove", (event) => store.set({ hovered: under(event) }));
  on(scroller, "pointerleave", () => store.set({ hovered: null }));
  // Of another layer it would be another unit.
  store.onChange(["layer"], () => store.set({ hovered: null }));
  on(scroller, "click", (event) => {
    const channel = under(event);
    if (channel !== null) chooseUnit(store, channel);
  });
}

export function chooseByKeys(
  { store }: View<GridState>,
  arranged: Arranged,
  scroller: HTMLElement,
  search: HTMLElement,
): void {
  onKey(scroller, (event) => {
    const [order, { columns, tile, gap }] = [arranged.get("order"), arranged.get("layout")];
    if (withModifier(event) || order.length === 0 || !gridOf(store)) return false;
    const page = Math.max(1, Math.floor(scroller.clientHeight / (tile + gap))) * columns;
    const steps: Record<string, number> = {
      ArrowRight: 1,
      ArrowLeft: -1,
      ArrowDown: columns,
      ArrowUp: -columns,
      PageDown: page,
      PageUp: -page,
      Home: -Infinity,
      End: Infinity,
    };
    const step = steps[event.key];
    if (step !== undefined) {
      const at = indexOf(arranged, store.get("selected"));
      // From nowhere an arrow goes to the first; Home and End go where they say.
      const wanted = at < 0 && Number.isFinite(step) ? 0 : at + step;
      const channel = order[clamp(wanted, 0, order.length - 1)];
      if (channel !== undefined) chooseUnit(store, channel);
    } else if (event.key === "+" || event.key === "=") zoomBy(arranged, 1);
    else if (event.key === "-") zoomBy(arranged, -1);
    else if (event.key === "/") search.focus();
    else return false;
    return true;
  });
}

/** Keep the selected tile in sight, whoever selected it, whatever is laid out anew, until a person scrolls it away. */
export function keepInSight(view: View<GridState>, arranged: Arranged, scroller: HTMLElement): void {
  let [away, ours] = [false, 0];
  const show = () => {
    scroller.scrollTop += hidden(view, arranged, scroller);
    [away, ours] = [false, scroller.scrollTop];
  };
  on(scroller, "scroll", () => {
    // A pixel: a browser rounds where it scrolls to.
    if (scroller.scrollTop !== ours) away = Math.abs(hidden(view, arranged, scroller)) > 1;
  });
  view.store.watch(["selected", "grid", "order"], show);
  arranged.onChange(["width", "seen"], () => {
    if (!away) show();
  });
}

/** How far the selected tile is out of sight, CSS px: negative above, 0 where all of it is seen. */
function hidden({ store }: View<GridState>, arranged: Arranged, scroller: HTMLElement): number {
  const index = indexOf(arranged, store.get("selected"));
  if (index < 0) return 0;
  const layout = arranged.get("layout");
  const above = place(layout, index).y - scroller.scrollTop;
  return above < 0 ? above : Math.max(0, above + layout.tile - scroller.clientHeight);
}
