import { expect, it } from "vitest";
import {
  activation,
  change,
  cutOff,
  duration,
  field,
  inTwoLines,
  probability,
  share,
  shareOf,
  short,
  side,
} from "./format";

it("writes numbers so that they do not mislead", () => {
  expect([0, 0.0001, 0.0005, 0.36251, 1].map(probability)).toEqual([
    "0.000",
    "<0.001",
    "0.001",
    "0.363",
    "1.000",
  ]);
  expect([probability(Number.NaN), change(Number.NaN)]).toEqual(["NaN", ""]);
  expect([0.1234, -0.5, 0.0001].map(change)).toEqual(["+0.123", "−0.500", "±0"]);
  expect([0, 0.004, 0.07, 0.996, 1].map(share)).toEqual(["0 %", "<1 %", "7 %", ">99 %", "100 %"]);
  expect([5.0612, 0, 0.00012, -0.5, -1.2e-300].map(activation)).toEqual([
    "5.06",
    "0",
    "1.2e−4",
    "−0.500",
    "−1.2e−300",
  ]);
  expect([999.4, 999.6, 1000, -2630.1, 12345, 999_999, 1.5e6, 2e12].map(activation)).toEqual([
    "999",
    "1.00k",
    "1.00k",
    "−2.63k",
    "12.3k",
    "1.00M",
    "1.50M",
    "2.00T",
  ]);
  expect([9.9e14, 1e15, -3.4e38].map(activation)).toEqual(["990T", "1.0e15", "−3.4e38"]);
  expect([152.4, 15.24, -1524, 0.5].map((one) => short(one, 2))).toEqual(["150", "15", "−1.5k", "0.50"]);
  const cut = [
    [6, 9.312],
    [6, 6],
    [2.5, null],
    [2.5, undefined],
  ] as const;
  expect(cut.map(([value, before]) => cutOff(value, before))).toEqual([
    "6.00 (9.31 before the ceiling)",
    "6.00",
    "2.50",
    "2.50",
  ]);
  expect([shareOf(2 / 11, 11), shareOf(0.5, 800)]).toEqual(["2 of 11 pictures", "50 % of 800 pictures"]);
  expect(field({ size: [14, 14], field: 147, gated: false })).toBe("147");
  expect(field({ size: [14, 14], field: 147, gated: true })).toBe("147+");
  expect(field({ size: [1, 1], field: 224, gated: false })).toBe("all");
  expect(side([14, 14])).toBe("14²");
  expect(side([7, 14])).toBe("7 × 14");
  expect([0.2, 61].map(duration)).toEqual(["1 s", "1 min 1 s"]);
});

it("puts the place of a value on a line of its own, and nothing else there", () => {
  const said = `${cutOff(6, 9.31)} · rowing · rower · row 12, column 3`;
  expect(inTwoLines(said)).toBe("6.00 (9.31) · rowing · rower\nrow 12, column 3");
  expect(inTwoLines("inactive · row 4")).toBe("inactive · row 4");
});
