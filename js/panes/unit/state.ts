/** One unit: what a survey found of it, and what it picked out of its pictures. */
import type { Inside } from "../../lib/atlas";
import { bytes, int8s } from "../../lib/buffers";
import type { Photo } from "../../lib/photo";
import { type Store, same } from "../../lib/store";
import type { Answer, Slice } from "../../seam";
import type { NetworkSlice } from "../shared/network";
import type { Method, SelectionSlice } from "../shared/selection";
import type { SurveySlice } from "../shared/survey";

export interface Exemplar {
  value: number;
  /** What the value is before the ceiling of the layer's activation; null where it has none, or that is not known. */
  before: number | null;
  image: number;
  name: string;
  path: string | null;
  label: string | null;
  row: number;
  column: number;
  /** Top, left, bottom, right in the picture's pixels; may reach outside. */
  box: [number, number, number, number];
  /** Where in the patch the picture is. */
  inside: Inside;
  /** The receptive field is as large as the picture: the patch shows the whole of it. */
  whole: boolean;
  /** Of a weaker example: the share of the sampled pictures that excite the unit less. */
  quantile?: number;
}

/** Of which unit something is known, and at which checkpoint (see `SelectionSlice.checkpoint`). */
export interface Of {
  layer: string;
  channel: number;
  checkpoint: number | null;
}

/** Whether two things are known of the same unit at the same checkpoint. */
export const sameUnit = (one: Of, other: Of): boolean =>
  one.layer === other.layer && one.channel === other.channel && one.checkpoint === other.checkpoint;

/** Pictures that excite a unit, with one RGB crop for each, all `side` px. */
export interface Exemplars extends Of {
  exemplars: Exemplar[];
  side: number;
  crops: Uint8Array[];
}

export interface Unit extends Exemplars {
  /** Largest activations (before a ceiling) of all pictures: counts in bins whose edges are `edges`. */
  counts: number[];
  edges: number[];
  images: number;
  /** These are crops: of those that overlap the strongest is shown. */
  cropped?: boolean;
  share: number;
  /** The most frequent label of the top pictures, how many have it, of how many that have one. */
  purity: [string, number, number] | null;
  /** Classes that it prefers, by how many standard deviations between pictures, of how many pictures of the class. */
  classes: [string, number, number][];
  /** Units of the layer that are active on the same pictures, and the correlation over those that are sampled. */
  similar: [number, number][];
  sampled: number;
  /** Its name, where it is a class. */
  name: string | null;
  /** What too few pictures do not tell, a sentence each. */
  short: string[];
  /** Where the layer's activation cuts off; null where it does not, or the survey did not look before that. */
  ceiling: number | null;
  /** Its activations where they are too few for a histogram; else null. */
  values: number[] | null;
}

/** What a unit picked out of the patches of exemplars. */
export interface Projections extends Of {
  method: Method;
  /** Picture, row and column of each exemplar: a running survey may have found others since `Unit` was told. */
  places: [image: number, row: number, column: number][];
  side: number;
  /** Signed RGB, 127 for the strongest value; and what that is. */
  tiles: Int8Array[];
  peaks: number[];
  /** What patches and projections show: the receptive field, or what holds nearly all of the projection's energy. */
  crop: Crop;
  /** Of the latter: the patches, where in them the picture is, and how large they are in it, px. */
  crops: Uint8Array[];
  inside: Inside[];
  sides: number[];
}

export type Crop = "field" | "effective";

/** What shares a range of shades: each projection alone, or those of a unit. */
export type Contrast = "tile" | "group";

export interface UnitSlice {
  contrast: Contrast;
  crop: Crop;
  unit: Unit | null;
  /** Whether a person points at patches; and what a survey has found since, which waits until that ends. */
  pointing: boolean;
  newer: Unit | null;
  projections: Projections | null;
  /** Pictures of a random sample that excite the unit less than the top ones do. */
  weaker: Exemplars | null;
  /** The whole picture of the exemplar that is looked at. */
  context: Photo | null;
}

export const unitSlice: Slice<UnitSlice> = {
  initial: {
    contrast: "tile",
    crop: "field",
    unit: null,
    pointing: false,
    newer: null,
    projections: null,
    weaker: null,
    context: null,
  },
  writes: ["contrast", "crop"],
  asks: ["crop"],
};

export type UnitState = NetworkSlice & SelectionSlice & SurveySlice & UnitSlice;

/** Equal parts of a buffer: `count` square RGB tiles. */
function cut<T extends Uint8Array | Int8Array>(all: T, count: number, side: number): T[] {
  const step = side * side * 3;
  return Array.from({ length: count }, (_, index) => all.subarray(index * step, (index + 1) * step) as T);
}

const of = (answer: Answer): Of => ({
  layer: answer.layer as string,
  channel: answer.channel as number,
  checkpoint: (answer.checkpoint as number | null | undefined) ?? null,
});

export function exemplarsIn(answer: Answer, crops: DataView | undefined): Exemplars {
  const exemplars = answer.exemplars as Exemplar[];
  const side = answer.side as number;
  return {
    ...of(answer),
    exemplars,
    side,
    crops: cut(bytes(crops), exemplars.length, side),
  };
}

/** A unit as an answer tells it; likewise below. */
export const unitIn = (answer: Answer, [crops]: DataView[]): Unit => ({
  ...(answer as unknown as Unit),
  ...exemplarsIn(answer, crops),
});

/** The projections of an answer. */
export function projectionsIn(answer: Answer, [shades, crops]: DataView[]): Projections {
  const side = answer.side as number;
  const peaks = answer.peaks as number[];
  return {
    ...of(answer),
    ...(answer as unknown as Pick<Projections, "method" | "places" | "crop" | "inside" | "sides">),
    crops: cut(bytes(crops), (answer.inside as Inside[]).length, side),
    side,
    tiles: cut(int8s(shades), peaks.length, side),
    peaks,
  };
}

/** Projections in the order of exemplars: nothing where there is none of an exemplar. */
export function inOrder(projections: Projections, exemplars: readonly Exemplar[]): Projections {
  const pick = <T>(all: readonly T[]) =>
    exemplars.map(
      ({ image, row, column }) =>
        all[projections.places.findIndex((at) => same(at, [image, row, column]))] as T,
    );
  return {
    ...projections,
    places: pick(projections.places),
    tiles: pick(projections.tiles),
    peaks: pick(projections.peaks).map((peak) => peak ?? 0),
    crops: pick(projections.crops),
    inside: pick(projections.inside),
  };
}

/** Whether there is one of each exemplar. */
export const isComplete = ({ tiles }: Projections): boolean => tiles.every(Boolean);

/** The projections that have come of the unit that is shown, in its order, with the crop that is asked for. */
export function currentProjections(store: Store<UnitState>): Projections | null {
  const [unit, projections] = [store.get("unit"), store.get("projections")];
  return unit && projections && sameUnit(unit, projections) && projections.crop === store.get("crop")
    ? inOrder(projections, unit.exemplars)
    : null;
}

/** The weaker examples that have come for the unit that is shown. */
export function weakerOf(unit: Unit | null, weaker: Exemplars | null): Exemplars | null {
  return unit && weaker && sameUnit(unit, weaker) ? weaker : null;
}

/** The top exemplars and, after them, the weaker ones: what `exemplar` counts. */
export function exemplarsOf(unit: Unit | null, weaker: Exemplars | null): Exemplar[] {
  return [...(unit?.exemplars ?? []), ...(weakerOf(unit, weaker)?.exemplars ?? [])];
}
