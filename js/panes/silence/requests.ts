/** What is asked of the kernel: whether units of the layer that is looked at can be silenced, and what that does. */
import type { Session } from "../../seam";
import { asked, type OccluderState } from "../occluder/state";
import type { SilenceState } from "./state";

export function linkSilence({ store, kernel }: Session<SilenceState & OccluderState>): void {
  kernel.answers("silenceable", ({ layer, refused }) =>
    store.set({ silenceable: { layer: String(layer), refused: refused === null ? null : String(refused) } }),
  );
  // What it does at a place is said only where a drag ends.
  store.onChange(["dragging"], () => {
    if (!store.get("dragging") && store.get("silenced").length > 0) kernel.ask("occlude", asked(store));
  });
  store.follow("layer", (layer) => void (layer && kernel.ask("silenceable", { layer })));
}
