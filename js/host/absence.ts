/** Without a kernel an instrument says so, takes no clicks, and shows what there was when it was last displayed. */
import { el } from "../lib/dom";
import type { View } from "../seam";
import { UNANSWERED } from "./presence";

export function showAbsence({ store }: View<object>, outer: HTMLElement, root: HTMLElement): void {
  const text = el("p.cs-absent", { role: "alert", hidden: true });
  const still = el("img.cs-still", { alt: "As it stood when it was last displayed", hidden: true });
  outer.prepend(text, still);
  store.follow("absent", (absent) => {
    text.hidden = absent === null;
    text.textContent = absent;
    root.inert = absent !== null;
    // What the panes would draw has to be asked of a kernel; that of a kernel that has gone is there.
    const picture = UNANSWERED.includes(absent) ? store.get("_still") : "";
    if (picture) still.src = `data:image/png;base64,${picture}`;
    still.hidden = picture === "";
    root.hidden = picture !== "";
  });
}
