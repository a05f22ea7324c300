/** Maps and methods in words. */
import { short } from "../../lib/format";
import type { Map16, Tile } from "./state";

export const WARN = 0.7;

/** What a similarity means, in a word and in a sentence. */
export function meaning(
  rho: number | null,
  turned = false,
): { word: string; sentence: string; warn: boolean } {
  if (rho === null)
    return {
      word: "no order",
      sentence: "One of the two maps has the same magnitude everywhere: there is nothing to compare.",
      warn: false,
    };
  if (rho > WARN)
    return {
      word: turned ? "only signs change" : "hardly changes",
      sentence: `${turned ? "But for its signs, the" : "The"} map hardly depends on what the top layers learnt.`,
      warn: true,
    };
  if (rho > 0.4)
    return {
      word: "changes in part",
      sentence: "A part of the map does not depend on what the top layers learnt.",
      warn: false,
    };
  return { word: "changes", sentence: "The map depends on what the top layers learnt.", warn: false };
}

/** How strong a map is, and how much of the score arrives in it; or that its class speaks against itself. */
export function rangeOf({ strong, score, brief }: Map16): string {
  const what = score < 0 ? "speaks against itself" : brief;
  return `± ${short(strong)}${what ? ` · ${what}` : ""}`;
}

/** The same in sentences. */
export const aboutOf = ({ account, notes }: Map16): string =>
  [
    account,
    ...notes,
    "Under the map: the magnitude of the strongest values (99.5 % are weaker), and what arrives of the score.",
  ].join("\n");

/** "input × gradient" for "input_times_gradient". */
export const titleOf = (method: string): string => method.replace("_times_", " × ").replaceAll("_", " ");

/** What the control randomises, in words. */
export function randomised(top: number): string {
  if (top <= 0) return "classifier";
  if (top >= 1) return "all layers";
  return `top ${Math.round(top * 100)} % of layers`;
}

export const rhoText = (rho: number | null): string =>
  rho === null ? "–" : rho.toFixed(2).replace("-", "−");

/** One value, or three of red, green and blue. */
export const valueText = (values: readonly number[]): string =>
  values.length === 1 ? short(values[0] ?? 0) : values.map((value) => short(value, 2)).join("  ");

/** Why there is nothing to be seen on a tile. */
export function noteOf(tile: Tile | undefined): string {
  if (tile?.error) return `${tile.error.name}: ${tile.error.message}`;
  if (tile?.map?.limit === 0) return "Zero everywhere: nothing of this class reaches the picture.";
  return "";
}

/** A place of a picture in its pixels. */
export const placeText = (
  [down, across]: readonly [number, number],
  picture: { height: number; width: number },
): string => `row ${Math.floor(down * picture.height)}, column ${Math.floor(across * picture.width)}`;
