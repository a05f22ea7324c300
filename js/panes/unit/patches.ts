/** The patches that excite the unit most; and what is between the top and nothing. */
import { captioned, segmented, tied } from "../../lib/controls";
import { dim, el, is, text } from "../../lib/dom";
import { activation, isCut, many, share } from "../../lib/format";
import type { Store } from "../../lib/store";
import type { View } from "../../seam";
import type { NetworkSlice } from "../shared/network";
import { croppedAs, paintPatch } from "../shared/patches";
import { describe, isInactive, putAtMiddle } from "./exemplar";
import {
  type Crop,
  currentProjections,
  type Exemplar,
  type Exemplars,
  isComplete,
  type Unit,
  type UnitState,
  weakerOf,
} from "./state";
import { tileList } from "./tiles";

export function topPatches(view: View<UnitState>): HTMLElement {
  const { store } = view;
  const count = dim();
  const list = tileList(view, "Top patches");
  store.watch(["unit", "newer"], () => {
    const unit = store.get("unit");
    if (unit) text(count, countText(unit, store.get("newer") !== null));
  });
  store.watch(["unit", "projections", "crop"], () => {
    const unit = store.get("unit");
    if (!unit) return;
    count.title = isCutOff(unit) ? `In brackets: before the ceiling of ${activation(unit.ceiling ?? 0)}` : "";
    const shown = cropped(store);
    is(list.element, "stale", !shown);
    list.show(tilesOf(view, shown ?? unit, topValue));
    if ((store.get("exemplar") ?? 0) >= unit.exemplars.length) store.set({ exemplar: null });
  });
  // It crops the projections alike.
  const foot = el("div.cs-unit__scale", captioned("crop", cropField(view)));
  return el("div", el("h3.cs-heading", "Top patches", count), list.element, foot);
}

function cropField({ store }: View<UnitState>): HTMLElement {
  const crops = segmented<Crop>("What patches show", {
    field: ["field", "The whole receptive field"],
    effective: ["effective", "The part of it that holds 95 % of the projection's energy"],
  });
  store.follow("offline", (offline) => {
    if (offline) crops.offer([store.get("crop")]);
  });
  return tied(store, "crop", crops).element;
}

/** The patches as large as is asked for; null while these are still to come. */
function cropped(store: Store<UnitState>): Exemplars | null {
  const unit = store.get("unit");
  if (!unit || store.get("crop") === "field") return unit;
  const found = currentProjections(store);
  return found && isComplete(found) ? croppedAs(unit, found) : null;
}

/** What a ceiling cuts off stands in brackets, as the heading says: the values after it are all the same. */
const topValue = ({ value, before }: Exemplar): string =>
  isCut(value, before) ? `(${activation(before)})` : activation(value);

const isCutOff = ({ exemplars }: Unit) => exemplars.some(({ value, before }) => isCut(value, before));

/** `waits`: whether more has been found, which is shown when nobody points at the patches any longer. */
function countText(unit: Unit, waits: boolean): string {
  const { purity, images, cropped } = unit;
  const [most, times = 0, labelled = 0] = purity ?? [];
  const labels = times > 1 ? `${times} of ${labelled} ${most}` : `${labelled} different labels`;
  const parts = [
    `of ${many(images, cropped ? "crop" : "picture")}`,
    cropped && "none overlap",
    waits ? "newer to come" : labelled > 1 && labels,
    isCutOff(unit) && "(before the ceiling)",
  ];
  return parts.filter(Boolean).join(" · ");
}

/** From a random sample of the pictures: what the top patches do not show. */
export function weakerPatches(view: View<UnitState>): HTMLElement {
  const { store } = view;
  const heading = el(
    "h3.cs-heading",
    { title: "From a random sample of the pictures: what the top patches do not show" },
    "Weaker examples",
    dim("share of weaker pictures"),
  );
  const before = () => store.get("unit")?.exemplars.length ?? 0;
  const list = tileList(view, "Weaker examples", before, " cs-patches--weaker");
  store.watch(["unit", "weaker"], () => {
    const weaker = weakerOf(store.get("unit"), store.get("weaker"));
    is(list.element, "stale", !weaker && list.element.childElementCount > 0);
    if (weaker) list.show(tilesOf(view, weaker, ({ quantile }) => share(quantile ?? 0)));
    heading.hidden = list.element.hidden = list.element.childElementCount === 0;
  });
  return el("div", heading, list.element);
}

function tilesOf(
  { store }: View<NetworkSlice>,
  shown: Exemplars,
  value: (exemplar: Exemplar) => string,
): HTMLElement[] {
  const picture = store.get("_network").size;
  return shown.exemplars.map((exemplar, index) => {
    const canvas = el("canvas.cs-patch__canvas");
    const inactive = isInactive(exemplar);
    const [words, written] = [describe(exemplar), inactive ? "inactive" : value(exemplar)];
    paintPatch(canvas, shown, index);
    const tile = el(
      "button",
      {
        class: inactive ? "cs-patch cs-patch--inactive" : "cs-patch",
        role: "option",
        // What is written on it is a part of its name.
        "aria-label": words.startsWith(written) ? words : `${written} · ${words}`,
        title: `${words}\n${exemplar.path ?? exemplar.name}`,
        "data-value": exemplar.value,
        "data-image": exemplar.image,
        "data-row": exemplar.row,
        "data-column": exemplar.column,
      },
      canvas,
      el("span.cs-patch__value", written),
    );
    if (exemplar.whole && !inactive) {
      const ring = el("i.cs-mark");
      putAtMiddle(ring, exemplar, picture);
      tile.append(ring);
    }
    return tile;
  });
}
