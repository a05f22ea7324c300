/** Beside the unit: at which checkpoint it is looked at, and the line of code that opens the microscope there. */
import { dim, el, on, text } from "../../lib/dom";
import type { View } from "../../seam";
import { checkpointOf, type EvolutionState } from "./state";
import { labelOf } from "./words";

export function momentLine({ store }: View<EvolutionState>, root: HTMLElement): void {
  const line = el("p.cs-moment");
  root.append(line);
  store.watch(["checkpoint", "_evolution"], () => text(line, labelOf(store, checkpointOf(store))));
}

export function explorerLine({ store }: View<EvolutionState>, root: HTMLElement): void {
  const code = el("code.cs-code");
  const copy = el("button.cs-link", { title: "Copy the line" }, "copy");
  const line = el(
    "p.cs-opens",
    dim("the microscope on this checkpoint "),
    el("span.cs-opens__code", code, " ", copy),
  );
  root.append(line);
  on(copy, "click", () => {
    void navigator.clipboard?.writeText(code.textContent ?? "").then(() => text(copy, "copied"));
  });
  store.watch(["checkpoint", "_evolution", "_variable", "offline"], () => {
    const at = checkpointOf(store);
    line.hidden = at < 0 || store.get("offline");
    // By what the columns are called where that tells them apart: an index would be taken for an epoch.
    const { counts, checkpoints } = store.get("_evolution");
    const which = counts === "epoch" ? `epoch=${checkpoints[at]?.short}` : `checkpoint=${at}`;
    text(code, `${store.get("_variable")}.explorer(${which})`);
    text(copy, "copy");
  });
}
