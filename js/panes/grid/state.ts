/** The units of a layer beside one another: what each shows, in which order, in which colours. */
import type { Planes, Scale } from "../../lib/atlas";
import type { Colormap } from "../../lib/colormaps";
import type { Store } from "../../lib/store";
import type { Slice } from "../../seam";
import type { NetworkSlice } from "../shared/network";
import type { PicturesSlice } from "../shared/pictures";
import type { SelectionSlice } from "../shared/selection";
import type { SurveySlice } from "../shared/survey";

export type Lens = "activation" | "patch" | "projection" | "weights";
export type Order = "strongest" | "mean" | "index" | "best" | "rare" | "class";
/** Which units are shown, by what a survey found. */
export type Show = "all" | "alive" | "dead" | "rare" | "repeated";

export interface Grid {
  layer: string;
  lens: Lens;
  planes: Planes;
  /** Where the layer's activation cuts off, or null. */
  ceiling: number | null;
  /** Per unit, of this picture's map: its largest value (before a ceiling), mean, and share of positions above zero. */
  max: Float32Array;
  mean: Float32Array;
  active: Float32Array;
  /** Of patches and their projections: where in the tile the picture is, four shares a unit. */
  inside: Float32Array;
  /** Names of the units, where they are the classes. */
  names: readonly string[] | null;
  /** Units that are held at zero. */
  silenced: readonly number[];
}

/** What a survey says of a layer's units. */
export interface Health {
  layer: string;
  /** How many pictures were looked through. */
  images: number;
  /** Why of so few no unit is called rarely active; null of enough. */
  short: string | null;
  /** Where the layer's activation cuts off; null where it does not, or the survey did not look before that. */
  ceiling: number | null;
  /** Largest activation over all pictures (before a ceiling). */
  max: Float32Array;
  /** Share of pictures that activate the unit anywhere. */
  share: Float32Array;
  /** The first unit of the layer that each repeats; its own number if none. */
  first: Int32Array;
  /** 1 for a unit that is dead, 2 for one that is rarely active. */
  state: Uint8Array;
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

export interface GridSlice {
  /** The classes of which pictures were surveyed. */
  _labels: string[];
  colormap: Colormap;
  scale: Scale;
  weights_scale: Scale;
  order: Order;
  show: Show;
  /** The class that units are looked for, or "". */
  label: string;
  lens: Lens;
  hovered: number | null;
  grid: Grid | null;
  health: Health | null;
  found: Found | null;
  /** How many projections have come into the grid's planes. */
  tiled: number;
}

export const gridSlice: Slice<GridSlice> = {
  initial: {
    _labels: [],
    colormap: "inferno",
    scale: "unit",
    weights_scale: "layer",
    order: "strongest",
    show: "all",
    label: "",
    lens: "activation",
    hovered: null,
    grid: null,
    health: null,
    found: null,
    tiled: 0,
  },
  writes: ["colormap", "scale", "weights_scale", "order", "show", "label", "lens"],
  given: ["_labels"],
  asks: ["label", "lens"],
};

export type GridState = NetworkSlice & PicturesSlice & SurveySlice & SelectionSlice & GridSlice;

/** The key of what shares a range of colours: that of weights is a choice of its own. */
export const scaleKey = (lens: Lens) => (lens === "weights" ? "weights_scale" : "scale");

/**
 * The units of the layer that is looked at, or null while they are to come: its predecessor stays in sight, and a number of
 * the one may be none of the other.
 */
export function gridOf(store: Store<GridState>): Grid | null {
  const grid = store.get("grid");
  return grid?.layer === store.get("layer") ? grid : null;
}
