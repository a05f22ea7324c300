/** The scores: dots on bands, and the paper's table beside them. */
import { dim, el, on, text, within } from "../../lib/dom";
import type { View } from "../../seam";
import { figureButtons } from "../shared/figure";
import { axisOf } from "./geometry";
import type { CorrespondenceState, PartRow, Scores } from "./state";
import { chanceText, scoresText, shareText, spreadText } from "./words";

/** For each layer its parts: a dot on the band of random places. */
export function scoreDots(view: View<CorrespondenceState>, root: HTMLElement): void {
  const { store } = view;
  const empty = el("p.cs-empty");
  const list = el("div.cs-dots");
  const save = figureButtons(view, "scores", "the scores");
  root.append(
    el("div.cs-heading", "against random places", el("span", "less is more alike"), save),
    empty,
    list,
  );
  store.watch(["_rows", "layers", "entries", "_work"], () => {
    const rows = known(store.get("_rows"));
    text(empty, rows.length > 0 ? "" : emptyText(store.get("_work").state));
    save.hidden = rows.length === 0;
    const ends = axisOf(rows, store.get("entries"));
    list.replaceChildren(
      ...store.get("layers").flatMap((layer) => {
        const lines = rows.flatMap((row) => {
          const scores = row.scores[layer]?.[store.get("entries")];
          return scores ? [line(row, layer, scores, ends)] : [];
        });
        return lines.length > 0
          ? [el("div.cs-dots__layer", el("div.cs-dots__head", el("b", layer), axis(ends)), ...lines)]
          : [];
      }),
    );
  });
}

const emptyText = (state: string): string =>
  ({
    running: "Masking the part, and random places…",
    failed: "The scores could not be computed; the error is shown below.",
    cancelled: "Stopped before there were scores.",
  })[state] ?? "No scores yet: click a part in two pictures at least.";

type Ends = [start: number, end: number];

const known = (rows: readonly PartRow[]) => rows.filter(({ scores }) => Object.keys(scores).length > 0);

function axis([start, end]: Ends): HTMLElement {
  return el("span.cs-dots__axis", { "aria-hidden": "true" }, dim(shareText(start)), dim(shareText(end)));
}

function line({ name, current }: PartRow, layer: string, scores: Scores, [start, end]: Ends): HTMLElement {
  const wide = (value: number) => `${(100 * value) / (end - start)}%`;
  const track = el("span.cs-dots__track", {
    role: "img",
    "aria-label": scoresText(name, layer, scores),
    title: scoresText(name, layer, scores),
  });
  const piece = (kind: string, value: number | null) => {
    if (value === null) return;
    const found = el("i", { class: `cs-dots__${kind}` });
    found.style.left = wide(value - start);
    track.append(found);
    return found;
  };
  const band = piece("band", scores.low);
  if (band) band.style.width = wide((scores.high ?? 0) - (scores.low ?? 0));
  piece("random", scores.random);
  piece("dot", scores.delta);
  return el(
    "div.cs-dots__line",
    { "data-current": String(current) },
    el("span.cs-dots__name", { title: name }, name),
    track,
    dim(chanceText(scores.p)),
  );
}

/** As the paper's table 1: parts down, layers across, mean ± standard deviation; a part's random places beneath it. */
export function scoreTable({ store }: View<CorrespondenceState>, root: HTMLElement): void {
  const table = el("table.cs-parts");
  const box = el("div.cs-parts__box", { tabindex: 0, role: "group", "aria-label": "Table of scores" }, table);
  const head = el("div.cs-heading", "signs that differ", el("span", "mean ± sd over pairs"));
  root.append(head, box);
  const cells = ({ scores }: PartRow, what: "delta" | "random") =>
    store.get("layers").map((layer) => {
      const found = scores[layer]?.[store.get("entries")];
      if (!found) return el("td", dim("…"));
      return what === "delta"
        ? el("td", spreadText(found.delta, found.spread))
        : el("td", dim(spreadText(found.random, found.random_spread)));
    });
  store.watch(["_rows", "layers", "entries", "shown"], () => {
    const rows = store.get("_rows");
    const layers = store.get("layers");
    head.hidden = box.hidden = rows.length === 0;
    table.replaceChildren(
      el(
        "thead",
        el(
          "tr",
          el("th", { scope: "col" }, "masked"),
          ...layers.map((one) => el("th", { scope: "col" }, one)),
        ),
      ),
      el(
        "tbody",
        ...rows.flatMap((row) => [
          el("tr", el("th", { scope: "row" }, title(row, store.get("shown"))), ...cells(row, "delta")),
          el("tr.cs-parts__random", el("th", { scope: "row" }, dim("random")), ...cells(row, "random")),
        ]),
      ),
    );
  });
  on(table, "click", (event) => {
    const part = within(event, "[data-part]")?.dataset.part;
    if (part !== undefined) store.set({ shown: store.get("shown") === part ? "" : part });
  });
}

/** A part's name; of one that is not clicked a button that shows its masks. */
function title({ name, current, pictures }: PartRow, shown: string): HTMLElement {
  if (current) return el("span.cs-parts__current", { title: `${pictures} pictures` }, name);
  return el(
    "button.cs-link",
    { "data-part": name, "aria-pressed": String(shown === name), title: `Its masks in ${pictures} pictures` },
    name,
  );
}
