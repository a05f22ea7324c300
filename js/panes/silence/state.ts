/** Units that are held at zero. */
import type { Slice, View } from "../../seam";
import type { NetworkSlice } from "../shared/network";
import type { SelectionSlice } from "../shared/selection";
import type { SurveySlice } from "../shared/survey";

/** By layer, in the network's order: its silenced units, ascending. */
export type Silenced = readonly (readonly [layer: string, units: readonly number[]])[];

export interface SilenceSlice {
  silenced: Silenced;
  /** Of which layer it was asked, and why its units cannot be silenced; null where they can. */
  silenceable: { layer: string; refused: string | null } | null;
}

export const silenceSlice: Slice<SilenceSlice> = {
  initial: { silenced: [], silenceable: null },
  writes: ["silenced"],
  asks: ["silenced"],
};

export type SilenceState = NetworkSlice & SelectionSlice & SurveySlice & SilenceSlice;

export const isSilenced = (silenced: Silenced, layer: string, unit: number): boolean =>
  silenced.some(([name, units]) => name === layer && units.includes(unit));

/** Whether the unit that is looked at is. */
export const isSilencedHere = ({ store }: View<SilenceState>): boolean =>
  isSilenced(store.get("silenced"), store.get("layer"), store.get("selected") ?? -1);

/** With other units of one layer: those that `change` makes of the silenced ones there. */
export function changed(
  silenced: Silenced,
  layer: string,
  change: (units: readonly number[]) => readonly number[],
): Silenced {
  const known = silenced.some(([name]) => name === layer);
  const all: Silenced = known ? silenced : [...silenced, [layer, []]];
  return all
    .map(([name, units]) => [name, name === layer ? ascending(change(units)) : units] as const)
    .filter(([, units]) => units.length > 0);
}

const ascending = (units: readonly number[]) => [...units].sort((one, other) => one - other);

export const countOf = (silenced: Silenced): number =>
  silenced.reduce((count, [, units]) => count + units.length, 0);
