/** Buttons that have the kernel draw what is shown as a figure, and save it. */
import { el, on } from "../../lib/dom";
import type { View } from "../../seam";

/** `what`: the name that `figure` in Python has for it; `of`: what a person calls it. */
export function figureButtons({ store, kernel }: View<object>, what: string, of: string): HTMLElement {
  const buttons = (["png", "svg"] as const).map((format) => {
    const name = format.toUpperCase();
    const label = `Save ${of} as ${name}`;
    const button = el("button.cs-button.cs-save__button", { title: label, "aria-label": label }, name);
    on(button, "click", () => kernel.ask("figure", { what, format }));
    return button;
  });
  return el("span.cs-save", { inert: store.get("offline") }, ...buttons);
}
