/** The gallery: a row a picture, a column a method, a map and its control in each place. */
import type { Diverging } from "../../lib/colormaps";
import type { KernelError, Slice } from "../../seam";
import type { NetworkSlice } from "../shared/network";
import type { Progress } from "../shared/work";

/** What shares a scale of colours. */
export type ScaleBy = "method" | "group" | "map";

export type Group = "function" | "signal" | "attribution";

export interface Column {
  name: string;
  group: Group;
  summary: string;
  /** The extension, and the operations that the method is not published for; null for the method as published. */
  extended: { how: string | null; where: string } | null;
}

export interface Refused extends Column {
  reason: string;
  /** The network has an operation without a rule; a package is missing; patterns are; it was not chosen. */
  kind: "network" | "missing" | "patterns" | "more";
  /** With which it would be possible. */
  extension: string | null;
}

export interface TileState extends Progress {
  failed: number;
}

export interface ExplainedClass {
  index: number;
  label: string;
  probability: number;
}

/** A picture and its most probable classes. */
export interface Row {
  name: string;
  /** The class that it is known to be of. */
  label?: string | null;
  classes: ExplainedClass[];
  height: number;
  width: number;
  pixels: Uint8ClampedArray<ArrayBuffer>;
}

/** A place on the pictures of a row: down and across, 0..1. */
export interface Spot {
  row: number;
  at: [number, number];
}

export interface Map16 {
  /** 1: a value a place; 3: red, green, blue, each signed. */
  depth: 1 | 3;
  height: number;
  width: number;
  /** Planes of 16 bits: 32767 is `limit`, zero is zero. */
  values: Int16Array;
  /** The greatest magnitude, and the one at which colours end. */
  limit: number;
  strong: number;
  target: number;
  label: string;
  score: number;
  /** How much of the score arrives: in three words, empty where nothing is shared out; and in a line. */
  brief: string;
  account: string;
  /** What else to know, such as that the class speaks against itself. */
  notes: string[];
}

export interface Tile {
  row: number;
  method: string;
  control: boolean;
  /** Tells it from every other; the kernel's. */
  number: number;
  map: Map16 | null;
  /** Of a control: how alike it is to the map; null where that says nothing. */
  rho: number | null;
  /** Of a control: it is like the map with its signs exchanged, which `rho` does not see. */
  turned: boolean;
  error: KernelError | null;
  /** The row explains another class now; the new map is not there yet. */
  stale: boolean;
}

/** What the kernel says of one map; the values only where they are new. */
export interface TileAnswer
  extends Omit<Map16, "values">,
    Pick<Tile, "row" | "method" | "control" | "number"> {
  new?: boolean;
  rho: number | null;
  turned: boolean;
  error: KernelError | null;
}

export interface GallerySlice {
  _columns: Column[];
  _refused: Refused[];
  _tiles: TileState;
  targets: (number | null)[];
  /** Those chosen; null for as many as there is room for. */
  methods: string[] | null;
  extended: string[];
  control: boolean;
  /** Share of the layers that the control randomises, from the output down. */
  top: number;
  opacity: number;
  scale_by: ScaleBy;
  colours: Diverging;
  /** Where the gallery is looked at. */
  spot: Spot | null;
  rows: Row[];
  /** How many pictures the gallery was given; it shows as many as it has rows. */
  given: number;
  /** Of pictures that were passed by, since they cannot be read: name and error. */
  unread: readonly (readonly [name: string, error: string])[];
  /** The maps by place. */
  tiles: ReadonlyMap<string, Tile>;
  /** What each row explains. */
  explained: ExplainedClass[];
  /** Whether more maps are to come. */
  awaited: boolean;
}

export const gallerySlice: Slice<GallerySlice> = {
  initial: {
    _columns: [],
    _refused: [],
    _tiles: { state: "none", revision: 0, done: 0, total: 0, left: null, failed: 0 },
    targets: [],
    methods: null,
    extended: [],
    control: true,
    top: 0.5,
    opacity: 1,
    scale_by: "method",
    colours: "red-blue",
    spot: null,
    rows: [],
    given: 0,
    unread: [],
    tiles: new Map(),
    explained: [],
    awaited: false,
  },
  writes: ["targets", "methods", "extended", "control", "top", "opacity", "scale_by", "colours"],
  held: ["opacity"],
  given: ["_columns", "_refused", "_tiles"],
};

export type GalleryState = NetworkSlice & GallerySlice;
