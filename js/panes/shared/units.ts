/** Units by their numbers, of which one can be chosen. */
import { dim, el, on, within } from "../../lib/dom";

/** What is said of some units of a layer. */
export interface UnitsSaid {
  what: string;
  units: readonly number[];
  /** How many there are, where not all are listed. */
  count: number;
  /** What each is like, where that says more. */
  notes?: readonly string[];
}

/** A line for each of what is said, with a button for each unit. */
export function unitLines(
  said: readonly UnitsSaid[],
  selected: number | null,
  choose: (unit: number) => void,
): HTMLElement[] {
  return said
    .filter(({ count }) => count > 0)
    .map(({ what, units, count, notes }) => {
      const buttons = units.map((unit, at) =>
        el(
          "button.cs-button.cs-toggle.cs-units__unit",
          { "data-unit": unit, "aria-pressed": String(unit === selected), title: notes?.[at] },
          String(unit),
        ),
      );
      const more = count > units.length ? [dim(`and ${count - units.length} more`)] : [];
      const line = el("p.cs-units", el("span.cs-units__what", `${count} ${what}`), ...buttons, ...more);
      on(line, "click", (event) => {
        const unit = within(event, "[data-unit]")?.dataset.unit;
        if (unit !== undefined) choose(Number(unit));
      });
      return line;
    });
}
