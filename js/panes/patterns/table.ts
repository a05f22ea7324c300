/** Layer by layer: for how many units a pattern was found, what is doubtful, and how good the estimators are. */
import { dim, el, on, text } from "../../lib/dom";
import { Rows } from "../../lib/rows";
import type { View } from "../../seam";
import { figureButtons } from "../shared/figure";
import { unitLines } from "../shared/units";
import type { PatternRow, PatternsState } from "./state";
import {
  compact,
  ESTIMATORS,
  meaningOf,
  problemText,
  qualityText,
  regimeText,
  rowText,
  summaryText,
} from "./words";

export function patternsPane(view: View<PatternsState>, root: HTMLElement): void {
  const { store } = view;
  const summary = el("p.cs-summary");
  const box = el("input", { type: "checkbox" }) as HTMLInputElement;
  const save = figureButtons(view, "quality", "the quality of the estimators");
  const legend = el("span.cs-patterns__legend", { "aria-hidden": "true" });
  const tools = el("div.cs-patterns__tools", el("label", box, "only layers with problems"), legend, save);
  const head = el("div.cs-row.cs-row--head.cs-patterns__row", { role: "row" });
  const list = el("div.cs-rows.cs-patterns__rows", { role: "rowgroup" });
  const table = el("div.cs-patterns", { role: "grid", "aria-label": "Fitted layers" }, head, list);
  const none = el("p.cs-empty", "No layer has problems.");
  const details = el("div.cs-details", { "aria-live": "polite" });
  root.append(summary, tools, table, none, details);

  const rows = new Rows(
    list,
    () => store.get("layer"),
    (layer) => store.set({ layer, selected: null }),
  );
  on(box, "change", () => store.set({ only_problems: box.checked }));
  store.watch(["_patterns", "only_problems"], () => {
    const found = store.get("_patterns");
    box.checked = store.get("only_problems");
    const shown = found.rows.filter((row) => !box.checked || row.problems.length > 0);
    text(summary, summaryText(found));
    save.hidden = found.estimators.length === 0;
    table.classList.toggle("cs-patterns--measured", found.estimators.length > 0);
    const names = ["layer", "regime", "units fitted", "samples", "problems"];
    if (found.estimators.length > 0) names.push("quality ρ, 0 to 1");
    head.replaceChildren(...names.map((name) => el("span", { role: "columnheader" }, name)));
    legend.replaceChildren(
      ...found.estimators.map((name) => el("span", dot(name), ESTIMATORS[name] ?? name)),
    );
    rows.show(shown.map((row) => rowOf(row, found.estimators)));
    none.hidden = shown.length > 0;
    table.hidden = shown.length === 0;
  });
  store.watch(["layer"], () => rows.mark());
  store.watch(["layer", "_patterns", "selected", "offline"], () => {
    const { rows: known } = store.get("_patterns");
    const chosen = known.find(({ layer }) => layer === store.get("layer"));
    details.hidden = !chosen && (known.length === 0 || store.get("offline"));
    if (!chosen) return details.replaceChildren(dim("Choose a layer to see which units have problems."));
    const lines = [
      `Patterns over ${regimeText(chosen)}.`,
      ...qualityText(chosen),
      ...(chosen.extended ? ["The paper does not speak of such a layer: an extension."] : []),
    ];
    const said = chosen.problems.map((problem) => ({
      what: `${problem.name}: ${meaningOf(problem)}`,
      units: problem.units,
      count: problem.count,
    }));
    details.replaceChildren(
      el("b", chosen.layer),
      ...lines.map((line) => el("p", line)),
      ...unitLines(said, store.get("selected"), (selected) => store.set({ selected })),
    );
  });
}

function dot(name: string): HTMLElement {
  return el("i", { class: `cs-patterns__dot cs-patterns__dot--${name}` });
}

function rowOf(one: PatternRow, estimators: readonly string[]): HTMLElement {
  const bar = el("span.cs-patterns__bar");
  const part = el("i");
  part.style.width = `${(100 * one.fitted) / one.units}%`;
  bar.append(part);
  const name = el("span.cs-patterns__name", { role: "gridcell" }, el("span", one.layer), dim(one.kind));
  if (one.extended) {
    name.append(el("span.cs-extended", { title: "The paper does not speak of this" }, "extension"));
  }
  const problems = one.problems.map((problem) =>
    el(
      "span",
      { class: `cs-patterns__problem cs-patterns__problem--${problem.name}`, title: problemText(problem) },
      `${problem.count} ${problem.name}`,
    ),
  );
  const row = el(
    "div.cs-row.cs-patterns__row",
    { role: "row", "data-layer": one.layer, "aria-label": rowText(one) },
    name,
    el("span", { role: "gridcell", title: regimeText(one) }, one.regime),
    el(
      "span.cs-patterns__fitted",
      { role: "gridcell" },
      bar,
      `${one.fitted.toLocaleString("en")}/${one.units.toLocaleString("en")}`,
    ),
    el("span", { role: "gridcell", title: one.samples.toLocaleString("en") }, compact(one.samples)),
    el("span.cs-patterns__problems", { role: "gridcell" }, ...problems),
  );
  if (estimators.length > 0) {
    const scale = el("span.cs-patterns__scale", { role: "gridcell" });
    for (const [at, estimator] of estimators.entries()) {
      const value = one.quality[estimator];
      if (value == null) continue;
      const mark = dot(estimator);
      mark.style.left = `${100 * value}%`;
      // On a line of its own, so that none is behind another of the same quality.
      const line = estimators.length > 1 ? at / (estimators.length - 1) : 0.5;
      mark.style.top = `calc(3.5px + (100% - 7px) * ${line})`;
      mark.title = `${ESTIMATORS[estimator] ?? estimator}: ρ = ${value.toFixed(3)}`;
      scale.append(mark);
    }
    row.append(scale);
  }
  return row;
}
