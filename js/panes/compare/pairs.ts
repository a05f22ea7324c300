/** Units of the two chosen layers, matched by correlation, each with the patches that excite it most. */
import { clearBeyond, rgba } from "../../lib/atlas";
import { captioned, segmented, tied } from "../../lib/controls";
import { aria, dim, el, is, on, text } from "../../lib/dom";
import { many } from "../../lib/format";
import { show } from "../../lib/photo";
import type { View } from "../../seam";
import { showAwaited } from "../shared/awaited";
import { type CompareState, type Matches, names, type Pair, type PairOrder, type PairShow } from "./state";
import { broken, likeness } from "./words";

/** How many more pairs a click brings, and how many the kernel gives at most. */
const MORE = 12;
const MOST = 120;

export function pairsPane(view: View<CompareState>, root: HTMLElement): void {
  const { store } = view;
  showAwaited(view, root, "matches", ["matches", "_comparison"], () =>
    store.get("_comparison").known && !store.get("matches") ? "loading" : "",
  );
  const count = el("span");
  const order = segmented<PairOrder>("Which pairs first", {
    mutual: ["mutual", "Pairs of which each is the other's best match, the most alike first"],
    alike: ["most alike", "Every unit of the first network with its best match, the most alike first"],
    unlike: ["least alike", "The same, units first that no unit of the second network is like"],
  });
  const showing = segmented<PairShow>("What is shown of them", {
    patch: ["patches", "The patches that excite either most"],
    projection: [
      "projections",
      "What the units picked out of them beside the patches, as in the paper's figure 6",
    ],
  });
  const [a, b] = [el("span.cs-pairs__side"), el("span.cs-pairs__side")];
  const head = el(
    "div.cs-pairs__head",
    a,
    el(
      "span.cs-pairs__middle",
      { title: "Correlation of their largest activations on the same pictures" },
      dim("r"),
    ),
    b,
  );
  const list = el("div.cs-pairs", { role: "list", "aria-label": "Matched units", tabindex: 0 });
  const empty = el("p.cs-empty");
  const more = el("button.cs-link", "more pairs");
  root.append(
    el("h3.cs-heading", "Matched units", count),
    el(
      "div.cs-tools",
      captioned("pairs", tied(store, "pair_order", order).element),
      captioned("show", tied(store, "pair_show", showing).element),
    ),
    head,
    empty,
    list,
    more,
  );
  on(more, "click", () => store.set({ pairs: Math.min(store.get("pairs") + MORE, MOST) }));
  store.watch(["matches", "offline"], () => {
    const matches = store.get("matches");
    const all = matches?.all ?? 0;
    head.hidden = list.hidden = all === 0;
    for (const { element } of [order, showing]) element.inert = store.get("offline");
    more.hidden = store.get("offline") || !matches || matches.pairs.length >= Math.min(all, MOST);
    if (!matches) return;
    text(count, many(all, "pair"));
    a.replaceChildren(...broken(`${names(store)[0]}, ${matches.layer_a}`));
    b.replaceChildren(...broken(`${names(store)[1]}, ${matches.layer_b}`));
    list.replaceChildren(...rowsOf(matches));
  });
  store.watch(["matches", "_comparison", "layer_a", "layer_b", "pair_order", "pair_show"], () => {
    const [matches, { known, cka }] = [store.get("matches"), store.get("_comparison")];
    const stale =
      matches !== null &&
      (matches.layer_a !== store.get("layer_a") ||
        matches.layer_b !== store.get("layer_b") ||
        matches.pair_order !== store.get("pair_order") ||
        matches.pair_show !== store.get("pair_show"));
    is(list, "stale", stale);
    aria(list, "busy", stale);
    const nothing = cka
      ? "Too few pictures to match units on: of so few, units are alike by chance."
      : "Every unit of one of the layers is the same on all pictures.";
    if (!known) text(empty, "Matched when both have seen all pictures.");
    else text(empty, matches?.all === 0 ? nothing : "");
  });
}

function rowsOf(matches: Matches): HTMLElement[] {
  const from: [number, number] = [0, 0];
  return matches.pairs.map((pair) => {
    const strips = ([0, 1] as const).map((which) => {
      const first = from[which];
      from[which] += pair.patches[which];
      return strip(matches, which, first, from[which]);
    });
    return row(pair, strips);
  });
}

function row(
  { units, r, mutual }: Pair,
  [left = el("span"), right = el("span")]: HTMLElement[],
): HTMLElement {
  const both = mutual ? "each is the other's best match" : "the second has a better match";
  return el(
    "div.cs-pair",
    {
      role: "listitem",
      title: `Unit ${units[0]} and unit ${units[1]}: r ${likeness(r)}; ${both}`,
      "data-units": units.join(),
    },
    el("span.cs-pair__side", dim(String(units[0])), left),
    el(
      "span.cs-pair__r",
      { "data-mutual": String(mutual) },
      el("b", likeness(r)),
      dim(mutual ? "mutual" : "one way"),
    ),
    el("span.cs-pair__side", dim(String(units[1])), right),
  );
}

/** Some patches in a row, of which the page shows as many whole ones as there is room for. */
function strip({ patches, inside, side }: Matches, which: 0 | 1, first: number, last: number): HTMLElement {
  const step = 3 * side * side;
  const row = el("span.cs-pair__patches", { "aria-hidden": "true" });
  for (let at = first; at < last; at++) {
    const canvas = el("canvas.cs-pair__patch");
    const pixels = rgba(patches[which].subarray(at * step, (at + 1) * step));
    clearBeyond(new Uint32Array(pixels.buffer), side, inside[which][at] ?? [0, 0, 1, 1]);
    show(canvas, pixels, side, side);
    row.append(canvas);
  }
  return row;
}
