/** The pictures at hand, and which of them is looked at. */
import type { Slice } from "../../seam";

export interface PictureInfo {
  name: string;
  label: string | null;
  /** Which of the network's classes that is; null where it is none. */
  class?: number | null;
  /** Of one that was added, and so can be removed: a number that is none other's, however they move. */
  added?: number;
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

/** What tells a picture from others, though some may come and go. */
export const pictureKey = (pictures: readonly PictureInfo[], index: number): string =>
  String(pictures[index]?.added ?? `given ${index}`);
