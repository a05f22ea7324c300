/** What is said while a kernel is there, and answers nobody: it may be busy, or another than the one that knew this. */
const BUSY = "The kernel has not answered yet: it may be busy with a cell, and answers when that ends";
export const QUEUED = `${BUSY}.`;
/** Where the host does not tell whether it is there. */
export const QUEUED_OR_GONE = `${BUSY}, or it is gone. If this stays, run the cell again.`;
export const SAVED = "This page was saved without a kernel: open its notebook and run the cell to do this.";

/** Without a kernel an instrument says so, takes no clicks, and shows what there was when it was last displayed. */
import { el, is, putOver, text } from "../lib/dom";
import type { View } from "../seam";
import { UNANSWERED } from "./presence";

export function showAbsence(view: View<object>, outer: HTMLElement, root: HTMLElement): void {
  const { store } = view;
  const said = el("p.cs-absent", { role: "alert", tabindex: -1, hidden: true });
  const still = el("img.cs-still", { alt: "As it stood when it was last displayed", hidden: true });
  const wait = el("p.cs-queued", { role: "status", hidden: true });
  // Over the instrument's first line, so that nothing moves.
  outer.prepend(el("div.cs-over", said, wait), still);
  store.watch(["absent", "queued", "told"], () => {
    text(wait, store.get("told") ? QUEUED : QUEUED_OR_GONE);
    wait.hidden = !store.get("queued") || store.get("absent") !== null;
  });
  store.follow("beside", (beside) => {
    root.dataset.beside = String(beside);
  });
  store.follow("offline", (offline) => {
    is(outer, "saved", offline);
    for (const one of root.querySelectorAll<HTMLElement>(".cs-asks")) one.inert = offline;
  });
  store.watch(["absent", "unheard", "offline"], () => {
    const absent = store.get("absent");
    said.hidden = absent === null;
    text(said, absent ?? "");
    root.inert = absent !== null;
    is(root, "still", root.inert || store.get("offline"));
    // What the panes would draw has to be asked of a kernel; that of a kernel that has gone is there.
    const picture =
      UNANSWERED.includes(absent) || (absent === null && store.get("unheard")) ? store.get("_still") : "";
    if (picture) still.src = `data:image/png;base64,${picture}`;
    still.hidden = picture === "";
    root.hidden = picture !== "";
  });
  tellWhere(view, outer, root);
}

/** What takes no clicks on a saved page. */
const SHUT = ":disabled, [inert], [data-asks]";

/** Where a person asks for what cannot be done, it is said what to do, until the next is done. */
function tellWhere({ store, signal }: View<object>, outer: HTMLElement, root: HTMLElement): void {
  const tip = outer.appendChild(el("p.cs-complaint.cs-refusal", { role: "status", hidden: true }));
  let at: readonly [x: number, y: number] | null = null;
  const tell = () => {
    if (!at) return; // nobody has asked
    tip.hidden = false;
    text(tip, store.get("absent") ?? SAVED);
    putOver(tip, outer, at[0], at[1] + 12);
  };
  const begins = (x: number, y: number) => {
    at = [x, y];
    tip.hidden = true;
  };
  const isAt = (one: Element, { clientX: x, clientY: y }: MouseEvent) =>
    [...one.getClientRects()].some((box) => box.left <= x && x < box.right && box.top <= y && y < box.bottom);
  const options = { signal, capture: true };
  const press = (event: PointerEvent) => {
    begins(event.clientX, event.clientY);
    const shut = root.inert ? [root] : store.get("offline") ? [...root.querySelectorAll(SHUT)] : [];
    if (shut.some((one) => isAt(one, event))) tell();
  };
  outer.addEventListener("pointerdown", press, options);
  const key = ({ target }: KeyboardEvent) => {
    const { left, bottom } = (target as Element).getBoundingClientRect();
    begins(left, bottom);
  };
  outer.addEventListener("keydown", key, options);
  store.onChange(["refused"], tell);
}
