/** What the occlusion maps ask of the kernel, and when. */
import { floats, int32s } from "../../lib/buffers";
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
    store.set({ maps, cell: cell && cell[0] < maps.rows && cell[1] < maps.columns ? cell : null });
  });
  kernel.answers("compute", () => {});
  store.watch(["_map", ...SETTING, "stride", "layer", "channel", "target"], () =>
    kernel.ask("map", {
      ...setting(store),
      stride: store.get("stride"),
      layer: store.get("layer"),
      channel: store.get("channel"),
      target: store.get("target"),
    }),
  );
}

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
