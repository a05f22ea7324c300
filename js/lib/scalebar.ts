/** A bar of colours with the numbers that they stand for. */
import { aria, el, text } from "./dom";
import { activation } from "./format";
import { clamp } from "./geometry";

export interface Shown {
  /** What the first and the last colour stand for. */
  range: readonly [low: number, high: number];
  /** The colours, as a CSS background. */
  colours: string;
  /** What it is the scale of, between the numbers. */
  name?: string;
  /** A value that is marked, and what is written under it. */
  mark?: number | null;
  marked?: string;
}

export interface ScaleBar {
  element: HTMLElement;
  /** null hides it: there are no colours that stand for numbers. */
  show: (shown: Shown | null) => void;
}

/** `markTitle`: what the marked value is. Zero is marked by itself where it lies inside the range. */
export function scaleBar(label: string, { write = activation, markTitle = "", variant = "" } = {}): ScaleBar {
  const zero = el("i.cs-bar__zero", { title: "zero" });
  const mark = el("i.cs-bar__clean", { title: markTitle });
  const strip = el("div.cs-bar__strip", zero, mark);
  const [low, name, high] = [el("span"), el("span.cs-bar__name"), el("span")];
  const ends = el("div.cs-bar__ends", low, name, high);
  const under = el("span.cs-bar__marked");
  // Nothing has a scale yet.
  const element = el("div", { class: `cs-bar ${variant}`, role: "img", hidden: true }, strip, ends, under);
  const put = (tick: HTMLElement, value: number | null | undefined, [from, to]: Shown["range"]) => {
    tick.hidden = value === null || value === undefined || !Number.isFinite(value);
    if (!tick.hidden) tick.style.left = `${100 * clamp(((value ?? 0) - from) / (to - from || 1), 0, 1)}%`;
  };
  return {
    element,
    show: (shown) => {
      element.hidden = !shown;
      if (!shown) return;
      const [from, to] = shown.range;
      text(low, write(from));
      text(high, write(to));
      text(name, shown.name ?? "");
      strip.style.background = shown.colours;
      put(zero, from < 0 && to > 0 ? 0 : null, shown.range);
      put(mark, shown.mark, shown.range);
      text(under, mark.hidden ? "" : (shown.marked ?? ""));
      // Under its mark, and inside the bar at either end.
      under.style.left = mark.style.left;
      under.style.transform = `translateX(-${mark.style.left || "0%"})`;
      const of = shown.name ? ` of ${shown.name}` : "";
      aria(element, "label", `${label}${of}: ${write(from)} to ${write(to)}`);
      element.title = element.getAttribute("aria-label") ?? "";
    },
  };
}
