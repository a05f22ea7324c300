/** What is asked of the kernel as the occluder moves: the projection of the picture under it. */
import { int8s } from "../../lib/buffers";
import type { Session } from "../../seam";
import { setting } from "../occluder/state";
import type { Here, HereState } from "./state";

/** A projection of the current picture that takes longer than this waits until the drag rests, ms. */
const PATIENCE_MS = 60;

export function linkHere({ store, kernel }: Session<HereState>): void {
  let asked = 0;
  let took = 0;
  kernel.answers("here", (answer, [shades]) => {
    took = performance.now() - asked;
    store.set({ here: { ...(answer as unknown as Here), shades: int8s(shades) } });
  });
  store.watch(["frame", "dragging", "layer", "selected", "method"], () => {
    const [frame, selected] = [store.get("frame"), store.get("selected")];
    if (!frame || selected === null) return store.set({ here: null });
    // The probabilities go first: a drag must not wait for projections.
    if (store.get("dragging") && took > PATIENCE_MS) return;
    asked = performance.now();
    kernel.ask("here", {
      ...setting(store),
      position: frame.position,
      layer: store.get("layer"),
      channel: selected,
      method: store.get("method"),
    });
  });
}
