/** Small pictures that the kernel gives, whichever pane asked for them. */
import { type Photo, photosOf } from "../../lib/photo";
import type { Session } from "../../seam";
import type { StripState } from "../strip/state";

/** Hold them by picture, and why there are none of those that cannot be read. */
export function takeThumbnails({ store, kernel }: Session<StripState>): void {
  kernel.answers("thumbnails", (answer, [rgb]) => {
    const pictures = answer.pictures as number[];
    const thumbnails: Photo[] = [];
    photosOf(answer, rgb).forEach((photo, index) => {
      const picture = pictures[index] ?? index;
      thumbnails[picture] = { ...photo, picture };
    });
    store.set({ thumbnails, unread: (answer.unread ?? {}) as StripState["unread"] });
  });
}
