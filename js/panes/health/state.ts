/** The health of layers. */
import type { Slice } from "../../seam";
import type { NetworkSlice } from "../shared/network";
import type { SurveySlice } from "../shared/survey";

export interface HealthRow {
  layer: string;
  kind: string;
  channels: number;
  /** Shares of the units. */
  dead: number;
  /** null of too few pictures to tell. */
  rare: number | null;
  duplicated: number | null;
  /** Mean shares of the positions; null where the activation has no upper bound. */
  active: number;
  saturated: number | null;
}

/** Units of a layer, the first of many; of those that repeat another, which. */
export interface HealthUnits {
  layer: string;
  counts: Record<"dead" | "rare" | "duplicated", number>;
  dead: number[];
  rare: number[];
  duplicated: [unit: number, of: number][];
}

export interface HealthSlice {
  _health: HealthRow[];
  /** The unit of the chosen layer that is chosen. */
  selected: number | null;
  units: HealthUnits | null;
}

export const healthSlice: Slice<HealthSlice> = {
  initial: { _health: [], selected: null, units: null },
  writes: ["selected"],
  given: ["_health"],
};

export type HealthState = NetworkSlice & SurveySlice & HealthSlice;
