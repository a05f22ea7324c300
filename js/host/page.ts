/** What is particular to the pages on which instruments are shown. */
import type { Page } from "../seam";
import { followTheme } from "./theme";

export function openPage(root: HTMLElement, signal: AbortSignal): Page {
  return {
    ...followTheme(root, signal),
    // JupyterLab takes keys and the right button where an element does not forbid it by these attributes. Keys it takes
    // from the very element that has the focus, whatever those around it say.
    keepKeys: (element) => {
      suppress(element);
      element.addEventListener("focusin", ({ target }) => suppress(target as Element), { signal });
    },
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

const suppress = (element: Element) => element.setAttribute("data-lm-suppress-shortcuts", "true");
