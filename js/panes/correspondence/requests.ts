/** What is asked of the kernel: the pictures, and the masks of a part that was not clicked. */
import { rgba } from "../../lib/atlas";
import { bytes } from "../../lib/buffers";
import type { Session } from "../../seam";
import { unpacked } from "./geometry";
import type { CorrespondenceState } from "./state";

export function linkCorrespondence({ store, kernel }: Session<CorrespondenceState>): void {
  kernel.answers("views", (answer, [rgb]) => {
    const [height, width] = [answer.height as number, answer.width as number];
    const all = bytes(rgb);
    const step = 3 * height * width;
    const views: CorrespondenceState["views"] = [];
    for (const [at, picture] of (answer.pictures as number[]).entries()) {
      const pixels = rgba(all.subarray(at * step, (at + 1) * step));
      views[picture] = { picture, height, width, pixels };
    }
    store.set({ views, unread: answer.unread as CorrespondenceState["unread"] });
  });
  kernel.answers("covered", (answer, [packed]) => {
    const all = bytes(packed);
    const pixels = (answer.height as number) * (answer.width as number);
    const step = Math.ceil(pixels / 8);
    const masks = Array.from({ length: answer.count as number }, (_, picture) =>
      unpacked(all.subarray(picture * step, (picture + 1) * step), pixels),
    );
    store.set({ covered: { part: answer.part as string, masks } });
  });
  store.watch(["_pictures"], () => {
    if (store.get("_pictures").length > 0) kernel.ask("views", {});
  });
  store.follow("shown", (shown) => {
    if (shown) kernel.ask("covered", { shown });
  });
}
