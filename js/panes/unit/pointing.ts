/** Patches hold still under the pointer, where a click on one does something. */
import { on, onEnd, within } from "../../lib/dom";
import type { View } from "../../seam";
import type { UnitState } from "./state";

/** Note whether a person points at patches in a part, or goes through them by keys. */
export function notePointing({ store, signal }: View<UnitState>, part: HTMLElement): void {
  const held = { pointer: false, keys: false };
  const listen = (type: keyof HTMLElementEventMap, by: "pointer" | "keys", holds: string) =>
    on(part, type, (event) => {
      held[by] = !!holds && within(event, holds) !== null;
      store.set({ pointing: held.pointer || held.keys });
    });
  listen("pointerover", "pointer", ".cs-patches");
  listen("pointerleave", "pointer", "");
  listen("focusin", "keys", ".cs-patch:focus-visible");
  listen("focusout", "keys", "");
  onEnd(signal, () => store.set({ pointing: false }));
}
