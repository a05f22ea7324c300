/** What the unit panel asks of the kernel, and when. */
import { bytes } from "../lib/kernel";
import { photoOf, setting } from "../occluder/requests";
import type { Session } from "../session";
import type { Exemplar, Here, Method, Unit } from "../state";

export function linkUnit({ store, kernel, signal }: Session): void {
  kernel.answers("unit", (answer, [crops]) => {
    const exemplars = answer.exemplars as Exemplar[];
    const side = answer.side as number;
    const all = bytes(crops);
    const step = side * side * 3;
    const unit: Unit = {
      layer: answer.layer as string,
      channel: answer.channel as number,
      exemplars,
      side,
      crops: exemplars.map((_, index) => all.subarray(index * step, (index + 1) * step)),
      counts: answer.counts as number[],
      edges: answer.edges as number[],
      images: answer.images as number,
      share: answer.share as number,
    };
    store.set({ unit });
  });
  kernel.answers("projections", (answer, [shades]) => {
    const side = answer.side as number;
    const peaks = answer.peaks as number[];
    const all = new Int8Array(bytes(shades).slice().buffer);
    const step = side * side * 3;
    store.set({
      projections: {
        layer: answer.layer as string,
        channel: answer.channel as number,
        method: answer.method as Method,
        side,
        tiles: peaks.map((_, index) => all.subarray(index * step, (index + 1) * step)),
        peaks,
      },
    });
  });
  kernel.answers("whole", (answer, [rgb]) => store.set({ context: photoOf(answer, rgb) }));

  store.watch(
    ["layer", "selected", "_survey"],
    () => {
      const selected = store.get("selected");
      if (selected === null || store.get("_survey").revision === 0) return store.set({ unit: null });
      kernel.ask("unit", { layer: store.get("layer"), channel: selected });
    },
    signal,
  );
  // After the crops, which are there at once.
  store.watch(
    ["unit", "method"],
    () => {
      const unit = store.get("unit");
      if (!unit) return store.set({ projections: null });
      kernel.ask("projections", { layer: unit.layer, channel: unit.channel, method: store.get("method") });
    },
    signal,
  );
  // The whole picture of the exemplar under the pointer, or of the first.
  store.watch(
    ["unit", "exemplar"],
    () => {
      const image = store.get("unit")?.exemplars[store.get("exemplar") ?? 0]?.image;
      if (image !== undefined && store.get("context")?.picture !== image)
        kernel.ask("whole", { picture: image });
    },
    signal,
  );
}

/** A projection of the current picture that takes longer than this waits until the drag rests, ms. */
const QUICK = 60;

/** What the selected unit picks out of the current picture, as the occluder moves. */
export function linkHere({ store, kernel, signal }: Session): void {
  let asked = 0;
  let took = 0;
  kernel.answers("here", (answer, [shades]) => {
    took = performance.now() - asked;
    store.set({
      here: { ...(answer as unknown as Here), shades: new Int8Array(bytes(shades).slice().buffer) },
    });
  });
  store.watch(
    ["frame", "dragging", "layer", "selected", "method"],
    () => {
      const [frame, selected] = [store.get("frame"), store.get("selected")];
      if (!frame || selected === null) return store.set({ here: null });
      // The probabilities go first: a drag must not wait for projections.
      if (store.get("dragging") && took > QUICK) return;
      asked = performance.now();
      kernel.ask("here", {
        ...setting(store),
        position: frame.position,
        layer: store.get("layer"),
        channel: selected,
        method: store.get("method"),
      });
    },
    signal,
  );
}
