/** How strongly the pictures excite the unit: a bar for each bin of activations. */
import { el } from "../../lib/dom";
import { activation, share } from "../../lib/format";
import type { View } from "../../seam";
import type { Unit, UnitState } from "./state";

/** `charted`: only where there is no kernel, as another chart shows it where there is one. */
export function histogram({ store }: View<UnitState>, charted: boolean): HTMLElement[] {
  const bars = el("div.cs-histogram", { role: "img" });
  const axis = el("div.cs-histogram__axis");
  store.follow("unit", (unit) => {
    if (!unit) return;
    bars.replaceChildren(...barsOf(unit));
    bars.setAttribute("aria-label", `Active in ${share(unit.share)} of ${unit.images} pictures`);
    axis.replaceChildren(
      el("span", activation(unit.edges[0] ?? 0)),
      el("span", `active in ${share(unit.share)} of pictures`),
      el("span", activation(unit.edges.at(-1) ?? 0)),
    );
  });
  store.follow("offline", (offline) => {
    bars.hidden = axis.hidden = charted && !offline;
  });
  return [bars, axis];
}

function barsOf(unit: Unit): HTMLElement[] {
  const most = Math.max(1, ...unit.counts);
  const least = unit.exemplars.at(-1)?.value ?? Infinity;
  return unit.counts.map((count, index) => {
    const [from = 0, to = 0] = [unit.edges[index], unit.edges[index + 1]];
    const bar = el("i", {
      class: to > least ? "cs-histogram__bar cs-histogram__bar--top" : "cs-histogram__bar",
      title: `${count} of ${unit.images} pictures peak at ${activation(from)} to ${activation(to)}`,
    });
    // The square root keeps single pictures visible beside hundreds.
    bar.style.height = `${100 * Math.sqrt(count / most)}%`;
    return bar;
  });
}
