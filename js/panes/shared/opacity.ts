/** How much maps cover the picture beneath them. */
import { captioned } from "../../lib/controls";
import { el, on } from "../../lib/dom";
import type { Store } from "../../lib/store";
import type { HostSlice } from "../../seam";

export interface OpacitySlice {
  /** 0 to 1. */
  opacity: number;
}

/** A slider; what it writes reaches the kernel when it is let go, and is drawn at once. */
export function opacityField(store: Store<OpacitySlice & HostSlice>): HTMLElement {
  const label = "Opacity of the maps over the picture";
  const opacity = el("input.cs-range", {
    type: "range",
    min: 0,
    max: 100,
    "aria-label": label,
    title: label,
  });
  on(opacity, "input", () => store.set({ dragging: true, opacity: Number(opacity.value) / 100 }));
  // Not every browser tells of a change where it is let go at the value at which it was taken.
  for (const end of ["change", "pointerup", "blur"] as const)
    on(opacity, end, () => store.set({ dragging: false }));
  store.follow("opacity", (share) => {
    opacity.value = String(Math.round(100 * share));
  });
  return captioned("opacity", opacity);
}
