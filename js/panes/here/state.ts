/** What the selected unit picks out of the picture under the occluder. */
import type { Slice } from "../../seam";
import type { OccluderState } from "../occluder/state";
import type { SelectionSlice } from "../shared/selection";

export interface Here {
  layer: string;
  channel: number;
  picture: number;
  row: number;
  column: number;
  value: number;
  /** The value before the ceiling of the layer's activation, or null. */
  before: number | null;
  /** Top, left, bottom, right: where the signed RGB lies in the picture. */
  box: [number, number, number, number];
  shades: Int8Array;
}

export interface HereSlice {
  here: Here | null;
}

export const hereSlice: Slice<HereSlice> = { initial: { here: null } };

export type HereState = OccluderState & SelectionSlice & HereSlice;
