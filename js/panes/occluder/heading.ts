/** Which picture it is. */
import { el, text } from "../../lib/dom";
import type { View } from "../../seam";
import type { OccluderState } from "./state";

/** `more`: what can be done with it. */
export function pictureHeading(
  { store }: View<OccluderState>,
  root: HTMLElement,
  ...more: HTMLElement[]
): void {
  const name = el("span.cs-heading__name");
  root.append(el("h3.cs-heading", "Picture", name, ...more));
  store.watch(["picture", "_pictures", "frame"], () => {
    const picture = store.get("_pictures")[store.get("picture")];
    const frame = store.get("frame");
    const first = frame?.picture === store.get("picture") ? frame.before : null;
    name.title = picture?.name ?? "";
    if (typeof picture?.class !== "number" || !first) return text(name, name.title);
    // Whose class is known is classified right or not.
    const verdict = first.index === picture.class ? "classified right" : `taken for ${first.label}`;
    text(name, `${picture.label}, ${verdict}`);
    name.title = `${name.title}: ${name.textContent}`;
  });
}
