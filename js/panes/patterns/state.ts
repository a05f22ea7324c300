/** What became of the units of a network when patterns were fitted. */
import type { Slice } from "../../seam";
import type { NetworkSlice } from "../shared/network";

/** One layer. Units of a problem are cut to the first of many. */
export interface PatternRow {
  layer: string;
  kind: string;
  regime: string;
  gate: string;
  extended: boolean;
  units: number;
  fitted: number;
  samples: number;
  problems: { name: string; count: number; units: number[] }[];
  /** Mean quality by estimator, null where it was not measured. */
  quality: Record<string, number | null>;
}

export interface PatternSummary {
  network: string;
  images: number;
  regimes: string[];
  denominator: string;
  /** Whose quality is known. */
  estimators: string[];
  rows: PatternRow[];
}

export interface PatternsSlice {
  _patterns: PatternSummary;
  only_problems: boolean;
  /** The unit of the chosen layer that is chosen. */
  selected: number | null;
}

export const patternsSlice: Slice<PatternsSlice> = {
  initial: {
    _patterns: { network: "", images: 0, regimes: [], denominator: "paper", estimators: [], rows: [] },
    only_problems: false,
    selected: null,
  },
  writes: ["only_problems", "selected"],
  given: ["_patterns"],
};

export type PatternsState = NetworkSlice & PatternsSlice;
