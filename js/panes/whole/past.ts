/** Back and forward through what was looked at: layer, unit and picture. */
import { el, on } from "../../lib/dom";
import { same } from "../../lib/store";
import type { View } from "../../seam";
import type { NetworkSlice } from "../shared/network";
import type { PicturesSlice } from "../shared/pictures";
import type { SelectionSlice } from "../shared/selection";

/** Layer, unit, picture. */
type Place = [string, number, number];

/** Places that are kept. */
const KEPT = 200;

export function pastButtons({ store }: View<NetworkSlice & SelectionSlice & PicturesSlice>): HTMLElement {
  const back = el(
    "button.cs-button",
    { title: "Back to what was looked at before", "aria-label": "Back" },
    "‹",
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
    const [layer, selected, picture] = place;
    store.set({
      layer,
      selected,
      exemplar: null,
      // There may be fewer pictures by now.
      picture: picture < store.get("_pictures").length ? picture : store.get("picture"),
    });
    show();
  };
  store.watch(["layer", "selected", "picture"], () => {
    const selected = store.get("selected");
    // A layer is about to open on a unit.
    if (selected === null) return;
    const place: Place = [store.get("layer"), selected, store.get("picture")];
    if (same(place, places[at])) return;
    places = [...places.slice(0, at + 1), place].slice(-KEPT);
    at = places.length - 1;
    show();
  });
  show();
  on(back, "click", () => go(-1));
  on(forward, "click", () => go(1));
  const group = el("span.cs-zoom", { role: "group", "aria-label": "What was looked at" }, back, forward);
  store.follow("offline", (offline) => {
    group.hidden = offline;
  });
  return group;
}
