/** What the strip asks of the kernel: thumbnails, all at once. */
import { type Photo, photosOf } from "../../lib/photo";
import type { Session } from "../../seam";
import type { StripState } from "./state";

export function linkStrip({ store, kernel }: Session<StripState>): void {
  kernel.answers("thumbnails", (answer, [rgb]) => {
    const pictures = answer.pictures as number[];
    const thumbnails: Photo[] = [];
    photosOf(answer, rgb).forEach((photo, index) => {
      const picture = pictures[index] ?? index;
      thumbnails[picture] = { ...photo, picture };
    });
    store.set({ thumbnails, unread: (answer.unread ?? {}) as StripState["unread"] });
  });
  store.watch(["_pictures"], () => kernel.ask("thumbnails", {}));
}
