/** A picture that is moved or changed: how far, and what is known of what follows. */
import type { Photo } from "../../lib/photo";
import type { Store } from "../../lib/store";
import type { Slice } from "../../seam";
import type { NetworkSlice } from "../shared/network";
import type { PicturesSlice } from "../shared/pictures";
import type { Progress } from "../shared/work";
import type { StripSlice } from "../strip/state";

export type Distance = "raw" | "relative" | "cosine";

export interface TransformInfo {
  name: string;
  words: string;
  /** "" where its values are factors. */
  unit: string;
  /** The value that changes nothing. */
  identity: number;
  values: number[];
  /** Of the slider. */
  step: number;
}

/** By value: means over pictures and the band around them, null where there is none. */
export interface Curve {
  mean: (number | null)[];
  low: (number | null)[];
  high: (number | null)[];
}

export interface Curves {
  pictures: number;
  /** Of those that could not be read. */
  skipped: number;
  distances: Record<Distance, Record<string, Curve>>;
  probability: Curve;
  /** By picture. */
  each: Record<string, number[]>;
}

export interface InvarianceInfo {
  transforms: TransformInfo[];
  fills: string[];
  layers: string[];
  colours: Record<string, string>;
  /** By transformation, as far as they were measured. */
  curves: Record<string, Curves>;
  /** Name, number, and the interval around it. */
  consistency: {
    pictures: number;
    numbers: [name: string, value: number, low: number | null, high: number | null][];
  } | null;
  /** Transformations that need a fill. */
  moves: string[];
}

/** What came of the picture where the slider was. */
export interface Moved extends Photo {
  transform: string;
  value: number;
  /** The class of the picture as it is, its probability then and now, and the most probable class now. */
  label: string;
  before: number;
  now: number;
  top: string;
  best: number;
  distances: Record<string, Record<Distance, number | null>>;
}

export interface InvarianceSlice {
  _invariance: InvarianceInfo;
  _work: Progress;
  transform: string;
  value: number;
  fill: string;
  distance: Distance;
  shown: string[];
  moved: Moved | null;
}

export const invarianceSlice: Slice<InvarianceSlice> = {
  initial: {
    _invariance: {
      transforms: [],
      fills: [],
      layers: [],
      colours: {},
      curves: {},
      consistency: null,
      moves: [],
    },
    _work: { state: "none", revision: 0, done: 0, total: 0, left: null },
    transform: "",
    value: 0,
    fill: "mean",
    distance: "relative",
    shown: [],
    moved: null,
  },
  writes: ["transform", "value", "fill", "distance", "shown"],
  asks: ["transform", "fill"],
  given: ["_invariance", "_work"],
};

export type InvarianceState = NetworkSlice & PicturesSlice & StripSlice & InvarianceSlice;

/** The transformation that is looked at. */
export const transformOf = (store: Store<InvarianceState>): TransformInfo | undefined =>
  store.get("_invariance").transforms.find(({ name }) => name === store.get("transform"));

/** Look at another transformation, from where it changes nothing. */
export function chooseTransform(store: Store<InvarianceState>, name: string): void {
  const found = store.get("_invariance").transforms.find((one) => one.name === name);
  if (found) store.set({ transform: name, value: found.identity });
}
