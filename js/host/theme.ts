/**
 * Light or dark, by looking at the page.
 *
 * JupyterLab, VS Code, Colab and marimo each mark their dark theme in their own way, but all of them put a background
 * behind the widget: its lightness is the one sign that works everywhere, custom themes included.
 */
import { onEnd } from "../lib/dom";
import type { Theme } from "../seam";

/** Lightness (0 dark .. 1 light) of the first opaque background at or above an element; 1 where there is none. */
export function backgroundLightness(element: Element | null): number {
  for (let at = element; at; at = at.parentElement) {
    const match = /rgba?\(([^)]+)\)/.exec(getComputedStyle(at).backgroundColor);
    if (!match?.[1]) continue;
    const [r = 0, g = 0, b = 0, alpha = 1] = match[1].split(/[\s,/]+/).map(Number);
    if (alpha > 0.5) return (0.2126 * r + 0.7152 * g + 0.0722 * b) / 255;
  }
  return 1;
}

/** Keep `data-theme` of a widget's root in step with the page, until `signal` aborts; what tells others of it. */
export function followTheme(
  root: HTMLElement,
  signal: AbortSignal,
): { theme: () => Theme; onTheme: (run: () => void) => void } {
  const listeners: (() => void)[] = [];
  let theme: Theme = "light";
  const update = () => {
    theme = backgroundLightness(root.parentElement) < 0.5 ? "dark" : "light";
    root.dataset.theme = theme;
    // Also where it is as dark as before: another dark theme has other colours.
    for (const run of listeners) run();
  };
  const observer = new MutationObserver(update);
  for (const element of [document.documentElement, document.body])
    observer.observe(element, { attributes: true });
  // Hosts load a theme's style sheet after they name the theme; new <style> and <link> elements tell when it is there.
  observer.observe(document.head, { childList: true });
  const media = window.matchMedia?.("(prefers-color-scheme: dark)");
  media?.addEventListener("change", update, { signal });
  onEnd(signal, () => observer.disconnect());
  document.head.addEventListener("load", update, { capture: true, signal });
  requestAnimationFrame(update);
  update();
  return { theme: () => theme, onTheme: (run) => listeners.push(run) };
}
