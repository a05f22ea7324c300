/** What the strip asks of the kernel: all thumbnails at once. */
import { rgba } from "../../lib/atlas";
import { bytes } from "../../lib/buffers";
import type { Photo } from "../../lib/photo";
import type { Session } from "../../seam";
import type { StripState } from "./state";

export function linkStrip({ store, kernel }: Session<StripState>): void {
  kernel.answers("thumbnails", (answer, [rgb]) => {
    const [side, count] = [answer.side as number, answer.count as number];
    const all = bytes(rgb);
    const step = side * side * 3;
    const thumbnails: Photo[] = Array.from({ length: count }, (_, picture) => ({
      picture,
      height: side,
      width: side,
      pixels: rgba(all.subarray(picture * step, (picture + 1) * step)),
    }));
    store.set({ thumbnails });
  });
  store.watch(["_pictures"], () => kernel.ask("thumbnails", {}));
}
