/** What is asked of the kernel as the occluder moves: the projection of the picture under it. */
import { int8s } from "../../lib/buffers";
import type { Session } from "../../seam";
import { setting } from "../occluder/state";
import type { Here, HereState } from "./state";

/** A projection that takes the kernel longer than this waits until the hand rests, ms: half of the page's own frame. */
const PATIENCE_MS = 8;

export function linkHere({ store, kernel }: Session<HereState>): void {
  let took = PATIENCE_MS;
  kernel.answers("here", (answer, [shades]) => {
    took = answer.milliseconds as number;
    store.set({ here: { ...(answer as unknown as Here), shades: int8s(shades) } });
  });
  store.watch(["frame", "layer", "selected", "method"], () => {
    const [frame, selected] = [store.get("frame"), store.get("selected")];
    if (!frame || selected === null) return store.set({ here: null });
    kernel.ask("here", {
      ...setting(store),
      position: frame.position,
      layer: store.get("layer"),
      channel: selected,
      method: store.get("method"),
      dragging: took < PATIENCE_MS && store.get("dragging"),
    });
  });
}
