/**
 * The wheel stays where it turns something.
 *
 * A browser scrolls the page around a list only when that is at its end, and not within the same turn of the wheel. Hosts
 * that scroll by themselves (VS Code, for its notebooks are frames that do not) hear every turn: of those that move
 * something inside an instrument they are not told.
 */

/** For how long after it moved something a turn is still the same, ms. */
export const HELD_MS = 150;

export function keepWheel(root: HTMLElement, signal: AbortSignal): void {
  let moved: Element | undefined;
  let held = -Infinity;
  root.addEventListener(
    "wheel",
    (event) => {
      // With a key it enlarges the page.
      if (event.ctrlKey || event.metaKey) return;
      const path = event.composedPath();
      const inside = path.slice(0, path.indexOf(root) + 1);
      const moves = inside.find((one) => one instanceof HTMLElement && scrolls(one, event));
      if (moves) moved = moves as Element;
      else if (!moved || !inside.includes(moved) || event.timeStamp > held) return;
      held = event.timeStamp + HELD_MS;
      event.stopPropagation();
    },
    { passive: true, signal },
  );
}

/** Whether an element can scroll that way. */
function scrolls(element: HTMLElement, { deltaX, deltaY }: WheelEvent): boolean {
  const { overflowX, overflowY } = getComputedStyle(element);
  return (
    (isScroller(overflowY) &&
      remains(deltaY, element.scrollTop, element.scrollHeight - element.clientHeight)) ||
    (isScroller(overflowX) && remains(deltaX, element.scrollLeft, element.scrollWidth - element.clientWidth))
  );
}

const isScroller = (overflow: string): boolean => overflow === "auto" || overflow === "scroll";

/** Whether there is a px or more to go. */
const remains = (delta: number, at: number, end: number): boolean =>
  delta < 0 ? at >= 1 : delta > 0 && end - at >= 1;
