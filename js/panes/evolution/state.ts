/** How the units of a layer change while a network is trained: a row a unit, a column a checkpoint. */
import type { Inside } from "../../lib/atlas";
import type { Store } from "../../lib/store";
import type { Slice } from "../../seam";
import type { NetworkSlice } from "../shared/network";
import type { Method, SelectionSlice } from "../shared/selection";
import type { SurveySlice } from "../shared/survey";

/** What a cell shows: the winner's projection, the patch of its picture, or both. */
export type Show = "both" | "projection" | "crop";
/** In which order the rows are; the kernel says what each means. */
export type Order = "strongest" | "jumps" | "settling" | "index";
/** Which cells share a range of shades: none, those of a row, all that are shown. */
export type Spread = "tile" | "row" | "layer";
export type Curve = "staying" | "jaccard" | "cka" | "inactive" | "weight_rms" | "energy";

export interface Checkpoint {
  /** "epoch 5", and "5" beneath a heading that says epoch. */
  label: string;
  short: string;
}

/** Values that JSON cannot hold (NaN: not measured) are null. */
export type Values = readonly (number | null)[];

export interface EvolutionInfo {
  /** What the short labels count. */
  counts: "epoch" | "step";
  /** Those of which all pictures were looked through, in the order of training. */
  checkpoints: Checkpoint[];
  /** Short labels of those that are still to come, as far as they are known. */
  ahead: string[];
  /** Whether checkpoints come from a training that is under way. */
  live: "no" | "training" | "ended";
  /** How many it has recorded, and will record as far as that is known. */
  recorded: number;
  planned: number | null;
  pictures: number;
  /** How many more could not be read. */
  unread: number;
  /** By curve and layer, a value a checkpoint. */
  curves: Record<string, Record<string, Values>>;
  /** A row a checkpoint, a value a component. */
  energy: Values[];
  /** Of the curves: of each layer, in the network's order, and of each checkpoint. */
  colours: { layers: Record<string, string>; checkpoints: string[] };
  /** The share of a layer's mean activation up to which a unit counts as dormant. */
  tau: number;
}

/** Of every checkpoint and unit of a layer, checkpoint after checkpoint: the strongest activation in all pictures. */
export interface Winners {
  layer: string;
  channels: number;
  value: Float32Array;
  /** Number of its picture, -1 where none stands out. */
  image: Int32Array;
  /** Whether the checkpoint before had another picture. */
  jump: Uint8Array;
  orders: Record<Order, Int32Array>;
}

/** What is seen of one winner. */
export interface Cell {
  /** Signed RGB, 127 stands for `peak`. */
  shades: Int8Array;
  peak: number;
  crop: Uint8Array;
  /** Where in the patch the picture is. */
  inside: Inside;
  name: string;
  label: string | null;
}

export interface Cells {
  layer: string;
  method: Method;
  side: number;
  /** By `cellKey`. */
  known: Map<string, Cell>;
}

/** A unit and a checkpoint. */
export type Place = readonly [unit: number, checkpoint: number];

export const cellKey = (unit: number, checkpoint: number): string => `${unit}/${checkpoint}`;

export interface EvolutionSlice {
  _evolution: EvolutionInfo;
  /** What the notebook calls the instrument. */
  _variable: string;
  show: Show;
  order: Order;
  /** How many rows there are; 0 for one for every unit. */
  rows: number;
  spread: Spread;
  curve: Curve;
  /** What is looked for: numbers of units. */
  query: string;
  /** The units that are in sight where it was painted last. */
  sight: readonly number[];
  /** Under the pointer. */
  pointed: Place | null;
  playing: boolean;
  winners: Winners | null;
  cells: Cells | null;
  /** How many cells have come. */
  come: number;
}

export const evolutionSlice: Slice<EvolutionSlice> = {
  initial: {
    _evolution: {
      counts: "epoch",
      checkpoints: [],
      ahead: [],
      live: "no",
      recorded: 0,
      planned: null,
      pictures: 0,
      unread: 0,
      curves: {},
      energy: [],
      colours: { layers: {}, checkpoints: [] },
      tau: 0,
    },
    _variable: "evolution",
    show: "both",
    order: "strongest",
    rows: 12,
    spread: "tile",
    curve: "staying",
    query: "",
    sight: [],
    pointed: null,
    playing: false,
    winners: null,
    cells: null,
    come: 0,
  },
  writes: ["show", "order", "rows", "spread", "curve"],
  given: ["_evolution", "_variable"],
};

export type EvolutionState = NetworkSlice & SurveySlice & SelectionSlice & EvolutionSlice;

/** The checkpoint that is looked at, -1 while there is none. */
export function checkpointOf(store: Store<SelectionSlice & EvolutionSlice>): number {
  const last = store.get("_evolution").checkpoints.length - 1;
  return Math.min(store.get("checkpoint") ?? last, last);
}

/** Look at another checkpoint; the newest is followed while new ones come. */
export function chooseCheckpoint(store: Store<SelectionSlice & EvolutionSlice>, wanted: number): void {
  const { checkpoints, live } = store.get("_evolution");
  const last = checkpoints.length - 1;
  const checkpoint = Math.max(0, Math.min(wanted, last));
  store.set({ checkpoint: checkpoint === last && live === "training" ? null : checkpoint, exemplar: null });
}

/** What is known of the winners of the layer that is looked at. */
export function winnersOf(store: Store<EvolutionState>): Winners | null {
  const winners = store.get("winners");
  return winners?.layer === store.get("layer") ? winners : null;
}

export function cellOf(store: Store<EvolutionState>, [unit, checkpoint]: Place): Cell | undefined {
  return store.get("cells")?.known.get(cellKey(unit, checkpoint));
}

/** Whether any picture stood out for a unit at a checkpoint: it was not zero, or the same, everywhere. */
export const hasWinner = (winners: Winners, [unit, checkpoint]: Place): boolean =>
  (winners.image[checkpoint * winners.channels + unit] ?? -1) >= 0;

/** How many checkpoints they are of. */
export const columnsOf = (winners: Winners): number => winners.value.length / winners.channels;
