/** The layers in a row, input to output: channels, size, receptive field, share of units that no picture activates. */
import { aria, el, is, on, onKey, onResize, within } from "../../lib/dom";
import { field, many, share, side } from "../../lib/format";
import type { View } from "../../seam";
import type { LayerInfo, NetworkSlice } from "../shared/network";
import type { SelectionSlice } from "../shared/selection";
import { MEANINGS, type SurveySlice, type SurveyState } from "../shared/survey";
import { blocksOf, type Named } from "./names";
import { overview } from "./overview";

export type RibbonState = NetworkSlice & SelectionSlice & SurveySlice;

/** Networks with more layers are folded: of the blocks that are not looked at there is a chip. */
const SPREAD = 14;

export interface RibbonOptions {
  /** Which unit another layer opens on: one of the same number, or whichever the instrument chooses. */
  opens?: "same" | "any";
}

export function ribbonPane(view: View<RibbonState>, root: HTMLElement, options: RibbonOptions = {}): void {
  const { store } = view;
  const strip = el("div.cs-ribbon", {
    role: "listbox",
    "aria-label": "Layers",
    "aria-orientation": "horizontal",
  });
  let row: Row = { blocks: [], cells: new Map() };

  const reveal = () => {
    const cell = row.cells.get(store.get("layer"));
    // Only the ribbon scrolls: scrollIntoView would move the page, too.
    if (cell) strip.scrollLeft = cell.offsetLeft - (strip.clientWidth - cell.offsetWidth) / 2;
  };
  // There is nothing to scroll before the ribbon is laid out.
  onResize(strip, reveal);

  const choose = (name: string) => {
    const layer = store.get("_network").layers.find((one) => one.name === name);
    if (!layer || name === store.get("layer")) return;
    const selected = store.get("selected");
    // The unit's number is kept, as in walking through a building by one staircase, where the layer has as many.
    const kept = selected === null ? null : Math.min(selected, layer.channels - 1);
    store.set({ layer: name, selected: options.opens === "any" ? null : kept, exemplar: null });
  };
  root.append(overview(view, choose), el("div.cs-ribbon__frame", strip, ...ends(strip)));

  store.follow("_network", ({ layers }) => {
    row = build(layers);
    strip.replaceChildren(...row.blocks.map(({ element }) => element));
  });
  store.watch(["layer", "_network", "offline"], () => {
    const current = store.get("layer");
    for (const button of strip.querySelectorAll<HTMLButtonElement>("[data-layer]")) {
      button.disabled = store.get("offline") && button.dataset.layer !== current;
    }
    fold(row.blocks, current, row.cells.size > SPREAD);
    for (const [name, cell] of row.cells) {
      aria(cell, "selected", name === current);
      cell.tabIndex = name === current ? 0 : -1;
    }
    reveal();
  });
  store.watch(["_network", "_survey"], () => showDead(row.cells, store.get("_survey")));
  on(strip, "click", (event) => {
    const name = within(event, "[data-layer]")?.dataset.layer;
    if (name) choose(name);
  });
  onKey(strip, ({ key }) => {
    const names = [...row.cells.keys()];
    const at = names.indexOf(store.get("layer"));
    const next = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: names.length - 1 }[key];
    if (next === undefined) return false;
    const name = names[Math.min(Math.max(next, 0), names.length - 1)];
    if (name) {
      choose(name);
      row.cells.get(name)?.focus({ preventScroll: true });
    }
    return true;
  });
}

interface Row {
  blocks: BlockPart[];
  /** Of each layer, input to output. */
  cells: Map<string, HTMLElement>;
}

/** A block's layers, or the blocks in it; and the chip that stands for it while it is folded. */
interface BlockPart {
  element: HTMLElement;
  layers: string[];
  /** Layers at the top have no name in common. */
  named: boolean;
  chip: HTMLElement;
  inside: HTMLElement;
  blocks: BlockPart[];
}

