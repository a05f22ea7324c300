/** What either network reaches, and costs. */
import { el } from "../../lib/dom";
import { many } from "../../lib/format";
import type { View } from "../../seam";
import { figureButtons } from "../shared/figure";
import { type CompareState, names } from "./state";
import { broken, numberText, percent } from "./words";

/** What each number is. */
const MEANING: Record<string, string> = {
  accuracy:
    "Share of the pictures whose own class is the most probable; of those with a class that the network knows",
  "top-5 accuracy": "Share of the pictures whose own class is among the five most probable",
  parameters: "Numbers that the network computes with, batch norms folded into the layers before them",
  "multiply-adds": "Of convolutions and linear layers, for one picture",
  "seconds a picture": "Of one picture by itself: the median of five passes, of both networks in turn",
};

export function numbersPane(view: View<CompareState>, root: HTMLElement): void {
  const { store } = view;
  const table = el("table.cs-numbers-table");
  const empty = el("p.cs-empty");
  const agreement = el("p.cs-agreement", {
    title: "Share of the pictures to which both give the same class",
  });
  const save = figureButtons(view, "comparison", "both first layers, projections and the matrix");
  root.append(el("h3.cs-heading", "Answers and cost", save), agreement, table, empty);
  store.watch(["_comparison"], () => {
    const { known, numbers, agreement: share, compared, complaint } = store.get("_comparison");
    empty.textContent = known ? (complaint ?? "") : "Known when both have seen all pictures.";
    table.hidden = agreement.hidden = save.hidden = !known;
    agreement.replaceChildren(
      ...(share === null
        ? ["No class in common"]
        : [el("b", percent(share)), ` the same answer on ${many(compared ?? 0, "picture")}`]),
    );
    const [a, b] = names(store);
    table.replaceChildren(
      el(
        "thead",
        el(
          "tr",
          el("td"),
          ...[a, b].map((name) => el("th", { scope: "col", title: name }, el("span", ...broken(name)))),
        ),
      ),
      el(
        "tbody",
        ...numbers.map(({ name, kind, values }) =>
          el(
            "tr",
            { title: MEANING[name] ?? "" },
            el("th", { scope: "row" }, name === "seconds a picture" ? "time a picture" : name),
            ...values.map((value) => el("td", numberText(kind, value))),
          ),
        ),
      ),
    );
  });
}
