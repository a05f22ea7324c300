/** What is particular to the pages on which instruments are shown. */
import { withModifier } from "../lib/dom";
import type { Page } from "../seam";
import { followTheme } from "./theme";
import { keepWheel } from "./wheel";

/** `outer`: the element around an instrument's root. */
export function openPage(outer: HTMLElement, root: HTMLElement, signal: AbortSignal): Page {
  keepWheel(root, signal);
  return {
    ...followTheme(outer, root, signal),
    // JupyterLab takes the right button where an element does not forbid it by this attribute.
    keepMenu: (element) => element.setAttribute("data-jp-suppress-context-menu", ""),
    file: location.protocol === "file:" ? OPEN : COPY,
  };
}

// A page that came over the network may not open files; a saved page may.

const OPEN: Page["file"] = {
  name: "open file",
  act: (path) => void window.open(`file://${encodeURI(path)}`),
};

const COPY: Page["file"] = {
  name: "copy path",
  act: (path) => navigator.clipboard?.writeText(path),
};

/** Keep the host's keyboard shortcuts from acting while the focus is in an element. */
export function keepKeys(element: HTMLElement, signal: AbortSignal): void {
  // JupyterLab takes keys before anything else does, from the very element that has the focus, whatever those around it
  // say; what has it in a shadow tree is the tree's host.
  const suppress = (one: Element) => one.setAttribute("data-lm-suppress-shortcuts", "true");
  const focus = ({ target }: FocusEvent) => {
    suppress(target as Element);
    for (let root = element.getRootNode(); root instanceof ShadowRoot; root = root.host.getRootNode())
      suppress(root.host);
  };
  suppress(element);
  element.addEventListener("focusin", focus, { signal });
  // Others listen further out. What goes on to the browser or the system goes on to them, too.
  const keep = (event: KeyboardEvent) => {
    if (!withModifier(event) && !/^(Tab|Escape|F\d+)$/.test(event.key)) event.stopPropagation();
  };
  element.addEventListener("keydown", keep, { signal });
}
