/** What is asked of the kernel: whether units of the layer that is looked at can be silenced. */
import type { Session } from "../../seam";
import type { SilenceState } from "./state";

export function linkSilence({ store, kernel }: Session<SilenceState>): void {
  kernel.answers("silenceable", ({ layer, refused }) =>
    store.set({ silenceable: { layer: String(layer), refused: refused === null ? null : String(refused) } }),
  );
  store.follow("layer", (layer) => void (layer && kernel.ask("silenceable", { layer })));
}
