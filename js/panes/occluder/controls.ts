/** Beneath the picture: shape, fill and size of the occluder; its trail. */

import { gradient } from "../../lib/colormaps";
import { segmented } from "../../lib/controls";
import { dim, el, focused, keepTyping, on, text } from "../../lib/dom";
import { kindOf } from "../../lib/form";
import { aroundMiddle, extent } from "../../lib/geometry";
import { scaleBar } from "../../lib/scalebar";
import type { View } from "../../seam";
import { fillField } from "./fill";
import type { OccluderState } from "./state";
import { trailRange } from "./trail";

export function controlsPane(view: View<OccluderState>, root: HTMLElement): void {
  const { store } = view;
  const pane = el("div.cs-controls", shapeField(view), ...fillField(view), sizeField(view), trailField(view));
  root.append(pane, hint(view));
  on(root, "keydown", (event) => {
    if (event.key !== "Escape" || !store.get("drawing")) return;
    store.set({ drawing: false });
    event.stopPropagation();
  });
  store.follow("offline", (offline) => {
    pane.inert = offline;
  });
}

function shapeField({ store }: View<OccluderState>): HTMLElement {
  const shapes = segmented<"square" | "ellipse" | "free">("Shape", {
    square: ["■", "Square"],
    ellipse: ["●", "Ellipse"],
    free: ["✎", "Free form: draw around something on the picture"],
  });
  shapes.onChoose((shape) => {
    if (shape === "free") store.set({ drawing: !store.get("drawing") });
    else store.set({ shape, drawing: false });
  });
  store.watch(["shape", "drawing"], () =>
    shapes.show(store.get("drawing") ? "free" : kindOf(store.get("shape"))),
  );
  return shapes.element;
}

function hint({ store }: View<OccluderState>): HTMLElement {
  const element = el("div.cs-hint", { role: "status" }, "Draw around something on the picture. Esc: don’t.");
  store.follow("drawing", (drawing) => {
    element.hidden = !drawing;
  });
  return element;
}

function sizeField({ store }: View<OccluderState>): HTMLElement {
  const size = el("input.cs-number", {
    type: "number",
    min: 1,
    "aria-label": "Size of the occluder, pixels",
    title: "Size, pixels of the network's input",
  });
  const unit = dim("px");
  on(size, "change", () => {
    const picture = store.get("_network").size;
    const wanted = Math.min(Math.round(Number(size.value)), ...picture);
    if (wanted >= 1) {
      const position = aroundMiddle(store.get("position"), store.get("size"), wanted, picture);
      store.set({ size: wanted, position });
    }
    size.value = String(extent(store.get("size"))[0]);
  });
  keepTyping(size);
  store.watch(["size", "_network"], () => {
    const [high, wide] = extent(store.get("size"));
    if (focused(size) !== size) size.value = String(high);
    size.max = String(Math.min(...store.get("_network").size));
    text(unit, high === wide ? "px" : `× ${wide} px`);
  });
  return el("label.cs-controls__size", size, unit);
}

function trailField({ store, kernel }: View<OccluderState>): HTMLElement {
  const trail = el(
    "button.cs-button.cs-toggle",
    {
      title: "Colour where the occluder has been by the probability there: dark is low",
    },
    "trail",
  );
  on(trail, "click", () => store.set({ show_trail: !store.get("show_trail") }));
  const bar = scaleBar("Probability where the occluder has been", {
    write: (value) => value.toFixed(2),
    variant: "cs-bar--tool",
  });
  const clear = el("button.cs-link", { title: "Start the trail again" }, "clear");
  on(clear, "click", () => kernel.ask("trail", { clear: true }));
  const scale = el("span.cs-controls__scale", bar.element, clear);
  store.watch(["show_trail", "trail"], () => {
    const shown = store.get("show_trail");
    trail.setAttribute("aria-pressed", String(shown));
    const range = shown ? trailRange(store.get("trail")) : null;
    // Its place is kept, so that nothing moves at the first drag.
    scale.classList.toggle("cs-is-nothing", !range);
    bar.show({ range: range ?? [0, 1], colours: gradient("viridis") });
  });
  return el("span.cs-controls__trail", trail, scale);
}
