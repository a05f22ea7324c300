/** How strongly the pictures excite the unit: a bar for each bin of activations. */
import { aria, el, text } from "../../lib/dom";
import { activation, shareOf } from "../../lib/format";
import { chartTable, type Table } from "../../lib/table";
import type { View } from "../../seam";
import { isSignedLayer } from "../shared/network";
import { inactiveWord } from "../shared/survey";
import type { Unit, UnitState } from "./state";

const HINT =
  "Pictures by their largest activation: half-octaves across (logarithmic), the square root of the count upwards";

/** `charted`: a chart of bqplot's shows it beneath the instrument, unless that stands alone. */
/** The values of few pictures in words; and bars, their axis and their table. */
export function histogram({ store }: View<UnitState>, charted: boolean): [HTMLElement, ...HTMLElement[]] {
  const bars = el("div.cs-histogram", { role: "img" });
  const axis = el("div.cs-histogram__axis");
  const values = el("p.cs-unit__values");
  const numbers = chartTable(store, "histogram", ["unit"], () => tableOf(store.get("unit")));
  const activeIn = (unit: Unit) =>
    `${isSignedLayer(store, unit.layer) ? "above zero" : "active"} in ${shareOf(unit.share, unit.images)}`;
  store.follow("unit", (unit) => {
    if (!unit) return;
    bars.replaceChildren(...barsOf(unit));
    const ceiling = unit.ceiling === null ? "" : `. Before the ceiling of ${activation(unit.ceiling)}`;
    const active = activeIn(unit);
    aria(bars, "label", active);
    axis.replaceChildren(
      el("span", activation(unit.edges[0] ?? 0)),
      el("span", { title: `${HINT}${ceiling}` }, `${active} · log axis, √ of counts`),
      el("span", activation(unit.edges.at(-1) ?? 0)),
    );
  });
  store.watch(["unit", "_survey"], () => {
    const unit = store.get("unit");
    if (!unit) return;
    const signed = isSignedLayer(store, unit.layer);
    const dead = unit.share === 0 && !signed ? `${inactiveWord(store)}: ` : "";
    const each = unit.values?.map(activation).join(", ");
    text(values, `${dead}${activeIn(unit)}${each ? `: ${each}` : ""}`);
  });
  store.watch(["uncharted", "unit"], () => {
    const listed = Array.isArray(store.get("unit")?.values);
    values.hidden = !listed;
    numbers.hidden = listed;
    bars.hidden = axis.hidden = listed || (charted && !store.get("uncharted"));
  });
  return [values, bars, axis, numbers];
}

function tableOf(unit: Unit | null): Table {
  const before = unit?.ceiling == null ? "" : `, before the ceiling of ${activation(unit.ceiling)}`;
  return {
    caption: `Pictures by their largest activation${before}; ▴ the ${unit?.exemplars.length ?? 0} shown are from here on`,
    columns: ["from", "to", "pictures"],
    rows: (unit?.counts ?? []).map((count, index) => [
      `${activation(unit?.edges[index] ?? 0)}`,
      `${activation(unit?.edges[index + 1] ?? 0)}`,
      `${hasTop(unit, index) ? "▴ " : ""}${count.toLocaleString("en")}`,
    ]),
  };
}

/** Whether a bar is among those where the strongest pictures are. */
function hasTop(unit: Unit | null, index: number): boolean {
  const weakest = unit?.exemplars.at(-1);
  return (unit?.edges[index + 1] ?? 0) > (weakest?.before ?? weakest?.value ?? Infinity);
}

function barsOf(unit: Unit): HTMLElement[] {
  const most = Math.max(1, ...unit.counts);
  return unit.counts.map((count, index) => {
    const [from = 0, to = 0] = [unit.edges[index], unit.edges[index + 1]];
    const bar = el("i", {
      class: hasTop(unit, index) ? "cs-histogram__bar cs-histogram__bar--top" : "cs-histogram__bar",
      title: `${count} of ${unit.images} pictures peak at ${activation(from)} to ${activation(to)}`,
    });
    // The square root keeps single pictures visible beside hundreds.
    bar.style.height = `${100 * Math.sqrt(count / most)}%`;
    return bar;
  });
}
