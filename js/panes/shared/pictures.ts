/** The pictures at hand, and which of them is looked at. */
import type { Slice } from "../../seam";

export interface PictureInfo {
  name: string;
  label: string | null;
}

export interface PicturesSlice {
  _pictures: PictureInfo[];
  /** Counts changes of a picture under the same number. */
  _revision: number;
  picture: number;
}

export const picturesSlice: Slice<PicturesSlice> = {
  initial: { _pictures: [], _revision: 0, picture: 0 },
  writes: ["picture"],
  asks: ["picture"],
  given: ["_pictures", "_revision"],
};
