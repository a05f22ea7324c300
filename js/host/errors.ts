/** Errors where they happened: in the widget, with what to do, the last good picture still in place. */
import { el, on } from "../lib/dom";
import type { KernelError, View } from "../seam";
import { showError } from "./session";

/** All errors of a session, beneath its panes; what several requests failed of is said once. */
export function showErrors({ store }: View<object>, root: HTMLElement): void {
  const errors = root.appendChild(el("div.cs-errors"));
  store.watch(["errors"], () => {
    const alike = new Map<string, KernelError[]>();
    for (const error of Object.values(store.get("errors"))) {
      const text = `${error.name} ${error.message}`;
      alike.set(text, [...(alike.get(text) ?? []), error]);
    }
    errors.replaceChildren(
      ...[...alike.values()].flatMap((same) =>
        same.slice(0, 1).map((error) =>
          errorBox(error, () => {
            for (const { kind } of same) showError(store, kind, null);
          }),
        ),
      ),
    );
  });
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
