/** Shape, fill and size of the occluder; its trail. */
import { gradient } from "../lib/colormaps";
import { el, on, segmented, select, text } from "../lib/dom";
import { kindOf } from "../lib/form";
import { extent, fit, type Size } from "../lib/geometry";
import type { Session } from "../session";
import { trailRange } from "./trail";

/** The list's entries for what has further choices: the kernel writes "#rrggbb" and "picture:N". */
const COLOUR = "colour";
const PICTURE = "picture";
/** The last entry among the pictures. */
const FILE = "file";

export function controlsPane({ store, kernel }: Session, root: HTMLElement, signal: AbortSignal): void {
  const shapes = segmented<"square" | "ellipse" | "free">(
    "Shape",
    [
      { value: "square", text: "■", title: "Square" },
      { value: "ellipse", text: "●", title: "Ellipse" },
      { value: "free", text: "✎", title: "Free form: draw around something on the picture" },
    ],
    (shape) => {
      if (shape === "free") store.set({ drawing: !store.get("drawing") });
      else store.set({ shape, drawing: false });
    },
    signal,
  );
  const fills = select<string>(
    "Fill",
    [
      { value: "grey", text: "grey" },
      { value: "mean", text: "mean" },
      { value: "blur", text: "blur" },
      { value: "noise", text: "noise" },
      { value: "inpaint", text: "inpaint" },
      { value: COLOUR, text: "colour" },
      { value: PICTURE, text: "picture…" },
    ],
    (fill) => {
      if (fill === COLOUR) store.set({ fill: colour.value });
      else if (fill !== PICTURE) store.set({ fill });
      else if (store.get("_pictures").length > 1) store.set({ fill: `picture:${another()}` });
      else choose();
    },
    signal,
  );
  /** Some picture that is not the current one. */
  const another = () => (store.get("picture") + 1) % store.get("_pictures").length;
  const pictures = el("select", { class: "cs-select", "aria-label": "Picture that fills the occluder" });
  const file = el("input", { type: "file", accept: "image/*", hidden: true });
  const choose = () => {
    // Until a file is chosen, the list says what still holds.
    show();
    file.click();
  };
  on(
    pictures,
    "change",
    () => (pictures.value === FILE ? choose() : store.set({ fill: `picture:${pictures.value}` })),
    signal,
  );
  on(
    file,
    "change",
    async () => {
      const [one] = file.files ?? [];
      if (one) kernel.tell("add", { as: "fill", name: one.name }, [await one.arrayBuffer()]);
      file.value = "";
    },
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
  const trail = el(
    "button",
    {
      type: "button",
      class: "cs-button cs-toggle",
      title: "Colour where the occluder has been by the probability there: dark is low",
    },
    "trail",
  );
  on(trail, "click", () => store.set({ show_trail: !store.get("show_trail") }), signal);
  const bar = el("span", { class: "cs-controls__bar", "aria-hidden": "true" });
  bar.style.background = gradient("viridis");
  const [low, high] = [el("span", { class: "cs-dim" }), el("span", { class: "cs-dim" })];
  const clear = el("button", { type: "button", class: "cs-link", title: "Begin the trail anew" }, "clear");
  on(clear, "click", () => kernel.ask("trail", { clear: true }), signal);
  const pane = el(
    "div",
    { class: "cs-controls" },
    shapes.element,
    fills.element,
    pictures,
    file,
    colour,
    el("label", { class: "cs-controls__size" }, size, unit),
    el("span", { class: "cs-controls__trail" }, trail, low, bar, high, clear),
  );
  const hint = el(
    "div",
    { class: "cs-hint", role: "status" },
    "Draw around something on the picture. Esc: don’t.",
  );
  root.append(pane, hint);
  on(
    root,
    "keydown",
    (event) => {
      if (event.key !== "Escape" || !store.get("drawing")) return;
      store.set({ drawing: false });
      event.stopPropagation();
    },
    signal,
  );

  store.watch(
    ["shape", "drawing"],
    () => {
      shapes.show(store.get("drawing") ? "free" : kindOf(store.get("shape")));
      hint.hidden = !store.get("drawing");
    },
    signal,
  );
  const show = () => {
    const fill = store.get("fill");
    const [chosen, another] = [fill.startsWith("#"), fill.startsWith("picture:")];
    fills.show(chosen ? COLOUR : another ? PICTURE : fill);
    if (chosen) colour.value = fill;
    colour.hidden = !chosen;
    pictures.hidden = !another;
    pictures.replaceChildren(
      ...store.get("_pictures").map(({ name }, index) => el("option", { value: index }, name)),
      el("option", { value: FILE }, "choose a file…"),
    );
    pictures.value = fill.slice("picture:".length);
  };
  store.watch(["fill", "_pictures"], show, signal);
  store.watch(
    ["show_trail", "trail"],
    () => {
      const shown = store.get("show_trail");
      trail.setAttribute("aria-pressed", String(shown));
      const range = shown ? trailRange(store.get("trail")) : null;
      low.hidden = bar.hidden = high.hidden = clear.hidden = !range;
      text(low, range ? range[0].toFixed(2) : "");
      text(high, range ? range[1].toFixed(2) : "");
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
