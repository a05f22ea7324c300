/** Finding units: by their number, or by the class that they prefer, in this layer and in all of them. */

import { onEntry } from "../../lib/controls";
import { aria, dim, el, focused, on, text, uniqueId, within } from "../../lib/dom";
import type { View } from "../../seam";
import { chooseUnit } from "../shared/selection";
import type { Arranged } from "./arrangement";
import { type GridState, gridOf } from "./state";

/** What can be found is promised, and no more: classes where there are some, names where units have them. */
function hintOf(store: View<GridState>["store"]): readonly [placeholder: string, hint: string] {
  const numbers = "Find units by number (244, or 12, 40-48)";
  if (store.get("grid")?.names) return ["unit, name", `${numbers}, or by the name of their class`];
  return store.get("_labels").length > 0
    ? ["unit, class", `${numbers}, or by the class that they prefer`]
    : ["unit", numbers];
}

/** The field, and the list of classes that it offers. */
export function searchField(
  { store }: View<GridState>,
  arranged: Arranged,
): { search: HTMLInputElement; labels: HTMLElement } {
  const labels = el("datalist", { id: uniqueId("labels") });
  const search = el("input.cs-search", { type: "search", list: labels.id });
  store.watch(["_labels", "grid"], () => {
    const [placeholder, hint] = hintOf(store);
    search.placeholder = placeholder;
    search.title = hint;
    aria(search, "label", hint);
  });
  const ask = () => arranged.set({ query: search.value.trim() });
  on(search, "input", ask);
  onEntry(
    search,
    store,
    "grid",
    () => gridOf(store),
    () => {
      const query = search.value.trim();
      const label = store.get("_labels").includes(query) ? query : "";
      if (label) return store.set({ label, order: "class" });
      const order = store.get("order");
      if (store.get("label")) store.set({ label: "", order: order === "class" ? "strongest" : order });
      const [first] = arranged.get("order");
      if (first !== undefined && arranged.get("named")) chooseUnit(store, first);
    },
  );
  arranged.follow("wrong", (wrong) => aria(search, "invalid", wrong));
  store.follow("_labels", (known) =>
    labels.replaceChildren(...known.map((value) => el("option", { value }))),
  );
  store.follow("label", (label) => {
    if (!label || focused(search) === search) return;
    search.value = label;
    ask();
  });
  return { search, labels };
}

/** The units of all layers that prefer the class; a click goes to one. */
export function foundUnits({ store }: View<GridState>): HTMLElement {
  const units = el("div.cs-similar", { role: "group" });
  const heading = dim();
  const results = el("div.cs-found", { hidden: true }, heading, units);
  store.watch(["found", "offline"], () => {
    const found = store.get("found");
    results.hidden = !found;
    if (!found) return;
    text(heading, `Units for ${found.label}, of all layers`);
    aria(units, "label", `Units for ${found.label}`);
    units.replaceChildren(
      ...found.units.map(([layer, unit, preference]) =>
        el(
          "button.cs-chip",
          {
            "data-layer": layer,
            "data-unit": unit,
            disabled: store.get("offline"),
            title: `${layer}, unit ${unit}: ${preference.toFixed(1)} standard deviations more on this class`,
          },
          `${layer} · ${unit}`,
          dim(`${preference.toFixed(1)} σ`),
        ),
      ),
    );
  });
  on(units, "click", (event) => {
    const chip = within(event, ".cs-chip");
    if (chip?.dataset.layer) {
      store.set({ layer: chip.dataset.layer, selected: Number(chip.dataset.unit), exemplar: null });
    }
  });
  return results;
}
