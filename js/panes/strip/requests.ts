/** What the strip asks of the kernel: all thumbnails at once. */
import { photosOf } from "../../lib/photo";
import type { Session } from "../../seam";
import type { StripState } from "./state";

export function linkStrip({ store, kernel }: Session<StripState>): void {
  kernel.answers("thumbnails", (answer, [rgb]) => store.set({ thumbnails: photosOf(answer, rgb) }));
  store.watch(["_pictures"], () => kernel.ask("thumbnails", {}));
}
