/** Beneath the picture: shape, fill and size of the occluder; its trail. */

import { gradient } from "../../lib/colormaps";
import { complained } from "../../lib/complaint";
import { captioned, segmented } from "../../lib/controls";
import { aria, dim, el, errorsOf, focused, is, on, onKey } from "../../lib/dom";
import { kindOf } from "../../lib/form";
import { aroundMiddle, clamp, type Extent, extent, toSize } from "../../lib/geometry";
import { scaleBar } from "../../lib/scalebar";
import type { View } from "../../seam";
import { fillField } from "./fill";
import type { OccluderState } from "./state";
import { trailRange } from "./trail";

export function controlsPane(view: View<OccluderState>, root: HTMLElement): void {
  const { store } = view;
  const pane = el(
    "div.cs-controls.cs-asks",
    captioned("shape", shapeField(view)),
    captioned("fill", ...fillField(view)),
    sizeField(view),
    trailField(view),
  );
  root.append(pane, errorsOf("fill"), hint(view));
  on(root, "keydown", (event) => {
    if (event.key !== "Escape" || !store.get("drawing")) return;
    store.set({ drawing: false });
    event.stopPropagation();
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
  const element = el(
    "div.cs-hint",
    { role: "status" },
    "Draw around something on the picture (by keys: arrows on the square, Enter). Esc: don’t.",
  );
  store.follow("drawing", (drawing) => {
    element.hidden = !drawing;
  });
  return element;
}

/** One side, or height and width. */
function sizeField({ store }: View<OccluderState>): HTMLElement {
  const what = "Size of the occluder, pixels: a side, or height × width";
  const size = el("input.cs-number", {
    type: "text",
    inputmode: "numeric",
    size: 8,
    "aria-label": what,
    title: what,
  });
  const { element, complain } = complained(size);
  const px = dim("px");
  const show = () => {
    const [high, wide] = extent(store.get("size"));
    // Two numbers need the room.
    px.hidden = high !== wide;
    size.value = high === wide ? `${high}` : `${high}×${wide}`;
  };
  const resize = (wanted: Extent) => {
    const picture = store.get("_network").size;
    const to = toSize([clamp(wanted[0], 1, picture[0]), clamp(wanted[1], 1, picture[1])]);
    store.set({ size: to, position: aroundMiddle(store.get("position"), store.get("size"), to, picture) });
    show();
  };
  on(size, "change", () => {
    const [high = 0, wide = high, ...more] = size.value.match(/\d+/g)?.map(Number) ?? [];
    const [height, width] = store.get("_network").size;
    if (/^[\d\s×x,]+$/.test(size.value) && high && wide && more.length === 0) resize([high, wide]);
    else complain(`Expected 1 to ${Math.min(height, width)} pixels, as 20 or 20 × 30, got “${size.value}”.`);
  });
  onKey(size, ({ key }) => {
    const by = { ArrowUp: 1, ArrowDown: -1 }[key];
    const [high, wide] = extent(store.get("size"));
    if (by) resize([high + by, wide + by]);
    return !!by;
  });
  store.watch(["size"], () => focused(size) !== size && show());
  return captioned("size", element, px);
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
    aria(trail, "pressed", shown);
    const range = shown ? trailRange(store.get("trail")) : null;
    // Its place is kept, so that nothing moves at the first drag.
    is(scale, "nothing", !range);
    bar.show({ range: range ?? [0, 1], colours: gradient("viridis") });
  });
  return el("span.cs-controls__trail", trail, scale);
}
