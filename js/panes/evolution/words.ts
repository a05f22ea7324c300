/** The evolution of units in words. */
import { activation, many } from "../../lib/format";
import type { Store } from "../../lib/store";
import { type Inactive, inactiveWord } from "../shared/survey";
import {
  type Curve,
  cellOf,
  columnsOf,
  type EvolutionState,
  hasWinner,
  type Order,
  type Place,
  type Winners,
  winnersOf,
} from "./state";

export const ORDERS: Record<Order, string> = {
  strongest: "strongest at the end",
  jumps: "most jumps",
  settling: "latest to settle",
  index: "by number",
};

/** On the button, and what the curve says. */
export const CURVES: Record<Curve, readonly [string, string]> = {
  staying: ["staying", "Share of the units that the same picture excites most as at the checkpoint before"],
  jaccard: [
    "top nine",
    "How alike the nine strongest pictures of a unit are to those at the last checkpoint (Jaccard), mean over the units",
  ],
  cka: ["CKA", "How alike the layer's answers are to those at the last checkpoint: linear CKA, debiased"],
  inactive: [
    "inactive units",
    "Share of the units that no picture activates (solid), or hardly any (dashed: dormant)",
  ],
  weight_rms: ["weights", "Root mean square of the weights"],
  energy: [
    "first layer",
    "Which directions the first layer's filters grew into: energy on the principal components of picture patches, a line a checkpoint",
  ],
};

export function jumpsOf(winners: Winners, unit: number): number[] {
  return Array.from({ length: columnsOf(winners) }, (_, checkpoint) => checkpoint).filter(
    (checkpoint) => winners.jump[checkpoint * winners.channels + unit],
  );
}

/** Of all units and all steps from a checkpoint to the next: the share at which the winner is another picture. */
export function jumpShare(winners: Winners): number {
  const steps = winners.channels * (columnsOf(winners) - 1);
  return steps > 0 ? winners.jump.reduce((sum, one) => sum + one, 0) / steps : 0;
}

/** What became of a unit in a few words: "2 jumps", "died". */
export function fateOf(winners: Winners, unit: number, inactive: Inactive): string {
  const columns = columnsOf(winners);
  const won = Array.from({ length: columns }, (_, checkpoint) => hasWinner(winners, [unit, checkpoint]));
  if (!won.some(Boolean)) return inactive;
  if (!won.at(-1)) return inactive === "dead" ? "died" : "became inactive";
  const jumps = jumpsOf(winners, unit).length;
  if (columns < 2) return "";
  return jumps === 0 ? "no jump" : many(jumps, "jump");
}

/** Before the name of a checkpoint: "epoch 5", "start". */
export const labelOf = (store: Store<EvolutionState>, checkpoint: number): string =>
  store.get("_evolution").checkpoints[checkpoint]?.label ?? "";

/** One cell in a line. */
export function cellText(store: Store<EvolutionState>, place: Place): string {
  const winners = winnersOf(store);
  const [unit, checkpoint] = place;
  const parts = [`unit ${unit}`, labelOf(store, checkpoint)];
  if (!winners) return parts.join(" · ");
  const index = checkpoint * winners.channels + unit;
  if (!hasWinner(winners, place))
    return [...parts, `${inactiveWord(store)}: the same on every picture`].join(" · ");
  const cell = cellOf(store, place);
  parts.push(activation(winners.value[index] ?? 0), cell ? (cell.label ?? cell.name) : "");
  if (winners.jump[index]) parts.push(`jump: another picture than at ${labelOf(store, checkpoint - 1)}`);
  return parts.filter(Boolean).join(" · ");
}

/** Why no unit has a row, or that what is looked for names none; "" where there is nothing to say. */
export function complaintOf(store: Store<EvolutionState>, rows: number, wrong: boolean): string {
  const [winners, query] = [winnersOf(store), store.get("query")];
  if (!winners || !query) return "";
  const range = `this layer has units 0 to ${winners.channels - 1}`;
  if (wrong) return `“${query}” names no unit: type numbers, such as 24, or 12, 40-48; ${range}.`;
  return rows === 0 ? `No unit matches “${query}”: ${range}.` : "";
}

/** All of the layer in a line. */
export function layerText(store: Store<EvolutionState>, rows: number): string {
  const winners = winnersOf(store);
  if (!winners) return " ";
  const { pictures } = store.get("_evolution");
  const last = columnsOf(winners) - 1;
  const dead = Array.from({ length: winners.channels }, (_, unit) => unit).filter(
    (unit) => !hasWinner(winners, [unit, last]),
  ).length;
  const parts = [
    rows < winners.channels ? `${rows} of ${many(winners.channels, "unit")}` : many(winners.channels, "unit"),
    `the strongest of ${many(pictures, "picture")} at each checkpoint`,
    dead > 0 ? `${dead} ${inactiveWord(store)} at ${labelOf(store, last)}` : "",
  ];
  return parts.filter(Boolean).join(" · ");
}
