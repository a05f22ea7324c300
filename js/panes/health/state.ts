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
  duplicated: number;
  /** Mean shares of the positions; null where the activation has no upper bound. */
  active: number;
  saturated: number | null;
}

export interface HealthSlice {
  _health: HealthRow[];
}

export const healthSlice: Slice<HealthSlice> = { initial: { _health: [] }, given: ["_health"] };

export type HealthState = NetworkSlice & SurveySlice & HealthSlice;
