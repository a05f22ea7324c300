/** What the selected unit picks out of the current picture, at its place. */
import { signedRgba } from "../../lib/atlas";
import { el, is, onFrame, text } from "../../lib/dom";
import { cutOff, inTwoLines } from "../../lib/format";
import { show } from "../../lib/photo";
import type { View } from "../../seam";
import { layerOf } from "../shared/network";
import type { HereState } from "./state";

/** `silenced`: whether the unit is held at zero. */
export function herePane(
  { store }: View<HereState>,
  root: HTMLElement,
  silenced: () => boolean = () => false,
): void {
  const canvas = el("canvas.cs-context__canvas");
  const caption = el("p.cs-context__caption");
  const frame = el("div.cs-context__frame", canvas);
  const figure = el(
    "figure.cs-context",

    el("h3.cs-heading", "On this picture"),
    frame,
    el("figcaption", caption),
  );
  root.append(figure);
  const paint = onFrame(() => {
    const [found, photo] = [store.get("here"), store.get("photo")];
    if (!found || !photo || found.picture !== photo.picture) return;
    const faint = new Uint8ClampedArray(photo.pixels);
    // Mid-grey, the projection's zero, with a trace of the picture: one sees where the field lies.
    for (let at = 0; at < faint.length; at++) {
      if (at % 4 !== 3) faint[at] = 128 + 0.3 * ((faint[at] ?? 0) - 128);
    }
    show(canvas, faint, photo.width, photo.height);
    const [top, left, bottom, right] = found.box;
    if (bottom <= top || right <= left) return;
    const shades = new ImageData(signedRgba(found.shades, 1), right - left, bottom - top);
    canvas.getContext("2d")?.putImageData(shades, left, top);
  });
  store.follow("_network", ({ size: [height, width] }) => {
    frame.style.aspectRatio = `${width} / ${height}`;
  });
  store.watch(["here", "photo", "layer", "selected", "offline", "errors"], () => {
    const found = store.get("here");
    const current = found && found.layer === store.get("layer") && found.channel === store.get("selected");
    // While it is still to come there is room for it.
    figure.hidden = !found && (store.get("offline") || "here" in store.get("errors"));
    is(figure, "stale", !!found && !current);
    if (!found) return;
    caption.title = silenced()
      ? "silenced\nheld at zero by you"
      : found.value > 0 || layerOf(store)?.signed
        ? `${cutOff(found.value, found.before)} · row ${found.row}, column ${found.column}`
        : "inactive here\nnowhere above zero";
    text(caption, inTwoLines(caption.title));
    paint();
  });
}
