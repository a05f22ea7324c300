/** The panels of one value a cell: activity of a unit, probability of a class. */
import { gradient, table, widened } from "../../lib/colormaps";
import { el, text } from "../../lib/dom";
import { activation, change, probability } from "../../lib/format";
import { clamp } from "../../lib/geometry";
import { extremes, isComputed } from "./cells";
import type { Panel } from "./panel";
import type { Maps } from "./state";

export function activityPanel(): Panel {
  const bar = colourBar("inferno", activation);
  return {
    name: "activity",
    title: (maps) => (maps.layer === null ? "Activity" : `Activity of ${maps.layer} · ${maps.unit}`),
    value: (maps, cell) => {
      const value = cell === null ? maps.clean.activity : (maps.activity[cell] ?? Number.NaN);
      if (value === null || (cell !== null && !isComputed(maps.label[cell]) && !maps.preview)) return "";
      return activation(value);
    },
    paint: (maps, from, words) => paintValues(maps.activity, activities(maps), "inferno", from, words),
    preview: "preview",
    absent: (maps) => maps.layer === null,
    foot: bar.element,
    showFoot: (maps) => bar.show(activities(maps), maps.clean.activity),
  };
}

export function probabilityPanel(): Panel {
  const bar = colourBar("viridis", probability);
  return {
    name: "probability",
    title: (maps) => `Probability of ${maps.target.label}`,
    value: (maps, cell) => {
      if (cell === null) return probability(maps.clean.probability);
      const value = maps.probability[cell] ?? Number.NaN;
      if (Number.isNaN(value)) return isComputed(maps.label[cell]) ? "NaN" : "";
      return `${change(value - maps.clean.probability)}  ${probability(value)}`.trim();
    },
    paint: (maps, from, words) => paintValues(maps.probability, probabilities(maps), "viridis", from, words),
    preview: "preview",
    foot: bar.element,
    showFoot: (maps) => bar.show(probabilities(maps), maps.clean.probability),
  };
}

const probabilities = (maps: Maps): [number, number] =>
  widened(...(extremes(maps.probability, [maps.clean.probability]) ?? [0, 1]));
const activities = (maps: Maps): [number, number] =>
  extremes(maps.activity, maps.clean.activity === null ? [] : [maps.clean.activity]) ?? [0, 1];

function paintValues(
  values: Float32Array,
  [low, high]: [number, number],
  colormap: "inferno" | "viridis",
  from: Int32Array,
  words: Uint32Array,
): void {
  const scale = table(colormap);
  from.forEach((index, at) => {
    const value = values[index] ?? Number.NaN;
    const level = Math.round((255 * (value - low)) / (high - low || 1));
    words[at] = Number.isNaN(value) ? 0 : (scale[clamp(level, 0, 255)] ?? 0);
  });
}

/** A colour bar with the ends' values and a mark at the clean picture's. */
function colourBar(colormap: "inferno" | "viridis", format: (value: number) => string) {
  const mark = el("i.cs-bar__clean", { title: "without occluder" });
  const strip = el("div.cs-bar__strip", mark);
  strip.style.background = gradient(colormap);
  const [low, high, clean] = [el("span"), el("span"), el("span.cs-bar__name")];
  return {
    element: el("div.cs-bar", strip, el("div.cs-bar__ends", low, clean, high)),
    show: ([from, to]: [number, number], value: number | null) => {
      text(low, format(from));
      text(high, format(to));
      text(clean, value === null ? "" : `clean ${format(value)}`);
      mark.hidden = value === null || Number.isNaN(value);
      if (value !== null) mark.style.left = `${100 * clamp((value - from) / (to - from || 1), 0, 1)}%`;
    },
  };
}
