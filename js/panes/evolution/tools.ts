/** Above the cells: what they show, which units, in which order and shades, how large. */
import { captioned, onEntry, segmented, select, tied } from "../../lib/controls";
import { aria, el, on } from "../../lib/dom";
import { clamp } from "../../lib/geometry";
import { toolRow } from "../../lib/menu";
import type { View } from "../../seam";
import { figureButtons } from "../shared/figure";
import { chooseUnit } from "../shared/selection";
import type { Arranged } from "./arrangement";
import { ZOOMS } from "./layout";
import { shownUnits } from "./rows";
import { type EvolutionState, type Show, type Spread, winnersOf } from "./state";
import { ORDERS } from "./words";

const HINT = "Find units by number (24, or 12, 40-48)";

export function evolutionTools(
  view: View<EvolutionState>,
  arranged: Arranged,
  search: HTMLElement,
): HTMLElement {
  const { store } = view;
  const shows = segmented<Show>("What a cell shows", {
    both: ["both", "The projection above, the picture's patch beneath"],
    projection: [
      "projection",
      "What the unit picked out of the picture that excites it most, with the weights of then",
    ],
    crop: ["picture", "The patch of the picture that excites the unit most"],
  });
  const spreads = segmented<Spread>("Shades", {
    tile: ["tile", "Each projection uses the full range of shades"],
    row: ["row", "One range a unit: its projections can be compared over the training"],
    layer: ["layer", "One range for all that are shown: units can be compared, too"],
  });
  const shades = captioned("shades", tied(store, "spread", spreads).element);
  store.follow("show", (show) => {
    shades.hidden = show === "crop";
  });
  const seldom = [
    captioned("rows", rowsField(view)),
    shades,
    captioned("size", zoomButtons(arranged)),
    figureButtons(view, "evolution", "the cells"),
  ];
  const often = [
    captioned("cells", tied(store, "show", shows).element),
    captioned("find", search),
    captioned("order", tied(store, "order", select("Order of the units", ORDERS)).element),
  ];
  return toolRow(view.signal, [...often, ...seldom], seldom);
}

export function searchField({ store }: View<EvolutionState>, arranged: Arranged): HTMLInputElement {
  const search = el("input.cs-search", {
    type: "search",
    placeholder: "unit",
    "aria-label": HINT,
    title: HINT,
  });
  on(search, "input", () => store.set({ query: search.value.trim() }));
  onEntry(
    search,
    store,
    "winners",
    () => winnersOf(store),
    () => {
      const [first] = shownUnits(store).units;
      if (first !== undefined && search.value.trim()) chooseUnit(store, first);
    },
  );
  arranged.follow("wrong", (wrong) => aria(search, "invalid", wrong));
  return search;
}

const ROWS = { "6": "6", "12": "12", "24": "24", "48": "48", "0": "all" };

function rowsField({ store }: View<EvolutionState>): HTMLElement {
  // Another number may come from Python: it is then none of these.
  const rows = select<string>("How many units", ROWS);
  rows.onChoose((value) => store.set({ rows: Number(value) }));
  store.follow("rows", (value) => rows.show(String(value)));
  return rows.element;
}

function zoomButtons(arranged: Arranged): HTMLElement {
  const smaller = el(
    "button.cs-button",
    { title: "Smaller pictures (-)", "aria-label": "Smaller pictures" },
    "−",
  );
  const larger = el(
    "button.cs-button",
    { title: "Larger pictures (+)", "aria-label": "Larger pictures" },
    "+",
  );
  on(smaller, "click", () => zoomBy(arranged, -1));
  on(larger, "click", () => zoomBy(arranged, 1));
  arranged.follow("zoom", (zoom) => {
    smaller.disabled = zoom === -ZOOMS;
    larger.disabled = zoom === ZOOMS;
  });
  return el("span.cs-zoom", { role: "group", "aria-label": "Size of the pictures" }, smaller, larger);
}

export function zoomBy(arranged: Arranged, steps: number): void {
  arranged.set({ zoom: clamp(arranged.get("zoom") + steps, -ZOOMS, ZOOMS) });
}
