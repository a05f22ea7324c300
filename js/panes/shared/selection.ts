/** Which unit of the layer is looked at, which of the pictures that excite it, and how it is projected. */
import type { Store } from "../../lib/store";
import type { Slice } from "../../seam";

export type Method = "deconvnet" | "guided_backprop" | "gradient";

export interface SelectionSlice {
  selected: number | null;
  /** Index of the exemplar whose picture is shown whole; null for the first. */
  exemplar: number | null;
  method: Method;
}

export const selectionSlice: Slice<SelectionSlice> = {
  initial: { selected: null, exemplar: null, method: "deconvnet" },
  writes: ["selected", "method"],
};

/** Look at another unit of the layer, first at its first exemplar. */
export function chooseUnit(store: Store<SelectionSlice>, selected: number): void {
  store.set({ selected, exemplar: null });
}
