/** Transformations in words. */
import type { TransformInfo } from "./state";

/** "12 px", "−30°", "1.25×", "quality 30" */
export function valueText({ name, unit }: TransformInfo, value: number): string {
  const number = `${Number(value.toFixed(2))}`.replace("-", "−");
  if (name === "jpeg") return value >= 100 ? "not compressed" : `quality ${number}`;
  if (unit === "°") return `${number}°`;
  if (unit) return `${number} ${unit}`;
  return name === "noise" ? number : `${number}×`;
}

export const FILL_WORDS: Record<string, string> = {
  mean: "mean colour",
  reflect: "mirrored",
  edge: "border stretched",
  wrap: "other side",
  source: "what was cut off",
  grey: "grey",
  "#000000": "black",
};
