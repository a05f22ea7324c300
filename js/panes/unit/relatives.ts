/** What else responds as the unit does: classes that it prefers, units that are active on the same pictures. */
import { dim, el, on, text, within } from "../../lib/dom";
import type { View } from "../../seam";
import type { UnitState } from "./state";

export function preferredClasses({ store }: View<UnitState>): HTMLElement {
  const classes = el("p.cs-unit__classes", {
    title:
      "How much more it responds to pictures of a class than to others, in standard deviations between pictures; and of how many",
  });
  store.follow("unit", (unit) => {
    if (!unit) return;
    classes.hidden = unit.classes.length === 0;
    classes.replaceChildren(
      "prefers ",
      ...unit.classes.flatMap(([label, preference, pictures], index) => [
        index ? ", " : "",
        el("b", label),
        ` ${preference.toFixed(1)} σ `,
        dim(`(${pictures})`),
      ]),
    );
  });
  return classes;
}

/** What the survey is too small to tell. */
export function shortages({ store }: View<UnitState>): HTMLElement {
  const note = el("p.cs-unit__short.cs-dim");
  store.follow("unit", (unit) => {
    note.hidden = !unit?.short?.length;
    text(note, unit?.short?.join(" ") ?? "");
  });
  return note;
}

/** A click goes to one. */
export function similarUnits({ store }: View<UnitState>): HTMLElement {
  const list = el("p.cs-similar", { role: "group", "aria-label": "Similar units" });
  const over = dim();
  const heading = el(
    "h3.cs-heading",
    {
      title: "Units of this layer whose maxima correlate over a random sample of the pictures",
    },
    "Similar units",
    over,
  );
  store.watch(["unit", "offline"], () => {
    const unit = store.get("unit");
    if (!unit) return;
    heading.hidden = list.hidden = unit.similar.length === 0;
    text(over, `correlation over ${unit.sampled} pictures`);
    list.replaceChildren(
      ...unit.similar.map(([channel, correlation]) =>
        el(
          "button.cs-chip",
          {
            "data-unit": channel,
            title: `Unit ${channel}: correlation ${correlation.toFixed(2)}`,
            disabled: store.get("offline"),
          },
          `${channel}`,
          dim(correlation.toFixed(2)),
        ),
      ),
    );
  });
  on(list, "click", (event) => {
    const unit = within(event, ".cs-chip")?.dataset.unit;
    if (unit !== undefined) store.set({ selected: Number(unit) });
  });
  return el("div", heading, list);
}
