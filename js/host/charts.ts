/**
 * Whether the chart that belongs beneath an instrument is there.
 *
 * It is bqplot's, whose front end is a package of its own: of another version than the kernel's, not loaded before the page
 * was, or not allowed from a CDN, it shows nothing, or the text of an error. Then the instrument draws the chart itself.
 */
import { onEnd } from "../lib/dom";
import type { Store } from "../lib/store";
import type { HostSlice } from "../seam";
import { whenPlaced } from "./placed";

/** How long a chart may take to come before it is missed, ms; and how much longer it is looked for each time. */
export const AWAITED_MS = 4000;
const GROWTH = 2;

export function watchChart(store: Store<HostSlice>, outer: HTMLElement, signal: AbortSignal): void {
  let waiting: ReturnType<typeof setTimeout> | undefined;
  whenPlaced(outer, signal, () => {
    const box = outer.closest(".cs-box");
    if (!box) return;
    const lacks = () => box.classList.contains("cs-has-chart") && box.querySelector(".bqplot") === null;
    const look = (pause: number) => {
      clearTimeout(waiting);
      if (!lacks()) store.set({ uncharted: false });
      else
        waiting = setTimeout(() => {
          store.set({ uncharted: lacks() });
          look(pause * GROWTH);
        }, pause);
    };
    const observer = new MutationObserver(() => look(AWAITED_MS));
    observer.observe(box, { attributes: true, attributeFilter: ["class"], childList: true });
    onEnd(signal, () => observer.disconnect());
    look(AWAITED_MS);
  });
  onEnd(signal, () => clearTimeout(waiting));
}
