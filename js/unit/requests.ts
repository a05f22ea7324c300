/** What the unit panel asks of the kernel, and when. */
import { bytes } from "../lib/kernel";
import { photoOf } from "../occluder/requests";
import type { Session } from "../session";
import type { Exemplar, Unit } from "../state";

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
