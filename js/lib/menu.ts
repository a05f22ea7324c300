/** What is needed seldom, behind a word: a click elsewhere or Escape puts it away. */
import { el, on, onKey } from "./dom";

/** What is left free at the right edge of the instrument, px. */
const EDGE = 8;

/** `summary`: what opens it; `signal`: ends with the view. The list stays inside the instrument. */
export function menu(
  kind: string,
  summary: HTMLElement,
  list: HTMLElement,
  signal: AbortSignal,
): HTMLDetailsElement {
  const part = el("details", { class: `cs-menu ${kind}` }, summary, list);
  list.classList.add("cs-menu__list");
  const elsewhere = (event: Event) => {
    if (!event.composedPath().includes(part)) part.open = false;
  };
  document.addEventListener("pointerdown", elsewhere, { signal });
  on(part, "toggle", () => {
    const room = part.closest(".cs-root")?.getBoundingClientRect();
    if (!part.open || !room) return;
    delete list.dataset.above;
    list.style.left = "0";
    const { right, bottom } = list.getBoundingClientRect();
    list.style.left = `${Math.min(0, room.right - EDGE - right)}px`;
    if (bottom > room.bottom) list.dataset.above = "";
  });
  onKey(part, ({ key }) => {
    if (key !== "Escape" || !part.open) return false;
    part.open = false;
    summary.focus();
    return true;
  });
  return part;
}

/** The same with "more" on it. */
export function more(signal: AbortSignal, ...content: HTMLElement[]): HTMLElement {
  return menu("cs-more", el("summary.cs-button", "more"), el("div", ...content), signal);
}
