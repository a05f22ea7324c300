/** The health of layers in words. */
import { many, share } from "../../lib/format";
import type { Inactive } from "../shared/survey";
import type { HealthRow } from "./state";

/** "layer1.0: 64 filters, 3 dead, 1 rarely active, none repeated" */
export function rowText(row: HealthRow, inactive: Inactive): string {
  const number = (kind: "dead" | "rare" | "duplicated") =>
    Math.round((row[kind] ?? 0) * row.channels) || "none";
  const parts = [
    many(row.channels, "filter"),
    `${number("dead")} ${inactive}`,
    ...(row.rare === null ? [] : [`${number("rare")} rarely active`]),
    ...(row.duplicated === null ? [] : [`${number("duplicated")} repeated`]),
    `active at ${share(row.active)} of places`,
  ];
  if (row.saturated !== null) parts.push(`saturated at ${share(row.saturated)}`);
  return `${row.layer}: ${parts.join(", ")}`;
}

/** What too few pictures do not tell. */
export const untoldKinds = (rows: readonly HealthRow[]): ("rare" | "duplicated")[] =>
  (["rare", "duplicated"] as const).filter((kind) => rows.some((row) => row[kind] === null));

/** All layers in a sentence. */
export function summaryText(rows: readonly HealthRow[], pictures: number, inactive: Inactive): string {
  const filters = rows.reduce((count, row) => count + row.channels, 0);
  const of = (kind: "dead" | "rare" | "duplicated") =>
    rows.reduce((count, row) => count + Math.round((row[kind] ?? 0) * row.channels), 0);
  const untold = untoldKinds(rows);
  const exact = (value: number) => `${((100 * value) / filters).toFixed(1)}\u00a0%`;
  const shares = [
    `${exact(of("dead"))} ${inactive}`,
    ...(untold.includes("rare") ? [] : [`${exact(of("rare"))} in less than one picture in a hundred`]),
    ...(untold.includes("duplicated") ? [] : [`${exact(of("duplicated"))} repeat another`]),
  ];
  const which = untold.map((kind) => (kind === "rare" ? "are rarely active" : "repeat another"));
  const short = which.length > 0 ? ` Too few pictures to tell which ${which.join(" or ")}.` : "";
  return `${many(filters, "filter")} of ${many(rows.length, "layer")} over ${many(pictures, "picture")}: ${shares.join(", ")}.${short}`;
}

/** That no unit is any of what the pictures tell. */
export function nothingText(rows: readonly HealthRow[], inactive: Inactive): string {
  const untold = untoldKinds(rows);
  const kinds = [
    inactive,
    ...(untold.includes("rare") ? [] : ["rarely active"]),
    ...(untold.includes("duplicated") ? [] : ["repeated"]),
  ];
  const last = kinds.pop();
  return `No unit is ${[kinds.join(", "), last].filter(Boolean).join(" or ")}.`;
}
