/** How the probability of the target went, frame by frame: drawn where no chart of bqplot's is seen beneath, and a table. */
import { dim, el, is, onFrame, svg, text } from "../../lib/dom";
import { probability } from "../../lib/format";
import { chartTable, type Table } from "../../lib/table";
import type { View } from "../../seam";
import type { Frame, OccluderState } from "../occluder/state";
import type { WholeSlice } from "./state";

/** Frames that are kept. */
const LENGTH = 240;

const [WIDTH, HEIGHT] = [LENGTH, 64];

/** Frames with one more; those of another picture or class do not continue this curve, nor does one that is told again. */
export function continued(frames: readonly Frame[], frame: Frame): readonly Frame[] {
  const last = frames.at(-1);
  const same = last?.picture === frame.picture && last.target.index === frame.target.index;
  if (same && last.position.join() === frame.position.join() && last.target.now === frame.target.now)
    return frames;
  return [...(same ? frames : []), frame].slice(-LENGTH);
}

export function historyPane({ store }: View<OccluderState & WholeSlice>): HTMLElement[] {
  const title = dim();
  const drawing = el("div.cs-history__drawing");
  const root = el("div.cs-history", title, drawing);
  let frames: readonly Frame[] = [];
  store.follow("frame", (frame) => {
    if (frame) frames = continued(frames, frame);
  });
  const table = chartTable(store, "history", ["frame"], () => tableOf(frames));
  const show = onFrame(() => {
    const last = frames.at(-1);
    root.hidden = !store.get("show_history") || store.get("offline");
    table.hidden = root.hidden || frames.length === 0;
    // Of an instrument that fills the window nothing beneath it is to be seen.
    is(root, "charted", !store.get("uncharted"));
    if (root.hidden) return;
    text(title, last ? `probability of ${last.target.label}, frame by frame; dashed: the clean picture` : "");
    drawing.replaceChildren(...(last ? [drawn(frames, last)] : []));
  });
  root.hidden = table.hidden = true;
  store.watch(["frame", "uncharted", "show_history", "offline"], show);
  return [root, table];
}

/** The newest first. */
function tableOf(frames: readonly Frame[]): Table {
  const { target } = frames.at(-1) ?? {};
  return {
    caption: target
      ? `probability of ${target.label}; ${probability(target.clean)} on the clean picture`
      : "",
    columns: ["row, column", "probability"],
    rows: frames.map(({ position, target }) => [position.join(", "), probability(target.now)]).reverse(),
  };
}

function drawn(frames: readonly Frame[], last: Frame): SVGElement {
  const y = (value: number) => `${HEIGHT * (1 - value)}`;
  const points = frames.flatMap(({ target }, at) =>
    Number.isNaN(target.now) ? [] : [`${at},${y(target.now)}`],
  );
  const clean = y(last.target.clean);
  const thin = { fill: "none", "vector-effect": "non-scaling-stroke" };
  return svg(
    "svg",
    {
      viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
      preserveAspectRatio: "none",
      role: "img",
      "aria-label": `${frames.length} frames, from 0 to 1: now ${probability(last.target.now)}`,
    },
    svg("line", {
      ...thin,
      x1: "0",
      x2: `${WIDTH}`,
      y1: clean,
      y2: clean,
      stroke: "var(--cs-dim)",
      "stroke-dasharray": "4 3",
    }),
    svg("polyline", { ...thin, points: points.join(" "), stroke: "var(--cs-after)", "stroke-width": "1.5" }),
  );
}
