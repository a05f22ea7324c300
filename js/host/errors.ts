/** Errors where they happened: in the widget, with what to do, the last good picture still in place. */
import { el, on } from "../lib/dom";
import type { KernelError, View } from "../seam";
import { dismissErrors } from "./session";

/**
 * All errors of a session, the newest first: where a pane has a place for those of a kind, and beneath the panes. What
 * several requests failed of is said once; what was said before the kernel went is over.
 */
export function showErrors({ store }: View<object>, root: HTMLElement): void {
  const rest = root.appendChild(el("div.cs-errors"));
  let known: string[] = [];
  store.watch(["errors", "absent"], () => {
    const alike = new Map<string, KernelError[]>();
    const errors = store.get("absent") === null ? Object.values(store.get("errors")) : [];
    for (const error of errors.reverse()) {
      if (error.dismissed) continue;
      const text = `${error.name} ${error.message}`;
      alike.set(text, [...(alike.get(text) ?? []), error]);
    }
    for (const place of root.querySelectorAll(".cs-errors")) place.replaceChildren();
    for (const [words, same] of alike) {
      const [error] = same;
      if (!error) continue;
      const kinds = same.map(({ kind }) => kind);
      // Of several places the first on the page: what others show follows from the picture.
      const place = root.querySelector(
        kinds.map((kind) => `[data-errors~=${JSON.stringify(kind)}]`).join(", "),
      );
      const close = () => dismissErrors(store, kinds);
      const box = errorBox(error, close);
      (place ?? rest).append(box);
      if (!known.includes(words)) reveal(box, root);
    }
    known = [...alike.keys()];
  });
}

/** Scroll it into sight within the instrument: where the page stands is the reader's. */
function reveal(box: HTMLElement, root: HTMLElement): void {
  for (let around = box.parentElement; around && root.contains(around); around = around.parentElement) {
    const [inner, outer] = [box.getBoundingClientRect(), around.getBoundingClientRect()];
    const above = inner.top - outer.top;
    around.scrollTop += above < 0 ? above : Math.min(above, Math.max(0, inner.bottom - outer.bottom));
  }
}

/** One message, its details folded away, and a button that takes it off. */
export function errorBox(error: KernelError, close: (() => void) | null): HTMLElement {
  const box = el(
    "div.cs-error",
    { role: "alert", "data-error": error.name },
    el("div.cs-error__text", el("b", error.name), ` ${error.message}`),
  );
  if (error.details) {
    box.append(el("details", el("summary", "Details"), el("pre", error.details)));
  }
  if (close) {
    const closing = el("button.cs-button.cs-error__close", { "aria-label": "Dismiss" }, "×");
    on(closing, "click", close);
    box.append(closing);
  }
  return box;
}
