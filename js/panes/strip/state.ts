/** The pictures at hand, small. */
import type { Photo } from "../../lib/photo";
import type { Slice } from "../../seam";
import type { PicturesSlice } from "../shared/pictures";

export interface StripSlice {
  /** By picture; of some there are none. */
  thumbnails: (Photo | undefined)[];
  /** By picture: why it cannot be read. */
  unread: Readonly<Record<number, string>>;
}

export const stripSlice: Slice<StripSlice> = { initial: { thumbnails: [], unread: {} } };

export type StripState = PicturesSlice & StripSlice;
