/** What the occlusion maps ask of the kernel, and when. */
import { bytes, floats } from "../lib/kernel";
import { SETTING, setting } from "../occluder/requests";
import type { Session } from "../session";
import type { Maps } from "../state";

export function linkMaps({ store, kernel, signal }: Session): void {
  kernel.answers("map", (answer, [probability, activity, label]) => {
    // Nothing yet for these settings: the maps before them stay until there is.
    if (!answer.rows) return;
    const maps = {
      ...(answer as unknown as Maps),
      probability: floats(probability),
      activity: floats(activity),
      label: new Int32Array(bytes(label).slice().buffer),
    };
    const cell = store.get("cell");
    store.set({ maps, cell: cell && cell[0] < maps.rows && cell[1] < maps.columns ? cell : null });
  });
  kernel.answers("compute", () => {});
  store.watch(
    ["_map", ...SETTING, "stride", "layer", "channel", "target"],
    () =>
      kernel.ask("map", {
        ...setting(store),
        stride: store.get("stride"),
        layer: store.get("layer"),
        channel: store.get("channel"),
        target: store.get("target"),
      }),
    signal,
  );
}

/** Go on with maps that were cancelled. */
export function resume({ store, kernel }: Session): void {
  kernel.ask("compute", { ...setting(store), stride: store.get("stride"), layer: store.get("layer") });
}
