/** Shape, fill and size of the occluder. */
import { el, on, segmented, text } from "../lib/dom";
import { extent, fit, type Size } from "../lib/geometry";
import type { Store } from "../lib/store";
import type { Shape, State } from "../state";

/** "#rrggbb" of any CSS colour, or null where it is none: what a colour input needs. */
function hex(fill: string): string | null {
  return /^#[0-9a-f]{6}$/i.test(fill) ? fill : null;
}

export function controlsPane(store: Store<State>, root: HTMLElement, signal: AbortSignal): void {
  const shapes = segmented<Shape>(
    "Shape",
    [
      { value: "square", text: "■", title: "Square" },
      { value: "ellipse", text: "●", title: "Ellipse" },
    ],
    (shape) => store.set({ shape }),
    signal,
  );
  const fills = segmented<string>(
    "Fill",
    [
      { value: "grey", text: "grey", title: "Neutral grey, as in Zeiler & Fergus" },
      { value: "mean", text: "mean", title: "The picture's mean colour" },
      { value: "blur", text: "blur", title: "The picture, blurred" },
      { value: "noise", text: "noise", title: "Uniform noise, the same at every position" },
    ],
    (fill) => store.set({ fill }),
    signal,
  );
  const colour = el("input", {
    type: "color",
    class: "cs-colour",
    title: "Any colour",
    "aria-label": "Fill colour",
  });
  on(colour, "input", () => store.set({ fill: colour.value }), signal);
  const size = el("input", {
    type: "number",
    class: "cs-number",
    min: 1,
    "aria-label": "Size of the occluder, pixels",
    title: "Size, pixels of the network's input",
  });
  const place = (value: Size) => {
    const [high, wide] = extent(store.get("size"));
    const [top, left] = store.get("position");
    const [h, w] = extent(value);
    const picture = store.get("_network").size;
    store.set({ size: value, position: fit([top + (high - h) / 2, left + (wide - w) / 2], value, picture) });
  };
  on(
    size,
    "change",
    () => {
      const [height, width] = store.get("_network").size;
      const wanted = Math.round(Number(size.value));
      if (Number.isFinite(wanted) && wanted >= 1) place(Math.min(wanted, height, width));
      size.value = String(extent(store.get("size"))[0]);
    },
    signal,
  );
  on(size, "keydown", (event) => event.stopPropagation(), signal);
  const unit = el("span", { class: "cs-dim" }, "px");
  const pane = el(
    "div",
    { class: "cs-controls" },
    shapes.element,
    fills.element,
    colour,
    el("label", { class: "cs-controls__size" }, size, unit),
  );
  root.append(pane);

  store.watch(["shape"], () => shapes.show(store.get("shape")), signal);
  store.watch(
    ["fill"],
    () => {
      const fill = store.get("fill");
      fills.show(fill);
      colour.value = hex(fill) ?? "#808080";
      colour.classList.toggle("cs-is-chosen", !["grey", "mean", "blur", "noise"].includes(fill));
    },
    signal,
  );
  store.watch(
    ["size", "_network"],
    () => {
      const [high, wide] = extent(store.get("size"));
      if (document.activeElement !== size) size.value = String(high);
      size.max = String(Math.min(...store.get("_network").size));
      text(unit, high === wide ? "px" : `× ${wide} px`);
    },
    signal,
  );
  store.watch(
    ["offline"],
    () => {
      pane.inert = store.get("offline");
    },
    signal,
  );
}
