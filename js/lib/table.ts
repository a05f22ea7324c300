/** The numbers of a chart, for who cannot point at it: a table that is opened by keys, and read by a screen reader. */
import { el, on } from "./dom";
import type { Store } from "./store";

export interface Table {
  /** What is in it, as far as the names of the columns do not say. */
  caption: string;
  /** The first is of the names of the rows. */
  columns: string[];
  rows: string[][];
}

/** `chart`: a word for the chart. `table` is asked while it is open: once, and whenever one of `keys` changes. */
export function chartTable<S extends object>(
  store: Store<S>,
  chart: string,
  keys: (keyof S)[],
  table: () => Table,
): HTMLElement {
  const scroller = el("div.cs-table", {
    role: "group",
    tabindex: 0,
    "aria-label": `The numbers of the ${chart}`,
  });
  const part = el("details.cs-tabled", el("summary", `${chart} as a table`), scroller);
  const show = () => {
    if (part.open) scroller.replaceChildren(drawn(table()));
  };
  on(part, "toggle", show);
  store.watch(keys, show);
  return part;
}

function drawn({ caption, columns, rows }: Table): HTMLElement {
  return el(
    "table",
    el("caption", caption),
    el("thead", el("tr", ...columns.map((name) => el("th", { scope: "col" }, name)))),
    el(
      "tbody",
      ...rows.map(([name = "", ...values]) =>
        el("tr", el("th", { scope: "row" }, name), ...values.map((value) => el("td", value))),
      ),
    ),
  );
}
