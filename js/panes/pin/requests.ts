/** What is asked of the kernel about what is pinned: how it stands on the picture, and without silenced units. */
import type { Session } from "../../seam";
import { setting } from "../occluder/state";
import { pictureKey } from "../shared/pictures";
import { isSurveyed } from "../shared/survey";
import { type Of, type Projections, projectionsIn, sameUnit, type Unit, unitIn } from "../unit/state";
import type { PinnedClasses, PinnedValue, PinState } from "./state";

export function linkPin({ store, kernel }: Session<PinState>): void {
  kernel.answers("pinned_unit", (answer) => store.set({ pinnedValue: answer as unknown as PinnedValue }));
  kernel.answers("pinned_picture", (answer) =>
    store.set({ pinnedClasses: answer as unknown as PinnedClasses }),
  );
  // What is known of a unit when it is pinned, or comes to be known.
  const know = (unit: Unit | null, projections: Projections | null) => {
    const [pinned, pinning] = [store.get("pinned"), store.get("pinning")];
    const begins = unit !== null && pinning?.layer === unit.layer && pinning.channel === unit.channel;
    const known = !begins && pinned && unit && sameUnit(pinned.unit, unit) ? pinned.projections : null;
    if (!unit || !(begins || (pinned && sameUnit(pinned.unit, unit)))) return;
    store.set({
      pinned: { unit, projections: projections && sameUnit(unit, projections) ? projections : known },
      pinning: begins ? null : pinning,
    });
  };
  store.onChange(["unit", "projections", "pinning"], () => know(store.get("unit"), store.get("projections")));
  // Of the unit that is looked at all comes anyway; of one that was left before, by these.
  kernel.answers("pinning", (answer, buffers) => know(unitIn(answer, buffers), null));
  kernel.answers("pinned_projections", (answer, buffers) =>
    know(store.get("pinned")?.unit ?? null, projectionsIn(answer, buffers)),
  );
  const asker = (kind: string, further: () => object) => {
    let asked = "";
    return (of: Omit<Of, "checkpoint"> | null | undefined) => {
      if (!of) asked = "";
      if (!of || store.get("offline") || !isSurveyed(store)) return;
      const { layer, channel } = of;
      const unit = `${layer}/${channel}`;
      if (asked === unit || (layer === store.get("layer") && channel === store.get("selected"))) return;
      asked = unit;
      kernel.ask(kind, { layer, channel, ...further() });
    };
  };
  const askUnit = asker("pinning", () => ({}));
  const askProjections = asker("pinned_projections", () => ({
    method: store.get("method"),
    crop: store.get("crop"),
  }));
  store.watch(["pinning", "pinned", "layer", "selected", "_survey"], () => {
    const pinned = store.get("pinned");
    askUnit(store.get("pinning"));
    askProjections(pinned?.projections ? null : pinned?.unit);
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
