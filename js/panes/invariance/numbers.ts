/** The layers, with how far each has gone; and how consistent the network is. */
import { dim, el, on, text, within } from "../../lib/dom";
import { activation, many, probability } from "../../lib/format";
import type { View } from "../../seam";
import { figureButtons } from "../shared/figure";
import type { InvarianceState } from "./state";

export function layerList(view: View<InvarianceState>, root: HTMLElement): void {
  const { store } = view;
  const list = el("div.cs-curves__legend.cs-layers", {
    role: "group",
    "aria-label": "Layers that are drawn",
  });
  const here = el("span");
  const save = figureButtons(view, "curves", "the curves");
  root.append(el("div.cs-heading", "layers", here, save), list);
  let known = "";
  store.watch(["_invariance", "shown", "moved", "distance", "transform"], () => {
    const { layers, colours } = store.get("_invariance");
    // Buttons stay as long as they can, and with them the focus.
    if (layers.join() !== known) {
      known = layers.join();
      list.replaceChildren(
        ...layers.map((name) => {
          const stroke = el("i");
          stroke.style.background = colours[name] ?? "currentColor";
          return el(
            "button.cs-line",
            { "data-line": name, title: name },
            stroke,
            el("b", name),
            el("span.cs-dim"),
          );
        }),
      );
    }
    const [moved, distance] = [store.get("moved"), store.get("distance")];
    text(here, `${distance} distance here`);
    save.hidden = !store.get("_invariance").curves[store.get("transform")];
    for (const [index, name] of layers.entries()) {
      const button = list.children[index];
      button?.setAttribute("aria-pressed", String(store.get("shown").includes(name)));
      const value = moved?.distances[name]?.[distance];
      text(
        button?.lastElementChild as HTMLElement,
        value === undefined || value === null ? "–" : activation(value),
      );
    }
  });
  on(list, "click", (event) => {
    const name = within(event, ".cs-line")?.dataset.line;
    if (name === undefined) return;
    const { layers } = store.get("_invariance");
    const shown = store.get("shown");
    store.set({ shown: layers.filter((one) => shown.includes(one) !== (one === name)) });
  });
}

const WORDS: Record<string, string> = {
  "shift consistency": "Two crops at random places have the same class (Zhang 2019)",
  "P(top-1 changes) at 1 px":
    "A step of one pixel along the diagonal changes the class (Azulay & Weiss 2019)",
  "mean absolute change": "By how much that step changes the probability of the class",
};

export function consistencyList({ store }: View<InvarianceState>, root: HTMLElement): void {
  const head = el("div.cs-heading", "consistency", el("span"));
  const rows = el("div.cs-numbers", { role: "list", "aria-label": "Consistency" });
  root.append(head, rows);
  store.follow("_invariance", ({ consistency }) => {
    head.hidden = rows.hidden = consistency === null;
    if (!consistency) return;
    text(head.lastElementChild as HTMLElement, many(consistency.pictures, "picture"));
    rows.replaceChildren(
      ...consistency.numbers.map(([name, value, low, high]) =>
        el(
          "div.cs-numbers__row",
          {
            role: "listitem",
            title: WORDS[name] ?? "Turned by up to 30° and shifted, ten times (Engstrom et al. 2019)",
          },
          dim(name),
          el("span", probability(value)),
          dim(low === null || high === null ? "" : `${probability(low)}–${probability(high)}`),
        ),
      ),
    );
  });
}
