/**
 * The focus stays where a person works: what goes, or cannot be used any longer, hands it on.
 *
 * Without this it would fall to the page, whose shortcuts the next key would be. Panes may draw themselves anew, and
 * switch controls off and away, as if nobody used them.
 */
import { onEnd } from "./dom";

const CONTROLS = "button, input, select, textarea, summary, [href], [tabindex]";

/** Whether an element can have the focus now. */
const isUsable = (element: HTMLElement): boolean =>
  element.isConnected &&
  !element.closest(":disabled, [hidden], [inert]") &&
  (element.checkVisibility?.({ visibilityProperty: true }) ?? true);

const controlsIn = (part: Element): HTMLElement[] =>
  [...part.querySelectorAll<HTMLElement>(CONTROLS)].filter(isUsable);

/** Of a list that is walked by arrows Tab reaches one. */
const byTab = ({ tabIndex }: HTMLElement): boolean => tabIndex >= 0;

/** By what a control is known again when it is drawn anew. */
function nameOf(element: HTMLElement): string {
  const data = JSON.stringify(element.dataset);
  return (
    element.tagName + (data === "{}" ? (element.getAttribute("aria-label") ?? element.textContent) : data)
  );
}

/** What has the focus, and where that is. */
interface Held {
  element: HTMLElement;
  name: string;
  /** The parts around it, innermost first, and how many controls stand before it in each. */
  around: (readonly [part: Element, before: number])[];
}

function holding(element: HTMLElement, whole: Element): Held {
  const controls = controlsIn(whole).filter(byTab);
  const around: Held["around"] = [];
  let inner: Element = element;
  while (inner !== whole && inner.parentElement) {
    const [at, part] = [inner, inner.parentElement];
    const before = controls.filter(
      (one) => part.contains(one) && (at.compareDocumentPosition(one) & AROUND_OR_BEFORE) === BEFORE,
    );
    around.push([part, before.length]);
    inner = part;
  }
  return { element, name: nameOf(element), around };
}

const BEFORE = 2;
const AROUND_OR_BEFORE = 10;

/** What may have it next, best first: itself, what is drawn in its stead, what comes after it, what is before. */
function heirs({ element, name, around }: Held, whole: Element): HTMLElement[] {
  const near = around.flatMap(([part, before]) => {
    const there = controlsIn(part);
    const reached = there.filter(byTab);
    const twins = there.filter((one) => nameOf(one) === name);
    return [
      ...(twins.length === 1 ? twins : []),
      ...reached.slice(before),
      ...reached.slice(0, before).reverse(),
    ];
  });
  return [element, ...near, ...controlsIn(whole)];
}

/** What has the focus on the page, in a shadow tree, too. */
function active(): Element | null {
  let at = document.activeElement;
  while (at?.shadowRoot?.activeElement) at = at.shadowRoot.activeElement;
  return at;
}

/** Keep the focus within an element, once it is there, until a person takes it elsewhere. */
export function keepFocus(whole: HTMLElement, signal: AbortSignal): void {
  let held: Held | null = null;
  const settle = (records: MutationRecord[]) => {
    const element = held?.element;
    if (!held || !element) return;
    const concerned = records.some(({ target, removedNodes }) =>
      [target, ...removedNodes].some((node) => node.contains(element)),
    );
    if (element.isConnected && !concerned) return;
    // Nobody else has it, but for the page, or the host of the tree that this is in.
    const now = active();
    if (now && now !== element && !now.contains(whole) && !now.shadowRoot?.contains(whole)) return;
    // A frame that a person is not in must not take it from the page around.
    if (window.parent !== window && !document.hasFocus()) return;
    for (const heir of heirs(held, whole)) {
      if (!isUsable(heir)) continue;
      heir.focus({ preventScroll: true });
      if (active() === heir) return;
    }
  };
  const observer = new MutationObserver(settle);
  const attributeFilter = ["disabled", "hidden", "inert", "open", "class"];
  observer.observe(whole, { subtree: true, childList: true, attributeFilter });
  onEnd(signal, () => observer.disconnect());
  const listen = (type: "focusin" | "focusout", run: (event: FocusEvent) => void) =>
    whole.addEventListener(type, run, { signal });
  listen("focusin", ({ target }) => {
    held = holding(target as HTMLElement, whole);
  });
  // Some browsers tell of what they took away, others do not.
  listen("focusout", () =>
    queueMicrotask(() => {
      settle(observer.takeRecords());
      if (!whole.contains(active())) held = null;
    }),
  );
}
