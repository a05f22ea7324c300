/** The layers in a row, input to output: channels, size, receptive field, share of filters never active. */
import { el, on, onKey, onResize, within } from "../../lib/dom";
import { field, side } from "../../lib/format";
import type { View } from "../../seam";
import type { LayerInfo, NetworkSlice } from "../shared/network";
import type { SelectionSlice } from "../shared/selection";
import type { SurveySlice } from "../shared/survey";
import { shorten } from "./names";

export type RibbonState = NetworkSlice & SelectionSlice & SurveySlice;

export function ribbonPane({ store, page }: View<RibbonState>, root: HTMLElement): void {
  const strip = el("div.cs-ribbon", {
    role: "listbox",
    "aria-label": "Layers",
    "aria-orientation": "horizontal",
  });
  page.keepKeys(strip);
  root.append(strip);
  let cells: ReadonlyMap<string, HTMLElement> = new Map();

  const reveal = () => {
    const cell = cells.get(store.get("layer"));
    // Only the ribbon scrolls: scrollIntoView would move the page, too.
    if (cell) strip.scrollLeft = cell.offsetLeft - (strip.clientWidth - cell.offsetWidth) / 2;
  };
  // There is nothing to scroll before the ribbon is laid out.
  onResize(strip, reveal);

  const choose = (name: string) => {
    const layer = store.get("_network").layers.find((one) => one.name === name);
    if (!layer) return;
    const selected = store.get("selected");
    // The unit's number is kept, as in walking through a building by one staircase, where the layer has as many.
    const kept = selected === null ? null : Math.min(selected, layer.channels - 1);
    store.set({ layer: name, selected: kept, exemplar: null });
  };

  store.follow("_network", (network) => {
    const built = build(network.layers);
    cells = built.cells;
    strip.replaceChildren(...built.groups);
  });
  store.watch(["layer", "_network"], () => {
    const current = store.get("layer");
    for (const [name, cell] of cells) {
      cell.setAttribute("aria-selected", String(name === current));
      cell.tabIndex = name === current ? 0 : -1;
    }
    reveal();
  });
  store.watch(["_network", "_survey"], () => showDead(cells, store.get("_survey").dead ?? {}));
  on(strip, "click", (event) => {
    const name = within(event, ".cs-layer")?.dataset.layer;
    if (name) choose(name);
  });
  onKey(strip, ({ key }) => {
    const names = [...cells.keys()];
    const at = names.indexOf(store.get("layer"));
    const next = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: names.length - 1 }[key];
    if (next === undefined) return false;
    const name = names[Math.min(Math.max(next, 0), names.length - 1)];
    if (name) {
      choose(name);
      cells.get(name)?.focus({ preventScroll: true });
    }
    return true;
  });
}

/** A cell a layer, in groups under the block that they share. */
function build(layers: readonly LayerInfo[]): { groups: HTMLElement[]; cells: Map<string, HTMLElement> } {
  const cells = new Map<string, HTMLElement>();
  const groups: HTMLElement[] = [];
  let group: { name: string; cells: HTMLElement } | null = null;
  for (const [index, named] of shorten(layers).entries()) {
    const layer = layers[index];
    if (!layer) continue;
    if (!group || group.name !== named.group) {
      group = { name: named.group, cells: el("div.cs-ribbon__cells") };
      groups.push(
        el(
          "div.cs-ribbon__group",
          { role: "group", "aria-label": named.group || undefined },
          el("div.cs-ribbon__stage", named.group || " "),
          group.cells,
        ),
      );
    }
    const cell = cellOf(layer, named.short);
    cells.set(layer.name, cell);
    group.cells.append(cell);
  }
  return { groups, cells };
}

function cellOf(layer: LayerInfo, short: string): HTMLElement {
  return el(
    "button.cs-layer",
    {
      role: "option",
      tabindex: -1,
      "data-layer": layer.name,
      title:
        `${layer.name} (${layer.kind}): ${layer.channels} units of ${layer.size.join(" × ")}, ` +
        `receptive field ${layer.field} px${layer.gated ? ", and a gate that sees all" : ""}`,
    },
    el("b.cs-layer__name", short),
    el("span.cs-layer__fact", `${layer.channels} × ${side(layer.size)}`),
    el("span.cs-layer__fact", `rf ${field(layer)}`),
    el("span.cs-layer__health", el("i.cs-layer__dead")),
  );
}

/** A bar in each cell: the share of the layer's filters that no picture has activated. */
function showDead(cells: ReadonlyMap<string, HTMLElement>, dead: Record<string, number>): void {
  for (const [name, cell] of cells) {
    const share = dead[name];
    const health = cell.querySelector<HTMLElement>(".cs-layer__health");
    const bar = cell.querySelector<HTMLElement>(".cs-layer__dead");
    if (!health || !bar) continue;
    bar.style.width = `${100 * (share ?? 0)}%`;
    health.title = share === undefined ? "" : `${Math.round(100 * share)} % of the filters never active`;
  }
}
