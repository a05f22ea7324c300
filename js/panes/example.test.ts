import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { floats } from "../lib/buffers";
import { el, text } from "../lib/dom";
import type { Session, Slice, View } from "../seam";
import { viewOf } from "../testing";
import { type PicturesSlice, picturesSlice } from "./shared/pictures";

// ---- begin: the same lines stand in CONTRIBUTING.md
// js/panes/mean/state.ts: its slice of the state
export interface MeanSlice {
  mean: number | null;
}
export const meanSlice: Slice<MeanSlice> = { initial: { mean: null } };
export type MeanState = PicturesSlice & MeanSlice; // all that the pane reads and writes

// js/panes/mean/requests.ts: what it asks of the kernel (the method `_answer_mean` of the instrument), and when
export function linkMean({ store, kernel }: Session<MeanState>): void {
  kernel.answers("mean", (_answer, [values]) => store.set({ mean: floats(values)[0] ?? null }));
  store.follow("picture", (picture) => kernel.ask("mean", { picture }));
}

// js/panes/mean/mean.ts: what it shows
export function meanPane({ store }: View<MeanState>, root: HTMLElement): void {
  const shown = root.appendChild(el("p.cs-mean", { role: "status" }));
  store.follow("mean", (mean) => text(shown, mean === null ? "" : `mean ${mean.toFixed(2)}`));
}
// ---- end

it("is a pane in a few lines", () => {
  const view = viewOf(picturesSlice, meanSlice);
  const root = document.createElement("div");
  linkMean(view);
  meanPane(view, root);
  view.store.set({ picture: 2 });
  expect(view.kernel.ask).toHaveBeenLastCalledWith("mean", { picture: 2 });
  view.kernel.answer("mean", {}, [new DataView(Float32Array.of(0.25).buffer)]);
  expect(root.textContent).toBe("mean 0.25");
});

it("is what CONTRIBUTING.md shows", () => {
  const own = readFileSync("js/panes/example.test.ts", "utf8");
  const [, lines = ""] = /---- begin[^\n]*\n([\s\S]*?)\/\/ ---- end/.exec(own) ?? [];
  expect(lines.length).toBeGreaterThan(500);
  expect(readFileSync("CONTRIBUTING.md", "utf8")).toContain(lines.trim());
});
