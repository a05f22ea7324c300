/** What is asked of the kernel while the slider moves: the picture there, and all of them small. */
import { photoOf } from "../../lib/photo";
import type { Session } from "../../seam";
import { takeThumbnails } from "../shared/thumbnails";
import type { InvarianceState, Moved } from "./state";

export function linkInvariance(session: Session<InvarianceState>): void {
  const { store, kernel } = session;
  kernel.answers("moved", (answer, [rgb]) =>
    store.set({ moved: { ...(answer as unknown as Moved), ...photoOf(answer, rgb) } }),
  );
  takeThumbnails(session);
  const now = () => ({
    transform: store.get("transform"),
    value: store.get("value"),
    fill: store.get("fill"),
  });
  store.watch(["transform", "value", "fill", "picture", "_pictures", "_revision"], () => {
    if (store.get("transform")) kernel.ask("moved", { ...now(), picture: store.get("picture") });
  });
  store.watch(["transform", "value", "fill", "_pictures", "_revision"], () => {
    if (store.get("transform")) kernel.ask("thumbnails", now());
  });
}
