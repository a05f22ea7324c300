/** What the unit panel asks of the kernel, and when. */
import { photoOf } from "../../lib/photo";
import type { Session } from "../../seam";
import { isSurveyed } from "../shared/survey";
import { exemplarsIn, exemplarsOf, projectionsIn, sameUnit, type UnitState, unitIn } from "./state";

export function linkUnit({ store, kernel }: Session<UnitState>): void {
  kernel.answers("unit", (answer, buffers) => {
    const found = unitIn(answer, buffers);
    const shown = store.get("unit");
    // What a person points at stays where it is, so that a click is on what was seen.
    if (store.get("pointing") && shown && sameUnit(shown, found)) store.set({ newer: found });
    else store.set({ unit: found, newer: null });
  });
  store.onChange(["pointing"], () => {
    const [shown, newer] = [store.get("unit"), store.get("newer")];
    if (store.get("pointing") || !newer) return;
    store.set(shown && sameUnit(shown, newer) ? { unit: newer, newer: null } : { newer: null });
  });
  kernel.answers("weaker", (answer, [crops]) => store.set({ weaker: exemplarsIn(answer, crops) }));
  kernel.answers("projections", (answer, buffers) =>
    store.set({ projections: projectionsIn(answer, buffers) }),
  );
  kernel.answers("whole", (answer, [rgb]) => store.set({ context: photoOf(answer, rgb) }));

  let asked = "";
  store.watch(["layer", "selected", "checkpoint", "_survey"], () => {
    const [layer, channel, checkpoint] = [store.get("layer"), store.get("selected"), store.get("checkpoint")];
    // While pictures are looked through there is something new only now and then.
    const wanted = [layer, channel, checkpoint, store.get("_survey").revision].join(" ");
    if (wanted === asked) return;
    asked = wanted;
    if (channel === null || !isSurveyed(store)) return store.set({ unit: null });
    kernel.ask("unit", { layer, channel, checkpoint });
  });
  // After the crops, which are there at once.
  store.watch(["unit", "method", "crop"], () => {
    const unit = store.get("unit");
    if (!unit) return store.set({ projections: null });
    const { layer, channel, checkpoint } = unit;
    kernel.ask("projections", {
      layer,
      channel,
      checkpoint,
      method: store.get("method"),
      crop: store.get("crop"),
    });
  });
  // These last: they take a forward pass each.
  store.follow("unit", (unit) => {
    if (!unit) return store.set({ weaker: null });
    const { layer, channel, checkpoint } = unit;
    kernel.ask("weaker", { layer, channel, checkpoint });
  });
  // The whole picture of the exemplar under the pointer, or of the first.
  store.watch(["unit", "exemplar"], () => {
    const shown = exemplarsOf(store.get("unit"), store.get("weaker"));
    const image = shown[store.get("exemplar") ?? 0]?.image;
    if (image !== undefined && store.get("context")?.picture !== image)
      kernel.ask("whole", { picture: image });
  });
}
