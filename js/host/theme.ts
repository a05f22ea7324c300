/**
 * Light or dark, and in whose colours, by looking at the page.
 *
 * JupyterLab, VS Code, Colab and marimo each mark their dark theme in their own way. Where a host has a ground and a text
 * of its own for what it shows, and the two can be read together, the instrument takes both: then it is as dark as that
 * ground, which it paints itself, whatever lies behind (VS Code puts widgets on white). Elsewhere it has its own colours,
 * and is as dark as what it stands on.
 */
import { onEnd } from "../lib/dom";
import type { Theme } from "../seam";
import { ancestors, type Colour, contrast, groundOf, isDark, variableOf } from "./colours";
import { whenPlaced } from "./placed";

/** Whose colours an instrument has: base.css says which they are. */
type Palette = "vscode" | "jupyter" | "own";

/** The variables of ground and text; VS Code has some of Jupyter's beside its own, always light. */
const PALETTES: readonly [Palette, string, string][] = [
  ["vscode", "--vscode-editor-background", "--vscode-editor-foreground"],
  ["jupyter", "--jp-layout-color0", "--jp-ui-font-color0"],
];

/** Of text on its ground at least: WCAG's AA. */
const READABLE = 4.5;

interface Looks {
  theme: Theme;
  palette: Palette;
  ground: Colour;
}

export function looksOf(element: Element): Looks {
  const behind = groundOf(element);
  const themed = (palette: Palette, ground: Colour): Looks => ({
    theme: isDark(ground) ? "dark" : "light",
    palette,
    ground,
  });
  for (const [palette, background, foreground] of PALETTES) {
    const ground = variableOf(element, background, behind);
    const text = ground && variableOf(element, foreground, ground);
    if (ground && text && contrast(ground, text) >= READABLE) return themed(palette, ground);
  }
  return themed("own", behind);
}

/** Keep the theme of a widget's outer element and root in step with the page, until `signal` aborts. */
export function followTheme(
  outer: HTMLElement,
  root: HTMLElement,
  signal: AbortSignal,
): { theme: () => Theme; onTheme: (run: () => void) => void } {
  const listeners: (() => void)[] = [];
  let theme: Theme = "light";
  let known = "";
  const update = () => {
    const looks = looksOf(outer.parentElement ?? outer);
    const now = JSON.stringify(looks);
    if (now === known) return;
    known = now;
    theme = looks.theme;
    for (const { dataset } of [outer, root]) {
      dataset.theme = theme;
      dataset.palette = looks.palette;
    }
    // Also where it is as dark as before: another dark theme has other colours.
    for (const run of listeners) run();
  };
  const observer = new MutationObserver((changes) => changes.some(mayRecolour) && update());
  const marked = () => {
    observer.disconnect();
    for (const element of markedBy(outer)) observer.observe(element, { attributes: true });
    // Hosts load a theme's style sheet after they name the theme; new <style> and <link> elements tell when it is there.
    observer.observe(document.head, { childList: true });
    update();
  };
  const media = window.matchMedia?.("(prefers-color-scheme: dark)");
  media?.addEventListener("change", update, { signal });
  onEnd(signal, () => observer.disconnect());
  document.head.addEventListener("load", ({ target }) => isSheet(target as Node) && update(), {
    capture: true,
    signal,
  });
  // A ground that fades to its new colour is looked at again when it is there.
  document.addEventListener(
    "transitionend",
    ({ propertyName }) => /color|background/.test(propertyName) && update(),
    { signal },
  );
  whenPlaced(outer, signal, marked);
  marked();
  return { theme: () => theme, onTheme: (run) => listeners.push(run) };
}

const isSheet = (node: Node): boolean =>
  node instanceof HTMLStyleElement ||
  (node instanceof HTMLLinkElement && node.relList.contains("stylesheet"));

/** JupyterLab changes the page's icon whenever the kernel begins or ends something: at each frame of a drag, twice. */
const mayRecolour = ({ type, addedNodes, removedNodes }: MutationRecord): boolean =>
  type === "attributes" || [...addedNodes, ...removedNodes].some(isSheet);

/** Elements on which hosts name their theme: the page's own, and those around an instrument in its shadow tree. */
function markedBy(outer: HTMLElement): Element[] {
  const shaded = outer.getRootNode() instanceof ShadowRoot ? [...ancestors(outer.parentElement)] : [];
  return [...new Set([document.documentElement, document.body, ...shaded])];
}
