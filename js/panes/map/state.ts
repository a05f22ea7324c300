/** What the network says for every position of the occluder. */
import type { Extent, Position, Size } from "../../lib/geometry";
import type { Slice } from "../../seam";
import type { OccluderState } from "../occluder/state";
import type { Progress } from "../shared/work";

/** Positions row after row. */
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
  /** Of the picture without occluder; NaN where the network returns that; no activity without a layer. */
  clean: { index: number; label: string; probability: number; activity: number | null };
  layer: string | null;
  /** The map of that layer. */
  unit: number | null;
  labels: Record<string, string>;
  /** NaN where not computed, and where the network returns that. */
  probability: Float32Array;
  activity: Float32Array;
  /** Most probable class; -1 where not computed, -2 where the network returns NaN. */
  label: Int32Array;
}

export interface MapSlice {
  _map: Progress;
  stride: Size;
  channel: number | null;
  /** Of the maps over the picture. */
  opacity: number;
  /** The cell of the maps that is looked at: row and column. */
  cell: Position | null;
  /** The class whose cells are marked. */
  marked: number | null;
  maps: Maps | null;
  /** Of which setting they are, as `mapKey` has it. */
  mapped: string;
}

export const mapSlice: Slice<MapSlice> = {
  initial: {
    _map: { state: "none", revision: 0, done: 0, total: 0, left: null },
    stride: 6,
    channel: null,
    opacity: 1,
    cell: null,
    marked: null,
    maps: null,
    mapped: "",
  },
  writes: ["stride", "channel", "opacity"],
  held: ["opacity"],
  asks: ["stride", "channel"],
  given: ["_map"],
};

export type MapState = OccluderState & MapSlice;
