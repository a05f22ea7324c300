/** What is asked of the kernel about what is pinned: how it stands on the picture, and without silenced units. */
import type { Session } from "../../seam";
import { setting } from "../occluder/state";
import { pictureKey } from "../shared/pictures";
import { sameUnit } from "../unit/state";
import type { PinnedClasses, PinnedValue, PinState } from "./state";

export function linkPin({ store, kernel }: Session<PinState>): void {
  kernel.answers("pinned_unit", (answer) => store.set({ pinnedValue: answer as unknown as PinnedValue }));
  kernel.answers("pinned_picture", (answer) =>
    store.set({ pinnedClasses: answer as unknown as PinnedClasses }),
  );
  // What is known of a unit when it is pinned, or comes to be known while it is looked at.
  store.onChange(["unit", "projections", "pinning"], () => {
    const [pinned, pinning, unit] = [store.get("pinned"), store.get("pinning"), store.get("unit")];
    const begins = unit !== null && pinning?.layer === unit.layer && pinning.channel === unit.channel;
    const known = !begins && pinned && unit && sameUnit(pinned.unit, unit) ? pinned.projections : null;
    if (!unit || !(begins || (pinned && sameUnit(pinned.unit, unit)))) return;
    const projections = store.get("projections");
    store.set({
      pinned: { unit, projections: projections && sameUnit(unit, projections) ? projections : known },
      pinning: begins ? null : pinning,
    });
  });
  store.watch(["pinned", "frame"], () => {
    const [pinned, frame] = [store.get("pinned"), store.get("frame")];
    if (!pinned) return store.set({ pinnedValue: null });
    if (!frame) return;
    const { layer, channel } = pinned.unit;
    kernel.ask("pinned_unit", { ...setting(store), position: frame.position, layer, channel });
  });
  store.watch(["pinnedPicture", "_pictures", "_revision"], () => {
    const key = store.get("pinnedPicture");
    if (key === null) return store.set({ pinnedClasses: null });
    const pictures = store.get("_pictures");
    const picture = pictures.findIndex((_, index) => pictureKey(pictures, index) === key);
    if (picture >= 0) kernel.ask("pinned_picture", { picture });
    else store.set({ pinnedPicture: null });
  });
}
