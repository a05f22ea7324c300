/** The picture, moved, and what the network says of it. */
import { el, onFrame, text } from "../../lib/dom";
import { probability } from "../../lib/format";
import { show } from "../../lib/photo";
import type { View } from "../../seam";
import { showAwaited } from "../shared/awaited";
import type { InvarianceState } from "./state";

export function movedPicture(view: View<InvarianceState>, root: HTMLElement): void {
  const { store } = view;
  const canvas = el("canvas.cs-picture__canvas");
  const frame = el("div.cs-picture.cs-picture--moved", canvas);
  const name = el("span.cs-heading__name");
  const words = el("p.cs-moved", { role: "status" });
  root.append(el("h3.cs-heading", "Picture", name), frame, words);
  const paint = onFrame(() => {
    const moved = store.get("moved");
    if (!moved) return;
    show(canvas, moved.pixels, moved.width, moved.height);
    frame.style.aspectRatio = `${moved.width} / ${moved.height}`;
  });
  store.watch(["moved"], () => {
    paint();
    const moved = store.get("moved");
    if (!moved) return;
    const same = moved.top === moved.label;
    text(
      words,
      `${moved.label} ${probability(moved.now)}, ${probability(moved.before)} as it is` +
        (same ? "" : ` · now ${moved.top} ${probability(moved.best)}`),
    );
    words.classList.toggle("cs-moved--other", !same);
  });
  store.watch(["picture", "_pictures"], () => {
    const found = store.get("_pictures")[store.get("picture")];
    text(name, found ? found.name : "");
  });
  showAwaited(view, frame, "moved", ["slow", "moved"], () => {
    if (!store.get("moved")) return "loading";
    return store.get("slow").includes("moved") ? "stale" : "";
  });
}
