/** Controls of one of a few options. */
import { aria, el, focused, on, onKey, text } from "./dom";
import type { Store } from "./store";

/** A control, or some that belong together, with what they are for beside them; hidden when all of them are. */
export function captioned(words: string, ...controls: HTMLElement[]): HTMLElement {
  // A click on the caption of a field goes into it.
  const tag = controls[0]?.matches("input, select, .cs-complained") ? "label" : "span";
  return el(`${tag}.cs-tools__field`, words, ...controls);
}

/**
 * Run `judge` when something is entered in a field: at once, or as soon as what it is judged by (`key`) is there. Typing on
 * takes the entry back.
 */
export function onEntry<S extends object>(
  field: HTMLElement,
  store: Store<S>,
  key: keyof S,
  known: () => unknown,
  judge: () => void,
): void {
  let waits = false;
  const enter = () => {
    waits = !known();
    if (!waits) judge();
  };
  on(field, "input", () => {
    waits = false;
  });
  on(field, "change", enter);
  store.onChange([key], () => waits && enter());
}

export interface Control<T extends string> {
  element: HTMLElement;
  show: (value: T) => void;
  /** Call `run` with what a person chooses. */
  onChoose: (run: (value: T) => void) => void;
  /** Offer only these of the options; those that are `later` have their places, and cannot be chosen yet. */
  offer: (values: readonly T[], later?: readonly T[]) => void;
}

/** Keep a control and a key of a store in step. */
export function tied<S extends object, K extends keyof S, C extends Control<S[K] & string>>(
  store: Store<S>,
  key: K,
  control: C,
): C {
  control.onChoose((value) => store.set({ [key]: value } as unknown as Partial<S>));
  store.follow(key, (value) => control.show(value as S[K] & string));
  return control;
}

/**
 * A row of buttons that behaves as a radio group (arrow keys move and choose).
 *
 * `options`: for each value what is written on its button, and its tooltip.
 */
export function segmented<T extends string>(
  label: string,
  options: Record<T, readonly [text: string, title: string]>,
): Control<T> {
  const entries = Object.entries(options) as [T, readonly [string, string]][];
  const choices = entries.map(([value, [words, title]]) => {
    // A sign alone is read as whatever it is called.
    const name = /\w/.test(words) ? undefined : title;
    return el(
      "button.cs-segmented__option",
      { role: "radio", title, "aria-label": name, "data-value": value },
      words,
    );
  });
  const element = el("div.cs-segmented", { role: "radiogroup", "aria-label": label }, ...choices);
  onKey(element, ({ key }) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[key];
    if (!step) return false;
    const offered = choices.filter(({ hidden, disabled }) => !hidden && !disabled);
    const at = offered.indexOf(focused(element) as HTMLButtonElement);
    const next = offered[(at + step + offered.length) % offered.length];
    next?.focus();
    next?.click();
    return true;
  });
  return {
    element,
    show: (value) => {
      for (const choice of choices) {
        const chosen = choice.dataset.value === value;
        aria(choice, "checked", chosen);
        choice.tabIndex = chosen ? 0 : -1;
      }
      if (!choices.some(({ tabIndex }) => tabIndex === 0) && choices[0]) choices[0].tabIndex = 0;
    },
    onChoose: (run) => {
      for (const choice of choices) on(choice, "click", () => run(choice.dataset.value as T));
    },
    offer: (values, later = []) => {
      for (const choice of choices) {
        choice.disabled = later.includes(choice.dataset.value as T);
        choice.hidden = !choice.disabled && !values.includes(choice.dataset.value as T);
      }
    },
  };
}

export interface Select<T extends string> extends Control<T> {
  element: HTMLSelectElement;
  /** Write something else for one of the options. */
  rename: (value: T, words: string) => void;
}

/** A native select: the host's own keyboard and touch behaviour. `options`: what is written for each value. */
export function select<T extends string>(label: string, options: Record<T, string>): Select<T> {
  const items = Object.entries<string>(options).map(([value, words]) => el("option", { value }, words));
  const element = el("select.cs-select", { "aria-label": label, title: label }, ...items);
  return {
    element,
    show: (value) => {
      element.value = value;
    },
    onChoose: (run) => on(element, "change", () => run(element.value as T)),
    rename: (value, words) => {
      for (const item of items) if (item.value === value) text(item, words);
    },
    offer: (values, later = []) => {
      for (const item of items) {
        item.disabled = !values.includes(item.value as T);
        item.hidden = item.disabled && !later.includes(item.value as T);
      }
    },
  };
}
