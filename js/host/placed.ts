import { onEnd } from "../lib/dom";

/** Call `run` when an element is on the page: hosts draw a view before they put it there. */
export function whenPlaced(element: HTMLElement, signal: AbortSignal, run: () => void): void {
  const observer = new ResizeObserver(() => {
    if (!element.isConnected) return;
    observer.disconnect();
    run();
  });
  observer.observe(element);
  onEnd(signal, () => observer.disconnect());
}
