/** The pictures at hand, small. */
import type { Photo } from "../../lib/photo";
import type { Slice } from "../../seam";
import type { PicturesSlice } from "../shared/pictures";

export interface StripSlice {
  /** By picture; of some there are none. */
  thumbnails: (Photo | undefined)[];
}

export const stripSlice: Slice<StripSlice> = { initial: { thumbnails: [] } };

export type StripState = PicturesSlice & StripSlice;
