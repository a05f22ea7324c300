/** Numbers of a comparison in words. */
import { el } from "../../lib/dom";
import { many } from "../../lib/format";
import type { FirstLayer, NumberRow } from "./state";

const none = "–";

/** "97.5 %" */
export const percent = (value: number | null): string =>
  value === null ? none : `${(100 * value).toFixed(1)} %`;

/** "12.5 M", "177 k", "96" */
export function counted(value: number | null): string {
  if (value === null) return none;
  for (const [size, unit] of [
    [1e9, " G"],
    [1e6, " M"],
    [1e4, " k"],
  ] as const) {
    if (value < size) continue;
    const shown = unit === " k" ? value / 1e3 : value / size;
    return `${shown < 100 ? shown.toPrecision(3) : Math.round(shown)}${unit}`;
  }
  return value.toLocaleString("en");
}

/** "3.4 ms" */
export const milliseconds = (seconds: number | null): string => {
  if (seconds === null) return none;
  const value = 1000 * seconds;
  return `${value < 100 ? value.toPrecision(2) : Math.round(value)} ms`;
};

export function numberText(kind: NumberRow["kind"], value: number | null): string {
  if (kind === "share") return percent(value);
  return kind === "count" ? counted(value) : milliseconds(value);
}

/** A correlation, or a similarity of layers: ".83", "−.05"; "–" where there is none. */
export function likeness(value: number | null | undefined): string {
  if (value === null || value === undefined || Number.isNaN(value)) return none;
  const size = Math.abs(value).toFixed(2);
  const shown = size === "1.00" ? "1.00" : size.replace(/^0/, "");
  return value < 0 && size !== "0.00" ? `−${shown}` : shown;
}

/** What is counted and measured of a first layer: name, number, what it means. */
export function firstLayerRows(first: FirstLayer): [string, string, string][] {
  const stride = first.stride ? Math.max(...first.stride) : 1;
  return [
    [
      "dead",
      String(first.dead.length),
      first.dead_by === "activations"
        ? "No picture activates them, to a thousandth of the layer's largest activation"
        : "Their weights are below a thousandth of the largest; what activates them was not measured, or on too few pictures",
    ],
    [
      "dominant",
      String(first.dominant.length),
      "Of four times the median size or more: they leave little grey for the others",
    ],
    ["repeated", String(first.repeated.length), "Nearly the same weights as an earlier one"],
    ["frequencies covered", percent(first.coverage), "How evenly the filters cover all frequencies"],
    [
      "folded by its stride",
      stride > 1 ? percent(first.folded) : none,
      "Aliasing: share of the maps' variation that is too fine for the layer's own stride",
    ],
    [
      `too fine for ${first.next ?? "the next stride"}`,
      percent(first.above),
      "Share of the maps' variation above the Nyquist rate of the next stride",
    ],
  ];
}

/** A network's name, which breaks between its words where the line is too short for it. */
export const broken = (name: string): (Node | string)[] =>
  name.split(/(?<=[_./-])/).flatMap((part, at) => (at > 0 ? [el("wbr"), part] : [part]));

/** What is said of a filter that is dead, dominant or repeated. */
export function filterMarks(first: FirstLayer | null, filter: number): string[] {
  if (!first) return [];
  return (["dead", "dominant", "repeated"] as const).filter((mark) => first[mark].includes(filter));
}

/** "16 filters of 7 × 7, stride 2" */
export function filtersText(
  count: number,
  height: number,
  width: number,
  stride: [number, number] | null,
): string {
  const step = stride ? `, stride ${stride[0] === stride[1] ? stride[0] : stride.join(" × ")}` : "";
  return `${many(count, "filter")} of ${height} × ${width}${step}`;
}
