/** What the occlusion maps ask of the kernel, and when. */
import { floats, int32s } from "../../lib/buffers";
import type { Store } from "../../lib/store";
import type { Session, View } from "../../seam";
import { SETTING, setting } from "../occluder/state";
import type { Work } from "../shared/work";
import type { MapState, Maps } from "./state";

export function linkMaps({ store, kernel }: Session<MapState>): void {
  kernel.answers("map", (answer, [probability, activity, label]) => {
    // Nothing yet for these settings: the maps before them stay until there is.
    if (!answer.rows) return;
    const told = answer as unknown as Maps;
    const maps = {
      ...told,
      // What is no number comes as null.
      clean: {
        ...told.clean,
        probability: told.clean.probability ?? Number.NaN,
        activity: told.layer === null ? null : (told.clean.activity ?? Number.NaN),
      },
      probability: floats(probability),
      activity: floats(activity),
      label: int32s(label),
    };
    const cell = store.get("cell");
    store.set({
      maps,
      mapped: String(answer.at),
      cell: cell && cell[0] < maps.rows && cell[1] < maps.columns ? cell : null,
    });
  });
  kernel.answers("compute", () => {});
  store.watch(["_map", ...MAPPED], () => kernel.ask("map", { ...asked(store), at: mapKey(store) }));
}

/** What maps are of. */
export const MAPPED = [...SETTING, "stride", "layer", "channel", "target"] as const;

const asked = (store: Store<MapState>) => ({
  ...setting(store),
  stride: store.get("stride"),
  layer: store.get("layer"),
  channel: store.get("channel"),
  target: store.get("target"),
});

/** Tells maps of one setting from those of another; the kernel repeats it with its answer. */
export const mapKey = (store: Store<MapState>): string =>
  JSON.stringify([asked(store), store.get("_revision")]);

export const mapWork = ({ store, kernel }: View<MapState>): Work => ({
  label: "Map",
  noun: "map",
  begins: "map begins",
  progress: () => store.get("_map"),
  onChange: (run) => store.onChange(["_map"], run),
  whole: (done) => `map of ${done} places`,
  resume: () =>
    kernel.ask("compute", { ...setting(store), stride: store.get("stride"), layer: store.get("layer") }),
});
