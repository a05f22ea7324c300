/** One unit, large: its map on the current picture, and what one place of it can see. */
import type { Slice } from "../../seam";
import type { GridSlice } from "../grid/state";
import type { OccluderState } from "../occluder/state";
import type { SelectionSlice } from "../shared/selection";

/** Top, left, bottom, right in the picture's pixels; may reach outside. */
export type Edges = readonly [number, number, number, number];

export interface Detail {
  layer: string;
  channel: number;
  picture: number;
  /** The map, row after row. */
  height: number;
  width: number;
  values: Float32Array;
  /** The layer goes below zero: its colours have two sides. */
  signed: boolean;
  /** Row and column of the largest value, and of the place whose fields these are. */
  strongest: readonly [number, number];
  place: readonly [number, number];
  field: Edges;
  /** Where this share of the energy of the gradient lies; null where the gradient is zero. */
  effective: Edges | null;
  share: number;
}

export interface DetailSlice {
  detail: Detail | null;
  /** Whether it is looked at. */
  enlarged: boolean;
  /** The place of the map that is pointed at; null for the strongest. */
  pointed: readonly [number, number] | null;
}

export const detailSlice: Slice<DetailSlice> = {
  initial: { detail: null, enlarged: false, pointed: null },
};

export type DetailState = OccluderState & SelectionSlice & GridSlice & DetailSlice;
