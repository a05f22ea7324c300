/** Back and forward through what was looked at: layer, unit and picture. */
import { el, on } from "../../lib/dom";
import { same } from "../../lib/store";
import type { View } from "../../seam";
import type { NetworkSlice } from "../shared/network";
import { type PicturesSlice, pictureKey } from "../shared/pictures";
import type { SelectionSlice } from "../shared/selection";

/** Layer, unit, key of the picture. */
type Place = [string, number, string];

/** Places that are kept. */
const KEPT = 200;

export function pastButtons({ store }: View<NetworkSlice & SelectionSlice & PicturesSlice>): HTMLElement {
  const back = el(
    "button.cs-button",
    { title: "Back to what was looked at before", "aria-label": "Back" },
    "‹ back",
  );
  const forward = el("button.cs-button", { title: "Forward again", "aria-label": "Forward" }, "›");
  let places: Place[] = [];
  let at = -1;
  const show = () => {
    back.disabled = at <= 0;
    forward.disabled = at >= places.length - 1;
  };
  const go = (step: number) => {
    const place = places[at + step];
    if (!place) return;
    at += step;
    const [layer, selected, key] = place;
    const pictures = store.get("_pictures");
    const picture = pictures.findIndex((_, index) => pictureKey(pictures, index) === key);
    // It may be gone by now.
    store.set({ layer, selected, exemplar: null, ...(picture >= 0 && { picture }) });
    show();
  };
  store.watch(["layer", "selected", "picture"], () => {
    const selected = store.get("selected");
    // A layer is about to open on a unit.
    if (selected === null) return;
    const picture = pictureKey(store.get("_pictures"), store.get("picture"));
    const place: Place = [store.get("layer"), selected, picture];
    if (same(place, places[at])) return;
    places = [...places.slice(0, at + 1), place].slice(-KEPT);
    at = places.length - 1;
    show();
  });
  show();
  on(back, "click", () => go(-1));
  on(forward, "click", () => go(1));
  return el("span.cs-zoom.cs-live", { role: "group", "aria-label": "What was looked at" }, back, forward);
}
