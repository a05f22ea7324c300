/** What the part is called, how large its mask is, which layers and which entries; keep and reset. */
import { captioned, segmented, tied } from "../../lib/controls";
import { aria, el, on, text } from "../../lib/dom";
import { many } from "../../lib/format";
import { toolRow } from "../../lib/menu";
import type { View } from "../../seam";
import type { Work } from "../shared/work";
import { type CorrespondenceState, clicked, type Entries } from "./state";

export function correspondenceTools(view: View<CorrespondenceState>, root: HTMLElement): void {
  const { store, kernel } = view;
  const name = el("input.cs-search.cs-part-name", { type: "text", "aria-label": "Name of the part" });
  const range = el("input.cs-scrubber__range", {
    type: "range",
    min: 1,
    "aria-label": "Size of the mask, pixels",
  });
  const value = el("output.cs-tools__value");
  const layers = el("select.cs-select", {
    "aria-label": "Layers",
  });
  const entries = segmented<Entries>("Entries that are counted", {
    all: ["all entries", "As in the paper: entries that no mask changes agree"],
    changed: ["both changed", "Among the entries that both masks change"],
  });
  const keep = el(
    "button.cs-button",
    { title: "Keep these scores as a row, and begin another part" },
    "keep, next part",
  );
  const reset = el("button.cs-button", { title: "Take all points back" }, "reset");
  const often = [captioned("part", name), captioned("mask", range, value)];
  const seldom = [
    captioned("layers", layers),
    captioned("count", tied(store, "entries", entries).element),
    el("span.cs-tools__end.cs-tools", keep, reset),
  ];
  root.append(toolRow(view.signal, [...often, ...seldom], seldom));
  on(name, "change", () => {
    const given = name.value.trim();
    if (given) store.set({ part: given });
    else name.value = store.get("part");
  });
  store.follow("part", (part) => {
    name.value = part;
  });
  on(range, "input", () => store.set({ size: Number(range.value) }));
  store.watch(["size", "_network"], () => {
    const [height, width] = store.get("_network").size;
    const size = store.get("size");
    range.max = String(Math.max(1, Math.floor(Math.min(height, width) / 2)));
    range.value = String(size);
    aria(range, "valuetext", `${size} pixels`);
    text(value, `${size} px`);
  });
  on(layers, "change", () => {
    const chosen = layers.value;
    const all = store.get("_network").layers.map((layer) => layer.name);
    const now = store.get("layers");
    const next = all.filter((one) => now.includes(one) !== (one === chosen));
    if (next.length > 0) store.set({ layers: next });
    layers.value = "";
  });
  store.watch(["_network", "layers"], () => {
    const now = store.get("layers");
    const items = store
      .get("_network")
      .layers.map((layer) =>
        el("option", { value: layer.name }, `${now.includes(layer.name) ? "✓" : "\u2003"} ${layer.name}`),
      );
    layers.replaceChildren(
      el("option", { value: "" }, now.length === 1 ? (now[0] ?? "") : many(now.length, "layer")),
      ...items,
    );
    layers.title = `${now.join(", ")}. Choose a layer to add it, or to take it away`;
  });
  on(keep, "click", () => kernel.tell("keep"));
  on(reset, "click", () => store.set({ points: store.get("points").map(() => null) }));
  store.watch(["offline", "points", "_work"], () => {
    const offline = store.get("offline");
    for (const one of [name, range, layers]) one.disabled = offline;
    keep.disabled = offline || clicked(store) < 2 || store.get("_work").state !== "done";
    reset.disabled = offline || clicked(store) === 0;
  });
}

/** The work behind it, for the status line. */
export const correspondenceWork = ({ store, kernel }: View<CorrespondenceState>): Work => ({
  label: "Scoring",
  noun: "masked:",
  begins: "masking begins",
  progress: () => store.get("_work"),
  onChange: (run) => store.onChange(["_work", "_rows"], run),
  whole: () => `scores of ${many(store.get("_rows").length, "part")}`,
  resume: () => kernel.tell("resume"),
  failure: () => "scoring failed",
  retry: "try again",
});
