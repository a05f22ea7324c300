/** Which picture it is. */
import { el, text } from "../../lib/dom";
import type { View } from "../../seam";
import type { PicturesSlice } from "../shared/pictures";

export function pictureHeading({ store }: View<PicturesSlice>, root: HTMLElement): void {
  const name = el("span.cs-heading__name");
  root.append(el("h3.cs-heading", "Picture", name));
  store.watch(["picture", "_pictures"], () =>
    text(name, store.get("_pictures")[store.get("picture")]?.name ?? ""),
  );
}
