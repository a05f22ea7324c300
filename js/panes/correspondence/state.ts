/** The same part in several pictures: where it is, and how alike masking it acts. */
import type { Photo } from "../../lib/photo";
import type { Store } from "../../lib/store";
import type { Slice } from "../../seam";
import type { NetworkSlice } from "../shared/network";
import type { Progress } from "../shared/work";

/** Row and column, px of the picture. */
export type Point = [row: number, column: number];

/** All entries, as in the paper, or those that both masks change. */
export type Entries = "all" | "changed";

/** Shares from 0 to 1; null where there is none. */
export interface Scores {
  delta: number | null;
  spread: number | null;
  random: number | null;
  random_spread: number | null;
  low: number | null;
  high: number | null;
  p: number | null;
}

export interface PartRow {
  name: string;
  /** It is the one that is clicked. */
  current: boolean;
  pictures: number;
  /** By layer; none before they are computed. */
  scores: Record<string, Record<Entries, Scores>>;
}

/** A part's masks: for each picture a byte a pixel, 1 or 0. */
export interface Covered {
  part: string;
  masks: Uint8Array[];
}

export interface CorrespondenceSlice {
  _pictures: { name: string; label: string | null }[];
  _rows: PartRow[];
  _work: Progress;
  points: (Point | null)[];
  size: number;
  layers: string[];
  part: string;
  entries: Entries;
  shown: string;
  /** By picture; there are none of those that cannot be read. */
  views: (Photo | undefined)[];
  /** By picture: why it cannot be read. */
  unread: Readonly<Record<number, string>>;
  covered: Covered | null;
}

export const correspondenceSlice: Slice<CorrespondenceSlice> = {
  initial: {
    _pictures: [],
    _rows: [],
    _work: { state: "none", revision: 0, done: 0, total: 0, left: null },
    points: [],
    size: 1,
    layers: [],
    part: "",
    entries: "all",
    shown: "",
    views: [],
    unread: {},
    covered: null,
  },
  writes: ["points", "size", "layers", "part", "entries", "shown"],
  given: ["_pictures", "_rows", "_work"],
};

export type CorrespondenceState = NetworkSlice & CorrespondenceSlice;

/** Put the part of a picture somewhere, or nowhere. */
export function mark(store: Store<CorrespondenceState>, picture: number, point: Point | null): void {
  store.set({
    points: store.get("points").map((one, index) => (index === picture ? point : one)),
    shown: "",
  });
}

export const clicked = (store: Store<CorrespondenceState>): number =>
  store.get("points").filter((point) => point !== null).length;
