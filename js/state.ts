/** All that the panes know: what the user chose, and what the kernel last answered. */
import type { Column, ExplainedClass, Refused, Row, Spot, Tile, TileState } from "./gallery/tiles";
import type { Planes, Scale } from "./lib/atlas";
import type { Colormap, Diverging } from "./lib/colormaps";
import type { Shape } from "./lib/form";
import type { Extent, Position, Size } from "./lib/geometry";
import type { KernelError } from "./lib/kernel";

export interface LayerInfo {
  name: string;
  kind: string;
  channels: number;
  size: Extent;
  /** Side of the receptive field, px of the picture. */
  field: number;
  /** A squeeze-excite gate upstream sees the whole picture, too. */
  gated: boolean;
}

export interface NetworkInfo {
  name: string;
  device: string;
  /** Height and width of the pictures it takes. */
  size: Extent;
  layers: LayerInfo[];
}

export interface PictureInfo {
  name: string;
  label: string | null;
}

/** RGB pixels ready for a canvas. */
export interface Photo {
  picture: number;
  height: number;
  width: number;
  pixels: Uint8ClampedArray<ArrayBuffer>;
}

export interface ClassScore {
  index: number;
  label: string;
  clean: number;
  now: number;
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
  /** The clean picture's five most probable classes. */
  classes: ClassScore[];
  /** The most probable class now that is not among `classes`. */
  other: ClassScore | null;
  /** Whether each class has a probability of its own: they need not sum to 1. */
  independent: boolean;
  milliseconds: number;
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

/** What the network says for every position of the occluder, row after row. */
export interface Maps {
  rows: number;
  columns: number;
  /** Top of each row's occluders, left of each column's, px. */
  tops: number[];
  lefts: number[];
  size: Extent;
  stride: Extent;
  /** A first-order estimate: nothing is computed yet. */
  preview: boolean;
  target: { index: number; label: string };
  /** Of the picture without occluder. */
  clean: { index: number; label: string; probability: number; activity: number | null };
  layer: string | null;
  /** The map of that layer. */
  unit: number | null;
  labels: Record<string, string>;
  /** NaN where not computed. */
  probability: Float32Array;
  activity: Float32Array;
  /** Most probable class; -1 where not computed. */
  label: Int32Array;
}

export interface MapState {
  state: "none" | "running" | "done" | "cancelled" | "failed";
  revision: number;
  done: number;
  total: number;
  /** Seconds, or null while unknown. */
  left: number | null;
}

export interface Grid {
  layer: string;
  lens: Lens;
  planes: Planes;
  /** Per channel, of this picture's map: its largest value, mean, and share of positions above zero. */
  max: Float32Array;
  mean: Float32Array;
  active: Float32Array;
}

/** What the survey says of a layer's channels. */
/** What became of a layer's units when patterns were fitted. Units are cut to the first of many. */
export interface PatternRow {
  layer: string;
  kind: string;
  regime: string;
  gate: string;
  extended: boolean;
  units: number;
  fitted: number;
  samples: number;
  problems: { name: string; count: number; units: number[] }[];
  /** Mean quality by estimator, null where it was not measured. */
  quality: Record<string, number | null>;
}

export interface PatternSummary {
  network: string;
  images: number;
  regimes: string[];
  denominator: string;
  /** Whose quality is known. */
  estimators: string[];
  rows: PatternRow[];
}

export interface HealthRow {
  layer: string;
  kind: string;
  channels: number;
  /** Shares of the channels. */
  dead: number;
  rare: number;
  duplicated: number;
  /** Mean shares of the positions; null where the activation has no upper bound. */
  active: number;
  saturated: number | null;
}

/** The units that prefer a class. */
export interface Found {
  label: string;
  layer: string;
  /** Of each unit of that layer, in standard deviations between pictures. */
  preference: Float32Array;
  /** Of all layers: layer, unit, preference. */
  units: [string, number, number][];
}

export interface Health {
  layer: string;
  /** Largest activation over all pictures. */
  max: Float32Array;
  /** Share of pictures that activate the channel anywhere. */
  share: Float32Array;
  /** The first unit of the layer that each repeats; its own number if none. */
  first: Int32Array;
}

export interface Exemplar {
  value: number;
  image: number;
  name: string;
  path: string | null;
  label: string | null;
  row: number;
  column: number;
  /** Top, left, bottom, right in the picture's pixels; may reach outside. */
  box: [number, number, number, number];
  /** The receptive field is as large as the picture: the patch shows the whole of it. */
  whole: boolean;
  /** Of a weaker example: the share of the sampled pictures that excite the unit less. */
  quantile?: number;
}

export interface Unit {
  layer: string;
  channel: number;
  exemplars: Exemplar[];
  /** One RGB crop for each exemplar, all `side` px. */
  side: number;
  crops: Uint8Array[];
  /** Activations of all pictures: counts in bins whose edges are `edges`. */
  counts: number[];
  edges: number[];
  images: number;
  share: number;
  /** The most frequent label of the top pictures, how many have it, of how many that have one. */
  purity: [string, number, number] | null;
  /** Classes that it prefers, and by how many standard deviations between pictures. */
  classes: [string, number][];
  /** Units of the layer that are active on the same pictures, and the correlation. */
  similar: [number, number][];
}

/** Pictures of a random sample that excite a unit less than the top ones do. */
export interface Weaker {
  layer: string;
  channel: number;
  exemplars: Exemplar[];
  side: number;
  crops: Uint8Array[];
}

/** What a unit picked out of its exemplars' patches, in their order. */
export interface Projections {
  layer: string;
  channel: number;
  method: Method;
  side: number;
  /** Signed RGB, 127 for the strongest value; and what that is. */
  tiles: Int8Array[];
  peaks: number[];
}

/** What a unit picks out of the current picture. */
export interface Here {
  layer: string;
  channel: number;
  picture: number;
  row: number;
  column: number;
  value: number;
  /** Top, left, bottom, right: where the signed RGB lies in the picture. */
  box: [number, number, number, number];
  shades: Int8Array;
}

export interface SurveyState {
  state: "none" | "running" | "done" | "cancelled" | "failed";
  revision: number;
  done: number;
  total: number;
  /** Seconds, or null while unknown. */
  left: number | null;
  skipped: number;
  /** Share of the filters of each layer that no picture has activated. */
  dead?: Record<string, number>;
}

export type Lens = "activation" | "patch" | "projection" | "weights";
export type Method = "deconvnet" | "guided_backprop" | "gradient";
/** What shares a range of shades: each projection alone, or those of a unit. */
export type Contrast = "tile" | "group";
export type Order = "strongest" | "mean" | "index" | "best" | "rare" | "class";
/** Which filters are shown, by what a survey found. */
export type Show = "all" | "alive" | "dead" | "rare" | "repeated";

export interface State {
  // Kept in step with the traits of the same name.
  _network: NetworkInfo;
  _pictures: PictureInfo[];
  _revision: number;
  _survey: SurveyState;
  _map: MapState;
  _columns: Column[];
  _refused: Refused[];
  _tiles: TileState;
  /** The classes of which pictures were surveyed. */
  _labels: string[];
  _health: HealthRow[];
  _patterns: PatternSummary;
  only_problems: boolean;
  picture: number;
  position: Position;
  size: Size;
  shape: Shape;
  fill: string;
  target: number | null;
  show_trail: boolean;
  stride: Size;
  channel: number | null;
  layer: string;
  selected: number | null;
  colormap: Colormap;
  scale: Scale;
  order: Order;
  show: Show;
  /** The class that units are looked for, or "". */
  label: string;
  lens: Lens;
  method: Method;
  contrast: Contrast;
  targets: (number | null)[];
  extended: string[];
  control: boolean;
  top: number;
  opacity: number;
  scale_by: "group" | "map";
  colours: Diverging;
  // This page's own.
  dragging: boolean;
  /** The next line drawn on the picture becomes the occluder's form. */
  drawing: boolean;
  /** Where the pointer is on the picture, px. */
  pointer: Position | null;
  /** The cell of the maps that is looked at: row and column. */
  cell: Position | null;
  /** The class whose cells are marked. */
  marked: number | null;
  hovered: number | null;
  /** Where the gallery is looked at. */
  spot: Spot | null;
  /** Index of the exemplar whose picture is shown whole. */
  exemplar: number | null;
  /** Kinds of request that have been under way for more than 300 ms. */
  slow: readonly string[];
  /** Milliseconds from asking to having the last frame. */
  latency: number | null;
  errors: Record<string, KernelError>;
  /** The kernel is not there (a saved page): controls that need it are off. */
  offline: boolean;
  // The kernel's answers.
  photo: Photo | null;
  filling: Photo | null;
  frame: Frame | null;
  patch: Patch | null;
  trail: Trail;
  maps: Maps | null;
  grid: Grid | null;
  health: Health | null;
  found: Found | null;
  /** How many projections have come into the grid's planes. */
  tiled: number;
  unit: Unit | null;
  projections: Projections | null;
  weaker: Weaker | null;
  here: Here | null;
  context: Photo | null;
  thumbnails: Photo[];
  rows: Row[];
  /** How many pictures the gallery was given; it shows as many as it has rows. */
  given: number;
  /** The gallery's maps by place. */
  tiles: ReadonlyMap<string, Tile>;
  /** What each row explains. */
  explained: ExplainedClass[];
  /** Whether more maps of the gallery are to come. */
  awaited: boolean;
}

/** Keys that are traits: whatever the front end may write, and the rest. */
export const SHARED = [
  "picture",
  "position",
  "size",
  "shape",
  "fill",
  "target",
  "show_trail",
  "stride",
  "channel",
  "layer",
  "selected",
  "colormap",
  "scale",
  "order",
  "show",
  "label",
  "lens",
  "method",
  "contrast",
  "targets",
  "extended",
  "control",
  "top",
  "opacity",
  "scale_by",
  "colours",
  "only_problems",
] as const satisfies readonly (keyof State)[];
export const GIVEN = [
  "_network",
  "_pictures",
  "_revision",
  "_survey",
  "_map",
  "_columns",
  "_refused",
  "_tiles",
  "_labels",
  "_health",
  "_patterns",
] as const satisfies readonly (keyof State)[];

export const initial: State = {
  _network: { name: "", device: "", size: [224, 224], layers: [] },
  _pictures: [],
  _revision: 0,
  _survey: { state: "none", revision: 0, done: 0, total: 0, left: null, skipped: 0 },
  _map: { state: "none", revision: 0, done: 0, total: 0, left: null },
  _columns: [],
  _refused: [],
  _tiles: { state: "none", revision: 0, done: 0, total: 0, left: null, failed: 0 },
  _labels: [],
  _health: [],
  _patterns: { network: "", images: 0, regimes: [], denominator: "paper", estimators: [], rows: [] },
  only_problems: false,
  picture: 0,
  position: [0, 0],
  size: 50,
  shape: "square",
  fill: "grey",
  target: null,
  show_trail: false,
  stride: 6,
  channel: null,
  layer: "",
  selected: null,
  colormap: "inferno",
  scale: "unit",
  order: "strongest",
  show: "all",
  label: "",
  lens: "activation",
  method: "deconvnet",
  contrast: "tile",
  targets: [],
  extended: [],
  control: true,
  top: 0.5,
  opacity: 1,
  scale_by: "group",
  colours: "red-blue",
  dragging: false,
  drawing: false,
  pointer: null,
  cell: null,
  marked: null,
  hovered: null,
  spot: null,
  exemplar: null,
  slow: [],
  latency: null,
  errors: {},
  offline: false,
  photo: null,
  filling: null,
  frame: null,
  patch: null,
  trail: { number: -1, visited: [] },
  maps: null,
  grid: null,
  health: null,
  found: null,
  tiled: 0,
  unit: null,
  projections: null,
  weaker: null,
  here: null,
  context: null,
  thumbnails: [],
  rows: [],
  given: 0,
  tiles: new Map(),
  explained: [],
  awaited: false,
};
