/** Which picture it is. */
import { el, text } from "../../lib/dom";
import type { View } from "../../seam";
import { figureButtons } from "../shared/figure";
import type { OccluderState } from "./state";

/** `more`: what else can be done with it. */
export function pictureHeading(view: View<OccluderState>, root: HTMLElement, ...more: HTMLElement[]): void {
  const { store } = view;
  const name = el("span.cs-heading__name");
  const save = figureButtons(view, "occluder", "the picture and its classes");
  root.append(el("h3.cs-heading", "Picture", name, ...more, save));
  store.watch(["picture", "_pictures", "frame"], () => {
    const picture = store.get("_pictures")[store.get("picture")];
    const frame = store.get("frame");
    const first = frame?.picture === store.get("picture") ? frame.before : null;
    name.title = picture?.name ?? "";
    if (typeof picture?.class !== "number" || !first) return text(name, name.title);
    // Whose class is known is classified right or not.
    const right = first.index === picture.class;
    const verdict = right ? "classified right" : `taken for ${first.label}`;
    // The sign first: of the rest there may be room for a part only.
    text(name, `${right ? "✓" : "✗"} ${picture.label}, ${verdict}`);
    name.title = `${name.title}: ${name.textContent}`;
  });
}
