/** Numbers and names as the panes write them. */

/** A probability: three decimals, and "<0.001" rather than a zero that is none. "NaN" is what it is. */
export function probability(value: number): string {
  if (!Number.isFinite(value)) return "NaN";
  return value > 0 && value < 0.0005 ? "<0.001" : value.toFixed(3);
}

/** A signed change of probability, with a real minus sign. */
export function change(value: number): string {
  if (!Number.isFinite(value)) return "";
  const rounded = Math.abs(value).toFixed(3);
  if (rounded === "0.000") return "±0";
  return `${value > 0 ? "+" : "−"}${rounded}`;
}

/** Of thousands, of millions and so on. */
const PREFIXES = ["", "k", "M", "G", "T"];

/**
 * A number in a few significant digits, with a real minus sign; of large ones in thousands or millions, "2.63k", so
 * that it fits under the end of a short bar.
 */
export function short(value: number, digits = 3): string {
  if (!Number.isFinite(value)) return "NaN";
  // Rounded first: 999.9 are a thousand.
  const size = Math.abs(Number(value.toPrecision(digits)));
  const sign = value < 0 ? "−" : "";
  if (size === 0) return "0";
  const thousands = size < 1 ? 0 : Math.floor(Number(size.toExponential().split("e")[1]) / 3);
  const prefix = PREFIXES[thousands];
  if (size < 1e-3 || prefix === undefined)
    return sign + size.toExponential(1).replace("+", "").replace("-", "−");
  const shown = size / 1000 ** thousands;
  return sign + (shown < 10 ** digits ? shown.toPrecision(digits) : String(Math.round(shown))) + prefix;
}

/** An activation, to three digits. */
export const activation = (value: number): string => short(value);

/** An activation that may be cut off at a ceiling, with what it is before that: "6.00 (9.31 before the ceiling)". */
export function cutOff(value: number, before: number | null | undefined): string {
  return isCut(value, before)
    ? `${activation(value)} (${activation(before)} before the ceiling)`
    : activation(value);
}

/** What is said of a value at a place, for where there is little room: in short, the place on a line of its own. */
export const inTwoLines = (said: string): string =>
  said.replace(" before the ceiling", "").replace(/ · (row \d+, column \d+)$/, "\n$1");

/** Whether a ceiling has cut something off. */
export const isCut = (value: number, before: number | null | undefined): before is number =>
  typeof before === "number" && before > value;

/** A share of 0..1 in per cent; never "0 %" for something, nor "100 %" for not quite all. */
export function share(value: number): string {
  if (value <= 0) return "0 %";
  if (value >= 1) return "100 %";
  if (value < 0.01) return "<1 %";
  if (value > 0.99) return ">99 %";
  return `${Math.round(value * 100)} %`;
}

/** A share of some pictures: counted where they are few, "3 of 11 pictures", else "12 % of 800 pictures". */
export function shareOf(value: number, count: number): string {
  return `${count < 100 ? Math.round(value * count) : share(value)} of ${many(count, "picture")}`;
}

/** "1 unit", "1,024 units" */
export const many = (count: number, what: string): string =>
  `${count.toLocaleString("en")} ${what}${count === 1 ? "" : "s"}`;

/** "112²" or "7 × 14". */
export function side([height, width]: readonly [number, number]): string {
  if (height === 1 && width === 1) return "1";
  return height === width ? `${height}²` : `${height} × ${width}`;
}

/** A receptive field: its side, or "all" for a vector's units, which stand for no place. */
export function field(layer: { size: readonly [number, number]; field: number; gated: boolean }): string {
  if (layer.size[0] * layer.size[1] === 1) return "all";
  return `${layer.field}${layer.gated ? "+" : ""}`;
}

/** Seconds as a person says them. */
export function duration(seconds: number): string {
  if (seconds < 60) return `${Math.max(1, Math.round(seconds))} s`;
  return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
}

/** "cat.jpg and 2 more cannot be read"; "" of none. */
export function unreadText([first, ...others]: readonly string[]): string {
  if (first === undefined) return "";
  return `${first}${others.length > 0 ? ` and ${others.length} more` : ""} cannot be read`;
}