function build(layers: readonly LayerInfo[]): Row {
  const cells = new Map<string, HTMLElement>();
  const part = (block: Named[], depth: number, name: string): BlockPart => {
    // A block in a block goes by what it is called there.
    const within = depth === 0 ? blocksOf(block, "group") : [];
    const blocks = within.length > 1 ? within.map((one) => part(one, 1, one[0]?.group ?? "")) : [];
    const inside = el("div.cs-ribbon__cells");
    if (blocks.length > 0) inside.append(...blocks.map(({ element }) => element));
    else for (const one of block) inside.append(cellOf(one, layers, cells));
    const last = layers.find((layer) => layer.name === block.at(-1)?.name);
    const chip = el(
      "button.cs-block",
      {
        tabindex: -1,
        "aria-hidden": "true",
        "data-layer": last?.name,
        title: `${name}: ${many(block.length, "layer")}. Click for its output`,
      },
      el("b.cs-layer__name", depth === 0 ? name : name.slice(name.lastIndexOf(".") + 1)),
      el(
        "span.cs-layer__fact",
        depth > 0 ? "" : blocks.length > 1 ? many(blocks.length, "block") : many(block.length, "layer"),
      ),
      el("span.cs-layer__fact", depth === 0 && last ? `${last.channels} × ${side(last.size)}` : ""),
    );
    const element = el(
      "div",
      {
        class: blocks.length > 0 ? "cs-ribbon__group cs-ribbon__group--outer" : "cs-ribbon__group",
        role: "group",
        "aria-label": name || undefined,
      },
      el("div.cs-ribbon__stage", { "aria-hidden": "true" }, (blocks.length === 0 && name) || " "),
      chip,
      inside,
    );
    return { element, layers: block.map((one) => one.name), named: name !== "", chip, inside, blocks };
  };
  const named = layers.length > 0 ? blocksOf(layers, "stage") : [];
  return { blocks: named.map((block) => part(block, 0, block[0]?.stage ?? "")), cells };
}

/** Only the blocks with the current layer are unfolded, in a network of many layers. */
function fold(blocks: readonly BlockPart[], current: string, many: boolean): void {
  for (const { layers, named, chip, inside, blocks: within, element } of blocks) {
    // One layer is no longer than a chip.
    const folded = many && named && layers.length > 1 && !layers.includes(current);
    chip.hidden = !folded;
    inside.hidden = folded;
    is(element, "folded", folded);
    fold(within, current, many);
  }
}

function cellOf({ name, short }: Named, layers: readonly LayerInfo[], cells: Map<string, HTMLElement>) {
  const layer = layers.find((one) => one.name === name) as LayerInfo;
  const cell = el(
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
    el("span.cs-layer__fact.cs-layer__last", `rf ${field(layer)}`, el("span.cs-layer__share")),
    el("span.cs-layer__health", el("i.cs-layer__dead")),
  );
  cells.set(layer.name, cell);
  return cell;
}

/** At either end of a strip that goes on there: that it does, and a way on. By keys one goes through the layers. */
function ends(strip: HTMLElement): HTMLElement[] {
  const buttons = ([-1, 1] as const).map((way) => {
    const button = el(
      "button",
      {
        class: "cs-ribbon__more",
        "data-way": way,
        tabindex: -1,
        "aria-hidden": "true",
        title: "More layers",
      },
      way < 0 ? "‹" : "›",
    );
    on(button, "click", () => strip.scrollBy({ left: way * 0.8 * strip.clientWidth, behavior: "smooth" }));
    return button;
  });
  const show = () => {
    const rest = [strip.scrollLeft, strip.scrollWidth - strip.clientWidth - strip.scrollLeft];
    for (const [at, button] of buttons.entries()) button.hidden = (rest[at] ?? 0) < 2;
  };
  on(strip, "scroll", show);
  onResize(strip, show);
  new MutationObserver(show).observe(strip, { attributes: true, childList: true, subtree: true });
  return buttons;
}

/** In each cell the share of the layer's units that no picture has activated: a bar, and where there are any a number. */
function showDead(
  cells: ReadonlyMap<string, HTMLElement>,
  { dead, images = 0, inactive = "inactive" }: SurveyState,
): void {
  for (const [name, cell] of cells) {
    const part = dead?.[name];
    const health = cell.querySelector<HTMLElement>(".cs-layer__health");
    const bar = cell.querySelector<HTMLElement>(".cs-layer__dead");
    const number = cell.querySelector<HTMLElement>(".cs-layer__share");
    if (!health || !bar || !number) continue;
    bar.style.width = `${100 * (part ?? 0)}%`;
    // Its room is kept, so that no layer moves while a survey goes on: the word is for who hears it, and in the title.
    number.replaceChildren(
      ...(part && part >= 0.01 ? [share(part), el("span.cs-visually-hidden", ` ${inactive}`)] : []),
    );
    number.title = health.title =
      part === undefined
        ? ""
        : `${share(part)} of the units ${inactive} in ${many(images, "picture")}\n${MEANINGS}`;
  }
}
