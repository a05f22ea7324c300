/** Two networks on the same pictures: what is told of both, what is asked of them, and the square on both pictures. */
import type { Inside } from "../../lib/atlas";
import type { Position, Size } from "../../lib/geometry";
import type { Photo } from "../../lib/photo";
import type { Store } from "../../lib/store";
import type { HostSlice, Slice } from "../../seam";
import type { Frame, OccluderState, Patch, Trail } from "../occluder/state";
import type { NetworkInfo } from "../shared/network";
import type { Progress } from "../shared/work";
import type { StripSlice } from "../strip/state";

/** What is said beneath a first layer: which of its filters, and shares from 0 to 1; null where not measured. */
export interface FirstLayer {
  layer: string;
  stride: [number, number] | null;
  dead: number[];
  dead_by: "activations" | "weights";
  dominant: number[];
  repeated: number[];
  coverage: number | null;
  folded: number | null;
  above: number | null;
  next: string | null;
}

export interface Side {
  name: string;
  /** The layers that are compared. */
  layers: string[];
  first: FirstLayer | null;
  /** Why there is no first layer to look at. */
  complaint: string | null;
}

export interface NumberRow {
  name: string;
  kind: "share" | "count" | "seconds";
  values: [number | null, number | null];
}

/** What both networks say of a picture at hand. */
export interface BothAnswers {
  image: number;
  label: string | null;
  answers: [string, string];
  probabilities: [number, number];
  /** Whether each is right; null where the picture has no class that the network knows. */
  right: [boolean | null, boolean | null];
}

export interface Comparison {
  /** All pictures have been seen by both. */
  known: boolean;
  sides: Side[];
  numbers: NumberRow[];
  agreement: number | null;
  compared: number | null;
  /** How many others one of them cannot read. */
  unread: number;
  /** On how many pictures they disagree; null where there is no saying. */
  disagreements: number | null;
  /** Why there is no saying. */
  complaint: string | null;
  /** Why layers cannot be compared. */
  cka: string | null;
  answers: BothAnswers[];
}

/** The filters of a first layer as pixels. */
export interface Filters {
  layer: string;
  count: number;
  height: number;
  width: number;
  pixels: Uint8Array;
}

export interface Matrix {
  rows: number;
  columns: number;
  /** NaN where there is none. */
  values: Float32Array;
}

/** A unit of the one and the unit of the other that is most like it. */
export interface Pair {
  units: [number, number];
  r: number;
  /** The first is the most like the second, too. */
  mutual: boolean;
  /** How many patches there are of either. */
  patches: [number, number];
}

export type PairOrder = "mutual" | "alike" | "unlike";

/** The patches that excite a unit most, or what it picked out of them. */
export type PairShow = "patch" | "projection";

export interface Matches {
  layer_a: string;
  layer_b: string;
  pair_order: PairOrder;
  pair_show: PairShow;
  side: number;
  /** How many pairs there are, of which some are shown. */
  all: number;
  pairs: Pair[];
  /** RGB, one patch after the other. */
  patches: [Uint8Array, Uint8Array];
  /** Where in each patch the picture is. */
  inside: [Inside[], Inside[]];
}

/** Row and column on the first picture become those on the second: offset in pixels, and scale. */
export interface Together {
  picture: number;
  rows: [number, number];
  columns: [number, number];
}

/** The square on the second network's picture, and what that says; see `OccluderSlice`. */
interface SecondOccluder {
  position_b: Position;
  size_b: Size;
  target_b: number | null;
  labels_b: string[];
  pointer_b: Position | null;
  ghost_b: null;
  photo_b: Photo | null;
  filling_b: Photo | null;
  frame_b: Frame | null;
  patch_b: Patch | null;
  trail_b: Trail;
  slow_b: readonly string[];
  errors_b: HostSlice["errors"];
}

export interface CompareSlice extends SecondOccluder {
  _second: NetworkInfo;
  /** Both networks in one, as the status line names them. */
  both: NetworkInfo;
  _comparison: Comparison;
  _work: Progress;
  layer_a: string;
  layer_b: string;
  pair_order: PairOrder;
  pair_show: PairShow;
  pairs: number;
  filters: (Filters | null)[];
  matrix: Matrix | null;
  matches: Matches | null;
  together: Together;
  /** The cell of the matrix that is pointed at: indices of the layers. */
  pointed: [number, number] | null;
}

const nothing: NetworkInfo = { name: "", device: "", size: [224, 224], layers: [] };

export const compareSlice: Slice<CompareSlice> = {
  initial: {
    _second: nothing,
    both: nothing,
    _comparison: {
      known: false,
      sides: [],
      numbers: [],
      agreement: null,
      compared: null,
      unread: 0,
      disagreements: null,
      complaint: null,
      cka: null,
      answers: [],
    },
    _work: { state: "none", revision: 0, done: 0, total: 0, left: null },
    layer_a: "",
    layer_b: "",
    pair_order: "mutual",
    pair_show: "patch",
    pairs: 12,
    filters: [],
    matrix: null,
    matches: null,
    together: { picture: 0, rows: [0, 1], columns: [0, 1] },
    pointed: null,
    position_b: [0, 0],
    size_b: 50,
    target_b: null,
    labels_b: [],
    pointer_b: null,
    ghost_b: null,
    photo_b: null,
    filling_b: null,
    frame_b: null,
    patch_b: null,
    trail_b: { number: -1, visited: [] },
    slow_b: [],
    errors_b: {},
  },
  writes: ["layer_a", "layer_b", "pair_order", "pair_show", "pairs", "target_b"],
  asks: ["layer_a", "layer_b", "pair_order", "pair_show", "pairs"],
  given: ["_second", "_comparison", "_work"],
};

export type CompareState = OccluderState & StripSlice & CompareSlice;

/** The names of the two networks; of one kind twice they are told apart. */
export function names(store: Store<CompareSlice>): [string, string] {
  const [a = "first", b = "second"] = store.get("_comparison").sides.map(({ name }) => name);
  return a === b ? [`${a} (first)`, `${b} (second)`] : [a, b];
}
