/** A fit of patterns in words. */
import { many } from "../../lib/format";
import type { PatternRow, PatternSummary } from "./state";

const REGIMES: Record<string, string> = {
  positive: "samples where the unit is active",
  negative: "samples where the unit is inactive",
  all: "all samples",
};

const GATES: Record<string, string> = {
  rectifier: "the rectifier after the layer decides",
  activation: "the activation after the layer is taken as a rectifier",
  output: "the sign of the score decides",
  none: "no rectifier follows",
};

const PROBLEMS: Record<string, string> = {
  dead: "no sample was in the regime: no pattern",
  thin: "few samples in the regime: uncertain",
  vanishing: "the denominator is rounding error: no pattern",
  negative: "the denominator is negative: the sign is turned (a large bias)",
};

/** The estimators as in the paper, and as on the charts. */
export const ESTIMATORS: Record<string, string> = {
  random: "random",
  filter: "filter S_w",
  linear: "linear S_a",
  two_component: "two-component S_a±",
};

export function regimeText(row: PatternRow): string {
  return `${REGIMES[row.regime] ?? row.regime}; ${GATES[row.gate] ?? row.gate}`;
}

/** What a problem means. */
export const meaningOf = (problem: PatternRow["problems"][number]): string => PROBLEMS[problem.name] ?? "";

export function problemText(problem: PatternRow["problems"][number]): string {
  const more = problem.count > problem.units.length ? ", …" : "";
  return `${many(problem.count, "unit")}, ${problem.name}: ${meaningOf(problem)}. ${problem.units.join(", ")}${more}`;
}

/** 12345 as "12.3 k" */
export function compact(value: number): string {
  if (value < 1000) return String(value);
  const [scale, unit] = value < 1e6 ? [1e3, "k"] : value < 1e9 ? [1e6, "M"] : [1e9, "G"];
  const scaled = value / scale;
  return `${scaled < 100 ? scaled.toFixed(1) : Math.round(scaled)} ${unit}`;
}

/** "Quality ρ: filter S_w 0.412, linear S_a 0.873"; nothing where none was measured. */
export function qualityText({ quality }: PatternRow): string[] {
  const each = Object.entries(quality).flatMap(([name, value]) =>
    value === null ? [] : [`${ESTIMATORS[name] ?? name} ${value.toFixed(3)}`],
  );
  return each.length > 0 ? [`Quality ρ: ${each.join(", ")}`] : [];
}

/** "layer1.0: 62 of 64 units fitted, 2 dead" */
export function rowText(row: PatternRow): string {
  const problems = row.problems.map(({ count, name }) => `${count} ${name}`).join(", ");
  const quality = Object.entries(row.quality)
    .filter(([, value]) => value !== null)
    .map(([name, value]) => `quality ${ESTIMATORS[name] ?? name} ${(value as number).toFixed(2)}`);
  const parts = [`${row.fitted} of ${many(row.units, "unit")} fitted`, problems, ...quality];
  return `${row.layer}: ${parts.filter(Boolean).join(", ")}`;
}

/** All layers in a sentence. */
export function summaryText(of: PatternSummary): string {
  const units = of.rows.reduce((count, row) => count + row.units, 0);
  const fitted = of.rows.reduce((count, row) => count + row.fitted, 0);
  const ailing = of.rows.filter((row) => row.problems.length > 0).length;
  const bias = of.denominator === "paper" ? "" : ", the bias as a neuron";
  const rest = ailing === 0 ? "no problems" : `problems in ${many(ailing, "layer")}`;
  return (
    `${of.network}: ${fitted.toLocaleString("en")} of ${many(units, "unit")} in ${many(of.rows.length, "layer")} fitted ` +
    `on ${many(of.images, "picture")} (${of.regimes.join(", ")}${bias}); ${rest}.`
  );
}
