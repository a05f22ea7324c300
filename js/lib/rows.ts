/** A list of rows of which one is chosen: by click, or by arrows and Enter, one stop of the tabulator for all. */
import { aria, focused, on, onKey, within } from "./dom";

export class Rows {
  #rows: HTMLElement[] = [];
  #list: HTMLElement;
  #chosen: () => string;

  /** `chosen` says which row's `data-layer` is chosen; `choose` is called with the one that was picked. */
  constructor(list: HTMLElement, chosen: () => string, choose: (layer: string) => void) {
    this.#list = list;
    this.#chosen = chosen;
    const pick = (row: HTMLElement | null | undefined) => {
      if (row?.dataset.layer) choose(row.dataset.layer);
    };
    on(list, "click", (event) => pick(within(event, "[data-layer]")));
    onKey(list, ({ key }) => {
      const at = this.#rows.indexOf(focused(list) as HTMLElement);
      const last = this.#rows.length - 1;
      const next = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: last }[key];
      if (next !== undefined) this.#rows[Math.min(Math.max(next, 0), last)]?.focus();
      else if (key === "Enter" || key === " ") pick(this.#rows[at]);
      else return false;
      return true;
    });
  }

  /** Show other rows. */
  show(rows: HTMLElement[]): void {
    this.#rows = rows;
    this.#list.replaceChildren(...rows);
    this.mark();
  }

  /** Mark the chosen row. */
  mark(): void {
    const layer = this.#chosen();
    const known = this.#rows.some((row) => row.dataset.layer === layer);
    this.#rows.forEach((row, index) => {
      const chosen = row.dataset.layer === layer;
      aria(row, "selected", chosen);
      row.tabIndex = chosen || (index === 0 && !known) ? 0 : -1;
    });
  }
}
