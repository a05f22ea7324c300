/** The picture as the network sees it, with the occluder on it. */
import { el, errorsOf } from "../../lib/dom";
import type { View } from "../../seam";
import { showAwaited } from "../shared/awaited";
import { followPointer } from "./gestures";
import { ghost, handle } from "./handle";
import { followKeys } from "./keys";
import { pictureCanvas } from "./paint";
import { speech } from "./speech";
import type { OccluderState } from "./state";
import { trailLayer } from "./trail";

export function picturePane(view: View<OccluderState>, root: HTMLElement): void {
  const { store } = view;
  const frame = el("div.cs-picture", { "data-asks": true });
  const { occluder, grip } = handle(view);
  frame.append(pictureCanvas(view, frame), trailLayer(view), ghost(view), occluder);
  root.append(errorsOf("photo"), frame);
  const gestures = followPointer(view, frame, occluder, grip);
  followKeys(view, occluder, gestures);
  root.append(speech(view));
  showAwaited(view, frame, "photo", ["photo", "picture"], () => {
    const photo = store.get("photo");
    if (!photo) return "loading";
    return photo.picture === store.get("picture") ? "" : "stale";
  });
}
