/** What stays in sight while something else is looked at: a unit, a picture. */
import type { Slice } from "../../seam";
import type { OccluderState } from "../occluder/state";
import type { SilenceState } from "../silence/state";
import type { StripState } from "../strip/state";
import type { Of, Projections, Unit, UnitState } from "../unit/state";

/** What was known of a unit when it was pinned, and has come to be known since. */
export interface PinnedUnit {
  unit: Unit;
  projections: Projections | null;
}

/** How strong the pinned unit is on the picture. */
export interface PinnedValue extends Omit<Of, "checkpoint"> {
  value: number;
  before: number | null;
  row: number;
  column: number;
}

export interface PinnedClasses {
  picture: number;
  name: string;
  classes: [label: string, probability: number][];
}

export interface PinSlice {
  pinned: PinnedUnit | null;
  /** To be pinned as soon as it is known what excites it. */
  pinning: Omit<Of, "checkpoint"> | null;
  pinnedValue: PinnedValue | null;
  /** Key of the picture, see `pictureKey`. */
  pinnedPicture: string | null;
  pinnedClasses: PinnedClasses | null;
}

export const pinSlice: Slice<PinSlice> = {
  initial: { pinned: null, pinning: null, pinnedValue: null, pinnedPicture: null, pinnedClasses: null },
};

export type PinState = OccluderState & UnitState & StripState & SilenceState & PinSlice;
