/** The panel of the most probable class: a colour a class, and a legend that marks and follows one. */
import { dim, el, on, within } from "../../lib/dom";
import { many, share } from "../../lib/format";
import type { View } from "../../seam";
import { colours, countNaN, frequencies, word } from "./cells";
import type { Panel } from "./panel";
import type { MapState, Maps } from "./state";

/** Classes that the legend names. */
const NAMED = 6;

export function labelPanel(view: View<MapState>): Panel {
  const { store } = view;
  let known = new Map<number, string>();
  const list = el("div.cs-labels");
  chooseClass(view, list);
  return {
    name: "label",
    title: () => "Most probable class",
    value: (maps, cell) => {
      const index = maps.label[cell] ?? -1;
      if (index === -2) return "none: NaN";
      return index < 0 ? "" : index === maps.clean.index ? maps.clean.label : (maps.labels[index] ?? "");
    },
    paint: (maps, from, words) => {
      const marked = store.get("marked");
      from.forEach((index, at) => {
        const label = maps.label[index] ?? -1;
        const colour = word(known.get(label) ?? "#000000");
        const alpha = marked === null || marked === label ? 0xff : 0x38;
        words[at] = label < 0 ? 0 : ((alpha << 24) | (colour & 0xffffff)) >>> 0;
      });
    },
    colouredBy: ["marked"],
    preview: "first values come",
    foot: list,
    showFoot: (maps) => {
      known = colours(known, maps);
      list.replaceChildren(...legend(maps, known));
    },
  };
}

/** The most frequent classes, and how many more there are. */
function legend(maps: Maps, colours: ReadonlyMap<number, string>): HTMLElement[] {
  const counted = frequencies(maps.label);
  const total = counted.reduce((sum, [, count]) => sum + count, countNaN(maps.label));
  const rows: HTMLElement[] = counted.slice(0, NAMED).map(([index, count]) => {
    const key = el("i.cs-labels__key");
    key.style.background = colours.get(index) ?? "";
    const name = maps.labels[index] ?? String(index);
    return el(
      "button.cs-labels__row",
      {
        "data-class": index,
        "aria-pressed": String(index === maps.target.index),
        title: `${name}: most probable at ${count} of ${total} places. Click to follow its probability.`,
      },
      key,
      el("span.cs-labels__name", name),
      dim(share(count / Math.max(1, total))),
    );
  });
  const none = countNaN(maps.label);
  if (none > 0) rows.push(el("div.cs-dim", `The network returns NaN at ${many(none, "place")}.`));
  const more = counted.length - NAMED;
  if (more > 0) rows.push(el("div.cs-dim", `and ${more} more`));
  return rows;
}

function chooseClass({ store }: View<MapState>, list: HTMLElement): void {
  const classOf = (event: Event) => within(event, "[data-class]")?.dataset.class;
  const mark = (event: Event) => {
    const index = classOf(event);
    store.set({ marked: index === undefined ? null : Number(index) });
  };
  const unmark = () => store.set({ marked: null });
  on(list, "pointerover", mark);
  on(list, "focusin", mark);
  on(list, "pointerleave", unmark);
  on(list, "focusout", unmark);
  on(list, "click", (event) => {
    const index = classOf(event);
    if (index !== undefined && !store.get("offline")) store.set({ target: Number(index) });
  });
}
