import { describe, expect, it } from "vitest";
import type { PatternRow } from "./state";
import { compact, problemText, regimeText, rowText, summaryText } from "./words";

const ROW: PatternRow = {
  layer: "conv1",
  kind: "conv",
  regime: "positive",
  gate: "rectifier",
  extended: false,
  units: 64,
  fitted: 62,
  samples: 12345,
  problems: [{ name: "dead", count: 60, units: [3, 7] }],
  quality: { linear: 0.912, filter: null },
};

describe("a fit in words", () => {
  it("says what was fitted and what was not", () => {
    expect(rowText(ROW)).toBe("conv1: 62 of 64 units fitted, 60 dead, quality linear S_a 0.91");
    expect(regimeText(ROW)).toBe("samples where the unit is active; the rectifier after the layer decides");
    expect(problemText(ROW.problems[0] as never)).toContain("60 units, dead");
    expect(problemText(ROW.problems[0] as never)).toMatch(/3, 7, …$/);
  });

  it("sums up all layers", () => {
    const all = { network: "net", images: 1, regimes: ["positive"], denominator: "paper", estimators: [] };
    expect(summaryText({ ...all, rows: [ROW, { ...ROW, layer: "b", problems: [], fitted: 64 }] })).toBe(
      "net: 126 of 128 units in 2 layers fitted on 1 picture (positive); problems in 1 layer.",
    );
    expect(summaryText({ ...all, denominator: "bias_neuron", rows: [{ ...ROW, problems: [] }] })).toContain(
      "(positive, the bias as a neuron); no problems.",
    );
  });

  it("shortens counts", () => {
    expect([7, 999, 1000, 12345, 250880, 3.2e6, 5e9].map(compact)).toEqual([
      "7",
      "999",
      "1.0 k",
      "12.3 k",
      "251 k",
      "3.2 M",
      "5.0 G",
    ]);
  });
});
