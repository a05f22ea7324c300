/** The curves as a table, and where the instrument stands alone as lines, which bqplot draws beneath it otherwise. */
import { dim, el, svg } from "../../lib/dom";
import { activation, probability, short } from "../../lib/format";
import type { Store } from "../../lib/store";
import { chartTable, type Table } from "../../lib/table";
import type { View } from "../../seam";
import { type Curve, type InvarianceState, type TransformInfo, transformOf } from "./state";
import { valueText } from "./words";

const [WIDTH, HEIGHT] = [480, 180];

export function curvesPane({ store }: View<InvarianceState>, root: HTMLElement): void {
  const drawings = el("div.cs-drawn-curves");
  const keys = ["_invariance", "transform", "distance", "shown", "picture"] as const;
  root.append(
    drawings,
    chartTable(store, "curves", [...keys], () => tableOf(store)),
  );
  store.watch(["uncharted", "_invariance", "transform", "distance", "shown", "value", "picture"], () => {
    const found = transformOf(store);
    const curves = store.get("_invariance").curves[store.get("transform")];
    root.hidden = !found || !curves;
    drawings.hidden = !store.get("uncharted");
    if (!found || !curves || drawings.hidden) return;
    const distance = store.get("distance");
    const { colours } = store.get("_invariance");
    const layers = store.get("shown").flatMap((name) => {
      const curve = curves.distances[distance][name];
      return curve ? [{ curve, colour: colours[name] ?? "currentColor", width: 2 }] : [];
    });
    const each = curves.each[String(store.get("picture"))] ?? [];
    const nothing = each.map(() => null);
    const lines = [
      { curve: curves.probability, colour: "var(--cs-dim)", width: 3 },
      { curve: { mean: each, low: nothing, high: nothing }, colour: "var(--cs-accent)", width: 2 },
    ];
    const at = store.get("value");
    drawings.replaceChildren(
      drawn(`${distance} distance`, found, layers, at, null),
      drawn("probability of the class", found, lines, at, 1),
    );
  });
}

/** A row a value of the slider. */
function tableOf(store: Store<InvarianceState>): Table {
  const [found, distance, layers] = [transformOf(store), store.get("distance"), store.get("shown")];
  const curves = store.get("_invariance").curves[store.get("transform")];
  if (!found || !curves) return { caption: "", columns: [], rows: [] };
  const each = curves.each[String(store.get("picture"))] ?? [];
  const cell = ({ mean, low, high }: Curve, at: number, text: (value: number) => string) => {
    const [here, ...band] = [mean[at], low[at], high[at]].map((one) => (one == null ? null : text(one)));
    return here == null ? "–" : band.includes(null) ? here : `${here} (${band.join(" to ")})`;
  };
  return {
    caption: `Means over the pictures, and their bands: ${distance} distance of each layer, probability of the class`,
    columns: [found.words, ...layers, "probability", "of this picture"],
    rows: found.values.map((value, at) => [
      valueText(found, value),
      ...layers.map((name) => {
        const curve = curves.distances[distance][name];
        return curve ? cell(curve, at, activation) : "–";
      }),
      cell(curves.probability, at, probability),
      each[at] == null ? "–" : probability(each[at]),
    ]),
  };
}

interface Line {
  curve: Curve;
  colour: string;
  width: number;
}

function drawn(
  title: string,
  transform: TransformInfo,
  lines: Line[],
  at: number,
  most: number | null,
): HTMLElement {
  const { values } = transform;
  const [first, last] = [values[0] ?? 0, values.at(-1) ?? 1];
  const top = most ?? Math.max(1e-12, ...lines.flatMap(({ curve }) => curve.mean.map((one) => one ?? 0)));
  const x = (value: number) => (WIDTH * (value - first)) / (last - first || 1);
  const y = (value: number) => HEIGHT * (1 - Math.min(Math.max(value / top, 0), 1));
  const points = (row: (number | null)[]) =>
    row.flatMap((one, index) => (one === null ? [] : [`${x(values[index] ?? 0)},${y(one)}`]));
  const band = ({ curve, colour }: Line) =>
    svg("polygon", {
      points: [...points(curve.low), ...points(curve.high).reverse()].join(" "),
      fill: colour,
      opacity: "0.13",
    });
  const line = ({ curve, colour, width }: Line) =>
    svg("polyline", {
      points: points(curve.mean).join(" "),
      fill: "none",
      stroke: colour,
      "stroke-width": String(width),
    });
  const cursor = svg("line", {
    x1: `${x(at)}`,
    x2: `${x(at)}`,
    y1: "0",
    y2: `${HEIGHT}`,
    stroke: "var(--cs-accent)",
  });
  return el(
    "div.cs-drawn-curve",
    dim(`${title}, 0 to ${short(top, 2)}`),
    svg(
      "svg",
      { viewBox: `-4 -4 ${WIDTH + 8} ${HEIGHT + 8}`, role: "img", "aria-label": title },
      ...lines.map(band),
      ...lines.map(line),
      cursor,
    ),
    dim(`${valueText(transform, first)} to ${valueText(transform, last)}`),
  );
}
