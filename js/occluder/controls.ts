/** Shape, fill and size of the occluder. */
import { el, on, segmented, select, text } from "../lib/dom";
import { extent, fit, type Size } from "../lib/geometry";
import type { Store } from "../lib/store";
import type { Shape, State } from "../state";

/** The list's entry for "a colour": the kernel writes colours as "#rrggbb". */
const COLOUR = "colour";

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
  const fills = select<string>(
    "Fill",
    [
      { value: "grey", text: "grey" },
      { value: "mean", text: "mean" },
      { value: "blur", text: "blur" },
      { value: "noise", text: "noise" },
      { value: COLOUR, text: "colour" },
    ],
    (fill) => store.set({ fill: fill === COLOUR ? colour.value : fill }),
    signal,
  );
  const colour = el("input", {
    type: "color",
    class: "cs-colour",
    title: "Any colour",
    "aria-label": "Fill colour",
    value: "#d9480f",
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
      const chosen = fill.startsWith("#");
      fills.show(chosen ? COLOUR : fill);
      if (chosen) colour.value = fill;
      colour.hidden = !chosen;
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
