/** Which curve is drawn beneath, and whose line is whose; where bqplot does not draw them the curves themselves. */
import { captioned, segmented, tied } from "../../lib/controls";
import { dim, el, on, svg, text, within } from "../../lib/dom";
import { activation, short } from "../../lib/format";
import type { Store } from "../../lib/store";
import { chartTable, type Table } from "../../lib/table";
import type { View } from "../../seam";
import { figureButtons } from "../shared/figure";
import { type Curve, checkpointOf, chooseCheckpoint, type EvolutionState, type Values } from "./state";
import { CURVES } from "./words";

/** One of the lines: of a layer, or of a checkpoint where the curve is the first layer's. */
interface Line {
  name: string;
  values: Values;
  colour: string;
  /** It is what is looked at. */
  chosen: boolean;
  dashed: boolean;
}

export function curvesPane(view: View<EvolutionState>, root: HTMLElement): void {
  const { store } = view;
  const what = dim();
  const choice = tied(store, "curve", segmented<Curve>("Curve", CURVES));
  const drawing = el("div.cs-curves__drawing");
  const save = figureButtons(view, "curves", "all curves");
  root.append(
    el(
      "div.cs-curves",
      el("div.cs-tools", captioned("curve", choice.element)),
      el("p.cs-curves__what", what, save),
      legend(view),
      drawing,
      chartTable(store, "curves", ["curve", "_evolution"], () => tableOf(store)),
    ),
  );
  store.follow("_evolution", ({ checkpoints }) => {
    root.hidden = checkpoints.length === 0;
  });
  store.follow("curve", (curve) => text(what, CURVES[curve][1]));
  store.watch(["curve", "checkpoint", "layer", "_evolution", "uncharted"], () => {
    drawing.hidden = !store.get("uncharted");
    if (store.get("uncharted")) drawing.replaceChildren(...drawn(store));
  });
}

/** A row a checkpoint and a column a layer; of the energy a row a component and a column a checkpoint. */
function tableOf(store: Store<EvolutionState>): Table {
  const [curve, lines] = [store.get("curve"), linesOf(store)];
  const { checkpoints, energy } = store.get("_evolution");
  const names = (energy[0] ?? []).map((_, index) => `${index + 1}`);
  return {
    caption: CURVES[curve][1],
    columns: [
      curve === "energy" ? "component" : "checkpoint",
      ...lines.map(({ name, dashed }) => (dashed ? `${name}, dormant` : name)),
    ],
    rows: (curve === "energy" ? names : checkpoints.map(({ label }) => label)).map((name, index) => [
      name,
      ...lines.map(({ values }) => numberText(values[index])),
    ]),
  };
}

const numberText = (value: number | null | undefined): string => (value == null ? "–" : activation(value));

/** A click looks at the layer, or the checkpoint. */
function legend({ store }: View<EvolutionState>): HTMLElement {
  const list = el("div.cs-curves__legend", { role: "group", "aria-label": "Lines" });
  let named = "";
  store.watch(["curve", "checkpoint", "layer", "_evolution"], () => {
    const lines = linesOf(store).filter(({ dashed }) => !dashed);
    // Buttons stay as long as they can, and with them the focus.
    const names = lines.map(({ name, colour }) => `${name} ${colour}`).join();
    if (names !== named) list.replaceChildren(...lines.map(lineButton));
    named = names;
    for (const [index, { chosen }] of lines.entries()) {
      list.children[index]?.setAttribute("aria-pressed", String(chosen));
    }
  });
  on(list, "click", (event) => {
    const name = within(event, ".cs-line")?.dataset.line;
    if (name === undefined) return;
    if (store.get("curve") !== "energy") return store.set({ layer: name, exemplar: null });
    chooseCheckpoint(
      store,
      store.get("_evolution").checkpoints.findIndex(({ label }) => label === name),
    );
  });
  return list;
}

function lineButton({ name, colour }: Line): HTMLElement {
  const stroke = el("i");
  stroke.style.background = colour;
  return el("button.cs-line", { "data-line": name }, stroke, name);
}

export function linesOf(store: Store<EvolutionState>): Line[] {
  const { curves, energy, checkpoints, colours } = store.get("_evolution");
  const curve = store.get("curve");
  if (curve === "energy") {
    return energy.map((values, at) => ({
      name: checkpoints[at]?.label ?? "",
      values,
      colour: colours.checkpoints[at] ?? "currentColor",
      chosen: at === checkpointOf(store),
      dashed: false,
    }));
  }
  return (curve === "inactive" ? ["dead", "dormant"] : [curve]).flatMap((key) =>
    Object.entries(curves[key] ?? {})
      .filter(([, values]) => values.some((value) => value !== null))
      .map(([name, values]) => ({
        name,
        values,
        colour: colours.layers[name] ?? "currentColor",
        chosen: name === store.get("layer"),
        dashed: key === "dormant",
      })),
  );
}

const [WIDTH, HEIGHT, MARGIN, NAMES] = [1000, 180, 12, 18];

function drawn(store: Store<EvolutionState>): Node[] {
  const curve = store.get("curve");
  const lines = linesOf(store);
  const highest = Math.max(1e-12, ...lines.flatMap(({ values }) => values.map((value) => value ?? 0)));
  const count = Math.max(2, ...lines.map(({ values }) => values.length));
  const x = (index: number) => MARGIN + (index * (WIDTH - 2 * MARGIN)) / (count - 1);
  const y = (value: number) => HEIGHT - MARGIN - (value / highest) * (HEIGHT - 2 * MARGIN);
  const paths = lines.map(({ values, colour, chosen, dashed }) => {
    const points = values.flatMap((value, index) => (value === null ? [] : [`${x(index)},${y(value)}`]));
    return svg("polyline", {
      points: points.join(" "),
      fill: "none",
      stroke: colour,
      "stroke-width": chosen ? "3" : "1.5",
      "stroke-dasharray": dashed ? "5 4" : "none",
    });
  });
  const at = `${x(checkpointOf(store))}`;
  const cursor = svg("line", { x1: at, x2: at, y1: "0", y2: `${HEIGHT}`, stroke: "var(--cs-accent)" });
  const names = store.get("_evolution").checkpoints.map(({ short }, index) =>
    svg(
      "text",
      {
        x: `${x(index)}`,
        y: `${HEIGHT + NAMES - 5}`,
        "text-anchor": "middle",
        "font-size": "11",
        fill: "var(--cs-dim)",
      },
      document.createTextNode(short),
    ),
  );
  const top = short(highest);
  return [
    svg(
      "svg",
      {
        viewBox: `0 0 ${WIDTH} ${HEIGHT + NAMES}`,
        role: "img",
        "aria-label": `${CURVES[curve][0]}: 0 to ${top}`,
      },
      ...paths,
      ...(curve === "energy" ? [] : [cursor, ...names]),
    ),
    dim(`from 0 to ${top}`),
  ];
}
