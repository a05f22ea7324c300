/** What is asked of the kernel while a unit is looked at large: its map, and the fields of the place that is pointed at. */
import { floats } from "../../lib/buffers";
import type { Session } from "../../seam";
import { setting } from "../occluder/state";
import type { Detail, DetailState } from "./state";

export function linkDetail({ store, kernel }: Session<DetailState>): void {
  kernel.answers("detail", (answer, [values]) => {
    const detail = { ...(answer as unknown as Detail), values: floats(values) };
    store.set({ detail });
  });
  store.watch(["enlarged", "pointed", "frame", "layer", "selected"], () => {
    const [frame, selected, pointed] = [store.get("frame"), store.get("selected"), store.get("pointed")];
    if (!store.get("enlarged") || !frame || selected === null) return;
    // A saved page knows the fields of the strongest place.
    if (pointed && store.get("offline")) return;
    const [row, column] = pointed ?? [null, null];
    kernel.ask("detail", {
      ...setting(store),
      position: frame.position,
      layer: store.get("layer"),
      channel: selected,
      row,
      column,
    });
  });
}
