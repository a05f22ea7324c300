/** Scores in words. */
import type { Scores } from "./state";

/** ".302", as the paper prints it. */
export function shareText(value: number | null | undefined): string {
  return value === null || value === undefined ? "–" : value.toFixed(3).replace(/^0/, "");
}

/** ".302 ± .055" */
export function spreadText(value: number | null, spread: number | null): string {
  return spread === null ? shareText(value) : `${shareText(value)} ± ${shareText(spread)}`;
}

/** "p .011", "p <.001", "no p" */
export function chanceText(p: number | null): string {
  if (p === null) return "no p";
  return p < 0.001 ? "p <.001" : `p ${shareText(p)}`;
}

/** A layer's scores in a sentence, for who does not see the dot. */
export function scoresText(part: string, layer: string, scores: Scores): string {
  return (
    `${part} at ${layer}: ${shareText(scores.delta)}, random places ${shareText(scores.low)} to ` +
    `${shareText(scores.high)}, ${chanceText(scores.p)}`
  );
}
