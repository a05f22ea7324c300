/** Every layer of the one against every layer of the other; a cell is chosen by a click, or walked to by keys. */
import { gradient, table } from "../../lib/colormaps";
import { aria, dim, el, layOver, on, onFrame, onKey, shareAt, text, withModifier } from "../../lib/dom";
import { clamp } from "../../lib/geometry";
import { show } from "../../lib/photo";
import type { View } from "../../seam";
import { showAwaited } from "../shared/awaited";
import { type CompareState, type Matrix, names } from "./state";
import { broken, likeness } from "./words";

/** Layers whose names stand beside the matrix, and the largest side of a cell, CSS px. */
const NAMED = 24;
const CELL = 40;
/** Of the matrix: its height as a share of its width. */
const TALLEST = 1.2;

type Cell = [row: number, column: number];

const STEPS: Record<string, Cell> = {
  ArrowUp: [-1, 0],
  ArrowDown: [1, 0],
  ArrowLeft: [0, -1],
  ArrowRight: [0, 1],
  Home: [0, -Infinity],
  End: [0, Infinity],
  PageUp: [-Infinity, 0],
  PageDown: [Infinity, 0],
};

export function matrixPane(view: View<CompareState>, root: HTMLElement): void {
  const { store } = view;
  const value = el("span.cs-cka__value");
  const empty = el("p.cs-empty");
  const canvas = el("canvas.cs-cka__canvas");
  const [chosenMark, pointedMark] = [el("i.cs-cka__chosen"), el("i.cs-cka__pointed")];
  const frame = el(
    "div.cs-cka__frame",
    { tabindex: 0, role: "slider", "aria-roledescription": "matrix", "aria-valuemin": 0 },
    canvas,
    pointedMark,
    chosenMark,
  );
  const rows = el("div.cs-cka__rows", { "aria-hidden": "true" });
  const columns = el("div.cs-cka__columns", { "aria-hidden": "true" });
  const [down, across] = ["down", "across"].map((way) =>
    el("span", { class: `cs-cka__${way}`, "aria-hidden": "true" }),
  ) as [HTMLElement, HTMLElement];
  const bar = el("i.cs-cka__bar");
  bar.style.background = gradient("viridis");
  const whole = el(
    "div.cs-cka",
    across,
    columns,
    down,
    rows,
    frame,
    el("div.cs-cka__scale", { "aria-hidden": "true" }, dim("0"), bar, dim("1")),
  );
  root.append(
    el(
      "h3.cs-heading",
      { title: "Debiased linear CKA: how alike two layers order the pictures, whatever their units are" },
      "Layers alike (CKA)",
      value,
    ),
    empty,
    whole,
  );

  const layers = () => store.get("_comparison").sides.map((side) => side.layers);
  const chosen = (): Cell => [
    Math.max(0, layers()[0]?.indexOf(store.get("layer_a")) ?? 0),
    Math.max(0, layers()[1]?.indexOf(store.get("layer_b")) ?? 0),
  ];
  const choose = ([row, column]: Cell) => {
    const [layer_a, layer_b] = [layers()[0]?.[row], layers()[1]?.[column]];
    if (layer_a !== undefined && layer_b !== undefined) store.set({ layer_a, layer_b });
  };
  const under = (event: MouseEvent): Cell | null => {
    const matrix = store.get("matrix");
    if (!matrix) return null;
    const [y, x] = shareAt(frame, event);
    return [
      clamp(Math.floor(y * matrix.rows), 0, matrix.rows - 1),
      clamp(Math.floor(x * matrix.columns), 0, matrix.columns - 1),
    ];
  };
  on(frame, "pointermove", (event) => store.set({ pointed: under(event) }));
  on(frame, "pointerleave", () => store.set({ pointed: null }));
  on(frame, "click", (event) => {
    const cell = under(event);
    if (cell) choose(cell);
  });
  onKey(frame, (event) => {
    const [matrix, step] = [store.get("matrix"), STEPS[event.key]];
    if (!matrix || !step || withModifier(event)) return false;
    const [row, column] = chosen();
    const by = event.shiftKey ? 5 : 1;
    store.set({ pointed: null });
    const moved = (from: number, direction: number, count: number) =>
      direction === 0 ? from : clamp(from + by * direction, 0, count - 1);
    choose([moved(row, step[0], matrix.rows), moved(column, step[1], matrix.columns)]);
    return true;
  });

  const paint = onFrame(() => {
    const matrix = store.get("matrix");
    if (matrix) paintMatrix(canvas, matrix);
  });
  store.watch(["matrix"], paint);
  store.watch(["matrix", "_comparison"], () => {
    const [matrix, { known, cka }] = [store.get("matrix"), store.get("_comparison")];
    whole.hidden = !matrix;
    text(empty, cka ?? (matrix || known ? "" : "Compared when both have seen all pictures."));
    const [a, b] = names(store);
    down.replaceChildren(...broken(a), " ↓");
    across.replaceChildren(...broken(b), " →");
    if (!matrix) return;
    const named = Math.max(matrix.rows, matrix.columns) <= NAMED;
    const label = (name: string) => el("span", { title: name }, named ? name : "");
    rows.replaceChildren(...(layers()[0] ?? []).map(label));
    columns.replaceChildren(...(layers()[1] ?? []).map(label));
    whole.style.setProperty("--cs-cka-width", `${CELL * matrix.columns}px`);
    // Square cells, unless the one network is much deeper.
    const tall = clamp(matrix.rows / matrix.columns, 0.5, TALLEST);
    frame.style.aspectRatio = `1 / ${tall}`;
    aria(frame, "valuemax", matrix.rows * matrix.columns - 1);
    aria(
      frame,
      "label",
      `Layers of ${a} (up and down) against layers of ${b} (left and right). Arrow keys choose a pair.`,
    );
  });
  showAwaited(view, root, "cka", ["matrix", "_comparison"], () => {
    const { known, cka } = store.get("_comparison");
    return known && cka === null && !store.get("matrix") ? "loading" : "";
  });
  store.watch(["matrix", "_comparison", "layer_a", "layer_b", "pointed"], () => {
    const matrix = store.get("matrix");
    if (!matrix) return text(value, "");
    const [now, pointed] = [chosen(), store.get("pointed")];
    put(chosenMark, matrix, now);
    put(pointedMark, matrix, pointed);
    const [row, column] = pointed ?? now;
    const name = ([r, c]: Cell) => `${layers()[0]?.[r] ?? ""} × ${layers()[1]?.[c] ?? ""}`;
    const of = (r: number, c: number) => likeness(matrix.values[r * matrix.columns + c]);
    value.replaceChildren(`${name([row, column])} `, el("b", of(row, column)));
    aria(frame, "valuenow", now[0] * matrix.columns + now[1]);
    aria(frame, "valuetext", `${name(now)}: ${of(...now)}`);
    [rows, columns].forEach((labels, axis) => {
      for (const [at, label] of [...labels.children].entries()) {
        label.toggleAttribute("data-chosen", at === now[axis]);
      }
    });
  });
}

/** A pixel a cell; the style sheet makes it larger. */
function paintMatrix(canvas: HTMLCanvasElement, { rows, columns, values }: Matrix): void {
  const colours = table("viridis");
  const words = new Uint32Array(rows * columns);
  values.forEach((value, at) => {
    // Where there is none, nothing is painted.
    words[at] = Number.isNaN(value) ? 0 : (colours[Math.round(255 * clamp(value, 0, 1))] ?? 0);
  });
  show(canvas, new Uint8ClampedArray(words.buffer), columns, rows);
  canvas.dataset.painted = `${rows}x${columns}`;
}

function put(mark: HTMLElement, { rows, columns }: Matrix, cell: Cell | null): void {
  mark.hidden = cell === null;
  if (cell) layOver(mark, cell, [1, 1], [rows, columns]);
}
