/** What is seen in the cells: the range of the projections' shades in numbers, and the line that marks a jump. */
import { dim, el, text } from "../../lib/dom";
import { activation } from "../../lib/format";
import type { View } from "../../seam";
import type { Arranged } from "./arrangement";
import { limits } from "./rows";
import { cellOf, checkpointOf, type EvolutionState } from "./state";
import { labelOf } from "./words";

export function legend({ store }: View<EvolutionState>, arranged: Arranged): HTMLElement {
  const [low, high, of] = [el("span"), el("span"), dim()];
  const shades = el(
    "span.cs-shades",
    { title: "Signed values of the projections, in the network's own units; grey is zero" },
    low,
    el("i.cs-shades__bar", { "aria-hidden": "true" }),
    high,
    of,
  );
  const show = () => {
    const { length } = store.get("_evolution").checkpoints;
    const place = [store.get("selected") ?? -1, checkpointOf(store)] as const;
    const spread = store.get("spread");
    const peak = cellOf(store, place)?.peak ?? 0;
    const limit = limits(store, arranged.get("units"), length)(place[0], peak);
    shades.hidden = store.get("show") === "crop" || limit === 0;
    text(low, `−${activation(limit)}`);
    text(high, activation(limit));
    text(
      of,
      {
        tile: `unit ${place[0]}, ${labelOf(store, place[1])}; each tile its own`,
        row: `unit ${place[0]}; each row its own`,
        layer: "all that are shown",
      }[spread],
    );
  };
  store.watch(["come", "spread", "selected", "checkpoint", "show", "_evolution"], show);
  arranged.onChange(["units"], show);
  return el(
    "div.cs-evolution__legend",
    el(
      "span.cs-jump",
      el("i.cs-jump__mark", { "aria-hidden": "true" }),
      "jump: another picture won, or none",
    ),
    shades,
  );
}
