/** The linked panels: activity of one map, probability of a class, most probable class, each at its place. */
import { gradient, table, widened } from "../lib/colormaps";
import { el, on, onFrame, onResize, text } from "../lib/dom";
import { activation, change, probability, share } from "../lib/format";
import { clamp, extent, type Position, type Size } from "../lib/geometry";
import type { Store } from "../lib/store";
import type { Session } from "../session";
import type { Maps, State } from "../state";
import { area, cellAt, colours, extremes, frequencies, placeOf, shown, word } from "./cells";

/** One panel: what it is called, what it says of a cell (null: of the clean picture), how it colours the cells. */
interface Panel {
  name: string;
  title: (maps: Maps) => string;
  value: (maps: Maps, cell: number | null) => string;
  paint: (maps: Maps, from: Int32Array, words: Uint32Array) => void;
  /** Beneath the map: colour bar or legend. */
  foot: HTMLElement;
  show: (maps: Maps) => void;
}

/** Classes that the legend names. */
const NAMED = 6;

/** A colour bar with the ends' values and a mark at the clean picture's. */
function colourBar(colormap: "inferno" | "viridis", format: (value: number) => string) {
  const mark = el("i", { class: "cs-bar__clean", title: "without occluder" });
  const strip = el("div", { class: "cs-bar__strip" }, mark);
  strip.style.background = gradient(colormap);
  const [low, high, clean] = [el("span"), el("span"), el("span", { class: "cs-bar__name" })];
  return {
    element: el("div", { class: "cs-bar" }, strip, el("div", { class: "cs-bar__ends" }, low, clean, high)),
    show: ([from, to]: [number, number], value: number | null) => {
      text(low, format(from));
      text(high, format(to));
      text(clean, value === null ? "" : `clean ${format(value)}`);
      mark.hidden = value === null;
      if (value !== null) mark.style.left = `${100 * clamp((value - from) / (to - from || 1), 0, 1)}%`;
    },
  };
}

function paintValues(
  values: Float32Array,
  [low, high]: [number, number],
  colormap: "inferno" | "viridis",
  from: Int32Array,
  words: Uint32Array,
): void {
  const scale = table(colormap);
  from.forEach((index, at) => {
    const value = values[index] ?? Number.NaN;
    const level = Math.round((255 * (value - low)) / (high - low || 1));
    words[at] = Number.isNaN(value) ? 0 : (scale[clamp(level, 0, 255)] ?? 0);
  });
}

const probabilities = (maps: Maps): [number, number] =>
  widened(...(extremes(maps.probability, [maps.clean.probability]) ?? [0, 1]));
const activities = (maps: Maps): [number, number] =>
  extremes(maps.activity, maps.clean.activity === null ? [] : [maps.clean.activity]) ?? [0, 1];

function activityPanel(): Panel {
  const bar = colourBar("inferno", activation);
  return {
    name: "activity",
    title: (maps) => (maps.layer === null ? "Activity" : `Activity of ${maps.layer} · ${maps.unit}`),
    value: (maps, cell) => {
      const value = cell === null ? maps.clean.activity : (maps.activity[cell] ?? Number.NaN);
      return value === null || Number.isNaN(value) ? "" : activation(value);
    },
    paint: (maps, from, words) => paintValues(maps.activity, activities(maps), "inferno", from, words),
    foot: bar.element,
    show: (maps) => bar.show(activities(maps), maps.clean.activity),
  };
}

function probabilityPanel(): Panel {
  const bar = colourBar("viridis", probability);
  return {
    name: "probability",
    title: (maps) => `Probability of ${maps.target.label}`,
    value: (maps, cell) => {
      if (cell === null) return probability(maps.clean.probability);
      const value = maps.probability[cell] ?? Number.NaN;
      return Number.isNaN(value) ? "" : `${change(value - maps.clean.probability)}  ${probability(value)}`;
    },
    paint: (maps, from, words) => paintValues(maps.probability, probabilities(maps), "viridis", from, words),
    foot: bar.element,
    show: (maps) => bar.show(probabilities(maps), maps.clean.probability),
  };
}

