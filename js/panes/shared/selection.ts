/** Which unit of the layer is looked at, and when; which of the pictures that excite it; how it is projected. */
import type { Store } from "../../lib/store";
import type { Session, Slice } from "../../seam";

export type Method = "deconvnet" | "guided_backprop" | "gradient";

export interface SelectionSlice {
  selected: number | null;
  /** Index of the exemplar whose picture is shown whole; null for the first. */
  exemplar: number | null;
  /** Which checkpoint of a training; null for the newest, and where there is only one network. */
  checkpoint: number | null;
  method: Method;
}

export const selectionSlice: Slice<SelectionSlice> = {
  initial: { selected: null, exemplar: null, checkpoint: null, method: "deconvnet" },
  writes: ["selected", "checkpoint", "method"],
  // Of all checkpoints a saved page knows the unit.
  asks: ["selected", "method"],
};

/**
 * Look at a unit that nobody has chosen, so that there is something to look at. The kernel selects it, unless another was
 * selected there meanwhile: a trait that is written here would take the place of that. A saved page has one selected.
 */
export function openOn(session: Session<SelectionSlice>, layer: string, channel: number | undefined): void {
  if (session.store.get("selected") === null && channel !== undefined)
    session.kernel.tell("open", { layer, channel });
}

/** Look at another unit of the layer, first at its first exemplar. */
export function chooseUnit(store: Store<SelectionSlice>, selected: number): void {
  store.set({ selected, exemplar: null });
}
