/** The panels of one value a cell: activity of a unit, probability of a class. */
import { colouring, gradient, table, widened } from "../../lib/colormaps";
import { activation, change, probability } from "../../lib/format";
import { clamp } from "../../lib/geometry";
import { type Shown, scaleBar } from "../../lib/scalebar";
import type { View } from "../../seam";
import { extremes, isComputed } from "./cells";
import type { Panel } from "./panel";
import type { MapState, Maps } from "./state";

const CLEAN = { markTitle: "without occluder" };

export function activityPanel({ page }: View<MapState>): Panel {
  const bar = scaleBar("Activity", CLEAN);
  const colours = (maps: Maps) => colouring("inferno", activities(maps)[0] < 0, page.theme());
  let shown: Maps | null = null;
  const showBar = () =>
    shown &&
    bar.show(shownOf(colours(shown).background, activities(shown), shown.clean.activity, activation));
  page.onTheme(showBar);
  return {
    name: "activity",
    title: (maps) => (maps.layer === null ? "Activity" : `Activity of ${maps.layer} · ${maps.unit}`),
    value: (maps, cell) => {
      if (!isComputed(maps.label[cell]) && !maps.preview) return "";
      return activation(maps.activity[cell] ?? Number.NaN);
    },
    paint: (maps, from, words) =>
      paintValues(maps.activity, activities(maps), colours(maps).words, from, words),
    preview: "preview",
    absent: (maps) => maps.layer === null,
    foot: bar.element,
    showFoot: (maps) => {
      shown = maps;
      showBar();
    },
  };
}

export function probabilityPanel(): Panel {
  const bar = scaleBar("Probability", { ...CLEAN, write: probability });
  return {
    name: "probability",
    title: (maps) => `Probability of ${maps.target.label}`,
    value: (maps, cell) => {
      const value = maps.probability[cell] ?? Number.NaN;
      if (Number.isNaN(value)) return isComputed(maps.label[cell]) ? "NaN" : "";
      return `${change(value - maps.clean.probability)}  ${probability(value)}`.trim();
    },
    paint: (maps, from, words) =>
      paintValues(maps.probability, probabilities(maps), table("viridis"), from, words),
    preview: "preview",
    foot: bar.element,
    showFoot: (maps) =>
      bar.show(shownOf(gradient("viridis"), probabilities(maps), maps.clean.probability, probability)),
  };
}

function shownOf(
  colours: string,
  range: [number, number],
  clean: number | null,
  write: (value: number) => string,
): Shown {
  return {
    range,
    colours,
    mark: clean,
    marked: clean === null ? "" : `clean ${write(clean)}`,
  };
}

const probabilities = (maps: Maps): [number, number] =>
  widened(...(extremes(maps.probability, [maps.clean.probability]) ?? [0, 1]));
/** As wide on either side of zero where there are values below it. */
function activities(maps: Maps): [number, number] {
  const [low, high] = extremes(maps.activity, maps.clean.activity === null ? [] : [maps.clean.activity]) ?? [
    0, 1,
  ];
  const most = Math.max(-low, high);
  return low < 0 ? [-most, most] : [low, high];
}

function paintValues(
  values: Float32Array,
  [low, high]: [number, number],
  colours: Uint32Array,
  from: Int32Array,
  words: Uint32Array,
): void {
  const last = colours.length - 1;
  from.forEach((index, at) => {
    const value = values[index] ?? Number.NaN;
    const level = Math.round((last * (value - low)) / (high - low || 1));
    words[at] = Number.isNaN(value) ? 0 : (colours[clamp(level, 0, last)] ?? 0);
  });
}
