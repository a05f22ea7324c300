/** The pictures at hand, small. */
import type { Photo } from "../../lib/photo";
import type { Slice } from "../../seam";
import type { PicturesSlice } from "../shared/pictures";

export interface StripSlice {
  thumbnails: Photo[];
}

export const stripSlice: Slice<StripSlice> = { initial: { thumbnails: [] } };

export type StripState = PicturesSlice & StripSlice;
