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
  let held = -Infinity;
  root.addEventListener(
    "wheel",
    (event) => {
      // With a key it enlarges the page.
      if (event.ctrlKey || event.metaKey) return;
      if (!moves(event, root) && event.timeStamp > held) return;
      held = event.timeStamp + HELD_MS;
      event.stopPropagation();
    },
    { passive: true, signal },
  );
}

/** Whether something from where the wheel turns up to the root can scroll that way. */
function moves(event: WheelEvent, root: HTMLElement): boolean {
  const path = event.composedPath();
  return path.slice(0, path.indexOf(root) + 1).some((at) => at instanceof HTMLElement && scrolls(at, event));
}

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
