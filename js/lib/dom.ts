/** The few lines that stand in for a front-end framework. */
import { clamp } from "./geometry";

type Attributes = Record<string, string | number | boolean | undefined>;
type Tags = HTMLElementTagNameMap;
type Child = Node | string;

/**
 * An element: `el("div.cs-tip", { role: "tooltip" }, "text")`.
 *
 * The tag with its classes; attributes, where there are any (`undefined` and `false` leave one out); children. A button
 * submits nothing. Canvases and marks (`i`) are for the eye alone, unless they have a role.
 */
export function el<K extends keyof Tags>(
  tag: K | `${K}.${string}`,
  ...content: [Attributes, ...Child[]] | Child[]
): Tags[K] {
  const [name, ...classes] = tag.split(".") as [K, ...string[]];
  const element = document.createElement(name);
  if (classes.length > 0) element.className = classes.join(" ");
  if (name === "button") element.setAttribute("type", "button");
  const [first = {}] = content;
  const attributes = typeof first === "string" || first instanceof Node ? {} : first;
  for (const [attribute, value] of Object.entries(attributes)) {
    if (value === undefined || value === false) continue;
    element.setAttribute(attribute, value === true ? "" : String(value));
  }
  if ((name === "canvas" || name === "i") && !element.hasAttribute("role"))
    element.setAttribute("aria-hidden", "true");
  element.append(...((attributes === first ? content.slice(1) : content) as Child[]));
  return element;
}

/** What is said of an element: `aria(button, "pressed", true)`. */
export const aria = (element: Element, name: string, value: unknown): void =>
  element.setAttribute(`aria-${name}`, String(value));

/** Whether something holds of an element, for the style sheet: `is(list, "stale", true)`. */
export const is = (element: Element, what: string, whether: boolean): boolean =>
  element.classList.toggle(`cs-is-${what}`, whether);

/** Run when something ends. */
export const onEnd = (signal: AbortSignal, run: () => void): void =>
  signal.addEventListener("abort", run, { once: true });

/** A name that no other element on the page has. */
export const uniqueId = (kind: string): string => `cs-${kind}-${Math.random().toString(36).slice(2)}`;

/** Text in a fainter colour. */
export const dim = (...children: Child[]): HTMLElement => el("span.cs-dim", ...children);

/** The element at or above an event's target that a selector describes. */
export const within = (event: Event, selector: string): HTMLElement | null =>
  (event.target as HTMLElement).closest<HTMLElement>(selector);

/** The same for what is drawn. */
export function svg(tag: string, attributes: Record<string, string>, ...children: Node[]): SVGElement {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag) as SVGElement;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Listen, as long as there is the element. */
export function on<K extends keyof HTMLElementEventMap>(
  target: HTMLElement,
  type: K,
  handler: (event: HTMLElementEventMap[K]) => void,
): void {
  target.addEventListener(type, handler);
}

/** Handle keys: one that `take` took (it returns true) does nothing else, around the element or in the browser. */
export function onKey(target: HTMLElement, take: (event: KeyboardEvent) => boolean): void {
  on(target, "keydown", (event) => {
    if (!take(event)) return;
    event.preventDefault();
    event.stopPropagation();
  });
}

/** Whether a key is meant for the system or the browser. */
export const withModifier = (event: KeyboardEvent): boolean => event.ctrlKey || event.metaKey || event.altKey;

/** What has the focus where a node stands: in a shadow tree the document knows its host only. */
export function focused(near: Node): HTMLElement | null {
  return (near.getRootNode() as Document | ShadowRoot).activeElement as HTMLElement | null;
}

/** Share of an element's height and width at which an event is: 0 to 1 inside. `box`: where it is, if that is known. */
export function shareAt(
  element: HTMLElement,
  event: MouseEvent,
  box = element.getBoundingClientRect(),
): [number, number] {
  return [
    (event.clientY - box.top) / Math.max(1, box.height),
    (event.clientX - box.left) / Math.max(1, box.width),
  ];
}

/** Put an element over a box of what it lies on: top and left, height and width, and the whole's. */
export function layOver(
  element: HTMLElement,
  [top, left]: readonly [number, number],
  [high, wide]: readonly [number, number],
  [height, width]: readonly [number, number],
): void {
  Object.assign(element.style, {
    top: `${(100 * top) / height}%`,
    left: `${(100 * left) / width}%`,
    height: `${(100 * high) / height}%`,
    width: `${(100 * wide) / width}%`,
  });
}

/** Put what lies over an element at a point of the page, or as near to it as all of it is over the element. */
export function putOver(tip: HTMLElement, around: HTMLElement, x: number, y: number): void {
  const { left, top, width, height } = around.getBoundingClientRect();
  const within = (at: number, room: number) => `${clamp(at, 0, Math.max(0, room))}px`;
  tip.style.left = within(x - left, width - tip.offsetWidth);
  tip.style.top = within(y - top, height - tip.offsetHeight);
}

/** Where errors of some kinds of request, with spaces between, are shown rather than beneath the panes. */
export const errorsOf = (kinds: string): HTMLElement => el("div.cs-errors", { "data-errors": kinds });

/** Part of an instrument's root. */
export function pane(root: HTMLElement, name: string): HTMLElement {
  return root.appendChild(el("div", { class: `cs-pane cs-pane--${name}` }));
}

/** Set text only where it differs, so that screen readers and selections are left in peace. */
export function text(node: Node, value: string): void {
  if (node.textContent !== value) node.textContent = value;
}

/** Give an element a class, or take it away. */
export const toggle = (element: Element, name: string, wanted: boolean): boolean =>
  element.classList.toggle(name, wanted);

/**
 * Call `run` on the next animation frame, once however often it is asked for.
 *
 * Where nothing is in sight it may call `later`, and is called once more on the frame after: JupyterLab hides what it
 * shows for a part of a frame when its theme changes, of which nothing else tells.
 */
export function onFrame(run: (later: () => void) => void): () => void {
  let asked = false;
  let late = false;
  const ask = () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      const last = late;
      late = false;
      run(() => {
        if (last) return;
        late = true;
        ask();
      });
    });
  };
  return ask;
}

/** Call `run` with an element's width and height in CSS px whenever they change and are not zero. */
export function onResize(element: HTMLElement, run: (width: number, height: number) => void): void {
  const observer = new ResizeObserver(() => {
    // A hidden tab has no size; laying out for 0 x 0 would throw the scroll position away.
    if (element.clientWidth > 0) run(element.clientWidth, element.clientHeight);
  });
  observer.observe(element);
}
