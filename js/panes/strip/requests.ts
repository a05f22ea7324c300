/** What the strip asks of the kernel: thumbnails, all at once. */
import type { Session } from "../../seam";
import { takeThumbnails } from "../shared/thumbnails";
import type { StripState } from "./state";

export function linkStrip(session: Session<StripState>): void {
  takeThumbnails(session);
  session.store.watch(["_pictures"], () => session.kernel.ask("thumbnails", {}));
}
