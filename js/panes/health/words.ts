/** The health of layers in words. */
import { many, share } from "../../lib/format";
import type { HealthRow } from "./state";

/** "layer1.0: 64 filters, 3 dead, 1 rarely active, none repeated" */
export function rowText(row: HealthRow, inactive: "dead" | "silent"): string {
  const number = (kind: "dead" | "rare" | "duplicated") =>
    Math.round((row[kind] ?? 0) * row.channels) || "none";
  const parts = [
    many(row.channels, "filter"),
    `${number("dead")} ${inactive}`,
    ...(row.rare === null ? [] : [`${number("rare")} rarely active`]),
    `${number("duplicated")} repeated`,
    `active at ${share(row.active)} of places`,
  ];
  if (row.saturated !== null) parts.push(`saturated at ${share(row.saturated)}`);
  return `${row.layer}: ${parts.join(", ")}`;
}

/** All layers in a sentence. */
export function summaryText(rows: readonly HealthRow[], pictures: number): string {
  const filters = rows.reduce((count, row) => count + row.channels, 0);
  const of = (kind: "dead" | "rare" | "duplicated") =>
    rows.reduce((count, row) => count + Math.round((row[kind] ?? 0) * row.channels), 0);
  const told = rows.every(({ rare }) => rare !== null);
  const exact = (value: number) => `${((100 * value) / filters).toFixed(1)}\u00a0%`;
  const shares = [
    `${exact(of("dead"))} never active`,
    ...(told ? [`${exact(of("rare"))} in less than one picture in a hundred`] : []),
    `${exact(of("duplicated"))} repeat another`,
  ];
  const short = told ? "" : " Too few pictures to tell which are rarely active.";
  return `${many(filters, "filter")} of ${many(rows.length, "layer")} over ${many(pictures, "picture")}: ${shares.join(", ")}.${short}`;
}
