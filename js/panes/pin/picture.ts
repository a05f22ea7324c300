/** The pinned picture and its classes, beneath those of the one that is looked at. */
import { aria, el, on, text } from "../../lib/dom";
import { probability } from "../../lib/format";
import { show } from "../../lib/photo";
import type { View } from "../../seam";
import { pictureKey } from "../shared/pictures";
import type { PinState } from "./state";

export function pinPictureButton({ store }: View<PinState>): HTMLButtonElement {
  const pin = el("button.cs-link.cs-live", { title: "Keep this picture’s classes in sight beneath others’" });
  const here = () => pictureKey(store.get("_pictures"), store.get("picture"));
  on(pin, "click", () => store.set({ pinnedPicture: store.get("pinnedPicture") === here() ? null : here() }));
  store.watch(["pinnedPicture", "picture", "_pictures"], () => {
    const pinned = store.get("pinnedPicture") === here();
    text(pin, pinned ? "unpin" : "pin");
    aria(pin, "label", pinned ? "Unpin this picture" : "Pin this picture");
  });
  return pin;
}

/** `pin`: what takes the focus when it goes. */
export function pinnedPicture({ store }: View<PinState>, root: HTMLElement, pin: HTMLElement): void {
  const canvas = el("canvas.cs-thumbnail__canvas");
  const go = el(
    "button.cs-thumbnail",
    { title: "Go to it", "aria-label": "Go to the pinned picture" },
    canvas,
  );
  const name = el("span.cs-pinned__name");
  const unpin = el("button.cs-link", "unpin");
  const rows = el("div");
  const card = el(
    "div.cs-pinned-picture",
    { role: "group", "aria-label": "Pinned picture" },
    go,
    el("div", el("div.cs-pinned__head", el("b", "pinned"), name, unpin), rows),
  );
  root.append(card);
  on(go, "click", () => {
    const found = store.get("pinnedClasses");
    if (found) store.set({ picture: found.picture });
  });
  on(unpin, "click", () => {
    pin.focus({ preventScroll: true });
    store.set({ pinnedPicture: null });
  });
  store.watch(["pinnedPicture", "pinnedClasses", "thumbnails"], () => {
    const found = store.get("pinnedClasses");
    card.hidden = store.get("pinnedPicture") === null || !found;
    if (!found) return;
    const photo = store.get("thumbnails")[found.picture];
    canvas.hidden = !photo;
    if (photo) show(canvas, photo.pixels, photo.width, photo.height);
    text(name, found.name);
    rows.replaceChildren(
      ...found.classes.map(([label, value]) => {
        const bar = el("i");
        bar.style.width = `${100 * (value ?? 0)}%`;
        return el(
          "div.cs-pinned__class",
          bar,
          el("span", label),
          el("span", probability(value ?? Number.NaN)),
        );
      }),
    );
  });
}
