/** The columns of the table: the picture's, then the methods' with a narrow gap between groups. */
import { el, text } from "../../lib/dom";
import { short } from "../../lib/format";
import type { Store } from "../../lib/store";
import type { Column, GalleryState } from "./state";
import { columnEnd } from "./tiles";
import { titleOf } from "./words";

const GROUPS = {
  function: ["Function", "How the score of the class changes with every value of the picture"],
  signal: [
    "Signal",
    "What the network picked out of the picture: zero is grey, colours are those of the values",
  ],
  attribution: ["Attribution", "How much each place contributed to the score of the class"],
} as const;

/** Between columns, and what is more between groups, px; and the least width of a column. */
export const GAP = 12;
const GROUP_GAP = 4;
const LEAST = 116;

/** The least width of a column with which all fit side by side, or as many as do are whole: none is cut off. */
export function leastWidth(width: number, columns: readonly Column[]): number {
  const starts = columns.map(({ group }, at) => at > 0 && columns[at - 1]?.group !== group);
  for (let methods = columns.length; methods > 0; methods--) {
    // Of so many side by side, wherever they begin: the most gaps between groups.
    const gaps = columns
      .slice(0, columns.length - methods + 1)
      .map((_, first) => starts.slice(first + 1, first + methods).filter(Boolean).length);
    const room = width - (GAP + GROUP_GAP) * Math.max(...gaps) - GAP * methods;
    const tile = Math.floor(room / (methods + 1));
    if (tile >= LEAST) return methods === columns.length ? LEAST : tile;
  }
  return LEAST;
}

/** A group's first column has a gap before it. */
export function tracks(columns: readonly Column[]): string {
  const parts = columns.map(({ group }, index) => {
    const gap = index > 0 && columns[index - 1]?.group !== group ? "var(--cs-group-gap) " : "";
    return `${gap}minmax(var(--cs-tile-least), var(--cs-tile-most))`;
  });
  return `minmax(var(--cs-tile-least), var(--cs-tile-most)) ${parts.join(" ")}`;
}

/** Number of the grid's track, from 1, of a column. */
export function trackOf(columns: readonly Column[], column: Column): number {
  const index = columns.indexOf(column);
  const gaps = columns.filter(
    (one, at) => at > 0 && at <= index && columns[at - 1]?.group !== one.group,
  ).length;
  return 2 + index + gaps;
}

export function groupHeads(columns: readonly Column[]): HTMLElement {
  const line = el("div.cs-gallery__line", { role: "row" });
  line.append(el("div.cs-gallery__corner", { role: "presentation" }));
  for (const [group, [title, what]] of Object.entries(GROUPS)) {
    const mates = columns.filter((column) => column.group === group);
    const [first, last] = [mates[0], mates[mates.length - 1]];
    if (!first || !last) continue;
    const head = el("div.cs-gallery__group", { role: "columnheader", title: what }, title);
    head.style.gridColumn = `${trackOf(columns, first)} / ${trackOf(columns, last) + 1}`;
    line.append(head);
  }
  return line;
}

export function methodHeads(columns: readonly Column[]): HTMLElement {
  const line = el("div.cs-gallery__line", { role: "row" });
  line.append(el("div.cs-gallery__corner.cs-gallery__method", { role: "columnheader" }, "picture"));
  for (const column of columns) {
    const head = el(
      "div.cs-gallery__method",
      { role: "columnheader", title: column.summary },
      el("span", titleOf(column.name)),
    );
    if (column.extended) {
      const { how, where } = column.extended;
      head.append(
        el(
          "span.cs-extended",
          {
            title: `Beyond the published method, which says nothing about ${where}: ${how ? `extension="${how}"` : "a rule of our own"} stands in there.`,
          },
          "extended",
        ),
      );
    }
    head.append(
      el("span.cs-gallery__scale", {
        "data-method": column.name,
        title: "Where the colours of this column end, in all rows",
      }),
    );
    head.style.gridColumn = String(trackOf(columns, column));
    line.append(head);
  }
  return line;
}

/** At the head of each column the scale of its colours, where it has one. */
export function showScales(store: Store<GalleryState>, table: HTMLElement): void {
  const tiles = store.get("tiles");
  for (const scale of table.querySelectorAll<HTMLElement>(".cs-gallery__scale")) {
    const end = columnEnd(tiles, scale.dataset.method ?? "");
    text(scale, store.get("scale_by") === "method" && end > 0 ? `scale ± ${short(end)}` : "");
  }
}
