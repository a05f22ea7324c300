/** What either network reaches, and costs. */
import { el } from "../../lib/dom";
import type { View } from "../../seam";
import { type CompareState, names } from "./state";
import { numberText, percent } from "./words";

export function numbersPane({ store }: View<CompareState>, root: HTMLElement): void {
  const table = el("table.cs-numbers-table");
  const empty = el("p.cs-empty");
  const agreement = el("p.cs-agreement");
  root.append(el("h3.cs-heading", "Answers and cost"), agreement, table, empty);
  store.watch(["_comparison"], () => {
    const { known, numbers, agreement: share, compared, complaint } = store.get("_comparison");
    empty.textContent = known ? (complaint ?? "") : "Known when both have seen all pictures.";
    table.hidden = agreement.hidden = !known;
    agreement.replaceChildren(
      ...(share === null
        ? ["No class in common"]
        : [el("b", percent(share)), ` the same answer on ${(compared ?? 0).toLocaleString("en")} pictures`]),
    );
    const [a, b] = names(store);
    table.replaceChildren(
      el(
        "thead",
        el(
          "tr",
          el("td"),
          ...[a, b].map((name) => el("th", { scope: "col", title: name }, el("span", name))),
        ),
      ),
      el(
        "tbody",
        ...numbers.map(({ name, kind, values }) =>
          el(
            "tr",
            el("th", { scope: "row" }, name === "seconds a picture" ? "time a picture" : name),
            ...values.map((value) => el("td", numberText(kind, value))),
          ),
        ),
      ),
    );
  });
}
