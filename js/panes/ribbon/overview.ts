/** All layers at a glance: a bar each, as high as it has units, and where one is among them. */
import { el, is, on, within } from "../../lib/dom";
import type { View } from "../../seam";
import type { NetworkSlice } from "../shared/network";
import { shorten } from "./names";

/** Where fewer layers stand side by side in full there is nothing to look over. */
const LEAST = 15;

export function overview({ store }: View<NetworkSlice>, choose: (layer: string) => void): HTMLElement {
  // For the pointer only: by keys one goes through the layers themselves.
  const bars = el("div.cs-overview", { "aria-hidden": "true" });
  store.follow("_network", ({ layers }) => {
    bars.hidden = layers.length < LEAST;
    const most = Math.log2(1 + Math.max(1, ...layers.map(({ channels }) => channels)));
    let before = "";
    bars.replaceChildren(
      ...shorten(layers).map(({ name, group }, index) => {
        const { channels = 1, size = [1, 1] } = layers[index] ?? {};
        const bar = el("i.cs-overview__bar");
        bar.style.height = `${(100 * Math.log2(1 + channels)) / most}%`;
        const starts = index > 0 && group !== before;
        before = group;
        return el(
          "span",
          {
            class: starts ? "cs-overview__layer cs-overview__layer--starts" : "cs-overview__layer",
            "data-layer": name,
            title: `${name}: ${channels} units of ${size.join(" × ")}`,
          },
          bar,
        );
      }),
    );
  });
  store.watch(["layer", "_network"], () => {
    for (const bar of bars.children) {
      is(bar, "current", (bar as HTMLElement).dataset.layer === store.get("layer"));
    }
  });
  on(bars, "click", (event) => {
    const layer = within(event, "[data-layer]")?.dataset.layer;
    if (layer) choose(layer);
  });
  return bars;
}