function labelPanel(store: Store<State>, signal: AbortSignal): Panel {
  let known = new Map<number, string>();
  const list = el("div", { class: "cs-labels" });
  const hovered = (event: Event) =>
    (event.target as HTMLElement).closest<HTMLElement>("[data-class]")?.dataset.class;
  const mark = (event: Event) => {
    const index = hovered(event);
    store.set({ marked: index === undefined ? null : Number(index) });
  };
  on(list, "pointerover", mark, signal);
  on(list, "focusin", mark, signal);
  on(list, "pointerleave", () => store.set({ marked: null }), signal);
  on(list, "focusout", () => store.set({ marked: null }), signal);
  on(
    list,
    "click",
    (event) => {
      const index = hovered(event);
      if (index !== undefined && !store.get("offline")) store.set({ target: Number(index) });
    },
    signal,
  );
  return {
    name: "label",
    title: () => "Most probable class",
    value: (maps, cell) => {
      const index = cell === null ? maps.clean.index : (maps.label[cell] ?? -1);
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
    foot: list,
    show: (maps) => {
      known = colours(known, maps);
      const counted = frequencies(maps.label);
      const total = counted.reduce((sum, [, count]) => sum + count, 0);
      const others = counted.slice(NAMED);
      const rows = counted.slice(0, NAMED).map(([index, count]) => {
        const key = el("i", { class: "cs-labels__key" });
        key.style.background = known.get(index) ?? "";
        const name = maps.labels[index] ?? String(index);
        return el(
          "button",
          {
            type: "button",
            class: "cs-labels__row",
            "data-class": index,
            "aria-pressed": String(index === maps.target.index),
            title: `${name}: most probable at ${count} of ${total} places. Click to follow its probability.`,
          },
          key,
          el("span", { class: "cs-labels__name" }, name),
          el("span", { class: "cs-dim" }, share(count / Math.max(1, total))),
        );
      });
      const focused = (list.getRootNode() as Document).activeElement?.getAttribute("data-class");
      list.replaceChildren(...rows);
      if (others.length > 0) list.append(el("div", { class: "cs-dim" }, `and ${others.length} more`));
      if (focused) list.querySelector<HTMLElement>(`[data-class="${focused}"]`)?.focus();
    },
  };
}

export function mapsPane({ store }: Session, root: HTMLElement, signal: AbortSignal): void {
  const grid = el("div", { class: "cs-maps" });
  root.append(grid);
  const panels = [activityPanel(), probabilityPanel(), labelPanel(store, signal)];
  for (const panel of panels) mount(panel, grid, store, signal);
  // Looking at a place on the picture is looking at it on the maps.
  store.onChange(
    ["pointer"],
    () => {
      const [maps, pointer] = [store.get("maps"), store.get("pointer")];
      store.set({ cell: maps && pointer && !store.get("dragging") ? cellAt(maps, pointer) : null });
    },
    signal,
  );
}

function mount(panel: Panel, grid: HTMLElement, store: Store<State>, signal: AbortSignal): void {
  const [title, value] = [el("span", { class: "cs-map__title" }), el("span", { class: "cs-map__value" })];
  const canvas = el("canvas", { class: "cs-map__canvas", "aria-hidden": "true" });
  const note = el("span", { class: "cs-map__note" });
  const frame = el(
    "div",
    {
      class: "cs-map__frame",
      tabindex: 0,
      role: "slider",
      "aria-roledescription": "map",
      "aria-valuemin": 0,
      "data-panel": panel.name,
      "data-jp-suppress-context-menu": true,
      "data-lm-suppress-shortcuts": "true",
    },
    canvas,
    note,
  );
  const figure = el(
    "figure",
    { class: "cs-map" },
    el("figcaption", { class: "cs-heading" }, title, value),
    frame,
    panel.foot,
  );
  grid.append(figure);

  // ---- painting
  let width = 0;
  const paint = onFrame(() => {
    const maps = store.get("maps");
    const [high, wide] = store.get("_network").size;
    frame.style.aspectRatio = `${wide} / ${high}`;
    const context = canvas.getContext("2d");
    if (!context || width === 0) return;
    const ratio = window.devicePixelRatio || 1;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round((width * ratio * high) / wide);
    const scale = canvas.width / wide;
    context.scale(scale, scale);
    const photo = store.get("photo");
    if (photo) {
      // So that one sees where one is, also beyond the outermost centres.
      context.globalAlpha = 0.35;
      context.drawImage(bitmap(photo.pixels, photo.width, photo.height), 0, 0, wide, high);
      context.globalAlpha = 1;
    }
    if (!maps) return;
    const { rows, columns } = maps;
    const from = maps.preview
      ? Int32Array.from({ length: rows * columns }, (_, index) => index)
      : shown((index) => (maps.label[index] ?? -1) >= 0, rows, columns);
    const words = new Uint32Array(rows * columns);
    panel.paint(maps, from, words);
    const { top, left, height, width: across } = area(maps);
    context.imageSmoothingEnabled = false;
    context.drawImage(bitmap(new Uint8ClampedArray(words.buffer), columns, rows), left, top, across, height);
    ring(context, store.get("position"), store.get("size"), scale);
    const cell = store.get("cell");
    if (cell) outline(context, maps, cell, scale);
  }, signal);
  store.watch(["maps", "photo", "position", "size", "cell", "_network"], paint, signal);
  if (panel.name === "label") store.onChange(["marked"], paint, signal);
  onResize(
    frame,
    (now) => {
      width = now;
      paint();
    },
    signal,
  );

  // ---- in words
  store.watch(
    ["maps", "cell"],
    () => {
      const [maps, cell] = [store.get("maps"), store.get("cell")];
      figure.classList.toggle("cs-is-loading", !maps);
      figure.hidden = !!maps && panel.name === "activity" && maps.layer === null;
      if (!maps) return;
      const at = cell && cell[0] * maps.columns + cell[1];
      const said = panel.value(maps, at);
      text(title, panel.title(maps));
      text(value, said);
      value.classList.toggle("cs-is-clean", !cell);
      figure.title = panel.title(maps);
      text(note, maps.preview ? (panel.name === "label" ? "first values come" : "preview") : "");
      frame.dataset.preview = String(maps.preview);
      frame.dataset.computed = String(maps.label.reduce((sum, one) => sum + (one >= 0 ? 1 : 0), 0));
      frame.setAttribute("aria-label", panel.title(maps));
      frame.setAttribute("aria-valuemax", String(maps.rows * maps.columns - 1));
      frame.setAttribute("aria-valuenow", String(at ?? 0));
      const place = cell ? `row ${cell[0]}, column ${cell[1]}` : "without occluder";
      frame.setAttribute("aria-valuetext", `${place}: ${said || "not computed yet"}`);
    },
    signal,
  );
  store.watch(
    ["maps"],
    () => {
      const maps = store.get("maps");
      if (maps) panel.show(maps);
    },
    signal,
  );

  // ---- looking and choosing
  const under = (event: PointerEvent | MouseEvent): Position | null => {
    const maps = store.get("maps");
    const box = frame.getBoundingClientRect();
    const [high, wide] = store.get("_network").size;
    const row = ((event.clientY - box.top) / Math.max(1, box.height)) * high;
    const column = ((event.clientX - box.left) / Math.max(1, box.width)) * wide;
    return maps && cellAt(maps, [row, column]);
  };
  const choose = (cell: Position | null) => {
    const maps = store.get("maps");
    if (maps && cell && !store.get("offline")) store.set({ position: placeOf(maps, cell) });
  };
  on(frame, "pointermove", (event) => store.set({ cell: under(event) }), signal);
  on(frame, "pointerleave", () => store.set({ cell: null }), signal);
  on(frame, "blur", () => store.set({ cell: null }), signal);
  on(frame, "click", (event) => choose(under(event)), signal);
  on(
    frame,
    "keydown",
    (event) => {
      const maps = store.get("maps");
      if (!maps || event.ctrlKey || event.metaKey || event.altKey) return;
      const [high, wide] = extent(store.get("size"));
      const [top, left] = store.get("position");
      const cell = store.get("cell") ?? cellAt(maps, [top + high / 2, left + wide / 2]);
      const step = event.shiftKey ? 5 : 1;
      const moves: Record<string, Position> = {
        ArrowUp: [-step, 0],
        ArrowDown: [step, 0],
        ArrowLeft: [0, -step],
        ArrowRight: [0, step],
        Home: [0, -Infinity],
        End: [0, Infinity],
        PageUp: [-Infinity, 0],
        PageDown: [Infinity, 0],
      };
      const move = moves[event.key];
      if (move) {
        store.set({
          cell: [clamp(cell[0] + move[0], 0, maps.rows - 1), clamp(cell[1] + move[1], 0, maps.columns - 1)],
        });
      } else if (event.key === "Enter" || event.key === " ") choose(cell);
      else if (event.key === "Escape") store.set({ cell: null });
      else return;
      event.preventDefault();
      event.stopPropagation();
    },
    signal,
  );
}

function bitmap(pixels: Uint8ClampedArray<ArrayBuffer>, width: number, height: number): HTMLCanvasElement {
  const canvas = el("canvas", { width, height });
  canvas.getContext("2d")?.putImageData(new ImageData(pixels, width, height), 0, 0);
  return canvas;
}

/** Where the occluder's centre is now: a ring that is seen on any colour. */
function ring(context: CanvasRenderingContext2D, [top, left]: Position, size: Size, scale: number): void {
  const [high, wide] = extent(size);
  const pixel = (window.devicePixelRatio || 1) / scale;
  for (const [style, width] of [
    ["rgb(0 0 0 / 65%)", 5],
    ["#fff", 2],
  ] as const) {
    context.strokeStyle = style;
    context.lineWidth = width * pixel;
    context.beginPath();
    context.arc(left + wide / 2, top + high / 2, 5 * pixel, 0, 2 * Math.PI);
    context.stroke();
  }
}

/** The cell that is looked at. */
function outline(
  context: CanvasRenderingContext2D,
  maps: Maps,
  [row, column]: Position,
  scale: number,
): void {
  const { top, left } = area(maps);
  const [down, across] = maps.stride;
  const pixel = (window.devicePixelRatio || 1) / scale;
  for (const [style, out] of [
    ["rgb(0 0 0 / 70%)", 2.5],
    ["#fff", 1],
  ] as const) {
    context.strokeStyle = style;
    context.lineWidth = 1.5 * pixel;
    const around = out * pixel;
    context.strokeRect(
      left + column * across - around,
      top + row * down - around,
      across + 2 * around,
      down + 2 * around,
    );
  }
}
