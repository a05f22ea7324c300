/** What is asked of the kernel about what is pinned: how it stands on the picture, and without silent units. */
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
  // What comes to be known of the pinned unit while it is looked at.
  store.onChange(["unit", "projections"], () => {
    const [pinned, unit, projections] = [store.get("pinned"), store.get("unit"), store.get("projections")];
    if (!pinned || !unit || !sameUnit(pinned.unit, unit)) return;
    const known = projections && sameUnit(unit, projections) ? projections : pinned.projections;
    store.set({ pinned: { unit, projections: known } });
  });
  // A drag does not wait for it.
  store.watch(["pinned", "frame", "dragging"], () => {
    const [pinned, frame] = [store.get("pinned"), store.get("frame")];
    if (!pinned) return store.set({ pinnedValue: null });
    if (!frame || store.get("dragging")) return;
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
