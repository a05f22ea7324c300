/** What is said while a kernel is there, and answers nobody: it may be busy, or another than the one that knew this. */
export const QUEUED =
  "The kernel has not answered yet: it may be busy with a cell, and answers when that ends.";
/** Where the host does not tell whether it is there. */
export const QUEUED_OR_GONE =
  "The kernel has not answered yet: it may be busy, with a cell, and answers when that ends, or it is gone. " +
  "If this stays, run the cell again.";

/** Without a kernel an instrument says so, takes no clicks, and shows what there was when it was last displayed. */
import { el, is } from "../lib/dom";
import type { View } from "../seam";
import { UNANSWERED } from "./presence";

export function showAbsence({ store }: View<object>, outer: HTMLElement, root: HTMLElement): void {
  const text = el("p.cs-absent", { role: "alert", tabindex: -1, hidden: true });
  const still = el("img.cs-still", { alt: "As it stood when it was last displayed", hidden: true });
  const wait = el("p.cs-queued", { role: "status", hidden: true });
  outer.prepend(text, wait, still);
  store.watch(["absent", "queued", "told"], () => {
    wait.textContent = store.get("told") ? QUEUED : QUEUED_OR_GONE;
    wait.hidden = !store.get("queued") || store.get("absent") !== null;
  });
  store.follow("beside", (beside) => {
    root.dataset.beside = String(beside);
  });
  store.watch(["absent", "unheard", "offline"], () => {
    const absent = store.get("absent");
    text.hidden = absent === null;
    text.textContent = absent;
    root.inert = absent !== null;
    is(root, "still", root.inert || store.get("offline"));
    // What the panes would draw has to be asked of a kernel; that of a kernel that has gone is there.
    const picture =
      UNANSWERED.includes(absent) || (absent === null && store.get("unheard")) ? store.get("_still") : "";
    if (picture) still.src = `data:image/png;base64,${picture}`;
    still.hidden = picture === "";
    root.hidden = picture !== "";
  });
}
