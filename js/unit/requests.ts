/** What the unit panel asks of the kernel, and when. */
import { bytes } from "../lib/kernel";
import { photoOf, setting } from "../occluder/requests";
import type { Session } from "../session";
import type { Exemplar, Here, Method, Unit, Weaker } from "../state";

function cut(all: Uint8Array, count: number, side: number): Uint8Array[] {
  const step = side * side * 3;
  return Array.from({ length: count }, (_, index) => all.subarray(index * step, (index + 1) * step));
}

/** The top exemplars and, after them, the weaker ones: what `exemplar` counts. */
export function exemplarsOf(unit: Unit | null, weaker: Weaker | null): Exemplar[] {
  const mine = unit && weaker && weaker.layer === unit.layer && weaker.channel === unit.channel;
  return [...(unit?.exemplars ?? []), ...(mine ? weaker.exemplars : [])];
}

export function linkUnit({ store, kernel, signal }: Session): void {
  kernel.answers("unit", (answer, [crops]) => {
    const exemplars = answer.exemplars as Exemplar[];
    const side = answer.side as number;
    const unit: Unit = {
      layer: answer.layer as string,
      channel: answer.channel as number,
      exemplars,
      side,
      crops: cut(bytes(crops), exemplars.length, side),
      counts: answer.counts as number[],
      edges: answer.edges as number[],
      images: answer.images as number,
      share: answer.share as number,
      purity: answer.purity as Unit["purity"],
      classes: answer.classes as Unit["classes"],
      similar: answer.similar as Unit["similar"],
    };
    store.set({ unit });
  });
  kernel.answers("weaker", (answer, [crops]) => {
    const exemplars = answer.exemplars as Exemplar[];
    const side = answer.side as number;
    store.set({
      weaker: {
        layer: answer.layer as string,
        channel: answer.channel as number,
        exemplars,
        side,
        crops: cut(bytes(crops), exemplars.length, side),
      },
    });
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
  // These last: they take a forward pass each.
  store.watch(
    ["unit"],
    () => {
      const unit = store.get("unit");
      if (!unit) return store.set({ weaker: null });
      kernel.ask("weaker", { layer: unit.layer, channel: unit.channel });
    },
    signal,
  );
  // The whole picture of the exemplar under the pointer, or of the first.
  store.watch(
    ["unit", "exemplar"],
    () => {
      const shown = exemplarsOf(store.get("unit"), store.get("weaker"));
      const image = shown[store.get("exemplar") ?? 0]?.image;
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
