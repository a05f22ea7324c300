/** What is needed seldom, behind a word: a choice, a click elsewhere or Escape puts it away. */
import { el, on, onKey, onResize, within } from "./dom";

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
  // Before anything else takes them: a host or a pane may keep a click, or a key, to itself.
  const options = { signal, capture: true };
  document.addEventListener("pointerdown", elsewhere, options);
  document.addEventListener("keydown", (event) => event.key === "Escape" && elsewhere(event), options);
  on(part, "toggle", () => {
    const room = part.closest(".cs-root")?.getBoundingClientRect();
    if (!part.open || !room) return;
    delete list.dataset.above;
    list.style.left = "0";
    const { right, bottom, height } = list.getBoundingClientRect();
    list.style.left = `${Math.min(0, room.right - EDGE - right)}px`;
    // Above only where it has room: what is beyond the top of a page cannot be scrolled to.
    if (bottom > room.bottom && part.getBoundingClientRect().top - room.top > height) list.dataset.above = "";
  });
  onKey(part, ({ key }) => {
    if (key !== "Escape" || !part.open) return false;
    part.open = false;
    summary.focus();
    return true;
  });
  return part;
}

/** The same with "more" on it; what is chosen in it with the pointer puts it away, keys may go on. */
export function more(signal: AbortSignal, ...content: HTMLElement[]): HTMLDetailsElement {
  const summary = el("summary.cs-button", "more");
  const part = menu("cs-more", summary, el("div", ...content), signal);
  const chosen = (event: Event) => {
    // What makes larger or smaller is pressed again and again.
    const what = within(event, event.type === "change" ? "select" : "button:not(.cs-zoom *)");
    if (!what || what.matches(":focus-visible")) return;
    part.open = false;
    summary.focus({ preventScroll: true });
  };
  on(part, "change", chosen);
  on(part, "click", chosen);
  return part;
}

/**
 * A row of tools; where it is narrower than `least` CSS px those that are needed `seldom` are behind "more", after the
 * first, where the `rest` always is.
 */
export function toolRow(
  signal: AbortSignal,
  [first, ...others]: HTMLElement[],
  seldom: HTMLElement[],
  rest: HTMLElement[] = [],
  least = 560,
): HTMLElement {
  const folded = more(signal, ...rest);
  const row = el("div.cs-tools");
  let narrow: boolean | undefined;
  const fold = (width: number) => {
    if (narrow === width < least) return;
    narrow = width < least;
    row.replaceChildren(first ?? "", folded, ...others);
    if (narrow) folded.lastElementChild?.prepend(...seldom);
    folded.hidden = !narrow && rest.length === 0;
  };
  fold(least);
  onResize(row, fold);
  return row;
}
