/** An element as large as the window: by the browser where it may, else laid over the page that it is in. */
import { onEnd, onKey } from "./dom";

export interface Filling {
  toggle: () => void;
  /** Call `run` with whether it fills the window, now and after every change. */
  onChange: (run: (filled: boolean) => void) => void;
}

const FILLS = "cs-is-filling";

/** What fills the window is the element around `whole`, which measures the width that there is. */
export function filling(whole: HTMLElement, signal: AbortSignal): Filling {
  const listeners: ((filled: boolean) => void)[] = [];
  const host = () => whole.parentElement ?? whole;
  const filled = () => host().classList.contains(FILLS);
  const show = (fills: boolean) => {
    host().classList.toggle(FILLS, fills);
    for (const run of listeners) run(fills);
  };
  // In a shadow tree the document knows the tree's host only; `:fullscreen` holds inside, too.
  document.addEventListener("fullscreenchange", () => show(host().matches(":fullscreen")), { signal });
  onEnd(signal, () => {
    if (host().matches(":fullscreen")) void document.exitFullscreen();
  });
  const leave = () => {
    if (host().matches(":fullscreen")) void document.exitFullscreen();
    else show(false);
  };
  onKey(whole, ({ key }) => {
    if (key !== "Escape" || !filled()) return false;
    leave();
    return true;
  });
  return {
    toggle: () => {
      if (filled()) return leave();
      // Frames of other origins may be forbidden to.
      if (!document.fullscreenEnabled) return show(true);
      host()
        .requestFullscreen()
        .catch(() => show(true));
    },
    onChange: (run) => {
      listeners.push(run);
      run(false);
    },
  };
}
