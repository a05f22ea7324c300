/** Layer by layer: which filters are dead, rarely active or repeated, as shares of a bar. */
import { aria, dim, el, errorsOf, text } from "../../lib/dom";
import { share } from "../../lib/format";
import { Rows } from "../../lib/rows";
import type { Session, View } from "../../seam";
import { figureButtons } from "../shared/figure";
import { type Inactive, inactiveWord, isSurveyed, MEANINGS } from "../shared/survey";
import { unitLines } from "../shared/units";
import type { HealthRow, HealthState, HealthUnits } from "./state";
import { nothingText, rowText, summaryText, untoldKinds } from "./words";

const KINDS = ["dead", "rare", "duplicated"] as const;

/** Columns, and what they say. */
const HEADINGS = {
  layer: undefined,
  filters: undefined,
  "share of the filters": "Of those that no picture activates, few do, or another filter does the same as",
  active: "At what share of the places of a map a filter is above zero, on average",
  saturated: "At what share of the places a filter is at the ceiling of its activation, on average",
};

/** In the words of the legend: of few pictures none is called dead. */
const namesOf = (store: View<HealthState>["store"]) => ({
  dead: inactiveWord(store),
  rare: "rarely active",
  duplicated: "repeated",
});

export function healthPane(view: View<HealthState>, root: HTMLElement): void {
  const { store } = view;
  const summary = el("p.cs-summary.cs-health__summary");
  const legend = el("p.cs-health__legend", { "aria-hidden": "true", title: MEANINGS });
  const save = figureButtons(view, "health", "the health of the layers");
  const head = el(
    "div.cs-row.cs-row--head.cs-health__row",
    { role: "row" },
    ...Object.entries(HEADINGS).map(([name, title]) => el("span", { role: "columnheader", title }, name)),
  );
  const list = el("div.cs-rows.cs-health__rows", { role: "rowgroup" });
  const table = el("div.cs-health", { role: "grid", "aria-label": "Health of the layers" }, head, list);
  const empty = el("p.cs-empty");
  const details = el("div.cs-details", { "aria-live": "polite" });
  root.append(summary, el("div.cs-tools", legend, save), table, errorsOf("units"), details, empty);

  const rows = new Rows(
    list,
    () => store.get("layer"),
    (layer) => store.set({ layer, selected: null }),
  );
  store.watch(["_health", "_survey"], () => {
    const found = store.get("_health");
    const survey = store.get("_survey");
    const names = namesOf(store);
    const untold: readonly string[] = untoldKinds(found);
    legend.replaceChildren(
      ...KINDS.filter((kind) => !untold.includes(kind)).map((kind) =>
        el("span", el("i", { class: `cs-health__part cs-health__part--${kind}` }), names[kind]),
      ),
    );
    table.hidden = save.hidden = legend.hidden = found.length === 0;
    text(summary, found.length > 0 ? summaryText(found, survey.images, names.dead) : "");
    text(
      empty,
      found.length > 0
        ? ""
        : survey.state === "failed"
          ? "The survey failed; the error is shown below."
          : "Looking through the pictures…",
    );
    rows.show(found.map((one) => row(one, names.dead)));
  });
  store.watch(["layer"], () => rows.mark());
  store.watch(["units", "layer", "selected", "errors", "offline", "_survey"], () => {
    const [units, layer] = [store.get("units"), store.get("layer")];
    const come = units?.layer === layer;
    const failed = "units" in store.get("errors");
    details.hidden = !come && (store.get("offline") || !isSurveyed(store));
    aria(details, "busy", !details.hidden && layer !== "" && !come && !failed);
    if (layer === "") return details.replaceChildren(dim("Choose a layer to see which filters those are."));
    if (!units || !come) {
      const reason = failed ? "Its units could not be listed: the error says why." : "Looking its units up…";
      return details.replaceChildren(el("b", layer), el("p", reason));
    }
    const lines = unitLines(said(units, namesOf(store)), store.get("selected"), (selected) =>
      store.set({ selected }),
    );
    details.replaceChildren(
      el("b", layer),
      ...(lines.length > 0 ? lines : [el("p", nothingText(store.get("_health"), inactiveWord(store)))]),
    );
  });
}

/** What ails which units. */
function said({ counts, dead, rare, duplicated }: HealthUnits, names: ReturnType<typeof namesOf>) {
  return [
    { what: names.dead, units: dead, count: counts.dead },
    { what: names.rare, units: rare, count: counts.rare },
    {
      what: names.duplicated,
      units: duplicated.map(([unit]) => unit),
      count: counts.duplicated,
      notes: duplicated.map(([unit, of]) => `${unit} repeats ${of}`),
    },
  ];
}

export function linkHealth({ store, kernel }: Session<HealthState>): void {
  kernel.answers("units", (answer) => store.set({ units: answer as unknown as HealthUnits }));
  store.watch(["layer", "_survey"], () => {
    const layer = store.get("layer");
    if (layer !== "" && store.get("_survey").revision > 0) kernel.ask("units", { layer });
  });
}

function row(one: HealthRow, inactive: Inactive): HTMLElement {
  const words = rowText(one, inactive);
  const bar = el("span.cs-health__bar");
  for (const kind of KINDS) {
    const part = el("i", { class: `cs-health__part cs-health__part--${kind}` });
    part.style.width = `${100 * (one[kind] ?? 0)}%`;
    bar.append(part);
  }
  return el(
    "div.cs-row.cs-health__row",
    {
      role: "row",
      "data-layer": one.layer,
      "aria-label": words,
      title: words,
    },
    el("span.cs-health__name", { role: "gridcell" }, one.layer, dim(one.kind)),
    el("span", { role: "gridcell" }, one.channels.toLocaleString("en")),
    el("span", { role: "gridcell" }, bar),
    el("span", { role: "gridcell" }, share(one.active)),
    el("span", { role: "gridcell" }, one.saturated === null ? "–" : share(one.saturated)),
  );
}
