/** The few lines that stand in for a front-end framework. */

type Attributes = Record<string, string | number | boolean | undefined>;

/** An element with attributes and children; `class` and `data-*` as attributes, `undefined` and `false` leave one out. */
export function el<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === false) continue;
    element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children);
  return element;
}

/** The same for what is drawn. */
export function svg(tag: string, attributes: Record<string, string>, ...children: Node[]): SVGElement {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag) as SVGElement;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Listen until `signal` aborts. */
export function on<K extends keyof HTMLElementEventMap>(
  target: HTMLElement,
  type: K,
  handler: (event: HTMLElementEventMap[K]) => void,
  signal: AbortSignal,
  options: AddEventListenerOptions = {},
): void {
  target.addEventListener(type, handler, { ...options, signal });
}

/** Set text only where it differs, so that screen readers and selections are left in peace. */
export function text(node: Node, value: string): void {
  if (node.textContent !== value) node.textContent = value;
}

/** One of a few options, as a row of buttons that behaves as a radio group (arrow keys move and choose). */
export function segmented<T extends string>(
  label: string,
  options: readonly { value: T; text: string; title?: string; disabled?: string }[],
  choose: (value: T) => void,
  signal: AbortSignal,
): { element: HTMLElement; show: (value: T) => void } {
  const buttons = options.map(({ value, text: caption, title, disabled }) => {
    const button = el(
      "button",
      {
        type: "button",
        role: "radio",
        class: "cs-segmented__option",
        title: disabled ?? title,
        "data-value": value,
        "aria-disabled": disabled ? "true" : undefined,
      },
      caption,
    );
    on(button, "click", () => !disabled && choose(value), signal);
    return button;
  });
  const element = el("div", { class: "cs-segmented", role: "radiogroup", "aria-label": label }, ...buttons);
  on(
    element,
    "keydown",
    (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      const open = buttons.filter((button) => button.getAttribute("aria-disabled") !== "true");
      const at = open.indexOf(document.activeElement as HTMLButtonElement);
      const next = open[(at + step + open.length) % open.length];
      next?.focus();
      next?.click();
    },
    signal,
  );
  const show = (value: T) => {
    for (const button of buttons) {
      const chosen = button.dataset.value === value;
      button.setAttribute("aria-checked", String(chosen));
      button.tabIndex = chosen ? 0 : -1;
    }
    if (!buttons.some((button) => button.tabIndex === 0) && buttons[0]) buttons[0].tabIndex = 0;
  };
  return { element, show };
}

/** A native select: the host's own keyboard and touch behaviour. */
export function select<T extends string>(
  label: string,
  options: readonly { value: T; text: string }[],
  choose: (value: T) => void,
  signal: AbortSignal,
): { element: HTMLSelectElement; show: (value: T) => void; offer: (values: readonly T[]) => void } {
  const items = options.map(({ value, text: caption }) => el("option", { value }, caption));
  const element = el("select", { class: "cs-select", "aria-label": label, title: label }, ...items);
  on(element, "change", () => choose(element.value as T), signal);
  return {
    element,
    show: (value) => {
      element.value = value;
    },
    offer: (values) => {
      for (const item of items) item.hidden = item.disabled = !values.includes(item.value as T);
    },
  };
}

/** Call `run` on the next animation frame, once however often it is asked for. */
export function onFrame(run: () => void, signal: AbortSignal): () => void {
  let asked = 0;
  signal.addEventListener("abort", () => cancelAnimationFrame(asked));
  return () => {
    if (asked || signal.aborted) return;
    asked = requestAnimationFrame(() => {
      asked = 0;
      run();
    });
  };
}

/** Call `run` with an element's width and height in CSS px whenever they change and are not zero. */
export function onResize(
  element: HTMLElement,
  run: (width: number, height: number) => void,
  signal: AbortSignal,
): void {
  const observer = new ResizeObserver(() => {
    // A hidden tab has no size; laying out for 0 x 0 would throw the scroll position away.
    if (element.clientWidth > 0) run(element.clientWidth, element.clientHeight);
  });
  observer.observe(element);
  signal.addEventListener("abort", () => observer.disconnect());
}
