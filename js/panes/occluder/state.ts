/** The occluder on the picture, and what the network says with it there. */
import type { Shape } from "../../lib/form";
import type { Extent, Position, Size } from "../../lib/geometry";
import type { Photo } from "../../lib/photo";
import type { Store } from "../../lib/store";
import type { HostSlice, Slice } from "../../seam";
import type { NetworkSlice } from "../shared/network";
import type { PicturesSlice } from "../shared/pictures";

export interface ClassScore {
  index: number;
  label: string;
  clean: number;
  now: number;
  /** Of the clean picture with nothing silenced, where units are silenced. */
  whole?: number;
}

/** What the network says with the occluder at one place. */
export interface Frame {
  picture: number;
  position: Position;
  size: Size;
  target: ClassScore;
  /** The most probable class, of the clean picture and now. */
  before: ClassScore;
  first: ClassScore;
  /** The clean picture's five most probable classes, and after them the one that is followed where it is none of these. */
  classes: ClassScore[];
  /** The most probable class now that is not among `classes`. */
  other: ClassScore | null;
  /** Whether each class has a probability of its own: they need not sum to 1. */
  independent: boolean;
  milliseconds: number;
  /** How many units are silenced. */
  silenced?: number;
  /** The most probable class at the same place with nothing silenced, where units are silenced. */
  unsilenced?: { index: number; label: string };
  /** Number of the trail that this place belongs to. */
  trail: number;
}

/** What the occluder shows at one place, where that depends on the place: RGB of its box. */
export interface Patch {
  position: Position;
  size: Extent;
  pixels: Uint8ClampedArray<ArrayBuffer>;
}

/** Where the occluder has been under one setting, and the target's probability there. */
export interface Trail {
  number: number;
  visited: { position: Position; value: number }[];
}

export interface OccluderSlice {
  position: Position;
  size: Size;
  shape: Shape;
  fill: string;
  target: number | null;
  show_trail: boolean;
  /** All classes; empty until they are asked for. */
  labels: string[];
  /** The next line drawn on the picture becomes the occluder's form. */
  drawing: boolean;
  /** Where the pointer is on the picture, px. */
  pointer: Position | null;
  /** A place where the occluder might be, marked for another pane. */
  ghost: { position: Position; size: Extent } | null;
  photo: Photo | null;
  /** What shines through the occluder wherever it is; null where its fill depends on the place. */
  filling: Photo | null;
  frame: Frame | null;
  patch: Patch | null;
  trail: Trail;
}

export const occluderSlice: Slice<OccluderSlice> = {
  initial: {
    position: [0, 0],
    size: 50,
    shape: "square",
    fill: "grey",
    target: null,
    show_trail: false,
    labels: [],
    drawing: false,
    pointer: null,
    ghost: null,
    photo: null,
    filling: null,
    frame: null,
    patch: null,
    trail: { number: -1, visited: [] },
  },
  writes: ["position", "size", "shape", "fill", "target", "show_trail"],
  held: ["position", "size"],
  asks: ["size", "shape", "fill"],
};

export type OccluderState = NetworkSlice & PicturesSlice & OccluderSlice;

const ASKED = ["picture", "size", "shape", "fill"] as const;

/** What the network is asked about, but for the occluder's place. */
export const SETTING = [...ASKED, "_revision"] as const;

/** Of it what a request says, and more. */
export const setting = <S extends PicturesSlice & OccluderSlice>(
  store: Store<S>,
  ...more: (keyof S)[]
): Record<string, unknown> => Object.fromEntries([...ASKED, ...more].map((key) => [key, store.get(key)]));

/** What the network is asked about one place. */
export const asked = (store: Store<OccluderState & HostSlice>): Record<string, unknown> => ({
  ...setting(store, "position", "target", "dragging"),
  at: performance.now(),
});
