/** What the pointer is told where it rests, for who comes by keys: the title of what has the focus. */
import { el, on, putOver, text } from "./dom";

/** Between it and what it is of, CSS px. */
const GAP = 6;

export function showTitles(whole: HTMLElement): void {
  // It is read already, as the description of what it is the title of.
  const tip = whole.appendChild(el("div.cs-tip.cs-title", { "aria-hidden": "true", hidden: true }));
  let byKeys = false;
  const show = (element: HTMLElement | null) => {
    const title = element?.title;
    tip.hidden = !byKeys || !title;
    if (!element || !title || tip.hidden) return;
    text(tip, title);
    const [box, high] = [element.getBoundingClientRect(), tip.offsetHeight + GAP];
    const isLow = box.bottom + high > whole.getBoundingClientRect().bottom;
    putOver(tip, whole, box.left, isLow ? box.top - high : box.bottom + GAP);
  };
  on(whole, "focusin", ({ target }) => show(target as HTMLElement));
  on(whole, "focusout", () => show(null));
  whole.addEventListener("pointerdown", () => (byKeys = false), true);
  whole.addEventListener(
    "keydown",
    () => {
      byKeys = true;
      // What is typed, and what it finds, is not covered; a key that leads on to another element shows that one's.
      show(null);
    },
    true,
  );
}
