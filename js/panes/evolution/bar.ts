/** What is seen in the cells: the range of the projections' shades in numbers, and the line that marks a jump. */
import { SHADES } from "../../lib/colormaps";
import { dim, el, text } from "../../lib/dom";
import { share } from "../../lib/format";
import { scaleBar } from "../../lib/scalebar";
import type { View } from "../../seam";
import type { Arranged } from "./arrangement";
import { limits } from "./rows";
import { cellOf, checkpointOf, type EvolutionState, winnersOf } from "./state";
import { jumpShare, labelOf } from "./words";

export function legend({ store }: View<EvolutionState>, arranged: Arranged): HTMLElement {
  const of = dim();
  const bar = scaleBar("Projections", { variant: "cs-bar--tool" });
  const shades = el(
    "span.cs-shades",
    { title: "Signed values of the projections, in the network's own units; grey is zero" },
    bar.element,
    of,
  );
  const show = () => {
    const { length } = store.get("_evolution").checkpoints;
    const place = [store.get("selected") ?? -1, checkpointOf(store)] as const;
    const spread = store.get("spread");
    const peak = cellOf(store, place)?.peak ?? 0;
    const limit = limits(store, arranged.get("units"), length)(place[0], peak);
    shades.hidden = store.get("show") === "crop" || limit === 0;
    bar.show({ range: [-limit, limit], colours: SHADES });
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
  const jump = el("span");
  store.watch(["winners", "layer"], () => {
    // While those of a layer are waited for, the share of another's is not its own.
    const winners = winnersOf(store);
    const often = winners ? `, ${share(jumpShare(winners))} of the steps` : "";
    text(jump, `jump: another picture won, or none${often}`);
  });
  return el("div.cs-evolution__legend", el("span.cs-jump", el("i.cs-jump__mark"), jump), shades);
}
