/** Where the instrument stands alone: the curves, which bqplot draws beneath it otherwise. */
import { dim, el, svg } from "../../lib/dom";
import type { View } from "../../seam";
import { type Curve, type InvarianceState, type TransformInfo, transformOf } from "./state";
import { valueText } from "./words";

const [WIDTH, HEIGHT] = [480, 180];

export function curvesPane({ store }: View<InvarianceState>, root: HTMLElement): void {
  store.watch(["uncharted", "_invariance", "transform", "distance", "shown", "value", "picture"], () => {
    const found = transformOf(store);
    const curves = store.get("_invariance").curves[store.get("transform")];
    root.hidden = !store.get("uncharted") || !found || !curves;
    if (!found || !curves || root.hidden) return;
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
    root.replaceChildren(
      drawn(`${distance} distance`, found, layers, at, null),
      drawn("probability of the class", found, lines, at, 1),
    );
  });
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
    dim(`${title}, 0 to ${top.toPrecision(2)}`),
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
