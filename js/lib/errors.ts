/** Errors where they happened: in the widget, with what to do, the last good picture still in place. */
import { el, on } from "./dom";
import type { KernelError } from "./kernel";

/** One message, its details folded away, and a button that takes it off. */
export function errorBox(error: KernelError, dismiss: (() => void) | null, signal: AbortSignal): HTMLElement {
  const box = el(
    "div",
    { class: "cs-error", role: "alert", "data-error": error.name },
    el("div", { class: "cs-error__text" }, el("b", {}, error.name), ` ${error.message}`),
  );
  if (error.details) {
    box.append(el("details", {}, el("summary", {}, "Details"), el("pre", {}, error.details)));
  }
  if (dismiss) {
    const close = el(
      "button",
      { type: "button", class: "cs-button cs-error__close", "aria-label": "Dismiss" },
      "×",
    );
    on(close, "click", dismiss, signal);
    box.append(close);
  }
  return box;
}
