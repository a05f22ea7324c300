/** The first layers, side by side on one scale, and what is dead, dominant and folded beneath each. */
import { layout, place, rgba, tileAt } from "../../lib/atlas";
import { aria, dim, el, on, onFrame, onKey, onResize, shareAt, text, withModifier } from "../../lib/dom";
import { clamp } from "../../lib/geometry";
import { bitmap } from "../../lib/photo";
import type { View } from "../../seam";
import { type CompareState, type Filters, type FirstLayer, names } from "./state";
import { filterMarks, filtersText, firstLayerRows } from "./words";

/** Side of a filter, CSS px, and the gap between two. */
const TILE = 44;
const GAP = 3;

export function firstLayerPane(view: View<CompareState>, root: HTMLElement, which: 0 | 1): void {
  const { store } = view;
  const [title, layer] = [el("span.cs-heading__name"), el("span.cs-heading__name")];
  const canvas = el("canvas.cs-first__canvas", {
    tabindex: 0,
    role: "slider",
    "aria-roledescription": "filters",
    "aria-valuemin": 0,
  });
  const caption = el("p.cs-first__caption");
  const rows = el("div.cs-first__rows");
  const complaint = el("p.cs-empty");
  root.append(
    el("h3.cs-heading.cs-heading--side", title, layer),
    el("div.cs-first", canvas, el("div.cs-first__words", caption, rows)),
    complaint,
  );
  const side = () => store.get("_comparison").sides[which];
  const filters = () => store.get("filters")[which] ?? null;
  let width = 0;
  /** The filter under the pointer, or that keys have led to. */
  let looked: number | null = null;
  const arranged = () => {
    const count = filters()?.count ?? 0;
    // A square, as the paper prints it.
    const columns = Math.max(1, Math.ceil(Math.sqrt(count)));
    const tile = Math.min(TILE, (width + GAP) / columns - GAP);
    return layout(count, columns * (tile + GAP) - GAP, tile, GAP);
  };
  const paint = onFrame(() => {
    const found = filters();
    if (found && width > 0) paintFilters(canvas, found, side()?.first ?? null, arranged(), looked);
  });
  onResize(root, (now) => {
    // Without its padding.
    width = now - 24;
    paint();
  });
  const said = (filter: number | null) => {
    if (looked !== filter) paint();
    looked = filter;
    const found = filters();
    const first = side()?.first ?? null;
    if (!found) return text(caption, "");
    const whole = filtersText(found.count, found.height, found.width, first?.stride ?? null);
    const marks = filter === null ? [] : filterMarks(first, filter);
    text(caption, filter === null ? whole : [`filter ${filter}`, ...marks].join(" · "));
    aria(canvas, "valuemax", found.count - 1);
    aria(canvas, "valuenow", filter ?? 0);
    aria(canvas, "valuetext", caption.textContent);
  };
  on(canvas, "pointermove", (event) => {
    const [down, right] = shareAt(canvas, event);
    const grid = arranged();
    const across = grid.columns * (grid.tile + grid.gap) - grid.gap;
    said(tileAt(grid, filters()?.count ?? 0, right * across, down * grid.height));
  });
  on(canvas, "pointerleave", () => said(null));
  on(canvas, "blur", () => said(null));
  onKey(canvas, (event) => {
    const [last, { columns }] = [(filters()?.count ?? 1) - 1, arranged()];
    const at = looked ?? 0;
    const to = {
      ArrowRight: at + 1,
      ArrowLeft: at - 1,
      ArrowDown: at + columns,
      ArrowUp: at - columns,
      Home: 0,
      End: last,
    }[event.key];
    if (to === undefined || withModifier(event)) return false;
    said(looked === null ? 0 : clamp(to, 0, last));
    return true;
  });
  store.watch(["_comparison", "filters"], () => {
    const [found, first] = [filters(), side()?.first ?? null];
    text(title, names(store)[which]);
    text(layer, found?.layer ?? "");
    text(complaint, side()?.complaint ?? "");
    canvas.hidden = caption.hidden = !found;
    aria(canvas, "label", found ? `First layer of ${names(store)[which]}, ${found.layer}` : "");
    said(null);
    const told: [string, string, string][] = first
      ? firstLayerRows(first)
      : found && !side()?.complaint
        ? [["measured when all pictures are seen", "", ""]]
        : [];
    rows.replaceChildren(
      ...told.map(([name, value, title]) => el("div", { title }, dim(name), el("span", value))),
    );
    paint();
  });
}

function paintFilters(
  canvas: HTMLCanvasElement,
  { count, height, width, pixels }: Filters,
  first: FirstLayer | null,
  grid: ReturnType<typeof layout>,
  looked: number | null,
): void {
  const across = grid.columns * (grid.tile + grid.gap) - grid.gap;
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(across * ratio);
  canvas.height = Math.round(grid.height * ratio);
  canvas.style.width = `${across}px`;
  const context = canvas.getContext("2d");
  if (!context) return;
  context.scale(ratio, ratio);
  context.imageSmoothingEnabled = false;
  const step = 3 * height * width;
  const style = getComputedStyle(canvas);
  const accent = style.getPropertyValue("--cs-accent") || "#e8590c";
  for (let filter = 0; filter < count; filter++) {
    const { x, y } = place(grid, filter);
    const tile = rgba(pixels.subarray(filter * step, (filter + 1) * step));
    const marks = filterMarks(first, filter);
    context.globalAlpha = marks.includes("dead") ? 0.3 : 1;
    context.drawImage(bitmap(tile, width, height), x, y, grid.tile, grid.tile);
    context.globalAlpha = 1;
    if (marks.includes("dominant")) {
      context.strokeStyle = accent;
      context.lineWidth = 2;
      context.strokeRect(x + 1, y + 1, grid.tile - 2, grid.tile - 2);
    }
  }
  if (looked !== null) {
    const { x, y } = place(grid, looked);
    for (const [colour, inset] of [
      [style.color, 1],
      [style.getPropertyValue("--cs-bg"), 3],
    ] as const) {
      context.strokeStyle = colour;
      context.lineWidth = 2;
      context.strokeRect(x + inset, y + inset, grid.tile - 2 * inset, grid.tile - 2 * inset);
    }
  }
  canvas.dataset.painted = String(count);
}
